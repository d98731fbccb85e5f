"""Equity within the bars: how low the mark took an account between two closes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import AccountTrace
from perpdesk.domain.candles import Times, Values
from perpdesk.domain.numbers import ATOMS_PER_UNIT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntrabarEquity:
    """Equity per execution bar, in quote. Both are (n,) float64.

    close: at the mark's close. low: at the mark's worst for what was held through the whole bar; a
    bar in which the position changed counts with its close. Where several symbols are held, the
    worst of each is taken alone, for their extremes need not coincide.
    """

    close: Values
    low: Values


def intrabar_equity(trace: AccountTrace, execution: Mapping[str, ExecutionBars]) -> IntrabarEquity:
    """Return the equity of a finished run at the closes and at the worst of its execution bars."""
    grids = [bars.close_ms for bars in execution.values()]
    close_ms = grids[0] if len(grids) == 1 else np.unique(np.concatenate(grids))
    cash = np.array([float(amount) for amount in trace.cash])
    close = cash[np.searchsorted(trace.cash_ms, close_ms, side="right") - 1]
    worst = np.zeros(len(close_ms))
    for symbol, bars in execution.items():
        profit, fall = _profit_and_fall(trace, symbol, bars, close_ms)
        close += profit
        np.minimum(worst, fall, out=worst)
    return IntrabarEquity(close=close, low=close + worst)


def _profit_and_fall(
    trace: AccountTrace, symbol: str, bars: ExecutionBars, close_ms: Times
) -> tuple[Values, Values]:
    """Return unrealized profit at every close, and how far the bar fell below it (<= 0)."""
    held = trace.positions[symbol]
    quantities = np.array([0.0, *(float(quantity) for quantity, _, _ in held)])
    values = np.array([0.0, *(float(value) for _, value, _ in held)])
    place = np.searchsorted(trace.position_ms[symbol], close_ms, side="right")
    row = np.maximum(np.searchsorted(bars.close_ms, close_ms, side="right") - 1, 0)
    quantity = quantities[place]
    mark = bars.mark.close[row] / ATOMS_PER_UNIT
    profit = quantity * mark - values[place]
    adverse = np.where(quantity > 0, bars.mark.low[row], bars.mark.high[row]) / ATOMS_PER_UNIT
    unchanged = np.append(False, place[1:] == place[:-1]) & (bars.close_ms[row] == close_ms)
    fall = np.where(unchanged, quantity * (adverse - mark), 0.0)
    return profit, np.minimum(fall, 0.0)
