#!/usr/bin/env bash
# A training on several machines of a SLURM cluster, as many processes on each as it has GPUs.
#
#     sbatch --nodes 2 --gpus-per-node 4 scripts/train_slurm.sh configs/seven_scenes.yaml --data.root /scratch/room
#
# What follows the script goes to `posenet train`. If the job is cut short, submit it with RUN --resume.
# PYTHON names the interpreter that has posenet, where it is not the first on the PATH.
#SBATCH --job-name=posenet
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --output=%x-%j.log
set -euo pipefail
if [ -z "${SLURM_JOB_ID:-}" ]; then
  echo "expected a job of SLURM, found none; submit with: sbatch $0 CONFIG --group.name VALUE ..." >&2
  exit 2
fi
first_machine="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
# One torchrun a machine starts that machine's processes, and ends all when one of them fails.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes "$SLURM_JOB_NUM_NODES" \
  --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$first_machine:${POSENET_PORT:-29517}" \
  -m posenet train "$@"
