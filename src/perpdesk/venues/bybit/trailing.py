"""Trailing stops by our client id, though Bybit gives them none.

At Bybit a trailing stop is an attribute of a position (position/trading-stop). The venue makes an
order of its own for it (`stopOrderType` TrailingStop, empty `orderLinkId`), one per position; a
second one takes the place of the first. The mapping from our id to that order is kept here and
lives as long as the process: after a restart the order is found again as a foreign one.
"""

from typing import Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderId, OrderRequest, OrderStatus
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.bybit.fields import Message
from perpdesk.venues.bybit.wire import TRAILING

_ENDED: Final = {"Filled", "Cancelled", "Deactivated", "Rejected"}


class TrailingStops:
    """Which of our ids stands for which trailing stop."""

    def __init__(self) -> None:
        self._requests: dict[ClientOrderId, OrderRequest] = {}
        self._order_ids: dict[ClientOrderId, OrderId] = {}
        self._client_ids: dict[OrderId, ClientOrderId] = {}
        self._current: dict[str, ClientOrderId] = {}
        self._expected: dict[str, ClientOrderId] = {}

    def expect(self, request: OrderRequest) -> ClientOrderId | None:
        """Note, before it is sent, that this is the symbol's trailing stop from now on.

        Return the id that it takes the place of.
        """
        symbol, client_order_id = request.symbol, request.client_order_id
        before = self._current.get(symbol)
        self._requests[client_order_id] = request
        self._current[symbol] = self._expected[symbol] = client_order_id
        return before

    def refused(self, request: OrderRequest, before: ClientOrderId | None) -> None:
        """Note that the venue refused it: what was there before stands."""
        symbol, client_order_id = request.symbol, request.client_order_id
        self._requests.pop(client_order_id, None)
        # An order seen meanwhile was taken for this one: it is what was there before.
        order_id = self._order_ids.pop(client_order_id, None)
        if order_id is not None and self._client_ids.get(order_id) == client_order_id:
            del self._client_ids[order_id]
            if before is not None:
                self._order_ids[before], self._client_ids[order_id] = order_id, before
        if self._expected.get(symbol) == client_order_id:
            del self._expected[symbol]
        if self._current.get(symbol) == client_order_id:
            del self._current[symbol]
            if before is not None:
                self._current[symbol] = before
                if before not in self._order_ids:
                    self._expected[symbol] = before

    def knows(self, client_order_id: ClientOrderId) -> bool:
        """Tell whether the id is of a trailing stop."""
        return client_order_id in self._requests

    def is_current(self, symbol: str, client_order_id: ClientOrderId) -> bool:
        """Tell whether no later trailing stop of the symbol took its place."""
        return self._current.get(symbol) == client_order_id

    def order_id_of(self, client_order_id: ClientOrderId) -> OrderId | None:
        """Return the venue's order, None while it has not been seen."""
        return self._order_ids.get(client_order_id)

    def client_id_of(self, row: Message) -> ClientOrderId | None:
        """Return our id of an order or execution row.

        The first living trailing order seen after `expect` is the expected one, also where the
        venue changed the order that was there before.
        """
        order_id = OrderId(str(row.get("orderId") or ""))
        symbol = str(row.get("symbol") or "")
        expected = self._expected.get(symbol)
        living = "orderStatus" in row and row["orderStatus"] not in _ENDED
        if expected is not None and order_id and living and row.get("stopOrderType") == TRAILING:
            del self._expected[symbol]
            self._order_ids[expected] = order_id
            self._client_ids[order_id] = expected
        return self._client_ids.get(order_id)

    def report(
        self, client_order_id: ClientOrderId, status: OrderStatus, reason: str = ""
    ) -> OrderReport:
        """Return what we know by ourselves of a trailing stop."""
        request = self._requests[client_order_id]
        return OrderReport(
            symbol=request.symbol,
            client_order_id=client_order_id,
            order_id=self._order_ids.get(client_order_id, OrderId("")),
            status=status,
            side=request.side,
            type=request.type,
            quantity=request.quantity or ZERO,
            reduce_only=True,
            close_position=request.close_position,
            reason=reason,
        )
