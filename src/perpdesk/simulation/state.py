"""What the exchange remembers: working orders and, per symbol, position, prices and settings."""

from dataclasses import dataclass, field
from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.instrument import FeeRates, Instrument
from perpdesk.domain.numbers import ONE, ZERO, ceil_to_step, floor_to_step
from perpdesk.domain.order import (
    ClientOrderId,
    OrderId,
    OrderRequest,
    OrderType,
    Side,
    WorkingPrice,
)
from perpdesk.domain.signal import PositionSide
from perpdesk.simulation.margin import VenueRules


class WorkingOrder:
    """An order that the exchange works, or a bracket leg that waits for its entry.

    price, trigger_price, quantity: as amended. rested: has been in the book since before this bar.
    best_price: the most favourable price a trailing stop has seen since it was activated.
    asleep_until_ms: a target born inside a bar does not fill before that bar is over.
    """

    __slots__ = (
        "asleep_until_ms",
        "best_price",
        "filled",
        "order_id",
        "price",
        "priority",
        "quantity",
        "request",
        "reserved",
        "rested",
        "trigger_price",
        "triggered",
    )

    def __init__(self, request: OrderRequest, order_id: OrderId, priority: int) -> None:
        self.request = request
        self.order_id = order_id
        self.priority = priority
        self.quantity = ZERO if request.quantity is None else request.quantity
        self.price = request.price
        self.trigger_price = request.trigger_price
        self.filled = ZERO
        self.reserved = ZERO
        self.rested = False
        self.triggered = not request.type.is_conditional
        self.best_price: Decimal | None = None
        self.asleep_until_ms = 0

    @property
    def leaves(self) -> Decimal:
        """Return what may still fill, in base."""
        return self.quantity - self.filled

    @property
    def is_market(self) -> bool:
        """Tell whether the order fills at whatever the market offers next."""
        return self.triggered and not self.request.type.is_limit

    @property
    def rests(self) -> bool:
        """Tell whether the order works at its limit price."""
        return self.triggered and self.request.type.is_limit

    @property
    def is_trailing(self) -> bool:
        """Tell whether the order is a trailing stop that has not triggered."""
        return not self.triggered and self.request.type is OrderType.TRAILING_STOP_MARKET

    @property
    def watches_mark(self) -> bool:
        """Tell whether the trigger watches the mark price."""
        return self.request.working_price is WorkingPrice.MARK

    def rises_to_trigger(self) -> bool:
        """Tell whether the trigger is reached by a rising price."""
        stop = self.request.type in (
            OrderType.STOP_MARKET,
            OrderType.STOP_LIMIT,
            OrderType.TRAILING_STOP_MARKET,
        )
        return stop == (self.request.side is Side.BUY)

    def trigger_level(self, tick_size: Decimal) -> Decimal | None:
        """Return the price that triggers now; None while a trailing stop sleeps.

        A trailing level lies on the tick that triggers later, so that rounding never helps.
        """
        if not self.is_trailing:
            return self.trigger_price
        if self.best_price is None or self.request.trailing is None:
            return None
        callback = self.request.trailing.callback_rate
        if self.request.side is Side.SELL:
            return floor_to_step(self.best_price * (ONE - callback), tick_size)
        return ceil_to_step(self.best_price * (ONE + callback), tick_size)

    def observe(self, price: Decimal) -> None:
        """Let a trailing stop see a price: it wakes at its activation price, then follows."""
        trailing = self.request.trailing
        if trailing is None or not self.is_trailing:
            return
        sell = self.request.side is Side.SELL
        if self.best_price is None:
            wake = trailing.activation_price
            if wake is None or (price >= wake if sell else price <= wake):
                self.best_price = price
        else:
            self.best_price = (max if sell else min)(self.best_price, price)


@dataclass(slots=True, kw_only=True)
class SymbolState:
    """One symbol of the account: settings, position, latest prices and orders.

    signed_quantity: base. entry_value: quote, signed alike, on the 1e-8 grid. isolated_margin:
    quote. close_fee_rate: the taker rate at the last trade, which Bybit's fee to close is reserved
    at. fee_rates: in force from fee_rates_from_ms until fee_rates_until_ms. bar_volume: base that
    the current bar traded; volume_left: what of it our orders may still take, None without a limit.
    orders: by client id, in the order of acceptance. legs: bracket legs that still belong to an
    entry that may fill, by the client id of the entry.
    """

    instrument: Instrument
    rules: VenueRules
    leverage: Decimal
    margin_mode: MarginMode
    signed_quantity: Decimal = ZERO
    entry_value: Decimal = ZERO
    isolated_margin: Decimal = ZERO
    last_price: Decimal = ZERO
    mark_price: Decimal = ZERO
    bar_volume: Decimal = ZERO
    volume_left: Decimal | None = None
    fee_rates: FeeRates = field(default_factory=lambda: FeeRates(maker=ZERO, taker=ZERO))
    fee_rates_from_ms: int = 0
    fee_rates_until_ms: int = 0
    close_fee_rate: Decimal = ZERO
    orders: dict[ClientOrderId, WorkingOrder] = field(default_factory=dict)
    legs: dict[ClientOrderId, list[WorkingOrder]] = field(default_factory=dict)

    @property
    def symbol(self) -> str:
        """Return the symbol's name."""
        return self.instrument.symbol

    @property
    def side(self) -> PositionSide | None:
        """Return the side of the open position, None when flat."""
        if not self.signed_quantity:
            return None
        return PositionSide.LONG if self.signed_quantity > ZERO else PositionSide.SHORT

    def opening_quantity(self, side: Side, quantity: Decimal) -> Decimal:
        """Return how much of an order would open rather than close, in base."""
        against = -side.sign * self.signed_quantity
        return (
            quantity - against
            if against > ZERO and quantity > against
            else (ZERO if against > ZERO else quantity)
        )

    def reducible_quantity(self, side: Side) -> Decimal:
        """Return how much a reduce-only order on `side` can close, in base."""
        return max(ZERO, -side.sign * self.signed_quantity)
