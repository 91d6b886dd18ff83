#!/usr/bin/env python3
"""Prints a table of runs: losses, displacement and jump rate at start and end, speed.

    tools/run_table.py RUN [RUN ...] [--tokens PREFIX]

With --tokens also the entropy of single tokens of that corpus: the loss of a model that knows nothing but how frequent
each token is. "end" is the mean over the last twentieth of the updates.
"""
import argparse
import pathlib
import struct
import sys

import numpy as np

import dynamics

TOKEN_TYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}


def unigram_entropy(prefix):
    """Entropy of single tokens of PREFIX.bin in nats. Raises OSError naming the file."""
    index = pathlib.Path(f"{prefix}.idx")
    header = index.read_bytes()[:18]
    if len(header) < 18 or header[:9] != b"MMIDIDX\0\0" or header[17] not in TOKEN_TYPES:
        raise dynamics.DataError(f"{index}: is no index of tokens")
    (version,) = struct.unpack("<Q", header[9:17])
    if version != 1:
        raise dynamics.DataError(f"{index}: version {version} instead of 1")
    try:
        tokens = np.memmap(f"{prefix}.bin", dtype=TOKEN_TYPES[header[17]], mode="r")
    except ValueError as error:
        raise dynamics.DataError(f"{prefix}.bin: {error}") from error
    counts = np.bincount(tokens)
    share = counts[counts > 0] / len(tokens)
    return float(-(share * np.log(share)).sum())


def end_of(values):
    """Mean over the last twentieth of the rows; NaN where none of them is finite."""
    values = values[-max(1, len(values) // 20):]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def table_rows(runs):
    """[(name, [text per run])]"""

    def row(name, text):
        return name, [text(run) for run in runs]

    def start_and_end(column, layer):
        def text(run):
            if column == "jump_rate" and run.layers == 1:
                return "-"  # one layer has none
            values = run.train[column][:, layer]
            return f"{values[0]:.4g} -> {end_of(values):.4g}"

        return text

    def last(values):
        return f"{values[-1]:.4f}" if len(values) else "-"

    return [
        row("updates", lambda run: f"{run.train['step'][-1]}"),
        row("jreg.lambda", lambda run: f"{run.train['jreg_lambda'][-1]:g}"),
        row("validation loss (nats per token)", lambda run: last(run.validation["loss"])),
        row("training loss, last twentieth", lambda run: f"{end_of(run.train['loss']):.4f}"),
        row("Psi_L, start -> end", start_and_end("displacement", -1)),
        row("zeta_2 (%), start -> end", start_and_end("jump_rate", 1)),
        row("zeta_L (%), start -> end", start_and_end("jump_rate", -1)),
        row("tokens/s, median", lambda run: f"{np.nanmedian(run.train['tokens_per_second']):.0f}"),
    ]


def format_table(rows, labels):
    names = max(len(name) for name, _ in rows)
    widths = [max(len(label), *(len(cells[i]) for _, cells in rows)) for i, label in enumerate(labels)]

    def line(name, cells):
        return "  ".join([name.ljust(names)] + [cell.rjust(width) for cell, width in zip(cells, widths)])

    rule = "-" * len(line("", [""] * len(labels)))
    return "\n".join([line("", labels), rule] + [line(name, cells) for name, cells in rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog=dynamics.EXIT_CODES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run or checkpoint folder, or a file of theirs")
    parser.add_argument("--tokens", metavar="PREFIX", help="token files PREFIX.bin and PREFIX.idx of the corpus")
    options = parser.parse_args()
    runs = dynamics.load_runs(options.runs)
    print(format_table(table_rows(runs), [run.label for run in runs]))
    if options.tokens:
        print(f"\nentropy of single tokens of the corpus: {unigram_entropy(options.tokens):.4f} nats per token")
    return 0


if __name__ == "__main__":
    sys.exit(dynamics.run_tool("run_table.py", main))
