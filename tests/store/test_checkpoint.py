"""A checkpoint's index.h5 as plain h5py and xarray see it."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

import h5py
import numpy
import xarray

MPIEXEC = sys.argv.pop()
WRITER = sys.argv.pop()
STEP = 12
NAMES = {"model.embed_tokens.weight": (9, 5), "model.layers.0.mlp.down_proj.weight": (6, 8), "model.norm.weight": (5,)}
GROUPS = ("weights", "optimizer/moment1", "optimizer/moment2")


def expected(tensor, shape):
    rows = numpy.arange(shape[0])
    columns = numpy.arange(shape[1] if len(shape) > 1 else 1)
    return ((rows[:, None] * 8 + columns) * (tensor + 1)).reshape(shape)


class Checkpoint(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.run_folder = os.path.join(self.folder.name, "run")
        subprocess.run([MPIEXEC, "-n", "2", WRITER, "checkpoint", self.run_folder, str(STEP)], check=True)
        self.path = os.path.join(self.run_folder, "checkpoints", f"step_{STEP:08d}")

    def tearDown(self):
        self.folder.cleanup()

    def index(self):
        return h5py.File(os.path.join(self.path, "index.h5"), "r")

    def check_tensors(self, file):
        tensor = 0
        for group in GROUPS:
            for name, shape in NAMES.items():
                dataset = file[group][name]
                self.assertTrue(dataset.is_virtual)
                self.assertEqual((dataset.shape, dataset.dtype), (shape, numpy.float32))
                numpy.testing.assert_array_equal(dataset[...], expected(tensor, shape))
                tensor += 1
        # bf16 reads exactly as a wider float.
        head = file["weights/lm_head.weight"]
        self.assertEqual(head.shape, (4, 4))
        numpy.testing.assert_array_equal(head.astype("f4")[...], expected(tensor, (4, 4)))

    def test_killed_before_its_files_are_joined_a_save_leaves_the_one_before(self):
        with tempfile.TemporaryDirectory() as folder:
            killed = subprocess.run([MPIEXEC, "-n", "2", WRITER, "checkpoint-killed", folder, str(STEP)],
                                    stderr=subprocess.DEVNULL, check=False)
            self.assertNotEqual(killed.returncode, 0)
            places = os.path.join(folder, "checkpoints")
            name = f"step_{STEP:08d}"
            left = [n for n in os.listdir(places) if n.startswith(f"step_{STEP + 1:08d}")]
            self.assertEqual(len(left), 1)
            self.assertIn(".tmp-", left[0])
            self.assertEqual(sorted(os.listdir(os.path.join(places, left[0]))), ["rank_00000.h5", "rank_00001.h5"])
            with open(os.path.join(places, "latest"), encoding="utf-8") as pointer:
                self.assertEqual(pointer.read(), name + "\n")
            for file in os.listdir(self.path):
                with open(os.path.join(self.path, file), "rb") as a, open(os.path.join(places, name, file), "rb") as b:
                    self.assertEqual(a.read(), b.read(), file)

    def test_every_tensor_is_whole_under_its_name(self):
        with self.index() as file:
            self.check_tensors(file)

    def test_parts_are_found_wherever_the_folder_and_the_reader_are(self):
        moved = os.path.join(self.folder.name, "elsewhere")
        os.rename(self.path, moved)
        self.path = moved
        with self.index() as file:
            self.check_tensors(file)

    def test_a_missing_part_shows_as_nan(self):
        os.remove(os.path.join(self.path, "rank_00001.h5"))
        with self.index() as file:
            values = file["weights/model.embed_tokens.weight"][...]
            numpy.testing.assert_array_equal(values[:4], expected(0, (9, 5))[:4])
            self.assertTrue(numpy.isnan(values[4:]).all())

    def test_state_config_and_trajectory_are_in_the_index(self):
        with self.index() as file:
            for name, value in {"step": STEP, "tokens": 2048 * STEP, "sampler_position": 8 * STEP, "adamw_steps": STEP - 1,
                                "run_id": "run-1", "run.seed": "1", "data.train": "a b/c", "jreg.weights": ""}.items():
                self.assertEqual(file.attrs[name], value)
            self.assertEqual(list(file.attrs["jump_gates"]), [0, 1, 1])
        for group, rows in {"train": 12, "validation": 2, "probe": 4}.items():
            with xarray.open_dataset(os.path.join(self.path, "index.h5"), group=group, engine="h5netcdf") as data:
                self.assertEqual(data.sizes["step"], rows)

    def test_the_manifest_names_every_file_with_its_size(self):
        with open(os.path.join(self.path, "manifest.json"), encoding="utf-8") as stream:
            manifest = json.load(stream)
        files = {entry["name"]: entry["bytes"] for entry in manifest["files"]}
        self.assertEqual(set(files), set(os.listdir(self.path)) - {"manifest.json"})
        for name, size in files.items():
            self.assertEqual(os.path.getsize(os.path.join(self.path, name)), size)

    def test_two_saves_of_one_state_are_equal_to_the_byte(self):
        def digests():
            found = {}
            for name in sorted(os.listdir(self.path)):
                with open(os.path.join(self.path, name), "rb") as stream:
                    found[name] = hashlib.sha256(stream.read()).hexdigest()
            return found

        first = digests()
        time.sleep(1.1)  # times in files would count whole seconds
        subprocess.run([MPIEXEC, "-n", "2", WRITER, "checkpoint", self.run_folder, str(STEP)], check=True)
        self.assertEqual(digests(), first)


if __name__ == "__main__":
    unittest.main(verbosity=1)
