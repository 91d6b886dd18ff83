"""A tiny Llama trained end to end on 1, 2 and 4 ranks: files, their contract, and agreement between meshes."""
import json
import unittest

import h5py
import numpy as np

import support

LAYERS = support.TINY["model.layers"]
STEPS = support.TINY["train.steps"]
TRAIN_COLUMNS = {"step", "tokens", "loss", "jreg", "jreg_lambda", "learning_rate", "grad_norm", "tokens_per_second",
                 "displacement", "jump_rate", "hidden_norm"}
PROBE_COLUMNS = {"step", "loss", "displacement", "jump_rate", "angle", "relative_update", "cosine_std",
                 "displacement_histogram"}


def jump_rate(psi):
    """zeta (N, L) from Psi (N, L); the first column does not exist."""
    rises = 100 * np.maximum(0, np.diff(psi, axis=1))
    sums = np.cumsum(rises[:, ::-1], axis=1)[:, ::-1]
    return np.hstack([np.full((len(psi), 1), np.nan), sums])


class RunFolder(support.ProgramTest):
    def test_a_run_leaves_what_scripts_rely_on(self):
        run = self.train("run", jreg__lambda=0.5)
        self.check_files(run)
        self.check_columns(run)
        self.check_labels(run)

    def check_files(self, run):
        names = {path.name for path in run.iterdir()}
        self.assertLessEqual({"config.cfg", "log.jsonl", "dynamics.h5", "checkpoints"}, names)
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        self.assertTrue(any("loss" in line and "step" in line for line in lines))
        checkpoint = run / "checkpoints" / f"step_{STEPS:08d}"
        self.assertLessEqual({"index.h5", "manifest.json"}, {path.name for path in checkpoint.iterdir()})
        self.jreg("verify", checkpoint)
        self.assertIn(str(STEPS), self.jreg("info", checkpoint).stdout)

    def check_columns(self, run):
        columns = support.read_columns(run)
        train = {name.split("/")[1]: values for name, values in columns.items() if name.startswith("train/")}
        self.assertLessEqual(TRAIN_COLUMNS, set(train))
        self.assertEqual(train["step"].tolist(), list(range(1, STEPS + 1)))
        tokens = support.TINY["train.global_batch"] * support.TINY["train.sequence_length"]
        self.assertEqual(train["tokens"].tolist(), [tokens * step for step in range(1, STEPS + 1)])
        self.assertEqual(train["displacement"].shape, (STEPS, LAYERS))
        self.assertEqual(train["hidden_norm"].shape, (STEPS, LAYERS + 1))
        self.assertTrue(((train["displacement"] > 0) & (train["displacement"] < 1)).all())
        np.testing.assert_allclose(train["jump_rate"], jump_rate(train["displacement"]), rtol=1e-9, atol=1e-9)
        weights = np.arange(1, LAYERS + 1) / np.arange(1, LAYERS + 1).sum()
        np.testing.assert_allclose(train["jreg"], train["displacement"] @ weights, rtol=1e-6)
        self.assertTrue((train["jreg_lambda"] == 0.5).all())
        self.assertEqual(columns["validation/step"].tolist()[-2:], [3, 6])
        self.assertEqual(columns["probe/step"].tolist(), [0, 1, 2, 4, 6])
        self.assertLessEqual(PROBE_COLUMNS, {name.split("/")[1] for name in columns if name.startswith("probe/")})
        histogram = columns["probe/displacement_histogram"]
        self.assertEqual(histogram.shape, (5, LAYERS, 64))
        self.assertEqual(set(histogram.sum(axis=2).ravel().tolist()), {2 * support.TINY["train.sequence_length"]})

    def check_labels(self, run):
        with h5py.File(run / "dynamics.h5", "r") as file:
            self.assertEqual(int(file.attrs["model.layers"]), LAYERS)
            self.assertTrue(any("2601.18302" in str(value) for value in file.attrs.values()))
            for group in ("train", "validation", "probe"):
                for name, data in file[group].items():
                    self.assertIn("units", data.attrs, name)
                    self.assertIn("description", data.attrs, name)
            self.assertEqual(file["train/jump_rate"].dims[1].keys(), ["layer"])

    def test_xarray_opens_each_group_as_a_labelled_dataset(self):
        try:
            import xarray
        except ImportError:
            self.fail("python3-xarray is not installed")
        run = self.train("run")
        with xarray.open_dataset(run / "dynamics.h5", group="train", engine="h5netcdf") as train:
            self.assertEqual(train["displacement"].dims, ("step", "layer"))
            self.assertEqual(train["hidden_norm"].dims, ("step", "state"))
            self.assertEqual(train["layer"].values.tolist(), list(range(1, LAYERS + 1)))
            self.assertTrue(np.isfinite(train["displacement"].sel(step=STEPS, layer=LAYERS).item()))
        with xarray.open_dataset(run / "dynamics.h5", group="probe", engine="h5netcdf") as probe:
            self.assertEqual(probe["displacement_histogram"].dims, ("step", "layer", "bin"))
        with xarray.open_dataset(run / "dynamics.h5", group="validation", engine="h5netcdf") as validation:
            self.assertEqual(validation["loss"].dims, ("step",))

    def test_the_recorded_config_gives_the_same_run_again(self):
        first = self.train("first", jreg__lambda=0.3, jreg__penalty="jump", run__seed=7)
        second = self.folder / "second"
        self.jreg("train", "--config", first / "config.cfg", "--run.dir", second)
        self.assertEqual(support.differing_columns(support.read_columns(first), support.read_columns(second)), [])

    def test_the_model_learns(self):
        run = self.train("run", train__steps=60, optim__learning_rate=1e-2)
        loss = support.read_columns(run)["train/loss"]
        self.assertAlmostEqual(loss[0], np.log(support.VOCAB), delta=0.3)
        self.assertLess(loss[-1], loss[0] - 1.0)


class Meshes(support.ProgramTest):
    JREG = {"jreg__lambda": 0.4, "jreg__penalty": "jump"}

    def assert_agree(self, first, second):
        a, b = support.read_columns(first), support.read_columns(second)
        np.testing.assert_allclose(a["train/loss"], b["train/loss"], rtol=2e-5)
        np.testing.assert_allclose(a["train/grad_norm"], b["train/grad_norm"], rtol=1e-4)
        for name in ("displacement", "jreg"):
            np.testing.assert_allclose(a[f"train/{name}"], b[f"train/{name}"], rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(a["train/jump_rate"], b["train/jump_rate"], rtol=0, atol=2e-3)
        np.testing.assert_allclose(a["validation/loss"], b["validation/loss"], rtol=2e-5)
        np.testing.assert_allclose(a["probe/displacement"], b["probe/displacement"], rtol=2e-5, atol=1e-5)

    def test_every_mesh_trains_alike(self):
        one = self.train("one", ranks=1, **self.JREG)
        meshes = {
            "data2": (2, {}),
            "tensor2": (2, {"mesh__tensor": 2}),
            "data4_zero1": (4, {"mesh__zero1": True}),
            "data2_tensor2_sequence_zero1": (4, {"mesh__tensor": 2, "mesh__sequence_parallel": True,
                                                 "mesh__zero1": True}),
            "tensor4": (4, {"mesh__tensor": 4}),
            "accumulated": (1, {"train__micro_batch": 2}),
        }
        for name, (ranks, changes) in meshes.items():
            with self.subTest(mesh=name):
                self.assert_agree(one, self.train(name, ranks=ranks, **self.JREG, **changes))

    def test_two_runs_on_one_mesh_are_bit_equal(self):
        for name, ranks, changes in (("single", 1, {}), ("mesh", 4, {"mesh__tensor": 2, "mesh__zero1": True})):
            with self.subTest(mesh=name):
                first = self.train(f"{name}1", ranks=ranks, **self.JREG, **changes)
                second = self.train(f"{name}2", ranks=ranks, **self.JREG, **changes)
                self.assertEqual(support.differing_columns(support.read_columns(first), support.read_columns(second)), [])

    def test_lambda_zero_leaves_every_loss_bit_equal_whatever_the_penalty(self):
        first = self.train("first", jreg__penalty="displacement")
        second = self.train("second", jreg__penalty="jump", jreg__weights="final")
        a, b = support.read_columns(first), support.read_columns(second)
        for name in ("loss", "grad_norm", "displacement"):
            self.assertEqual(a[f"train/{name}"].tobytes(), b[f"train/{name}"].tobytes())

    def test_bf16_stays_near_fp32(self):
        fp32 = support.read_columns(self.train("fp32"))["train/loss"]
        bf16 = support.read_columns(self.train("bf16", "--precision", "bf16"))["train/loss"]
        self.assertFalse(np.array_equal(fp32, bf16))
        np.testing.assert_allclose(fp32, bf16, rtol=1e-2)

    def test_bf16_learns_without_master_weights(self):
        options = {"run__precision": "bf16", "train__steps": 150, "eval__interval": 0, "probe__interval": 0}
        masters = self.train("masters", **options)
        alone = self.train("alone", optim__master_weights=False, **options)
        begin, wanted = (support.read_columns(masters)[name] for name in ("train/loss", "validation/loss"))
        self.assertLess(wanted[-1], 0.7 * begin[0])
        np.testing.assert_allclose(support.read_columns(alone)["validation/loss"][-1], wanted[-1], rtol=1e-2)
        # Whoever looks at it does so in any precision.
        told = [self.jreg("eval", "--checkpoint", alone, "--precision", precision).stdout
                for precision in ("bf16", "fp32")]
        low, exact = (float(text.split("loss=")[1].split()[0]) for text in told)
        np.testing.assert_allclose(low, exact, rtol=1e-2)
        self.assert_refused(self.train("refused", check=2, optim__master_weights=False), "optim.master_weights = false",
                            "run.precision = bf16")


if __name__ == "__main__":
    support.main()
