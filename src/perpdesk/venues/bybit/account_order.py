"""What the private topics say, put in order: fills once, orders forward only, fills first. Pure.

An order may end with two messages, and "Cancelled" may carry a quantity that was executed: an order
report waits until the fills that it speaks of have been delivered.
"""

from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderId, OrderStatus
from perpdesk.domain.venue_reports import FillReport, OrderReport

KEPT: Final = 20_000
_RANKS: Final = {
    OrderStatus.SUBMITTED: 0,
    OrderStatus.ACCEPTED: 1,
    OrderStatus.TRIGGERED: 2,
    OrderStatus.PARTIALLY_FILLED: 3,
}
_TERMINAL: Final = 4

Report = OrderReport | FillReport


class AccountOrder:
    """What has been delivered of orders and fills, over all connections of one account."""

    def __init__(self) -> None:
        self._fill_ids: OrderedDict[str, None] = OrderedDict()
        self._booked: OrderedDict[OrderId, Decimal] = OrderedDict()
        self._latest: OrderedDict[OrderId, OrderReport] = OrderedDict()
        self._waiting: dict[OrderId, list[OrderReport]] = {}

    def synchronize(self, orders: Iterable[OrderReport], fills: Iterable[FillReport]) -> None:
        """Take what a REST snapshot delivered: it counts as delivered."""
        for fill in fills:
            self._note(fill)
        for order in orders:
            self._goes_forward(order)
            booked = self._booked.get(order.order_id, ZERO)
            self._booked[order.order_id] = max(booked, order.filled_quantity)

    def fill(self, fill: FillReport) -> list[Report]:
        """Return what may be delivered now that a trade came: it, and orders that waited for it."""
        if not self._note(fill):
            return []
        delivered: list[Report] = [fill]
        delivered += self._release(fill.order_id)
        return delivered

    def order(self, report: OrderReport) -> list[Report]:
        """Return what may be delivered now that an order's message came."""
        self._waiting.setdefault(report.order_id, []).append(report)
        return self._release(report.order_id)

    def waiting(self) -> tuple[OrderReport, ...]:
        """Return the newest report of each order that waits for its fills."""
        return tuple(reports[-1] for reports in self._waiting.values())

    def give_up(self, order_id: OrderId) -> list[Report]:
        """Return the reports of an order whose fills nobody has: they are delivered as they are."""
        reports = self._waiting.pop(order_id, [])
        return [one for one in reports if self._goes_forward(one)]

    def open_orders(self) -> tuple[OrderReport, ...]:
        """Return the newest reports of orders that were open when last heard of."""
        return tuple(one for one in self._latest.values() if not one.status.is_closed)

    def knows_fill(self, trade_id: str) -> bool:
        """Tell whether a trade was delivered."""
        return trade_id in self._fill_ids

    def _note(self, fill: FillReport) -> bool:
        if fill.trade_id in self._fill_ids:
            return False
        self._fill_ids[fill.trade_id] = None
        booked = self._booked.get(fill.order_id, ZERO)
        self._booked[fill.order_id] = booked + fill.quantity
        for kept in (self._fill_ids, self._booked, self._latest):
            while len(kept) > KEPT:
                kept.popitem(last=False)
        return True

    def _release(self, order_id: OrderId) -> list[Report]:
        booked = self._booked.get(order_id, ZERO)
        reports = self._waiting.pop(order_id, [])
        ready = [one for one in reports if one.filled_quantity <= booked]
        held = [one for one in reports if one.filled_quantity > booked]
        if held:
            self._waiting[order_id] = held
        return [one for one in ready if self._goes_forward(one)]

    def _goes_forward(self, report: OrderReport) -> bool:
        """Tell whether a report says more than the last one did; note it if so."""
        before = self._latest.get(report.order_id)
        if before is not None:
            if before.status.is_closed and not report.status.is_closed:
                return False
            if _progress(report) <= _progress(before):
                return False
        self._latest[report.order_id] = report
        return True


def _progress(report: OrderReport) -> tuple[Decimal, int, int]:
    rank = _RANKS.get(report.status, _TERMINAL)
    return report.filled_quantity, rank, report.ts_event_ms
