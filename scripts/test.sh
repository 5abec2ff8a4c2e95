#!/usr/bin/env bash
# Every check: format, lint, import layers, tests. Arguments go to pytest.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/lint-imports --no-logo
.venv/bin/python -m pytest "$@"
