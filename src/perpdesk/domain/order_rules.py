"""The venue's rules for an order, checked in one place for simulation, desk and adapters.

A refusal says the rule, the value, and the nearest legal order; its code is the venue's own.
Source: reference/exchanges.md 3.6 and 3b.5 (codes), 3.1 and 3b.1 (filters), read 2026-11.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import (
    ONE,
    ZERO,
    ceil_to_step,
    floor_to_step,
    is_multiple,
    plain,
    round_to_tick,
)
from perpdesk.domain.order import OrderRequest, OrderType, Side, TimeInForce


class Rule(StrEnum):
    """What an order can break."""

    QUANTITY = "quantity"
    STEP = "step size"
    MIN_QUANTITY = "minimum quantity"
    MAX_QUANTITY = "maximum quantity"
    TICK = "tick size"
    PRICE_BAND = "price band"
    MIN_NOTIONAL = "minimum notional"
    MISSING_PRICE = "required price"
    MARGIN = "margin"
    LEVERAGE = "leverage limit"
    REDUCE_ONLY = "reduce-only"
    WOULD_TRIGGER = "trigger price"
    DUPLICATE_ID = "client order id"
    UNKNOWN_ORDER = "unknown order"
    UNKNOWN_SYMBOL = "symbol"
    MARGIN_MODE = "margin mode"


_BINANCE: Final = {
    Rule.QUANTITY: "-4003",
    Rule.STEP: "-4023",
    Rule.MIN_QUANTITY: "-4004",
    Rule.MAX_QUANTITY: "-4005",
    Rule.TICK: "-4014",
    Rule.PRICE_BAND: "-4016",
    Rule.MIN_NOTIONAL: "-4164",
    Rule.MISSING_PRICE: "-1102",
    Rule.MARGIN: "-2019",
    Rule.LEVERAGE: "-2027",
    Rule.REDUCE_ONLY: "-2022",
    Rule.WOULD_TRIGGER: "-2021",
    Rule.DUPLICATE_ID: "-4116",
    Rule.UNKNOWN_ORDER: "-2011",
    Rule.UNKNOWN_SYMBOL: "-1121",
    Rule.MARGIN_MODE: "-4048",
}
_BYBIT: Final = {
    Rule.QUANTITY: "10001",
    Rule.STEP: "10001",
    Rule.MIN_QUANTITY: "10001",
    Rule.MAX_QUANTITY: "10001",
    Rule.TICK: "10001",
    Rule.PRICE_BAND: "110003",
    Rule.MIN_NOTIONAL: "110094",
    Rule.MISSING_PRICE: "10001",
    Rule.MARGIN: "110007",
    Rule.LEVERAGE: "110090",
    Rule.REDUCE_ONLY: "110017",
    Rule.WOULD_TRIGGER: "110092",
    Rule.DUPLICATE_ID: "110072",
    Rule.UNKNOWN_ORDER: "110001",
    Rule.UNKNOWN_SYMBOL: "10001",
    Rule.MARGIN_MODE: "110024",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an order is not legal, in the venue's terms and in words."""

    rule: Rule
    code: str
    reason: str


def refusal(venue: Venue, rule: Rule, reason: str) -> Refusal:
    """Return a refusal with the venue's code for `rule`."""
    codes = _BYBIT if venue is Venue.BYBIT else _BINANCE
    return Refusal(rule=rule, code=codes[rule], reason=reason)


def check_order(
    request: OrderRequest, instrument: Instrument, *, mark_price: Decimal
) -> Refusal | None:
    """Return the first rule that the order breaks, or None if it is legal.

    mark_price: quote; notional and price band are judged by it, and not at all where it is zero
    because nothing has traded yet. Reduce-only orders are exempt from the minimum notional.
    """
    return (
        _check_prices(request, instrument, mark_price)
        or _check_quantity(request, instrument)
        or _check_notional(request, instrument, mark_price)
    )


def _check_quantity(request: OrderRequest, instrument: Instrument) -> Refusal | None:
    quantity = request.quantity
    if request.close_position:
        return None
    if quantity is None or not quantity.is_finite() or quantity <= ZERO:
        return refusal(instrument.venue, Rule.QUANTITY, f"quantity {quantity} is not positive")
    step = instrument.step_size
    if not is_multiple(quantity, step):
        return refusal(
            instrument.venue,
            Rule.STEP,
            f"quantity {plain(quantity)} is not a multiple of the step {plain(step)}; the nearest "
            f"below is {plain(floor_to_step(quantity, step))}",
        )
    if quantity < instrument.min_quantity:
        return refusal(
            instrument.venue,
            Rule.MIN_QUANTITY,
            f"quantity {plain(quantity)} is below the minimum {plain(instrument.min_quantity)}",
        )
    resting = request.type.is_limit
    most = instrument.max_limit_quantity if resting else instrument.max_market_quantity
    if quantity > most:
        return refusal(
            instrument.venue,
            Rule.MAX_QUANTITY,
            f"quantity {plain(quantity)} is above the maximum {plain(most)} of a {request.type} "
            "order",
        )
    return None


def _check_prices(
    request: OrderRequest, instrument: Instrument, mark_price: Decimal
) -> Refusal | None:
    venue, tick = instrument.venue, instrument.tick_size
    if request.type.is_limit and request.price is None:
        return refusal(venue, Rule.MISSING_PRICE, f"a {request.type} order needs a price")
    trailing = request.type is OrderType.TRAILING_STOP_MARKET
    if trailing:
        callback = ZERO if request.trailing is None else request.trailing.callback_rate
        if not callback.is_finite() or not ZERO < callback < ONE:
            reason = "a trailing stop needs a callback rate between 0 and 1, as 0.01 for 1 %"
            return refusal(venue, Rule.MISSING_PRICE, reason)
    if request.type.is_conditional and not trailing and request.trigger_price is None:
        return refusal(venue, Rule.MISSING_PRICE, f"a {request.type} order needs a trigger price")
    if request.time_in_force is TimeInForce.GTD and request.expire_ms is None:
        return refusal(venue, Rule.MISSING_PRICE, "a GTD order needs the time at which it expires")
    wake = request.trailing.activation_price if request.trailing else None
    for name, price in (
        ("price", request.price),
        ("trigger price", request.trigger_price),
        ("activation price", wake),
    ):
        if price is None:
            continue
        if not price.is_finite():
            return refusal(venue, Rule.TICK, f"{name} {price} is not a price")
        if price <= ZERO or not is_multiple(price, tick):
            return refusal(
                venue,
                Rule.TICK,
                f"{name} {plain(price)} is not a positive multiple of the tick {plain(tick)}; the "
                f"nearest is {plain(max(tick, round_to_tick(price, tick)))}",
            )
    if mark_price and request.type is OrderType.LIMIT and request.price is not None:
        return _check_band(request.side, request.price, instrument, mark_price)
    return None


def _check_band(
    side: Side, price: Decimal, instrument: Instrument, mark_price: Decimal
) -> Refusal | None:
    """A buy may not lie far above mark, a sell not far below: it would sweep the book."""
    limit = mark_price * (ONE + instrument.price_band_rate * side.sign)
    if (price - limit) * side.sign <= ZERO:
        return None
    return refusal(
        instrument.venue,
        Rule.PRICE_BAND,
        f"{side} price {plain(price)} is beyond {plain(round_to_tick(limit, instrument.tick_size))}"
        f", the price band around mark {plain(mark_price)}",
    )


def _check_notional(
    request: OrderRequest, instrument: Instrument, mark_price: Decimal
) -> Refusal | None:
    if request.reduce_only or request.close_position or request.quantity is None:
        return None
    price = request.price if request.price is not None else mark_price
    if not price:
        return None
    notional = request.quantity * price
    if notional >= instrument.min_notional:
        return None
    smallest = ceil_to_step(instrument.min_notional / price, instrument.step_size)
    return refusal(
        instrument.venue,
        Rule.MIN_NOTIONAL,
        f"notional {plain(notional)} is below the minimum {plain(instrument.min_notional)}; the "
        f"smallest legal quantity is {plain(smallest)}",
    )


def check_leverage(
    instrument: Instrument, leverage: Decimal, *, notional: Decimal = ZERO
) -> Refusal | None:
    """Return why a leverage cannot be set while a position of `notional` quote is open, or None."""
    most = instrument.tier_for(notional).max_leverage
    if leverage.is_finite() and ONE <= leverage <= most:
        return None
    reason = f"leverage {leverage} is not within 1 to {plain(most)}"
    return refusal(instrument.venue, Rule.LEVERAGE, reason)


def check_position_size(
    instrument: Instrument, leverage: Decimal, *, notional: Decimal
) -> Refusal | None:
    """Return why a position of `notional` quote cannot be held at a leverage, or None."""
    tier = instrument.tier_for(notional)
    if leverage <= tier.max_leverage and notional <= tier.cap:
        return None
    fitting = [each.cap for each in instrument.tiers if each.max_leverage >= leverage]
    return refusal(
        instrument.venue,
        Rule.LEVERAGE,
        f"a position of {plain(notional)} is too large for {plain(leverage)}x; the largest at this "
        f"leverage is {plain(max(fitting, default=ZERO))}",
    )
