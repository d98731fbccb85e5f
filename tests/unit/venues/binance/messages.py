"""Messages in Binance's form, with the fields that a test cares about."""

from decimal import Decimal
from typing import Any

from tests.unit.venues.binance.scripted_binance import Reply

from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderType, Side

T_MS = 1_790_000_000_000


def limit_order(name: str = "desk-1", **changes: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "client_order_id": ClientOrderId(name),
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.LIMIT,
        "quantity": Decimal("0.010"),
        "price": Decimal("60000"),
    }
    return OrderRequest(**(fields | changes))


def stop_order(name: str = "desk-sl-1", **changes: Any) -> OrderRequest:
    fields: dict[str, Any] = {
        "client_order_id": ClientOrderId(name),
        "symbol": "BTCUSDT",
        "side": Side.SELL,
        "type": OrderType.STOP_MARKET,
        "quantity": Decimal("0.010"),
        "trigger_price": Decimal("58000"),
        "reduce_only": True,
    }
    return OrderRequest(**(fields | changes))


def order(name: str = "desk-1", **changes: Any) -> dict[str, Any]:
    """An order as REST answers it."""
    return {
        "orderId": 22542179,
        "symbol": "BTCUSDT",
        "status": "NEW",
        "clientOrderId": name,
        "price": "60000.0",
        "avgPrice": "0.00",
        "origQty": "0.010",
        "executedQty": "0.000",
        "cumQuote": "0.00000",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "reduceOnly": False,
        "side": "BUY",
        "positionSide": "BOTH",
        "updateTime": T_MS,
    } | changes


def algo(name: str = "desk-sl-1", **changes: Any) -> dict[str, Any]:
    """A conditional order as REST answers it."""
    return {
        "algoId": 2146760,
        "clientAlgoId": name,
        "algoType": "CONDITIONAL",
        "orderType": "STOP_MARKET",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "positionSide": "BOTH",
        "quantity": "0.010",
        "algoStatus": "NEW",
        "triggerPrice": "58000.0",
        "workingType": "MARK_PRICE",
        "closePosition": False,
        "reduceOnly": True,
        "createTime": T_MS,
        "updateTime": T_MS,
    } | changes


def order_event(name: str = "desk-1", **changes: Any) -> dict[str, Any]:
    fields = {
        "s": "BTCUSDT",
        "c": name,
        "S": "BUY",
        "o": "LIMIT",
        "f": "GTC",
        "q": "0.010",
        "p": "60000",
        "ap": "0",
        "sp": "0",
        "x": "NEW",
        "X": "NEW",
        "i": 22542179,
        "l": "0",
        "z": "0",
        "L": "0",
        "N": "USDT",
        "n": "0",
        "T": T_MS,
        "t": 0,
        "m": False,
        "R": False,
        "ot": "LIMIT",
        "ps": "BOTH",
        "cp": False,
        "rp": "0",
    } | changes
    return {"e": "ORDER_TRADE_UPDATE", "E": T_MS + 6, "T": T_MS, "o": fields}


def fill_event(trade_id: int, filled: str, status: str, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "x": "TRADE",
        "X": status,
        "l": "0.004",
        "z": filled,
        "L": "60000",
        "ap": "60000",
        "n": "0.048",
        "t": trade_id,
        "m": True,
    }
    return order_event(**(fields | changes))


def algo_event(name: str = "desk-sl-1", **changes: Any) -> dict[str, Any]:
    fields = {
        "caid": name,
        "aid": 2146760,
        "at": "CONDITIONAL",
        "o": "STOP_MARKET",
        "s": "BTCUSDT",
        "S": "SELL",
        "ps": "BOTH",
        "f": "GTC",
        "q": "0.010",
        "X": "NEW",
        "ai": "",
        "ap": "0",
        "aq": "0",
        "tp": "58000",
        "p": "0",
        "wt": "MARK_PRICE",
        "cp": False,
        "R": True,
        "tt": 0,
        "rm": "",
    } | changes
    return {"e": "ALGO_UPDATE", "E": T_MS + 9, "T": T_MS + 8, "o": fields}


def refusal(code: int, text: str = "", status: int = 400) -> Reply:
    """An answer that refuses."""
    return Reply(body={"code": code, "msg": text}, status=status)
