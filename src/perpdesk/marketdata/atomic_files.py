"""Files that appear whole or not at all, and errors of the disk as words."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perpdesk.domain.errors import DataRefused


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and force it to the disk; a failure leaves no file behind."""
    try:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_durably(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then put it in place in one step."""
    temporary = path.with_name(f"_{path.name}.tmp")
    write_durably(temporary, data)
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(action: str) -> Iterator[None]:
    """Turn an error of the operating system into DataRefused that says what was being done."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else (error.strerror or str(error))
        advice = "Free some space" if full else "Check the path and its permissions"
        raise DataRefused(
            f"{action} failed: {reason}",
            next_step=f"{advice}, then run the same command again; what was stored is unchanged.",
        ) from error


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raises DataRefused where another process holds it."""
    descriptor = os.open(folder / "_lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataRefused(
                f"another process is writing to {folder}",
                next_step="Wait until it has finished, then run the same command again.",
            ) from error
        yield
    finally:
        os.close(descriptor)
