"""Swing structure: breaks of structure and changes of character.

A swing high is a high above the `reach` highs before it and not exceeded by the `reach` after it;
it is known `reach` bars later. The latest known swing high is the structure's top, the latest swing
low its bottom. A close beyond one of them breaks it, once: a break upwards makes the trend rise, a
break downwards makes it fall. A break along the trend, or without one, is a break of structure
(BOS); a break against the trend is a change of character (CHOCH). Levels older than `lookback` bars
are forgotten, and so is a trend whose last break is older.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perpdesk.strategies.builtin.smart_money.prices import Prices
from perpdesk.strategies.indicators import confirmed_swing_highs, confirmed_swing_lows


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A close beyond a swing. row: its bar; swing_row: the bar of the swing; side: +1 up, -1 down.

    is_turn: a change of character instead of a break of structure.
    """

    row: int
    swing_row: int
    side: int
    is_turn: bool


def breaks_of(prices: Prices, *, reach: int, lookback: int) -> list[Break]:
    """Return every break in the order of its bars."""
    highs = confirmed_swing_highs(prices.high, reach)
    lows = confirmed_swing_lows(prices.low, reach)
    found: list[Break] = []
    top = bottom = float("nan")  # NaN compares false: an unknown level is never broken
    top_row = bottom_row = 0
    trend, trend_row = 0, 0
    swing = ~(np.isnan(highs) & np.isnan(lows))
    columns = (prices.close.tolist(), swing.tolist(), highs.tolist(), lows.tolist())
    for row, (close, is_swing, high, low) in enumerate(zip(*columns, strict=True)):
        if is_swing:
            if high == high:
                top, top_row = high, row - reach
            if low == low:
                bottom, bottom_row = low, row - reach
        if close > top:
            if row - top_row <= lookback:
                falling = trend < 0 and row - trend_row <= lookback
                found.append(Break(row=row, swing_row=top_row, side=1, is_turn=falling))
                trend, trend_row = 1, row
            top = float("nan")
        elif close < bottom:
            if row - bottom_row <= lookback:
                rising = trend > 0 and row - trend_row <= lookback
                found.append(Break(row=row, swing_row=bottom_row, side=-1, is_turn=rising))
                trend, trend_row = -1, row
            bottom = float("nan")
    return found


def turns(breaks: list[Break], rows: int) -> npt.NDArray[np.int8]:
    """Return +1 at each change of character upwards, -1 downwards. Shape (rows,) int8."""
    result = np.zeros(rows, np.int8)
    for found in breaks:
        if found.is_turn:
            result[found.row] = found.side
    return result
