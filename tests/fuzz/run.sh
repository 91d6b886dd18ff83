#!/usr/bin/env bash
# Runs a fuzz target from its kept inputs, for 20 seconds or as many as are given. What it comes upon stays beside the
# target: an input that it ends with as crash-*; with --keep the kept inputs grow by those that reach new code.
#   tests/fuzz/run.sh build/cpu-fuzz/tests/fuzz/fuzz_manifest [SECONDS] [--keep]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

usage="usage: tests/fuzz/run.sh TARGET [SECONDS] [--keep]"
(($# >= 1)) || { echo "${usage}" >&2 && exit 2; }
target=$1 seconds=${2:-20} keep=${3:-}
kept="${here}/corpus/$(basename "${target}" | sed 's/^fuzz_//')"
[[ -x ${target} && -d ${kept} && (-z ${keep} || ${keep} == --keep) ]] || { echo "${usage}" >&2 && exit 2; }

[[ -w /dev/shm ]] && export TMPDIR=/dev/shm # files of targets in memory
work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
export TMPDIR=${work}
mkdir "${work}/found"
"${target}" -seed=1 -max_total_time="${seconds}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="$(dirname "${target}")/" "${work}/found" "${kept}"
if [[ ${keep} == --keep ]]; then "${target}" -merge=1 "${kept}" "${work}/found"; fi
