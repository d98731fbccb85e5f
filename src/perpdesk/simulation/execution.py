"""Trades: an order meets a price, the account moves, and the legs of a bracket wake or die."""

from decimal import Decimal

from perpdesk.domain.events import (
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from perpdesk.domain.numbers import ZERO, floor_to_step
from perpdesk.domain.order import (
    Liquidity,
    OrderId,
    OrderRequest,
    TimeInForce,
)
from perpdesk.domain.order_rules import Refusal
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.admission import opening_fault
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.slippage import worsened
from perpdesk.simulation.state import SymbolState, WorkingOrder


class Execution:
    """Fills orders and keeps the table of working orders true."""

    def __init__(
        self, accounting: Accounting, journal: Journal, settings: ExchangeSettings
    ) -> None:
        self.accounting = accounting
        self.journal = journal
        self.settings = settings
        self.next_priority = 1

    def begin_bar(self, state: SymbolState, volume: Decimal) -> None:
        """Take note of what the bar's volume lets us fill."""
        state.bar_volume = volume
        share = self.settings.max_volume_share
        state.volume_left = None if share is None else volume * share

    def new_order(self, request: OrderRequest) -> WorkingOrder:
        """Return a working order with the next id and place in the queue."""
        order = WorkingOrder(request, OrderId(str(self.next_priority)), self.next_priority)
        self.next_priority += 1
        return order

    # Filling.

    def take_from_market(
        self, state: SymbolState, order: WorkingOrder, price: Decimal, *, limit: Decimal | None
    ) -> None:
        """Fill as taker at `price` worsened by slippage, never beyond `limit`."""
        quantity = self._fillable(state, order)
        if not quantity:
            return
        side = order.request.side
        rate = self.settings.slippage.rate(quantity=quantity, volume=state.bar_volume)
        paid = worsened(price, side, rate, state.instrument.tick_size)
        if limit is not None and (paid - limit) * side.sign > ZERO:
            paid = limit
        if not self._can_open(state, order, quantity, paid):
            return
        lost = (paid - price) * side.sign * quantity
        self._trade(state, order, quantity, paid, Liquidity.TAKER, max(ZERO, lost))

    def fill_resting(
        self, state: SymbolState, order: WorkingOrder, price: Decimal, liquidity: Liquidity
    ) -> None:
        """Fill a limit order at `price`, as far as the bar's volume goes."""
        quantity = self._fillable(state, order)
        assert order.price is not None
        if quantity and self._can_open(state, order, quantity, order.price, resting=True):
            self._trade(state, order, quantity, price, liquidity, ZERO)

    def _fillable(self, state: SymbolState, order: WorkingOrder) -> Decimal:
        """Return how much may fill now; an order that can never fill is canceled."""
        if order.request.close_position:
            # Only now is its size known; it is told before the fill.
            self.resize(state, order, order.filled + state.reducible_quantity(order.request.side))
        quantity = order.leaves
        if order.request.reduce_only or order.request.close_position:
            quantity = min(quantity, state.reducible_quantity(order.request.side))
            if not quantity:
                self.cancel(state, order, "there is no position left to reduce")
                return ZERO
        if state.volume_left is None:
            return quantity
        if order.request.time_in_force is TimeInForce.FOK and quantity > state.volume_left:
            self.expire(state, order, "FOK: the bar's volume cannot fill it whole")
            return ZERO
        return min(quantity, floor_to_step(state.volume_left, state.instrument.step_size))

    def _can_open(
        self,
        state: SymbolState,
        order: WorkingOrder,
        quantity: Decimal,
        price: Decimal,
        *,
        resting: bool = False,
    ) -> bool:
        """Check what the trade would open against the account; a refusal ends the order."""
        if order.request.reduce_only or order.request.close_position:
            return True
        fault = opening_fault(
            self.accounting,
            state,
            order.request.side,
            quantity,
            price,
            self.journal.ts_ms,
            reserved=order.reserved,
            resting=resting,
        )
        if fault is not None:
            self.reject(state, order, fault)
        return fault is None

    def reserve(self, state: SymbolState, order: WorkingOrder) -> Refusal | None:
        """Hold the margin that a resting limit order may come to bind, or say why not.

        What it closes when it fills needs none. An order whose position has gone by then is asked
        again at the fill.
        """
        request = order.request
        if request.reduce_only or request.close_position or order.price is None:
            return None
        side, ts_ms = request.side, self.journal.ts_ms
        fault = opening_fault(
            self.accounting,
            state,
            side,
            order.leaves,
            order.price,
            ts_ms,
            reserved=order.reserved,
        )
        if fault is None:
            self.hold(order, self.cost_of(state, order))
        return fault

    def cost_of(self, state: SymbolState, order: WorkingOrder) -> Decimal:
        """Return the quote that what is left of a limit order would bind."""
        side = order.request.side
        opening = state.opening_quantity(side, order.leaves)
        assert order.price is not None
        return self.accounting.cost_of(state, side, opening, order.price, self.journal.ts_ms)

    def _trade(
        self,
        state: SymbolState,
        order: WorkingOrder,
        quantity: Decimal,
        price: Decimal,
        liquidity: Liquidity,
        slippage_cost: Decimal,
    ) -> None:
        request = order.request
        if state.volume_left is not None:
            state.volume_left -= quantity
        before = state.signed_quantity
        booked = self.accounting.book_fill(
            state,
            self.journal.ts_ms,
            side=request.side,
            quantity=quantity,
            price=price,
            liquidity=liquidity,
        )
        order.filled += quantity
        leaves = order.leaves
        if order.reserved and leaves:
            self.hold(order, min(order.reserved, self.cost_of(state, order)))
        self.journal.add(
            OrderFilled,
            symbol=state.symbol,
            order_id=order.order_id,
            client_order_id=request.client_order_id,
            side=request.side,
            quantity=quantity,
            price=price,
            liquidity=liquidity,
            fee=booked.fee,
            realized_pnl=booked.realized_pnl,
            slippage_cost=slippage_cost,
            position_after=state.signed_quantity,
            leaves_quantity=leaves,
            purpose=request.purpose,
        )
        if not leaves:
            self._remove(state, order)
            self._cancel_siblings(state, order)
        if request.client_order_id in state.legs:
            self._wake_legs(state, order)
        if state.orders and before * state.signed_quantity <= ZERO and before:
            self.cancel_reducing(state)

    # Brackets.

    def _wake_legs(self, state: SymbolState, entry: WorkingOrder) -> None:
        """Let the legs of an entry work for as much as has filled.

        A leg that has ended stays ended, whatever the entry fills afterwards.
        """
        for leg in state.legs[entry.request.client_order_id]:
            quantity = self._leg_quantity(state, entry, leg)
            if leg.request.client_order_id in state.orders:
                self.resize(state, leg, quantity)
            elif quantity:
                leg.quantity = quantity
                leg.priority = self.next_priority
                self.next_priority += 1
                state.orders[leg.request.client_order_id] = leg
                self.journal.add(
                    OrderAccepted,
                    symbol=state.symbol,
                    order_id=leg.order_id,
                    request=leg.request,
                    quantity=quantity,
                )
        if not entry.leaves:
            del state.legs[entry.request.client_order_id]

    @staticmethod
    def _leg_quantity(state: SymbolState, entry: WorkingOrder, leg: WorkingOrder) -> Decimal:
        """Return the leg's part of what has filled, by the sizes that were planned together."""
        planned, whole = leg.request.quantity, entry.request.quantity
        assert planned is not None
        assert whole is not None
        if entry.filled == whole:
            return planned
        return floor_to_step(planned * entry.filled / whole, state.instrument.step_size)

    def resize(self, state: SymbolState, order: WorkingOrder, quantity: Decimal) -> None:
        """Change the size of a working order that follows another order or the position."""
        if quantity == order.quantity or quantity < order.filled:
            return
        order.quantity = quantity
        self.journal.add(
            OrderAmended,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            quantity=quantity,
            price=order.price,
            trigger_price=order.trigger_price,
        )

    def _cancel_siblings(self, state: SymbolState, order: WorkingOrder) -> None:
        oco_id = order.request.oco_id
        if oco_id is None:
            return
        for other in list(state.orders.values()):
            if other.request.oco_id == oco_id:
                self.cancel(state, other, f"one cancels other: {order.request.client_order_id}")

    def cancel_reducing(self, state: SymbolState) -> None:
        """Once the position is closed or turned, what only reduced it has lost its meaning.

        The rest of a partly filled bracket entry goes too: its stop has already spoken.
        """
        flat = not state.signed_quantity
        for order in list(state.orders.values()):
            request = order.request
            spent = flat and order.filled and request.client_order_id in state.legs
            reduces = request.reduce_only or request.close_position
            if spent or (reduces and not state.reducible_quantity(request.side)):
                self.cancel(state, order, "the position is closed")

    # The table of working orders.

    def cancel(self, state: SymbolState, order: WorkingOrder, reason: str) -> None:
        """Take an order out of the book; the legs of an entry that never filled go with it."""
        self._remove(state, order)
        self.journal.add(
            OrderCanceled,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            reason=reason,
        )

    def cancel_orders(self, state: SymbolState, reason: str) -> None:
        """Take every order of a symbol out of the book; one may take others with it."""
        for order in list(state.orders.values()):
            if order.request.client_order_id in state.orders:
                self.cancel(state, order, reason)
        state.legs.clear()

    def expire(self, state: SymbolState, order: WorkingOrder, reason: str) -> None:
        """End an order by its time in force."""
        self._remove(state, order)
        self.journal.add(
            OrderExpired,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            reason=reason,
        )

    def reject(self, state: SymbolState, order: WorkingOrder, fault: Refusal) -> None:
        """Refuse an order that was already accepted, when it comes to trade.

        One that has filled in part cannot be refused any more: its rest is canceled.
        """
        if order.filled:
            self.cancel(state, order, fault.reason)
            return
        self._remove(state, order)
        self.journal.add(
            OrderRejected,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            code=fault.code,
            reason=fault.reason,
        )

    def _remove(self, state: SymbolState, order: WorkingOrder) -> None:
        if order.reserved:
            self.hold(order, ZERO)
        client_order_id, parent_id = order.request.client_order_id, order.request.parent_id
        state.orders.pop(client_order_id, None)
        if order.leaves:
            # A partly filled entry that ends keeps the legs that already protect its fill.
            state.legs.pop(client_order_id, None)
        if parent_id is not None and parent_id in state.legs:
            state.legs[parent_id].remove(order)

    def hold(self, order: WorkingOrder, amount: Decimal) -> None:
        """Set how much margin a resting order holds."""
        self.accounting.reserved += amount - order.reserved
        order.reserved = amount
