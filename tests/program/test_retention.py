"""Which checkpoints a run leaves, what those of weights only are good for, and saves behind training's back."""
import json

import support


def steps_of(run):
    return sorted(int(path.name.removeprefix("step_")) for path in (run / "checkpoints").glob("step_*"))


def checkpoint_events(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "checkpoint"]


class Retention(support.ProgramTest):
    def test_saving_behind_trainings_back_writes_the_same_files(self):
        for name, ranks, changes in (("alone", 1, {}), ("mesh", 4, {"mesh__tensor": 2, "mesh__zero1": True})):
            with self.subTest(mesh=name):
                common = {"checkpoint__interval": 2, "checkpoint__keep": 0, "train__steps": 12, **changes}
                there = self.train(f"{name}_sync", ranks=ranks, checkpoint__async=False, **common)
                here = self.train(f"{name}_async", ranks=ranks, **common)
                self.assertEqual(steps_of(here), [2, 4, 6, 8, 10, 12])
                self.assertEqual(steps_of(there), steps_of(here))
                self.assertEqual([event["step"] for event in checkpoint_events(here)], steps_of(here))
                for folder in (here / "checkpoints").glob("step_*"):
                    self.jreg("verify", folder)
                    other = there / "checkpoints" / folder.name
                    for part in folder.glob("rank_*.h5"):
                        self.assertEqual(part.read_bytes(), (other / part.name).read_bytes(), part)
                    self.assertEqual(support.differing_columns(support.index_columns(folder),
                                                               support.index_columns(other)), [])
                    rows = support.index_columns(folder)["train/step"]
                    self.assertEqual(list(rows), list(range(1, int(folder.name.removeprefix("step_")) + 1)))

    def test_log_spaced_steps_stay_as_weights_only(self):
        changes = {"train__steps": 9, "checkpoint__interval": 3, "checkpoint__keep": 1, "checkpoint__log_spaced": True}
        run = self.train("run", ranks=2, **changes)
        self.assertEqual(steps_of(run), [0, 1, 2, 4, 8, 9])
        self.assertEqual((run / "checkpoints" / "latest").read_text(), "step_00000009\n")
        whole = support.checkpoint_tensors(run / "checkpoints" / "step_00000009")
        early = support.checkpoint_tensors(run / "checkpoints" / "step_00000004")
        self.assertEqual(sorted(early), sorted(name for name in whole if name.startswith("weights/")))
        self.assertIn("weights only", self.jreg("info", run / "checkpoints" / "step_00000004").stdout)
        result = self.train("run", "--resume", "4", check=2, **changes)
        self.assert_error(result, "step_00000004", "weights only")

    def test_resume_auto_passes_over_weights_only(self):
        changes = {"train__steps": 9, "checkpoint__interval": 3, "checkpoint__keep": 0, "checkpoint__log_spaced": True}
        run = self.train("run", **changes)
        for step in (6, 9):
            (run / "checkpoints" / f"step_{step:08d}").rename(run / f"taken_{step}")
        result = self.jreg("train", *self.options("run", **changes), "--resume", "auto")
        self.assertIn("resumed at step 3", result.stderr)
        self.assertEqual(steps_of(run), [0, 1, 2, 3, 4, 6, 8, 9])

    def test_every_mth_stays_for_ever(self):
        run = self.train("run", checkpoint__interval=1, checkpoint__keep=1, checkpoint__keep_every=2, train__steps=7)
        self.assertEqual(steps_of(run), [2, 4, 6, 7])


if __name__ == "__main__":
    support.main()
