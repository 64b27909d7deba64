#!/usr/bin/env bash
# One task a GPU; SLURM asks ten minutes before the end (or at a pre-emption) and the job goes on where it stopped. A
# validation that is under way is finished first: give it as many seconds as one takes, and a step more.
#   sbatch docs/slurm.sh conf/paper/res.yaml runs/paper-res [key=value ...]
#SBATCH --job-name=text4seg
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
if [ "$#" -lt 2 ]; then
  echo "give a configuration and a run folder: sbatch docs/slurm.sh CONFIG RUN [key=value ...]" >&2
  exit 2
fi
config=$1 run=$2
shift 2
if [ -f "$run/config.yaml" ]; then
  what=(--resume "$run")
else
  what=(--config "$config" "run_dir=$run" "$@")
fi
status=0
srun --kill-on-bad-exit=1 python -m text4seg.fit "${what[@]}" || status=$?
if [ "$status" -eq 130 ]; then # stopped when asked to, with its place saved
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
fi
exit "$status"
