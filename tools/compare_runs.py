#!/usr/bin/env python3
"""Compares two run folders: config, dynamics.h5, and the newest checkpoint that both have.

    tools/compare_runs.py RUN_A RUN_B [--checkpoint STEP] [--tolerance X]

Dynamics (rates left out) and the checkpoint's tensors and state must be equal bit for bit; with --tolerance only the
losses are compared, |a - b| <= X |a|. Differences of the config are shown, but do not count: see what they lead to.
Exit codes: 0 equal, 1 different (a line names what differs first, and by how much), 2 wrong option or path, 65 a file
is wrong inside, 74 the system refuses to read.
"""
import argparse
import json
import pathlib
import sys

import h5py
import numpy as np

import dynamics

# Functions of the clock, not of what was computed.
RATES = {"tokens_per_second"}
GROUPS = ("train", "validation", "probe")
STATE = ("step", "tokens", "sampler_position", "adamw_steps", "skipped_updates", "jump_gates")


def by_how_much(a, b):
    """A few words on how far two arrays of one shape are apart."""
    if not np.issubdtype(a.dtype, np.floating):
        return f"{np.count_nonzero(a != b)} of {a.size} values"
    a, b = np.float64(a), np.float64(b)
    if np.any(np.isnan(a) != np.isnan(b)):
        return "NaN in one run only"
    apart = np.nan_to_num(np.abs(a - b))
    return f"largest difference {apart.max():.3g} at values to {np.nanmax(np.abs(a)):.3g}"


def compare_configs(a, b):
    """(number of keys, their differences)"""
    keys = [key for key in dict.fromkeys([*a.config, *b.config]) if "." in key]
    differences = [f"{key}: {a.config.get(key, 'not there')} -> {b.config.get(key, 'not there')}"
                   for key in keys if str(a.config.get(key)) != str(b.config.get(key))]
    return len(keys), differences


def first_difference(step, a, b, tolerance):
    """None, or (step, words) of the first row in which two columns of equal shape differ."""
    rows = len(a)
    if tolerance is None:
        different = np.array([x.tobytes() != y.tobytes() for x, y in zip(a, b)], dtype=bool)
    else:
        different = ~((np.abs(a - b) <= tolerance * np.abs(a)) | (np.isnan(a) & np.isnan(b)) | (a == b))
    if rows == 0 or not different.any():
        return None
    row = int(np.argmax(different))
    return int(step[row]), f"in {np.count_nonzero(different)} of {rows} rows, {by_how_much(a, b)}"


def compare_groups(group, a, b, tolerance):
    """(number of columns, differences) of a group of dynamics.h5; the earliest difference comes first."""
    names = [name for name in dict.fromkeys([*a, *b])
             if (name not in RATES if tolerance is None else name in ("step", "loss"))]
    if a["step"].tobytes() != b["step"].tobytes():
        return len(names), [f"{group}: {rows_of(a['step'])} -> {rows_of(b['step'])}"]
    differences = []
    for name in names:
        if name not in a or name not in b:
            differences.append((-1, f"{group}/{name}: only in one run"))
        elif a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
            differences.append((-1, f"{group}/{name}: shape or type {a[name].shape} -> {b[name].shape}"))
        elif found := first_difference(a["step"], a[name], b[name], tolerance):
            differences.append((found[0], f"{group}/{name}: from step {found[0]}, {found[1]}"))
    return len(names), [text for _, text in sorted(differences, key=lambda difference: difference[0])]


def rows_of(step):
    return f"{len(step)} rows to step {step[-1]}" if len(step) else "no rows"


def checkpoints(run):
    """{step: folder} of a run's checkpoints whose files have the sizes of their manifest."""
    found = {}
    for manifest in pathlib.Path(run).glob("checkpoints/step_*/manifest.json"):
        name = manifest.parent.name.removeprefix("step_")
        if name.isdecimal() and is_whole(manifest):
            found[int(name)] = manifest.parent
    return found


def is_whole(manifest):
    try:
        files = json.loads(manifest.read_bytes())["files"]
        return all((manifest.parent / file["name"]).stat().st_size == file["bytes"] for file in files)
    except (KeyError, OSError, TypeError, ValueError):
        return False


def compare_tensors(a, b):
    """(number of tensors, differences) of two checkpoints' index.h5, read one tensor at a time."""
    differences = []
    with h5py.File(a / "index.h5", "r") as first, h5py.File(b / "index.h5", "r") as second:
        names = []
        for file in (first, second):
            # A virtual dataset is a tensor; the others are the trajectory.
            file.visititems(lambda name, item: names.append(name) if getattr(item, "is_virtual", False) else None)
        names = list(dict.fromkeys(names))
        for name in names:
            if name not in first or name not in second:
                differences.append(f"{name}: only in one run")
                continue
            x, y = first[name][()], second[name][()]
            if x.shape != y.shape or x.dtype != y.dtype:
                differences.append(f"{name}: {x.dtype} {x.shape} -> {y.dtype} {y.shape}")
            elif x.tobytes() != y.tobytes():
                differences.append(f"{name}: {by_how_much(x, y)}")
    return len(names), differences


def compare_states(a, b):
    """(number of entries, differences) of what two manifests tell beside the tensors."""
    first, second = (json.loads((folder / "manifest.json").read_bytes())["state"] for folder in (a, b))
    return len(STATE), [f"{key}: {first.get(key)} -> {second.get(key)}" for key in STATE
                        if first.get(key) != second.get(key)]


def chosen_step(runs, first, second, step):
    """The step whose checkpoints are compared; None where the runs have none in common and none was asked for."""
    common = first.keys() & second.keys()
    if step is None:
        return max(common, default=None)
    for run, own in zip(runs, (first, second)):
        if step not in own:
            raise dynamics.UserError(f"{run}: has no whole checkpoint of step {step}")
    return step


def compare(runs, step, tolerance):
    """[(part, number of things compared, differences, whether they count)]"""
    a, b = dynamics.load_runs(runs)
    results = [("config", *compare_configs(a, b), False)]
    for group in GROUPS:
        results.append((group, *compare_groups(group, getattr(a, group), getattr(b, group), tolerance), True))
    if tolerance is not None:
        return results
    first, second = (checkpoints(run) for run in runs)
    at = chosen_step(runs, first, second, step)
    if at is not None:
        results.append((f"state of step {at}", *compare_states(first[at], second[at]), True))
        try:
            results.append((f"tensors of step {at}", *compare_tensors(first[at], second[at]), True))
        except (KeyError, OSError) as error:
            raise dynamics.DataError(f"{first[at]} or {second[at]}: is damaged, jreg verify tells where: {error}") \
                from error
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, metavar="RUN", help="run folder")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="compare the checkpoints of this step")
    parser.add_argument("--tolerance", type=float, metavar="X", help="compare losses alone, within this relative error")
    options = parser.parse_args()
    if options.tolerance is not None and (options.checkpoint is not None or not options.tolerance >= 0):
        parser.error("--tolerance takes a number from 0, and goes without --checkpoint")
    for run in options.runs:
        if not pathlib.Path(run).is_dir():
            raise dynamics.UserError(f"{run}: is no run folder")
    results = compare(options.runs, options.checkpoint, options.tolerance)
    print(f"{'part':<26}{'compared':>10}{'different':>11}  first difference")
    for part, compared, differences, _ in results:
        print(f"{part:<26}{compared:>10}{len(differences):>11}  {differences[0] if differences else ''}".rstrip())
    counting = [text for _, _, differences, counts in results if counts for text in differences]
    if len(results) == 1 + len(GROUPS) and options.tolerance is None:
        print("the runs have no checkpoint of one step in common")
    print(f"different: {counting[0]}" if counting else "equal")
    return 1 if counting else 0


if __name__ == "__main__":
    sys.exit(dynamics.run_tool("compare_runs.py", main))
