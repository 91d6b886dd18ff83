"""tools/read_dynamics.py and to_tensorboard.py on runs of the program: finished, killed, live, resumed; checkpoints.

Where JREG_TENSORBOARD_PYTHON names a Python that has h5py and the package tensorboard (the default: where this one has
it), event files are written and read back with that package.
"""
import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import unittest

import h5py
import numpy as np

import support
from support import ROOT

import read_dynamics  # support has tools/ on the path

TOOLS = ROOT / "tools"
HERE = sys.executable if importlib.util.find_spec("tensorboard") else ""
TENSORBOARD_PYTHON = os.environ.get("JREG_TENSORBOARD_PYTHON", HERE)
READ_EVENTS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0})
events.Reload()
tags = events.Tags()
json.dump({"scalars": {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags["scalars"]},
           "histograms": {tag: [(e.step, list(e.histogram_value.bucket_limit), list(e.histogram_value.bucket))
                                for e in events.Histograms(tag)] for tag in tags["histograms"]}}, sys.stdout)
"""


def numbers_of(file):
    """{column: array} of a CSV file."""
    with open(file, encoding="ascii") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


class ReadDynamics(support.ProgramTest):
    def tool(self, name, *words, code=0, python=sys.executable):
        result = subprocess.run([python, "-B", TOOLS / name, *map(str, words)], capture_output=True, text=True,
                                timeout=120, check=False, cwd=self.folder)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result

    def start(self, run, **changes):
        """A run that goes on until it is ended; returns its process once a row is there."""
        options = self.options(run, train__steps=10**7, log__interval=10**6, eval__interval=50, **changes)
        process = subprocess.Popen([support.JREG, "train", *options], cwd=self.folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if len(read_dynamics.read(self.folder / run)["train/step"]):
                    return process
            except OSError:  # not there yet
                pass
            time.sleep(0.1)
        self.fail(f"{run}: no row; exit code {process.poll()}")

    def test_csv_has_every_number_under_the_name_of_its_layer(self):
        run = self.train("run")
        self.tool("read_dynamics.py", run, "--csv", "csv")
        truth = support.read_columns(run)
        for group in ("train", "validation", "probe"):
            table = numbers_of(self.folder / f"csv/{group}.csv")
            for name, values in truth.items():
                if not name.startswith(group) or name.split("/")[1] in ("layer", "state", "bin"):
                    continue
                name = name.split("/")[1]
                for index in np.ndindex(values.shape[1:]):
                    first = {"hidden_norm": (0,), "displacement_histogram": (1, 0)}.get(name, (1,))
                    column = "_".join([name, *(str(i + start) for i, start in zip(index, first))])
                    np.testing.assert_array_equal(table.pop(column), values[(slice(None), *index)], column)
            self.assertEqual(table, {})
        self.tool("read_dynamics.py", run, "--group", "validation", "--output", "loss.csv")
        self.assertEqual((self.folder / "loss.csv").read_text(), (self.folder / "csv/validation.csv").read_text())
        self.tool("read_dynamics.py", run, "--output", "no/where.csv", code=2)

    def test_a_module_gives_arrays_and_a_table_of_a_run_and_of_its_checkpoint(self):
        run = self.train("run", checkpoint__interval=4)
        columns, truth = read_dynamics.read(run), support.read_columns(run)
        for name, values in columns.items():
            np.testing.assert_array_equal(values, truth[name], name)
            self.assertEqual(values.dtype, truth[name].dtype)
        self.assertEqual(len(columns), 11 + 2 + 8)
        folder = run / "checkpoints/step_00000004"
        for path in (folder, folder / "index.h5"):
            early = read_dynamics.read(path)
            self.assertEqual(early["train/step"].tolist(), [1, 2, 3, 4])
            np.testing.assert_array_equal(early["train/displacement"], columns["train/displacement"][:4])
        shown = self.tool("read_dynamics.py", run, folder).stdout
        self.assertIn("6 rows, steps 1 to 6", shown)
        self.assertIn("4 rows, steps 1 to 4", shown)
        self.assertIn("closed by its writer", shown)
        self.assertIn(f"jump_rate_3={columns['train/jump_rate'][-1, -1]:.5g}", shown)
        self.tool("read_dynamics.py", folder / "rank_00000.h5", code=65)
        self.tool("read_dynamics.py", folder / "manifest.json", code=65)

    @unittest.skipUnless(importlib.util.find_spec("pandas"), "python3-pandas is not installed")
    def test_pandas_gets_the_columns_of_the_csv(self):
        run = self.train("run")
        self.tool("read_dynamics.py", run, "--csv", "csv")
        for group in ("train", "probe"):
            table = read_dynamics.to_pandas(run, group)
            written = numbers_of(self.folder / f"csv/{group}.csv")
            self.assertEqual(list(table.columns), list(written))
            np.testing.assert_array_equal(table.to_numpy(dtype=float), np.array(list(written.values())).T)
        with self.assertRaisesRegex(ValueError, "'tests' is none of train, validation, probe"):
            read_dynamics.to_pandas(run, "tests")

    def follow(self, run):
        """A process that follows a run; what it writes to standard error goes to the file `errors`."""
        command = [sys.executable, "-B", TOOLS / "read_dynamics.py", run, "--follow", "--interval", "0.1"]
        with open(self.folder / "errors", "w", encoding="utf-8") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=self.folder)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def rest_of(self, following):
        """(lines that are still to come, standard error) of a process that follows; it ends by itself with 0."""
        lines = following.stdout.read().splitlines()
        errors = (self.folder / "errors").read_text()
        self.assertEqual(following.wait(), 0, errors)
        return lines, errors

    def steps_of(self, lines, group="train"):
        return [int(line.split("step=")[1].split()[0]) for line in lines if line.startswith(group) and "step=" in line]

    def test_rows_of_a_live_run_are_followed_until_it_ends(self):
        training = self.start("run")
        following = self.follow("run")
        lines = [following.stdout.readline() for _ in range(60)]  # the overview has 10 lines, then rows come
        self.assertIn("growing", lines[0])
        training.send_signal(signal.SIGTERM)
        rest, errors = self.rest_of(following)
        self.assertEqual(errors, "")
        self.assertEqual(training.wait(), 85)
        lines += rest
        columns = read_dynamics.read(self.folder / "run")
        for group in ("train", "validation"):
            steps = self.steps_of(lines, group)
            self.assertEqual(steps, columns[f"{group}/step"][-len(steps):].tolist())
        self.assertIn("closed by its writer", self.tool("read_dynamics.py", "run").stdout)

    def test_a_killed_run_is_read_and_its_end_is_seen(self):
        training = self.start("run")
        following = self.follow("run")
        for _ in range(20):
            following.stdout.readline()
        training.kill()
        training.wait()
        # Its heartbeat is of a while ago, and no process has its number.
        lock = self.folder / "run/run.lock"
        holder = json.loads(lock.read_text())
        lock.write_text(json.dumps({**holder, "heartbeat": holder["heartbeat"] - 60}))
        rest, errors = self.rest_of(following)
        self.assertIn("its writer ended without closing it", errors)
        columns = read_dynamics.read(self.folder / "run")
        if steps := self.steps_of(rest):
            self.assertEqual(steps[-1], columns["train/step"][-1])
        self.assertTrue(np.isfinite(columns["train/loss"]).all())
        self.assertIn("left by a writer that was killed", self.tool("read_dynamics.py", "run").stdout)
        self.assertEqual(self.tool("plot_dynamics.py", "run").stderr, "")
        self.assertIn("updates", self.tool("run_table.py", "run").stdout)

    def test_without_a_lock_following_gives_up_after_the_patience_given(self):
        training = self.start("run")
        training.kill()
        training.wait()
        (self.folder / "run/run.lock").unlink()
        result = self.tool("read_dynamics.py", "run", "--follow", "--interval", 0.1, "--patience", 0.5)
        self.assertIn("no new row for 0.5 s", result.stderr)

    def test_a_resumed_run_is_followed_in_its_new_file(self):
        run = self.train("run", "--stop-at", 4, train__steps=8, checkpoint__interval=2)
        file, other = run / "dynamics.h5", self.folder / "other"
        follower = read_dynamics.Follower(read_dynamics.dynamics.load_any(run), ["train"])
        self.addCleanup(follower.close)
        self.assertEqual(follower.new_rows(), [])
        # From step 2: rows 3 and 4 are taken back, and come again.
        other.mkdir()
        with h5py.File(file) as source, h5py.File(other / "dynamics.h5", "w", libver="v110") as target:
            for name in source["train"]:
                target[f"train/{name}"] = source["train"][name][:2] if name not in ("layer", "state") else 0
        os.replace(other / "dynamics.h5", file)
        self.assertEqual([(group, columns) for group, columns in follower.new_rows()], [("train", None)])
        self.train("run", "--resume", "auto", train__steps=8, checkpoint__interval=2)
        [(group, columns)] = follower.new_rows()
        self.assertEqual((group, columns["step"].tolist()), ("train", [3, 4, 5, 6, 7, 8]))

    @unittest.skipUnless(TENSORBOARD_PYTHON, "set JREG_TENSORBOARD_PYTHON to a Python with h5py and tensorboard")
    def test_tensorboard_reads_the_same_numbers(self):
        run = self.train("run", jreg__lambda=0.5)
        self.tool("to_tensorboard.py", run, "--output", "events", python=TENSORBOARD_PYTHON)
        found = json.loads(subprocess.run([TENSORBOARD_PYTHON, "-c", READ_EVENTS, "events/run"], capture_output=True,
                                          text=True, check=True, cwd=self.folder).stdout)
        columns = read_dynamics.read(run)
        wanted = {"loss/train": "train/loss", "loss/validation": "validation/loss", "loss/probe": "probe/loss",
                  "jreg/penalty": "train/jreg", "jreg/lambda": "train/jreg_lambda", "speed/tokens": "train/tokens",
                  "speed/tokens_per_second": "train/tokens_per_second", "optimizer/grad_norm": "train/grad_norm",
                  "optimizer/learning_rate": "train/learning_rate", "jump_rate/zeta_2": ("train/jump_rate", 1),
                  "jump_rate/zeta_L": ("train/jump_rate", 2), **{f"displacement/layer_0{layer + 1}":
                                                                 ("train/displacement", layer) for layer in range(3)}}
        self.assertEqual(found["scalars"].keys(), wanted.keys())
        for tag, source in wanted.items():
            name, layer = source if isinstance(source, tuple) else (source, None)
            values = columns[name] if layer is None else columns[name][:, layer]
            steps = columns[f"{name.split('/')[0]}/step"]
            kept = [[step, float(np.float32(value))] for step, value in zip(steps, values)]
            self.assertEqual(found["scalars"][tag], kept, tag)
        for layer in range(3):
            events = found["histograms"][f"displacement_of_tokens/layer_0{layer + 1}"]
            self.assertEqual([step for step, *_ in events], columns["probe/step"].tolist())
            for (_, limits, buckets), counts in zip(events, columns["probe/displacement_histogram"][:, layer]):
                bins = np.round(np.array(limits) * 64).astype(int) - 1
                self.assertEqual(buckets, counts[bins].tolist())
                self.assertEqual(sum(buckets), counts.sum())


if __name__ == "__main__":
    support.main()
