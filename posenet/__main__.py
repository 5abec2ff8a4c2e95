"""``python -m posenet``."""

import sys

from posenet.cli import main

sys.exit(main())
