"""The tools that read runs, on files in the layout of dynamics.h5: sound, strange and damaged ones.

Event files are checked through a stand-in for the package tensorboard; test_read_dynamics.py reads them with the
package where it is there.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import h5py
import numpy as np

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import dynamics  # noqa: E402
import read_dynamics  # noqa: E402
import run_table  # noqa: E402
import to_tensorboard  # noqa: E402


# The part of the package tensorboard that the tool uses, with JSON in the place of its records.
STAND_IN = {
    "compat/proto/event_pb2.py": """
import json
class Event:
    def __init__(self, **fields): self.fields = fields
    def SerializeToString(self): return json.dumps(self.fields).encode()
""",
    "compat/proto/summary_pb2.py": """
HistogramProto = dict
class Summary(dict):
    Value = dict
""",
    "summary/writer/record_writer.py": """
class RecordWriter:
    def __init__(self, stream): self.stream = stream
    def write(self, record): self.stream.write(record + b"\\n")
""",
}


def jump_rates(psi):
    rises = np.maximum(0, np.diff(psi, axis=1))
    rate = np.full(psi.shape, np.nan)
    rate[:, 1:] = 100 * np.cumsum(rises[:, ::-1], axis=1)[:, ::-1]
    return rate


def write_dynamics(folder, steps=120, layers=6, jump=0.2, extra_rows=0, probes=(0, 1, 2, 4, 8, 16, 32, 64)):
    """A run whose last layer's displacement grows to `jump`; `extra_rows` of /train have no step yet."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = steps + extra_rows
    step = np.arange(1, rows + 1)
    psi = np.full((rows, layers), 0.05) + 0.005 * np.arange(layers)
    psi[:, -1] += jump * step / rows
    loss = 4 + 4 * np.exp(-step / 40)
    columns = {"loss": loss, "jreg": psi.mean(axis=1), "jreg_lambda": np.full(rows, 0.5), "displacement": psi,
               "learning_rate": np.full(rows, 1e-3), "grad_norm": np.ones(rows), "jump_rate": jump_rates(psi),
               "tokens": 4096 * step, "tokens_per_second": np.full(rows, 1234.0),
               "hidden_norm": np.ones((rows, layers + 1))}
    with h5py.File(folder / "dynamics.h5", "w", libver="latest") as file:
        file.attrs.update({"format": "jreg dynamics", "format_version": 1, "model.layers": str(layers),
                           "start_time": "2026-01-02T03:04:05Z"})
        train = file.create_group("train")
        train["step"] = step[:steps]
        for name, values in columns.items():
            train[name] = values
        validation = sorted({step for step in (60, steps) if 0 < step <= steps})
        file["validation/step"] = np.array(validation, dtype=np.int64)
        file["validation/loss"] = np.array([5.5, 4.25][2 - len(validation):])
        file["probe/step"] = np.array(probes, dtype=np.int64)
        psi = np.full((len(probes), layers), 0.05) + 0.005 * np.arange(layers)
        histogram = np.zeros((len(probes), layers, 64), dtype=np.int64)
        histogram[:, :, 3], histogram[:, :, 5] = 30, 2
        for name, values in {"loss": np.full(len(probes), 5.0), "displacement": psi, "jump_rate": jump_rates(psi),
                             "displacement_histogram": histogram}.items():
            file[f"probe/{name}"] = values
    return folder


class ToolTest(unittest.TestCase):
    """A temporary folder with two runs of 120 updates and 6 layers, and ways to call the tools."""

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)
        self.runs = [str(write_dynamics(self.folder / "baseline")),
                     str(write_dynamics(self.folder / "jreg", jump=0.02))]

    def call(self, tool, *arguments):
        return subprocess.run([sys.executable, TOOLS / tool, *arguments], capture_output=True, text=True, check=False)

    def assert_one_line(self, result, code, *parts):
        """The tool ended with `code` and one line on standard error that holds every part."""
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for part in parts:
            self.assertIn(part, result.stderr)


class Reports(ToolTest):
    def test_rows_without_a_step_are_left_out(self):
        run = dynamics.load_run(write_dynamics(self.folder / "live", steps=70, extra_rows=1))
        self.assertEqual({len(values) for values in run.train.values()}, {70})

    def test_a_live_swmr_file_is_read(self):
        path = write_dynamics(self.folder / "live") / "dynamics.h5"
        with h5py.File(path, "r+", libver="latest") as writer:
            writer.swmr_mode = True
            code = f"import dynamics; print(len(dynamics.load_run({str(path)!r}).train['step']))"
            result = subprocess.run([sys.executable, "-c", code], cwd=TOOLS, capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stdout.strip()), (0, "120"), result.stderr)

    def test_table_shows_start_and_end_of_both_runs(self):
        result = self.call("run_table.py", *self.runs)
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = {line[:34].strip(): line[34:].split() for line in result.stdout.splitlines() if line}
        self.assertEqual(rows[""], ["baseline", "jreg"])
        self.assertEqual(rows["validation loss (nats per token)"], ["4.2500", "4.2500"])
        self.assertEqual(rows["tokens/s, median"], ["1234", "1234"])
        start, _, end, *_ = rows["Psi_L, start -> end"]
        self.assertAlmostEqual(float(start), 0.075 + 0.2 / 120, delta=1e-4)
        self.assertAlmostEqual(float(end), 0.275, delta=0.01)

    def test_entropy_of_equally_frequent_tokens_is_the_logarithm_of_their_number(self):
        prefix = self.folder / "tokens"
        np.tile(np.arange(8, dtype=np.uint16), 100).tofile(f"{prefix}.bin")
        pathlib.Path(f"{prefix}.idx").write_bytes(b"MMIDIDX\0\0" + struct.pack("<QB", 1, 8))
        self.assertAlmostEqual(run_table.unigram_entropy(prefix), np.log(8), places=12)

    def test_wrong_options_are_named_and_end_in_2(self):
        run = self.runs[0]
        for words, part in ((["read_dynamics.py", run, run, "--follow"], "--follow"),
                            (["read_dynamics.py", run, "--csv", "x", "--output", "y"], "--csv"),
                            (["read_dynamics.py", run, run, "--csv", str(self.folder / "csv")], "called baseline"),
                            (["to_tensorboard.py", run, "--output", "x", "--every", "0"], "--every")):
            result = self.call(*words)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(part, result.stderr)

    def test_output_that_nobody_reads_is_no_error(self):
        command = [sys.executable, "-B", TOOLS / "read_dynamics.py", self.runs[0]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            self.assertEqual((process.stderr.read(), process.wait()), (b"", 0))

    def test_missing_and_foreign_files_are_named_in_one_line(self):
        foreign = self.folder / "foreign.h5"
        foreign.write_bytes(b"not HDF5" * 100)
        other = self.folder / "other.h5"
        with h5py.File(other, "w") as file:
            file["x"] = [1]
        for tool in ("read_dynamics.py", "run_table.py"):
            for path, code in ((self.folder / "nowhere", 2), (self.folder, 2), (foreign, 65), (other, 65)):
                self.assert_one_line(self.call(tool, str(path)), code, str(path))

    def test_a_run_without_rows_is_shown_and_not_drawn(self):
        run = str(write_dynamics(self.folder / "young", steps=0, probes=()))
        result = self.call("read_dynamics.py", run)
        self.assertEqual((result.returncode, result.stdout.count("no rows yet")), (0, 3), result.stderr)
        self.assert_one_line(self.call("run_table.py", run), 2, "young/dynamics.h5", "no updates yet")

    def test_damage_is_named_and_kills_no_tool(self):
        file = write_dynamics(self.folder / "run") / "dynamics.h5"
        sound = file.read_bytes()
        random = np.random.default_rng(7)
        outcomes = set()
        for turn in range(12):
            damaged = bytearray(sound[: len(sound) // 2] if turn == 0 else sound)
            for at in random.integers(12, min(len(damaged), 4096), size=16):
                damaged[at] = random.integers(256)
            file.write_bytes(damaged)
            try:
                dynamics.load_run(file)
                outcomes.add("read")
            except dynamics.DataError as error:
                self.assertTrue(str(error).startswith(f"{file}: "), error)
                self.assertEqual(len(str(error).splitlines()), 1)
                outcomes.add("named")
        self.assertIn("named", outcomes)

    def test_a_reader_that_crashes_or_finds_no_end_is_damage(self):
        reader = self.folder / "reader.py"
        for code, words in (("import os; os.kill(os.getpid(), 11)", "signal 11"),
                            ("import time; time.sleep(99)", "no end")):
            reader.write_text(code)
            with mock.patch.object(dynamics, "READER", str(reader)), mock.patch.object(dynamics, "SECONDS", 1):
                with self.assertRaisesRegex(dynamics.DataError, f"baseline/dynamics.h5: is damaged.*{words}"):
                    dynamics.load_run(self.runs[0])

    def test_columns_that_contradict_each_other_are_refused(self):
        def short(file):
            del file["train/loss"]
            file["train/loss"] = np.zeros(7)

        def linked(file):
            del file["probe/loss"]
            file["probe/loss"] = h5py.ExternalLink("elsewhere.h5", "loss")

        def led_away(file):
            del file["validation"]
            file["validation"] = h5py.ExternalLink("elsewhere.h5", "validation")

        def backwards(file):
            file["train/step"][3] = 1

        def huge(file):
            del file["train"]
            for name in ("step", "loss"):
                file.create_dataset(f"train/{name}", (10**12,), "i8", chunks=(64,))

        def newer(file):
            file.attrs["format_version"] = 2

        for change, words in ((short, "7 rows instead of 120"), (linked, "link to elsewhere"),
                              (led_away, "/validation is no group of this file"),
                              (backwards, "do not rise"), (huge, "more rows than the file has bytes"),
                              (newer, "format version 2")):
            path = write_dynamics(self.folder / "run")
            with h5py.File(path / "dynamics.h5", "r+") as file:
                change(file)
            with self.assertRaisesRegex(dynamics.DataError, f"run/dynamics.h5: .*{words}"):
                dynamics.load_run(path)

    def test_event_files_hold_every_number(self):
        package = self.folder / "python/tensorboard"
        for name, text in STAND_IN.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
            (folder / "__init__.py").touch()
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "python")}
        words = [sys.executable, "-B", TOOLS / "to_tensorboard.py", *self.runs, "--output", str(self.folder / "events")]

        def write(*more):
            return subprocess.run([*words, *more], capture_output=True, text=True, check=False, env=environment)

        self.assertEqual(write().returncode, 0)
        self.assert_one_line(write(), 2, "exists", "--overwrite")
        self.assertEqual(write("--overwrite").returncode, 0)
        lines = (self.folder / "events/baseline" / to_tensorboard.EVENT_FILE).read_text().splitlines()
        events = [json.loads(line) for line in lines]
        self.assertEqual(events[0]["file_version"], "brain.Event:2")
        self.assertEqual(events[0]["wall_time"], 1767323045)
        found = {}
        for event in events[1:]:
            for value in event["summary"]["value"]:
                found.setdefault(value["tag"], []).append((event["step"], value))
        run = dynamics.load_run(self.runs[0])
        for tag, values in (("loss/train", run.train["loss"]), ("jump_rate/zeta_2", run.train["jump_rate"][:, 1]),
                            ("jump_rate/zeta_L", run.train["jump_rate"][:, -1]), ("loss/probe", run.probe["loss"]),
                            ("loss/validation", run.validation["loss"]),
                            ("displacement/layer_06", run.train["displacement"][:, 5])):
            self.assertEqual([value["simple_value"] for _, value in found[tag]], values.tolist(), tag)
        steps, histograms = zip(*found["displacement_of_tokens/layer_02"])
        self.assertEqual(list(steps), run.probe["step"].tolist())
        self.assertEqual(histograms[0]["histo"], {
            "min": 3 / 64, "max": 6 / 64, "num": 32, "sum": 32 * 0.055, "bucket": [30, 0, 2],
            "bucket_limit": [4 / 64, 5 / 64, 6 / 64], "sum_squares": 30 * (3.5 / 64) ** 2 + 2 * (5.5 / 64) ** 2})

    def test_a_missing_package_is_named_with_what_to_install(self):
        words = ["to_tensorboard.py", self.runs[0], "--output", "x"]
        code = (f"import runpy, sys; sys.modules['tensorboard'] = None; sys.argv = {words!r}; "
                f"sys.path.insert(0, {str(TOOLS)!r}); runpy.run_path({str(TOOLS / words[0])!r}, run_name='__main__')")
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        self.assert_one_line(result, 2, "pip install tensorboard")
        with mock.patch.dict(sys.modules, {"pandas": None}), self.assertRaisesRegex(ImportError, "python3-pandas"):
            read_dynamics.to_pandas(self.runs[0])

    def test_every_tool_explains_its_options_and_exit_codes(self):
        for tool in ("read_dynamics.py", "plot_dynamics.py", "to_tensorboard.py", "run_table.py", "compare_runs.py"):
            result = self.call(tool, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            for part in ("Exit codes: 0", "65", "74", tool):
                self.assertIn(part, result.stdout)


if __name__ == "__main__":
    unittest.main()
