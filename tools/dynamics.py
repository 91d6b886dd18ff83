"""Reads the training dynamics of runs: dynamics.h5, finished, growing or left by a killed run, and the same rows in a
checkpoint's index.h5. What the other tools share: files, errors and exit codes, tables with one number a column.

HDF5 itself crashes on some damaged files, and waits for ever on others. Files are therefore read in a child process,
which answers with plain arrays.
"""
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import resource
import subprocess
import sys

import h5py
import numpy as np

GROUPS = ("train", "validation", "probe")
SCALES = ("layer", "state", "bin")
# Columns come in this order, then by name.
ORDER = ("step", "tokens", "loss", "jreg", "jreg_lambda", "learning_rate", "grad_norm", "tokens_per_second")
FORMATS = {"jreg dynamics": "dynamics.h5", "jreg checkpoint index": "checkpoint"}
FORMAT_VERSION = 1
# What a second index of a column is counted from; it ends the name where a table has one number a column.
FIRST_INDEX = {"displacement_histogram": (1, 0), "hidden_norm": (0,)}
SECONDS = 60  # that reading may take, and one more for every 10 MB
READER = pathlib.Path(__file__).resolve()  # the program that the child process runs


class UserError(OSError):
    """A wrong option, or a path that is not there."""
    exit_code = 2


class DataError(OSError):
    """A file that is there and wrong inside."""
    exit_code = 65


@dataclasses.dataclass
class Run:
    """One run's history. Columns are arrays whose first axis is the row; reals, NaN where a value does not exist."""

    label: str
    config: dict  # attributes of the file: every key of the config, version, commit, hosts
    train: dict  # step, loss, displacement (N, L), jump_rate (N, L), ...: one row per update
    validation: dict  # step, loss
    probe: dict  # step, displacement (N, L), ...: the same held-out batch each time
    file: pathlib.Path = None
    kind: str = "dynamics.h5"  # or "checkpoint"
    growing: bool = False  # a writer has it open, or was killed

    @property
    def layers(self):
        return self.train["displacement"].shape[1]


def locate(path):
    """The file to read for a run folder, a checkpoint folder or a file. Raises UserError where there is none."""
    path = pathlib.Path(path)
    if path.is_dir():
        for name in ("dynamics.h5", "index.h5"):
            if (path / name).is_file():
                return path / name
        raise UserError(f"{path}: no dynamics.h5 and no index.h5 in it; name a run folder, a checkpoint or their files")
    if not path.exists():
        raise UserError(f"{path}: no such file; name a run folder or its dynamics.h5")
    return path


def label_of(file):
    """The run's name: its folder's; with the step for a checkpoint in its run folder."""
    folder = file.resolve().parent
    return f"{folder.parents[1].name} {folder.name}" if folder.parent.name == "checkpoints" else folder.name


def is_growing(file):
    """Whether a writer has the file open, or was killed while it had: a flag in HDF5's superblock (from version 3)."""
    with open(file, "rb") as stream:
        start = stream.read(12)
    return len(start) == 12 and start[8] >= 3 and bool(start[11] & 1)


def open_dynamics(path):
    """The file for reading. A live or crashed file opens as a SWMR reader only; such a one retries, on a damaged file
    almost for ever, so that others are read plainly."""
    if not is_growing(path):
        try:
            return h5py.File(path, "r")
        except OSError:
            if not is_growing(path):  # or else a writer came in between
                raise
    return h5py.File(path, "r", swmr=True, libver="latest")


def columns_of(group):
    """{name: dataset} of a group, `step` first, those that label axes left out. Raises DataError if it is not ours."""
    names = [name for name in group if name not in SCALES]
    for name in names:
        # Nothing that leads out of this file is followed.
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{group.name}/{name} is a link to elsewhere, which is refused")
        data = group[name]
        if not isinstance(data, h5py.Dataset) or data.ndim < 1 or data.dtype.kind not in "if":
            raise DataError(f"{group.name}/{name} is no column of numbers")
        if data.is_virtual or data.external:
            raise DataError(f"{group.name}/{name} has its values in another file, which is refused")
    if "step" not in names or group["step"].ndim != 1:
        raise DataError(f"{group.name} has no column step")
    names.sort(key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return {name: group[name] for name in names}


def refresh(columns):
    """Lets columns of a live file see what was added since they were opened, `step`, the first, no more than others."""
    for data in columns.values():
        data.id.refresh()


def read_group(group, begin=0):
    """All columns of a group from row `begin`, cut to the rows that are complete: a writer adds a row's step last."""
    columns = columns_of(group)
    refresh(columns)
    rows = len(columns["step"])
    size = os.path.getsize(group.file.filename)
    for name, data in columns.items():
        if len(data) < rows:
            raise DataError(f"{group.name}/{name} has {len(data)} rows instead of {rows}")
        row_bytes = data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=object))
        if data.compression is None and rows * row_bytes > size:
            raise DataError(f"{group.name}/{name} has more rows than the file has bytes")
    values = {name: np.asarray(data[begin:rows]) for name, data in columns.items()}
    if np.any(np.diff(values["step"]) <= 0):
        raise DataError(f"{group.name}: the steps do not rise")
    return values


def check_layers(groups):
    """Raises DataError unless the layer statistics are what the tools rely on."""
    shapes = {groups[group][name].shape[1:] for group in ("train", "probe") for name in ("displacement", "jump_rate")
              if name in groups[group]}
    if "displacement" not in groups["train"] or len(shapes) != 1 or len(shapes.pop()) != 1:
        raise DataError("displacement and jump_rate are not (rows, layers)")


def read_parts(path):
    """(kind, attributes, {group: {column: array}}) in this process. Raises OSError and whatever h5py raises."""
    with open_dynamics(path) as file:
        kind = FORMATS.get(file.attrs.get("format"))
        if kind is None:
            raise DataError("is an HDF5 file, but neither a dynamics.h5 nor a checkpoint's index.h5 of jreg")
        if file.attrs.get("format_version", 0) > FORMAT_VERSION:
            raise DataError(f"format version {file.attrs['format_version']}, this tool reads {FORMAT_VERSION}")
        attributes = {key: np.asarray(value).tolist() for key, value in file.attrs.items()}
        for name in GROUPS:
            if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Group):
                raise DataError(f"/{name} is no group of this file")
        groups = {name: read_group(file[name]) for name in GROUPS}
    check_layers(groups)
    return kind, attributes, groups


def answer(path):
    """What the child process does: writes a line of JSON, then the arrays as .npz. Crashes are the parent's to see."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    arrays = io.BytesIO()
    try:
        kind, attributes, groups = read_parts(path)
        np.savez(arrays, **{f"{group}/{name}": values for group, columns in groups.items()
                            for name, values in columns.items()})
        head = {"kind": kind, "config": attributes}
    except Exception as error:  # h5py raises many types for what is wrong inside; the message is all that differs
        # A number of the system's tells that it, not the content, is the cause: a lock, an I/O error.
        refused = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        head = {"error": " ".join(str(error).split()) or type(error).__name__, "refused": refused}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + arrays.getvalue())
    sys.stdout.buffer.flush()


def is_hdf5(path):
    try:
        with open(path, "rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError:
        return False


def read_file(file):
    """(kind, attributes, {group: {column: array}}) of a file, read in a child process.

    Raises DataError naming the file where it is not ours, or damaged; OSError where the system does not let it be read.
    """
    with open(file, "rb"):  # the system's own words, where it refuses
        pass
    if not is_hdf5(file):
        raise DataError(f"{file}: is no dynamics.h5: not an HDF5 file")
    deadline = SECONDS + os.path.getsize(file) / 10e6
    try:
        child = subprocess.run([sys.executable, READER, str(file)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, timeout=deadline, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"{file}: is damaged: reading it finds no end") from None
    if child.returncode != 0:
        how = f"signal {-child.returncode}" if child.returncode < 0 else child.stderr.decode().strip().split("\n")[-1]
        raise DataError(f"{file}: is damaged: reading it crashes ({how})")
    head, _, arrays = child.stdout.partition(b"\n")
    head = json.loads(head)
    if "error" in head:
        if head["refused"]:
            raise OSError(f"{file}: {head['error']}")
        raise DataError(f"{file}: is no dynamics.h5, or damaged: {head['error']}")
    groups = {name: {} for name in GROUPS}
    with np.load(io.BytesIO(arrays), allow_pickle=False) as columns:
        for name in columns.files:
            group, column = name.split("/")
            groups[group][column] = columns[name]
    return head["kind"], head["config"], groups


def load_any(path, label=None):
    """`path` is a run or checkpoint folder, or a file of theirs; it may have no rows yet. Raises what locate() and
    read_file() do."""
    file = locate(path)
    growing = is_growing(file)
    kind, config, groups = read_file(file)
    return Run(label or label_of(file), config, **groups, file=file, kind=kind, growing=growing)


def load_run(path, label=None):
    """The same of a run that has updates; raises UserError where it has none yet."""
    run = load_any(path, label)
    if len(run.train["step"]) == 0:
        raise UserError(f"{run.file}: has no updates yet")
    return run


def load_runs(paths, labels=None):
    return [load_run(path, label) for path, label in zip(paths, labels or [None] * len(paths))]


def flat_columns(columns):
    """[(name, one number per row)]: displacement_1 .. displacement_L, displacement_histogram_l_b (b from 0), ..."""
    flat = []
    for name, values in columns.items():
        first = FIRST_INDEX.get(name, (1,) * (values.ndim - 1))
        for index in np.ndindex(values.shape[1:]):
            numbers = [str(i + start) for i, start in zip(index, first)]
            flat.append(("_".join([name, *numbers]), values[(slice(None), *index)]))
    return flat


def message_of(error):
    """One line for an OSError, the path first."""
    if error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


def run_tool(name, main):
    """Exit code of a tool: main()'s, or that of the OSError it raises, which becomes one line on standard error."""
    try:
        code = main()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads our output has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"{name}: {message_of(error)}", file=sys.stderr)
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
        return getattr(error, "exit_code", 2 if missing else 74)


EXIT_CODES = ("Exit codes: 0 done, 2 wrong option or path, 65 a file is wrong inside, 74 the system refuses to read or "
              "write.")

if __name__ == "__main__":
    answer(sys.argv[1])
