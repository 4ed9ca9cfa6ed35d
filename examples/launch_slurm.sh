#!/usr/bin/env bash
# A fleet of workers on SLURM: each element of the array trains blocks of one search.
#
#   sbatch examples/launch_slurm.sh STUDY     a path that all nodes see, or a URL
#
# Workers share nothing but the study. One that is ended by its time limit is queued
# again, and the others take over what it leaves.
#SBATCH --job-name=jopt
#SBATCH --array=0-31
#SBATCH --gpus=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120

set -euo pipefail
study=${1:?the path or the URL of the study}
exec jopt worker "$study"  # TERM comes two minutes before the limit
