#!/usr/bin/env python3
"""Holds how many instructions the CPU backend's kernels take, counted by callgrind, to a table: unlike times they are
the same on every machine, so that a few percent show.

    check_instructions.py PROGRAM COMPILER TABLE [--write]

PROGRAM: instruction_work; COMPILER: what it was compiled with; TABLE: the committed counts. Fails where a count lies 3%
above the table, or below it: then the table is to be written anew, so that the gain is kept. Exit code 77 (skipped)
where valgrind, the processor or the compiler is another one than the table's.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

LEVEL = "v3"  # valgrind knows no AVX-512
TOLERANCE = 0.03
SKIPPED = 77


def skip(why, status=SKIPPED):
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(status)


def counts(program):
    """Instructions of each operation, by its label."""
    with tempfile.TemporaryDirectory() as folder:
        # One thread: the counts of several would hold how long they waited.
        result = subprocess.run(
            ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out",
             program, LEVEL], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if result.returncode == SKIPPED:
            skip(result.stderr.strip())
        if result.returncode != 0:
            sys.exit(result.stderr)
        found = {}
        for part in pathlib.Path(folder).iterdir():
            text = part.read_text()
            label = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
            if label:
                found[label[1]] = int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1])
        return found


def read(table):
    lines = table.read_text().splitlines()
    compiler = lines[0].removeprefix("# ")
    return compiler, {" ".join(line.split()[:2]): int(line.split()[2]) for line in lines[1:]}


def compare(found, expected):
    """Lines that tell what is wrong."""
    wrong = [f"{name}: is counted on one side only" for name in sorted(found.keys() ^ expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        change = found[name] / expected[name] - 1
        if abs(change) > TOLERANCE:
            wrong.append(f"{name}: {found[name]} instructions, {100 * change:+.1f}% of {expected[name]}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("compiler")
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--write", action="store_true", help="write the table instead")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        skip("valgrind is not installed", 1 if os.environ.get("CI") == "true" else SKIPPED)
    if not options.write:
        compiler, expected = read(options.table)
        if compiler != options.compiler:
            skip(f"the table is of {compiler}, this is {options.compiler}")
    found = counts(options.program)
    if options.write:
        lines = [f"# {options.compiler}", *(f"{name:<28}{count:>12}" for name, count in sorted(found.items()))]
        options.table.write_text("\n".join(lines) + "\n")
        return
    if wrong := compare(found, expected):
        sys.exit("\n".join([*wrong, f"if that is meant to be: {' '.join(sys.argv)} --write"]))
    print(f"{len(found)} counts as in the table, within {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
