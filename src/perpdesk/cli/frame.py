"""What every command shares: where output goes, how progress looks, what an error becomes.

The contract with scripts:

* stdout carries the result alone; with `--json` it is exactly one JSON document.
* stderr carries progress and errors; with `--json` an error is one JSON document there:
  `{"error": {"kind": ..., "message": ..., "next_step": ...}}`.
* Exit codes: 0 done, 2 wrong usage or refused input, 1 failure, 130 interrupted.
"""

import dataclasses
import errno
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import typer
from rich.console import Console
from rich.text import Text

from perpdesk.domain.errors import (
    DataRefused,
    Denied,
    PerpdeskError,
    StrategyFailed,
    UsageRefused,
    VenueRejected,
)


class _Console(Console):
    """A console that leaves a reader who went away to `run`, instead of ending the process."""

    def on_broken_pipe(self) -> None:
        """Raise what happened."""
        raise BrokenPipeError


console: Final = _Console()
"""Results for people, on stdout."""

errors: Final = Console(stderr=True)
"""Progress and errors, on stderr."""

OK: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
INTERRUPTED: Final = 130

_REFUSALS: Final = (DataRefused, UsageRefused, StrategyFailed, Denied, VenueRejected)
_PLACE_REFUSES: Final = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
)
_REDRAW_SECONDS: Final = 0.05
_DOCUMENT: Final[ContextVar[TextIO | None]] = ContextVar("document", default=None)
"""Where `--json` goes while everything else that is printed goes to stderr."""


def emit(data: object, *, json_output: bool, human: Callable[[], None]) -> None:
    """Print `data` as one JSON document, or let `human` draw it."""
    if json_output:
        stdout = _DOCUMENT.get() or sys.stdout
        stdout.write(json.dumps(jsonable(data), indent=2, allow_nan=False) + "\n")
        stdout.flush()  # a command that goes on may be read through a pipe
    else:
        human()


def jsonable(value: object) -> Any:
    """Return `value` in JSON's own types.

    A Decimal becomes a string without exponent, a time its ISO form, a set a sorted list, a secret
    stars; NaN and infinities become null. NumPy arrays and scalars and Pydantic models are known
    by their methods. Raises TypeError for anything else.
    """
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return jsonable(value.value)
        case str():
            return str(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case Decimal():
            return format(value, "f") if value.is_finite() else None
        case Path():
            return str(value)
        case date():
            return value.isoformat()
        case Mapping():
            return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
        case AbstractSet():
            return sorted((jsonable(item) for item in value), key=str)
        case Sequence() if not isinstance(value, bytes | bytearray):
            return [jsonable(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "get_secret_value"):
        return "**********"
    for method in ("tolist", "model_dump", "isoformat"):
        if callable(convert := getattr(value, method, None)) and not isinstance(value, type):
            return jsonable(convert())
    raise TypeError(f"no JSON form is known for {type(value).__name__}")


class Progress(Protocol):
    """What a long command tells as it goes."""

    def update(self, done: int, total: int) -> None:
        """Say that `done` of `total` steps are behind us."""


class _Silent:
    def update(self, done: int, total: int) -> None:
        pass


class _Bar:
    def __init__(self, set_position: Callable[[int, int], None]) -> None:
        self._set_position = set_position
        self._next_redraw = 0.0

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next_redraw or done >= total:
            self._next_redraw = now + _REDRAW_SECONDS
            self._set_position(done, total)


@contextmanager
def progress(description: str, *, hidden: bool = False) -> Iterator[Progress]:
    """Draw a bar with the time left on stderr; without a terminal, only a closing line.

    hidden: draw nothing at all; pass the command's `--json` here.
    """
    if hidden:
        yield _Silent()
        return
    started = time.monotonic()
    if not errors.is_terminal:
        yield _Silent()
        errors.print(f"{description}: done in {time.monotonic() - started:.1f} s", highlight=False)
        return

    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("ETA"),
        bars.TimeRemainingColumn(),
        console=errors,
    ) as live:
        task = live.add_task(description, total=None)
        yield _Bar(lambda done, total: live.update(task, completed=done, total=total))
        finished = live.tasks[task]
        live.update(task, completed=finished.total or 1, total=finished.total or 1)


def data_dir() -> Path:
    """Return the folder that holds the desk's data, as `DATA_DIR` says; it may not exist yet."""
    from perpdesk.settings import load_settings

    return load_settings().data_dir


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as the user sees it."""

    exit_code: int
    kind: str
    message: str
    next_step: str = ""


def explain(error: BaseException) -> Failure:
    """Return what `error` means to the user; raises nothing and names no internals."""
    kind = type(error).__name__
    if isinstance(error, PerpdeskError):
        code = REFUSED if isinstance(error, _REFUSALS) else FAILED
        step = error.next_step or ("" if code == REFUSED else _DEBUG_STEP)
        return Failure(exit_code=code, kind=kind, message=error.message, next_step=step)
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "perpdesk"
        return Failure(
            exit_code=REFUSED,
            kind="UsageRefused",
            message=error.format_message().replace("Value error, ", ""),
            next_step=f"Run '{path} --help' to see what is expected.",
        )
    if _is_validation_error(error):
        return Failure(
            exit_code=REFUSED,
            kind="UsageRefused",
            message=_validation_message(error),
            next_step="Correct the named values and run the command again.",
        )
    if isinstance(error, OSError) and error.errno in _PLACE_REFUSES:
        where = f" {error.filename}" if error.filename else ""
        return Failure(
            exit_code=REFUSED,
            kind="PlaceRefused",
            message=f"cannot write or read{where}: {error.strerror}",
            next_step="Free space or set the rights there, or point DATA_DIR at another folder.",
        )
    if isinstance(error, typer.Abort | EOFError):
        return Failure(
            exit_code=REFUSED,
            kind="UsageRefused",
            message="the question was not answered, so nothing was done",
            next_step="Answer it, or add --yes where nobody can.",
        )
    if isinstance(error, KeyboardInterrupt):
        return Failure(exit_code=INTERRUPTED, kind="Interrupted", message="interrupted")
    message = " ".join(str(error).split()) or "no message"
    return Failure(exit_code=FAILED, kind=kind, message=f"{kind}: {message}", next_step=_DEBUG_STEP)


_DEBUG_STEP: Final = "Run the command again with --debug to see where it happened."


def _is_validation_error(error: BaseException) -> bool:
    # Known by name, so that `perpdesk --help` need not load Pydantic.
    return any(
        base.__name__ == "ValidationError" and base.__module__.startswith("pydantic")
        for base in type(error).__mro__
    )


def _validation_message(error: Any) -> str:
    parts = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(step) for step in item["loc"]) or error.title
        given = repr(item.get("input"))
        shown = given if len(given) <= 60 else given[:57] + "..."
        parts.append(f"{place}: {item['msg']} (given: {shown})")
    return "; ".join(parts)


def run(app: typer.Typer, args: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error leaves here as words.

    `--debug` is accepted anywhere on the line (or PERPDESK_DEBUG=1) and adds the traceback.
    """
    options = list(args[: args.index("--")] if "--" in args else args)
    debug = "--debug" in options or os.environ.get("PERPDESK_DEBUG", "") not in ("", "0")
    options = [option for option in options if option != "--debug"]
    rest = list(args[args.index("--") :] if "--" in args else [])
    try:
        # Typer returns the code of typer.Exit, else what the command returned.
        with _one_document(wanted="--json" in options and not {"-h", "--help"} & set(options)):
            result = typer.main.get_command(app).main(
                args=options + rest, prog_name="perpdesk", standalone_mode=False
            )
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader left (`perpdesk … | head`): not an error, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (Exception, KeyboardInterrupt) as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # Typer has shown the help already
            return REFUSED
        if debug:
            traceback.print_exception(error)
        return _report(explain(error), json_output="--json" in options)
    if result == INTERRUPTED:  # Typer turns Ctrl-C into this code by itself
        return _report(explain(KeyboardInterrupt()), json_output="--json" in options)
    return result if isinstance(result, int) else OK


@contextmanager
def _one_document(*, wanted: bool) -> Iterator[None]:
    """Keep stdout for what `emit` writes: a strategy may print, and its words go to stderr."""
    if not wanted:
        yield
        return
    token = _DOCUMENT.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _DOCUMENT.reset(token)


def _report(failure: Failure, *, json_output: bool) -> int:
    if json_output:
        body = {
            "kind": failure.kind,
            "message": failure.message,
            "next_step": failure.next_step,
        }
        sys.stderr.write(json.dumps({"error": body}, indent=2) + "\n")
        return failure.exit_code
    text = Text.assemble(("error: ", "bold red"), failure.message)
    if failure.next_step:
        text.append("\n next: ", "bold").append(failure.next_step)
    errors.print(text, soft_wrap=True, highlight=False)
    return failure.exit_code
