"""``python -m posenet.cli``."""

import sys

from posenet.cli import main

sys.exit(main())
