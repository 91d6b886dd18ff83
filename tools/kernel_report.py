#!/usr/bin/env python3
"""What the compiler made of the CUDA kernels: registers, local memory, shared memory, and how many warps of a
multiprocessor they keep busy, as a Markdown table.

    tools/kernel_report.py [--build FOLDER] [--output FILE | --document PAGE] [--cuobjdump PROGRAM] [OBJECT ...]

Reads the objects of build/cuda-release with cuobjdump (CUDA's own, or that of PyPI's nvidia-cuda-cuobjdump). Where there
is none, compiles the kernels again as compile_commands.json says and reads what ptxas tells. A block's threads are the
kernel's __launch_bounds__. Its dynamic shared memory is known to the launches alone: tests on the software device list
them where JREG_EMULATED_LAUNCHES names a file (tests/emulation/launches.h), as tests/run.sh --all does; of each kernel
the largest counts.

Exit code: 0; 1 where a kernel keeps registers in local memory (which the last lines name); 2 where there is nothing to
read.
"""
import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import page

ROOT = pathlib.Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Multiprocessor:
    """What one holds (CUDA C++ Programming Guide, "Compute Capabilities")."""
    threads: int
    blocks: int
    registers: int
    shared: int  # bytes; a block takes `reserved` beside its own
    reserved: int = 1024


MULTIPROCESSORS = {
    80: Multiprocessor(2048, 32, 65536, 164 * 1024),
    86: Multiprocessor(1536, 16, 65536, 100 * 1024),
    89: Multiprocessor(1536, 24, 65536, 100 * 1024),
    90: Multiprocessor(2048, 32, 65536, 228 * 1024),
    100: Multiprocessor(2048, 32, 65536, 228 * 1024),
}


@dataclass
class Kernel:
    symbol: str
    architecture: int
    registers: int
    local: int  # bytes a thread: spilled registers and arrays that are indexed by variables
    shared: int  # bytes a block, static
    threads: int | None = None  # the most of a block
    name: str = ""
    dynamic: int | None = None  # as launched; None: not known


def round_up(value, unit):
    return (value + unit - 1) // unit * unit


def blocks_resident(kernel):
    """Blocks of the kernel that one multiprocessor holds, and what keeps it from holding more."""
    there = MULTIPROCESSORS[kernel.architecture]
    warps = round_up(kernel.threads, 32) // 32
    # Registers are given out to warps in units of 256, and to the four quarters apart.
    registers = round_up(kernel.registers * 32, 256)
    limits = {
        "threads": there.threads // 32 // warps,
        "blocks": there.blocks,
        "registers": (there.registers // 4 // registers * 4) // warps,
        "shared memory": there.shared // round_up(kernel.shared + (kernel.dynamic or 0) + there.reserved, 128),
    }
    limit = min(limits, key=limits.get)
    return limits[limit], limit


def warps_share(kernel):
    """Of the warps that a multiprocessor can hold, in [0, 1], and the limit."""
    blocks, limit = blocks_resident(kernel)
    warps = round_up(kernel.threads, 32) // 32
    return blocks * warps * 32 / MULTIPROCESSORS[kernel.architecture].threads, limit


def find_cuobjdump():
    """The program, or nothing."""
    candidates = [shutil.which("cuobjdump"), "/usr/local/cuda/bin/cuobjdump"]
    for python in (sys.executable, "python3"):
        found = subprocess.run([python, "-c", "import nvidia, os; print(*nvidia.__path__, sep='\\n')"], text=True,
                               capture_output=True, check=False) if shutil.which(python) else None
        for folder in found.stdout.split() if found else ():
            candidates += map(str, sorted(pathlib.Path(folder).glob("*/bin/cuobjdump")))
    return next((path for path in candidates if path and shutil.which(path)), None)


def read_resources(text):
    """Kernels in what `cuobjdump --dump-resource-usage` prints."""
    kernels, architecture, symbol = [], 0, ""
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            architecture = int(match[1])
        elif match := re.match(r"\s*Function (\S+):", line):
            symbol = match[1]
        elif symbol and (match := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line)):
            registers, stack, shared, local = map(int, match.groups())
            if architecture >= 90 and shared >= 1024:
                shared -= 1024  # it counts what the system reserves here
            kernels.append(Kernel(symbol, architecture, registers, stack + local, shared))
            symbol = ""
    return kernels


def read_launch_bounds(text):
    """{(architecture, symbol): threads} in what `cuobjdump --dump-elf` prints."""
    bounds, architecture, symbol, wanted = {}, 0, "", False
    for line in text.splitlines():
        if match := re.match(r"arch = sm_(\d+)", line):
            architecture = int(match[1])
        elif match := re.match(r"\.nv\.info\.(\S+)", line):
            symbol, wanted = match[1], False
        elif line.startswith("."):
            symbol = ""
        elif "EIATTR_MAX_THREADS" in line or "EIATTR_REQNTID" in line:
            wanted = True
        elif wanted and symbol and (match := re.match(r"\s*Value:\s*(0x[0-9a-f]+) (0x[0-9a-f]+) (0x[0-9a-f]+)", line)):
            bounds[architecture, symbol] = int(match[1], 16) * int(match[2], 16) * int(match[3], 16)
            wanted = False
    return bounds


def read_ptxas(text):
    """Kernels in what nvcc prints with -Xptxas=-v."""
    kernels, symbol, architecture, local = [], "", 0, 0
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)' for 'sm_(\d+)", line):
            symbol, architecture, local = match[1], int(match[2]), 0
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            local = max(map(int, match.groups()))
        elif symbol and (match := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            kernels.append(Kernel(symbol, architecture, int(match[1]), local, int(shared[1]) if shared else 0))
            symbol = ""
    return kernels


def run(command, folder=None):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode != 0:
        sys.exit(f"kernel_report.py: {command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def kernels_of_objects(cuobjdump, objects):
    kernels = []
    for path in objects:
        found = read_resources(run([cuobjdump, "--dump-resource-usage", str(path)]))
        bounds = read_launch_bounds(run([cuobjdump, "--dump-elf", str(path)])) if found else {}
        for kernel in found:
            kernel.threads = bounds.get((kernel.architecture, kernel.symbol))
        kernels += found
    return kernels


def kernels_of_sources(build):
    commands = build / "compile_commands.json"
    if not commands.exists():
        fail(f"{build}: no cuobjdump here, and no compile_commands.json there; build it with cmake --preset cuda-release")
    kernels = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in json.loads(commands.read_text()):
            words = shlex.split(entry["command"])
            if not entry["file"].endswith(".cu"):
                continue
            if "-Xptxas=-v" not in entry["command"]:
                words.append("-Xptxas=-v")
            words[words.index("-o") + 1] = str(pathlib.Path(folder) / "object")
            if not words[0].endswith("ccache") and shutil.which("ccache"):
                words.insert(0, "ccache")  # the build has called it with the same words
            kernels += read_ptxas(run(words, entry["directory"]))
    return kernels


def short_name(name):
    """A demangled name without its namespaces, return type and parameters."""
    name = re.sub(r"\(anonymous namespace\)::|jreg::backend::cuda::|jreg::|plain::", "", name)
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and not name[place:].startswith("(anonymous"):
            name = name[:place]
            break
    name = re.sub(r"^void ", "", name)
    # (int)64, (bool)1: values of template parameters
    name = re.sub(r"\(bool\)1|\btrue\b", "true", re.sub(r"\(bool\)0|\bfalse\b", "false", name))
    return re.sub(r"\((?:int|unsigned int|long)\)", "", name).replace("__nv_bfloat16", "bf16")


def read_launches(path):
    """{short name: (most threads, most bytes of dynamic shared memory)} of what the software device has listed."""
    launches = {}
    for line in path.read_text().splitlines():
        threads, shared, name = line.split(" ", 2)
        known = launches.get(short_name(name), (0, 0))
        launches[short_name(name)] = max(known[0], int(threads)), max(known[1], int(shared))
    return launches


def complete(kernels, launches):
    """Names, and what their launches tell."""
    names = subprocess.run(["c++filt"], input="\n".join(kernel.symbol for kernel in kernels), text=True, check=True,
                           capture_output=True).stdout.splitlines()
    for kernel, name in zip(kernels, names):
        kernel.name = short_name(name)
        if kernel.name in launches:
            threads, kernel.dynamic = launches[kernel.name]
            kernel.threads = kernel.threads or threads


def table(kernels):
    """A line a kernel; where architectures differ, their values in the order of the heading."""
    architectures = sorted({kernel.architecture for kernel in kernels})
    names = " / ".join(f"sm_{architecture}" for architecture in architectures)
    lines = [f"| kernel ({names}) | registers | local memory, B | threads | shared memory, static + dynamic, B | "
             "warps resident | limit |", "|---|---|---|---|---|---|---|"]
    for name in sorted({kernel.name for kernel in kernels}):
        versions = sorted((kernel for kernel in kernels if kernel.name == name), key=lambda kernel: kernel.architecture)
        cells = [joined(cell) for cell in zip(*map(cells_of, versions))]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cells_of(kernel):
    share = limit = "?"
    if kernel.threads and kernel.architecture in MULTIPROCESSORS:
        value, limit = warps_share(kernel)
        share = f"{100 * value:.0f}%"
    shared = f"{kernel.shared} + {'?' if kernel.dynamic is None else kernel.dynamic}"
    return str(kernel.registers), str(kernel.local), str(kernel.threads or "?"), shared, share, limit


def joined(values):
    """One value where all are the same."""
    return values[0] if len(set(values)) == 1 else " / ".join(values)


def fail(text):
    print(f"kernel_report.py: {text}", file=sys.stderr)
    sys.exit(2)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "cuda-release")
    parser.add_argument("--output", type=pathlib.Path, help="write the table there instead of printing it")
    parser.add_argument("--document", type=pathlib.Path, help="put it between the marks of this page, as docs/gpu.md")
    parser.add_argument("--launches", type=pathlib.Path, default=ROOT / "build" / "cuda-emulation" / "launches.txt",
                        help="what the software device has listed [build/cuda-emulation/launches.txt]")
    parser.add_argument("--cuobjdump", default=find_cuobjdump())
    parser.add_argument("objects", nargs="*", type=pathlib.Path, help="instead of those below --build")
    return parser.parse_args()


def main():
    options = parse_arguments()
    objects = options.objects or sorted(options.build.glob("src/backend/cuda/**/*.cu.o"))
    if not objects:
        fail(f"{options.build}: no objects of kernels; build them with cmake --preset cuda-release")
    if options.cuobjdump:
        kernels = kernels_of_objects(options.cuobjdump, objects)
    elif options.objects:
        fail("objects can be read with cuobjdump alone: give --cuobjdump, or none for the sources of --build")
    else:
        kernels = kernels_of_sources(options.build)
    if not kernels:
        fail(f"{options.build}: its objects hold no kernels")
    complete(kernels, read_launches(options.launches) if options.launches.exists() else {})
    text = table(kernels)
    if options.document:
        try:
            page.write_between_marks(options.document, "kernel_report", text)
        except ValueError as error:
            fail(error)
    elif options.output:
        options.output.write_text(text)
    else:
        print(text, end="")
    spilling = [kernel for kernel in kernels if kernel.local > 0]
    for kernel in spilling:
        print(f"kernel_report.py: {kernel.name} for sm_{kernel.architecture} keeps {kernel.local} bytes a thread in local "
              "memory", file=sys.stderr)
    sys.exit(1 if spilling else 0)


if __name__ == "__main__":
    main()
