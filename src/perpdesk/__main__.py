"""Doors: `python -m perpdesk` is `perpdesk`."""

import sys

from perpdesk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
