#!/usr/bin/env python3
"""How long training waits for a checkpoint, written while training goes on and in one piece.

    tools/bench_save.py [--jreg PATH] [--ranks 2] [--rounds 2] [--folder FOLDER] [--section.key value ...]

Trains a model of 110 M parameters (a checkpoint of 1.3 GB) on random tokens, a few updates between saves, with
checkpoint.async and without, in turn; further options go to `jreg train`. Prints the seconds that training waited for
each save, from log.jsonl, and ends with the line blocked_ratio=0.05: the median with checkpoint.async over that
without. Needs some 8 GB of memory and 6 GB of disk below FOLDER (a temporary one by default).
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

MODEL = {"model.layers": 12, "model.hidden": 768, "model.heads": 12, "model.ffn": 2048, "model.vocab": 16384,
         "train.steps": 12, "train.sequence_length": 64, "train.global_batch": 2, "checkpoint.interval": 4,
         "checkpoint.keep": 1, "probe.sequences": 1}


def write_tokens(prefix, count=4096, vocabulary=64):
    """A Megatron dataset of one document of random tokens."""
    tokens = random.Random(1).choices(range(vocabulary), k=count)
    prefix.with_suffix(".bin").write_bytes(struct.pack(f"<{count}H", *tokens))
    prefix.with_suffix(".idx").write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQiqqq", 1, 8, 1, 2, count, 0, 0, 1))


def blocked_seconds(arguments, folder, asynchronous):
    """Trains once; the seconds that training waited for each save."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    options = {**MODEL, "data.train": folder / "tokens", "run.dir": run, "checkpoint.async": str(asynchronous).lower()}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment.setdefault("OMP_NUM_THREADS", "1")
    done = subprocess.run(["mpirun", "--bind-to", "none", "--map-by", ":OVERSUBSCRIBE", "-n", str(arguments.ranks),
                           arguments.jreg, "train", *words, *arguments.options], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"bench_save.py: jreg train ended with {done.returncode}:\n{done.stdout[-2000:]}")
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    saves = [event for event in events if event["event"] == "checkpoint"]
    shutil.rmtree(run)
    for save in saves:
        print(f"  step {save['step']:3}: {save['bytes'] / 1e9:.2f} GB, complete after {save['seconds']:6.2f} s, "
              f"training waited {save['blocked_seconds']:6.3f} s")
    # The last save of a run has no training behind which it could hide.
    return [save["blocked_seconds"] for save in saves[:-1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    home = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--jreg", default=str(home / "build/cpu-release/bin/jreg"), help="the program [%(default)s]")
    parser.add_argument("--ranks", type=int, default=2, help="ranks on this machine [%(default)s]")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind, in turn [%(default)s]")
    parser.add_argument("--folder", help="where runs are written [a temporary folder]")
    arguments, arguments.options = parser.parse_known_args()
    if shutil.which(arguments.jreg) is None:
        parser.error(f"--jreg {arguments.jreg}: is no program; build it or name it")
    waited = {True: [], False: []}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = pathlib.Path(name)
        write_tokens(folder / "tokens")
        for _ in range(arguments.rounds):
            for asynchronous in (False, True):
                print("while training goes on:" if asynchronous else "in one piece:", flush=True)
                waited[asynchronous] += blocked_seconds(arguments, folder, asynchronous)
    median = {kind: statistics.median(seconds) for kind, seconds in waited.items()}
    print(f"median: {median[False]:.3f} s in one piece, {median[True]:.3f} s while training goes on")
    print(f"blocked_ratio={median[True] / median[False]:.3f}")


if __name__ == "__main__":
    main()
