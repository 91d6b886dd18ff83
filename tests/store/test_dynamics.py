"""dynamics.h5 as h5py and xarray see it: closed, while it grows, and after its writer was killed."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import h5netcdf
import h5py
import numpy
import xarray

WRITER = sys.argv.pop(1)
LAYERS = 3
COLUMNS = {
    "train": {
        "step": (), "tokens": (), "loss": (), "jreg": (), "jreg_lambda": (), "learning_rate": (), "grad_norm": (),
        "tokens_per_second": (), "displacement": ("layer",), "jump_rate": ("layer",), "hidden_norm": ("state",),
    },
    "validation": {"step": (), "loss": ()},
    "probe": {
        "step": (), "loss": (), "displacement": ("layer",), "jump_rate": ("layer",), "angle": ("layer",),
        "relative_update": ("layer",), "cosine_std": ("layer",), "displacement_histogram": ("layer", "bin"),
    },
}
SIZES = {"layer": LAYERS, "state": LAYERS + 1, "bin": 64}


def open_growing(path):
    """A reader may meet the moment in which the writer opens the file; it then tries again."""
    for _ in range(200):
        try:
            return h5py.File(path, "r", swmr=True, libver="latest")
        except OSError:
            time.sleep(0.01)
    raise AssertionError(f"{path} cannot be opened while it grows")


class Closed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.folder.name, "dynamics.h5")
        subprocess.run([WRITER, "dynamics", cls.path, "130", str(LAYERS)], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_every_dataset_is_there_with_shape_units_description_and_scales(self):
        rows = {"train": 130, "validation": 14, "probe": 33}
        with h5py.File(self.path, "r") as file:
            self.assertEqual(set(file), set(COLUMNS))
            for group, columns in COLUMNS.items():
                scales = {axis for axes in columns.values() for axis in axes}
                self.assertEqual(set(file[group]), set(columns) | scales)
                for name, dataset in file[group].items():
                    self.assertIsInstance(dataset.attrs["units"], str)
                    self.assertGreater(len(dataset.attrs["description"]), 5)
                    if name in scales:
                        self.assertTrue(h5py.h5ds.is_scale(dataset.id), name)
                        continue
                    axes = columns[name]
                    self.assertEqual(dataset.shape, (rows[group],) + tuple(SIZES[axis] for axis in axes))
                    self.assertEqual(dataset.chunks[0], 64)
                    self.assertIsNone(dataset.compression)
                    self.assertEqual(dataset.maxshape[0], None)
                    if dataset.dtype.kind == "f":
                        self.assertTrue(numpy.isnan(dataset.fillvalue))
                    if name == "step":
                        self.assertTrue(h5py.h5ds.is_scale(dataset.id), name)
                        continue
                    for index, axis in enumerate(("step",) + axes):
                        self.assertEqual(dataset.dims[index][0], file[group][axis])

    def test_values_are_those_of_the_rows(self):
        with h5py.File(self.path, "r") as file:
            train, probe = file["train"], file["probe"]
            step = train["step"][:]
            numpy.testing.assert_array_equal(step, numpy.arange(1, 131))
            numpy.testing.assert_array_equal(train["tokens"][:], 2048 * step)
            numpy.testing.assert_array_equal(train["loss"][:], 10 / (step + 1))
            layers = numpy.arange(LAYERS + 1) / 1024
            numpy.testing.assert_array_equal(train["hidden_norm"][:], 3 + step[:, None] + layers)
            self.assertTrue(numpy.isnan(train["jump_rate"][:, 0]).all())
            numpy.testing.assert_array_equal(train["jump_rate"][:, 1:], (2 + step[:, None] + layers[:-1])[:, 1:])
            histogram = numpy.arange(LAYERS * 64).reshape(LAYERS, 64)
            numpy.testing.assert_array_equal(probe["displacement_histogram"][2], 8 + histogram)
            numpy.testing.assert_array_equal(train["layer"][:], [1, 2, 3])
            numpy.testing.assert_array_equal(train["state"][:], [0, 1, 2, 3])
            numpy.testing.assert_allclose(probe["bin"][:], (numpy.arange(64) + 0.5) / 64)

    def test_root_attributes_tell_the_run(self):
        with h5py.File(self.path, "r") as file:
            for name, value in {"run.seed": "1", "jreg.lambda": "0.5", "hosts": "n1,n2",
                                "references": "arXiv:2601.18302", "format": "jreg dynamics"}.items():
                self.assertEqual(file.attrs[name], value)
            self.assertEqual(file.attrs["format_version"], 1)
            self.assertIsInstance(file.attrs["version"], str)
            self.assertIsInstance(file.attrs["commit"], str)

    def test_xarray_opens_each_group_labelled(self):
        for group, columns in COLUMNS.items():
            with xarray.open_dataset(self.path, group=group, engine="h5netcdf") as data:
                for name, axes in columns.items():
                    self.assertEqual(data[name].dims, ("step",) + axes)
        with xarray.open_dataset(self.path, group="train", engine="h5netcdf") as data:
            self.assertEqual(data["displacement"].sel(step=100, layer=2).item(), 101 + 1 / 1024)
            self.assertEqual(data["displacement"].dtype, numpy.float64)
            self.assertEqual(data["step"].dtype, numpy.int64)


class Growing(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "dynamics.h5")

    def tearDown(self):
        self.folder.cleanup()

    def start(self):
        return subprocess.Popen([WRITER, "dynamics-endless", self.path, "100", str(LAYERS)], stdout=subprocess.PIPE)

    def check_rows(self, file, at_least):
        """Every row up to the length of `step` is whole in all columns."""
        train = file["train"]
        step = train["step"][:]
        numpy.testing.assert_array_equal(step, numpy.arange(1, len(step) + 1))
        self.assertGreaterEqual(len(step), at_least)
        numpy.testing.assert_array_equal(train["loss"][: len(step)], 10 / (step + 1))
        numpy.testing.assert_array_equal(
            train["hidden_norm"][: len(step)], 3 + step[:, None] + numpy.arange(LAYERS + 1) / 1024)
        probe = file["probe"]["step"][:]
        numpy.testing.assert_array_equal(
            file["probe"]["displacement_histogram"][: len(probe), 0, 5], probe + 5)
        return len(step)

    def test_a_reader_follows_while_rows_are_appended(self):
        writer = self.start()
        try:
            writer.stdout.readline()
            lengths = []
            with open_growing(self.path) as file:
                for _ in range(20):
                    # `step` first: the other columns may run ahead of it, never behind.
                    for group in ("probe", "train"):
                        for name in COLUMNS[group]:
                            file[group][name].id.refresh()
                    lengths.append(self.check_rows(file, 101))
                    time.sleep(0.02)
            self.assertGreater(lengths[-1], lengths[0])
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()

    def test_a_killed_writer_loses_no_row_it_told_of(self):
        random.seed(1)
        for _ in range(8):
            writer = self.start()
            told = int(writer.stdout.readline())
            deadline = time.monotonic() + random.uniform(0.02, 0.25)
            while time.monotonic() < deadline:
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split(b"\n")
            if len(rest) > 1:
                told = int(rest[-2])
            writer.stdout.close()
            writer.wait()
            with open_growing(self.path) as file:
                rows = self.check_rows(file, told)
            file = h5netcdf.File(self.path, "r", swmr=True, libver="latest")
            with xarray.open_dataset(xarray.backends.H5NetCDFStore(file, group="train")) as data:
                self.assertEqual(data["displacement"].dims, ("step", "layer"))
                self.assertEqual(data["displacement"].sel(step=rows, layer=2).item(), rows + 1 + 1 / 1024)


if __name__ == "__main__":
    unittest.main(verbosity=1)
