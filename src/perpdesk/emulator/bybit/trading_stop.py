"""Take profit, stop loss and trailing stop of a position.

In Full mode a position bears one of each; each is an order that closes whatever is open, and shows
among the conditional orders. A trailing stop is asked for as a distance in price; the simulated
exchange follows by a rate, so the distance is put in proportion to the price where following
begins: the activation price, or the last price. Source: reference/exchanges.md 3b.2.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.candles import Venue
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
from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.errors import BybitError, of_refusal, parameter
from perpdesk.emulator.bybit.messages import NO_CLIENT_ID, number
from perpdesk.emulator.bybit.order_entry import TRIGGER_WORDS, decimal_param
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.records import OrderRecord
from perpdesk.emulator.world import World

MOST_PARTIAL: Final = 20
_WORDS: Final = {"takeProfit": "TakeProfit", "stopLoss": "StopLoss", "trailingStop": "TrailingStop"}
_BY: Final = {"takeProfit": "tpTriggerBy", "stopLoss": "slTriggerBy"}
_PURPOSES: Final = {
    "takeProfit": OrderPurpose.TAKE_PROFIT,
    "stopLoss": OrderPurpose.STOP_LOSS,
    "trailingStop": OrderPurpose.STOP_LOSS,
}


def set_trading_stop(
    world: World, trader: Trader, symbol: str, params: Mapping[str, Any], path: str
) -> None:
    """Set, change or cancel what `params` names. Raises BybitError."""
    held = trader.position_of(symbol)
    if not held:
        raise BybitError(errors.PARAMETER, "can not set tp/sl/ts for zero position")
    if world.faults.take(FaultKind.STOP_REFUSED, Venue.BYBIT, path) is not None:
        raise BybitError(errors.TOO_MANY_STOPS)
    mode = params.get("tpslMode") or "Full"
    if mode not in ("Full", "Partial"):
        raise parameter("tpslMode invalid")
    changed = False
    for kind in ("takeProfit", "stopLoss"):
        level = decimal_param(params, kind)
        if level is None:
            continue
        by = _by(params, kind)
        if mode == "Partial" and level:
            _set_partial(world, trader, symbol, kind, level, by, params)
            changed = True
        else:
            changed |= set_full(world, trader, symbol, kind, level, by)
    distance = decimal_param(params, "trailingStop")
    if distance is not None:
        changed |= _set_trailing(
            world, trader, symbol, distance, decimal_param(params, "activePrice")
        )
    if not changed:
        raise BybitError(errors.STOP_NOT_MODIFIED)


def attach(world: World, trader: Trader) -> None:
    """Give positions the stops that came with the orders which have filled by now."""
    records, trader.to_attach = trader.to_attach, []
    for record in records:
        for kind, by in _BY.items():
            level = record.extra.get(kind)
            if not level or not trader.position_of(record.symbol) * record.request.side.sign > ZERO:
                continue
            try:
                set_full(
                    world, trader, record.symbol, kind, Decimal(level), record.extra.get(by, "")
                )
            except BybitError:
                # The market has passed the level since: what it was to do is done at once.
                _close_now(world, trader, record.symbol, kind)


def set_full(world: World, trader: Trader, symbol: str, kind: str, level: Decimal, by: str) -> bool:
    """Let the whole position bear a stop at `level`, none at zero; tell whether that is new."""
    before = trader.stop_of(symbol, kind)
    by = by or "LastPrice"
    if not level:
        return _take_off(world, trader, before)
    if before is not None and before.extra["level"] == number(level):
        if before.extra["triggerBy"] == by:
            return False
    elif before is not None and before.extra["triggerBy"] == by:
        with _refusals(kind, level):
            trader.account.amend(before, now_ms=world.now_ms, trigger_price=level)
        before.extra["level"] = number(level)
        return True
    request = _request(trader, symbol, kind)
    stop = kind == "stopLoss"
    request = replace(
        request,
        type=OrderType.STOP_MARKET if stop else OrderType.TAKE_PROFIT_MARKET,
        trigger_price=level,
        working_price=WorkingPrice.LAST if by == "LastPrice" else WorkingPrice.MARK,
    )
    extra = {"stop": _WORDS[kind], "level": number(level), "triggerBy": by, "tpslMode": "Full"}
    with _refusals(kind, level):
        trader.stops[symbol, kind] = _place(world, trader, request, extra)
    _take_off(world, trader, before)
    return True


def _set_trailing(
    world: World, trader: Trader, symbol: str, distance: Decimal, active: Decimal | None
) -> bool:
    before = trader.stop_of(symbol, "trailingStop")
    if not distance:
        return _take_off(world, trader, before)
    wake = active or None
    shown = "" if wake is None else number(wake)
    if (
        before is not None
        and before.extra["level"] == number(distance)
        and before.extra["active"] == shown
    ):
        return False
    reference = wake or trader.account.markets[symbol].last_price
    request = replace(
        _request(trader, symbol, "trailingStop"),
        type=OrderType.TRAILING_STOP_MARKET,
        trailing=Trailing(callback_rate=distance / reference, activation_price=wake),
    )
    extra = {
        "stop": "TrailingStop",
        "level": number(distance),
        "active": shown,
        "triggerBy": "LastPrice",
        "tpslMode": "Full",
    }
    with _refusals("trailingStop", distance):
        trader.stops[symbol, "trailingStop"] = _place(world, trader, request, extra)
    _take_off(world, trader, before)
    return True


def _set_partial(
    world: World,
    trader: Trader,
    symbol: str,
    kind: str,
    level: Decimal,
    by: str,
    params: Mapping[str, Any],
) -> None:
    word = f"Partial{_WORDS[kind]}"
    partial = [
        record
        for record in trader.account.open_orders(symbol)
        if record.extra.get("stop", "").startswith("Partial")
    ]
    if len(partial) >= MOST_PARTIAL:
        raise BybitError(errors.TOO_MANY_PARTIAL_STOPS)
    size, limit, limit_type = (
        ("tpSize", "tpLimitPrice", OrderType.TAKE_PROFIT_LIMIT)
        if kind == "takeProfit"
        else ("slSize", "slLimitPrice", OrderType.STOP_LIMIT)
    )
    market_type = OrderType.TAKE_PROFIT_MARKET if kind == "takeProfit" else OrderType.STOP_MARKET
    price = decimal_param(params, limit) or None
    request = replace(
        _request(trader, symbol, kind),
        type=market_type if price is None else limit_type,
        quantity=decimal_param(params, size) or abs(trader.position_of(symbol)),
        price=price,
        close_position=False,
        reduce_only=True,
        time_in_force=TimeInForce.IOC if price is None else TimeInForce.GTC,
        trigger_price=level,
        working_price=WorkingPrice.LAST if by == "LastPrice" else WorkingPrice.MARK,
    )
    extra = {"stop": word, "level": number(level), "triggerBy": by, "tpslMode": "Partial"}
    with _refusals(kind, level):
        _place(world, trader, request, extra)


# Orders.


def _request(trader: Trader, symbol: str, kind: str) -> OrderRequest:
    trader.next_link += 1
    side = Side.SELL if trader.position_of(symbol) > ZERO else Side.BUY
    return OrderRequest(
        client_order_id=ClientOrderId(f"{NO_CLIENT_ID}{trader.next_link}"),
        symbol=symbol,
        side=side,
        type=OrderType.MARKET,
        time_in_force=TimeInForce.IOC,
        close_position=True,
        purpose=_PURPOSES[kind],
    )


def _place(
    world: World, trader: Trader, request: OrderRequest, extra: dict[str, str]
) -> OrderRecord:
    shown = {"last": number(trader.account.markets[request.symbol].last_price)} | extra
    return trader.account.place(request, now_ms=world.now_ms, extra=shown)


def _take_off(world: World, trader: Trader, record: OrderRecord | None) -> bool:
    if record is None or not record.is_open:
        return False
    trader.account.cancel(record, now_ms=world.now_ms)
    return True


def _close_now(world: World, trader: Trader, symbol: str, kind: str) -> None:
    _place(world, trader, _request(trader, symbol, kind), {"stop": _WORDS[kind]})


@contextmanager
def _refusals(kind: str, level: Decimal) -> Iterator[None]:
    """Tell a refusal of the simulated exchange in the venue's terms."""
    try:
        yield
    except Refused as refused:
        if refused.code == str(errors.NOT_RISING):
            raise parameter(f"{kind}:{number(level)} is on the wrong side of the price") from None
        raise of_refusal(refused) from refused


def _by(params: Mapping[str, Any], kind: str) -> str:
    by = params.get(_BY[kind]) or "LastPrice"
    if by not in TRIGGER_WORDS:
        raise parameter(f"{_BY[kind]} invalid")
    return str(by)
