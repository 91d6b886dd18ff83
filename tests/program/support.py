"""What the whole-program tests share: tokens, a tiny configuration, and calls of jreg alone or under mpirun.

The environment names the program in JREG; OMPI_* and OMP_NUM_THREADS are set by ctest.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compare_runs  # noqa: E402

JREG = os.environ.get("JREG", "")
VOCAB = 96
# Not a function of what was computed: of the clock, the machine or the job.
RATES = {"tokens_per_second"}

TINY = {
    "model.layers": 3, "model.hidden": 32, "model.heads": 4, "model.kv_heads": 2, "model.ffn": 48, "model.vocab": VOCAB,
    "train.steps": 6, "train.sequence_length": 16, "train.global_batch": 8,
    "optim.learning_rate": 3e-3, "optim.min_learning_rate": 3e-4, "optim.warmup_steps": 2,
    "log.interval": 1, "eval.interval": 3, "eval.batches": 2, "probe.interval": 4, "probe.sequences": 2,
    "checkpoint.interval": 0,
}


def write_tokens(prefix, documents):
    """PREFIX.bin and PREFIX.idx in Megatron's indexed format, 16 bits a token, a sequence a document."""
    lengths = np.array([len(document) for document in documents], dtype="<i4")
    pointers = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64) * 2]).astype("<i8")
    np.concatenate(documents).astype("<u2").tofile(f"{prefix}.bin")
    with open(f"{prefix}.idx", "wb") as index:
        index.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(documents), len(documents) + 1))
        index.write(lengths.tobytes() + pointers.tobytes())
        index.write(np.arange(len(documents) + 1, dtype="<i8").tobytes())


def sample_documents(seed, count):
    """Tokens with something to learn: each follows from the one before, but for some noise."""
    random = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        tokens = [int(random.integers(VOCAB))]
        for _ in range(int(random.integers(30, 90))):
            tokens.append((7 * tokens[-1] + 3) % VOCAB if random.random() < 0.8 else int(random.integers(VOCAB)))
        documents.append(np.array(tokens))
    return documents


def arguments_of(options):
    words = []
    for name, value in options.items():
        words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def in_parallel(test, cases, work, workers=4):
    """work(number, case) for each case, some at once, since runs on ranks wait more than they compute; each that fails
    is told as a sub-test. What works at once needs names of its own: the number is there for that."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, number, case) for number, case in enumerate(cases)]
        for case, future in zip(cases, futures):
            with test.subTest(case=case):
                future.result()


# Open MPI 5 always tells in a box of lines that a rank ended with an error.
LAUNCHER_WORDS = re.compile(r"^-{60,}\nprterun .*?^-{60,}\n", re.MULTILINE | re.DOTALL)


class ProgramTest(unittest.TestCase):
    """A temporary folder with tokens in data/train.* and data/validation.*, and ways to call the program."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.data = self.folder / "data"
        self.data.mkdir()
        write_tokens(self.data / "train", sample_documents(1, 120))
        write_tokens(self.data / "validation", sample_documents(2, 20))

    def jreg(self, *words, ranks=None, check=0, timeout=120, fail=""):
        """Runs jreg and expects exit code `check` (None: any). Alone, or on `ranks` ranks. `fail` is a fail point."""
        command = [JREG, *map(str, words)]
        if ranks is not None:
            command = ["mpirun", "-n", str(ranks), *command]
        result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                                stdin=subprocess.DEVNULL, cwd=self.folder, env={**os.environ, "JREG_FAIL_POINT": fail})
        result.stderr = LAUNCHER_WORDS.sub("", result.stderr)
        if check is not None:
            self.assertEqual(result.returncode, check, f"{' '.join(command)}\n{result.stdout}{result.stderr}")
        return result

    def options(self, run, **changes):
        """TINY's options for the run folder `run`; keys of `changes` have __ for the dot."""
        options = {**TINY, "data.train": self.data / "train", "data.validation": self.data / "validation",
                   "run.dir": self.folder / run}
        options.update({name.replace("__", "."): value for name, value in changes.items()})
        return arguments_of(options)

    def train(self, run, *words, ranks=None, check=0, timeout=120, **changes):
        """Trains in the run folder `run`; returns it, or what the call printed where `check` is not 0."""
        result = self.jreg("train", *self.options(run, **changes), *words, ranks=ranks, check=check, timeout=timeout)
        return self.folder / run if check == 0 else result

    def assert_refused(self, result, *parts):
        """One line on standard error, and nothing else there, that holds every part."""
        self.assertEqual(len([line for line in result.stderr.splitlines() if line.strip()]), 1, result.stderr)
        self.assert_error(result, *parts)

    def assert_error(self, result, *parts):
        """One line with an error, among others, that holds every part."""
        lines = [line for line in result.stderr.splitlines() if "error:" in line]
        self.assertEqual(len(lines), 1, result.stderr)
        for part in parts:
            self.assertIn(part, lines[0])


def columns_of(file):
    return {f"{group}/{name}": np.asarray(data)
            for group in ("train", "validation", "probe") for name, data in file[group].items()}


def read_columns(run):
    """{"train/loss": array, ...} of a run's dynamics.h5."""
    with h5py.File(run / "dynamics.h5", "r", swmr=True, libver="latest") as file:
        return columns_of(file)


def index_columns(folder):
    """The same of a checkpoint's trajectory."""
    with h5py.File(folder / "index.h5", "r") as file:
        return columns_of(file)


def differing_columns(first, second):
    """Names of columns whose bits differ, rates left out."""
    names = {name for name in first | second if name.split("/")[1] not in RATES}
    return sorted(name for name in names if name not in first or name not in second
                  or first[name].shape != second[name].shape or first[name].tobytes() != second[name].tobytes())


def checkpoint_tensors(folder):
    """Every tensor of a checkpoint, whole, by its place in index.h5; the trajectory left out."""
    tensors = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and item.is_virtual:
            tensors[name] = np.asarray(item)

    with h5py.File(folder / "index.h5", "r") as file:
        file.visititems(visit)
    return tensors


def differences_of_runs(first, second):
    """What tools/compare_runs.py finds different in two run folders that both have a checkpoint of the same step."""
    results = compare_runs.compare([first, second], None, None)
    assert any(part.startswith("tensors") and compared > 0 for part, compared, _, _ in results), results
    return [text for _, _, differences, counts in results if counts for text in differences]


def main():
    if not JREG or shutil.which(JREG) is None:
        sys.exit("set JREG to the program")
    unittest.main()
