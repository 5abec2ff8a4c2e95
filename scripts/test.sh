#!/usr/bin/env bash
# Every check: format, lint, import layers, tests. --all runs the slow tests too; other arguments go to pytest.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
arguments=()
for word in "$@"; do
  if [ "$word" = --all ]; then arguments+=(-m "slow or not slow"); else arguments+=("$word"); fi
done
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/lint-imports --no-logo
# A process for each core, which then computes with one thread: they would wait for each other's. A file's tests stay
# together, since they share what they have trained.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
.venv/bin/python -m pytest -n auto --dist loadfile ${arguments[@]+"${arguments[@]}"}
