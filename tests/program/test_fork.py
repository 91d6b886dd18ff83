"""A fork goes on where another run's checkpoint stands, as a run of its own."""
import h5py

import support

CHECKPOINTS = {"checkpoint__interval": 2, "checkpoint__keep": 0, "jreg__lambda": 0.4, "jreg__penalty": "jump"}


def attribute(run, step, name):
    with h5py.File(run / f"checkpoints/step_{step:08d}/index.h5", "r") as file:
        return file.attrs.get(name)


class Fork(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.parent = self.train("parent", **CHECKPOINTS)

    def assert_same_end(self, first, second):
        self.assertEqual(support.differing_columns(support.read_columns(first), support.read_columns(second)), [])
        last = f"checkpoints/step_{support.TINY['train.steps']:08d}/rank_00000.h5"
        self.assertEqual((first / last).read_bytes(), (second / last).read_bytes())

    def test_without_a_change_it_repeats_the_run_and_names_its_parent(self):
        child = self.train("child", "--fork", self.parent / "checkpoints" / "step_00000002", **CHECKPOINTS)
        self.assert_same_end(self.parent, child)
        parent_id = attribute(self.parent, 6, "run_id")
        self.assertNotEqual(attribute(child, 6, "run_id"), parent_id)
        self.assertEqual(attribute(child, 6, "parent_run_id"), parent_id)
        self.assertIsNone(attribute(self.parent, 6, "parent_run_id"))
        with h5py.File(child / "dynamics.h5", "r") as file:
            self.assertEqual(file.attrs["parent_run_id"], parent_id)

    def test_of_a_run_folder_it_takes_the_newest_whole_checkpoint_and_any_change_but_the_architectures(self):
        shard = self.parent / "checkpoints/step_00000006/rank_00000.h5"
        shard.write_bytes(shard.read_bytes()[:-1])
        result = self.jreg("train", *self.options("child", **{**CHECKPOINTS, "jreg__lambda": 0.9}),
                           "--fork", self.parent)
        self.assertIn("forked at step 4", result.stderr)
        self.assertIn("jreg.lambda 0.4 -> 0.9", result.stderr)
        child = support.read_columns(self.folder / "child")
        parent = support.read_columns(self.parent)
        self.assertEqual(list(child["train/step"]), [1, 2, 3, 4, 5, 6])
        self.assertEqual(list(child["train/jreg_lambda"]), [0.4] * 4 + [0.9] * 2)
        self.assertEqual(child["train/loss"][:4].tobytes(), parent["train/loss"][:4].tobytes())
        self.assertNotEqual(child["train/loss"][5], parent["train/loss"][5])
        refused = self.train("other", "--fork", self.parent, check=2, model__ffn=64, **CHECKPOINTS)
        self.assert_error(refused, "model.ffn")

    def test_with_resume_auto_it_forks_once_and_then_goes_on(self):
        words = ("--fork", self.parent / "checkpoints" / "step_00000002", "--resume", "auto")
        child = self.train("child", *words, "--stop-at", "3", **CHECKPOINTS)
        result = self.jreg("train", *self.options("child", **CHECKPOINTS), *words)
        self.assertIn("resumed at step 3", result.stderr)
        self.assert_same_end(self.parent, child)
        self.assertEqual(attribute(child, 6, "parent_run_id"), attribute(self.parent, 6, "run_id"))
        self.assertEqual(attribute(child, 6, "run_id"), attribute(child, 3, "run_id"))

    def test_what_cannot_be_forked_is_refused(self):
        self.assert_refused(self.train("child", "--fork", self.parent, "--resume", "4", check=2), "--resume 4", "--fork")
        self.assert_error(self.train("parent", "--fork", self.parent, check=2), "run.dir", "holds checkpoints")
        self.assert_error(self.train("child", "--fork", self.folder / "absent", check=2), "absent", "no such folder")
        self.assert_error(self.train("child", "--fork", self.data, check=65), "manifest.json")
        empty = self.train("empty", "--stop-at", "0")
        self.assert_error(self.train("child", "--fork", empty, check=2), "empty", "no checkpoint")


if __name__ == "__main__":
    support.main()
