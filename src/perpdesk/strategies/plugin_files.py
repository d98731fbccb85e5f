"""A user's strategy files: each imported alone, its failure kept as words."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from perpdesk.domain.errors import UsageRefused
from perpdesk.strategies.base import ArrayStrategy, SignalStrategy
from perpdesk.strategies.failures import raised_at
from perpdesk.strategies.sources import LOADED_SOURCE


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFile:
    """One file as it was loaded. error: why it holds no strategies, None if it does."""

    path: Path
    modified_ns: int
    size: int
    sha256: str
    classes: tuple[type[SignalStrategy], ...] = ()
    error: str | None = None


def files_in(folder: Path | None) -> list[Path]:
    """Return the strategy files of a folder by name; `_*.py` is left alone, no folder is empty."""
    if folder is None or not folder.exists():
        return []
    if not folder.is_dir():
        raise UsageRefused(
            f"STRATEGIES_DIR {folder} is not a folder",
            next_step="Point STRATEGIES_DIR at the folder that holds your strategy files.",
        )
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))


def load_file(path: Path) -> PluginFile:
    """Import one file under a name of its own; whatever it raises is kept, not thrown."""
    try:
        modified_ns = path.stat().st_mtime_ns
        source = path.read_bytes()
    except OSError as error:
        unread = f"{path}: cannot be read: {error.strerror}"
        return PluginFile(path=path, modified_ns=0, size=0, sha256="", error=unread)
    sha256 = hashlib.sha256(source).hexdigest()
    classes: tuple[type[SignalStrategy], ...] = ()
    fault: str | None = None
    try:
        module = _import(path, source, sha256)
        classes = tuple(_strategies_of(module))
        if not classes:
            fault = f"{path}: holds no strategy (a subclass of SignalStrategy with a name)"
    except (Exception, SystemExit) as error:
        place = raised_at(error, str(path)) or ""
        place = place if place.startswith(str(path)) else str(path)
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        fault = f"{place}: {type(error).__name__}: {' '.join(text.split()) or 'no message'}"
    return PluginFile(
        path=path,
        modified_ns=modified_ns,
        size=len(source),
        sha256=sha256,
        classes=classes,
        error=fault,
    )


def _import(path: Path, source: bytes, sha256: str) -> ModuleType:
    """Execute the bytes that were hashed, so that no stale cache can stand between."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    module = ModuleType(f"perpdesk_strategy_{path.stem}_{place}_{sha256[:12]}")
    module.__file__ = str(path)
    setattr(module, LOADED_SOURCE, source)
    # Backtrader looks a strategy's module up while it builds the class, and at each run.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _strategies_of(module: ModuleType) -> list[type[SignalStrategy]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, SignalStrategy)
        and value not in (SignalStrategy, ArrayStrategy)
        and value.__module__ == module.__name__
        and hasattr(value, "name")
    ]
