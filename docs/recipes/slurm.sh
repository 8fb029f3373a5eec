#!/bin/sh
#SBATCH --array=0-31
#SBATCH --cpus-per-task=16
#SBATCH --requeue
# SLURM: a task of the array is a shard. What is preempted is queued again and goes on where it was; sent off once more, the whole
# array makes what is missing.
#
#     sbatch slurm.sh MODEL OUT FILES…
set -eu
model=$1 out=$2
shift 2
export RAYON_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
exec embedlet embed --model "$model" --out "$out" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
