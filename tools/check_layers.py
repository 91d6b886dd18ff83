#!/usr/bin/env python3
"""Holds src/ to its rules; src/README.md shows the table of layers.

- a folder includes only from folders of lower layers, and from itself
- every folder lives in its own namespace (base: jreg)
- CUDA headers only under backend/cuda/, and `#if JREG_WITH_CUDA` in one file at most
- a file of more than 400 lines gives its reason: `// Long because: ...`

    tools/check_layers.py [SRC]      exit 0: all hold, 1: each violation on a line
"""
import pathlib
import re
import sys

LAYERS = {
    "base": 0,
    "config": 1, "mpi": 1, "h5": 1,
    "backend": 2, "data": 2,
    "mesh": 3,
    "params": 4,
    "model": 5, "jump": 5, "optim": 5,
    "store": 6,
    "train": 7,
    "plan": 8,
    "commands": 9,
}
MAX_LINES = 400
SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CUDA_HEADER = re.compile(r"^(cuda\w*|cublas\w*|cudnn\w*|nccl|nvrtc|curand\w*)(\.h|\.hpp|/.*)$|^(nvtx3|cub|cutlass)/")
CUDA_SWITCH = re.compile(r"^\s*#\s*(if|elif)(def|ndef)?\b.*\bJREG_WITH_CUDA\b")


def folder_of(path):
    return path.parts[0] if len(path.parts) > 1 else "commands"  # main.cpp is part of the top layer


def check_include(path, number, quote, header):
    """Violations of one include line of `path`, which is relative to src/."""
    if CUDA_HEADER.search(header) and path.parts[:2] != ("backend", "cuda"):
        yield f"{path}:{number}: CUDA header {header} outside backend/cuda/"
    if quote != '"':
        return
    if "/" not in header:
        yield f'{path}:{number}: "{header}": includes name their folder'
        return
    own, other = folder_of(path), header.split("/")[0]
    if other not in LAYERS:
        yield f"{path}:{number}: {other}/ has no layer"
    elif own in LAYERS and own != other and LAYERS[other] >= LAYERS[own]:
        yield (f"{path}:{number}: {own}/ (layer {LAYERS[own]}) includes {header} of layer {LAYERS[other]}; "
               "only lower layers may be included")


def check_file(path, text):
    lines = text.splitlines()
    folder = folder_of(path)
    if folder not in LAYERS:
        yield f"{path}: {folder}/ has no layer in check_layers.py"
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            yield from check_include(path, number, *match.groups())
    if len(lines) > MAX_LINES and "// Long because:" not in text:
        yield f"{path}: {len(lines)} lines, more than {MAX_LINES}, without a line `// Long because: ...`"
    namespace = "jreg" if folder == "base" else f"jreg::{folder}"
    if path.name != "main.cpp" and not re.search(rf"^namespace {namespace}\b", text, re.MULTILINE):
        yield f"{path}: does not open namespace {namespace}"


def check_tree(src):
    """All violations in the tree `src`, in the order of paths."""
    files = sorted(path for path in src.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        yield f"{src}: no sources"
    switches = []
    for file in files:
        path = file.relative_to(src)
        text = file.read_text(encoding="utf-8")
        yield from check_file(path, text)
        if any(CUDA_SWITCH.match(line) for line in text.splitlines()):
            switches.append(str(path))
    if len(switches) > 1:
        yield f"JREG_WITH_CUDA is asked for in more than one file: {', '.join(switches)}"


def main():
    src = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent / "src"
    violations = list(check_tree(src))
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
