"""The source code behind a strategy: what a run stores to say which code it ran."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

LOADED_SOURCE: Final = "__loaded_source__"
"""Module attribute that keeps the bytes a user's file was loaded from; it may change on disk."""

_OURS: Final = "perpdesk.strategies"
_FRAME: Final = {f"{_OURS}.base", f"{_OURS}.failures"}
"""What every strategy stands on; `api_version` tells when it changes."""


def source_hash(cls: type) -> str:
    """Return the sha256 of the strategy's module and the modules of its own package it imports.

    The same code gives the same hash on every machine; line ends do not count.
    """
    digest = hashlib.sha256()
    for name, source in sorted(_sources(cls.__module__).items()):
        # A user's file is loaded under a name made for it; its content alone counts.
        shown = name if "." in name else "file"
        digest.update(f"{shown}\0".encode() + source.replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def _sources(start: str) -> dict[str, bytes]:
    """Return the source of the module and, transitively, of what it imports of its package."""
    package = _OURS if start.startswith(f"{_OURS}.") else start.partition(".")[0]
    found: dict[str, bytes] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        if module is None or name in found or name in _FRAME:
            continue
        source = _source_of(module)
        if source is None:
            continue
        found[name] = source
        waiting += [used for used in _imports(source, module) if used.startswith(f"{package}.")]
    return found


def _source_of(module: ModuleType) -> bytes | None:
    loaded: bytes | None = getattr(module, LOADED_SOURCE, None)
    if loaded is not None:
        return loaded
    try:
        file = inspect.getsourcefile(module)
    except TypeError:
        return None
    return Path(file).read_bytes() if file is not None else None


def _imports(source: bytes, module: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = (module.__package__ or "").split(".")
                parent = package[: len(package) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
