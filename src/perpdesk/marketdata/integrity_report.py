"""What a check of data says: problems with their rows, gaps, warnings; and the refusal."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.gaps import Gap

SHOWN_PROBLEMS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where rows came from, so that an error can point at them.

    is_reversed: the file held them newest first.
    """

    path: Path | None = None
    is_reversed: bool = False

    def row_number(self, index: int, count: int) -> int:
        """Return the row's number in the file, counted from 1."""
        return count - index if self.is_reversed else index + 1

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else "the data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One row that cannot be stored. row counts from 1; None where the whole series is meant."""

    row: int | None
    field: str
    value: str
    message: str
    next_step: str

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row:,}, "
        return f"{where}{self.field} = {self.value}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityReport:
    """What a check found. problems refuse the data; gaps and warnings are only told."""

    origin: str
    rows: int
    first_ts_ms: int
    last_ts_ms: int
    gaps: tuple[Gap, ...]
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def missing(self) -> int:
        """Return how many rows the gaps lack together."""
        return sum(gap.missing for gap in self.gaps)


def require_sound(report: IntegrityReport) -> IntegrityReport:
    """Return the report unless it has problems; then raise DataRefused naming the first ones."""
    if not report.problems:
        return report
    shown = [str(problem) for problem in report.problems[:SHOWN_PROBLEMS]]
    rest = len(report.problems) - len(shown)
    more = f"; and {rest:,} more kinds of problem" if rest > 0 else ""
    raise DataRefused(
        f"{report.origin}: {'; '.join(shown)}{more}", next_step=report.problems[0].next_step
    )


def empty_report(origin: Origin) -> IntegrityReport:
    """Return the report of data without rows, which is refused."""
    problem = Problem(
        row=None,
        field="rows",
        value="0",
        message="it holds no rows",
        next_step="Get the file again, or give another one.",
    )
    return IntegrityReport(
        origin=str(origin),
        rows=0,
        first_ts_ms=0,
        last_ts_ms=0,
        gaps=(),
        warnings=(),
        problems=(problem,),
    )


def first_problem(
    field: str,
    values: npt.NDArray[Any],
    is_bad: npt.NDArray[np.bool_],
    message: str,
    origin: Origin,
    next_step: str = "Get the file again from its source, or remove the row and import again.",
    value: str = "",
) -> Iterator[Problem]:
    """Yield the first bad row of one field as a problem, and say how many there are."""
    count = int(np.count_nonzero(is_bad))
    if count == 0:
        return
    index = int(np.argmax(is_bad))
    others = f" ({count:,} such rows)" if count > 1 else ""
    yield Problem(
        row=origin.row_number(index, len(values)),
        field=field,
        value=value or repr(values[index].item()),
        message=message + others,
        next_step=next_step,
    )
