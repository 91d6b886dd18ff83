"""tools/plot_dynamics.py and tools/run_table.py on files in the layout of dynamics.h5."""
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
import dynamics  # noqa: E402
import plot_dynamics  # noqa: E402
import run_table  # noqa: E402


def write_dynamics(folder, steps=120, layers=6, jump=0.2, extra_rows=0):
    """A run whose last layer's displacement grows to `jump`; `extra_rows` of /train have no step yet."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = steps + extra_rows
    step = np.arange(1, rows + 1)
    psi = np.full((rows, layers), 0.05) + 0.005 * np.arange(layers)
    psi[:, -1] += jump * step / rows
    rises = np.maximum(0, np.diff(psi, axis=1))
    rate = np.full((rows, layers), np.nan)
    rate[:, 1:] = 100 * np.cumsum(rises[:, ::-1], axis=1)[:, ::-1]
    loss = 4 + 4 * np.exp(-step / 40)
    columns = {"loss": loss, "jreg": psi.mean(axis=1), "jreg_lambda": np.full(rows, 0.5), "displacement": psi,
               "learning_rate": np.full(rows, 1e-3), "grad_norm": np.ones(rows), "jump_rate": rate,
               "tokens_per_second": np.full(rows, 1234.0), "hidden_norm": np.ones((rows, layers + 1))}
    with h5py.File(folder / "dynamics.h5", "w", libver="latest") as file:
        file.attrs["model.layers"] = str(layers)
        train = file.create_group("train")
        train["step"] = step[:steps]
        for name, values in columns.items():
            train[name] = values
        file["validation/step"] = np.array([60, steps])
        file["validation/loss"] = np.array([5.5, 4.25])
        file["probe/step"] = np.array([0, 1, 2])
    return folder


class Reports(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)
        self.runs = [str(write_dynamics(self.folder / "baseline")),
                     str(write_dynamics(self.folder / "jreg", jump=0.02))]

    def call(self, tool, *arguments):
        return subprocess.run([sys.executable, TOOLS / tool, *arguments], capture_output=True, text=True, check=False)

    def test_figure_is_written_in_the_format_of_its_suffix(self):
        for name, magic in (("report.png", b"\x89PNG"), ("report.svg", b"<?xml")):
            result = self.call("plot_dynamics.py", *self.runs, "--output", str(self.folder / name))
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stderr, "")
            content = (self.folder / name).read_bytes()
            self.assertTrue(content.startswith(magic))
            self.assertGreater(len(content), 20000)
        for text in (b"Jump rate", b"baseline", b"jreg", b"nats per token"):
            self.assertIn(text, (self.folder / "report.svg").read_bytes())

    def test_one_run_of_one_update_is_drawn(self):
        run = str(write_dynamics(self.folder / "young", steps=1))
        result = self.call("plot_dynamics.py", run, "--output", str(self.folder / "report.png"))
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_smoothing_leaves_a_constant_alone_and_skips_nan(self):
        values = np.full(50, 3.0)
        values[7] = np.nan
        for width in (1, 2, 5, 8):
            smoothed = plot_dynamics.smooth(values, width)
            self.assertEqual(len(smoothed), 50)
            self.assertTrue(np.allclose(smoothed[8:], 3.0))

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

    def test_missing_and_foreign_files_are_named_in_one_line(self):
        foreign = self.folder / "foreign.h5"
        foreign.write_bytes(b"not HDF5" * 100)
        for path in (str(self.folder / "nowhere"), str(foreign)):
            for tool in ("plot_dynamics.py", "run_table.py"):
                result = self.call(tool, path)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
                self.assertIn(path, result.stderr)


if __name__ == "__main__":
    unittest.main()
