"""Which strategies there are: built-in, installed beside us, or in the user's folder.

Built-ins and packages of others register through the entry-point group `perpdesk.strategies`; the
user's files are found in STRATEGIES_DIR. What cannot be loaded is listed with its error.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Self

from perpdesk.domain.candles import Timeframe
from perpdesk.domain.errors import PerpdeskError, UsageRefused
from perpdesk.strategies.base import API_VERSION, ArrayStrategy, SignalStrategy, StrategyParams
from perpdesk.strategies.failures import raised_at
from perpdesk.strategies.parameters import params_schema, parse_params
from perpdesk.strategies.plugin_files import PluginFile, files_in, load_file
from perpdesk.strategies.sources import source_hash

__all__ = ["StrategyInfo", "StrategyRegistry", "params_schema", "parse_params", "source_hash"]

GROUP: Final = "perpdesk.strategies"
BUILT_IN: Final = "built-in"

_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")
_VERSION: Final = re.compile(r"[A-Za-z0-9.\-]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyInfo:
    """One line of the list. error: why it cannot be used, None if it can.

    origin: "built-in", "package NAME", or the file. timeframes: empty means any.
    """

    name: str
    version: str
    key: str
    origin: str
    timeframes: tuple[str, ...] = ()
    description: str = ""
    error: str | None = None


class StrategyRegistry:
    """The strategies that can be named in a run."""

    def __init__(self, strategies_dir: Path | None, points: Iterable[EntryPoint]) -> None:
        self._dir = strategies_dir
        self._points = sorted(points, key=lambda point: (_origin(point) != BUILT_IN, point.name))
        self._files: dict[Path, PluginFile] = {}
        self._classes: dict[str, type[SignalStrategy]] = {}
        self._infos: list[StrategyInfo] = []
        self.reload()

    @classmethod
    def load(
        cls, strategies_dir: Path | None, *, points: Iterable[EntryPoint] | None = None
    ) -> Self:
        """Load every strategy; none that fails stops the others.

        points: entry points to use in place of the installed ones.
        """
        return cls(strategies_dir, entry_points(group=GROUP) if points is None else points)

    def infos(self) -> tuple[StrategyInfo, ...]:
        """Return all strategies, those that cannot be used among them, in the order loaded."""
        return tuple(self._infos)

    def get(self, reference: str) -> type[SignalStrategy]:
        """Return the strategy called "name" (its latest version) or "name@version".

        Raises UsageRefused with the nearest names, or with the error of a plugin of that name.
        """
        found = self._classes.get(reference)
        if found is not None:
            return found
        name, _, version = reference.partition("@")
        versions = [cls for cls in self._classes.values() if cls.name == name]
        if versions and not version:
            return max(versions, key=lambda cls: _order(cls.version))
        if versions:
            there = ", ".join(sorted(cls.key() for cls in versions))
            raise UsageRefused(
                f"strategy {name} has no version {version}; there is {there}",
                next_step=f"Use {there}.",
            )
        for info in self._infos:
            if info.error is not None and info.name == name:
                raise UsageRefused(
                    f"strategy {reference} cannot be used: {info.error}",
                    next_step="Correct the file, then run `perpdesk strategies list`.",
                )
        known = sorted({cls.name for cls in self._classes.values()})
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise UsageRefused(
            f"there is no strategy {reference!r}; there are {', '.join(known) or 'none'}",
            next_step=f"{meant}`perpdesk strategies list` shows them all.",
        )

    def changed(self) -> bool:
        """Tell whether a file of the user's folder came, went or has other content."""
        paths = files_in(self._dir)
        return set(paths) != set(self._files) or any(self._is_stale(path) for path in paths)

    def reload(self) -> None:
        """Read the user's folder again. Classes of files that did not change stay the same."""
        paths = files_in(self._dir)
        self._files = {
            path: load_file(path) if self._is_stale(path) else self._files[path] for path in paths
        }
        self._classes, self._infos = {}, []
        for point in self._points:
            self._add_point(point)
        for path, file in self._files.items():
            if file.error is not None:
                self._add_broken(path.stem, str(path), file.error)
            for cls in file.classes:
                self._add(cls, str(path))

    def _is_stale(self, path: Path) -> bool:
        known = self._files.get(path)
        if known is None:
            return True
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_size) == (known.modified_ns, known.size):
                return False
            return hashlib.sha256(path.read_bytes()).hexdigest() != known.sha256
        except OSError:
            return True

    def _add_point(self, point: EntryPoint) -> None:
        origin = _origin(point)
        try:
            cls: Any = point.load()
        except (Exception, SystemExit) as error:
            place = raised_at(error, None) or point.value
            reason = f"{place}: {type(error).__name__}: {' '.join(str(error).split())}"
            self._add_broken(point.name, origin, reason)
            return
        if not (isinstance(cls, type) and issubclass(cls, SignalStrategy)):
            self._add_broken(point.name, origin, f"{point.value} is no SignalStrategy")
            return
        self._add(cls, origin)

    def _add(self, cls: type[SignalStrategy], origin: str) -> None:
        fault = fault_of(cls)
        if fault is None and cls.key() in self._classes:
            first = next(info.origin for info in self._infos if info.key == cls.key())
            fault = f"{cls.key()} is taken by {first}; give this one another name or version"
        if fault is not None:
            self._add_broken(str(getattr(cls, "name", cls.__name__)), origin, fault)
            return
        self._classes[cls.key()] = cls
        self._infos.append(
            StrategyInfo(
                name=cls.name,
                version=cls.version,
                key=cls.key(),
                origin=origin,
                timeframes=cls.timeframes,
                description=description_of(cls),
            )
        )

    def _add_broken(self, name: str, origin: str, error: str) -> None:
        self._infos.append(StrategyInfo(name=name, version="", key="", origin=origin, error=error))


def fault_of(cls: type[SignalStrategy]) -> str | None:
    """Return in words why a class cannot serve as a strategy, or None if it can."""
    # Plugins are untyped: what the annotations promise has to be looked at.
    name: Any = getattr(cls, "name", None)
    version: Any = cls.version
    params: Any = cls.Params
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        return f"name {name!r} is not 1 to 40 of a-z, 0-9 and _"
    if not (isinstance(version, str) and _VERSION.fullmatch(version)):
        return f"version {version!r} of {name} is not 1 to 20 letters, digits, dots and dashes"
    if cls.api_version != API_VERSION:
        return (
            f"{name} was written for API version {cls.api_version}, this desk has {API_VERSION}; "
            "adapt it and set api_version"
        )
    if not (isinstance(params, type) and issubclass(params, StrategyParams)):
        return f"Params of {name} is not a subclass of StrategyParams"
    for timeframe in cls.timeframes:
        try:
            Timeframe.parse(timeframe)
        except PerpdeskError as error:
            return f"timeframes of {name}: {error.message}"
    wanted = "signals" if issubclass(cls, ArrayStrategy) else "generate_signal"
    if getattr(getattr(cls, wanted), "__isabstractmethod__", False):
        return f"{name} does not implement {wanted}()"
    return None


def description_of(cls: type[SignalStrategy]) -> str:
    """Return the first line of the class's docstring."""
    return (vars(cls).get("__doc__") or "").strip().partition("\n")[0]


def _origin(point: EntryPoint) -> str:
    dist = point.dist.name if point.dist is not None else ""
    return BUILT_IN if dist == "perpdesk" else f"package {dist or point.value}"


def _order(version: str) -> list[tuple[int, int, str]]:
    """Order versions as people read them: 2 before 10, numbers before words."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]
