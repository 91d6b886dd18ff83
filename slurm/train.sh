#!/usr/bin/env bash
# What the scripts of this folder do inside their job: train CONFIG on all that the job was given, from the newest
# checkpoint, and put the job back into the queue where that helps.
#   slurm/train.sh CONFIG [--section.key value ...]
#
# Ranks per node: --ntasks-per-node where that was asked for, else one per GPU, else one per --cpus-per-task, else one.
# A rank's threads are its share of the node's cores. With GPUs the backend is cuda, unless an option says otherwise, and
# the program that of build/cuda-release where it is there; a rank takes the GPU of its number on its node.
# sbatch --gpus-per-node=0 trains on processors.
#
# How it ends:  0     done
#               85    checkpointed on SIGUSR1, before the time limit: the job is put back into the queue
#               75    a rank or a node failed, as 137 (killed) or another end by a signal, and 205 (mpirun lost a
#                     node): back into the queue, to start later each time
#               else  another start would not help; the log tells why
#
# From the environment:
#   JREG_DATA      what jreg tokenize --output was given; --data.train and --data.sources beat it
#   JREG_HOME      the folder of slurm/, launch/ and configs/; else that of sbatch
#   JREG           the program, where it is neither built there nor on the PATH
#   NCCL_*, UCX_*  reach the ranks. Where NCCL cannot find its way, NCCL_DEBUG=INFO tells what it tries,
#                  NCCL_SOCKET_IFNAME and NCCL_IB_HCA name the network
#   JREG_LAUNCHER  srun or mpirun; else srun where Slurm has PMIx
#   JREG_RETRIES   starts in a row without a new checkpoint after which a job is not put back (5)
#   JREG_DELAY     seconds in the queue after a failure (60), doubled with each start in a row without a new checkpoint
#   JREG_WARNING   with mpirun: seconds before the time limit at which a checkpoint is begun (600); with srun it is
#                  sbatch --signal that tells
set -euo pipefail
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../launch/common.sh
source "${home}/launch/common.sh"

job=${SLURM_JOB_ID:-}
# The job id of an array's last task means the whole array elsewhere.
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then job=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}; fi
[[ -n ${job} && -n ${SLURM_JOB_NUM_NODES:-} ]] || die "runs within a job: sbatch slurm/jreg_1b.sh, for example"

note() { say "$(date +%FT%T) job ${job}: $*"; }

# Value of the last --NAME among the options, as jreg takes it; nothing where it is not there.
option() {
  local i value=''
  for ((i = 0; i < ${#options[@]}; ++i)); do
    case ${options[i]} in
      "--$1") value=${options[i + 1]:-} ;;
      "--$1="*) value=${options[i]#*=} ;;
    esac
  done
  echo "${value}"
}

# A field of `scontrol show job`, "(null)" as nothing.
field() {
  scontrol --oneliner show job "${job}" 2> /dev/null | grep -o " $1=[^ ]*" | head -n 1 \
    | sed "s|^ $1=||; s|^(null)\$||" || true
}

# The number at the end of "4", "gpu:4" or "a100:4".
count() { grep -oE '[0-9]+$' <<< "${1%%(*}" || echo 0; }

# Sets nodes, per_node (ranks), gpus (per node), cpus (per rank) and threads (per rank).
read_allocation() {
  nodes=${SLURM_JOB_NUM_NODES}
  gpus=0
  # A whole node brings its GPUs along even where none were asked for.
  if [[ ${SLURM_GPUS_PER_NODE:-unsaid} != 0 ]]; then
    gpus=${SLURM_GPUS_ON_NODE:-$(count "${SLURM_GPUS_PER_NODE:-0}")}
  fi
  local smallest  # of "64(x3),32"
  smallest=$(tr , '\n' <<< "${SLURM_JOB_CPUS_PER_NODE}" | sed 's/(.*//' | sort -n | head -n 1)
  if [[ -n ${SLURM_NTASKS_PER_NODE:-} ]]; then
    per_node=$(count "${SLURM_NTASKS_PER_NODE}")
  elif [[ -n ${SLURM_NTASKS:-} ]]; then
    ((SLURM_NTASKS % nodes == 0)) || die "--ntasks=${SLURM_NTASKS} is not a multiple of --nodes=${nodes}"
    per_node=$((SLURM_NTASKS / nodes))
  elif ((gpus > 0)); then
    per_node=${gpus}
  else
    per_node=$((smallest / ${SLURM_CPUS_PER_TASK:-${smallest}}))
  fi
  if ((gpus > 0 && per_node > gpus)); then
    die "${per_node} ranks per node but ${gpus} GPU(s): give --ntasks-per-node=${gpus} or less, or --gpus-per-node=0"
  fi
  if ((per_node < 1 || per_node > smallest)); then
    die "${per_node} ranks per node do not fit the ${smallest} CPU(s) that the job has there"
  fi
  cpus=${SLURM_CPUS_PER_TASK:-$((smallest / per_node))}
  if ((per_node * cpus > smallest)); then
    die "${per_node} ranks per node with --cpus-per-task=${cpus} do not fit the job's ${smallest} CPU(s) there"
  fi
  local per_core
  per_core=$(lscpu 2> /dev/null | sed -n 's/^Thread(s) per core: *//p')
  threads=$((cpus / ${per_core:-1}))
  ((threads > 0)) || threads=1
}

# Sets launch, the words before jreg, and launcher.
choose_launcher() {
  local plugins reason="JREG_LAUNCHER=${JREG_LAUNCHER:-}"
  launcher=${JREG_LAUNCHER:-}
  if [[ -z ${launcher} ]]; then
    plugins=$(srun --mpi=list 2>&1 || true)
    if grep -qw pmix <<< "${plugins}"; then
      launcher=srun
    else
      launcher=mpirun
      reason="this Slurm has no PMIx"
    fi
  fi
  local name ranks=$((nodes * per_node))
  export OMP_NUM_THREADS=${threads} JREG_LIVE=0  # mpirun's ranks see a pseudo-terminal whatever the log is
  case ${launcher} in
    srun)
      # Not --gpus-per-task: every rank must see all GPUs of its node, as NCCL does, and takes the one of its number.
      launch=(srun --mpi=pmix --kill-on-bad-exit=1 "--nodes=${nodes}" "--ntasks=${ranks}"
        "--ntasks-per-node=${per_node}" "--cpus-per-task=${cpus}" "--gpus-per-node=${gpus}")
      if ! scontrol show config | grep -qE '^TaskPlugin *= task/none'; then launch+=(--cpu-bind=cores); fi
      ;;
    mpirun)
      note "mpirun, not srun, starts the ranks: ${reason}"
      command -v mpirun > /dev/null || die "no mpirun on the PATH; load the MPI that jreg was built with"
      quiet_mpirun
      launch=(mpirun -n "${ranks}" --map-by "ppr:${per_node}:node:PE=${threads}" --bind-to core -x OMP_NUM_THREADS
        -x JREG_LIVE)
      if [[ -n ${LD_LIBRARY_PATH:-} ]]; then launch+=(-x LD_LIBRARY_PATH); fi
      while read -r name; do launch+=(-x "${name}"); done < <(compgen -e | grep -E '^(NCCL|UCX)_' || true)
      # Seconds for a checkpoint after scancel, instead of one. Ends with another code than 0 take as much longer.
      export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout:-30}
      export PRTE_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout}  # Open MPI 5's name
      ;;
    *) die "JREG_LAUNCHER=${launcher}: must be srun or mpirun" ;;
  esac
  # What the job was asked for is said above, in full; sbatch --export=NONE is meant for the script, not for its steps.
  unset SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU SLURM_EXPORT_ENV
}

# Newest checkpoint's name; nothing where there is none.
newest_checkpoint() { cat "${run}/checkpoints/latest" 2> /dev/null || true; }

child='' training=false warned=false
# Ranks checkpoint on SIGUSR1, however often it comes.
# shellcheck disable=SC2317  # traps call it
warn_ranks() {
  [[ ${warned} == false ]] || return 0
  warned=true
  if [[ ${training} == true ]]; then kill -USR1 "${child}" 2> /dev/null || true; fi
}

# Runs a command to its end, whatever signals come meanwhile, and sets code.
run_to_end() {
  "$@" &
  child=$!
  while true; do
    code=0
    wait "${child}" || code=$?
    kill -0 "${child}" 2> /dev/null || break
  done
  child=''
}

# mpirun's ranks do not see the signal that Slurm sends before the time limit: this one comes from here, and not while
# mpirun starts them.
warn_before_the_end() {
  local end seconds
  end=$(date -d "$(field EndTime)" +%s 2> /dev/null) || return 0
  seconds=$((end - $(date +%s) - ${JREG_WARNING:-600}))
  sleep $((seconds > 20 ? seconds : 20))
  kill -USR1 $$
}

train() {
  local timer=''
  if [[ $("${jreg}" train --help) == *--preflight* ]]; then
    run_to_end "${launch[@]}" "${jreg}" train "${arguments[@]}" --preflight
    if ((code != 0)); then
      note "the preflight did not pass: nothing was trained"
      return
    fi
  fi
  if [[ ${warned} == true ]]; then
    note "asked to end before training began"
    code=85
    return
  fi
  training=true
  if [[ ${launcher} == mpirun ]]; then
    warn_before_the_end > /dev/null &
    timer=$!
  fi
  run_to_end "${launch[@]}" "${jreg}" train "${arguments[@]}"
  if [[ -n ${timer} ]]; then kill "${timer}" 2> /dev/null || true; fi
}

# A new job like this one after its end: for sites and jobs that may not be requeued.
resubmit() {
  local script words name value arguments=("${options[@]}")
  script=$(field Command)
  [[ -r ${script} ]] || { note "cannot be submitted again: no script ${script}" && return 1; }
  words=("--dependency=afterany:${job}" "--begin=now+$1" "--job-name=$(field JobName)" "--output=$(field StdOut)"
    "--time=$(field TimeLimit)" "--nodes=${nodes}" "--gpus-per-node=${SLURM_GPUS_PER_NODE:-${gpus}}")
  for name in account:Account partition:Partition qos:QOS constraint:Features exclude:ExcNodeList; do
    value=$(field "${name#*:}")
    if [[ -n ${value} ]]; then words+=("--${name%:*}=${value}"); fi
  done
  if [[ -n ${SLURM_NTASKS:-} ]]; then words+=("--ntasks-per-node=${per_node}"); fi
  if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then words+=("--cpus-per-task=${SLURM_CPUS_PER_TASK}"); fi
  if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then words+=("--array=${SLURM_ARRAY_TASK_ID}"); fi
  if [[ -n ${JREG_ARGUMENTS:-} ]]; then eval "arguments=(${JREG_ARGUMENTS})"; fi  # what slurm/pair.sh was given
  (
    export -n "${!SLURM_@}"  # of this job
    if [[ -n ${SLURM_CONF:-} ]]; then export SLURM_CONF; fi
    sbatch --export=ALL "${words[@]}" "${script}" "${arguments[@]}"
  )
}

# Puts the job back into the queue, unless it has made no new checkpoint for too many starts in a row. $1: seconds to
# wait, doubled with each such start; the job holds no nodes meanwhile. Slurm itself adds two minutes.
again() {
  local newest failures=0 delay=$1 limit=${JREG_RETRIES:-5} last_job='' file=${run}/requeue
  if [[ $(newest_checkpoint) == "${begun_at}" ]]; then
    read -r last_job failures 2> /dev/null < "${file}" || true
    if [[ ${last_job} != "${job}" ]]; then failures=${JREG_FAILURES:-0}; fi
    failures=$((failures + 1))
  fi
  { mkdir -p "${run}" && echo "${job} ${failures}" > "${file}"; } || note "starts are not counted"
  if ((failures >= limit)); then
    note "exit code ${code}; ${failures} starts in a row made no new checkpoint: not put back into the queue"
    exit "${code}"
  fi
  if ((delay > 0)); then
    delay=$((delay * (1 << (failures > 1 ? failures - 1 : 0))))
    ((delay <= 1800)) || delay=1800
  fi
  newest=$(newest_checkpoint)
  note "exit code ${code}, newest checkpoint: ${newest:-none}, starts in a row without a new one: ${failures};" \
    "back into the queue, to start in ${delay} s or later"
  if scontrol requeue "${job}"; then
    # From here on Slurm ends this script.
    if ((delay > 0)); then
      scontrol update "JobId=${job}" "StartTime=now+${delay}" || note "Slurm does not let this job wait"
    fi
  elif JREG_FAILURES=${failures} resubmit "${delay}"; then
    note "requeue is not permitted: submitted as a new job that follows this one"
  else
    note "requeue is not permitted, nor a new job: submit again by hand, training goes on where it ended"
  fi
  exit "${code}"
}

# Sets arguments, those of jreg, and run, the run folder.
choose_arguments() {
  arguments=(--config "${config}" --resume auto --run.backend "$( ((gpus > 0)) && echo cuda || echo cpu)")
  if [[ -n ${JREG_DATA:-} && -z $(option data.train)$(option data.sources) ]]; then
    arguments+=(--data.train "${JREG_DATA}_train" --data.validation "${JREG_DATA}_validation")
  fi
  arguments+=("${options[@]}")
  run=$(option run.dir)
  if [[ -z ${run} ]]; then
    run=$(sed -n '/^\[run\]/,/^\[/s/^dir *= *//p' "${config}")
    run=${run:-runs/run}  # jreg's default
  fi
}

# What follows from the exit code.
end() {
  local state
  if ((code == 0)); then
    note "done"
    exit
  fi
  state=$(squeue --noheader --format=%T --jobs="${job}") || state=RUNNING  # Slurm's controller may be busy
  if [[ ${state} != RUNNING ]]; then
    note "exit code ${code}; Slurm is ending this job (${state}) and decides whether it starts again"
  elif ((code == 85)); then
    again 0
  elif ((code == 75 || code == 205 || (code > 128 && code < 160))); then
    again "${JREG_DELAY:-60}"
  else
    note "exit code ${code}: starting again would not help, see above"
  fi
  exit "${code}"
}

main() {
  (($# > 0)) || die "no config; usage: ${0##*/} CONFIG [--section.key value ...]"
  config=$1
  options=("${@:2}")
  [[ -r ${config} ]] || die "${config}: cannot be read"
  read_allocation
  choose_launcher
  if ((gpus > 0)); then jreg=$(find_jreg cuda); else jreg=$(find_jreg); fi
  allow_root
  choose_arguments
  begun_at=$(newest_checkpoint)
  trap warn_ranks USR1
  trap : TERM  # comes to the ranks as well; this script waits for them
  note "start $((${SLURM_RESTART_COUNT:-0} + 1)) on ${SLURM_JOB_NODELIST}: ${nodes} node(s) x ${per_node} rank(s) x" \
    "${threads} thread(s), ${gpus} GPU(s) per node, by ${launcher}; run folder ${run}," \
    "newest checkpoint: ${begun_at:-none}"
  train
  end
}

# In a function that does not return, so that bash has read this file before the job begins: it may change meanwhile.
main "$@"
