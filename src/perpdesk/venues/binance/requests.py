"""Our orders in Binance's parameters. Pure.

LIMIT and MARKET go to /order; everything that waits for a trigger goes to the Algo service, which
has ids of its own. Source: reference/exchanges.md 3.3 to 3.5, read 2026-11.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from perpdesk.domain.errors import Denied
from perpdesk.domain.numbers import plain
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderType, TimeInForce
from perpdesk.venues.binance.words import TYPE_WORDS, WORKING_WORDS

Parameters = dict[str, str]

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")
GTD_LEAST_MS: Final = 600_000
CALLBACK_LEAST_PCT: Final = Decimal("0.1")
CALLBACK_MOST_PCT: Final = Decimal(20)
MAY_CLOSE_POSITION: Final = (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)
HUNDRED: Final = Decimal(100)


def check_form(request: OrderRequest, *, now_ms: int) -> None:
    """Refuse what Binance cannot express, before anything is sent. Raises Denied."""
    if not CLIENT_ID.fullmatch(request.client_order_id):
        raise Denied(
            f"client order id {request.client_order_id!r} is not 1 to 36 of A-Z a-z 0-9 _ -",
            next_step="Shorten it, and use these characters alone.",
        )
    if request.close_position and request.type not in MAY_CLOSE_POSITION:
        raise Denied(
            f"a {request.type} order cannot close whatever is open on Binance",
            next_step="Give the position's quantity and reduce-only, or use STOP_MARKET or "
            "TAKE_PROFIT_MARKET.",
        )
    if request.close_position and request.quantity is not None:
        raise Denied(
            "an order that closes the position has no quantity of its own",
            next_step="Leave the quantity out.",
        )
    if request.time_in_force is TimeInForce.GTD and not request.type.is_limit:
        raise Denied(
            f"a {request.type} order cannot be given a time to expire on Binance",
            next_step="Use GTC and cancel it, or a limit type.",
        )
    if request.time_in_force is TimeInForce.GTD:
        least_ms = now_ms + GTD_LEAST_MS
        if request.expire_ms is None or request.expire_ms < least_ms:
            raise Denied(
                f"a GTD order must live for ten minutes at least; it would expire at "
                f"{request.expire_ms}",
                next_step=f"Let it expire at {least_ms} or later.",
            )
    if request.type is OrderType.TRAILING_STOP_MARKET and request.trailing is not None:
        callback = request.trailing.callback_rate * HUNDRED
        if not CALLBACK_LEAST_PCT <= callback <= CALLBACK_MOST_PCT:
            nearest = min(max(callback, CALLBACK_LEAST_PCT), CALLBACK_MOST_PCT)
            raise Denied(
                f"callback {plain(callback)} % is not between 0.1 % and 20 %",
                next_step=f"The nearest that Binance takes is {plain(nearest)} %.",
            )


def order_parameters(request: OrderRequest) -> Parameters:
    """Return the parameters of POST /order."""
    assert not request.type.is_conditional
    return {
        "symbol": request.symbol,
        "side": request.side.value,
        "type": TYPE_WORDS[request.type],
        "newClientOrderId": request.client_order_id,
        "newOrderRespType": "RESULT",
        **_size(request),
        **_resting(request),
    }


def algo_parameters(request: OrderRequest) -> Parameters:
    """Return the parameters of POST /algoOrder."""
    assert request.type.is_conditional
    parameters = {
        "algoType": "CONDITIONAL",
        "symbol": request.symbol,
        "side": request.side.value,
        "type": TYPE_WORDS[request.type],
        "clientAlgoId": request.client_order_id,
        "workingType": WORKING_WORDS[request.working_price],
        **_size(request),
        **_resting(request),
    }
    if request.trigger_price is not None:
        parameters["triggerPrice"] = plain(request.trigger_price)
    if request.trailing is not None:
        parameters["callbackRate"] = plain(request.trailing.callback_rate * HUNDRED)
        if request.trailing.activation_price is not None:
            parameters["activatePrice"] = plain(request.trailing.activation_price)
    return parameters


def _size(request: OrderRequest) -> Parameters:
    if request.close_position:
        return {"closePosition": "true"}
    size = {} if request.quantity is None else {"quantity": plain(request.quantity)}
    return size | {"reduceOnly": "true"} if request.reduce_only else size


def _resting(request: OrderRequest) -> Parameters:
    """Return price and time in force of what rests in the book; market orders have neither."""
    if not request.type.is_limit:
        return {}
    resting = {"timeInForce": request.time_in_force.value}
    if request.price is not None:
        resting["price"] = plain(request.price)
    if request.time_in_force is TimeInForce.GTD and request.expire_ms is not None:
        resting["goodTillDate"] = str(request.expire_ms)
    return resting


def batch_parameters(requests: Sequence[OrderRequest]) -> Parameters:
    """Return the parameters of POST /batchOrders.

    The SDK signs and sends this one value as it is, so it is percent-encoded here.
    """
    orders = [order_parameters(request) for request in requests]
    return {"batchOrders": quote(json.dumps(orders, separators=(",", ":")), safe="")}


def amend_parameters(
    symbol: str,
    client_order_id: ClientOrderId,
    *,
    side: str,
    quantity: Decimal,
    price: Decimal,
) -> Parameters:
    """Return the parameters of PUT /order, which needs both size and price."""
    return {
        "symbol": symbol,
        "origClientOrderId": client_order_id,
        "side": side,
        "quantity": plain(quantity),
        "price": plain(price),
    }
