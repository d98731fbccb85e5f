"""Where a position is liquidated, and what the insurance fund sees of it.

Source: reference/exchanges.md 6.2 and 6.3, read 2026-11; worked examples in accounting-cases.json.
"""

from decimal import Decimal

from perpdesk.domain.instrument import Instrument, MarginTier
from perpdesk.domain.numbers import ONE, ZERO
from perpdesk.domain.signal import PositionSide


def liquidation_price_in_tier(
    *,
    side: PositionSide,
    quantity: Decimal,
    entry_value: Decimal,
    balance: Decimal,
    maintenance_rate: Decimal,
    deduction: Decimal,
) -> Decimal:
    """Return the mark at which balance + profit equals maintenance margin, within one tier.

    balance: quote that stands behind the position at its entry price: the isolated wallet, or for
    cross the wallet less the maintenance of the other positions plus their unrealized profit.
    entry_value: unsigned quote. quantity: base. The result may be negative: never liquidated.
    """
    numerator = balance + deduction - side.sign * entry_value
    return numerator / (quantity * maintenance_rate - side.sign * quantity)


def liquidation_price(
    instrument: Instrument,
    *,
    side: PositionSide,
    quantity: Decimal,
    entry_value: Decimal,
    balance: Decimal,
) -> Decimal | None:
    """Return the mark price that liquidates, or None if no positive price does.

    The tier is the one that holds the position's value at that very price: the formula is redone
    until both agree. Where the table leaves a gap between two tiers, the price met first counts.
    """
    prices: list[Decimal] = []
    for tier in instrument.tiers:
        price = _price_in(tier, side, quantity, entry_value, balance)
        notional = quantity * price
        if notional <= tier.cap and (notional > tier.floor or not prices):
            return price if price > ZERO else None
        prices.append(price)
    price = max(prices) if side is PositionSide.LONG else min(prices)
    return price if price > ZERO else None


def _price_in(
    tier: MarginTier,
    side: PositionSide,
    quantity: Decimal,
    entry_value: Decimal,
    balance: Decimal,
) -> Decimal:
    return liquidation_price_in_tier(
        side=side,
        quantity=quantity,
        entry_value=entry_value,
        balance=balance,
        maintenance_rate=tier.maintenance_rate,
        deduction=tier.deduction,
    )


def isolated_balance_uta(
    *,
    side: PositionSide,
    entry_value: Decimal,
    leverage: Decimal,
    extra_margin: Decimal,
    taker_rate: Decimal,
) -> Decimal:
    """Return the balance behind a Bybit isolated position: E·Q/L + X/(1 - s·t).

    extra_margin: quote added by hand (X), negative when funding has eaten into the margin.
    """
    return entry_value / leverage + extra_margin / (ONE - side.sign * taker_rate)


def liquidation_price_entry_value(
    *,
    side: PositionSide,
    quantity: Decimal,
    entry_price: Decimal,
    leverage: Decimal,
    maintenance_rate: Decimal,
    deduction: Decimal,
    extra_margin: Decimal,
) -> Decimal:
    """Return Bybit's older formula E - s·[(IM - MM)/Q + X/Q], both on entry value, without fees."""
    entry_value = quantity * entry_price
    initial = entry_value / leverage
    maintenance = entry_value * maintenance_rate - deduction
    return entry_price - side.sign * (initial - maintenance + extra_margin) / quantity


def insurance_fund_flow(
    *, side: PositionSide, quantity: Decimal, exit_price: Decimal, bankruptcy_price: Decimal
) -> Decimal:
    """Return what the fund gains (negative: pays) when a taken-over position is closed."""
    return quantity * side.sign * (exit_price - bankruptcy_price)
