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

# The program: $JREG, or beside an installed launch/, or in the source tree's release build, or on the PATH.
find_jreg() {
  local home candidate
  home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  for candidate in "${JREG:-}" "${home}/../../bin/jreg" "${home}/build/cpu-release/bin/jreg" "$(command -v jreg || true)"; do
    if [[ -n ${candidate} && -x ${candidate} ]]; then
      realpath "${candidate}"
      return
    fi
  done
  die "no jreg: build it (cmake --preset cpu-release && cmake --build --preset cpu-release) or set JREG"
}

# Open MPI refuses to start as root unless told twice that it is meant.
allow_root() {
  if ((EUID == 0)); then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}
