"""Open files that survive a power loss once they are said to be written."""

import os
from typing import IO, Any


def settle(file: IO[Any]) -> None:
    """Make the content of an open file survive."""
    file.flush()
    os.fsync(file.fileno())
