"""Revert to the mean: the close comes back inside its Bollinger bands."""

from typing import Final

import numpy as np
from pydantic import Field

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, StrategyParams
from perpdesk.strategies.builtin.entries import AtrPeriod, RewardRisk, market_entries
from perpdesk.strategies.indicators import (
    atr,
    crossings,
    rolling_max,
    rolling_min,
    rolling_std,
    sma,
    wilder_memory,
)

_REASONS: Final = (
    "",
    "the close came back above the lower band",
    "the close came back below the upper band",
    "the close reached the middle band",
)


class BollingerReversion(ArrayStrategy):
    """Enter where the close comes back inside its bands, towards the middle.

    Long: the close crosses above the lower band (mean of `period` closes minus `width` standard
    deviations). Short: it crosses below the upper band. The stop lies `stop_atr` average true
    ranges beyond the extreme of the last `stop_bars` bars, the target `reward_risk` times as far
    from the close. A position closes where the close crosses the middle in its favor.
    """

    name = "bollinger_reversion"

    class Params(StrategyParams):
        """Periods count candles."""

        period: int = Field(
            20,
            ge=2,
            le=1000,
            description="Period of the mean and of the deviation, in candles.",
            json_schema_extra={"search": {"low": 10, "high": 60, "step": 5}},
        )
        width: float = Field(
            2.0,
            gt=0.0,
            le=10.0,
            description="Half width of the bands in standard deviations.",
            json_schema_extra={"search": {"low": 1.5, "high": 3.0, "step": 0.25}},
        )
        stop_bars: int = Field(
            3,
            ge=1,
            le=100,
            description="Bars whose extreme the stop lies beyond, the current one included.",
            json_schema_extra={"search": {"low": 1, "high": 10, "step": 1}},
        )
        stop_atr: float = Field(
            0.25,
            ge=0.0,
            le=20.0,
            description="Distance of the stop from that extreme in average true ranges.",
            json_schema_extra={"search": {"low": 0.0, "high": 2.0, "step": 0.25}},
        )
        atr_period: AtrPeriod = 14
        reward_risk: RewardRisk = 3.0

    @classmethod
    def warmup_candles(cls, params: Params) -> int:
        """Return the first bar at which a crossing of a band can be known."""
        return max(params.period + 1, params.stop_bars, params.atr_period + 1)

    @classmethod
    def memory_candles(cls, params: Params) -> int:
        """Return how much history fixes every part: windows exactly, the ATR to a part in 10^9.

        While the close stands exactly on a band the side before counts; hence the second period.
        """
        return max(
            2 * params.period, cls.warmup_candles(params), 1 + wilder_memory(params.atr_period)
        )

    @classmethod
    def signals(cls, candles: Candles, params: Params) -> SignalArrays:
        """Return entries at the bands and exits at the middle."""
        close = candles.close
        middle = sma(close, params.period)
        reach = params.width * rolling_std(close, params.period)
        long = crossings(close, middle - reach) > 0
        short = crossings(close, middle + reach) < 0
        side = long.astype(np.int8) - short.astype(np.int8)
        # Rising through the middle is where a long wanted to go, falling through it a short.
        exit_side = crossings(close, middle)
        buffer = params.stop_atr * atr(candles, params.atr_period)
        stop = np.where(
            long,
            rolling_min(candles.low, params.stop_bars) - buffer,
            rolling_max(candles.high, params.stop_bars) + buffer,
        )
        reason = np.select([long, short, exit_side != 0], [1, 2, 3], 0).astype(np.int16)
        return market_entries(
            close=close,
            side=side,
            stop_loss=stop,
            reward_risk=params.reward_risk,
            exit_side=exit_side,
            reason_code=reason,
            reasons=_REASONS,
        )
