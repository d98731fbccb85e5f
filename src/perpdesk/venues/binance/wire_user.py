"""What Binance pushes about the account, as domain objects. Pure.

Source: reference/exchanges.md 4.1, read 2026-11.
"""

from collections.abc import Callable
from typing import Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, Liquidity, OrderId, OrderStatus
from perpdesk.domain.streams import FundingPaid, MarginCalled
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillCause,
    FillReport,
    OrderReport,
    PositionReport,
)
from perpdesk.venues.binance.fields import (
    Message,
    amount,
    flag,
    number,
    order_id,
    positive,
    required,
    whole,
)
from perpdesk.venues.binance.wire import algo_status, net
from perpdesk.venues.binance.words import (
    EXECUTION_TYPES,
    MARGIN_MODES,
    ORDER_STATUSES,
    ORDER_TYPES,
    POSITION_SIDES,
    SIDES,
    TIMES_IN_FORCE,
    UnknownEvent,
    fill_cause,
    read,
)

UserUpdate = OrderReport | FillReport | PositionReport | BalanceReport | FundingPaid | MarginCalled

ALGO_UPDATE: Final = "ALGO_UPDATE"
LISTEN_KEY_EXPIRED: Final = "listenKeyExpired"

UNUSED_EVENTS: Final = frozenset(
    {
        "TRADE_LITE",  # a faster copy of a fill; ORDER_TRADE_UPDATE is the one that counts
        "ACCOUNT_CONFIG_UPDATE",  # leverage or asset mode; read by REST before trading
        "CONDITIONAL_ORDER_TRIGGER_REJECT",  # replaced by ALGO_UPDATE in 2025-12
        "STRATEGY_UPDATE",  # the exchange's own grid and position bots
        "GRID_UPDATE",
        LISTEN_KEY_EXPIRED,  # about the pipe, not the account
    }
)


def user_updates(message: Message) -> tuple[UserUpdate, ...]:
    """Read one message of the user stream, in the order in which it should be applied.

    Raises UnknownEvent for a kind of message that is not known, UnknownWord for a status.
    """
    kind = str(required(message, "e"))
    if kind in UNUSED_EVENTS:
        return ()
    reader = _READERS.get(kind)
    if reader is None:
        raise UnknownEvent("account event", kind)
    return reader(message)


def _order_trade(message: Message) -> tuple[UserUpdate, ...]:
    order = required(message, "o")
    execution = read(EXECUTION_TYPES, "execution type", required(order, "x"))
    filled = number(order, "z")
    report = OrderReport(
        symbol=str(required(order, "s")),
        client_order_id=ClientOrderId(str(required(order, "c"))),
        order_id=OrderId(str(required(order, "i"))),
        status=read(ORDER_STATUSES, "order status", required(order, "X")),
        side=read(SIDES, "side", required(order, "S")),
        type=read(ORDER_TYPES, "order type", order.get("ot") or required(order, "o")),
        quantity=number(order, "q"),
        filled_quantity=filled,
        average_price=positive(order, "ap") if filled else None,
        price=positive(order, "p"),
        trigger_price=positive(order, "sp"),
        time_in_force=read(TIMES_IN_FORCE, "time in force", required(order, "f")),
        reduce_only=flag(order, "R"),
        close_position=flag(order, "cp"),
        reason=execution if execution in ("EXPIRED", "CALCULATED") else "",
        ts_event_ms=whole(order, "T"),
    )
    if execution not in ("TRADE", "CALCULATED") or not amount(order, "l"):
        return (report,)
    # The fill first: a closed order's fills must be booked before it is put away.
    return (_fill(order), report)


def _fill(order: Message) -> FillReport:
    name = str(required(order, "c"))
    cause = fill_cause(name)
    return FillReport(
        symbol=str(required(order, "s")),
        trade_id=str(whole(order, "t")),
        order_id=OrderId(str(required(order, "i"))),
        client_order_id=ClientOrderId(name if cause is FillCause.ORDER else ""),
        side=read(SIDES, "side", required(order, "S")),
        quantity=number(order, "l"),
        price=number(order, "L"),
        liquidity=Liquidity.MAKER if flag(order, "m") else Liquidity.TAKER,
        fee=amount(order, "n"),
        fee_asset=str(order.get("N") or "USDT"),
        realized_pnl=number(order, "rp") if "rp" in order else None,
        ts_event_ms=whole(order, "T"),
        cause=cause,
    )


def _algo(message: Message) -> tuple[UserUpdate, ...]:
    order = required(message, "o")
    quantity, filled = amount(order, "q"), amount(order, "aq")
    status = algo_status(required(order, "X"), quantity=quantity, filled=filled)
    if order["X"] == "FINISHED" and status is OrderStatus.CANCELED:
        # How the order that it became ended, that order's own update tells, now or in a moment.
        status = OrderStatus.TRIGGERED
    return (
        OrderReport(
            symbol=str(required(order, "s")),
            client_order_id=ClientOrderId(str(required(order, "caid"))),
            order_id=OrderId(str(required(order, "aid"))),
            status=status,
            side=read(SIDES, "side", required(order, "S")),
            type=read(ORDER_TYPES, "order type", required(order, "o")),
            quantity=quantity,
            filled_quantity=filled,
            average_price=positive(order, "ap") if filled else None,
            price=positive(order, "p"),
            trigger_price=positive(order, "tp"),
            time_in_force=read(TIMES_IN_FORCE, "time in force", order.get("f") or "GTC"),
            reduce_only=flag(order, "R"),
            close_position=flag(order, "cp"),
            working_order_id=order_id(order, "ai"),
            reason=str(order.get("rm") or ""),
            ts_event_ms=whole(message, "T"),
        ),
    )


def _account(message: Message) -> tuple[UserUpdate, ...]:
    body = required(message, "a")
    ts_ms = whole(message, "T")
    balances = tuple(
        BalanceReport(asset=str(required(row, "a")), wallet=number(row, "wb"), ts_event_ms=ts_ms)
        for row in body.get("B") or ()
    )
    positions: dict[str, PositionReport] = {}
    for row in body.get("P") or ():
        report = _position(row, ts_ms)
        before = positions.get(report.symbol)
        positions[report.symbol] = report if before is None else net(before, report)
    funding: tuple[UserUpdate, ...] = ()
    if body.get("m") == "FUNDING_FEE":
        # Cross funding names no position, isolated funding the one that paid.
        symbol = next(iter(positions), "")
        funding = tuple(
            FundingPaid(
                symbol=symbol,
                amount=amount(row, "bc"),
                asset=str(required(row, "a")),
                ts_event_ms=ts_ms,
            )
            for row in body.get("B") or ()
            if amount(row, "bc")
        )
    return (*positions.values(), *balances, *funding)


def _position(row: Message, ts_ms: int) -> PositionReport:
    read(POSITION_SIDES, "position side", row.get("ps", "BOTH"))
    mode = read(MARGIN_MODES, "margin type", required(row, "mt"))
    return PositionReport(
        symbol=str(required(row, "s")),
        signed_quantity=number(row, "pa"),
        entry_price=positive(row, "ep"),
        unrealized_pnl=amount(row, "up"),
        margin_mode=mode,
        isolated_margin=positive(row, "iw"),
        ts_event_ms=ts_ms,
    )


def _margin_call(message: Message) -> tuple[UserUpdate, ...]:
    ts_ms = whole(message, "E")
    return tuple(
        MarginCalled(symbol=str(required(row, "s")), ts_event_ms=ts_ms)
        for row in message.get("p") or ()
        if amount(row, "pa") != ZERO
    )


_READERS: Final[dict[str, Callable[[Message], tuple[UserUpdate, ...]]]] = {
    "ORDER_TRADE_UPDATE": _order_trade,
    ALGO_UPDATE: _algo,
    "ACCOUNT_UPDATE": _account,
    "MARGIN_CALL": _margin_call,
}
