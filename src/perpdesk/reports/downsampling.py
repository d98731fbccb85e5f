"""Columns of any length, made small enough to draw, without losing what a reader looks for."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Candles, Timeframe
from perpdesk.reports.drawdown import Wealth

Rows = npt.NDArray[np.int64]

_LADDER: Final = tuple(
    Timeframe.parse(name)
    for name in "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split()  # noqa: SIM905
)


def extreme_rows(values: Wealth, *, limit: int, keep: Sequence[int] = ()) -> Rows:
    """Return at most `limit` (even) rows: the lowest and the highest of equal slots, in time order.

    keep: rows that stand for the lower one of their slot, whatever its value. The last row is
    always the last one. A series that is short enough stays whole.
    """
    n = len(values)
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    edges = np.linspace(0, n, limit // 2 + 1).astype(np.int64)
    rows = np.empty(limit, dtype=np.int64)
    kept = {int(np.searchsorted(edges, row, side="right")) - 1: row for row in keep}
    for slot in range(limit // 2):
        start = int(edges[slot])
        block = values[start : edges[slot + 1]]
        low, high = start + int(block.argmin()), start + int(block.argmax())
        low = kept.get(slot, low)
        rows[2 * slot : 2 * slot + 2] = (low, high) if low < high else (high, low)
    rows[-1] = n - 1
    return rows


def coarse_candles(candles: Candles, *, limit: int) -> Candles:
    """Return the candles at the finest timeframe that needs at most `limit` of them."""
    n = len(candles)
    if n <= limit:
        return candles
    span_ms = int(candles.ts_ms[-1]) - int(candles.ts_ms[0])
    fits = [t for t in _LADDER if t > candles.timeframe and span_ms / t.duration_ms < limit - 1]
    return _aggregate(candles, fits[0] if fits else _LADDER[-1])


def _aggregate(candles: Candles, timeframe: Timeframe) -> Candles:
    first, last = (timeframe.floor(int(candles.ts_ms[row])) for row in (0, -1))
    # Walking by the shortest length and flooring again visits every month exactly once.
    opens = np.unique(
        timeframe.floor_all(np.arange(first, last + 1, timeframe.duration_ms, dtype=np.int64))
    )
    starts = np.searchsorted(candles.ts_ms, opens)
    ends = np.append(starts[1:], len(candles))
    opens, starts, ends = (column[starts < ends] for column in (opens, starts, ends))
    return Candles(
        venue=candles.venue,
        symbol=candles.symbol,
        timeframe=timeframe,
        ts_ms=opens,
        open=candles.open[starts],
        high=np.maximum.reduceat(candles.high, starts),
        low=np.minimum.reduceat(candles.low, starts),
        close=candles.close[ends - 1],
        volume=np.add.reduceat(candles.volume, starts),
    )
