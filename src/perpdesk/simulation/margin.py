"""Margin by the venues' formulas.

Q quantity, s = +1 long / -1 short, E entry, M mark, L leverage, m maintenance rate, D deduction.

Source: reference/exchanges.md 6.1 to 6.3, read 2026-11; worked examples in accounting-cases.json.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.instrument import Instrument, MarginTier
from perpdesk.domain.numbers import (
    ONE,
    ZERO,
    product,
    round_amount,
    round_ratio,
    share,
    truncate_amount,
    truncate_ratio,
)
from perpdesk.domain.signal import PositionSide


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRules:
    """Where the two venues differ.

    amount: how an amount is put on the 1e-8 grid; ratio: the same in whole atoms.
    reserves_close_fee: whether initial and maintenance margin hold the fee to close at bankruptcy
    price (Bybit). takes_over_at_bankruptcy: whether a liquidated position is closed at its
    bankruptcy price (Bybit) or at mark, against a clearance fee (Binance).
    """

    amount: Callable[[Decimal], Decimal]
    ratio: Callable[[int, int], int]
    reserves_close_fee: bool
    takes_over_at_bankruptcy: bool


_BINANCE: Final = VenueRules(
    amount=truncate_amount,
    ratio=truncate_ratio,
    reserves_close_fee=False,
    takes_over_at_bankruptcy=False,
)
_BYBIT: Final = VenueRules(
    amount=round_amount,
    ratio=round_ratio,
    reserves_close_fee=True,
    takes_over_at_bankruptcy=True,
)


def rules_of(venue: Venue) -> VenueRules:
    """Return the accounting rules of a venue."""
    return _BYBIT if venue is Venue.BYBIT else _BINANCE


def unrealized_pnl(signed_quantity: Decimal, entry_value: Decimal, mark_price: Decimal) -> Decimal:
    """Return s·Q·(M - E) in quote, every digit kept; entry_value is signed like the quantity."""
    return product(signed_quantity, mark_price) - entry_value


def initial_margin(notional: Decimal, leverage: Decimal) -> Decimal:
    """Return notional / L, in quote."""
    return notional / leverage


def break_even_price(
    side: PositionSide, entry_price: Decimal, *, open_fee_rate: Decimal
) -> Decimal:
    """Return E·(1 + s·f): the price at which the profit has earned back the fee to open.

    This is what Binance shows. Source: reference/exchanges.md 6.6, case BN-POS-1, read 2026-11.
    """
    return entry_price * (ONE + side.sign * open_fee_rate)


def return_on_margin(profit: Decimal, initial: Decimal, fee_to_close: Decimal) -> Decimal:
    """Return profit / (initial margin + fee to close) as a fraction: what Bybit shows as ROI.

    Source: reference/exchanges.md 6.6, read 2026-11.
    """
    return profit / (initial + fee_to_close)


def bankruptcy_price(side: PositionSide, entry_price: Decimal, leverage: Decimal) -> Decimal:
    """Return E·(1 - s/L): where the initial margin of an isolated position is used up."""
    return share(entry_price, leverage - side.sign, leverage)


def fee_to_close(
    side: PositionSide, entry_value: Decimal, leverage: Decimal, taker_rate: Decimal
) -> Decimal:
    """Return Q·E·(1 - s/L)·t, the taker fee of closing at bankruptcy price.

    entry_value: unsigned quote. Bybit holds it within initial and maintenance margin.
    """
    return share(product(entry_value, taker_rate), leverage - side.sign, leverage)


def order_cost(
    *,
    venue: Venue,
    side: PositionSide,
    notional: Decimal,
    leverage: Decimal,
    taker_rate: Decimal,
    open_loss: Decimal = ZERO,
) -> Decimal:
    """Return the quote that must be free for an order that opens a position.

    Initial margin and the fee to open; on Bybit also the fee to close, on Binance the loss that an
    order away from mark would open with.
    """
    cost = initial_margin(notional, leverage) + notional * taker_rate
    if rules_of(venue).reserves_close_fee:
        return cost + fee_to_close(side, notional, leverage, taker_rate)
    return cost + open_loss


def maintenance_margin(notional: Decimal, tier: MarginTier) -> Decimal:
    """Return notional·m - D, in quote; equal to the sum over the tiers below."""
    return notional * tier.maintenance_rate - tier.deduction


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionMargin:
    """Margin of one position at one mark, in quote, on the 1e-8 grid."""

    notional: Decimal
    unrealized: Decimal
    initial: Decimal
    maintenance: Decimal


def position_margin(
    instrument: Instrument,
    *,
    signed_quantity: Decimal,
    entry_value: Decimal,
    mark_price: Decimal,
    leverage: Decimal,
    taker_rate: Decimal,
) -> PositionMargin:
    """Return value, profit and margins of a position at `mark_price`.

    entry_value: quote, signed like the quantity. The leverage is held to the limit of the tier.
    """
    rules = rules_of(instrument.venue)
    value = product(signed_quantity, mark_price)
    notional = rules.amount(abs(value))
    tier = instrument.tier_for(notional)
    held = min(leverage, tier.max_leverage)
    initial = initial_margin(notional, held)
    maintenance = maintenance_margin(notional, tier)
    if rules.reserves_close_fee and signed_quantity:
        side = PositionSide.LONG if signed_quantity > ZERO else PositionSide.SHORT
        reserve = rules.amount(fee_to_close(side, abs(entry_value), leverage, taker_rate))
        initial += reserve
        maintenance += reserve
    return PositionMargin(
        notional=notional,
        unrealized=rules.amount(value - entry_value),
        initial=rules.amount(initial),
        maintenance=rules.amount(maintenance),
    )
