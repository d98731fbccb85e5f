"""Messages about orders and the account, turned into domain objects. Pure.

The same rows come by REST and by the private topics; where names differ (`avgPrice` of
position/list is `entryPrice` of the topic) both are read. Source: reference/exchanges.md 3b, 4.2.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final

from perpdesk.domain.account import MarginMode
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from perpdesk.domain.streams import FundingPaid
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillReport,
    KeyPermissions,
    OrderReport,
    PositionReport,
)
from perpdesk.venues.bybit.fields import (
    FILL_CAUSES,
    FUNDING,
    NO_VALUE,
    SIDES,
    STATUSES,
    TIMES_IN_FORCE,
    Message,
    UnknownWord,
    decimal_of,
    number,
    number_or,
    optional,
    positive,
    text,
    whole,
    word,
)

LINEAR: Final = "linear"
SETTLE_COIN: Final = "USDT"
TRAILING: Final = "TrailingStop"
_PLAIN: Final = {"", "UNKNOWN"}
_BY_TRIGGER: Final = {"Stop", "tpslOrder", "OcoOrder", "MmRateClose", "BidirectionalTpslOrder"}
_STOP_LOSSES: Final = {"StopLoss", "PartialStopLoss"}
_TAKE_PROFITS: Final = {"TakeProfit", "PartialTakeProfit"}
_ORDER_TYPES: Final = {"Limit": True, "Market": False}
# What ends an order by its own time in force rather than by somebody's wish.
_EXPIRED_BY: Final = {
    "EC_PostOnlyWillTakeLiquidity",
    "EC_NoImmediateQtyToFill",
    "EC_CancelForNoFullFill",
}
_RISING: Final = 1
_FALLING: Final = 2


def is_linear(row: Message) -> bool:
    """Tell whether a row of a private topic concerns the contracts that we trade."""
    return bool(row.get("category", LINEAR) == LINEAR)


def order_report(row: Message, client_order_id: ClientOrderId | None = None) -> OrderReport:
    """Return an order as order/realtime, order/history or the `order` topic tells it.

    client_order_id: ours, for an order that cannot carry it (a trailing stop of a position).
    """
    side = word(SIDES, row, "side")
    order_type = _order_type(row, side)
    return OrderReport(
        symbol=text(row, "symbol"),
        client_order_id=client_order_id or ClientOrderId(row.get("orderLinkId") or ""),
        order_id=OrderId(text(row, "orderId")),
        status=_status(row),
        side=side,
        type=order_type,
        quantity=number(row, "qty"),
        filled_quantity=number_or(row, "cumExecQty", ZERO),
        average_price=positive(row, "avgPrice"),
        price=positive(row, "price") if order_type.is_limit else None,
        trigger_price=positive(row, "triggerPrice") if order_type.is_conditional else None,
        time_in_force=word(TIMES_IN_FORCE, row, "timeInForce"),
        reduce_only=bool(row.get("reduceOnly")),
        # We ask for it with quantity 0 alone; the venue then shows the quantity that it closes.
        close_position=bool(row.get("closeOnTrigger") and row.get("reduceOnly")),
        reason=_reason(row),
        ts_event_ms=whole(row, "updatedTime"),
    )


def _status(row: Message) -> OrderStatus:
    status = word(STATUSES, row, "orderStatus")
    if status is not OrderStatus.CANCELED:
        return status
    if row.get("rejectReason") in _EXPIRED_BY:
        return OrderStatus.EXPIRED
    immediate = word(TIMES_IN_FORCE, row, "timeInForce") in (TimeInForce.IOC, TimeInForce.FOK)
    by_itself = row.get("cancelType") in ("", None, "UNKNOWN")
    triggered = row.get("orderStatus") != "Deactivated"
    return OrderStatus.EXPIRED if immediate and by_itself and triggered else status


def _reason(row: Message) -> str:
    told = (row.get("rejectReason"), row.get("cancelType"))
    return ", ".join(one for one in told if one not in ("", None, "UNKNOWN", "EC_NoError"))


def _order_type(row: Message, side: Side) -> OrderType:
    """A conditional order is a stop or a take-profit by where its trigger lies."""
    limit = word(_ORDER_TYPES, row, "orderType")
    kind = row.get("stopOrderType") or ""
    if kind == TRAILING:
        return OrderType.TRAILING_STOP_MARKET
    if kind in _PLAIN and not row.get("triggerDirection"):
        return OrderType.LIMIT if limit else OrderType.MARKET
    if kind in _PLAIN or kind in _BY_TRIGGER:
        rising = int(row.get("triggerDirection") or 0) == _RISING
        stops = rising == (side is Side.BUY)
    elif kind in _STOP_LOSSES or kind in _TAKE_PROFITS:
        stops = kind in _STOP_LOSSES
    else:
        raise UnknownWord("stopOrderType", kind)
    if stops:
        return OrderType.STOP_LIMIT if limit else OrderType.STOP_MARKET
    return OrderType.TAKE_PROFIT_LIMIT if limit else OrderType.TAKE_PROFIT_MARKET


def trigger_direction(order_type: OrderType, side: Side) -> int:
    """Return 1 where the order waits for the price to rise to its trigger, 2 where to fall."""
    stops = order_type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
    return _RISING if stops == (side is Side.BUY) else _FALLING


def is_funding(row: Message) -> bool:
    """Tell whether an execution row is a funding settlement and no trade."""
    return bool(row.get("execType") == FUNDING)


def funding_paid(row: Message) -> FundingPaid:
    """Return the funding of an execution row: its `execFee` is positive when we paid.

    Source: reference/exchanges.md 3b.3 (the sign is opposite to that of the transaction log).
    """
    symbol = text(row, "symbol")
    return FundingPaid(
        symbol=symbol,
        amount=-number(row, "execFee"),
        asset=_fee_asset(row, symbol),
        ts_event_ms=whole(row, "execTime"),
    )


def fill_report(row: Message, client_order_id: ClientOrderId | None = None) -> FillReport:
    """Return a trade of ours as execution/list or the `execution` topic tells it."""
    symbol = text(row, "symbol")
    cause = word(FILL_CAUSES, row, "execType")
    asset = _fee_asset(row, symbol)
    maker = row.get("isMaker")
    return FillReport(
        symbol=symbol,
        trade_id=text(row, "execId"),
        order_id=OrderId(text(row, "orderId")),
        client_order_id=client_order_id or ClientOrderId(row.get("orderLinkId") or ""),
        side=word(SIDES, row, "side"),
        quantity=number(row, "execQty"),
        price=number(row, "execPrice"),
        liquidity=Liquidity.MAKER if maker in (True, "true") else Liquidity.TAKER,
        fee=number_or(row, "execFee", ZERO) + _taxes(row, asset),
        fee_asset=asset,
        realized_pnl=optional(row, "execPnl"),
        ts_event_ms=whole(row, "execTime"),
        cause=cause,
    )


def _taxes(row: Message, asset: str) -> Decimal:
    """Some countries' taxes come as fees of their own beside `execFee`."""
    extra = row.get("extraFees")
    if not isinstance(extra, list):
        return ZERO
    return sum((number(one, "fee") for one in extra if one.get("feeCoin") == asset), start=ZERO)


def _fee_asset(row: Message, symbol: str) -> str:
    """Linear fees are paid in the settle coin; older rows leave `feeCurrency` empty."""
    named = row.get("feeCurrency")
    if named not in NO_VALUE:
        return str(named)
    return "USDC" if symbol.endswith(("PERP", "USDC")) else SETTLE_COIN


def position_report(row: Message, margin_mode: MarginMode | None = None) -> PositionReport:
    """Return a position; a flat row has side "" and size "0".

    margin_mode: of the account, since the row's own `tradeMode` means nothing any more.
    """
    size = number(row, "size")
    flat = not size or row.get("side") in ("", "None", None)
    isolated = margin_mode is MarginMode.ISOLATED
    return PositionReport(
        symbol=text(row, "symbol"),
        signed_quantity=ZERO if flat else size * word(SIDES, row, "side").sign,
        entry_price=positive(row, "avgPrice") or positive(row, "entryPrice"),
        mark_price=positive(row, "markPrice"),
        unrealized_pnl=optional(row, "unrealisedPnl"),
        leverage=positive(row, "leverage"),
        margin_mode=margin_mode,
        isolated_margin=positive(row, "positionBalance") if isolated else None,
        liquidation_price=positive(row, "liqPrice"),
        ts_event_ms=int(row.get("updatedTime") or 0),
    )


def is_hedged(row: Message) -> bool:
    """Tell whether a position row is one leg of hedge mode."""
    return int(row.get("positionIdx") or 0) != 0


def balance_reports(
    account: Message, *, margin_mode: MarginMode | None, ts_event_ms: int
) -> tuple[BalanceReport, ...]:
    """Return the coins of an account of wallet-balance or the `wallet` topic.

    In isolated margin the free amount is what wallet - position margin - order margin - locked -
    bonus leaves; in cross margin it is the account's own `totalAvailableBalance` (USD), told for
    the settle coin alone. Source: reference/exchanges.md 3b.2.
    """
    found = []
    for coin in account.get("coin") or ():
        asset, available = text(coin, "coin"), None
        wallet = number_or(coin, "walletBalance", ZERO)
        if margin_mode is MarginMode.ISOLATED:
            bound = ("totalPositionIM", "totalOrderIM", "locked", "bonus")
            available = wallet - sum((number_or(coin, one, ZERO) for one in bound), start=ZERO)
        elif margin_mode is MarginMode.CROSS and asset == SETTLE_COIN:
            available = optional(account, "totalAvailableBalance")
        if available is not None:
            available = max(ZERO, available)
        report = BalanceReport(
            asset=asset, wallet=wallet, available=available, ts_event_ms=ts_event_ms
        )
        found.append(report)
    return tuple(found)


def key_permissions(result: Message) -> KeyPermissions:
    """Return what user/query-api says of the key."""
    granted = result.get("permissions") or {}
    contract, wallet = granted.get("ContractTrade") or (), granted.get("Wallet") or ()
    writes = int(result.get("readOnly") or 0) == 0
    addresses = [one for one in result.get("ips") or () if one not in ("", "*")]
    return KeyPermissions(
        can_read=True,
        can_trade=writes and "Order" in contract,
        can_withdraw=writes and "Withdraw" in wallet,
        can_transfer=writes and any("Transfer" in one for one in wallet),
        ip_restricted=bool(addresses),
        expires_ms=_expiry_ms(result.get("expiredAt")),
    )


def _expiry_ms(moment: object) -> int | None:
    """Keys bound to an address do not expire: their time is empty, or the year 1970."""
    if moment in NO_VALUE:
        return None
    ms = int(datetime.fromisoformat(str(moment)).timestamp() * 1000)
    return ms or None


def report_from_fills(fills: tuple[FillReport, ...], row: Message) -> OrderReport:
    """Return what an order's own executions prove of it, where no order row is left.

    row: the latest of them, for the order's size and what it has left.
    """
    filled = sum((one.quantity for one in fills), start=ZERO)
    value = sum((one.quantity * one.price for one in fills), start=ZERO)
    last = fills[-1]
    left = number_or(row, "leavesQty", ZERO)
    limit = row.get("orderType") == "Limit"
    return OrderReport(
        symbol=last.symbol,
        client_order_id=last.client_order_id,
        order_id=last.order_id,
        status=OrderStatus.PARTIALLY_FILLED if left else OrderStatus.FILLED,
        side=last.side,
        type=OrderType.LIMIT if limit else OrderType.MARKET,
        quantity=decimal_of("orderQty", row.get("orderQty") or filled),
        filled_quantity=filled,
        average_price=value / filled if filled else None,
        price=positive(row, "orderPrice") if limit else None,
        ts_event_ms=last.ts_event_ms,
    )
