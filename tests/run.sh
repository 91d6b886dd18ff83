#!/usr/bin/env bash
# Installs what is missing, builds and runs the tests.
#   tests/run.sh                 the quick ones
#   tests/run.sh --all           all, and again under AddressSanitizer and UndefinedBehaviorSanitizer, and fuzzing
#   tests/run.sh --preset NAME   with another preset than cpu-release
# With CI=true a test that cannot run here for want of a tool fails.
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

build() {
  local arguments=(-DJREG_BUILD_TESTS=ON)
  if command -v ccache > /dev/null; then arguments+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake --preset "$1" "${arguments[@]}" > "build/$1.configure.log" || { cat "build/$1.configure.log" && return 1; }
  cmake --build --preset "$1"
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
build cpu-asan
if [[ ${fuzz} == true ]]; then build cpu-fuzz; fi

failed=0
check cpu-asan --label-exclude noasan || failed=$?
((failed == 0)) || echo "tests/run.sh: tests of preset cpu-asan failed, see above; those of ${preset} follow" >&2
if [[ ${fuzz} == true ]]; then
  check cpu-fuzz || { failed=$? && echo "tests/run.sh: tests of preset cpu-fuzz failed, see above" >&2; }
else
  echo "tests/run.sh: skipped fuzzing: clang++-16 is not installed" >&2
fi
check "${preset}" || failed=$?
exit "${failed}"
