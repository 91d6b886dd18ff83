"""tools/jump_table.py on files in the layout that jreg analyze writes."""
import csv
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "jump_table.py"


def jump_rate(psi):
    rises = 100 * np.maximum(0, np.diff(psi))
    return np.concatenate([[np.nan], np.cumsum(rises[::-1])[::-1]])


def write_analysis(path, models):
    """models: {name: [(step, loss, Psi)]}"""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "jreg analysis"
        file.attrs["models"] = ",".join(models)
        for name, rows in models.items():
            group = file.create_group(name)
            group["step"] = [step for step, _, _ in rows]
            group["loss"] = [loss for _, loss, _ in rows]
            group["displacement"] = [psi for _, _, psi in rows]
            group["jump_rate"] = [jump_rate(np.array(psi)) for _, _, psi in rows]


class JumpTable(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.two = self.folder / "two.h5"
        write_analysis(self.two, {"llama": [(-1, 2.5, [0.1, 0.05, 0.25])],
                                  "run": [(1, 4.0, [0.2, 0.1]), (8, 3.0, [0.1, 0.3])]})
        self.one = self.folder / "one.h5"
        write_analysis(self.one, {"probe": [(3, 1.0, [0.5, 0.25, 0.125, 0.0625])]})

    def call(self, *words):
        return subprocess.run([sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, check=False)

    def table(self, *words):
        result = self.call(*words, "--format", "csv")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return list(csv.DictReader(io.StringIO(result.stdout)))

    def test_a_line_per_model_and_checkpoint(self):
        rows = self.table(self.two)
        self.assertEqual([(row["model"], row["layers"], row["step"]) for row in rows],
                         [("llama", "3", ""), ("run", "2", "1"), ("run", "2", "8")])
        llama = {name: float(value) for name, value in rows[0].items() if name not in ("model", "step")}
        self.assertEqual(llama, {"layers": 3, "loss": 2.5, "Psi_1": 0.1, "Psi_L": 0.25, "max Psi": 0.25, "its layer": 3,
                                 "zeta_2 (%)": 20.0, "zeta_L (%)": 20.0})
        self.assertEqual((rows[1]["its layer"], float(rows[1]["zeta_L (%)"])), ("1", 0.0))
        self.assertAlmostEqual(float(rows[2]["zeta_2 (%)"]), 20.0, places=12)

    def test_a_file_of_one_model_gives_its_name(self):
        self.assertEqual([row["model"] for row in self.table(self.one, self.two)],
                         ["one", "two/llama", "two/run", "two/run"])

    def test_only_the_last_checkpoint(self):
        self.assertEqual([row["step"] for row in self.table(self.two, "--last")], ["", "8"])

    def test_markdown_has_equal_columns(self):
        result = self.call(self.one, self.two)
        lines = result.stdout.splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1, result.stdout)
        self.assertEqual(len(lines), 2 + 4)
        self.assertEqual({line.count("|") for line in lines}, {11})
        self.assertRegex(lines[2], r"^\| one +\| +4 \| +3 \| +1 \| +0.5 \| +0.0625 \| +0.5 \| +1 \| +0 \| +0 \|$")

    def test_what_is_no_analysis_is_named_in_one_line(self):
        foreign = self.folder / "foreign.h5"
        with h5py.File(foreign, "w") as file:
            file["probe/step"] = [1]
        broken = self.folder / "broken.h5"
        broken.write_bytes(b"no HDF5" * 100)
        for path in (foreign, broken, self.folder / "nowhere.h5"):
            result = self.call(path)
            self.assertEqual(result.returncode, 2)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
            self.assertIn(str(path), result.stderr)


if __name__ == "__main__":
    unittest.main()
