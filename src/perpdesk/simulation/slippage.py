"""What a taker loses against the price it aimed at: small models, one class each."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from perpdesk.domain.numbers import ONE, ZERO, ceil_to_step, floor_to_step, plain
from perpdesk.domain.order import Side

BPS: Final = Decimal("0.0001")


class SlippageModel(Protocol):
    """How far a taker's fill lies from the price it aimed at."""

    def rate(self, *, quantity: Decimal, volume: Decimal) -> Decimal:
        """Return the worsening as a fraction of the price, >= 0.

        quantity: base that fills. volume: base that traded in the bar.
        """

    def describe(self) -> str:
        """Return the model and its numbers in words, for the result."""


@dataclass(frozen=True, slots=True)
class NoSlippage:
    """Fill at the price aimed at."""

    def rate(self, *, quantity: Decimal, volume: Decimal) -> Decimal:
        """Return zero."""
        return ZERO

    def describe(self) -> str:
        """Return the model in words."""
        return "none"


@dataclass(frozen=True, slots=True)
class FixedSlippage:
    """Worsen every taker fill by the same number of basis points."""

    bps: Decimal

    def rate(self, *, quantity: Decimal, volume: Decimal) -> Decimal:
        """Return the fixed fraction."""
        return self.bps * BPS

    def describe(self) -> str:
        """Return the model in words."""
        return f"fixed {plain(self.bps)} bps"


@dataclass(frozen=True, slots=True)
class SquareRootImpact:
    """Half the spread, plus an impact that grows with the square root of the share of volume.

    impact_bps: what taking a whole bar's volume would cost.
    """

    half_spread_bps: Decimal
    impact_bps: Decimal

    def rate(self, *, quantity: Decimal, volume: Decimal) -> Decimal:
        """Return half spread + impact·sqrt(quantity / volume), volume of zero counting as 1:1."""
        share = quantity / volume if volume > ZERO else ONE
        return (self.half_spread_bps + self.impact_bps * share.sqrt()) * BPS

    def describe(self) -> str:
        """Return the model in words."""
        return (
            f"half spread {plain(self.half_spread_bps)} bps + "
            f"{plain(self.impact_bps)} bps x sqrt(share of volume)"
        )


def worsened(price: Decimal, side: Side, rate: Decimal, tick_size: Decimal) -> Decimal:
    """Return the price moved against `side` by `rate`, to the next tick on the bad side."""
    if not rate:
        return price
    if side is Side.BUY:
        return ceil_to_step(price * (ONE + rate), tick_size)
    return max(tick_size, floor_to_step(price * (ONE - rate), tick_size))
