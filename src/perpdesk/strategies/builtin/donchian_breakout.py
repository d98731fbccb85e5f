"""Break out: the close leaves the channel of the bars before it."""

from typing import Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from perpdesk.domain.candles import Candles, Values
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, StrategyParams
from perpdesk.strategies.builtin.entries import AtrPeriod, RewardRisk, StopAtr, market_entries
from perpdesk.strategies.indicators import (
    atr,
    rolling_max,
    rolling_min,
    shifted,
    wilder_memory,
)

Flags = npt.NDArray[np.bool_]

_REASONS: Final = (
    "",
    "the close broke above the entry channel",
    "the close broke below the entry channel",
    "the close broke the exit channel",
)


class DonchianBreakout(ArrayStrategy):
    """Enter where the close leaves the channel of the `entry_bars` bars before it.

    Long: the close is above the highest high of the `entry_bars` bars before, and the close before
    was not above its own channel. Short mirrors it. The stop lies `stop_atr` average true ranges
    from the close, the target `reward_risk` times as far. A position closes where the close leaves
    the channel of the `exit_bars` bars before on the other side, again on the first such bar.
    """

    name = "donchian_breakout"

    class Params(StrategyParams):
        """Bars and periods count candles."""

        entry_bars: int = Field(
            40,
            ge=2,
            le=2000,
            description="Length of the channel whose break is an entry, in candles.",
            json_schema_extra={"search": {"low": 10, "high": 120, "step": 5}},
        )
        exit_bars: int = Field(
            20,
            ge=1,
            le=2000,
            description="Length of the channel whose break is an exit; not above `entry_bars`.",
            json_schema_extra={"search": {"low": 5, "high": 60, "step": 5}},
        )
        stop_atr: StopAtr = 2.0
        atr_period: AtrPeriod = 20
        reward_risk: RewardRisk = 3.0

        @model_validator(mode="after")
        def _exit_is_not_longer(self) -> Self:
            if self.exit_bars > self.entry_bars:
                raise ValueError(
                    f"exit_bars={self.exit_bars} must not be above entry_bars={self.entry_bars}"
                )
            return self

    @classmethod
    def warmup_candles(cls, params: Params) -> int:
        """Return the first bar that has a whole channel before itself and before its neighbor."""
        return max(params.entry_bars + 2, params.atr_period + 1)

    @classmethod
    def memory_candles(cls, params: Params) -> int:
        """Return how much history fixes every part: channels exactly, the ATR to a part in 10^9."""
        return max(params.entry_bars + 2, 1 + wilder_memory(params.atr_period))

    @classmethod
    def signals(cls, candles: Candles, params: Params) -> SignalArrays:
        """Return entries and exits on the first bar of each break."""
        close = candles.close
        long = _first(close > _highest(candles, params.entry_bars))
        short = _first(close < _lowest(candles, params.entry_bars))
        side = long.astype(np.int8) - short.astype(np.int8)
        leave_long = _first(close < _lowest(candles, params.exit_bars))
        leave_short = _first(close > _highest(candles, params.exit_bars))
        exit_side = leave_long.astype(np.int8) - leave_short.astype(np.int8)
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


def _highest(candles: Candles, bars: int) -> Values:
    """Return the highest high of the bars before each one."""
    return shifted(rolling_max(candles.high, bars), 1)


def _lowest(candles: Candles, bars: int) -> Values:
    """Return the lowest low of the bars before each one."""
    return shifted(rolling_min(candles.low, bars), 1)


def _first(state: Flags) -> Flags:
    """Return where a state begins; at the first row of all there is no telling."""
    begins = np.zeros_like(state)
    begins[1:] = state[1:] & ~state[:-1]
    return begins
