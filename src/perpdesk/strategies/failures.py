"""What a plugin's mistake becomes: a `StrategyFailed` that names strategy, bar, file and line."""

import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from perpdesk.domain.errors import PerpdeskError, StrategyFailed
from perpdesk.strategies.base import SignalStrategy
from perpdesk.strategies.signals import iso as iso


def failure(
    cls: type[SignalStrategy], error: BaseException, *, bar_open_ms: int | None
) -> StrategyFailed:
    """Return what `error`, raised by the plugin, means to its author; a StrategyFailed stays.

    bar_open_ms: the bar that the strategy was looking at, None where it was none (`__init__`, or
    `signals()` that computes all bars at once).
    """
    if isinstance(error, StrategyFailed):
        return error
    key = cls.key() if hasattr(cls, "name") else cls.__name__
    place = raised_at(error, source_file(cls))
    at = f" in {place}" if place else ""
    bar = f" at the bar that opened {iso(bar_open_ms)}" if bar_open_ms is not None else ""
    what = " ".join(str(error).split()) or "no message"
    return StrategyFailed(
        f"strategy {key} raised {type(error).__name__}{at}{bar}: {what}",
        next_step="Correct the strategy, then prove it with `perpdesk strategies check`.",
    )


@contextmanager
def guarded(
    cls: type[SignalStrategy], bar_open_ms: Callable[[], int | None] = lambda: None
) -> Iterator[None]:
    """Turn whatever the plugin raises inside into a StrategyFailed; our own errors pass.

    bar_open_ms: asked only when something was raised.
    """
    try:
        yield
    except PerpdeskError:
        raise
    except (Exception, SystemExit) as error:
        raise failure(cls, error, bar_open_ms=bar_open_ms()) from error


def source_file(cls: type) -> str | None:
    """Return the file that a class was written in."""
    try:
        return inspect.getsourcefile(cls)
    except (OSError, TypeError):
        return None


def raised_at(error: BaseException, file: str | None) -> str | None:
    """Return "file, line n": the deepest frame within `file`, or the deepest of all."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and "/importlib/" not in frame.filename
    ]
    own = [frame for frame in frames if frame.filename == file]
    if not frames:
        return None
    frame = (own or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}"
