"""Doors: `python -m perpdesk` is `perpdesk`."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C is no traceback even while the program loads."""
    try:
        from perpdesk.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
