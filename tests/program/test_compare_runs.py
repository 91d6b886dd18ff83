"""tools/compare_runs.py on files in the layout of a run folder."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

from test_reports import TOOLS, write_dynamics

STATE = {"step": 4, "tokens": 512, "sampler_position": 32, "adamw_steps": 4, "skipped_updates": 0, "jump_gates": [0, 1]}


def write_checkpoint(run, step, weight):
    """A checkpoint of one tensor as jreg lays it out: a shard, and a virtual dataset that shows it."""
    folder = run / "checkpoints" / f"step_{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "rank_00000.h5", "w", libver="v110") as part:
        part["weights/lm_head.weight@0,0"] = weight
    layout = h5py.VirtualLayout(weight.shape, weight.dtype)
    layout[...] = h5py.VirtualSource("rank_00000.h5", "weights/lm_head.weight@0,0", weight.shape, weight.dtype)
    with h5py.File(folder / "index.h5", "w", libver="v110") as index:
        index.create_group("weights").create_virtual_dataset("lm_head.weight", layout, fillvalue=np.nan)
        index["train/loss"] = np.zeros(3)
    files = [{"name": path.name, "bytes": path.stat().st_size} for path in sorted(folder.glob("*.h5"))]
    (folder / "manifest.json").write_text(json.dumps({"files": files, "state": {**STATE, "step": step}}))
    return folder


class CompareRuns(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.weight = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
        self.a, self.b = (self.run_folder(name) for name in "ab")

    def run_folder(self, name):
        run = write_dynamics(self.folder / name)
        for step in (2, 4):
            write_checkpoint(run, step, self.weight)
        return run

    def compare(self, *options, code):
        result = subprocess.run([sys.executable, TOOLS / "compare_runs.py", self.a, self.b, *options],
                                capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stderr if code == 2 else result.stdout

    def change(self, column, row, by):
        with h5py.File(self.b / "dynamics.h5", "r+") as file:
            file[column][row] += by

    def test_equal_runs_are_equal_and_rates_do_not_count(self):
        self.change("train/tokens_per_second", 7, 100)
        text = self.compare(code=0)
        self.assertTrue(text.endswith("\nequal\n"), text)
        self.assertRegex(text, r"tensors of step 4 +1 +0")

    def test_the_earliest_difference_is_named_with_its_size(self):
        self.change("train/loss", 50, 1e-3)
        self.change("train/grad_norm", 20, 0.25)
        last = self.compare(code=1).splitlines()[-1]
        self.assertIn("train/grad_norm: from step 21, in 1 of 120 rows, largest difference 0.25", last)

    def test_one_bit_of_a_layer_statistic_is_a_difference(self):
        with h5py.File(self.b / "dynamics.h5", "r+") as file:
            data = file["train/displacement"]
            data[3, 2] = np.nextafter(data[3, 2], 1)
        self.assertIn("train/displacement: from step 4,", self.compare(code=1))

    def test_a_tolerance_looks_at_losses_alone(self):
        self.change("train/loss", 50, 1e-6)
        self.change("train/grad_norm", 20, 0.25)
        self.compare("--tolerance", "1e-5", code=0)
        self.assertIn("train/loss: from step 51", self.compare("--tolerance", "1e-9", code=1))
        self.change("train/loss", 60, np.nan)
        self.assertIn("NaN in one run only", self.compare("--tolerance", "1", code=1))

    def test_a_changed_weight_is_named(self):
        self.weight[4, 1] += 1
        write_checkpoint(self.b, 4, self.weight)
        text = self.compare(code=1)
        self.assertIn("weights/lm_head.weight: largest difference 1 ", text.splitlines()[-1])
        self.compare("--checkpoint", "2", code=0)

    def test_a_changed_state_is_named(self):
        manifest = self.b / "checkpoints/step_00000004/manifest.json"
        manifest.write_text(manifest.read_text().replace('"skipped_updates": 0', '"skipped_updates": 2'))
        self.assertIn("skipped_updates: 0 -> 2", self.compare(code=1))

    def test_a_checkpoint_that_is_not_whole_is_passed_over(self):
        shard = self.b / "checkpoints/step_00000004/rank_00000.h5"
        shard.write_bytes(shard.read_bytes()[:-1])
        self.assertIn("tensors of step 2", self.compare(code=0))
        self.assertIn("no whole checkpoint of step 4", self.compare("--checkpoint", "4", code=2))

    def test_a_shorter_run_is_different(self):
        write_dynamics(self.b, steps=100)
        self.assertIn("train: 120 rows to step 120 -> 100 rows to step 100", self.compare(code=1))

    def test_config_is_shown_and_does_not_count(self):
        with h5py.File(self.b / "dynamics.h5", "r+") as file:
            file.attrs["mesh.tensor"] = "2"
        self.assertRegex(self.compare(code=0), r"config +2 +1  mesh.tensor: not there -> 2")

    def test_what_cannot_be_read_is_named_in_one_line(self):
        self.b = self.folder / "nowhere"
        self.assertIn("nowhere", self.compare(code=2))
        self.compare("--tolerance", "nan", code=2)


if __name__ == "__main__":
    unittest.main()
