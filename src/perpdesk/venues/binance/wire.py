"""Orders, fills, positions and money in Binance's messages, as domain objects. Pure.

Unknown fields are ignored; an unknown word of a known field raises UnknownWord.
Source: reference/exchanges.md 3.2 to 3.4 and 4.1, read 2026-11.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from perpdesk.domain.numbers import EXACT, ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderStatus,
)
from perpdesk.domain.venue_reports import (
    AccountSettings,
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    KeyPermissions,
    OrderReport,
    PositionMode,
    PositionReport,
)
from perpdesk.venues.binance.fields import (
    MalformedMessage,
    Message,
    amount,
    flag,
    number,
    order_id,
    positive,
    required,
    whole,
)
from perpdesk.venues.binance.words import (
    ALGO_STATUSES,
    INCOME_KINDS,
    MARGIN_MODES,
    ORDER_STATUSES,
    ORDER_TYPES,
    POSITION_SIDES,
    SIDES,
    TIMES_IN_FORCE,
    fill_cause,
    read,
)


def order_report(message: Message) -> OrderReport:
    """Read an order as REST and the WS-API answer it."""
    filled = amount(message, "executedQty")
    average = positive(message, "avgPrice")
    # Answers to POST, PUT and DELETE may lack the average since mid-2026.
    if average is None and filled and positive(message, "cumQuote"):
        average = EXACT.divide(number(message, "cumQuote"), filled).normalize(EXACT)
    return OrderReport(
        symbol=str(required(message, "symbol")),
        client_order_id=ClientOrderId(str(required(message, "clientOrderId"))),
        order_id=OrderId(str(required(message, "orderId"))),
        status=read(ORDER_STATUSES, "order status", required(message, "status")),
        side=read(SIDES, "side", required(message, "side")),
        type=read(ORDER_TYPES, "order type", message.get("origType") or required(message, "type")),
        quantity=number(message, "origQty"),
        filled_quantity=filled,
        average_price=average,
        price=positive(message, "price"),
        trigger_price=positive(message, "stopPrice"),
        time_in_force=read(TIMES_IN_FORCE, "time in force", required(message, "timeInForce")),
        reduce_only=flag(message, "reduceOnly"),
        close_position=flag(message, "closePosition"),
        ts_event_ms=whole(message, "updateTime"),
    )


def algo_report(message: Message) -> OrderReport:
    """Read a conditional order of the Algo service.

    Once triggered, what it became tells more: see `as_triggered`.
    """
    quantity, filled = amount(message, "quantity"), amount(message, "actualQty")
    return OrderReport(
        symbol=str(required(message, "symbol")),
        client_order_id=ClientOrderId(str(required(message, "clientAlgoId"))),
        order_id=OrderId(str(required(message, "algoId"))),
        status=algo_status(required(message, "algoStatus"), quantity=quantity, filled=filled),
        side=read(SIDES, "side", required(message, "side")),
        type=read(ORDER_TYPES, "order type", required(message, "orderType")),
        quantity=quantity,
        filled_quantity=filled,
        average_price=positive(message, "actualPrice") if filled else None,
        price=positive(message, "price"),
        trigger_price=positive(message, "triggerPrice"),
        time_in_force=read(TIMES_IN_FORCE, "time in force", message.get("timeInForce") or "GTC"),
        reduce_only=flag(message, "reduceOnly"),
        close_position=flag(message, "closePosition"),
        working_order_id=order_id(message, "actualOrderId"),
        reason=str(message.get("rejectReason") or ""),
        ts_event_ms=whole(message, "updateTime"),
    )


def algo_status(word: object, *, quantity: Decimal, filled: Decimal) -> OrderStatus:
    """Return where a conditional order stands, by its status and what has filled of it.

    FINISHED with less than all of it filled means that the rest was canceled.
    """
    status = read(ALGO_STATUSES, "algo status", word)
    if status is not OrderStatus.TRIGGERED:
        return status
    if filled and filled >= quantity:
        return OrderStatus.FILLED
    if word == "FINISHED":
        return OrderStatus.CANCELED
    return OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.TRIGGERED


def as_triggered(conditional: OrderReport, working: OrderReport) -> OrderReport:
    """Return a conditional order as the order that it became tells it.

    It keeps the ids and the trigger under which it was placed; fills and status are the other's.
    """
    accepted = working.status is OrderStatus.ACCEPTED
    return replace(
        conditional,
        status=OrderStatus.TRIGGERED if accepted else working.status,
        quantity=working.quantity or conditional.quantity,
        filled_quantity=working.filled_quantity,
        average_price=working.average_price,
        working_order_id=working.order_id,
        reason=working.reason or conditional.reason,
        ts_event_ms=max(conditional.ts_event_ms, working.ts_event_ms),
    )


def fill_report(row: Message, *, client_order_id: ClientOrderId) -> FillReport:
    """Read a row of userTrades, which names the order by its number alone.

    client_order_id: what that order was called; of the venue's own orders it becomes empty.
    """
    cause = fill_cause(client_order_id)
    own = client_order_id if cause.value == "ORDER" else ClientOrderId("")
    return FillReport(
        symbol=str(required(row, "symbol")),
        trade_id=str(whole(row, "id")),
        order_id=OrderId(str(required(row, "orderId"))),
        client_order_id=own,
        side=read(SIDES, "side", required(row, "side")),
        quantity=number(row, "qty"),
        price=number(row, "price"),
        liquidity=Liquidity.MAKER if flag(row, "maker") else Liquidity.TAKER,
        fee=_fee(row),
        fee_asset=str(required(row, "commissionAsset")),
        realized_pnl=number(row, "realizedPnl"),
        ts_event_ms=whole(row, "time"),
        cause=cause,
    )


def _fee(row: Message) -> Decimal:
    # The documentation's example has a commission below zero, the exchange answers it above zero;
    # a rebate would carry the opposite sign of a fee, and no public tier has one.
    return abs(number(row, "commission"))


def position_reports(rows: Iterable[Message]) -> tuple[PositionReport, ...]:
    """Read positionRisk, account or WS-API rows, one report a symbol, flat ones too.

    Rows of hedge mode are netted: the report is of a one-way position.
    """
    by_symbol: dict[str, PositionReport] = {}
    for row in rows:
        read(POSITION_SIDES, "position side", row.get("positionSide", "BOTH"))
        report = _position_report(row)
        before = by_symbol.get(report.symbol)
        by_symbol[report.symbol] = report if before is None else net(before, report)
    return tuple(by_symbol.values())


def net(first: PositionReport, second: PositionReport) -> PositionReport:
    """Return two rows of one symbol as one: the open one, or both without what cannot be added."""
    if not second.signed_quantity:
        return first
    if not first.signed_quantity:
        return second
    profits = (first.unrealized_pnl, second.unrealized_pnl)
    return replace(
        first,
        signed_quantity=first.signed_quantity + second.signed_quantity,
        entry_price=None,
        liquidation_price=None,
        isolated_margin=None,
        unrealized_pnl=None if None in profits else sum((p for p in profits if p), ZERO),
        ts_event_ms=max(first.ts_event_ms, second.ts_event_ms),
    )


def _position_report(row: Message) -> PositionReport:
    mode_word = row.get("marginType")
    mode = None if mode_word is None else read(MARGIN_MODES, "margin type", mode_word)
    profit = row.get("unRealizedProfit", row.get("unrealizedProfit"))
    return PositionReport(
        symbol=str(required(row, "symbol")),
        signed_quantity=number(row, "positionAmt"),
        entry_price=positive(row, "entryPrice"),
        mark_price=positive(row, "markPrice"),
        unrealized_pnl=None if profit in (None, "") else Decimal(str(profit)),
        leverage=positive(row, "leverage"),
        margin_mode=mode,
        isolated_margin=positive(row, "isolatedMargin"),
        liquidation_price=positive(row, "liquidationPrice"),
        ts_event_ms=int(row.get("updateTime") or 0),
    )


def balance_report(row: Message) -> BalanceReport:
    """Read a row of balance (`balance`) or of account's assets (`walletBalance`)."""
    name = "balance" if "balance" in row else "walletBalance"
    return BalanceReport(
        asset=str(required(row, "asset")),
        wallet=number(row, name),
        available=number(row, "availableBalance") if "availableBalance" in row else None,
        ts_event_ms=int(row.get("updateTime") or 0),
    )


def income_report(row: Message) -> IncomeReport:
    """Read a row of income; `tranId` is unique within a type only, so the id holds both."""
    word = str(required(row, "incomeType"))
    kind = INCOME_KINDS.get(word, IncomeKind.OTHER)
    return IncomeReport(
        income_id=f"{word}:{required(row, 'tranId')}",
        ts_ms=whole(row, "time"),
        kind=kind,
        asset=str(required(row, "asset")),
        amount=number(row, "income"),
        symbol=str(row.get("symbol") or ""),
        trade_id=str(row.get("tradeId") or ""),
        detail=word if kind is IncomeKind.OTHER else str(row.get("info") or ""),
    )


def account_settings(symbol: str, rows: Iterable[Message], *, is_hedge: bool) -> AccountSettings:
    """Read symbolConfig, or positionRisk v2, which say the same in other words."""
    for row in rows:
        if row.get("symbol") == symbol:
            return AccountSettings(
                symbol=symbol,
                leverage=number(row, "leverage"),
                margin_mode=read(MARGIN_MODES, "margin type", required(row, "marginType")),
                position_mode=PositionMode.HEDGE if is_hedge else PositionMode.ONE_WAY,
            )
    raise MalformedMessage(f"no settings of {symbol} in the answer")


def is_hedge(message: Message) -> bool:
    """Read positionSide/dual or accountConfig."""
    required(message, "dualSidePosition")
    return flag(message, "dualSidePosition")


def key_permissions(message: Message) -> KeyPermissions:
    """Read account/apiRestrictions. A right that is not named is taken as not given."""
    expires = message.get("tradingAuthorityExpirationTime")
    return KeyPermissions(
        can_read=flag(message, "enableReading"),
        can_trade=flag(message, "enableFutures"),
        can_withdraw=flag(message, "enableWithdrawals"),
        can_transfer=flag(message, "enableInternalTransfer")
        or flag(message, "permitsUniversalTransfer"),
        ip_restricted=flag(message, "ipRestrict"),
        expires_ms=int(expires) if expires else None,
    )


def is_error(message: object) -> bool:
    """Tell whether an answer, or one item of a batch, is a refusal rather than a result."""
    if not isinstance(message, dict) or "code" not in message:
        return False
    return message["code"] not in (0, 200, "0", "200")
