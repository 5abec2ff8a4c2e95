# Sourced by the other scripts: makes or reuses .venv with posenet and what its tests need.
# PYTHON names another interpreter than python3; it must be 3.11 or newer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-python3}"
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "posenet needs Python 3.11 or newer, $PYTHON is $("$PYTHON" --version 2>&1); set PYTHON=/path/to/one" >&2
  exit 1
fi
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
# The environment is as good as the last pyproject.toml that was installed into it.
if ! cmp -s pyproject.toml .venv/installed.toml; then
  echo "Installing posenet into .venv (torch is large: some minutes the first time) ..." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,offline]'
  cp pyproject.toml .venv/installed.toml
fi
