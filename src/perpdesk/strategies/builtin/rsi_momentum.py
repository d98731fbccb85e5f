"""Follow momentum: the relative strength index leaves its middle band along the trend."""

from typing import Final, Self

import numpy as np
from pydantic import Field, model_validator

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, StrategyParams
from perpdesk.strategies.builtin.entries import AtrPeriod, RewardRisk, StopAtr, market_entries
from perpdesk.strategies.indicators import (
    atr,
    crossings,
    ema,
    ema_memory,
    rsi,
    wilder_memory,
)

_REASONS: Final = (
    "",
    "momentum rose above its upper band in an uptrend",
    "momentum fell below its lower band in a downtrend",
    "momentum crossed the middle",
)


class RsiMomentum(ArrayStrategy):
    """Enter where the RSI leaves its middle band in the direction of a long average.

    Long: the RSI crosses above 50 + `band` while the close is above the average. Short: it crosses
    below 50 - `band` while the close is below. A position closes where the RSI crosses 50 against
    it. The stop lies `stop_atr` average true ranges from the close, the target `reward_risk` times
    as far.
    """

    name = "rsi_momentum"

    class Params(StrategyParams):
        """Periods count candles."""

        rsi_period: int = Field(
            14,
            ge=2,
            le=200,
            description="Period of the RSI, in candles.",
            json_schema_extra={"search": {"low": 7, "high": 28, "step": 1}},
        )
        band: float = Field(
            10.0,
            gt=0.0,
            lt=50.0,
            description="Distance from 50 at which momentum counts: 10 means above 60, below 40.",
            json_schema_extra={"search": {"low": 5.0, "high": 25.0, "step": 2.5}},
        )
        trend_period: int = Field(
            200,
            ge=2,
            le=2000,
            description="Period of the exponential average that tells the trend, in candles.",
            json_schema_extra={"search": {"low": 50, "high": 300, "step": 25}},
        )
        stop_atr: StopAtr = 2.0
        atr_period: AtrPeriod = 14
        reward_risk: RewardRisk = 3.0

        @model_validator(mode="after")
        def _trend_is_longer(self) -> Self:
            if self.trend_period <= self.rsi_period:
                raise ValueError(
                    f"trend_period={self.trend_period} must be above rsi_period={self.rsi_period}"
                )
            return self

    @classmethod
    def warmup_candles(cls, params: Params) -> int:
        """Return the first bar at which every part is known."""
        return max(params.trend_period, params.rsi_period + 2, params.atr_period + 1)

    @classmethod
    def memory_candles(cls, params: Params) -> int:
        """Return how much history fixes every part to one part in 10^9."""
        return 1 + max(
            ema_memory(params.trend_period),
            wilder_memory(params.rsi_period),
            wilder_memory(params.atr_period),
        )

    @classmethod
    def signals(cls, candles: Candles, params: Params) -> SignalArrays:
        """Return entries along the trend, and exits where momentum turns."""
        close = candles.close
        momentum = rsi(close, params.rsi_period)
        trend = ema(close, params.trend_period)
        long = (crossings(momentum, 50.0 + params.band) > 0) & (close > trend)
        short = (crossings(momentum, 50.0 - params.band) < 0) & (close < trend)
        side = long.astype(np.int8) - short.astype(np.int8)
        # Momentum falling through the middle closes longs, rising through it closes shorts.
        exit_side = (-crossings(momentum, 50.0)).astype(np.int8)
        reason = np.select([long, short, exit_side != 0], [1, 2, 3], 0).astype(np.int16)
        return market_entries(
            close=close,
            side=side,
            stop_loss=close - side * params.stop_atr * atr(candles, params.atr_period),
            reward_risk=params.reward_risk,
            exit_side=exit_side,
            reason_code=reason,
            reasons=_REASONS,
        )
