#!/usr/bin/env bash
# Installs what is missing, builds and runs the tests.
#   tests/run.sh                 the quick ones
#   tests/run.sh --all           all, and again under AddressSanitizer and UndefinedBehaviorSanitizer, and fuzzing;
#                                where CUDA's nvcc is, also the build with CUDA, and its backend on a software device
#   tests/run.sh --preset NAME   with another preset than cpu-release
# tools/gpu_check.sh tests on a GPU. With CI=true a test that cannot run here for want of a tool fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: tests/run.sh [--all] [--preset NAME]"
all=false preset=cpu-release
while (($# > 0)); do
  case $1 in
    --all) all=true ;;
    --preset)
      (($# > 1)) || { echo "--preset needs a name; ${usage}" >&2 && exit 2; }
      preset=$2
      shift
      ;;
    -h | --help) echo "${usage}" && exit 0 ;;
    *) echo "$1 is no option; ${usage}" >&2 && exit 2 ;;
  esac
  shift
done

build() {  # PRESET [TARGET ...]
  # Other compilers than that of continuous integration have other warnings: they stop nobody's first build.
  local arguments=(-DJREG_BUILD_TESTS=ON "-DJREG_WARNINGS_AS_ERRORS=${all}") preset=$1
  if command -v ccache > /dev/null; then
    arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    if [[ ${preset} == cuda-release ]]; then arguments+=(-DCMAKE_CUDA_COMPILER_LAUNCHER=ccache); fi
  fi
  cmake --preset "${preset}" "${arguments[@]}" > "build/${preset}.configure.log" \
    || { cat "build/${preset}.configure.log" && return 1; }
  shift
  cmake --build --preset "${preset}" ${1:+--target "$@"}
}
check() { ctest --preset "$@" --parallel "$(env -u OMP_NUM_THREADS nproc)"; }

tools/install_packages.sh build run report test
mkdir -p build
build "${preset}"
if [[ ${all} == false ]]; then
  check "${preset}" --label-regex quick
  exit
fi

# All that is to be built comes first, so that what does not compile is known soon.
fuzz=false
if command -v clang++-16 > /dev/null || [[ ${CI:-} == true ]]; then fuzz=true; fi
cuda=false sanitized=cpu-asan
if command -v nvcc > /dev/null; then
  cuda=true sanitized=cuda-emulation  # the same and the CUDA backend
  build cuda-release jreg
fi
build "${sanitized}"
rm -f build/cuda-emulation/launches.txt  # of kernels; tests list them, tools/kernel_report.py reads them
if [[ ${fuzz} == true ]]; then build cpu-fuzz; fi

failed=0
check "${sanitized}" --label-exclude noasan \
  || { failed=$? && echo "tests/run.sh: tests of preset ${sanitized} failed, see above" >&2; }
if [[ ${fuzz} == true ]]; then
  check cpu-fuzz || { failed=$? && echo "tests/run.sh: tests of preset cpu-fuzz failed, see above" >&2; }
else
  echo "tests/run.sh: skipped fuzzing: clang++-16 is not installed" >&2
fi
if [[ ${cuda} == true ]]; then
  check cuda-release --tests-regex '^program_cuda_build$' \
    || { failed=$? && echo "tests/run.sh: tests of preset cuda-release failed, see above" >&2; }
else
  echo "tests/run.sh: skipped the CUDA backend: nvcc is not installed" >&2
fi
check "${preset}" || failed=$?
exit "${failed}"
