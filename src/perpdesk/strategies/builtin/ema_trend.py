"""Follow the trend: two exponential averages cross."""

from typing import Final, Self

import numpy as np
from pydantic import Field, model_validator

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, StrategyParams
from perpdesk.strategies.builtin.entries import AtrPeriod, RewardRisk
from perpdesk.strategies.indicators import atr, crossings, ema, ema_memory, wilder_memory

_REASONS: Final = (
    "the fast average crossed below the slow one",
    "",
    "the fast average crossed above the slow one",
)


class EmaTrend(ArrayStrategy):
    """Enter long where the fast average crosses above the slow one, short where it crosses below.

    The stop lies `stop_atr` average true ranges from the close, the target `reward_risk` times as
    far. With `stop_atr` = 0 there is neither: always in the market, turning at each crossing. An
    opposite entry closes the position before it.
    """

    name = "ema_trend"

    class Params(StrategyParams):
        """Periods count candles."""

        fast: int = Field(
            21,
            ge=1,
            le=500,
            description="Period of the fast average, in candles; below `slow`.",
            json_schema_extra={"search": {"low": 5, "high": 60, "step": 1}},
        )
        slow: int = Field(
            55,
            ge=2,
            le=2000,
            description="Period of the slow average, in candles.",
            json_schema_extra={"search": {"low": 20, "high": 240, "step": 5}},
        )
        stop_atr: float = Field(
            2.0,
            ge=0.0,
            le=20.0,
            description="Distance of the stop in average true ranges; 0: no stop and no target.",
            json_schema_extra={"search": {"low": 1.0, "high": 5.0, "step": 0.25}},
        )
        atr_period: AtrPeriod = 14
        reward_risk: RewardRisk = 3.0

        @model_validator(mode="after")
        def _fast_is_faster(self) -> Self:
            if self.fast >= self.slow:
                raise ValueError(f"fast={self.fast} must be below slow={self.slow}")
            return self

    @classmethod
    def warmup_candles(cls, params: Params) -> int:
        """Return the first bar at which Backtrader's own `CrossOver` can speak, counted from 1."""
        crossing = params.slow + 1
        return crossing if params.stop_atr == 0.0 else max(crossing, params.atr_period + 1)

    @classmethod
    def memory_candles(cls, params: Params) -> int:
        """Return how much history fixes both averages and the stop to a part in 10^9."""
        averages = 1 + ema_memory(params.slow)
        if params.stop_atr == 0.0:
            return averages
        return max(averages, wilder_memory(params.atr_period))

    @classmethod
    def signals(cls, candles: Candles, params: Params) -> SignalArrays:
        """Return one entry per crossing."""
        close = candles.close
        side = crossings(ema(close, params.fast), ema(close, params.slow))
        reason_code = side.astype(np.int16) + np.int16(1)
        if params.stop_atr == 0.0:
            return SignalArrays(side=side, reason_code=reason_code, reasons=_REASONS)
        rows = np.flatnonzero(side)
        distance = params.stop_atr * atr(candles, params.atr_period)[rows] * side[rows]
        stop, target = np.full((2, len(close)), np.nan)
        stop[rows] = close[rows] - distance
        target[rows] = close[rows] + params.reward_risk * distance
        # No stop without a known, moving market, nor beyond zero: then there is no entry.
        usable = (distance * side[rows] > 0.0) & (stop[rows] > 0.0) & (target[rows] > 0.0)
        side[rows[~usable]] = 0
        return SignalArrays(
            side=side,
            stop_loss=stop,
            take_profits=(target,),
            reason_code=reason_code,
            reasons=_REASONS,
        )
