#!/usr/bin/env bash
# Start one job of several processes on this machine, as torchrun does.
#
#   bash examples/launch.sh 2 examples/sweep_job.py [ARGUMENTS]
#
# The script reads JOB_PROCESSES and JOB_PROCESS, and JAX the address of the first
# process. If one process fails, the others are ended. On several machines, start it on
# each with FIRST=0, 2, ..., TOTAL= all processes, and JAX_COORDINATOR_ADDRESS=HOST:PORT
# of the first machine.

set -euo pipefail
number=$1
shift
python=${PYTHON:-python3}
port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
export JOB_PROCESSES=${TOTAL:-$number}
export JAX_COORDINATOR_ADDRESS=${JAX_COORDINATOR_ADDRESS:-127.0.0.1:$(port)}
processes=()
for ((each = 0; each < number; each++)); do
  JOB_PROCESS=$((${FIRST:-0} + each)) "$python" "$@" & processes+=($!)
done
# Ctrl-C and SIGTERM go to all: a sweep ends after its segment, and keeps its record.
trap 'kill -TERM "${processes[@]}" 2>/dev/null || true' INT TERM
status=0 left=$number
while [ "$left" -gt 0 ]; do
  ended=0
  wait -n || ended=$?
  # A signal ends wait as well.
  if [ "$ended" -gt 128 ] && [ "$(jobs -rp | wc -l)" -eq "$left" ]; then continue; fi
  left=$((left - 1))
  if [ "$ended" -ne 0 ] && [ "$status" -eq 0 ]; then
    status=$ended
    kill -TERM "${processes[@]}" 2>/dev/null || true
  fi
done
exit "$status"
