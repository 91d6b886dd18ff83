#!/usr/bin/env python3
"""Holds the speed that `jreg plan` predicts against what `jreg train --benchmark` measures, on this machine's CPU.

For each config (without any: two reference shapes, 10 M and 43 M parameters) and each number of ranks it prints both
rates and their ratio; the machine is measured first (`jreg plan --calibrate`) unless --machine names a file. Nothing
else should run meanwhile.

    tools/check_plan.py [CONFIG ...] [--ranks 1 2] [--precision fp32 bf16]      exit 0: all within --tolerance, 1: not
"""
import argparse
import configparser
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMON = ["--model.heads", "8", "--model.kv_heads", "4", "--model.vocab", "8192", "--train.sequence_length", "256",
          "--train.global_batch", "8"]
SHAPES = {
    "hidden 256, 8 layers": ["--model.hidden", "256", "--model.layers", "8", "--model.ffn", "688", *COMMON],
    "hidden 512, 12 layers": ["--model.hidden", "512", "--model.layers", "12", "--model.ffn", "1376", *COMMON],
}


def run(jreg, ranks, *words):
    command = [jreg, *map(str, words)]
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    if ranks > 1:
        command = ["mpirun", "-n", str(ranks), "--bind-to", "none", *command]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False,
                            env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {result.returncode}")
    return result.stdout


def penalises(path):
    config = configparser.ConfigParser(inline_comment_prefixes="#")
    config.read(path)
    return config.getfloat("jreg", "lambda", fallback=0) > 0


def check(jreg, machine, ranks, options, steps):
    """Predicted and measured tokens/s."""
    plan = run(jreg, 1, "plan", "--machine", machine, "--ranks", ranks, "--rows", 0, *options)
    if "planned instead" in plan:
        sys.exit(f"{' '.join(options)}: does not run as it stands; see jreg plan")
    measured = run(jreg, ranks, "train", "--benchmark", "--benchmark-steps", steps, *options)
    # The row of what a run does: with statistics, and with the penalty where the config asks for one. Tokens/s stand in
    # the fifth column, behind the times.
    penalty = options[0] == "--config" and penalises(options[1])
    row = re.search(rf"^statistics{' and penalty' if penalty else ''} +([\d. ]+)", measured, re.MULTILINE)[1].split()
    return float(re.search(r"; (\d+) tokens/s$", plan)[1]), float(row[4])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", metavar="CONFIG")
    parser.add_argument("--jreg", default=str(ROOT / "build/cpu-release/bin/jreg"))
    parser.add_argument("--machine", help="machine file; measured for each number of ranks when absent")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=5, help="updates that the benchmark times")
    parser.add_argument("--tolerance", type=float, default=25, help="percent")
    arguments = parser.parse_args()
    cases = {path: ["--config", path] for path in arguments.configs} or SHAPES

    far = 0
    print(f"{'':<32}{'ranks':>6}{'':>6}{'plan':>10}{'benchmark':>12}{'ratio':>8}   tokens/s")
    with tempfile.TemporaryDirectory() as folder:
        for ranks in arguments.ranks:
            machine = arguments.machine or f"{folder}/machine_{ranks}.cfg"
            if not arguments.machine:
                run(arguments.jreg, ranks, "plan", "--calibrate", machine)
            for name, options in cases.items():
                for precision in arguments.precision:
                    predicted, measured = check(arguments.jreg, machine, ranks,
                                                [*options, "--precision", precision], arguments.steps)
                    ratio = predicted / measured
                    off = max(ratio, 1 / ratio) > 1 + arguments.tolerance / 100
                    far += off
                    print(f"{name:<32}{ranks:>6}{precision:>6}{predicted:>10.0f}{measured:>12.0f}{ratio:>8.2f}"
                          f"{'   too far' if off else ''}", flush=True)
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
