"""``python -m workbench.cli`` is ``mesascope``."""

import sys

from workbench.cli import main

sys.exit(main())
