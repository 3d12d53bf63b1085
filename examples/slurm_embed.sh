#!/bin/bash
# A cohort embedded by a Slurm array: task I of N takes every N-th row, all write to one store.
#
#   MANIFEST=/data/cohort/manifest.csv STORE=/data/store ENCODER=flexict-3d CHECKPOINT=/data/flexict-3d.pt \
#     sbatch --array=1-16 examples/slurm_embed.sh
#
# Images, weights and store lie on a file system that all nodes see. Submitted again, the same line goes on where it
# stopped; --requeue does so by itself after a node failure.
#SBATCH --job-name=flexict-embed
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail

options=(--manifest "${MANIFEST:?the manifest}" --store "${STORE:?the folder of the store}")
options+=(--encoder "${ENCODER:-flexict-3d}" --workers "${SLURM_CPUS_PER_TASK:-8}")
options+=(--shard "${SLURM_ARRAY_TASK_ID:?start me with sbatch --array=1-N}/${SLURM_ARRAY_TASK_COUNT:?}")
if [[ -n "${CHECKPOINT:-}" ]]; then options+=(--checkpoint "$CHECKPOINT"); fi

# Two minutes before the time limit Slurm tells this script; the program then writes what it has and ends.
flexict embed "${options[@]}" --quiet &
trap 'kill -TERM $!' TERM
status=0
wait $! || status=$?
if (( status > 128 )) && kill -0 $! 2>/dev/null; then wait $! || status=$?; fi
# 3: done, some rows are in quarantine; `flexict list` and quarantine.parquet say which.
if (( status == 3 )); then status=0; fi
exit "$status"
