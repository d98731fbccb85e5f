"""Commands at the exchange's door: accept, refuse, cancel, amend, and account settings."""

from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.events import (
    AddIsolatedMargin,
    AmendOrder,
    CommandRejected,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
    OrderAccepted,
    OrderAmended,
    OrderRejected,
    SetLeverage,
    SetMarginMode,
    StopCause,
)
from perpdesk.domain.numbers import ZERO, floor_to_step, plain
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderType, Side
from perpdesk.domain.order_rules import Refusal, Rule, check_order, refusal
from perpdesk.simulation.accounting import Accounting
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
            self._reject(request, "", f"symbol {request.symbol} is not traded here")
            return
        fault = self._fault_of(state, request, legs, stopped)
        if fault is not None:
            self._reject(request, fault.code, fault.reason)
            return
        order = self.execution.new_order(request)
        if not self._reserve(state, order):
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
        mark = state.mark_price if state.mark_price else (request.price or ZERO)
        for each in (request, *legs):
            if each.client_order_id in self.known_ids:
                return refusal(
                    venue, Rule.DUPLICATE_ID, f"id {each.client_order_id} was used before"
                )
            if mark:
                fault = check_order(each, state.instrument, mark_price=mark)
                if fault is not None:
                    return fault
        for leg in legs:
            if leg.parent_id != request.client_order_id:
                return refusal(
                    venue, Rule.UNKNOWN_ORDER, f"leg {leg.client_order_id} names another entry"
                )
        reduces = request.reduce_only or request.close_position
        if reduces and not state.reducible_quantity(request.side):
            return refusal(venue, Rule.REDUCE_ONLY, "there is no position to reduce")
        return self._triggers_at_once(state, request)

    @staticmethod
    def _triggers_at_once(state: SymbolState, request: OrderRequest) -> Refusal | None:
        """A conditional order whose condition already holds is refused by both venues."""
        trigger = request.trigger_price
        watched = state.mark_price if request.working_price.value == "MARK" else state.last_price
        if trigger is None or not watched:
            return None
        stop = request.type in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)
        rises = stop == (request.side is Side.BUY)
        if (watched >= trigger) if rises else (watched <= trigger):
            return refusal(
                state.instrument.venue,
                Rule.WOULD_TRIGGER,
                f"trigger {plain(trigger)} is already reached at {plain(watched)}; send a market "
                "order, or move the trigger",
            )
        return None

    def _reserve(self, state: SymbolState, order: WorkingOrder) -> bool:
        """Hold margin for a limit order that would open a position, or refuse it."""
        request = order.request
        if request.type is not OrderType.LIMIT or request.reduce_only or request.close_position:
            return True
        assert request.price is not None
        opening = state.opening_quantity(request.side, order.quantity)
        ts_ms = self.journal.ts_ms
        cost = self.accounting.cost_of(state, request.side, opening, request.price, ts_ms)
        free = self.accounting.free_for_orders()
        if cost > free:
            step = state.instrument.step_size
            largest = floor_to_step(opening * max(ZERO, free) / cost, step)
            fault = refusal(
                state.instrument.venue,
                Rule.MARGIN,
                f"the order needs {plain(cost)} of margin and fees, {plain(max(ZERO, free))} is "
                f"free; the largest affordable quantity is {plain(largest)}",
            )
            self._reject(request, fault.code, fault.reason)
            return False
        order.reserved = cost
        self.accounting.reserved += cost
        return True

    def _reject(self, request: OrderRequest, code: str, reason: str) -> None:
        self.journal.add(
            OrderRejected,
            symbol=request.symbol,
            client_order_id=request.client_order_id,
            code=code,
            reason=reason,
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
                for order in list(state.orders.values()):
                    if order.request.client_order_id in state.orders:
                        self.execution.cancel(state, order, "canceled on request")

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
        if command.quantity is not None:
            order.quantity = command.quantity
        if command.price is not None:
            order.price = command.price
            # A new price goes to the back of the queue, and has not rested before this bar.
            order.rested = False
        if command.trigger_price is not None:
            order.trigger_price = command.trigger_price
        self._rereserve(state, order)
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
        quantity = order.quantity if command.quantity is None else command.quantity
        if quantity <= order.filled:
            return refusal(
                venue, Rule.QUANTITY, f"{plain(order.filled)} of the order has filled already"
            )
        changed = OrderRequest(
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            quantity=quantity,
            price=order.price if command.price is None else command.price,
            trigger_price=order.trigger_price
            if command.trigger_price is None
            else command.trigger_price,
            working_price=request.working_price,
            time_in_force=request.time_in_force,
            expire_ms=request.expire_ms,
            reduce_only=request.reduce_only,
            close_position=request.close_position,
            trailing=request.trailing,
        )
        fault = check_order(changed, state.instrument, mark_price=state.mark_price)
        if fault is None and not order.triggered:
            fault = self._triggers_at_once(state, changed)
        if fault is None and order.reserved and changed.price is not None:
            cost = self._reserve_cost(state, order, quantity, changed.price)
            if cost - order.reserved > self.accounting.free_for_orders():
                fault = refusal(venue, Rule.MARGIN, f"the amended order needs {plain(cost)}")
        return fault

    def _reserve_cost(
        self, state: SymbolState, order: WorkingOrder, quantity: Decimal, price: Decimal
    ) -> Decimal:
        opening = state.opening_quantity(order.request.side, quantity - order.filled)
        side, ts_ms = order.request.side, self.journal.ts_ms
        return self.accounting.cost_of(state, side, opening, price, ts_ms)

    def _rereserve(self, state: SymbolState, order: WorkingOrder) -> None:
        if not order.reserved or order.price is None:
            return
        cost = self._reserve_cost(state, order, order.quantity, order.price)
        self.accounting.reserved += cost - order.reserved
        order.reserved = cost

    # Settings.

    def set_leverage(self, command: SetLeverage) -> None:
        """Set a symbol's leverage; an open isolated position keeps its own until it is closed."""
        state = self._state_of(command.symbol)
        if state is None:
            return
        venue, leverage = state.instrument.venue, command.leverage
        margin = self.accounting.margin_of(state)
        most = state.instrument.tier_for(margin.notional).max_leverage
        if leverage < 1 or leverage > most:
            reason = f"leverage {plain(leverage)} is not within 1 to {plain(most)}"
            self._refuse(state, refusal(venue, Rule.LEVERAGE, reason))
            return
        if state.signed_quantity and state.margin_mode is MarginMode.ISOLATED:
            reason = "an isolated position is open; close it before changing leverage"
            self._refuse(state, refusal(venue, Rule.LEVERAGE, reason))
            return
        state.leverage = leverage
        self.journal.add(LeverageChanged, symbol=state.symbol, leverage=leverage)

    def set_margin_mode(self, command: SetMarginMode) -> None:
        """Set isolated or cross; on Bybit it holds for the whole account."""
        state = self._state_of(command.symbol)
        if state is None:
            return
        wide = state.rules.reserves_close_fee
        affected = list(self.accounting.symbols.values()) if wide else [state]
        if any(each.signed_quantity or each.orders for each in affected):
            reason = "positions or orders are open; close them before changing the margin mode"
            self._refuse(state, refusal(state.instrument.venue, Rule.MARGIN_MODE, reason))
            return
        for each in affected:
            each.margin_mode = command.margin_mode
            self.journal.add(MarginModeChanged, symbol=each.symbol, margin_mode=command.margin_mode)

    def add_isolated_margin(self, command: AddIsolatedMargin) -> None:
        """Move quote to or from an isolated position."""
        state = self._state_of(command.symbol)
        if state is None:
            return
        venue = state.instrument.venue
        if not state.signed_quantity or state.margin_mode is not MarginMode.ISOLATED:
            reason = "there is no isolated position to add margin to"
            self._refuse(state, refusal(venue, Rule.MARGIN_MODE, reason))
            return
        extra = state.isolated_margin - abs(state.entry_value) / state.leverage
        if command.amount > self.accounting.free_for_orders() or -command.amount > extra:
            reason = (
                f"only {plain(self.accounting.free_for_orders())} may be added and "
                f"{plain(max(ZERO, extra))} taken back"
            )
            self._refuse(state, refusal(venue, Rule.MARGIN, reason))
            return
        state.isolated_margin += command.amount
        self.journal.add(
            IsolatedMarginChanged,
            symbol=state.symbol,
            amount=command.amount,
            isolated_margin=state.isolated_margin,
        )

    def _state_of(self, symbol: str) -> SymbolState | None:
        state = self.accounting.symbols.get(symbol)
        if state is None:
            self.journal.add(
                CommandRejected,
                symbol=symbol,
                client_order_id=None,
                code="",
                reason=f"symbol {symbol} is not traded here",
            )
        return state

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
