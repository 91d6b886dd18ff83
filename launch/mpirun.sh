#!/usr/bin/env bash
# Trains on several ranks with mpirun (Open MPI 4 or 5), each rank bound to its own cores.
#   launch/mpirun.sh -n RANKS [OPTION ...] CONFIG [--section.key value ...]
#   launch/mpirun.sh --per-node RANKS --hostfile FILE [OPTION ...] CONFIG [--section.key value ...]
#
#   -n RANKS           ranks in all; with --per-node and --hostfile: as many as fit where it is left out
#   --hostfile FILE    a host a line, "name slots=RANKS_THERE"; program, data and run folder have the same path on each
#   --per-node RANKS   ranks on each host, rather than filling slots host by host
#   --threads N        OpenMP threads, and cores, of a rank; left out: the cores of the smallest host, shared out
#   --preflight        first check hosts, links and folders (jreg train --preflight), and train only if they are good
#   --retries N        start again up to N times, with --resume auto, where a rank or host failed (exit codes 75, 137)
#                      or a rank was asked to end (85)
#   --retry-delay S    seconds before the first of them, doubled each time up to 300 (default 10)
#
# SIGTERM, SIGINT, SIGHUP or SIGUSR1 to this script ends the run with a checkpoint and exit code 85, a third one
# within seconds and without.
# Forwarded to the ranks: PATH, LD_LIBRARY_PATH, and what begins with JREG_, OMP_, CUDA_, NCCL_ or UCX_.
#
# With --run.backend cuda, there or in CONFIG, build/cuda-release comes before build/cpu-release; give a rank for each GPU:
# -n GPUS, or --per-node GPUS. A rank takes the GPU of its number on its host, of those that CUDA_VISIBLE_DEVICES leaves.
# Where NCCL cannot find its way, NCCL_DEBUG=INFO tells what it tries, NCCL_SOCKET_IFNAME=NAME names the network.
# Exit code: that of jreg; 137 where a rank was killed; 75 where a host was lost.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage="usage: ${0##*/} -n RANKS [--hostfile FILE] [--per-node N] [--threads N] [--preflight] [--retries N] CONFIG \
[--section.key value ...]; --help tells more"
ranks='' hostfile='' per_node='' threads='' config='' preflight=false retries=0 delay=10
while (($# > 0)) && [[ -z ${config} ]]; do
  case $1 in
    -n | --hostfile | --per-node | --threads | --retries | --retry-delay)
      (($# > 1)) || die "$1 needs a value; ${usage}"
      case $1 in
        -n) ranks=$2 ;;
        --hostfile) hostfile=$2 ;;
        --per-node) per_node=$2 ;;
        --threads) threads=$2 ;;
        --retries) retries=$2 ;;
        --retry-delay) delay=$2 ;;
      esac
      shift 2
      ;;
    --preflight)
      preflight=true
      shift
      ;;
    -h | --help)
      sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -*) die "$1 is no option here; ${usage}" ;;
    *)
      config=$1
      shift
      ;;
  esac
done
positive() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }
[[ -n ${config} ]] || die "no config; ${usage}"
[[ -n ${ranks} || (-n ${per_node} && -n ${hostfile}) ]] || die "no -n RANKS; ${usage}"
[[ -z ${ranks} ]] || positive "${ranks}" || die "-n ${ranks}: must be a number of ranks; ${usage}"
[[ -z ${per_node} ]] || positive "${per_node}" || die "--per-node ${per_node}: must be a number of ranks"
[[ -z ${threads} ]] || positive "${threads}" || die "--threads ${threads}: must be a number of threads"
[[ ${retries} =~ ^[0-9]+$ ]] || die "--retries ${retries}: must be a number of times"
[[ ${delay} =~ ^[0-9]+$ ]] || die "--retry-delay ${delay}: must be a number of seconds"
[[ -r ${config} ]] || die "${config}: cannot be read"
command -v mpirun > /dev/null || die "no mpirun; tools/install_packages.sh run installs it"
if wants_gpus "${config}" "$@"; then jreg=$(find_jreg cuda); else jreg=$(find_jreg); fi

# A host that is gone without a word: mpirun asks after 60 s of silence, six times, and gives up after 120 s.
export OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-60}
export OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-10}
export OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-6}
# Time for a checkpoint between SIGTERM and SIGKILL where mpirun itself, or its daemon on a host, is told to end, as batch
# systems do. Open MPI waits these seconds twice after each end with an exit code, a mistyped option's, too.
if [[ -n ${SLURM_JOB_ID:-}${PBS_JOBID:-}${LSB_JOBID:-} ]]; then grace=10; else grace=2; fi
export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout:-${grace}}
# Open MPI 5 reads these names.
export PRTE_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time}
export PRTE_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl}
export PRTE_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes}
export PRTE_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout}
allow_root
quiet_mpirun

# Hosts, and how many ranks the fullest of them gets.
hosts=1
launch=(mpirun)
if [[ -n ${hostfile} ]]; then
  [[ -r ${hostfile} ]] || die "${hostfile}: cannot be read"
  # Hosts, slots in all, most slots of a host; a line without slots= leaves both at 0.
  read -r hosts slots most < <(sed 's/#.*//' "${hostfile}" | awk '
    NF { n = 0; for (i = 2; i <= NF; i++) if (split($i, part, "=") == 2 && part[1] == "slots") n = part[2]
         if (n == 0) untold = 1
         slots[$1] += n; sum += n }
    END { for (host in slots) { hosts++; if (slots[host] > most) most = slots[host] }
          print hosts + 0, untold ? 0 : sum + 0, untold ? 0 : most + 0 }')
  ((hosts > 0)) || die "${hostfile}: names no host"
  [[ -n ${ranks} ]] || ranks=$((hosts * per_node))
  ((slots == 0 || ranks <= slots)) || die "${hostfile}: ${slots} slots for ${ranks} ranks; add hosts or slots"
  ((slots == 0 || per_node <= most)) || die "${hostfile}: no host has slots for --per-node ${per_node} ranks"
  launch+=(--hostfile "${hostfile}")
elif [[ ${SLURM_JOB_NUM_NODES:-1} =~ ^[0-9]+$ ]] && ((${SLURM_JOB_NUM_NODES:-1} > 1)); then
  hosts=${SLURM_JOB_NUM_NODES} slots=0 most=0  # the allocation that mpirun finds by itself
else
  slots=0 most=0
fi
if [[ -n ${per_node} ]]; then
  ((ranks <= hosts * per_node)) || die "-n ${ranks}: more than --per-node ${per_node} on each of ${hosts} host(s)"
  per_host=${per_node}
elif ((most > 0)); then
  per_host=$((ranks < most ? ranks : most))
else
  per_host=$(((ranks + hosts - 1) / hosts))
fi

# Cores of the smallest host.
if ((hosts == 1)) && [[ -z ${hostfile} ]]; then
  cores=$(usable_cores)
else
  counts=$("${launch[@]}" --map-by ppr:1:node --bind-to none bash -c "$(declare -f usable_cores); usable_cores" \
    < /dev/null) || die "mpirun cannot start a program on each of the ${hosts} host(s), see above" 75
  cores=$(sort -n <<< "${counts}" | sed -n '/^[0-9]/{p;q}')
fi
if [[ -z ${threads} ]]; then
  threads=$((cores / per_host))
  ((threads > 0)) || threads=1
fi
place=slot
if [[ -n ${per_node} ]]; then place=ppr:${per_node}:node; fi
launch+=(-n "${ranks}")
# Without :PE Open MPI binds a rank to one core, and all its threads share that one.
if ((per_host * threads <= cores)); then
  launch+=(--map-by "${place}:PE=${threads}" --bind-to core)
else
  say "${0##*/}: ${per_host} ranks of ${threads} threads on ${cores} cores: not bound, and slow"
  launch+=(--map-by "${place}:OVERSUBSCRIBE" --bind-to none)
  export OMPI_MCA_mpi_yield_when_idle=1
fi

export OMP_NUM_THREADS=${threads}
# Ranks see a pseudo-terminal whatever this script's output is: tell them whether somebody watches.
if [[ -t 1 ]]; then export JREG_LIVE=1; else export JREG_LIVE=0; fi
while read -r name; do
  launch+=(-x "${name}")
done < <(compgen -e | grep -E '^(PATH|LD_LIBRARY_PATH|(JREG|OMP|CUDA|NCCL|UCX)_.*)$')

# Signals ask the ranks for a checkpoint; SIGTERM to mpirun itself would leave them seconds. In a session of its own
# mpirun does not see what a terminal sends to this script's group.
signals=0 mpirun_pid=''
# shellcheck disable=SC2317  # the trap calls it
pass_on() {
  signals=$((signals + 1))
  if [[ -n ${mpirun_pid} ]]; then
    kill -USR1 "${mpirun_pid}" 2> /dev/null || true
    if ((signals > 2)); then kill -TERM "${mpirun_pid}" 2> /dev/null || true; fi
  fi
}
trap pass_on TERM INT HUP USR1

# Ranks that mpirun has started on this host and that still run.
ranks_here() {
  local child name children=() count=0
  name=$(basename "${jreg}")
  read -r -d '' -a children < <(cat /proc/"${mpirun_pid}"/task/*/children 2> /dev/null) || true
  for child in "${children[@]}"; do
    if [[ $(cat "/proc/${child}/comm" 2> /dev/null) == "${name:0:15}" ]]; then count=$((count + 1)); fi
  done
  echo "${count}"
}

# Runs jreg train with these arguments on all ranks; the exit code comes in ${code}.
run() {
  local seen=false quiet=0 patience=$((2 * OMPI_MCA_odls_base_sigkill_timeout + 10)) pause
  setsid "${launch[@]}" "${jreg}" train --config "${config}" "$@" < /dev/null &
  mpirun_pid=$!
  while kill -0 "${mpirun_pid}" 2> /dev/null; do
    sleep 5 &
    pause=$!
    wait -n "${mpirun_pid}" "${pause}" 2> /dev/null || true  # a signal ends it, too
    kill "${pause}" 2> /dev/null || true
    # With all ranks here gone mpirun waits for the others' end, for ever where their host does not answer.
    if (($(ranks_here) > 0)); then
      seen=true quiet=${SECONDS}
    elif [[ ${seen} == true ]] && ((SECONDS - quiet > patience)) && kill -0 "${mpirun_pid}" 2> /dev/null; then
      say "${0##*/}: all ranks on this host are gone, but mpirun hears nothing of another host: ending it"
      kill -KILL -- "-${mpirun_pid}"
      wait "${mpirun_pid}" 2> /dev/null || true
      mpirun_pid='' code=75
      return
    fi
  done
  code=0
  wait "${mpirun_pid}" || code=$?
  mpirun_pid=''
  # 205: mpirun lost a host. A signal before the ranks took signals ended them: nothing was done yet.
  if ((code == 205)); then code=75; fi
  if ((signals > 0 && code == 128 + 10)); then code=85; fi
}

resume=()
for ((attempt = 1; ; ++attempt)); do
  code=0
  if [[ ${preflight} == true ]]; then run "$@" "${resume[@]}" --preflight; fi
  if ((code == 0 && signals == 0)); then
    run "$@" "${resume[@]}"
  elif ((code == 0)); then
    code=85  # asked to end between the two
  fi
  if ((signals > 0 || attempt > retries)) || [[ ! ${code} =~ ^(75|85|137)$ ]]; then break; fi
  say "${0##*/}: exit code ${code}; starting again in ${delay} s (${attempt} of ${retries})"
  sleep "${delay}" &
  wait $! || true
  if ((signals > 0)); then break; fi
  delay=$((delay * 2 < 300 ? delay * 2 : 300))
  resume=(--resume auto)
done
exit "${code}"
