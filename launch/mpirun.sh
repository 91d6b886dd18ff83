#!/usr/bin/env bash
# Trains on several ranks with mpirun, each rank bound to its own cores.
#   launch/mpirun.sh -n RANKS [--hostfile FILE] [--threads N] CONFIG [--section.key value ...]
# FILE names a host a line, "name slots=RANKS_THERE". N is OpenMP threads (cores) per rank; without it the cores of this
# machine are shared out among the ranks per host. Exit code: that of jreg; 137 where a rank was killed.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: ${0##*/} -n RANKS [--hostfile FILE] [--threads N] CONFIG [--section.key value ...]"
ranks='' hostfile='' threads='' config=''
while (($# > 0)) && [[ -z ${config} ]]; do
  case $1 in
    -n | --hostfile | --threads)
      (($# > 1)) || die "$1 needs a value; ${usage}"
      case $1 in
        -n) ranks=$2 ;;
        --hostfile) hostfile=$2 ;;
        --threads) threads=$2 ;;
      esac
      shift 2
      ;;
    -h | --help)
      echo "${usage}"
      exit 0
      ;;
    -*) die "$1 is no option here; ${usage}" ;;
    *)
      config=$1
      shift
      ;;
  esac
done
[[ -n ${config} ]] || die "no config; ${usage}"
[[ ${ranks} =~ ^[1-9][0-9]*$ ]] || die "-n ${ranks}: must be a number of ranks; ${usage}"
[[ -z ${threads} || ${threads} =~ ^[1-9][0-9]*$ ]] || die "--threads ${threads}: must be a number of threads"
[[ -r ${config} ]] || die "${config}: cannot be read"
command -v mpirun > /dev/null || die "no mpirun; tools/install_packages.sh run installs it"
jreg=$(find_jreg)

hosts=1
arguments=(-q -n "${ranks}")
if [[ -n ${hostfile} ]]; then
  [[ -r ${hostfile} ]] || die "${hostfile}: cannot be read"
  hosts=$(sed 's/#.*//' "${hostfile}" | awk 'NF { print $1 }' | sort -u | wc -l)
  ((hosts > 0)) || die "${hostfile}: names no host"
  arguments+=(--hostfile "${hostfile}")
fi

cores=$(usable_cores)
per_host=$(((ranks + hosts - 1) / hosts))
if [[ -z ${threads} ]]; then
  threads=$((cores / per_host))
  ((threads > 0)) || threads=1
fi
# Without :PE Open MPI binds a rank to one core, and all its threads share that one.
if [[ -n ${hostfile} ]] || ((per_host * threads <= cores)); then
  arguments+=(--map-by "slot:PE=${threads}" --bind-to core)
else
  say "${0##*/}: ${per_host} ranks of ${threads} threads on ${cores} cores: not bound, and slow"
  arguments+=(--oversubscribe --bind-to none)
  export OMPI_MCA_mpi_yield_when_idle=1
fi

export OMP_NUM_THREADS=${threads}
# Ranks see a pseudo-terminal whatever this script's output is: tell them whether somebody watches.
if [[ -t 1 ]]; then export JREG_LIVE=1; else export JREG_LIVE=0; fi
for name in OMP_NUM_THREADS LD_LIBRARY_PATH JREG_LIVE; do
  if [[ -n ${!name:-} ]]; then arguments+=(-x "${name}"); fi
done
allow_root
exec mpirun "${arguments[@]}" "${jreg}" train --config "${config}" "$@"
