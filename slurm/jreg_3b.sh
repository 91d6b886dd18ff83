#!/usr/bin/env bash
# Llama of the 3B class with JREG.
#   sbatch slurm/jreg_3b.sh [--section.key value ...]
# Whole nodes of at least this many GPUs; all GPUs of a node are used. Options of sbatch override the lines here.
#SBATCH --job-name=jreg_3b
#SBATCH --nodes=8
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
# This long before the time limit a checkpoint is begun, and the job goes back into the queue.
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#
# To edit, or to give on the command line: --account, --partition, and JREG_DATA, what jreg tokenize --output was given.
##SBATCH --account=NAME
##SBATCH --partition=NAME
export JREG_DATA=${JREG_DATA:-data/corpus}

home=${JREG_HOME:-${SLURM_SUBMIT_DIR:-.}}  # the script itself runs from Slurm's spool
if [[ ! -r ${home}/slurm/train.sh ]]; then
  echo "jreg_3b.sh: no slurm/train.sh in ${home}: submit from jreg's folder, or set JREG_HOME to it" >&2
  exit 2
fi
exec bash "${home}/slurm/train.sh" "${home}/configs/llama_3b_jreg.cfg" "$@"
