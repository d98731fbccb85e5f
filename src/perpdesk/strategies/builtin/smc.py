"""Smart Money Concepts: enter where price returns to the origin of a move that broke structure."""

from typing import Final

import numpy as np
from pydantic import Field

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, StrategyParams
from perpdesk.strategies.builtin.entries import AtrPeriod, RewardRisk
from perpdesk.strategies.builtin.smart_money.fair_value_gaps import bullish_gaps
from perpdesk.strategies.builtin.smart_money.liquidity import bullish_sweeps
from perpdesk.strategies.builtin.smart_money.order_blocks import (
    OrderBlock,
    bullish_block,
    bullish_return,
    ends_of,
)
from perpdesk.strategies.builtin.smart_money.prices import Prices
from perpdesk.strategies.builtin.smart_money.structure import Break, breaks_of, turns
from perpdesk.strategies.indicators import atr, wilder_memory

_REASONS: Final = (
    "",
    "price returned to a bullish order block after a break of structure",
    "price returned to a bullish order block after a change of character",
    "price returned to a bearish order block after a break of structure",
    "price returned to a bearish order block after a change of character",
    "the structure changed its character upwards",
    "the structure changed its character downwards",
)


class SmartMoneyConcepts(ArrayStrategy):
    """Enter where price returns to the order block behind a break of structure, and turns there.

    Long, in this order: a close breaks the latest swing high; the leg of that break left an order
    block; the required confirmations hold (a fair value gap within the leg, a liquidity sweep of a
    swing low within the leg, the break being a change of character); price comes back into the
    block and closes rising. Short mirrors it. The stop lies `stop_atr` average true ranges beyond
    the block, the target `reward_risk` times as far from the close. Each block gives one signal. A
    change of character closes positions against it.
    """

    name = "smc"

    class Params(StrategyParams):
        """Lengths count candles."""

        swing_length: int = Field(
            4,
            ge=1,
            le=50,
            description="Bars on each side that confirm a swing; it is known that much later.",
            json_schema_extra={"search": {"low": 2, "high": 10, "step": 1}},
        )
        lookback: int = Field(
            100,
            ge=10,
            le=1000,
            description="Bars after which swings and the trend are forgotten.",
            json_schema_extra={"search": {"low": 50, "high": 200, "step": 25}},
        )
        block_bars: int = Field(
            50,
            ge=1,
            le=1000,
            description="Bars after its break during which an order block counts.",
            json_schema_extra={"search": {"low": 10, "high": 100, "step": 10}},
        )
        require_gap: bool = Field(
            True,
            description="Enter only if the leg left a fair value gap.",
            json_schema_extra={"search": {"choices": [True, False]}},
        )
        gap_atr: float = Field(
            0.1,
            ge=0.0,
            le=5.0,
            description="Least size of a fair value gap in average true ranges.",
            json_schema_extra={"search": {"low": 0.0, "high": 0.5, "step": 0.1}},
        )
        require_sweep: bool = Field(
            False,
            description="Enter only if the leg swept the liquidity beyond a swing.",
            json_schema_extra={"search": {"choices": [True, False]}},
        )
        require_turn: bool = Field(
            False,
            description="Enter only after a change of character, not after a break along a trend.",
            json_schema_extra={"search": {"choices": [True, False]}},
        )
        stop_atr: float = Field(
            0.25,
            ge=0.0,
            le=10.0,
            description="Distance of the stop from the order block in average true ranges.",
            json_schema_extra={"search": {"low": 0.0, "high": 1.0, "step": 0.25}},
        )
        atr_period: AtrPeriod = 14
        reward_risk: RewardRisk = 3.0

    @classmethod
    def warmup_candles(cls, params: Params) -> int:
        """Return the first bar at which a swing could have been confirmed and broken."""
        return max(2 * params.swing_length + 2, params.atr_period + 1)

    @classmethod
    def memory_candles(cls, params: Params) -> int:
        """Return how far back a chain of facts can reach.

        A signal needs a block, at most `block_bars` old; its break a swing and a trend, at most
        `lookback` old; the break that set the trend a swing of its own, and swings the bars around.
        """
        chain = params.block_bars + 3 * params.lookback + 2 * params.swing_length + 2
        return max(chain, params.block_bars + params.lookback + wilder_memory(params.atr_period))

    @classmethod
    def signals(cls, candles: Candles, params: Params) -> SignalArrays:
        """Return entries at order blocks, and exits at changes of character."""
        prices = Prices(
            open=candles.open,
            high=candles.high,
            low=candles.low,
            close=candles.close,
            atr=atr(candles, params.atr_period),
        )
        breaks = breaks_of(prices, reach=params.swing_length, lookback=params.lookback)
        turning = turns(breaks, len(candles))
        count = len(candles)
        side = np.zeros(count, np.int8)
        stop, target, confidence = np.full((3, count), np.nan)
        reason = np.select([turning > 0, turning < 0], [5, 6], 0).astype(np.int16)
        for sign, seen in ((1, prices), (-1, prices.mirrored())):
            for row, block, certainty in _entries(seen, breaks, sign, params):
                risk = seen.close[row] - block.bottom + params.stop_atr * seen.atr[row]
                near, far = seen.close[row] - risk, seen.close[row] + params.reward_risk * risk
                if not (risk > 0.0 and sign * near > 0.0 and sign * far > 0.0):
                    continue
                side[row] = sign
                stop[row], target[row], confidence[row] = sign * near, sign * far, certainty
                reason[row] = (1 if sign > 0 else 3) + block.is_turn
        return SignalArrays(
            side=side,
            # A change of character downwards closes longs, one upwards closes shorts.
            exit_side=-turning,
            stop_loss=stop,
            take_profits=(target,),
            confidence=np.where(side != 0, confidence, 1.0),
            reason_code=reason,
            reasons=_REASONS,
        )


def _entries(
    prices: Prices, breaks: list[Break], sign: int, params: SmartMoneyConcepts.Params
) -> list[tuple[int, OrderBlock, float]]:
    """Return (row, block, confidence) of each return to a bullish block of the given prices."""
    gaps = bullish_gaps(prices, minimum_atr=params.gap_atr)
    sweeps = bullish_sweeps(prices, reach=params.swing_length, lookback=params.lookback)
    blocks: list[tuple[OrderBlock, float]] = []
    for found in breaks:
        block = bullish_block(prices, found) if found.side == sign else None
        if block is None:
            continue
        gap = bool(gaps[block.origin_row + 1 : block.row + 1].any())
        sweep = bool(sweeps[block.leg_row : block.row + 1].any())
        confirmations = (gap, sweep, block.is_turn)
        required = (params.require_gap, params.require_sweep, params.require_turn)
        if all(has or not needs for has, needs in zip(confirmations, required, strict=True)):
            blocks.append((block, 0.55 + 0.15 * sum(confirmations)))
    against = [found.row for found in breaks if found.side == -sign]
    ends = ends_of([block for block, _ in blocks], against, bars=params.block_bars)
    entries = []
    for (block, certainty), end in zip(blocks, ends, strict=True):
        row = bullish_return(prices, block, last_row=end)
        if row is not None:
            entries.append((row, block, certainty))
    return entries
