#!/bin/bash
#SBATCH --array=0-15 --requeue --cpus-per-task=8 --time=04:00:00
# Sixteen tasks of an array share one store; a task that is preempted goes on where it was. OUT is a folder all nodes see.
exec levysde sweep sweep.toml --out "${OUT:?set OUT to a shared folder or a URL}" \
    --shard "${SLURM_ARRAY_TASK_ID:?not in an array}/${SLURM_ARRAY_TASK_COUNT:-16}"
