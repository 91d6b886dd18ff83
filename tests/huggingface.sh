#!/usr/bin/env bash
# Builds, and compares with transformers itself what is exported and imported, in both directions; with lm_eval in that
# Python also what lm-evaluation-harness computes. Not part of tests/run.sh: it needs some GB from PyPI.
#   tests/huggingface.sh                    makes a virtual environment with torch and transformers in build/transformers
#   tests/huggingface.sh --python PYTHON    takes a Python that has them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: tests/huggingface.sh [--python PYTHON]"
python=""
while (($# > 0)); do
  case $1 in
    --python)
      (($# > 1)) || { echo "--python needs a path; ${usage}" >&2 && exit 2; }
      python=$(realpath --no-symlinks "$2")
      shift
      ;;
    -h | --help) echo "${usage}" && exit 0 ;;
    *) echo "$1 is no option; ${usage}" >&2 && exit 2 ;;
  esac
  shift
done

mkdir -p build
if [[ -z ${python} ]]; then
  python=${PWD}/build/transformers/bin/python
  if ! "${python}" -c "import torch, transformers, sentencepiece" 2> /dev/null; then
    python3 -m venv build/transformers || { echo "install python3-venv, or give --python" >&2 && exit 2; }
    build/transformers/bin/pip install --quiet torch transformers sentencepiece protobuf
  fi
fi
"${python}" -c "import torch, transformers; print('torch', torch.__version__, 'transformers', transformers.__version__)"

tools/install_packages.sh build run report test
preset=cpu-release
cmake --preset "${preset}" -DJREG_BUILD_TESTS=ON -DJREG_TRANSFORMERS_PYTHON="${python}" > "build/${preset}.configure.log" ||
  { cat "build/${preset}.configure.log" && exit 1; }
# tests/run.sh --all, which may come later, is not to find them.
trap 'cmake --preset "${preset}" -DJREG_TRANSFORMERS_PYTHON= > /dev/null' EXIT
cmake --build --preset "${preset}" --target jreg huggingface_parity
ctest --preset "${preset}" --label-regex huggingface --verbose
