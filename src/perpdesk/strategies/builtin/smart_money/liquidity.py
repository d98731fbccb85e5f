"""Liquidity sweeps: price reaches through a swing, where stops rest, and comes straight back.

A bullish sweep at bar i: its low lies below the latest known swing low, its close above it. Whether
swept or broken, the level is then used up. Levels older than `lookback` bars are forgotten.
"""

import numpy as np
import numpy.typing as npt

from perpdesk.strategies.builtin.smart_money.prices import Prices
from perpdesk.strategies.indicators import confirmed_swing_lows


def bullish_sweeps(prices: Prices, *, reach: int, lookback: int) -> npt.NDArray[np.bool_]:
    """Return where a swing low is swept. Shape (n,) bool."""
    found = np.zeros(len(prices), np.bool_)
    level, level_row = float("nan"), 0
    confirmed = confirmed_swing_lows(prices.low, reach).tolist()
    columns = (prices.low.tolist(), prices.close.tolist(), confirmed)
    for row, (low, close, swing) in enumerate(zip(*columns, strict=True)):
        if swing == swing:
            level, level_row = swing, row - reach
        if low < level:
            found[row] = close > level and row - level_row <= lookback
            level = float("nan")
    return found
