"""The account at the end of every strategy bar, drawn from the trace of a run as it grows."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Final

import numpy as np

from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import AccountTrace
from perpdesk.domain.account import AccountCurve
from perpdesk.domain.candles import Times
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, atoms_of
from perpdesk.simulation.span_curve import PositionSpan, spans_curve

CurveSink = Callable[[AccountCurve], None]
"""Takes parts of the curve as they are drawn."""

_PART: Final = 65_536
"""Rows that are worth a part of their own."""


class CurveDrawer:
    """Draws rows of the account curve for any stretch of time that the run has left behind.

    Between two entries of the trace only the mark moves, so a row is the position held by then at
    the close of the last execution bar.
    """

    def __init__(
        self,
        trace: AccountTrace,
        *,
        instruments: Mapping[str, Instrument],
        execution: Mapping[str, ExecutionBars],
        leverage: Mapping[str, Decimal],
    ) -> None:
        self._trace = trace
        self._instruments = instruments
        self._execution = execution
        self._leverage = leverage

    def draw(self, close_ms: Times) -> AccountCurve:
        """Return the account at each of `close_ms`: ascending close times of strategy bars."""
        totals = [np.zeros(len(close_ms), np.int64) for _ in range(3)]
        for symbol, instrument in self._instruments.items():
            columns = spans_curve(
                instrument,
                self._position_spans(symbol, close_ms),
                marks_e8=_marks_at(self._execution[symbol], close_ms),
                leverage=self._leverage[symbol],
            )
            for total, column in zip(totals, columns, strict=True):
                total += column
        unrealized, used, maintenance = totals
        return AccountCurve(
            ts_ms=close_ms - 1,
            cash=self._cash_at(close_ms),
            unrealized=unrealized,
            used_margin=used,
            maintenance_margin=maintenance,
        )

    def _cash_at(self, close_ms: Times) -> Times:
        times = self._trace.cash_ms
        first = bisect_right(times, int(close_ms[0])) - 1
        end = bisect_right(times, int(close_ms[-1]))
        atoms = np.array([atoms_of(cash) for cash in self._trace.cash[first:end]], np.int64)
        noted = np.array(times[first:end], np.int64)
        cash: Times = atoms[np.searchsorted(noted, close_ms, side="right") - 1]
        return cash

    def _position_spans(self, symbol: str, close_ms: Times) -> list[PositionSpan]:
        """Return what was held over the rows, without spans too short to hold one."""
        times, positions = self._trace.position_ms[symbol], self._trace.positions[symbol]
        first = max(0, bisect_right(times, int(close_ms[0])) - 1)
        end = bisect_left(times, int(close_ms[-1]) + 1)
        starts = np.searchsorted(close_ms, np.array(times[first:end], np.int64)).tolist()
        # Each span ends where the next begins; before the first one nothing was held.
        bounds = [*starts, len(close_ms)]
        spans = [
            PositionSpan(rows=bounds[0], signed_quantity=ZERO, entry_value=ZERO, taker_rate=ZERO)
        ]
        for place, (start, stop) in enumerate(pairwise(bounds), first):
            if stop > start:
                quantity, value, rate = positions[place]
                spans.append(
                    PositionSpan(
                        rows=stop - start,
                        signed_quantity=quantity,
                        entry_value=value,
                        taker_rate=rate,
                    )
                )
        return spans


def _marks_at(bars: ExecutionBars, close_ms: Times) -> Times:
    """Return the mark at the close of the last execution bar by each time."""
    last = np.searchsorted(bars.close_ms, close_ms, side="right") - 1
    marks: Times = bars.mark.close[np.maximum(last, 0)]
    return marks


class CurveRecorder:
    """Draws the curve while the run goes on, so that it can be written meanwhile.

    close_ms: close times of all strategy bars of the run. sink: takes every part once, in order.
    """

    def __init__(self, drawer: CurveDrawer, close_ms: Times, sink: CurveSink | None) -> None:
        self._drawer = drawer
        self._close_ms = close_ms
        self._sink = sink
        self._drawn = 0
        self._curve = AccountCurve(
            **{name: np.zeros(len(close_ms), np.int64) for name in AccountCurve.__slots__}
        )

    def advance(self, now_ms: int) -> None:
        """Draw the rows before the one that closes at `now_ms`, once they are many."""
        rows = int(np.searchsorted(self._close_ms, now_ms))
        if rows - self._drawn >= _PART:
            self._draw(rows)

    def finish(self) -> AccountCurve:
        """Draw what is left, and return the whole curve."""
        if self._drawn < len(self._close_ms):
            self._draw(len(self._close_ms))
        return self._curve

    def _draw(self, rows: int) -> None:
        part = self._drawer.draw(self._close_ms[self._drawn : rows])
        for name in AccountCurve.__slots__:
            getattr(self._curve, name)[self._drawn : rows] = getattr(part, name)
        self._drawn = rows
        if self._sink is not None:
            self._sink(part)
