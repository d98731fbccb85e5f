"""The orders of a bracket: what is known of each, which leg they stand for, and their ids."""

import re
from decimal import Decimal
from hashlib import blake2s
from typing import Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderRequest, OrderType
from perpdesk.domain.venue_reports import FillReport, OrderReport

LONGEST_ID: Final = 36


def name_of(client_order_id: str) -> str:
    """Return the id without the number of its attempt."""
    return re.sub(r"-\d+$", "", client_order_id)


def number_of(client_order_id: str) -> int:
    """Return the number of the attempt: what stands last in the id, 1 where nothing does."""
    found = re.search(r"-(\d+)$", client_order_id)
    return int(found[1]) if found else 1


def with_number(client_order_id: str, number: int) -> ClientOrderId:
    """Return the id of another attempt.

    Where it grows beyond 36 characters, a digest stands for the end of the name.
    """
    return ClientOrderId(_shortened(name_of(client_order_id), f"-{number}"))


def exit_request(entry: OrderRequest) -> OrderRequest:
    """Return the market order that closes what an entry has opened; its id is a mark on it."""
    return OrderRequest(
        client_order_id=ClientOrderId(_shortened(name_of(entry.client_order_id), "-x-1")),
        symbol=entry.symbol,
        side=entry.side.opposite,
        type=OrderType.MARKET,
        quantity=entry.quantity,
        reduce_only=True,
        purpose=OrderPurpose.EXIT,
    )


def _shortened(name: str, suffix: str) -> str:
    if len(name) + len(suffix) > LONGEST_ID:
        digest = blake2s(name.encode(), digest_size=4).hexdigest()
        name = f"{name[: LONGEST_ID - len(suffix) - len(digest) - 1]}-{digest}"
    return name + suffix


class SentOrder:
    """One order of the bracket. What is known of it only grows, whatever comes twice or late.

    closed: by the venue's word. absent: by our own conclusion, which any word of the venue undoes.
    """

    def __init__(self, request: OrderRequest) -> None:
        assert request.quantity is not None
        self.request = request
        self.quantity = request.quantity
        self.accepted = False
        self.closed = False
        self.absent = False
        self.cancel_sent = False
        self._reported = ZERO
        self._fills: dict[str, Decimal] = {}
        self._seen_ms = -1

    @property
    def client_order_id(self) -> ClientOrderId:
        """Return the id."""
        return self.request.client_order_id

    @property
    def filled(self) -> Decimal:
        """Return what has filled, in base, by whichever source knows more."""
        return max(self._reported, sum(self._fills.values(), ZERO))

    @property
    def is_filled(self) -> bool:
        """Tell whether nothing is left."""
        return self.filled >= self.quantity

    @property
    def is_closed(self) -> bool:
        """Tell whether it works no more."""
        return self.closed or self.absent or self.is_filled

    @property
    def leaves(self) -> Decimal:
        """Return what may still fill, in base."""
        return ZERO if self.is_closed else self.quantity - self.filled

    def learn(self, report: OrderReport) -> None:
        """Take what the venue says. A size that was changed there by hand is taken over."""
        self._reported = max(self._reported, report.filled_quantity)
        if report.status.is_open or report.status.is_closed:
            self.accepted, self.absent = True, False
        if report.status.is_closed:
            self.closed = True
        if report.ts_event_ms > self._seen_ms and report.quantity > ZERO:
            self._seen_ms, self.quantity = report.ts_event_ms, report.quantity

    def learn_fill(self, fill: FillReport) -> None:
        """Take a trade of it."""
        self._fills[fill.trade_id] = fill.quantity
        self.accepted, self.absent = True, False


class BracketLeg:
    """One leg as planned, and the orders that have stood for it, in the order of their attempts.

    refused: how many of them the venue refused. ended_by_others: how many were ended at the venue
    without our asking. given_up: no more are placed.
    """

    def __init__(self, plan: OrderRequest) -> None:
        self.plan = plan
        self.is_stop = plan.purpose is OrderPurpose.STOP_LOSS or plan.type in (
            OrderType.STOP_MARKET,
            OrderType.STOP_LIMIT,
            OrderType.TRAILING_STOP_MARKET,
        )
        self.orders: list[SentOrder] = []
        self.refused = 0
        self.ended_by_others = 0
        self.given_up = False
        self._next_number = number_of(plan.client_order_id)

    @property
    def filled(self) -> Decimal:
        """Return what all its orders have filled, in base."""
        return sum((order.filled for order in self.orders), ZERO)

    @property
    def live(self) -> list[SentOrder]:
        """Return those of its orders that may still work."""
        return [order for order in self.orders if not order.is_closed]

    def next_id(self) -> ClientOrderId:
        """Return the id of the next order: the planned one, then later attempts of it."""
        if self._next_number == number_of(self.plan.client_order_id):
            return self.plan.client_order_id
        return with_number(self.plan.client_order_id, self._next_number)

    def is_ours(self, client_order_id: ClientOrderId) -> bool:
        """Tell whether an id is that of an attempt of this leg."""
        if client_order_id == self.plan.client_order_id:
            return True
        return client_order_id == with_number(
            self.plan.client_order_id, number_of(client_order_id)
        ) and number_of(client_order_id) > number_of(self.plan.client_order_id)

    def add(self, request: OrderRequest) -> SentOrder:
        """Take an order that stands for the leg."""
        sent = SentOrder(request)
        self.orders.append(sent)
        self.orders.sort(key=lambda order: number_of(order.client_order_id))
        self._next_number = max(self._next_number, number_of(sent.client_order_id) + 1)
        return sent
