"""Round trips: events folded into trades, each from flat to flat of one symbol."""

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, Final

from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.events import (
    Event,
    FundingSettled,
    OrderAccepted,
    OrderAmended,
    OrderFilled,
)
from perpdesk.domain.numbers import EXACT, ZERO, truncate_amount
from perpdesk.domain.order import OrderPurpose, OrderRequest, Side
from perpdesk.domain.signal import PositionSide
from perpdesk.reports.excursions import with_excursions
from perpdesk.reports.round_trip import TRADE_COLUMNS, RoundTrip

__all__ = ["TRADE_COLUMNS", "RoundTrip", "round_trips", "with_excursions"]

_AVERAGE: Final = Context(prec=16, rounding=ROUND_HALF_EVEN)
"""An average price has no exact decimal in general: sixteen digits, as many as a float holds."""


def round_trips(events: Iterable[Event]) -> list[RoundTrip]:
    """Fold events, in their order, into round trips by entry time.

    Adds and partial exits stay inside a trip. A fill that crosses zero ends one trip and begins the
    next: its fee and slippage are split by quantity on the 1e-8 grid, the remainder to the closing
    part. Raises InvariantBroken where fills contradict the positions they report.
    """
    fold = _Fold()
    handlers: dict[type, Callable[[Any], None]] = {
        OrderAccepted: fold.accept,
        OrderAmended: fold.amend,
        OrderFilled: fold.fill,
        FundingSettled: fold.fund,
    }
    with localcontext(EXACT):
        for event in events:
            handler = handlers.get(type(event))
            if handler is not None:
                handler(event)
        trips = sorted(fold.trips, key=lambda trip: trip.entry_ts_ms)
        return [trip.freeze(trade_id) for trade_id, trip in enumerate(trips, start=1)]


class _Legs:
    """The first stop and target that wait for an entry to fill."""

    __slots__ = ("ids", "stop", "target")

    def __init__(self) -> None:
        self.stop: Decimal | None = None
        self.target: Decimal | None = None
        self.ids: dict[str, OrderPurpose] = {}


class _Trip:
    """A round trip in the making."""

    __slots__ = (
        "entered",
        "entry_id",
        "entry_ts_ms",
        "entry_value",
        "exit_reason",
        "exit_ts_ms",
        "exit_value",
        "exited",
        "fees",
        "funding",
        "gross",
        "liquidation_cost",
        "side",
        "slippage",
        "stop",
        "symbol",
        "target",
    )

    def __init__(self, fill: OrderFilled, legs: _Legs | None) -> None:
        self.symbol = fill.symbol
        self.side = PositionSide.LONG if fill.side is Side.BUY else PositionSide.SHORT
        self.entry_id = fill.client_order_id
        self.entry_ts_ms = fill.ts_ms
        self.exit_ts_ms: int | None = None
        self.exit_reason: OrderPurpose | None = None
        self.stop = legs.stop if legs else None
        self.target = legs.target if legs else None
        self.entered = self.entry_value = self.exited = self.exit_value = ZERO
        self.gross = self.fees = self.funding = self.slippage = self.liquidation_cost = ZERO

    def enter(self, quantity: Decimal, price: Decimal, fee: Decimal, slippage: Decimal) -> None:
        self.entered += quantity
        self.entry_value += quantity * price
        self.fees += fee
        self.slippage += slippage

    def leave(
        self, fill: OrderFilled, quantity: Decimal, fee: Decimal, slippage: Decimal, flat: bool
    ) -> None:
        self.exited += quantity
        self.exit_value += quantity * fill.price
        self.gross += fill.realized_pnl
        self.fees += fee
        self.slippage += slippage
        if fill.purpose is OrderPurpose.LIQUIDATION:
            self.liquidation_cost += fee
        if flat:
            self.exit_ts_ms = fill.ts_ms
            self.exit_reason = fill.purpose

    def freeze(self, trade_id: int) -> RoundTrip:
        entry_price = _AVERAGE.divide(self.entry_value, self.entered)
        net = self.gross - self.fees + self.funding
        r_multiple = None
        if self.stop is not None:
            risk = abs(entry_price - self.stop) * self.entered
            r_multiple = float(net) / float(risk) if risk else None
        return RoundTrip(
            trade_id=trade_id,
            symbol=self.symbol,
            side=self.side,
            entry_ts_ms=self.entry_ts_ms,
            exit_ts_ms=self.exit_ts_ms,
            quantity=self.entered,
            entry_price=entry_price,
            exit_price=_AVERAGE.divide(self.exit_value, self.exited) if self.exited else None,
            stop_loss=self.stop,
            take_profit=self.target,
            exit_reason=self.exit_reason,
            gross_pnl=self.gross,
            fees=self.fees,
            funding=self.funding,
            slippage_cost=self.slippage,
            net_pnl=net,
            r_multiple=r_multiple,
            liquidation_cost=self.liquidation_cost,
            traded_notional=self.entry_value + self.exit_value,
        )


class _Fold:
    """The state between two events."""

    def __init__(self) -> None:
        self.trips: list[_Trip] = []
        self.open: dict[str, _Trip] = {}
        self.waiting: dict[str, _Legs] = {}
        self.legs: dict[str, _Legs] = {}

    def accept(self, event: OrderAccepted) -> None:
        request = event.request
        purpose = request.purpose
        if purpose is not OrderPurpose.STOP_LOSS and purpose is not OrderPurpose.TAKE_PROFIT:
            return
        price = request.price if request.trigger_price is None else request.trigger_price
        trip = self.open.get(event.symbol)
        if (
            trip is not None
            and request.parent_id in (None, trip.entry_id)
            and request.side.sign != trip.side.sign
        ):
            if purpose is OrderPurpose.TAKE_PROFIT:
                trip.target = price if trip.target is None else trip.target
            else:
                trip.stop = price if trip.stop is None else trip.stop
        elif request.parent_id is not None:
            self._wait(request, purpose, price)

    def _wait(self, request: OrderRequest, purpose: OrderPurpose, price: Decimal | None) -> None:
        assert request.parent_id is not None
        legs = self.waiting.setdefault(request.parent_id, _Legs())
        if purpose is OrderPurpose.STOP_LOSS and legs.stop is None:
            legs.stop = price
        elif purpose is OrderPurpose.TAKE_PROFIT and legs.target is None:
            legs.target = price
        else:
            return  # only the first of each kind is reported
        legs.ids[request.client_order_id] = purpose
        self.legs[request.client_order_id] = legs

    def amend(self, event: OrderAmended) -> None:
        """A leg moved before its entry filled is the first level; a later move is management."""
        legs = self.legs.get(event.client_order_id)
        if legs is None:
            return
        level = event.price if event.trigger_price is None else event.trigger_price
        if legs.ids[event.client_order_id] is OrderPurpose.STOP_LOSS:
            legs.stop = level
        else:
            legs.target = level

    def fill(self, event: OrderFilled) -> None:
        after = event.position_after
        signed = event.quantity if event.side is Side.BUY else -event.quantity
        before = after - signed
        trip = self.open.get(event.symbol)
        if (trip is None) != (not before):
            raise InvariantBroken(
                f"fill {event.seq} of {event.symbol} reports {before} before it, but the trade so "
                f"far is {'closed' if trip is None else 'open'}"
            )
        if trip is None:
            self._begin(event).enter(event.quantity, event.price, event.fee, event.slippage_cost)
        elif (before > ZERO) == (signed > ZERO):
            trip.enter(event.quantity, event.price, event.fee, event.slippage_cost)
        elif not after:
            trip.leave(event, event.quantity, event.fee, event.slippage_cost, flat=True)
            del self.open[event.symbol]
        elif (after > ZERO) == (before > ZERO):
            trip.leave(event, event.quantity, event.fee, event.slippage_cost, flat=False)
        else:
            opened = abs(after)
            fee, slippage = (
                truncate_amount(EXACT.divide(amount * opened, event.quantity))
                for amount in (event.fee, event.slippage_cost)
            )
            rest = (event.fee - fee, event.slippage_cost - slippage)
            trip.leave(event, event.quantity - opened, *rest, flat=True)
            self._begin(event).enter(opened, event.price, fee, slippage)

    def _begin(self, fill: OrderFilled) -> _Trip:
        legs = self.waiting.pop(fill.client_order_id, None)
        if legs is not None:
            for leg_id in legs.ids:
                del self.legs[leg_id]
        trip = _Trip(fill, legs)
        self.trips.append(trip)
        self.open[fill.symbol] = trip
        return trip

    def fund(self, event: FundingSettled) -> None:
        trip = self.open.get(event.symbol)
        if trip is None:
            raise InvariantBroken(f"funding {event.seq} of {event.symbol} without a position")
        trip.funding += event.amount
