"""The signals of one run, laid side by side with those of another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Candles
from perpdesk.domain.signal import Signal, SignalKind
from perpdesk.strategies.base import SignalArrays

_ENTRY: Final = ("MARKET", "LIMIT", "STOP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place at which two runs disagree. row: index into the longer run's candles."""

    row: int
    field: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """What a strategy signaled: ascending rows, and one column per field over those rows.

    Two observations have the same fields in the same order if they come from the same strategy;
    a column that only one has (a second target, say) counts as NaN in the other.
    """

    rows: npt.NDArray[np.int64]
    fields: dict[str, npt.NDArray[Any]]

    @classmethod
    def of_arrays(cls, arrays: SignalArrays, *, withheld: int) -> Self:
        """Observe an array strategy; the first `withheld` rows are silenced, as in a run."""
        rows = np.flatnonzero(arrays.active())
        rows = rows[np.searchsorted(rows, withheld) :]
        columns: dict[str, Any] = {
            "side": arrays.side,
            "exit_side": arrays.exit_side,
            "entry": arrays.entry,
            "entry_price": arrays.entry_price,
            "stop_loss": arrays.stop_loss,
            **{f"take_profits[{i}]": column for i, column in enumerate(arrays.take_profits)},
            "confidence": arrays.confidence,
        }
        fields = {name: column[rows] for name, column in columns.items() if column is not None}
        if arrays.reason_code is not None:
            fields["reason"] = np.array(arrays.reasons)[arrays.reason_code[rows]]
        return cls(rows=rows, fields=fields)

    @classmethod
    def of_signals(cls, signals: Sequence[tuple[int, Signal]]) -> Self:
        """Observe (row, signal) pairs of a strategy that was asked bar by bar."""
        rows = np.array([row for row, _ in signals], np.int64)
        table = [_flat(signal) for _, signal in signals]
        names = {name: None for flat in table for name in flat}
        return cls(
            rows=rows,
            fields={name: np.array([flat.get(name, math.nan) for flat in table]) for name in names},
        )

    def within(self, first: int, last: int) -> Self:
        """Return what was signaled at first <= row <= last."""
        begin, end = np.searchsorted(self.rows, [first, last + 1])
        part = slice(int(begin), int(end))
        return type(self)(
            rows=self.rows[part], fields={name: c[part] for name, c in self.fields.items()}
        )

    def moved(self, by: int) -> Self:
        """Return the same signals with every row number raised by `by`."""
        return type(self)(rows=self.rows + by, fields=self.fields)

    def difference(
        self, other: Self, *, relative: float = 0.0, absolute: float = 0.0
    ) -> Difference | None:
        """Return the first row and field at which `other` differs from this, the expected run.

        relative, absolute: how far numbers may differ; zero twice means not by a bit.
        """
        if not np.array_equal(self.rows, other.rows):
            return self._missing(other)
        found: list[tuple[int, str]] = []
        for name in {**self.fields, **other.fields}:
            ours, theirs = self._column(name), other._column(name)
            different = np.flatnonzero(_differ(ours, theirs, relative, absolute))
            if len(different):
                found.append((int(different[0]), name))
        if not found:
            return None
        index, name = min(found, key=lambda item: item[0])
        return Difference(
            row=int(self.rows[index]),
            field=name,
            expected=_shown(self._column(name)[index]),
            got=_shown(other._column(name)[index]),
        )

    def _missing(self, other: Self) -> Difference:
        row = int(np.setxor1d(self.rows, other.rows)[0])
        return Difference(
            row=row, field="side", expected=self._summary(row), got=other._summary(row)
        )

    def _summary(self, row: int) -> str:
        index = int(np.searchsorted(self.rows, row))
        if index == len(self.rows) or self.rows[index] != row:
            return "no signal"
        side = _shown(self.fields["side"][index])
        leaving = self.fields.get("exit_side")
        return f"exit {_shown(leaving[index])}" if side == "none" and leaving is not None else side

    def _column(self, name: str) -> npt.NDArray[Any]:
        column = self.fields.get(name)
        return np.full(len(self.rows), np.nan) if column is None else column


def rows_of(signals: Sequence[Signal], candles: Candles) -> list[tuple[int, Signal]]:
    """Pair each signal with the row of the candle that closed at its time."""
    closes = candles.timeframe.close_all(candles.ts_ms)
    rows = np.searchsorted(closes, [signal.ts_ms for signal in signals])
    return [(int(row), signal) for row, signal in zip(rows, signals, strict=True)]


def _flat(signal: Signal) -> dict[str, object]:
    sign, entering = signal.side.sign, signal.kind is SignalKind.ENTRY
    flat: dict[str, object] = {
        "side": sign if entering else 0,
        "exit_side": 0 if entering else sign,
        "entry": _ENTRY.index(signal.entry.value),
        "entry_price": _number(signal.entry_price),
        "stop_loss": _number(signal.stop_loss),
        "confidence": signal.confidence,
        "valid_until_ms": _number(signal.valid_until_ms),
        "reason": signal.reason,
    }
    for i, target in enumerate(signal.take_profits):
        flat[f"take_profits[{i}]"] = float(target.price)
        flat[f"fraction[{i}]"] = float(target.fraction)
    return flat


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _differ(
    ours: npt.NDArray[Any], theirs: npt.NDArray[Any], relative: float, absolute: float
) -> npt.NDArray[np.bool_]:
    different: npt.NDArray[np.bool_] = np.asarray(ours != theirs)
    if not different.any() or ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu":
        return different
    different &= ~(np.isnan(ours) & np.isnan(theirs))
    if relative or absolute:
        allowed = absolute + relative * np.maximum(np.abs(ours), np.abs(theirs))
        different &= ~(np.abs(ours - theirs) <= allowed)
    return different


def _shown(value: Any) -> str:
    if isinstance(value, np.str_):
        return repr(str(value))
    if isinstance(value, np.integer):
        return {1: "long", -1: "short", 0: "none"}.get(int(value), str(value))
    return "none" if np.isnan(value) else repr(float(value))
