#!/usr/bin/env bash
# A baseline and JREG, on the same seed and data: a job array of two.
#   sbatch slurm/pair.sh 170m|1b|3b [--section.key value ...]
# Both take the same options, but for --jreg.lambda, which the baseline has 0. Run folders: those of the configs, or
# with --run.dir FOLDER, FOLDER/baseline and FOLDER/jreg. For 3b add sbatch --nodes=8.
# Whole nodes of at least this many GPUs; all GPUs of a node are used. Options of sbatch override the lines here.
#SBATCH --job-name=pair
#SBATCH --array=0-1
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
# This long before the time limit a checkpoint is begun, and the job goes back into the queue.
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
#
# To edit, or to give on the command line: --account, --partition, and JREG_DATA, what jreg tokenize --output was given.
##SBATCH --account=NAME
##SBATCH --partition=NAME
export JREG_DATA=${JREG_DATA:-data/corpus}

home=${JREG_HOME:-${SLURM_SUBMIT_DIR:-.}}  # the script itself runs from Slurm's spool
JREG_ARGUMENTS=$(printf '%q ' "$@")
export JREG_ARGUMENTS
size=${1:-} name=baseline suffix='' last=(--jreg.lambda 0)
if [[ ${SLURM_ARRAY_TASK_ID:-0} == 1 ]]; then name=jreg suffix=_jreg last=(); fi
config=${home}/configs/llama_${size}${suffix}.cfg
if [[ ! -r ${home}/slurm/train.sh || ! -r ${config} ]]; then
  echo "pair.sh: no slurm/train.sh or no ${config}: submit from jreg's folder, or set JREG_HOME to it;" \
    "usage: sbatch slurm/pair.sh 170m|1b|3b [--section.key value ...]" >&2
  exit 2
fi
shift
options=() run=''
while (($# > 0)); do
  case $1 in
    --run.dir)
      run=${2:-}
      shift
      ;;
    --run.dir=*) run=${1#*=} ;;
    *) options+=("$1") ;;
  esac
  shift
done
if [[ -n ${run} ]]; then last+=(--run.dir "${run}/${name}"); fi
exec bash "${home}/slurm/train.sh" "${config}" "${options[@]}" "${last[@]}"
