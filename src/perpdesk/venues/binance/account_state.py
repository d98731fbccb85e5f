"""What the account's stream has told so far, as far as needed to tell each fact once. Pure."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from perpdesk.domain.candles import MINUTE_MS
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderId
from perpdesk.domain.streams import FundingPaid, MarginCalled
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderReport,
    PositionReport,
)
from perpdesk.venues.binance.names import Recent, forward

READ_LAG_MS: Final = 1_000
"""An event so much older than what REST says may still be newer than what REST has read."""

Payment = tuple[str, Decimal, int]
"""Asset, amount and minute of a funding payment."""


class AccountState:
    """Orders, fills and holdings as told; what repeats or falls behind is no news."""

    def __init__(self) -> None:
        self.is_synchronized = False
        self._orders: Recent[tuple[str, ClientOrderId, str], OrderReport] = Recent()
        self._open: dict[ClientOrderId, OrderReport] = {}
        self._fills: Recent[tuple[str, str], bool] = Recent()
        self._quantities: dict[str, Decimal] = {}
        self._told_ms: dict[tuple[str, str], int] = {}
        self._notices: Recent[FundingPaid | MarginCalled, bool] = Recent()
        self._booked: Recent[tuple[str, OrderId], Decimal] = Recent()
        self._payments: Recent[Payment, int] = Recent()
        self._streamed: Recent[Payment, int] = Recent()

    def replace(
        self,
        orders: tuple[OrderReport, ...],
        positions: tuple[PositionReport, ...],
        balances: tuple[BalanceReport, ...],
    ) -> None:
        """Take what REST says in place of what was known."""
        self.is_synchronized = True
        self._quantities = {one.symbol: one.signed_quantity for one in positions}
        self._open = {one.client_order_id: one for one in orders}
        for order in orders:
            self._orders.put((order.symbol, order.client_order_id, order.order_id), order)
            self._booked.put((order.symbol, _working_id(order)), order.filled_quantity)
        for position in positions:
            self._told_ms[_holding_key(position)] = position.ts_event_ms - READ_LAG_MS
        for balance in balances:
            self._told_ms[_holding_key(balance)] = balance.ts_event_ms - READ_LAG_MS

    def accept_order(self, report: OrderReport) -> OrderReport | None:
        """Return the report where it is news."""
        key = (report.symbol, report.client_order_id, report.order_id)
        news = forward(self._orders.get(key), report)
        if news is None:
            return None
        self._orders.put(key, news)
        if news.status.is_closed:
            self._open.pop(news.client_order_id, None)
        else:
            self._open[news.client_order_id] = news
        return news

    def note_fill(self, fill: FillReport) -> bool:
        """Tell whether a trade is new."""
        key = (fill.symbol, fill.trade_id)
        if key in self._fills:
            return False
        self._fills.put(key, True)
        order = (fill.symbol, fill.order_id)
        self._booked.put(order, (self._booked.get(order) or ZERO) + fill.quantity)
        return True

    def has_unbooked_fill(self, report: OrderReport) -> bool:
        """Tell whether a regular order has filled more than its trades that were told.

        The fills of an order that is heard of for the first time are taken as told.
        """
        key = (report.symbol, report.order_id)
        booked = self._booked.get(key)
        if booked is None:
            self._booked.put(key, report.filled_quantity)
            return False
        return report.filled_quantity > booked

    def accept_holding(self, update: PositionReport | BalanceReport) -> bool:
        """Tell whether a position or a balance is not older than what was told."""
        key = _holding_key(update)
        if update.ts_event_ms < self._told_ms.get(key, 0):
            return False
        self._told_ms[key] = update.ts_event_ms
        if isinstance(update, PositionReport):
            self._quantities[update.symbol] = update.signed_quantity
        return True

    def accept_notice(self, notice: FundingPaid | MarginCalled) -> bool:
        """Tell whether a payment or a warning is new; connections that overlap tell it twice."""
        if notice in self._notices:
            return False
        self._notices.put(notice, True)
        if isinstance(notice, MarginCalled):
            return True
        key = _payment(notice.asset, notice.amount, notice.ts_event_ms)
        streamed = self._streamed.get(key) or 0
        self._streamed.put(key, streamed + 1)
        return self._tell_payment(key, streamed + 1)

    def missed_funding(self, ledger: Iterable[IncomeReport]) -> list[FundingPaid]:
        """Return payments that the ledger has and the stream has not told; none the first time.

        The stream names no symbol in cross margin, so payments are known by amount and minute, and
        counted where two are equal.
        """
        counts: Counter[Payment] = Counter()
        missed = []
        for row in ledger:
            if row.kind is not IncomeKind.FUNDING:
                continue
            key = _payment(row.asset, row.amount, row.ts_ms)
            counts[key] += 1
            if self._tell_payment(key, counts[key]) and self.is_synchronized:
                missed.append(
                    FundingPaid(
                        symbol=row.symbol,
                        amount=row.amount,
                        asset=row.asset,
                        ts_event_ms=row.ts_ms,
                    )
                )
        return missed

    def _tell_payment(self, key: Payment, count: int) -> bool:
        """Tell whether so many equal payments are more than were told."""
        if count <= (self._payments.get(key) or 0):
            return False
        self._payments.put(key, count)
        return True

    def open_orders(self) -> tuple[OrderReport, ...]:
        """Return the orders that were open when last heard of."""
        return tuple(self._open.values())

    def symbols(self) -> set[str]:
        """Return the symbols that have anything open."""
        held = {symbol for symbol, quantity in self._quantities.items() if quantity}
        return held | {order.symbol for order in self._open.values()}

    def differs_from(
        self, orders: tuple[OrderReport, ...], positions: tuple[PositionReport, ...]
    ) -> bool:
        """Tell whether REST knows another set of open orders, or other quantities."""
        if {order.client_order_id for order in orders} != set(self._open):
            return True
        held = {symbol: quantity for symbol, quantity in self._quantities.items() if quantity}
        return {one.symbol: one.signed_quantity for one in positions} != held


def _holding_key(report: PositionReport | BalanceReport) -> tuple[str, str]:
    if isinstance(report, PositionReport):
        return "position", report.symbol
    return "balance", report.asset


def _payment(asset: str, amount: Decimal, ts_ms: int) -> Payment:
    return asset, amount, (ts_ms + MINUTE_MS // 2) // MINUTE_MS


def _working_id(order: OrderReport) -> OrderId:
    return order.working_order_id or order.order_id
