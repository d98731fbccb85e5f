"""Equity within the bars: how low the mark took an account between two closes."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import AccountTrace
from perpdesk.domain.candles import Times, Values
from perpdesk.domain.numbers import ATOMS_PER_UNIT

_BLOCK: Final = 65_536
"""Rows at a time, so that a million bars cost no million-row copies."""


def intrabar_equity(
    trace: AccountTrace, execution: Mapping[str, ExecutionBars]
) -> Iterator[tuple[Values, Values]]:
    """Yield the equity of a finished run at the closes and at the worst of its execution bars.

    Blocks of (close, low) in quote, both (n,) float64, in order of time. low: at the mark's worst
    for what was held through the whole bar; a bar in which the position changed counts with its
    close. Where several symbols are held, the worst of each is taken alone, for their extremes need
    not coincide.
    """
    grids = [bars.close_ms for bars in execution.values()]
    close_ms = grids[0] if len(grids) == 1 else np.unique(np.concatenate(grids))
    cash = np.array([float(amount) for amount in trace.cash])
    cash_ms = np.array(trace.cash_ms, np.int64)
    held = {symbol: _Held(trace, symbol, bars) for symbol, bars in execution.items()}
    for start in range(0, len(close_ms), _BLOCK):
        moments = close_ms[start : start + _BLOCK]
        close = cash[np.searchsorted(cash_ms, moments, side="right") - 1]
        worst = np.zeros(len(moments))
        for symbol in held.values():
            profit, fall = symbol.profit_and_fall(moments)
            close += profit
            np.minimum(worst, fall, out=worst)
        yield close, close + worst


class _Held:
    """What was held of one symbol, and its bars."""

    def __init__(self, trace: AccountTrace, symbol: str, bars: ExecutionBars) -> None:
        positions = trace.positions[symbol]
        self._bars = bars
        self._times = np.array(trace.position_ms[symbol], np.int64)
        self._quantities = np.array([0.0, *(float(quantity) for quantity, _, _ in positions)])
        self._values = np.array([0.0, *(float(value) for _, value, _ in positions)])
        self._place = 0

    def profit_and_fall(self, close_ms: Times) -> tuple[Values, Values]:
        """Return unrealized profit at every close, and how far the bar fell below it (<= 0)."""
        bars = self._bars
        place = np.searchsorted(self._times, close_ms, side="right")
        row = np.maximum(np.searchsorted(bars.close_ms, close_ms, side="right") - 1, 0)
        quantity = self._quantities[place]
        mark = bars.mark.close[row] / ATOMS_PER_UNIT
        profit = quantity * mark - self._values[place]
        adverse = np.where(quantity > 0, bars.mark.low[row], bars.mark.high[row]) / ATOMS_PER_UNIT
        unchanged = place == np.append(self._place, place[:-1])
        self._place = int(place[-1])
        fall = np.where(
            unchanged & (bars.close_ms[row] == close_ms), quantity * (adverse - mark), 0.0
        )
        return profit, np.minimum(fall, 0.0)
