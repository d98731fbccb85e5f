"""Commands at the exchange's door: accept, refuse, cancel, amend, and account settings."""

from dataclasses import replace
from decimal import Decimal

from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    AmendOrder,
    CommandRejected,
    OrderAccepted,
    OrderAmended,
    OrderRejected,
    StopCause,
)
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderType, Side, WorkingPrice
from perpdesk.domain.order_rules import Refusal, Rule, check_order, refusal
from perpdesk.simulation.account_commands import unknown_symbol
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.admission import opening_fault
from perpdesk.simulation.execution import Execution
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.state import SymbolState, WorkingOrder


class OrderEntry:
    """Validates commands by the venue's rules and keeps client ids unique for good."""

    def __init__(self, accounting: Accounting, execution: Execution, journal: Journal) -> None:
        self.accounting = accounting
        self.execution = execution
        self.journal = journal
        self.known_ids: set[ClientOrderId] = set()

    # Submit.

    def submit(
        self,
        request: OrderRequest,
        legs: tuple[OrderRequest, ...] = (),
        *,
        stopped: StopCause | None,
    ) -> None:
        """Accept an order, with the legs that wait for it, or refuse it and its legs whole."""
        state = self.accounting.symbols.get(request.symbol)
        if state is None:
            self._reject(request, unknown_symbol(self.accounting, request.symbol))
            return
        fault = self._fault_of(state, request, legs, stopped)
        if fault is not None:
            self._reject(request, fault)
            return
        order = self.execution.new_order(request)
        if request.type is OrderType.LIMIT:
            fault = self.execution.reserve(state, order)
            if fault is not None:
                self._reject(request, fault)
                return
        self.known_ids.add(request.client_order_id)
        state.orders[request.client_order_id] = order
        self.journal.add(
            OrderAccepted,
            symbol=request.symbol,
            order_id=order.order_id,
            request=request,
            quantity=order.quantity,
        )
        if legs:
            self.known_ids.update(leg.client_order_id for leg in legs)
            state.legs[request.client_order_id] = [self.execution.new_order(leg) for leg in legs]

    def _fault_of(
        self,
        state: SymbolState,
        request: OrderRequest,
        legs: tuple[OrderRequest, ...],
        stopped: StopCause | None,
    ) -> Refusal | None:
        venue = state.instrument.venue
        if stopped is not None:
            return refusal(venue, Rule.MARGIN, f"the account is stopped: {stopped}")
        if request.client_order_id in self.known_ids:
            return _used_before(venue, request)
        # Before the first bar there is no mark: the order's own price stands in.
        mark = state.mark_price or request.price or request.trigger_price or ZERO
        fault = check_order(request, state.instrument, mark_price=mark)
        if fault is None and legs:
            fault = self._fault_of_legs(state, request, legs, mark)
        if fault is not None:
            return fault
        reduces = request.reduce_only or request.close_position
        if reduces and not state.reducible_quantity(request.side):
            return refusal(venue, Rule.REDUCE_ONLY, "there is no position to reduce")
        if request.type.is_conditional:
            return self._triggers_at_once(state, request)
        return None

    def _fault_of_legs(
        self,
        state: SymbolState,
        entry: OrderRequest,
        legs: tuple[OrderRequest, ...],
        mark: Decimal,
    ) -> Refusal | None:
        venue = state.instrument.venue
        if entry.quantity is None:
            return refusal(venue, Rule.QUANTITY, "the entry of a bracket needs a quantity")
        ids = {entry.client_order_id}
        for leg in legs:
            if leg.client_order_id in self.known_ids or leg.client_order_id in ids:
                return _used_before(venue, leg)
            ids.add(leg.client_order_id)
            if leg.parent_id != entry.client_order_id or leg.symbol != entry.symbol:
                return refusal(
                    venue, Rule.UNKNOWN_ORDER, f"leg {leg.client_order_id} names another entry"
                )
            if leg.quantity is None:
                return refusal(venue, Rule.QUANTITY, f"leg {leg.client_order_id} needs a quantity")
            # What a leg is judged by is the price that wakes it, not today's mark.
            woken_at = entry.price or entry.trigger_price or mark
            fault = check_order(leg, state.instrument, mark_price=woken_at)
            if fault is not None:
                return fault
        return None

    @staticmethod
    def _triggers_at_once(state: SymbolState, request: OrderRequest) -> Refusal | None:
        """A conditional order whose condition already holds is refused by both venues.

        Of a trailing stop this goes for its activation price, which the market has yet to reach.
        """
        watches_mark = request.working_price is WorkingPrice.MARK
        watched = state.mark_price if watches_mark else state.last_price
        is_trailing = request.type is OrderType.TRAILING_STOP_MARKET
        trailing = request.trailing if is_trailing else None
        level = request.trigger_price if trailing is None else trailing.activation_price
        if level is None or not watched:
            return None
        stop = trailing is None and request.type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
        rises = stop == (request.side is Side.BUY)
        if (watched >= level) if rises else (watched <= level):
            return refusal(
                state.instrument.venue,
                Rule.WOULD_TRIGGER,
                f"trigger {plain(level)} is already reached at {plain(watched)}; send a market "
                "order, or move the trigger",
            )
        return None

    def _reject(self, request: OrderRequest, fault: Refusal) -> None:
        self.journal.add(
            OrderRejected,
            symbol=request.symbol,
            client_order_id=request.client_order_id,
            code=fault.code,
            reason=fault.reason,
        )

    # Cancel and amend.

    def _find(self, client_order_id: ClientOrderId) -> tuple[SymbolState, WorkingOrder] | None:
        for state in self.accounting.symbols.values():
            order = state.orders.get(client_order_id)
            if order is not None:
                return state, order
        return None

    def cancel(self, client_order_id: ClientOrderId) -> None:
        """Cancel one working order."""
        found = self._find(client_order_id)
        if found is None:
            self._refuse_unknown(client_order_id)
            return
        self.execution.cancel(*found, "canceled on request")

    def cancel_all(self, symbol: str | None) -> None:
        """Cancel every working order of a symbol, or of the account."""
        for state in self.accounting.symbols.values():
            if symbol is None or state.symbol == symbol:
                self.execution.cancel_orders(state, "canceled on request")

    def _refuse_unknown(self, client_order_id: ClientOrderId) -> None:
        any_state = next(iter(self.accounting.symbols.values()))
        reason = f"order {client_order_id} is not open"
        self._refuse(
            any_state,
            refusal(any_state.instrument.venue, Rule.UNKNOWN_ORDER, reason),
            client_order_id,
        )

    def amend(self, command: AmendOrder) -> None:
        """Change size, price or trigger of a working order, or refuse and leave it as it is."""
        found = self._find(command.client_order_id)
        if found is None:
            self._refuse_unknown(command.client_order_id)
            return
        state, order = found
        fault = self._amend_fault(state, order, command)
        if fault is not None:
            self._refuse(state, fault, command.client_order_id)
            return
        grows = command.quantity is not None and command.quantity > order.quantity
        if command.quantity is not None:
            order.quantity = command.quantity
        if command.price is not None:
            order.price = command.price
        if grows or command.price is not None:
            # It goes to the back of the queue, and has not rested before this bar.
            order.rested = False
        if command.trigger_price is not None:
            order.trigger_price = command.trigger_price
        if self._holds_margin(order):
            self.execution.hold(order, self.execution.cost_of(state, order))
        self.journal.add(
            OrderAmended,
            symbol=state.symbol,
            client_order_id=command.client_order_id,
            quantity=order.quantity,
            price=order.price,
            trigger_price=order.trigger_price,
        )

    def _amend_fault(
        self, state: SymbolState, order: WorkingOrder, command: AmendOrder
    ) -> Refusal | None:
        request, venue = order.request, state.instrument.venue
        if request.close_position and command.quantity is not None:
            return refusal(venue, Rule.QUANTITY, "an order that closes the position has no size")
        quantity = order.quantity if command.quantity is None else command.quantity
        if not quantity.is_finite():
            return refusal(venue, Rule.QUANTITY, f"quantity {quantity} is not a size")
        if quantity <= order.filled and not request.close_position:
            return refusal(
                venue,
                Rule.QUANTITY,
                f"quantity {plain(quantity)} is not above the {plain(order.filled)} that has "
                "filled already",
            )
        if command.price is not None and not request.type.is_limit:
            return refusal(venue, Rule.MISSING_PRICE, f"a {request.type} order has no price")
        trailing = request.type is OrderType.TRAILING_STOP_MARKET
        if command.trigger_price is not None and (order.triggered or trailing):
            return refusal(venue, Rule.MISSING_PRICE, "the order has no trigger price to change")
        changed = replace(
            request,
            quantity=None if request.close_position else quantity,
            price=order.price if command.price is None else command.price,
            trigger_price=order.trigger_price
            if command.trigger_price is None
            else command.trigger_price,
        )
        mark = state.mark_price or changed.price or changed.trigger_price or ZERO
        fault = check_order(changed, state.instrument, mark_price=mark)
        if fault is None and command.trigger_price is not None:
            fault = self._triggers_at_once(state, changed)
        if fault is None and self._holds_margin(order):
            assert changed.price is not None
            fault = opening_fault(
                self.accounting,
                state,
                request.side,
                quantity - order.filled,
                changed.price,
                self.journal.ts_ms,
                reserved=order.reserved,
            )
        return fault

    @staticmethod
    def _holds_margin(order: WorkingOrder) -> bool:
        """Tell whether the order is one for which margin is held while it rests."""
        return order.rests and not (order.request.reduce_only or order.request.close_position)

    def _refuse(
        self,
        state: SymbolState,
        fault: Refusal,
        client_order_id: ClientOrderId | None = None,
    ) -> None:
        self.journal.add(
            CommandRejected,
            symbol=state.symbol,
            client_order_id=client_order_id,
            code=fault.code,
            reason=fault.reason,
        )


def _used_before(venue: Venue, request: OrderRequest) -> Refusal:
    reason = f"id {request.client_order_id} was used before; a new order needs a new one"
    return refusal(venue, Rule.DUPLICATE_ID, reason)
