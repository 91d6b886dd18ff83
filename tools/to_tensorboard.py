#!/usr/bin/env python3
"""Writes runs as TensorBoard event files: scalars of every update, and the displacement's histograms at probes.

    tools/to_tensorboard.py RUN [RUN ...] --output DIR     then: tensorboard --logdir DIR

RUN is a run folder, a dynamics.h5 (it may still be growing: what is there is written) or a checkpoint folder. Each run
gets a folder of its name in DIR. Needs the package tensorboard of PyPI, in an environment that sees h5py and numpy:

    python3 -m venv --system-site-packages ~/tb && ~/tb/bin/pip install tensorboard
    ~/tb/bin/python tools/to_tensorboard.py RUN --output DIR

Tags: loss/train, loss/validation, loss/probe, jreg/penalty (R), jreg/lambda, jump_rate/zeta_2 (all layers),
jump_rate/zeta_L (last layer), optimizer/learning_rate, optimizer/grad_norm, speed/tokens_per_second, speed/tokens,
displacement/layer_01 ..., and histograms displacement_of_tokens/layer_01 ... TensorBoard keeps numbers in 32 bits. The
files hold no times of the updates: the start's is counted on by what each update took (evaluation and saves left out).
"""
import argparse
import datetime
import pathlib
import shutil
import sys

import numpy as np

import dynamics

SCALARS = (  # group, column, tag
    ("train", "loss", "loss/train"),
    ("validation", "loss", "loss/validation"),
    ("probe", "loss", "loss/probe"),
    ("train", "jreg", "jreg/penalty"),
    ("train", "jreg_lambda", "jreg/lambda"),
    ("train", "learning_rate", "optimizer/learning_rate"),
    ("train", "grad_norm", "optimizer/grad_norm"),
    ("train", "tokens_per_second", "speed/tokens_per_second"),
    ("train", "tokens", "speed/tokens"),
)
EVENT_FILE = "events.out.tfevents.0000000000.jreg"


def layer_name(layer, layers):
    """Padded, so that names sort like their numbers."""
    return f"layer_{layer:0{max(2, len(str(layers)))}d}"


def scalars_of(run):
    """[(group, tag, values (rows of the group))] in the order of their tags' first appearance."""
    found = [(group, tag, getattr(run, group)[column]) for group, column, tag in SCALARS
             if column in getattr(run, group)]
    if run.layers > 1:  # one layer has no jump rate
        found.append(("train", "jump_rate/zeta_2", run.train["jump_rate"][:, 1]))
        found.append(("train", "jump_rate/zeta_L", run.train["jump_rate"][:, -1]))
    for layer in range(run.layers):
        tag = f"displacement/{layer_name(layer + 1, run.layers)}"
        found.append(("train", tag, run.train["displacement"][:, layer]))
    return found


def histogram_of(counts, mean):
    """Fields of a HistogramProto for counts of equal bins on [0, 1]; empty bins at both ends are left out.

    `mean` is that of the values themselves; their squares are taken at the bins' centres.
    """
    bins = len(counts)
    full = np.flatnonzero(counts)
    first, last = (full[0], full[-1]) if len(full) else (0, bins - 1)
    counts = counts[first : last + 1]
    edges = np.arange(first, last + 2) / bins
    centres = (edges[:-1] + edges[1:]) / 2
    number = float(counts.sum())
    return {"min": edges[0], "max": edges[-1], "num": number, "sum": float(mean) * number if number else 0.0,
            "sum_squares": float((counts * centres**2).sum()), "bucket_limit": edges[1:].tolist(),
            "bucket": counts.astype(float).tolist()}


def histograms_of(run):
    """[(tag, row of /probe, fields)]"""
    probe = run.probe
    if "displacement_histogram" not in probe:
        return []
    return [(f"displacement_of_tokens/{layer_name(layer + 1, run.layers)}", row,
             histogram_of(probe["displacement_histogram"][row, layer], probe["displacement"][row, layer]))
            for row in range(len(probe["step"])) for layer in range(run.layers)]


def clock_of(run):
    """A function step -> seconds since 1970: the run's start, and what the updates before that step took."""
    try:
        start = datetime.datetime.fromisoformat(run.config["start_time"].replace("Z", "+00:00")).timestamp()
    except (AttributeError, KeyError, ValueError):
        start = 0.0  # a checkpoint does not tell
    tokens, rate = run.train["tokens"], run.train["tokens_per_second"]
    seconds = np.divide(np.diff(tokens, prepend=0), rate, out=np.zeros(len(rate)), where=np.isfinite(rate) & (rate > 0))
    elapsed = np.concatenate([[0.0], np.cumsum(seconds)])
    return lambda step: start + elapsed[np.searchsorted(run.train["step"], step, side="right")]


def events_of(run, every):
    """[(step, [(tag, number)], [(tag, histogram)])] in the order of their steps; of /train every `every`th update."""
    numbers, histograms = {}, {}
    for group, tag, values in scalars_of(run):
        step = getattr(run, group)["step"]
        keep = np.full(len(step), True) if group != "train" else (step % every == 0) | (step == step[-1])
        for row in np.flatnonzero(keep):
            numbers.setdefault(int(step[row]), []).append((tag, float(values[row])))
    for tag, row, fields in histograms_of(run):
        histograms.setdefault(int(run.probe["step"][row]), []).append((tag, fields))
    return [(step, numbers.get(step, []), histograms.get(step, [])) for step in sorted({*numbers, *histograms})]


class TensorBoard:
    """The package tensorboard's messages and record format. Raises UserError where it is not installed."""

    def __init__(self):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise dynamics.UserError("needs the Python package tensorboard (pip install tensorboard; --help tells how "
                                     f"beside Debian's packages): {error}") from error
        self.event, self.summary, self.writer = event_pb2.Event, summary_pb2, RecordWriter

    def write(self, file, events, clock):
        """Writes (step, scalars, histograms) as an event file. Raises OSError."""
        with open(file, "wb") as stream:
            records = self.writer(stream)
            records.write(self.event(wall_time=clock(0), file_version="brain.Event:2").SerializeToString())
            for step, numbers, histograms in events:
                values = [self.summary.Summary.Value(tag=tag, simple_value=number) for tag, number in numbers]
                values += [self.summary.Summary.Value(tag=tag, histo=self.summary.HistogramProto(**fields))
                           for tag, fields in histograms]
                event = self.event(wall_time=clock(step), step=step, summary=self.summary.Summary(value=values))
                records.write(event.SerializeToString())


def write_run(tensorboard, run, folder, every, overwrite):
    """The run's event file in `folder`, whole or not at all. Raises UserError where there is one and no `overwrite`."""
    others = [path for path in folder.glob("*tfevents*") if path.name != EVENT_FILE]
    if others:
        raise dynamics.UserError(f"{others[0]}: event files of another program; give another --output")
    if (folder / EVENT_FILE).exists() and not overwrite:
        raise dynamics.UserError(f"{folder / EVENT_FILE}: exists; give another --output, or --overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / "jreg.tmp"
    try:
        events = events_of(run, every)
        tensorboard.write(beside, events, clock_of(run))
        shutil.move(beside, folder / EVENT_FILE)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    print(f"{folder / EVENT_FILE}: {len(events)} steps, {sum(len(numbers) for _, numbers, _ in events)} numbers, "
          f"{sum(len(histograms) for *_, histograms in events)} histograms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=dynamics.EXIT_CODES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run or checkpoint folder, or a file of theirs")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for TensorBoard's --logdir")
    parser.add_argument("--labels", nargs="+", help="names of the runs (default: their folders)")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="of the updates only every Nth and the last (default: 1); probes and validation are kept")
    parser.add_argument("--overwrite", action="store_true", help="replace what this tool wrote before")
    options = parser.parse_args()
    if options.every < 1:
        parser.error("--every takes a number from 1")
    if options.labels and len(options.labels) != len(options.runs):
        parser.error(f"{len(options.labels)} labels for {len(options.runs)} runs")
    tensorboard = TensorBoard()
    runs = dynamics.load_runs(options.runs, options.labels)
    labels = [run.label.replace(" ", "_") for run in runs]
    if len(set(labels)) != len(labels) or any(label in ("", ".", "..") or "/" in label for label in labels):
        parser.error("each run needs a name of its own, without slashes: give --labels")
    for run, label in zip(runs, labels):
        write_run(tensorboard, run, pathlib.Path(options.output) / label, options.every, options.overwrite)
    return 0


if __name__ == "__main__":
    sys.exit(dynamics.run_tool("to_tensorboard.py", main))
