"""Order blocks: the last candle against a move that went on to break the structure.

The leg of a bullish break runs from the bar of the broken swing high to the breaking bar; its
origin is its lowest low. The block is the last falling candle (close below open) of the leg at or
before the origin. Its zone reaches from the origin's low to that candle's high. Price is expected
to turn where it comes back into the zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perpdesk.strategies.builtin.smart_money.prices import Prices
from perpdesk.strategies.builtin.smart_money.structure import Break


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBlock:
    """A bullish zone, known since the break at `row`. leg_row, origin_row: where its leg begins."""

    row: int
    leg_row: int
    origin_row: int
    bottom: float
    top: float
    is_turn: bool


def bullish_block(prices: Prices, found: Break) -> OrderBlock | None:
    """Return the block behind a bullish break, None where its leg has no falling candle."""
    leg = slice(found.swing_row, found.row + 1)
    origin = found.swing_row + int(np.argmin(prices.low[leg]))
    against = np.flatnonzero(
        prices.close[found.swing_row : origin + 1] < prices.open[found.swing_row : origin + 1]
    )
    if not len(against):
        return None
    candle = found.swing_row + int(against[-1])
    return OrderBlock(
        row=found.row,
        leg_row=found.swing_row,
        origin_row=origin,
        bottom=float(prices.low[origin]),
        top=float(prices.high[candle]),
        is_turn=found.is_turn,
    )


def bullish_return(prices: Prices, block: OrderBlock, *, last_row: int) -> int | None:
    """Return the first bar up to `last_row` that comes back into the block and turns there.

    It dips to the zone's top or below, and closes rising (above its open), at or above the zone's
    middle. A close below the zone before that ends the block.
    """
    rows = slice(block.row + 1, last_row + 1)
    close = prices.close[rows]
    turned: npt.NDArray[np.bool_] = (
        (prices.low[rows] <= block.top)
        & (close > prices.open[rows])
        & (close >= (block.bottom + block.top) / 2.0)
    )
    first = _first(turned)
    broken = _first(close < block.bottom)
    if first is None or (broken is not None and broken < first):
        return None
    return block.row + 1 + first


def ends_of(blocks: Sequence[OrderBlock], against: Sequence[int], *, bars: int) -> list[int]:
    """Return the last bar at which each block counts.

    It ends before the next block of its side is known, before the structure breaks the other way
    (`against`, ascending rows), or `bars` after its own break.
    """
    ends = []
    for index, block in enumerate(blocks):
        end = block.row + bars
        if index + 1 < len(blocks):
            end = min(end, blocks[index + 1].row - 1)
        later = int(np.searchsorted(against, block.row, side="right"))
        if later < len(against):
            end = min(end, against[later] - 1)
        ends.append(end)
    return ends


def _first(found: npt.NDArray[np.bool_]) -> int | None:
    return int(np.argmax(found)) if found.any() else None
