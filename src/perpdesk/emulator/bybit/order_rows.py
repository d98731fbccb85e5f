"""Orders and executions in the venue's words."""

from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderStatus, OrderType, Side, TimeInForce
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.bybit.messages import (
    amount,
    execution_id_of,
    link_id_of,
    number,
    order_id_of,
    side_word,
)
from perpdesk.emulator.records import FillRecord, OrderRecord

TIME_IN_FORCE: Final = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.GTX,
}
_TIME_WORDS: Final = {value: word for word, value in TIME_IN_FORCE.items()}
TPSL_WORDS: Final = frozenset(
    {"TakeProfit", "StopLoss", "TrailingStop", "PartialTakeProfit", "PartialStopLoss"}
)


def status_word(record: OrderRecord) -> str:
    """Return the orderStatus. A canceled order may have executed quantity."""
    match record.status:
        case OrderStatus.TRIGGERED:
            return "New" if record.request.type.is_limit else "Triggered"
        case OrderStatus.PARTIALLY_FILLED:
            return "PartiallyFilled"
        case OrderStatus.FILLED:
            return "Filled"
        case OrderStatus.REJECTED:
            return "Rejected"
        case OrderStatus.CANCELED | OrderStatus.EXPIRED:
            return "Deactivated" if record.is_waiting else "Cancelled"
    return "Untriggered" if record.is_waiting else "New"


def reject_word(record: OrderRecord) -> str:
    """Return the rejectReason."""
    match record.status:
        case OrderStatus.REJECTED:
            return "EC_NoEnoughQtyToFill" if record.reject_code == "110007" else "EC_Others"
        case OrderStatus.EXPIRED:
            words = {
                TimeInForce.GTX: "EC_PostOnlyWillTakeLiquidity",
                TimeInForce.FOK: "EC_CancelForNoFullFill",
            }
            return words.get(record.request.time_in_force, "EC_NoImmediateQtyToFill")
        case OrderStatus.CANCELED:
            return "EC_PerCancelRequest"
    return "EC_NoError"


def cancel_word(record: OrderRecord) -> str:
    """Return the cancelType."""
    if record.status is not OrderStatus.CANCELED:
        return "UNKNOWN"
    if record.reason.startswith("canceled on request"):
        return "CancelByUser"
    if record.reason == "liquidation":
        return "CancelAllBeforeLiq"
    if record.extra.get("stop") in TPSL_WORDS:
        return "CancelByTpSlTsClear"
    return "CancelByReduceOnly"


def create_word(record: OrderRecord) -> str:
    """Return the createType: who made the order."""
    if record.is_forced:
        return "CreateByLiq"
    stop = record.extra.get("stop", "")
    if stop in TPSL_WORDS:
        return f"CreateBy{stop}"
    return "CreateByStopOrder" if stop else "CreateByUser"


def stop_word(record: OrderRecord) -> str:
    """Return the stopOrderType."""
    return record.extra.get("stop", "")


def order_row(record: OrderRecord, position: Decimal) -> dict[str, Any]:
    """Return an order as realtime, history and the stream show it. position: base, signed."""
    request, extra = record.request, record.extra
    quantity = record.quantity
    if request.close_position and not quantity:
        quantity = abs(position)
    leaves = quantity - record.filled if record.is_open else ZERO
    price = record.price if record.price is not None else Decimal(extra.get("cap", "0"))
    trigger = record.trigger_price
    return {
        "orderId": order_id_of(record.order_id),
        "orderLinkId": link_id_of(record),
        "blockTradeId": "",
        "symbol": record.symbol,
        "price": number(price),
        "qty": number(quantity),
        "side": side_word(request.side),
        "isLeverage": "",
        "positionIdx": 0,
        "orderStatus": status_word(record),
        "createType": create_word(record),
        "cancelType": cancel_word(record),
        "rejectReason": reject_word(record),
        "avgPrice": amount(record.average_price) if record.filled else "",
        "leavesQty": number(leaves),
        "leavesValue": amount(leaves * price),
        "cumExecQty": number(record.filled),
        "cumExecValue": amount(record.filled_value),
        "cumExecFee": amount(record.fees),
        "timeInForce": _TIME_WORDS.get(request.time_in_force, "GTC"),
        "orderType": "Limit" if request.type.is_limit else "Market",
        "stopOrderType": stop_word(record),
        "orderIv": "",
        "triggerPrice": "" if trigger is None else number(trigger),
        "takeProfit": extra.get("takeProfit", ""),
        "stopLoss": extra.get("stopLoss", ""),
        "tpTriggerBy": extra.get("tpTriggerBy", ""),
        "slTriggerBy": extra.get("slTriggerBy", ""),
        "triggerDirection": _direction(record),
        "triggerBy": extra.get("triggerBy", ""),
        "lastPriceOnCreated": extra.get("last", ""),
        "basePrice": extra.get("last", ""),
        "reduceOnly": request.reduce_only or request.close_position,
        "closeOnTrigger": request.close_position or extra.get("closeOnTrigger") == "true",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "tpslMode": extra.get("tpslMode", ""),
        "tpLimitPrice": "",
        "slLimitPrice": "",
        "placeType": "",
        "marketUnit": "",
        "slippageToleranceType": "UNKNOWN",
        "slippageTolerance": "",
        "ocoTriggerBy": "",
        "extraFees": "",
        "createdTime": str(record.created_ms),
        "updatedTime": str(record.updated_ms),
        "cumFeeDetail": {"USDT": amount(record.fees)} if record.filled else {},
        "rpiTakerAccess": False,
        "rpiMatchedQty": "0",
    }


def stream_order_row(row: dict[str, Any], realized: Decimal) -> dict[str, Any]:
    """Return an order's row as the stream shows it. realized: quote, of what it closed."""
    return row | {"category": "linear", "feeCurrency": "USDT", "closedPnl": amount(realized)}


def _direction(record: OrderRecord) -> int:
    request = record.request
    if not request.type.is_conditional:
        return 0
    stop = request.type in (
        OrderType.STOP_MARKET,
        OrderType.STOP_LIMIT,
        OrderType.TRAILING_STOP_MARKET,
    )
    return 1 if stop == (request.side is Side.BUY) else 2


def execution_row(account: Account, fill: FillRecord) -> dict[str, Any]:
    """Return a fill as it stands right after it happened."""
    record, market = fill.order, account.markets[fill.order.symbol]
    against = -fill.side.sign * fill.position_before
    closed = min(against, fill.quantity) if against > ZERO else ZERO
    price = record.price if record.price is not None else Decimal(record.extra.get("cap", "0"))
    value = fill.quantity * fill.price
    return {
        "category": "linear",
        "symbol": record.symbol,
        "orderType": "Limit" if record.request.type.is_limit else "Market",
        "underlyingPrice": "",
        "orderLinkId": link_id_of(record),
        "side": side_word(fill.side),
        "indexPrice": "",
        "orderId": order_id_of(record.order_id),
        "stopOrderType": stop_word(record) or "UNKNOWN",
        "leavesQty": number(record.leaves),
        "execTime": str(fill.ts_ms),
        "feeCurrency": "USDT",
        "isMaker": fill.liquidity.value == "MAKER",
        "execFee": amount(fill.fee),
        "feeRate": amount(fill.fee / value) if value else "0",
        "execId": execution_id_of(fill.trade_id),
        "tradeIv": "",
        "blockTradeId": "",
        "markPrice": number(market.mark_price),
        "execPrice": number(fill.price),
        "markIv": "",
        "orderQty": number(record.quantity),
        "orderPrice": number(price),
        "execValue": amount(value),
        "execType": "BustTrade" if record.is_forced else "Trade",
        "execQty": number(fill.quantity),
        "closedSize": number(closed) if closed else "",
        "extraFees": "",
        "seq": fill.trade_id,
        "isLeverage": "0",
        "marketUnit": "",
        "execPnl": amount(fill.realized_pnl),
        "createType": create_word(record),
    }


FAST_KEYS: Final = (
    "category",
    "symbol",
    "execId",
    "execPrice",
    "execQty",
    "orderId",
    "isMaker",
    "orderLinkId",
    "side",
    "execTime",
    "seq",
)


def funding_row(
    *,
    symbol: str,
    ts_ms: int,
    signed_quantity: Decimal,
    mark_price: Decimal,
    rate: Decimal,
    change: Decimal,
    income_id: int,
) -> dict[str, Any]:
    """Return a settlement among the executions.

    change: of cash. execFee is positive when paid: the opposite sign of the transaction log.
    """
    quantity = abs(signed_quantity)
    return {
        "category": "linear",
        "symbol": symbol,
        "orderType": "UNKNOWN",
        "underlyingPrice": "",
        "orderLinkId": "",
        "side": "Buy" if signed_quantity > ZERO else "Sell",
        "indexPrice": "",
        "orderId": f"{ts_ms}-8-{income_id}",
        "stopOrderType": "UNKNOWN",
        "leavesQty": "0",
        "execTime": str(ts_ms),
        "feeCurrency": "USDT",
        "isMaker": False,
        "execFee": amount(-change),
        "feeRate": number(rate),
        "execId": execution_id_of(income_id),
        "tradeIv": "",
        "blockTradeId": "",
        "markPrice": number(mark_price),
        "execPrice": number(mark_price),
        "markIv": "",
        "orderQty": number(quantity),
        "orderPrice": "0",
        "execValue": amount(quantity * mark_price),
        "execType": "Funding",
        "execQty": number(quantity),
        "closedSize": "",
        "extraFees": "",
        "seq": income_id,
        "isLeverage": "0",
        "marketUnit": "",
        "execPnl": "0",
        "createType": "",
    }
