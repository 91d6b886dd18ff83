"""Reads dynamics.h5 of runs: finished, still growing, or left by a run that was killed."""
import dataclasses
import pathlib

import h5py
import numpy as np


@dataclasses.dataclass
class Run:
    """One run's history. Columns are arrays whose first axis is the row; reals, NaN where a value does not exist."""

    label: str
    config: dict  # attributes of the file: every key of the config, version, commit, hosts
    train: dict  # step, loss, displacement (N, L), jump_rate (N, L), ...: one row per update
    validation: dict  # step, loss
    probe: dict  # step, displacement (N, L), ...: the same held-out batch each time

    @property
    def layers(self):
        return self.train["displacement"].shape[1]


def open_dynamics(path):
    """The file for reading. A live or crashed file opens as a SWMR reader only, one that other tools wrote may not."""
    try:
        return h5py.File(path, "r", swmr=True, libver="latest")
    except (OSError, ValueError):
        return h5py.File(path, "r")


def read_group(group):
    """All columns of a group, cut to the rows that are complete: a writer adds a row's step last."""
    rows = len(group["step"])
    return {name: np.asarray(data[:rows]) for name, data in group.items() if name not in ("layer", "state", "bin")}


def load_run(path, label=None):
    """`path` is a run folder or its dynamics.h5. Raises OSError naming the file where that is not possible."""
    path = pathlib.Path(path)
    file = path / "dynamics.h5" if path.is_dir() else path
    if not file.is_file():
        raise OSError(f"{file}: no such file; name a run folder or its dynamics.h5")
    try:
        with open_dynamics(file) as data:
            groups = {name: read_group(data[name]) for name in ("train", "validation", "probe")}
            config = dict(data.attrs)
    except (KeyError, OSError) as error:
        raise OSError(f"{file}: is no dynamics.h5: {error}") from error
    if len(groups["train"]["step"]) == 0:
        raise OSError(f"{file}: has no updates yet")
    return Run(label or file.resolve().parent.name, config, **groups)


def load_runs(paths, labels=None):
    return [load_run(path, label) for path, label in zip(paths, labels or [None] * len(paths))]
