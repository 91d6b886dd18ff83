# shellcheck shell=bash
# What the scripts of this folder and tests/run.sh share. To be sourced.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "${0##*/}: $1"
  exit "${2:-2}"
}

# Processor cores that this process may use; two hardware threads of a core count once.
usable_cores() {
  local allowed cores
  allowed=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  cores=$(lscpu --parse=core,socket 2> /dev/null | grep -v '^#' | sort -u | wc -l)
  ((cores > 0 && cores < allowed)) && allowed=${cores}
  echo "${allowed}"
}

# A python3 that has numpy and h5py; the first on the PATH may be one without Debian's modules.
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" /usr/bin/python3 python3; do
    if [[ -n ${candidate} ]] && "${candidate}" -c 'import numpy, h5py' > /dev/null 2>&1; then
      echo "${candidate}"
      return
    fi
  done
  die "no python3 with numpy and h5py; tools/install_packages.sh report installs them"
}

# wants_gpus CONFIG [OPTION ...]: whether a run with this config and these options, of which the last counts, is on GPUs.
wants_gpus() {
  local backend
  backend=$(sed -n '/^\[run\]/,/^\[/s/^ *backend *= *\([a-z]*\).*/\1/p' "$1" | tail -n 1)
  shift
  while (($# > 0)); do
    case $1 in
      --backend | --run.backend) backend=${2:-} ;;
      --backend=* | --run.backend=*) backend=${1#*=} ;;
    esac
    shift
  done
  [[ ${backend} == cuda ]]
}

# find_jreg [cpu|cuda]: the program: $JREG, or beside an installed launch/, or in the source tree's release builds, for
# cuda the one with CUDA first, or on the PATH.
find_jreg() {
  local home candidate builds=(cpu-release cuda-release) built
  home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  if [[ ${1:-cpu} == cuda ]]; then builds=(cuda-release cpu-release); fi
  built=("${builds[@]/#/${home}/build/}")
  for candidate in "${JREG:-}" "${home}/../../bin/jreg" "${built[@]/%//bin/jreg}" "$(command -v jreg || true)"; do
    if [[ -n ${candidate} && -x ${candidate} ]]; then
      realpath "${candidate}"
      return
    fi
  done
  die "no jreg: build it (cmake --preset ${builds[0]} && cmake --build --preset ${builds[0]}) or set JREG"
}

# Open MPI refuses to start as root unless told twice that it is meant.
allow_root() {
  if ((EUID == 0)); then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# Ranks tell why they end; mpirun has no more to say. As an option, -q, Open MPI 5 would refuse it; it is never quiet.
quiet_mpirun() { export OMPI_MCA_orte_execute_quiet=1; }
