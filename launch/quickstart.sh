#!/usr/bin/env bash
# From a bare Debian or Ubuntu machine to two trained models and a figure, in some ten minutes on two cores: installs
# what is missing, builds, makes a corpus from manuals that Debian packages, trains a baseline and a JREG run of a small
# Llama on two ranks, and draws them. What exists is used again: a second call goes on where the first one ended.
#   launch/quickstart.sh [--section.key value ...]     options for both runs, over those of configs/quickstart.cfg
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0"
  exit
fi

lambda=3  # flattens the jumps of this model without a loss in loss; README has the table
out=runs/quickstart
build=build/cpu-release
stage() { say "[$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))] $*"; }

stage "Packages"
tools/install_packages.sh build run report corpus

stage "Build, in ${build}"
mkdir -p "${out}/data" build
if [[ ! -f ${build}/build.ninja ]]; then
  # A folder that tests/run.sh made is taken as it is.
  launcher=()
  if command -v ccache > /dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake --preset cpu-release -DJREG_BUILD_TESTS=OFF "${launcher[@]}" > "${out}/configure.log" \
    || die "cmake failed, see ${out}/configure.log" 1
fi
cmake --build "${build}" --target jreg > "${out}/build.log" || die "the build failed, see ${out}/build.log" 1
export JREG=${JREG:-${build}/bin/jreg}
python=$(find_python)

if [[ ! -f ${out}/data/corpus.json ]]; then  # what tokenize writes last
  stage "Corpus and tokens, in ${out}/data"
  "${python}" tools/make_corpus.py --output "${out}/data/corpus.jsonl"
  "${JREG}" tokenize --jsonl-field text --train-vocab 4096 --validation 0.02 --overwrite --output "${out}/data/corpus" \
    "${out}/data/corpus.jsonl"
fi

train() {
  local name=$1
  shift
  stage "Training ${name}, in ${out}/${name}"
  launch/mpirun.sh -n 2 configs/quickstart.cfg --run.dir "${out}/${name}" --resume auto "$@"
}
train baseline --jreg.lambda 0 "$@"
train jreg --jreg.lambda "${lambda}" "$@"

stage "Report"
"${python}" tools/plot_dynamics.py "${out}/baseline" "${out}/jreg" --output "${out}/report.png"
"${python}" tools/run_table.py "${out}/baseline" "${out}/jreg" --tokens "${out}/data/corpus_train"
stage "Done: ${out}/report.png"
