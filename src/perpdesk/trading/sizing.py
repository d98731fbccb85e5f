"""How much to trade: one small class per idea, all rounded down to the step."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from perpdesk.domain.errors import Denied
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ONE, ZERO, ceil_to_step, floor_to_step, plain
from perpdesk.domain.signal import Signal

PERCENT: Final = Decimal("0.01")
_FEE_ALLOWANCE: Final = Decimal("0.001")
"""Fraction of notional, per side."""
_PRICE_ALLOWANCE: Final = Decimal("0.005")
"""How far the price may go against an entry before its fill, so that it is still taken."""


class Sizing(Protocol):
    """Turns a signal into a quantity, before limits."""

    def quantity(self, signal: Signal, *, entry_price: Decimal, equity: Decimal) -> Decimal:
        """Return the wished quantity in base. Raises Denied where the signal cannot be sized."""

    def describe(self) -> str:
        """Return the rule in words, for the result of a run."""


@dataclass(frozen=True, slots=True)
class PercentRisk:
    """Lose `risk_pct` percent of equity if the stop is hit at its price: 1.5 means 1.5 %."""

    risk_pct: Decimal

    def quantity(self, signal: Signal, *, entry_price: Decimal, equity: Decimal) -> Decimal:
        """Return equity·risk / |entry - stop|."""
        if signal.stop_loss is None:
            raise Denied(
                "sizing by percent risk needs a stop loss, and the signal has none",
                next_step="Give the strategy a stop, or size by fixed quantity or notional.",
            )
        distance = abs(entry_price - signal.stop_loss)
        if not distance:
            raise Denied("the stop loss lies on the entry price, so the risk cannot be sized")
        return equity * self.risk_pct * PERCENT / distance

    def describe(self) -> str:
        """Return the rule in words."""
        return f"risk {plain(self.risk_pct)} % of equity to the stop"


@dataclass(frozen=True, slots=True)
class FixedNotional:
    """Trade the same value, in quote, every time."""

    notional: Decimal

    def quantity(self, signal: Signal, *, entry_price: Decimal, equity: Decimal) -> Decimal:
        """Return notional / price."""
        return self.notional / entry_price

    def describe(self) -> str:
        """Return the rule in words."""
        return f"fixed notional {plain(self.notional)}"


@dataclass(frozen=True, slots=True)
class FixedQuantity:
    """Trade the same quantity, in base, every time."""

    base_quantity: Decimal

    def quantity(self, signal: Signal, *, entry_price: Decimal, equity: Decimal) -> Decimal:
        """Return the fixed quantity."""
        return self.base_quantity

    def describe(self) -> str:
        """Return the rule in words."""
        return f"fixed quantity {plain(self.base_quantity)}"


def legal_quantity(
    wished: Decimal,
    instrument: Instrument,
    *,
    entry_price: Decimal,
    leverage: Decimal,
    free_margin: Decimal,
    resting: bool,
) -> Decimal:
    """Return the largest legal quantity not above `wished`, rounded down to the step.

    free_margin: quote that the entry may bind; a tenth of a percent of the notional per side is
    left for fees and slippage. Margin and tiers are held at a price half a percent worse, because
    the fill comes after the decision. resting: whether the venue's limit for limit orders applies.
    Raises Denied, naming the smallest legal order, where even that is too large.
    """
    cost_rate = ONE / leverage + 2 * _FEE_ALLOWANCE
    dear_price = entry_price * (ONE + _PRICE_ALLOWANCE)
    most = max(ZERO, free_margin) / cost_rate / dear_price
    limit = instrument.max_limit_quantity if resting else instrument.max_market_quantity
    within_tiers = _largest_notional(instrument, leverage) / dear_price
    quantity = floor_to_step(min(wished, most, limit, within_tiers), instrument.step_size)
    smallest = max(
        instrument.min_quantity,
        ceil_to_step(instrument.min_notional / entry_price, instrument.step_size),
    )
    if quantity < smallest:
        raise Denied(
            f"a size of {plain(quantity)} {instrument.base} (wished {plain(_short(wished))}, "
            f"affordable {plain(_short(most))}) is below the smallest legal order of "
            f"{plain(smallest)}",
            next_step="Raise the risk or the capital, or trade a symbol with smaller steps.",
        )
    return quantity


def _short(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.00000001"))


def _largest_notional(instrument: Instrument, leverage: Decimal) -> Decimal:
    """Return the cap of the highest tier that still allows `leverage`."""
    caps = [tier.cap for tier in instrument.tiers if tier.max_leverage >= leverage]
    return caps[-1] if caps else ZERO
