"""An order request as the parameters of order/create; numbers travel as strings. Pure."""

import re
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.errors import Denied
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import plain, product, round_to_tick
from perpdesk.domain.order import OrderRequest, OrderType, TimeInForce
from perpdesk.venues.bybit.fields import WORKING_PRICES
from perpdesk.venues.bybit.wire import LINEAR, trigger_direction

ONE_WAY: Final = 0
"""positionIdx of one-way mode, the only one that the desk trades in."""

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")
_TIMES_IN_FORCE: Final = {
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.GTX: "PostOnly",
}


def order_parameters(request: OrderRequest) -> dict[str, Any]:
    """Return the parameters of one order, without its category.

    Raises Denied for what Bybit has no words for: GTD, an id outside its alphabet, and a trailing
    stop, which is no order there but an attribute of a position.
    """
    _check_words(request)
    parameters: dict[str, Any] = {
        "symbol": request.symbol,
        "side": request.side.title(),
        "orderType": "Limit" if request.type.is_limit else "Market",
        "qty": "0" if request.close_position else plain(_quantity(request)),
        "timeInForce": _time_in_force(request),
        "positionIdx": ONE_WAY,
        "orderLinkId": request.client_order_id,
    }
    if request.type.is_limit:
        parameters["price"] = plain(_given(request.price, request, "price"))
    if request.type.is_conditional:
        trigger = _given(request.trigger_price, request, "trigger price")
        parameters["triggerPrice"] = plain(trigger)
        parameters["triggerDirection"] = trigger_direction(request.type, request.side)
        parameters["triggerBy"] = WORKING_PRICES[request.working_price]
    if request.reduce_only or request.close_position:
        parameters["reduceOnly"] = True
    if request.close_position:
        parameters["closeOnTrigger"] = True
    return parameters


def amend_parameters(symbol: str, change: AmendOrder) -> dict[str, Any]:
    """Return the parameters of order/amend; what stays as it is is left out."""
    parameters: dict[str, Any] = {
        "category": LINEAR,
        "symbol": symbol,
        "orderLinkId": change.client_order_id,
    }
    for name, value in (
        ("qty", change.quantity),
        ("price", change.price),
        ("triggerPrice", change.trigger_price),
    ):
        if value is not None:
            parameters[name] = plain(value)
    return parameters


def trailing_parameters(
    request: OrderRequest, instrument: Instrument, *, last_price: Decimal
) -> dict[str, Any]:
    """Return the parameters of position/trading-stop that make a trailing stop.

    Bybit takes the distance in quote, we a fraction: it becomes a distance at the activation price,
    or at the last price where the stop is awake at once, rounded to a tick and never to none.
    """
    assert request.trailing is not None
    trailing, tick = request.trailing, instrument.tick_size
    reference = trailing.activation_price or last_price
    distance = max(tick, round_to_tick(product(reference, trailing.callback_rate), tick))
    parameters: dict[str, Any] = {
        "category": LINEAR,
        "symbol": request.symbol,
        "tpslMode": "Full",
        "positionIdx": ONE_WAY,
        "trailingStop": plain(distance),
    }
    if trailing.activation_price is not None:
        parameters["activePrice"] = plain(trailing.activation_price)
    return parameters


def no_trailing(symbol: str) -> dict[str, Any]:
    """Return the parameters of position/trading-stop that take a trailing stop away."""
    return {
        "category": LINEAR,
        "symbol": symbol,
        "tpslMode": "Full",
        "positionIdx": ONE_WAY,
        "trailingStop": "0",
    }


def _check_words(request: OrderRequest) -> None:
    if not _CLIENT_ID.fullmatch(request.client_order_id):
        raise Denied(
            f"client order id {request.client_order_id!r} is not 1 to 36 of A-Z a-z 0-9 - _",
            next_step="Use an id of that alphabet.",
        )
    if request.type is OrderType.TRAILING_STOP_MARKET:
        raise Denied(
            "Bybit has trailing stops for open positions only, not as orders of a batch",
            next_step="Place the trailing stop by itself, once the position is open.",
        )


def _time_in_force(request: OrderRequest) -> str:
    if request.time_in_force is TimeInForce.GTD:
        raise Denied(
            "time in force GTD: Bybit has no orders that expire at a time",
            next_step="Use GTC, and cancel the order when its time has come.",
        )
    if not request.type.is_limit:
        return "IOC"  # a market order works at once or not at all
    return _TIMES_IN_FORCE[request.time_in_force]


def _quantity(request: OrderRequest) -> Decimal:
    return _given(request.quantity, request, "quantity")


def _given(value: Decimal | None, request: OrderRequest, name: str) -> Decimal:
    if value is None:
        raise Denied(
            f"a {request.type} order needs a {name}", next_step=f"Give the order a {name}."
        )
    return value
