"""Orders, conditional orders and fills of an account, as REST and the WebSocket API show them."""

from decimal import Decimal
from typing import Final

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.order import Liquidity, OrderType, Side, WorkingPrice
from perpdesk.emulator.binance.words import (
    amount,
    cut,
    places_of,
    price,
    quantity,
    status_name,
    type_name,
    working_type_name,
)
from perpdesk.emulator.records import FillRecord, OrderRecord

ALGO_IDS: Final = 1_000_000_000_000_000
"""Conditional orders count from here, so that nobody takes an id of theirs for an order's."""

HAS_CHILD: Final = "child"
"""Set in `OrderRecord.extra` once the order that a triggered one became has shown itself."""


def algo_id(record: OrderRecord) -> int:
    """Return a conditional order's id."""
    return ALGO_IDS + record.order_id


def has_child(record: OrderRecord) -> bool:
    """Tell whether a conditional order has become a normal order that clients know."""
    return HAS_CHILD in record.extra


def is_normal(record: OrderRecord) -> bool:
    """Tell whether the record shows among normal orders."""
    return not record.is_algo or has_child(record)


def is_waiting_algo(record: OrderRecord) -> bool:
    """Tell whether the record shows among open conditional orders."""
    return record.is_algo and record.is_open and record.is_waiting


def normal_id(record: OrderRecord) -> int:
    """Return the id of a normal order; of a conditional one, that of what it became."""
    return record.order_id if record.working_id is None else record.working_id


def working_type(record: OrderRecord) -> str:
    """Return LIMIT or MARKET; a liquidation is a limit order, as the venue has it."""
    return "LIMIT" if record.is_forced else working_type_name(record.request.type)


def time_in_force(record: OrderRecord) -> str:
    """Return the time in force."""
    return "IOC" if record.is_forced else record.request.time_in_force.value


def working_price_name(record: OrderRecord) -> str:
    """Return which price triggers."""
    on_mark = record.request.working_price is WorkingPrice.MARK
    return "MARK_PRICE" if on_mark else "CONTRACT_PRICE"


def average(record: OrderRecord, rules: Instrument) -> str:
    """Return the average fill price, with a few digits beyond the tick."""
    return cut(record.average_price, max(5, places_of(rules.tick_size)))


def order_row(record: OrderRecord, rules: Instrument, *, with_time: bool) -> dict[str, object]:
    """Return a normal order. with_time: as queries have it, else as POST, PUT and DELETE do."""
    request = record.request
    row: dict[str, object] = {
        "orderId": normal_id(record),
        "symbol": record.symbol,
        "status": status_name(record.status),
        "clientOrderId": record.client_id,
        "price": price(record.price, rules),
        "avgPrice": average(record, rules),
        "origQty": quantity(record.quantity, rules),
        "executedQty": quantity(record.filled, rules),
        "cumQty": quantity(record.filled, rules),
        "cumQuote": cut(record.filled_value, 5),
        "timeInForce": time_in_force(record),
        "type": working_type(record),
        "reduceOnly": request.reduce_only or request.close_position,
        "closePosition": request.close_position,
        "side": request.side.value,
        "positionSide": "BOTH",
        "stopPrice": price(record.trigger_price, rules),
        "workingType": working_price_name(record),
        "priceProtect": record.extra.get("price_protect") == "true",
        "origType": "LIMIT" if record.is_forced else type_name(request.type),
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": request.expire_ms or 0,
        "updateTime": record.updated_ms,
    }
    if with_time:
        del row["cumQty"]
        row["time"] = record.created_ms if record.triggered_ms is None else record.triggered_ms
    return row


def as_accepted(row: dict[str, object], rules: Instrument) -> dict[str, object]:
    """Return an order's row as it was before anything filled: what newOrderRespType=ACK shows."""
    none = quantity(ZERO, rules)
    return row | {
        "status": "NEW",
        "executedQty": none,
        "cumQty": none,
        "cumQuote": cut(ZERO, 5),
        "avgPrice": cut(ZERO, max(2, places_of(rules.tick_size))),
    }


def algo_status(record: OrderRecord) -> str:
    """Return where a conditional order stands."""
    if record.status.is_closed:
        return "FINISHED" if has_child(record) else record.status.value
    return "NEW" if record.is_waiting else "TRIGGERED"


def algo_row(record: OrderRecord, rules: Instrument, *, with_actual: bool) -> dict[str, object]:
    """Return a conditional order. with_actual: as queries have it, with what it became."""
    request = record.request
    none = price(ZERO, rules)
    row: dict[str, object] = {
        "algoId": algo_id(record),
        "clientAlgoId": record.client_id,
        "algoType": "CONDITIONAL",
        "orderType": type_name(request.type),
        "symbol": record.symbol,
        "side": request.side.value,
        "positionSide": "BOTH",
        "timeInForce": request.time_in_force.value,
        "quantity": quantity(record.quantity, rules),
        "algoStatus": algo_status(record),
    }
    if with_actual:
        row |= {
            "actualOrderId": str(normal_id(record)) if has_child(record) else "",
            "actualPrice": average(record, rules),
            "actualQty": quantity(record.filled, rules),
            "actualType": working_type_name(request.type) if has_child(record) else "",
        }
    row |= {
        "triggerPrice": price(record.trigger_price, rules),
        "price": price(record.price, rules),
        "icebergQuantity": None,
    }
    if with_actual:
        row |= {
            "tpTriggerPrice": none,
            "tpPrice": none,
            "slTriggerPrice": none,
            "slPrice": none,
            "tpOrderType": "",
        }
    return row | {
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": working_price_name(record),
        "priceMatch": "NONE",
        "closePosition": request.close_position,
        "priceProtect": record.extra.get("price_protect") == "true",
        "reduceOnly": request.reduce_only,
        "activatePrice": activation(record, rules),
        "callbackRate": callback_pct(record),
        "createTime": record.created_ms,
        "updateTime": record.updated_ms,
        "triggerTime": record.triggered_ms or 0,
        "goodTillDate": request.expire_ms or 0,
    }


def activation(record: OrderRecord, rules: Instrument) -> str:
    """Return the activation price of a trailing stop, "" for any other."""
    trailing = record.request.trailing
    if trailing is None or trailing.activation_price is None:
        return ""
    return price(trailing.activation_price, rules)


def callback_pct(record: OrderRecord) -> str:
    """Return the callback rate of a trailing stop in percent, "" for any other."""
    if record.request.type is not OrderType.TRAILING_STOP_MARKET:
        return ""
    trailing = record.request.trailing
    rate = ZERO if trailing is None else trailing.callback_rate
    return plain(rate * Decimal(100))


def fill_row(fill: FillRecord, rules: Instrument) -> dict[str, object]:
    """Return a trade of the account; the commission is positive when it was paid."""
    return {
        "symbol": fill.order.symbol,
        "id": fill.trade_id,
        "orderId": normal_id(fill.order),
        "side": fill.side.value,
        "price": price(fill.price, rules),
        "qty": quantity(fill.quantity, rules),
        "realizedPnl": amount(fill.realized_pnl),
        "quoteQty": plain(fill.price * fill.quantity),
        "commission": amount(fill.fee),
        "commissionAsset": rules.quote,
        "time": fill.ts_ms,
        "positionSide": "BOTH",
        "buyer": fill.side is Side.BUY,
        "maker": fill.liquidity is Liquidity.MAKER,
    }
