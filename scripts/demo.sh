#!/usr/bin/env bash
# A toy room, a training, an evaluation and predictions, on a machine that has only git and Python.
# Arguments go to `posenet demo`.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
exec .venv/bin/posenet demo "$@"
