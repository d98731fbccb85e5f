"""Files that survive a power loss once they are said to be written."""

import os
from pathlib import Path
from typing import IO, Any


def settle(file: IO[Any]) -> None:
    """Make the content of an open file survive."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
