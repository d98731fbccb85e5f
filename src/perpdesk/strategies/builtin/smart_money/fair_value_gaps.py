"""Fair value gaps: three bars of which the third does not overlap the first.

A bullish gap at bar i: its low lies above the high of bar i - 2, by at least `minimum_atr` average
true ranges. It says that price moved so fast that a band of prices was hardly traded.
"""

import numpy as np
import numpy.typing as npt

from perpdesk.strategies.builtin.smart_money.prices import Prices
from perpdesk.strategies.indicators import shifted


def bullish_gaps(prices: Prices, *, minimum_atr: float) -> npt.NDArray[np.bool_]:
    """Return where a bullish gap is complete. Shape (n,) bool."""
    size = prices.low - shifted(prices.high, 2)
    found: npt.NDArray[np.bool_] = (size > 0.0) & (size >= minimum_atr * prices.atr)
    return found
