"""train.recompute changes memory alone: runs with each setting leave the same bytes, and it may change on resume."""
import re

import support

SETTINGS = ("attention", "mlp", "block")
RUN = {"jreg__lambda": 0.4, "jreg__penalty": "jump", "data__document_mask": True, "train__micro_batch": 2,
       "train__steps": 4}


def megabytes(text):
    """Activations and the setting, from the header of a run or of a benchmark."""
    found = re.search(r"([\d.]+) MB of them activations \(train\.recompute = (\w+)\)", text)
    return float(found[1]), found[2]


class Recompute(support.ProgramTest):
    def assert_same(self, first, second):
        self.assertEqual(support.differences_of_runs(first, second), [])

    def test_every_setting_leaves_the_same_run(self):
        for name, ranks, changes in (
                ("one", None, {"model__tie_embeddings": True}),
                ("four", 4, {"mesh__tensor": 2, "mesh__sequence_parallel": True, "mesh__zero1": True,
                             "run__precision": "bf16"})):
            kept = self.train(name, ranks=ranks, **RUN, **changes)
            for setting in SETTINGS:
                with self.subTest(mesh=name, recompute=setting):
                    again = self.train(f"{name}_{setting}", ranks=ranks, train__recompute=setting, **RUN, **changes)
                    self.assert_same(kept, again)

    def test_it_changes_freely_on_resume(self):
        whole = self.train("whole", **RUN)
        self.train("parts", "--stop-at", "1", train__recompute="block", **RUN)
        result = self.jreg("train", *self.options("parts", train__recompute="attention", **RUN), "--resume", "auto")
        self.assertIn("train.recompute block -> attention", result.stderr)
        self.assertEqual(megabytes(result.stderr)[1], "attention")
        self.assert_same(whole, self.folder / "parts")

    def test_benchmark_tells_how_much_smaller_activations_are(self):
        sizes = {}
        for setting in ("none", *SETTINGS):
            words = self.options("unused", model__layers=8, train__sequence_length=64, train__recompute=setting)
            sizes[setting], named = megabytes(self.jreg("train", *words, "--benchmark", "--benchmark-steps", 1).stdout)
            self.assertEqual(named, setting)
        # Of each of the 7 blocks beside the one whose memory all share: 512 tokens, hidden 32, 4 + 2 x 2 heads of 8,
        # ffn 48.
        attention, mlp, middle = 512 * (64 + 32 + 4) * 4, 512 * 96 * 4, 512 * 32 * 4
        for setting, saved in (("attention", attention), ("mlp", mlp), ("block", attention + mlp + middle)):
            self.assertAlmostEqual(sizes["none"] - sizes[setting], 7 * saved / 1e6, delta=0.11)

    def test_an_unknown_setting_is_refused(self):
        self.assert_refused(self.train("run", check=2, train__recompute="all"), "train.recompute", "attention")


if __name__ == "__main__":
    support.main()
