"""Which order is which: two namespaces of ids, and the orders that conditional ones become.

A conditional order that triggers becomes a regular order with an id of its own; both are one order
to us, under the client id that we gave. Bounded: the oldest are forgotten, and asked for again.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from typing import Final, Generic, TypeVar

from perpdesk.domain.order import ClientOrderId, OrderId, OrderStatus
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.binance.wire import as_triggered

MOST: Final = 20_000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A mapping that keeps what was written last, at most `most` entries."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def get(self, key: Key) -> Value | None:
        """Return what is kept, None where nothing is."""
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; the one written longest ago may go."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


OrderKey = tuple[str, OrderId]
"""Symbol and order id: Binance's ids are unique within a symbol only."""


class OrderNames:
    """What is known of ids. Shared by requests and streams. symbols: orders were sent in them."""

    def __init__(self) -> None:
        self.symbols: set[str] = set()
        self._is_conditional: Recent[ClientOrderId, bool] = Recent()
        self._clients: Recent[OrderKey, ClientOrderId] = Recent()
        self._conditionals: Recent[ClientOrderId, OrderReport] = Recent()
        self._became: Recent[OrderKey, ClientOrderId] = Recent()

    def expect(self, symbol: str, client_order_id: ClientOrderId, *, conditional: bool) -> None:
        """Note in which namespace an order is going to be; before it is sent."""
        self.symbols.add(symbol)
        self._is_conditional.put(client_order_id, conditional)

    def is_conditional(self, client_order_id: ClientOrderId) -> bool | None:
        """Tell the namespace of an order, None where it is not known."""
        return self._is_conditional.get(client_order_id)

    def learn_conditional(self, report: OrderReport) -> None:
        """Note a report of the Algo service."""
        name = report.client_order_id
        self._is_conditional.put(name, True)
        self._conditionals.put(name, report)
        if report.working_order_id is not None:
            key = (report.symbol, report.working_order_id)
            self._became.put(key, name)
            self._clients.put(key, name)

    def learn_regular(self, report: OrderReport) -> None:
        """Note a report of a regular order, which may be what a conditional one became."""
        key = (report.symbol, report.order_id)
        if key in self._became:
            return
        if self._is_conditional.get(report.client_order_id):
            # It kept the client id of the conditional order that it was.
            self._became.put(key, report.client_order_id)
        else:
            self._is_conditional.put(report.client_order_id, False)
        self._clients.put(key, report.client_order_id)

    def client_of(self, symbol: str, order_id: OrderId) -> ClientOrderId | None:
        """Return the client id of a regular order by its number, None where not known."""
        return self._clients.get((symbol, order_id))

    def last_of_conditional(self, client_order_id: ClientOrderId) -> OrderReport | None:
        """Return what the Algo service said last of an order."""
        return self._conditionals.get(client_order_id)

    def as_ours(self, report: OrderReport) -> OrderReport:
        """Return the report of a regular order under the ids that it was placed with."""
        self.learn_regular(report)
        name = self._became.get((report.symbol, report.order_id))
        conditional = None if name is None else self._conditionals.get(name)
        return report if conditional is None else as_triggered(conditional, report)

    def fill_as_ours(self, fill: FillReport) -> FillReport:
        """Return a fill under the client id that the order was placed with."""
        name = self._became.get((fill.symbol, fill.order_id))
        if name is None or name == fill.client_order_id:
            return fill
        return replace(fill, client_order_id=name)


_RANKS: Final = {OrderStatus.ACCEPTED: 0, OrderStatus.TRIGGERED: 1, OrderStatus.PARTIALLY_FILLED: 2}


def forward(before: OrderReport | None, report: OrderReport) -> OrderReport | None:
    """Return the report where it is news, None where it repeats or falls behind.

    Order reports move forward only in (cumulative filled, terminal rank): what has filled never
    becomes less, a closed order stays closed, though a late fill may still be added to it.
    """
    if before is None:
        return report
    if report.filled_quantity < before.filled_quantity:
        return None
    grown = report.filled_quantity > before.filled_quantity
    if before.status.is_closed:
        if not grown:
            return None
        return report if report.status.is_closed else replace(report, status=before.status)
    if grown or _rank(report) > _rank(before):
        return report
    if _rank(report) < _rank(before) or report.ts_event_ms < before.ts_event_ms:
        return None
    changed = (report.price, report.quantity, report.trigger_price, report.working_order_id) != (
        before.price,
        before.quantity,
        before.trigger_price,
        before.working_order_id,
    )
    return report if changed else None


def _rank(report: OrderReport) -> int:
    return _RANKS.get(report.status, 3)
