"""jreg analyze against what training recorded, the PyTorch reference and transformers; its file as analysts read it."""
import csv
import io
import subprocess
import sys

import h5py
import looking
import numpy as np
import safetensors_files
import support
import xarray
from looking import reference

HUGGING_FACE = support.ROOT / "tests" / "reference" / "hf"
SPACED = {"checkpoint__log_spaced": True}


def reference_of(folder):
    """{name: array} of what transformers computed."""
    file = folder / "reference.safetensors"
    header, begin = safetensors_files.read_header(file)
    content = file.read_bytes()[begin:]
    types = {"F32": "<f4", "F64": "<f8", "I32": "<i4"}
    return {name: np.frombuffer(content[slice(*entry["data_offsets"])], types[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


class Analysis(support.ProgramTest):
    def analyze(self, checkpoints, *words, ranks=None):
        """{group: {column: array}}"""
        output = self.folder / "analysis.h5"
        self.jreg("analyze", "--checkpoint", ",".join(map(str, checkpoints)), "--output", output, "--overwrite", *words,
                  ranks=ranks)
        with h5py.File(output, "r") as file:
            return {name: {column: data[()] for column, data in group.items()} for name, group in file.items()}

    def test_all_checkpoints_of_a_run_give_its_probe_rows_bit_for_bit(self):
        for number, (ranks, changes) in enumerate((
                (None, {"train__micro_batch": 1}),
                (2, {"mesh__tensor": 2, "mesh__sequence_parallel": True, "run__precision": "bf16",
                     "jreg__final_state": "normed", "data__document_mask": True}),
                (2, {"data__validation": "", "mesh__zero1": True}))):
            with self.subTest(changes=changes):
                run = self.train(f"run{number}", ranks=ranks, **looking.LIVELY, **SPACED, **changes)
                recorded = {name.removeprefix("probe/"): values for name, values in support.read_columns(run).items()
                            if name.startswith("probe/")}
                found = self.analyze([run], "--all-checkpoints", ranks=ranks)
                self.assertEqual(set(found), {"probe"})
                self.assertEqual(found["probe"]["step"].tolist(), [0, 1, 2, 4, 6])
                for name, values in recorded.items():
                    self.assertEqual(found["probe"][name].tobytes(), values.tobytes(), name)
                self.assertEqual(found["probe"]["tokens"].tolist(), [128 * step for step in (0, 1, 2, 4, 6)])

    def test_logit_lens_and_skipped_layers_are_the_reference_s_on_every_mesh(self):
        run = self.train("run", **looking.LIVELY)
        weights, model = looking.weights_of(run / "checkpoints" / "step_00000006"), looking.model()
        windows = looking.windows_of(looking.tokens_of(self.data / "validation"), 6)
        states = reference.forward(weights, windows, model).states
        lens = reference.lens_losses(weights, windows, model).numpy()
        skipped = reference.skip_losses(weights, windows, model).numpy()
        self.assertGreater(min(np.abs(np.diff(lens)).min(), np.abs(skipped - lens[-1]).min()), 1e-3)
        for name, (ranks, words) in looking.MESHES.items():
            with self.subTest(mesh=name):
                found = self.analyze([run], "--sequences", "6", "--batch", "2", "--logit-lens", "true", "--skip-layers",
                                     "true", *words, ranks=ranks)["probe"]
                np.testing.assert_allclose(found["logit_lens_loss"][0], lens, rtol=2e-5)
                np.testing.assert_allclose(found["skip_layer_loss"][0], skipped, rtol=2e-5)
                np.testing.assert_allclose(found["loss"][0], lens[-1], rtol=2e-5)
                looking.assert_statistics({column: values[0] for column, values in found.items() if values.ndim > 1},
                                          states)

    def test_models_of_different_depth_are_labelled_groups_of_one_file(self):
        first = self.train("first", train__steps=2, **SPACED)
        deep = self.train("deep", train__steps=1, model__layers=5)
        steps = [first / "checkpoints" / f"step_0000000{step}" for step in (2, 1)]
        found = self.analyze([*steps, deep, HUGGING_FACE / "grouped_heads"], "--data", self.data / "validation",
                             "--sequence-length", "12", "--logit-lens", "true")
        self.assertEqual({name: group["step"].tolist() for name, group in found.items()},
                         {"first": [1, 2], "deep": [1], "grouped_heads": [-1]})
        path = self.folder / "analysis.h5"
        with h5py.File(path, "r") as file:
            self.assertEqual(file.attrs["models"], "first,deep,grouped_heads")
            self.assertEqual(file.attrs["data"], str(self.data / "validation"))
            self.assertTrue(file.attrs["version"] and file.attrs["commit"])
            self.assertIn("2601.18302", file.attrs["references"])
            self.assertEqual((file["deep"].attrs["layers"], file["deep"].attrs["sequence_length"]), ("5", "12"))
            self.assertEqual(file["first"].attrs["checkpoints"], ",".join(map(str, reversed(steps))))
            for group in file.values():
                for name, data in group.items():
                    self.assertTrue(data.attrs["units"] and data.attrs["description"], name)
        with xarray.open_dataset(path, group="deep", engine="h5netcdf") as data:
            self.assertEqual(data["displacement"].dims, ("step", "layer"))
            self.assertEqual(data["displacement_histogram"].dims, ("step", "layer", "bin"))
            self.assertEqual(data["logit_lens_loss"].dims, ("step", "state"))
            self.assertEqual(data["state"].values.tolist(), [0, 1, 2, 3, 4, 5])
        result = subprocess.run([sys.executable, support.ROOT / "tools" / "jump_table.py", path, "--format", "csv"],
                                capture_output=True, text=True, check=True)
        rows = list(csv.DictReader(io.StringIO(result.stdout)))
        self.assertEqual([(row["model"], row["layers"], row["step"]) for row in rows],
                         [("first", "3", "1"), ("first", "3", "2"), ("deep", "5", "1"), ("grouped_heads", "3", "")])
        self.assertEqual(float(rows[2]["zeta_L (%)"]), found["deep"]["jump_rate"][0, -1])

    def test_a_text_is_its_tokens(self):
        text = self.data / "text"
        text.write_text("Of arms and the man, ä\n" * 40)
        self.jreg("tokenize", text, "--output", self.data / "bytes")
        run = self.train("run", train__steps=1, model__vocab=257, data__train=self.data / "bytes", data__validation="")
        tokens, direct = self.analyze([run]), self.analyze([run], "--text", text, "--tokenizer", "byte", ranks=2)
        for name, values in tokens["probe"].items():
            np.testing.assert_allclose(direct["probe"][name], values, rtol=2e-5, atol=1e-5)
        self.assertEqual(int(direct["probe"]["displacement_histogram"][0, 0].sum()), 2 * looking.LENGTH)

    def test_hugging_face_s_models_are_what_transformers_computes(self):
        folders = sorted(path for path in HUGGING_FACE.iterdir() if path.is_dir())
        self.assertGreaterEqual(len(folders), 4)
        for number, folder in enumerate(folders):
            wanted = reference_of(folder)
            parts = []
            for row, tokens in enumerate(wanted["tokens"]):
                tokens.astype("<u2").tofile(self.data / f"row{row}.bin")
                parts.append(self.analyze([folder], "--data", self.data / f"row{row}.bin", "--data.format", "raw16",
                                          "--sequence-length", len(tokens) - 1)["probe"])
            psi = np.mean([part["displacement"][0] for part in parts], axis=0)
            with self.subTest(model=folder.name):
                np.testing.assert_allclose(psi, wanted["displacement"], rtol=2e-5, atol=1e-6)
                rises = 100 * np.maximum(0, np.diff(psi))
                np.testing.assert_allclose(np.cumsum(rises[::-1])[::-1], wanted["jump_rate"][1:], rtol=0, atol=2e-3)
                np.testing.assert_allclose(np.mean([part["loss"][0] for part in parts]), wanted["loss"][0], rtol=2e-5)
                self.assertGreater(wanted["jump_rate"][-1], 1e-2, "the comparison sees a jump")

    def test_what_cannot_be_is_refused_in_one_line(self):
        run = self.train("run", train__steps=1)
        output = self.folder / "a.h5"

        def refuse(code, parts, *words, ranks=None):
            with self.subTest(words=words):
                self.assert_refused(self.jreg("analyze", *words, ranks=ranks, check=code), *parts)
                self.assertFalse(output.exists())

        refuse(2, ["--checkpoint"], "--output", output)
        refuse(2, ["--output"], "--checkpoint", run)
        refuse(2, ["dynamics.h5", "--overwrite"], "--checkpoint", run, "--output", run / "dynamics.h5")
        refuse(2, ["nowhere", "is not there"], "--checkpoint", f"{run},nowhere", "--output", output, ranks=2)
        refuse(2, ["two commas"], "--checkpoint", f"{run},,{run}", "--output", output)
        refuse(2, ["--data", "--text"], "--checkpoint", run, "--data", "a", "--text", "b", "--output", output)
        refuse(2, ["--data", "--text"], "--checkpoint", HUGGING_FACE / "grouped_heads", "--output", output)
        refuse(2, ["nowhere.txt"], "--checkpoint", run, "--text", "nowhere.txt", "--output", output)
        short = self.data / "short.txt"
        short.write_text("too short")
        refuse(2, ["short.txt: 10 tokens", "train.sequence_length = 16"], "--checkpoint", run, "--text", short,
               "--output", output)
        short.write_text("beyond the vocabulary of 96: z")
        refuse(65, ["short.txt", "vocabulary of 96"], "--checkpoint", run, "--text", short, "--output", output)
        refuse(2, ["model.heads = 4", "mesh.tensor = 3"], "--checkpoint", run, "--tensor", "3", "--output", output,
               ranks=3)
        empty = self.folder / "empty"
        (empty / "checkpoints").mkdir(parents=True)
        refuse(2, ["empty", "no complete checkpoint"], "--checkpoint", empty, "--all-checkpoints", "--output", output)


if __name__ == "__main__":
    support.main()
