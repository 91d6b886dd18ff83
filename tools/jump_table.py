#!/usr/bin/env python3
"""Prints the hidden state jumps of analysed models as a table, a line per model and checkpoint.

    tools/jump_table.py FILE.h5 [FILE.h5 ...] [--format markdown|csv] [--last]

FILE.h5 are written by `jreg analyze`. Columns: layers L, step, loss (nats per token), displacement of the first and the
last layer (Psi_1, Psi_L), the largest displacement and its layer, jump rate over all layers (zeta_2) and of the last one
(zeta_L), in percent.
"""
import argparse
import csv
import pathlib
import sys

import h5py
import numpy as np

COLUMNS = ("model", "layers", "step", "loss", "Psi_1", "Psi_L", "max Psi", "its layer", "zeta_2 (%)", "zeta_L (%)")


def models_of(path):
    """[(name, group's columns)] of a file of jreg analyze. Raises OSError or ValueError naming the file."""
    if not path.is_file():
        raise OSError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != "jreg analysis":
                raise ValueError(f"{path}: was not written by jreg analyze")
            names = file.attrs["models"].split(",")
            return [(name, {column: data[()] for column, data in file[name].items()}) for name in names]
    except (KeyError, OSError) as error:
        raise OSError(f"{path}: cannot be read: {error}") from error


def rows_of(label, columns, last):
    """One row per checkpoint, as text; full digits where `repr` shows them."""
    rows = []
    for row in range(len(columns["step"]))[-1 if last else 0:]:
        psi, rate = columns["displacement"][row], columns["jump_rate"][row]
        step = columns["step"][row]
        rows.append((label, len(psi), "" if step < 0 else int(step), float(columns["loss"][row]), float(psi[0]),
                     float(psi[-1]), float(psi.max()), int(np.argmax(psi)) + 1, float(rate[1]), float(rate[-1])))
    return rows


def label_of(path, name, files):
    """A model's own name; where a file has only one it is called probe, and the file says which."""
    if name == "probe":
        return path.stem
    return f"{path.stem}/{name}" if files > 1 else name


def text_of(value):
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def print_markdown(rows):
    cells = [COLUMNS, *(tuple(map(text_of, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(COLUMNS))]

    def line(row):
        aligned = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        return "| " + " | ".join(aligned) + " |"

    print(line(cells[0]))
    print("|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (width + 1) + ":" for width in widths[1:]]) + "|")
    for row in cells[1:]:
        print(line(row))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE.h5")
    parser.add_argument("--format", choices=("markdown", "csv"), default="markdown")
    parser.add_argument("--last", action="store_true", help="of each model only its last checkpoint")
    options = parser.parse_args()
    rows = []
    try:
        for path in options.files:
            for name, columns in models_of(path):
                rows += rows_of(label_of(path, name, len(options.files)), columns, options.last)
    except (OSError, ValueError) as error:
        print(f"jump_table.py: {error}", file=sys.stderr)
        return 2
    if options.format == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows([COLUMNS, *rows])
    else:
        print_markdown(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
