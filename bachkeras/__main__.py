"""`python -m bachkeras`: the command line."""

import sys

from bachkeras.cli import main

sys.exit(main())
