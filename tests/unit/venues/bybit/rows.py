"""Rows of v5 messages, as REST and the private topics send them."""

from typing import Any


def order_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"category": "linear", "symbol": "BTCUSDT", "orderId": "o-1"}
    row |= {"orderLinkId": "desk-1", "price": "100", "qty": "1", "timeInForce": "GTC"}
    row |= {"side": "Buy", "orderType": "Limit", "orderStatus": "New", "cumExecQty": "0"}
    row |= {"avgPrice": "", "updatedTime": "1000"}
    return row | changes


def execution_row(trade_id: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"category": "linear", "symbol": "BTCUSDT", "orderId": "o-1"}
    row |= {"orderLinkId": "desk-1", "side": "Buy", "execId": trade_id, "execPrice": "100"}
    row |= {"execQty": "0.4", "execFee": "0.022", "execType": "Trade", "isMaker": False}
    row |= {"execTime": "1001"}
    return row | changes


def position_row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"category": "linear", "symbol": "BTCUSDT", "side": "Sell", "size": "2"}
    row |= {"entryPrice": "101", "leverage": "10", "positionIdx": 0, "updatedTime": "9"}
    return row | changes
