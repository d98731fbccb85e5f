"""An order and its life: the words of FIX, one transition table.

`Order` is what was asked and how far it has come. It changes only by `change` and `fill`, so the
same events give the same order in a backtest, in paper trading and live.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final, NewType

from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.signal import PositionSide

OrderId = NewType("OrderId", str)
ClientOrderId = NewType("ClientOrderId", str)


class Side(StrEnum):
    """The direction of an order."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """Return +1 for BUY and -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        """Return the other side."""
        return Side.SELL if self is Side.BUY else Side.BUY

    @classmethod
    def opening(cls, position_side: PositionSide) -> "Side":
        """Return the side that opens a position on `position_side`."""
        return cls.BUY if position_side is PositionSide.LONG else cls.SELL


class OrderType(StrEnum):
    """How an order executes. *_MARKET and *_LIMIT conditional orders wait for a trigger first."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    STOP_LIMIT = "STOP_LIMIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"

    @property
    def is_conditional(self) -> bool:
        """Tell whether the order waits for a trigger price."""
        return self not in (OrderType.MARKET, OrderType.LIMIT)

    @property
    def is_limit(self) -> bool:
        """Tell whether the order, once working, rests at a price."""
        return self in (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT)


class TimeInForce(StrEnum):
    """How long an order works. GTX is post-only: it is refused rather than filled as taker."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    GTD = "GTD"


class WorkingPrice(StrEnum):
    """The price that a trigger watches."""

    LAST = "LAST"
    MARK = "MARK"


class Liquidity(StrEnum):
    """Whether a fill rested in the book (MAKER) or took from it (TAKER)."""

    MAKER = "MAKER"
    TAKER = "TAKER"


class OrderPurpose(StrEnum):
    """Why an order exists; written into fills as the reason."""

    ENTRY = "ENTRY"
    EXIT = "EXIT"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    LIQUIDATION = "LIQUIDATION"
    CLOSE_OUT = "CLOSE_OUT"


class OrderStatus(StrEnum):
    """Where an order stands. UNKNOWN means sent, outcome not known: resolve by asking."""

    INITIALIZED = "INITIALIZED"
    DENIED = "DENIED"
    SUBMITTED = "SUBMITTED"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    TRIGGERED = "TRIGGERED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def is_closed(self) -> bool:
        """Tell whether no further event but a late fill is expected."""
        return self in _CLOSED

    @property
    def is_open(self) -> bool:
        """Tell whether the venue works the order."""
        return self in _OPEN


_CLOSED: Final = frozenset(
    {
        OrderStatus.DENIED,
        OrderStatus.REJECTED,
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
    }
)
_OPEN: Final = frozenset(
    {OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED}
)


class OrderChange(StrEnum):
    """The kinds of event that move an order."""

    DENIED = "DENIED"
    SUBMITTED = "SUBMITTED"
    LOST = "LOST"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    TRIGGERED = "TRIGGERED"
    AMENDED = "AMENDED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


_IN_FLIGHT: Final = {
    OrderChange.ACCEPTED: OrderStatus.ACCEPTED,
    OrderChange.REJECTED: OrderStatus.REJECTED,
    OrderChange.TRIGGERED: OrderStatus.TRIGGERED,
    OrderChange.FILLED: OrderStatus.PARTIALLY_FILLED,
    OrderChange.CANCELED: OrderStatus.CANCELED,
    OrderChange.EXPIRED: OrderStatus.EXPIRED,
}
TRANSITIONS: Final[dict[OrderStatus, dict[OrderChange, OrderStatus]]] = {
    OrderStatus.INITIALIZED: {
        OrderChange.DENIED: OrderStatus.DENIED,
        OrderChange.SUBMITTED: OrderStatus.SUBMITTED,
        **_IN_FLIGHT,
    },
    OrderStatus.SUBMITTED: {OrderChange.LOST: OrderStatus.UNKNOWN, **_IN_FLIGHT},
    OrderStatus.UNKNOWN: _IN_FLIGHT,
    OrderStatus.ACCEPTED: {
        OrderChange.AMENDED: OrderStatus.ACCEPTED,
        OrderChange.TRIGGERED: OrderStatus.TRIGGERED,
        OrderChange.REJECTED: OrderStatus.REJECTED,
        OrderChange.FILLED: OrderStatus.PARTIALLY_FILLED,
        OrderChange.CANCELED: OrderStatus.CANCELED,
        OrderChange.EXPIRED: OrderStatus.EXPIRED,
    },
    OrderStatus.TRIGGERED: {
        OrderChange.AMENDED: OrderStatus.TRIGGERED,
        OrderChange.REJECTED: OrderStatus.REJECTED,
        OrderChange.FILLED: OrderStatus.PARTIALLY_FILLED,
        OrderChange.CANCELED: OrderStatus.CANCELED,
        OrderChange.EXPIRED: OrderStatus.EXPIRED,
    },
    OrderStatus.PARTIALLY_FILLED: {
        OrderChange.AMENDED: OrderStatus.PARTIALLY_FILLED,
        OrderChange.FILLED: OrderStatus.PARTIALLY_FILLED,
        OrderChange.CANCELED: OrderStatus.CANCELED,
        OrderChange.EXPIRED: OrderStatus.EXPIRED,
    },
    # Venues report a cancel before the fill that crossed it, so a fill after CANCELED is legal.
    OrderStatus.CANCELED: {OrderChange.FILLED: OrderStatus.CANCELED},
    OrderStatus.EXPIRED: {OrderChange.FILLED: OrderStatus.EXPIRED},
}
"""FILLED leads to PARTIALLY_FILLED here; `Order.fill` makes it FILLED when nothing is left."""


def next_status(status: OrderStatus, change: OrderChange) -> OrderStatus:
    """Return the status after `change`. Raises InvariantBroken where the table has no such row."""
    try:
        return TRANSITIONS[status][change]
    except KeyError:
        raise InvariantBroken(f"an order that is {status} cannot become {change}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailing:
    """How a trailing stop follows the market.

    callback_rate: distance from the best price as a fraction of it. activation_price: the stop
    sleeps until the working price has reached it; None activates at once.
    """

    callback_rate: Decimal
    activation_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """What is asked of a venue. Prices on the tick grid, quantity (base) on the step grid.

    quantity: None only with close_position, which closes whatever is open when it executes.
    parent_id: the entry that this bracket leg protects; the leg sleeps until the entry fills, and
    works for the part of its quantity that the entry has filled of its own. oco_id: orders of one
    symbol that share it cancel one another once one is exhausted. expire_ms: for GTD.
    """

    client_order_id: ClientOrderId
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    working_price: WorkingPrice = WorkingPrice.LAST
    time_in_force: TimeInForce = TimeInForce.GTC
    expire_ms: int | None = None
    reduce_only: bool = False
    close_position: bool = False
    trailing: Trailing | None = None
    parent_id: ClientOrderId | None = None
    oco_id: str | None = None
    purpose: OrderPurpose = OrderPurpose.ENTRY


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request and how far it has come.

    filled_quantity: base. filled_value: quote, the sum of quantity x price over its fills.
    """

    request: OrderRequest
    status: OrderStatus = OrderStatus.INITIALIZED
    quantity: Decimal = ZERO
    filled_quantity: Decimal = ZERO
    filled_value: Decimal = ZERO

    @property
    def leaves_quantity(self) -> Decimal:
        """Return what may still fill: zero once the order is closed."""
        return ZERO if self.status.is_closed else self.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Return the value-weighted fill price, None before the first fill."""
        return self.filled_value / self.filled_quantity if self.filled_quantity else None

    def change(self, change: OrderChange) -> "Order":
        """Return the order after an event that fills nothing."""
        return replace(self, status=next_status(self.status, change))

    def fill(self, *, quantity: Decimal, price: Decimal) -> "Order":
        """Return the order after one trade. Raises InvariantBroken if it fills beyond its size."""
        filled = self.filled_quantity + quantity
        if quantity <= ZERO or filled > self.quantity:
            raise InvariantBroken(
                f"order {self.request.client_order_id} of {self.quantity} cannot fill {quantity} "
                f"after {self.filled_quantity}"
            )
        status = next_status(self.status, OrderChange.FILLED)
        if filled == self.quantity and status is OrderStatus.PARTIALLY_FILLED:
            status = OrderStatus.FILLED
        return replace(
            self,
            status=status,
            filled_quantity=filled,
            filled_value=self.filled_value + quantity * price,
        )
