"""What a client asks for, read and checked as the venue does before its matching engine sees it."""

import re
from decimal import Decimal
from typing import Final

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
    Trailing,
    WorkingPrice,
)
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.binance.calls import Call, Params
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.words import (
    CONDITIONAL,
    ORDER_TYPES,
    TIMES_IN_FORCE,
    highest_price,
    places_of,
    price_precision,
)
from perpdesk.emulator.market import Market

CLIENT_ID: Final = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
SHORTEST_GTD_MS: Final = 600_000
_LAST_GTD_MS: Final = 253_402_300_799_000
_CALLBACK_PCT: Final = (Decimal("0.1"), Decimal(20))


def normal_order(call: Call, client_id: str) -> OrderRequest:
    """Read an order of /fapi/v1/order. Raises ApiError."""
    params, market = call.params, call.market()
    side, kind = _side(params), params.text("type")
    if kind in CONDITIONAL:
        raise ApiError(-4120)
    if kind not in ORDER_TYPES:
        raise ApiError(-1116)
    _check_position_side(call)
    if params.flag("closePosition"):
        raise ApiError(-4120)
    rules = market.instrument
    quantity = _quantity(params, rules)
    if quantity is None:
        raise ApiError(-1102, "quantity")
    reduce_only = params.flag("reduceOnly")
    terms = _time_in_force(call, needed=kind == "LIMIT")
    price = _price(params, "price", rules)
    if params.optional("priceMatch") not in (None, "NONE"):
        price = _matched_price(call, market, side, kind, price)
    if kind == "MARKET":
        for name in ("price", "timeInForce", "goodTillDate"):
            if params.optional(name) is not None:
                raise ApiError(-1106, name)
        terms = (TimeInForce.GTC, None)
    elif price is None:
        raise ApiError(-1102, "price")
    return OrderRequest(
        client_order_id=ClientOrderId(client_id),
        symbol=market.symbol,
        side=side,
        type=OrderType(kind),
        quantity=quantity,
        price=price,
        time_in_force=terms[0],
        expire_ms=terms[1],
        reduce_only=reduce_only,
        purpose=OrderPurpose.EXIT if reduce_only else OrderPurpose.ENTRY,
    )


def conditional_order(call: Call, client_id: str) -> OrderRequest:
    """Read an order of /fapi/v1/algoOrder. Raises ApiError."""
    params, market = call.params, call.market()
    if params.text("algoType") != "CONDITIONAL":
        raise ApiError(-1130, "algoType")
    side, name = _side(params), params.text("type")
    if name not in CONDITIONAL:
        raise ApiError(-1116)
    _check_position_side(call)
    kind, rules = CONDITIONAL[name], market.instrument
    close_position, reduce_only = params.flag("closePosition"), params.flag("reduceOnly")
    quantity = _quantity(params, rules)
    if close_position:
        if quantity is not None:
            raise ApiError(-4137)
        if params.optional("reduceOnly") is not None:
            raise ApiError(-4138)
        if kind not in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET):
            raise ApiError(-1106, "closePosition")
    elif quantity is None:
        raise ApiError(-1102, "quantity")
    price = _price(params, "price", rules)
    if kind.is_limit and price is None:
        raise ApiError(-1102, "price")
    if not kind.is_limit and price is not None:
        raise ApiError(-1106, "price")
    trigger, trailing = _trigger(params, kind, rules)
    terms = _time_in_force(call, needed=False)
    exits = reduce_only or close_position
    return OrderRequest(
        client_order_id=ClientOrderId(client_id),
        symbol=market.symbol,
        side=side,
        type=kind,
        quantity=quantity,
        price=price,
        trigger_price=trigger,
        working_price=_working_price(params),
        time_in_force=terms[0],
        expire_ms=terms[1],
        reduce_only=reduce_only,
        close_position=close_position,
        trailing=trailing,
        purpose=OrderPurpose.EXIT if exits else OrderPurpose.ENTRY,
    )


def client_id_of(params: Params, name: str, made_up: str) -> str:
    """Return the client's own id, or one made up where it gave none."""
    given = params.optional(name)
    if given is not None and not CLIENT_ID.match(given):
        raise ApiError(-4015)
    return made_up if given is None else given


def amended(params: Params, rules: Instrument) -> tuple[Decimal, Decimal]:
    """Return the new quantity and price of PUT /order; both must be sent."""
    quantity, price = _quantity(params, rules), _price(params, "price", rules)
    if quantity is None:
        raise ApiError(-1102, "quantity")
    if price is None:
        raise ApiError(-1102, "price")
    return quantity, price


def _trigger(
    params: Params, kind: OrderType, rules: Instrument
) -> tuple[Decimal | None, Trailing | None]:
    trigger = _price(params, "triggerPrice", rules)
    if kind is not OrderType.TRAILING_STOP_MARKET:
        if trigger is None:
            raise ApiError(-1102, "triggerPrice")
        return trigger, None
    percent = params.decimal("callbackRate")
    if percent is None:
        raise ApiError(-1102, "callbackRate")
    least, most = _CALLBACK_PCT
    if not least <= percent <= most:
        raise ApiError(-2007)
    wake = _price(params, "activatePrice", rules)
    if wake is None:
        wake = _price(params, "activationPrice", rules)
    return None, Trailing(callback_rate=percent / 100, activation_price=wake)


def _side(params: Params) -> Side:
    try:
        return Side(params.text("side"))
    except ValueError:
        raise ApiError(-1117) from None


def _working_price(params: Params) -> WorkingPrice:
    name = params.optional("workingType") or "CONTRACT_PRICE"
    if name not in ("CONTRACT_PRICE", "MARK_PRICE"):
        raise ApiError(-1130, "workingType")
    return WorkingPrice.MARK if name == "MARK_PRICE" else WorkingPrice.LAST


def _check_position_side(call: Call) -> None:
    side = call.params.optional("positionSide") or "BOTH"
    if side not in ("BOTH", "LONG", "SHORT"):
        raise ApiError(-1130, "positionSide")
    if call.account.position_mode is PositionMode.HEDGE:
        text = "Order's position side does not match user's setting: this exchange nets positions, "
        raise ApiError(-4061, text=text + "switch dualSidePosition to false.")
    if side != "BOTH":
        raise ApiError(-4061)


def _quantity(params: Params, rules: Instrument) -> Decimal | None:
    quantity = params.decimal("quantity")
    if quantity is None:
        return None
    if quantity <= ZERO:
        raise ApiError(-4003)
    if places_of(quantity.normalize()) > places_of(rules.step_size):
        raise ApiError(-1111)
    return quantity


def _price(params: Params, name: str, rules: Instrument) -> Decimal | None:
    """Return a price; zero means none, as the venue reads it."""
    price = params.decimal(name)
    if price is None or not price:
        return None
    if price < ZERO:
        raise ApiError(-1130, name)
    if places_of(price.normalize()) > price_precision(rules):
        raise ApiError(-1111)
    if price > highest_price(rules):
        raise ApiError(-4002)
    return price


def _time_in_force(call: Call, *, needed: bool) -> tuple[TimeInForce, int | None]:
    params = call.params
    name = params.optional("timeInForce")
    if name is None:
        if needed:
            raise ApiError(-1102, "timeInForce")
        return TimeInForce.GTC, None
    if name not in TIMES_IN_FORCE:
        raise ApiError(-1115)
    expire_ms = params.integer("goodTillDate") or None
    if name != "GTD":
        return TimeInForce(name), None
    if expire_ms is None:
        raise ApiError(-1102, "goodTillDate")
    if not call.now_ms + SHORTEST_GTD_MS <= expire_ms < _LAST_GTD_MS:
        raise ApiError(-5040)
    # Seconds only, as the venue keeps it.
    return TimeInForce.GTD, expire_ms // 1000 * 1000


def _matched_price(
    call: Call, market: Market, side: Side, kind: str, price: Decimal | None
) -> Decimal:
    """Return the price that priceMatch stands for."""
    if kind != "LIMIT" or price is not None:
        raise ApiError(-5037)
    name, _, depth = call.params.text("priceMatch").partition("_")
    levels = {"": 1, "5": 5, "10": 10, "20": 20}.get(depth)
    if name not in ("OPPONENT", "QUEUE") or levels is None:
        raise ApiError(-5037)
    bids, asks = market.book.top(levels)
    takes_asks = (side is Side.BUY) == (name == "OPPONENT")
    return (asks if takes_asks else bids)[-1][0]
