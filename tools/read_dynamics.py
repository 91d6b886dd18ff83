#!/usr/bin/env python3
"""Shows what training recorded: groups, rows and last values of dynamics.h5; writes them as CSV; follows a run.

    tools/read_dynamics.py RUN_OR_FILE [...]
    tools/read_dynamics.py RUN --csv DIR                             DIR/train.csv, validation.csv, probe.csv
    tools/read_dynamics.py RUN --group train --output train.csv
    tools/read_dynamics.py RUN --follow                              new rows, until the run has ended

RUN_OR_FILE is a run folder, its dynamics.h5 (finished, growing, or left by a killed run), or a checkpoint folder, whose
index.h5 holds the rows up to its step. In CSV a column per layer becomes displacement_1 .. displacement_L, a hidden
state's hidden_norm_0 .. hidden_norm_L, and bin b = 0 .. 63 of a histogram displacement_histogram_LAYER_b; what does not
exist is NaN. A growing file cannot be read over NFS or SMB: read log.jsonl there until the run has ended.

As a module, from a script or notebook with this folder on its path:

    import read_dynamics
    columns = read_dynamics.read("runs/try")                         {"train/loss": array of (updates), ...}
    table = read_dynamics.to_pandas("runs/try", "train")             pandas.DataFrame with the columns of the CSV
"""
import argparse
import json
import os
import pathlib
import socket
import sys
import time

import numpy as np

import dynamics

HEARTBEAT_SECONDS = 30  # a run renews its lock every 10 s


def read(path):
    """{"train/step": array, "train/displacement": array (rows, L), "probe/displacement_histogram": (rows, L, 64), ...}

    `path` is what the command takes. Raises OSError naming it where it cannot be read: dynamics.UserError where there
    is no such file, dynamics.DataError where it is not jreg's, or damaged.
    """
    run = dynamics.load_any(path)
    return {f"{group}/{name}": values for group in dynamics.GROUPS for name, values in getattr(run, group).items()}


def to_pandas(path, group="train"):
    """A group (train, validation or probe) as pandas.DataFrame, one row per step, one number per column as in the CSV.

    Raises what read() does, and ImportError where pandas is missing.
    """
    try:
        import pandas  # the one function that needs it
    except ImportError as error:
        raise ImportError("to_pandas() needs pandas: apt-get install python3-pandas, or pip install pandas") from error
    if group not in dynamics.GROUPS:
        raise ValueError(f"group {group!r} is none of {', '.join(dynamics.GROUPS)}")
    return pandas.DataFrame(dict(dynamics.flat_columns(getattr(dynamics.load_any(path), group))))


def text_of(number):
    """Shortest decimal text that reads back as the same number."""
    if isinstance(number, np.integer):
        return str(number)
    return "NaN" if np.isnan(number) else repr(float(number))


def write_csv(file, columns):
    """Writes a group's columns beside `file` and renames, so that `file` is always whole. Raises OSError."""
    flat = dynamics.flat_columns(columns)
    beside = file.with_name(file.name + ".tmp")
    try:
        with open(beside, "w", encoding="ascii") as stream:
            stream.write(",".join(name for name, _ in flat) + "\n")
            for row in range(len(columns["step"])):
                stream.write(",".join(text_of(values[row]) for _, values in flat) + "\n")
        os.replace(beside, file)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def short(number):
    return str(number) if isinstance(number, np.integer) else f"{number:.5g}"


def layer_values(row):
    """[(name, number)] that stand for the columns per layer: the last layer's, and the jump rate over all layers."""
    found = []
    for name in ("displacement", "jump_rate"):
        layers = len(row.get(name, ()))
        if name == "jump_rate" and layers > 2:
            found.append((f"{name}_2", row[name][1]))
        if layers:
            found.append((f"{name}_{layers}", row[name][-1]))
    return found


def row_text(columns, at):
    """name=value of one row: every number, and for columns per layer what layer_values() picks."""
    row = {name: values[at] for name, values in columns.items()}
    single = [(name, value) for name, value in row.items() if np.ndim(value) == 0]
    return " ".join(f"{name}={short(value)}" for name, value in single + layer_values(row))


def shape_text(name, values):
    axes = {"hidden_norm": ["L+1"], "displacement_histogram": ["L", str(values.shape[-1])]}
    if values.ndim == 1:
        return name
    return f"{name} ({', '.join(axes.get(name, ['L']))})"


def describe(run):
    """Several lines on a run: what it is, and rows, columns and last row of each group."""
    states = {None: "growing, or left by a writer that was killed", True: "left by a writer that was killed",
              False: "growing"}
    state = states[writer_is_gone(run.file.parent)] if run.growing else "closed by its writer"
    layers = run.layers
    lines = [f"{run.file}: {run.kind} of jreg {run.config.get('version', '')}, {layers} layers, {state}"]
    for name in dynamics.GROUPS:
        columns = getattr(run, name)
        step = columns["step"]
        rows = f"{len(step)} rows, steps {step[0]} to {step[-1]}" if len(step) else "no rows yet"
        lines.append(f"  {name:<11} {rows}")
        lines.append(f"    columns   {' '.join(shape_text(column, values) for column, values in columns.items())}")
        if len(step):
            lines.append(f"    last row  {row_text(columns, -1)}")
    return "\n".join(lines)


def writer_is_gone(folder):
    """Whether run.lock of a run folder tells that its holder ended. None where there is no such file to tell."""
    try:
        text = (folder / "run.lock").read_text(encoding="utf-8")
        if not text.strip():
            return True  # emptied by a holder that ended by itself
        holder = json.loads(text)
        age = time.time() - holder["heartbeat"]
        if holder["host"] != socket.gethostname():
            return age > 120  # when jreg, too, takes such a lock over
        return age > HEARTBEAT_SECONDS and not pathlib.Path(f"/proc/{holder['pid']}").exists()
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Follower:
    """Hands out the rows that a growing file gets. A run that is resumed puts a new file in the old one's place."""

    def __init__(self, run, groups):
        self.file = run.file
        self.last = {group: max(getattr(run, group)["step"], default=-1) for group in groups}
        self.data = None
        self.inode = None

    def close(self):
        if self.data is not None:
            self.data.close()
            self.data = None

    def new_rows(self):
        """[(group, columns)] of what came since the last call; None as columns where a resumed run went back."""
        inode = os.stat(self.file).st_ino
        if inode != self.inode:
            self.close()
            self.data, self.inode = dynamics.open_dynamics(self.file), inode
        found = []
        for group, last in self.last.items():
            columns = dynamics.columns_of(self.data[group])
            dynamics.refresh(columns)
            step = columns["step"][:]
            newest = int(step[-1]) if len(step) else -1
            if newest < last:
                found.append((group, None))
            elif newest > last:
                begin = int(np.searchsorted(step, last, side="right"))
                found.append((group, {name: np.asarray(values[begin : len(step)]) for name, values in columns.items()}))
            self.last[group] = newest
        return found


def show(rows, last):
    lines = []
    for group, columns in rows:
        if columns is None:
            print(f"{group:<11}resumed: goes on after step {last[group]}")
        else:
            lines += [(step, f"{group:<11}{row_text(columns, row)}") for row, step in enumerate(columns["step"])]
    for _, line in sorted(lines, key=lambda line: line[0]):
        print(line)
    sys.stdout.flush()


def note(text):
    print(f"read_dynamics.py: {text}", file=sys.stderr)


def follow(run, groups, interval, patience):
    """Prints new rows until the writer has closed the file, has died, or gave no row for `patience` seconds."""
    follower = Follower(run, groups)
    quiet_since = time.monotonic()
    try:
        while True:
            # Asked before the rows are read, so that the last rows are not missed.
            growing, gone = dynamics.is_growing(run.file), writer_is_gone(run.file.parent)
            rows = follower.new_rows()
            show(rows, follower.last)
            if rows:
                quiet_since = time.monotonic()
            if not growing:
                return
            if gone and not rows:
                note(f"{run.file}: its writer ended without closing it; rows end here")
                return
            if gone is None and time.monotonic() - quiet_since > patience:
                note(f"{run.file}: no new row for {patience:g} s; following ends")
                return
            time.sleep(interval)
    finally:
        follower.close()


def write_folder(runs, folder, groups):
    labels = [run.label.replace(" ", "_") for run in runs]
    if len(set(labels)) != len(labels):
        twice = max(labels, key=labels.count)
        raise dynamics.UserError(f"--csv {folder}: two runs are both called {twice}; write them apart")
    for run, label in zip(runs, labels):
        at = pathlib.Path(folder) / (label if len(runs) > 1 else "")
        at.mkdir(parents=True, exist_ok=True)
        for group in groups:
            write_csv(at / f"{group}.csv", getattr(run, group))
            print(f"{at / group}.csv: {len(getattr(run, group)['step'])} rows")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, epilog=dynamics.EXIT_CODES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_OR_FILE", help="run or checkpoint folder, or a file of theirs")
    parser.add_argument("--group", choices=dynamics.GROUPS, help="this group alone (default: all; with --output train)")
    parser.add_argument("--csv", metavar="DIR", help="write each group to a file in DIR; of several runs in DIR/RUN")
    parser.add_argument("--output", metavar="FILE", help="write one group of one run to this CSV file")
    parser.add_argument("--follow", action="store_true",
                        help="then print a line for each new row, until the run closes the file or its process is gone")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between looks (default: 1)")
    parser.add_argument("--patience", type=float, default=600.0, metavar="S",
                        help="where no run.lock tells whether the writer lives: give up after S seconds without a new "
                             "row (default: 600)")
    options = parser.parse_args()
    if (options.follow or options.output) and len(options.runs) > 1:
        parser.error(f"{'--follow' if options.follow else '--output'} takes one run")
    if sum(map(bool, (options.follow, options.output, options.csv))) > 1:
        parser.error("--csv, --output and --follow go one at a time")
    if not options.interval > 0 or not options.patience >= 0:
        parser.error("--interval and --patience take positive seconds")
    return options


def main():
    options = parse_options()
    runs = [dynamics.load_any(path) for path in options.runs]
    groups = [options.group] if options.group else list(dynamics.GROUPS)
    if options.csv:
        write_folder(runs, options.csv, groups)
    elif options.output:
        write_csv(pathlib.Path(options.output), getattr(runs[0], options.group or "train"))
    else:
        print("\n".join(map(describe, runs)), flush=True)
    if options.follow:
        follow(runs[0], groups, options.interval, options.patience)
    return 0


if __name__ == "__main__":
    sys.exit(dynamics.run_tool("read_dynamics.py", main))
