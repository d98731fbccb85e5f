"""From a client's words to an order: what create, amend and cancel ask for, judged and carried out.

Source: reference/exchanges.md 3b.3 and 3b.4.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from perpdesk.domain.candles import Venue
from perpdesk.domain.numbers import ONE, ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    OrderPurpose,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    WorkingPrice,
)
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.errors import BybitError, of_refusal, parameter
from perpdesk.emulator.bybit.messages import NO_CLIENT_ID, number, order_number, whole
from perpdesk.emulator.bybit.order_rows import TIME_IN_FORCE
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.market import Market
from perpdesk.emulator.records import OrderRecord
from perpdesk.emulator.world import World

MOST_ACTIVE: Final = 500
MOST_CONDITIONAL: Final = 10
CAP_RATE: Final = Decimal("0.05")
"""How far beyond the best price a market order may go: the price it shows."""
TRIGGER_WORDS: Final = ("LastPrice", "IndexPrice", "MarkPrice")
_LINK_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")
_TYPES: Final = {
    # (stop rather than take-profit, limit rather than market)
    (True, False): OrderType.STOP_MARKET,
    (True, True): OrderType.STOP_LIMIT,
    (False, False): OrderType.TAKE_PROFIT_MARKET,
    (False, True): OrderType.TAKE_PROFIT_LIMIT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When a conditional order wakes. rises: by a price that rises to it."""

    price: Decimal
    rises: bool
    by: str

    @property
    def working_price(self) -> WorkingPrice:
        """Return what it watches: there is no index of its own here, mark stands in."""
        return WorkingPrice.LAST if self.by == "LastPrice" else WorkingPrice.MARK

    def check(self, market: Market) -> None:
        """Raise BybitError where the price has passed it already."""
        last = self.by == "LastPrice"
        now = market.last_price if last else market.mark_price
        level, seen = number(self.price), number(now)
        if self.rises and self.price <= now:
            words = f"expect Rising, but trigger_price[{level}] <= current[{seen}]??{self.by}"
            raise BybitError(errors.NOT_RISING, words)
        if not self.rises and self.price >= now:
            words = f"expect Falling, but trigger_price[{level}] >= current[{seen}]??{self.by}"
            raise BybitError(errors.NOT_FALLING, words)


# Reading parameters.


def check_category(params: Mapping[str, Any]) -> None:
    """Raise BybitError unless the category is linear, all that is served here."""
    category = params.get("category", "")
    if category != "linear":
        raise parameter(f"category {category or 'is missing'}; the emulator serves linear only")


def decimal_param(params: Mapping[str, Any], name: str) -> Decimal | None:
    """Return a number, None where it is not given; the venue wants strings."""
    value = params.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise parameter(f"{name} must be a string")
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise parameter(f"{name} invalid") from None
    if not found.is_finite():
        raise parameter(f"{name} invalid")
    return found


def flag(params: Mapping[str, Any], name: str) -> bool:
    """Return a boolean parameter."""
    value = params.get(name, False)
    return value is True or str(value).lower() == "true"


def market_of(world: World, params: Mapping[str, Any]) -> Market:
    """Return the market of `symbol`. Raises BybitError."""
    symbol = params.get("symbol", "")
    market = world.venues[Venue.BYBIT].markets.get(str(symbol))
    if market is None:
        raise parameter(f"symbol invalid {symbol}")
    return market


def check_position_index(params: Mapping[str, Any], trader: Trader) -> None:
    """Raise BybitError unless positionIdx fits the position mode."""
    index = whole(params, "positionIdx", 0)
    if trader.account.position_mode is PositionMode.ONE_WAY and index == 0:
        return
    if trader.account.position_mode is PositionMode.HEDGE and index in (1, 2):
        raise parameter("the emulator shows hedge mode, but trades one-way only")
    raise BybitError(errors.PARAMETER, "position idx not match position mode")


# Create.


def create(world: World, trader: Trader, params: Mapping[str, Any], path: str) -> OrderRecord:
    """Place an order. Raises BybitError."""
    check_category(params)
    market = market_of(world, params)
    check_position_index(params, trader)
    request, extra = order_of(world, trader, market, params)
    if request.type.is_conditional:
        _check_room_for_stops(world, trader, market.symbol, path)
    elif trader.active_count() >= MOST_ACTIVE:
        raise BybitError(errors.TOO_MANY_ORDERS)
    try:
        record = trader.account.place(request, now_ms=world.now_ms, extra=extra)
    except Refused as refused:
        raise of_refusal(refused) from refused
    if record.status is OrderStatus.REJECTED:
        trader.forget(record)
        raise BybitError(int(record.reject_code), record.reason)
    return record


def _check_room_for_stops(world: World, trader: Trader, symbol: str, path: str) -> None:
    if world.faults.take(FaultKind.STOP_REFUSED, Venue.BYBIT, path) is not None:
        raise BybitError(errors.TOO_MANY_STOPS)
    if trader.conditional_count(symbol) >= MOST_CONDITIONAL:
        raise BybitError(errors.TOO_MANY_STOPS)


def order_of(
    world: World, trader: Trader, market: Market, params: Mapping[str, Any]
) -> tuple[OrderRequest, dict[str, str]]:
    """Return what is asked for, and what the rows show beside it. Raises BybitError."""
    side = _side(params)
    is_limit = _is_limit(params)
    price = decimal_param(params, "price") if is_limit else None
    if is_limit and price is None:
        raise parameter("price is required for a Limit order")
    quantity = decimal_param(params, "qty")
    if quantity is None:
        raise parameter("qty is missing")
    reduce_only, on_trigger = flag(params, "reduceOnly"), flag(params, "closeOnTrigger")
    close_all = not quantity and reduce_only and on_trigger
    trigger = trigger_of(params)
    kind = OrderType.LIMIT if is_limit else OrderType.MARKET
    if trigger is not None:
        trigger.check(market)
        kind = _TYPES[trigger.rises == (side is Side.BUY), is_limit]
    extra = _extra(market, params, side, trigger)
    if reduce_only and (extra.get("takeProfit") or extra.get("stopLoss")):
        raise parameter("When reduceOnly is true, take profit/stop loss cannot be set")
    request = OrderRequest(
        client_order_id=ClientOrderId(_link_id(trader, params)),
        symbol=market.symbol,
        side=side,
        type=kind,
        quantity=None if close_all else quantity,
        price=price,
        trigger_price=None if trigger is None else trigger.price,
        working_price=WorkingPrice.LAST if trigger is None else trigger.working_price,
        time_in_force=_time_in_force(params) if is_limit else TimeInForce.IOC,
        reduce_only=(reduce_only or on_trigger) and not close_all,
        close_position=close_all,
        purpose=OrderPurpose.EXIT if reduce_only or on_trigger else OrderPurpose.ENTRY,
    )
    return request, extra


def _side(params: Mapping[str, Any]) -> Side:
    word = params.get("side")
    if word not in ("Buy", "Sell"):
        raise parameter("side invalid")
    return Side.BUY if word == "Buy" else Side.SELL


def _is_limit(params: Mapping[str, Any]) -> bool:
    word = params.get("orderType")
    if word not in ("Limit", "Market"):
        raise parameter("orderType invalid")
    return bool(word == "Limit")


def _time_in_force(params: Mapping[str, Any]) -> TimeInForce:
    word = params.get("timeInForce") or "GTC"
    if word not in TIME_IN_FORCE:
        raise parameter("timeInForce invalid")
    return TIME_IN_FORCE[word]


def _link_id(trader: Trader, params: Mapping[str, Any]) -> str:
    given = params.get("orderLinkId") or ""
    if not given:
        trader.next_link += 1
        return f"{NO_CLIENT_ID}{trader.next_link}"
    if not isinstance(given, str) or _LINK_ID.fullmatch(given) is None:
        raise parameter("orderLinkId: up to 36 of letters, digits, - and _")
    return given


def trigger_of(params: Mapping[str, Any]) -> Trigger | None:
    """Return the trigger that a request names. Raises BybitError."""
    price = decimal_param(params, "triggerPrice")
    if not price:
        return None
    direction = whole(params, "triggerDirection")
    if direction not in (1, 2):
        raise parameter("TriggerDirection invalid")
    by = params.get("triggerBy") or "LastPrice"
    if by not in TRIGGER_WORDS:
        raise parameter("triggerBy invalid")
    return Trigger(price=price, rises=direction == 1, by=by)


def _extra(
    market: Market, params: Mapping[str, Any], side: Side, trigger: Trigger | None
) -> dict[str, str]:
    extra = {"last": number(market.last_price)}
    if params.get("orderType") == "Market":
        best = market.book.best_ask if side is Side.BUY else market.book.best_bid
        extra["cap"] = number(market.book.band(best[0] * (ONE + CAP_RATE * side.sign), side))
    if flag(params, "closeOnTrigger"):
        extra["closeOnTrigger"] = "true"
    if trigger is not None:
        extra |= {"stop": "Stop", "triggerBy": trigger.by}
    extra |= attached(market, params, side)
    return extra


def attached(market: Market, params: Mapping[str, Any], side: Side) -> dict[str, str]:
    """Return takeProfit and stopLoss of a request. Raises BybitError on the wrong side."""
    base = decimal_param(params, "price") or decimal_param(params, "triggerPrice")
    base = base or market.last_price
    found: dict[str, str] = {}
    for name, by, better in (
        ("takeProfit", "tpTriggerBy", side.sign),
        ("stopLoss", "slTriggerBy", -side.sign),
    ):
        level = decimal_param(params, name)
        if not level:
            continue
        if (level - base) * better <= ZERO:
            should = "higher" if better > 0 else "lower"
            raise parameter(f"{name}:{number(level)} should be {should} than {number(base)}")
        word = params.get(by) or "LastPrice"
        if word not in TRIGGER_WORDS:
            raise parameter(f"{by} invalid")
        found |= {name: number(level), by: word, "tpslMode": "Full"}
    return found


# Amend and cancel.


def find(trader: Trader, params: Mapping[str, Any]) -> OrderRecord | None:
    """Return the order that a request names; orderId comes before orderLinkId."""
    order_id, link_id = params.get("orderId"), params.get("orderLinkId")
    if order_id:
        numbered = order_number(str(order_id))
        return None if numbered is None else trader.account.find(order_id=numbered)
    if link_id:
        return trader.account.find(client_id=str(link_id))
    raise parameter("orderId or orderLinkId is required")


def _open(world: World, trader: Trader, params: Mapping[str, Any]) -> OrderRecord:
    check_category(params)
    market = market_of(world, params)
    record = find(trader, params)
    if record is None or record.symbol != market.symbol:
        raise BybitError(errors.NO_ORDER)
    if record.status is OrderStatus.FILLED:
        raise BybitError(errors.COMPLETED)
    if not record.is_open:
        raise BybitError(errors.CANCELED)
    return record


def cancel(world: World, trader: Trader, params: Mapping[str, Any]) -> OrderRecord:
    """Cancel an order. Raises BybitError."""
    record = _open(world, trader, params)
    try:
        trader.account.cancel(record, now_ms=world.now_ms)
    except Refused as refused:
        raise of_refusal(refused) from refused
    return record


def amend(world: World, trader: Trader, params: Mapping[str, Any]) -> OrderRecord:
    """Change an order. Raises BybitError."""
    record = _open(world, trader, params)
    market = trader.account.markets[record.symbol]
    quantity, price = decimal_param(params, "qty"), decimal_param(params, "price")
    level = decimal_param(params, "triggerPrice")
    stops = attached(
        market, {"price": number(record.price or ZERO)} | dict(params), record.request.side
    )
    cleared = [name for name in ("takeProfit", "stopLoss") if str(params.get(name)) == "0"]
    if quantity is None and price is None and level is None and not stops and not cleared:
        raise parameter("no value to amend")
    if level is not None and record.is_waiting:
        _rewoken(record, level).check(market)
    if quantity is not None or price is not None or level is not None:
        try:
            trader.account.amend(
                record,
                now_ms=world.now_ms,
                quantity=quantity,
                price=price,
                trigger_price=level,
            )
        except Refused as refused:
            raise of_refusal(refused) from refused
    record.extra |= stops
    for name in cleared:
        record.extra.pop(name, None)
    if level is not None and "level" in record.extra:
        record.extra["level"] = number(level)
    return record


def _rewoken(record: OrderRecord, level: Decimal) -> Trigger:
    request = record.request
    stop = request.type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
    by = record.extra.get("triggerBy", "LastPrice")
    return Trigger(price=level, rises=stop == (request.side is Side.BUY), by=by)
