"""Trades: an order meets a price, the account moves, and the legs of a bracket wake or die."""

from decimal import Decimal

from perpdesk.domain.account import LedgerKind
from perpdesk.domain.events import (
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from perpdesk.domain.numbers import ONE, ZERO, floor_to_step, plain
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
)
from perpdesk.domain.order_rules import Rule, refusal
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.slippage import worsened
from perpdesk.simulation.state import SymbolState, WorkingOrder


class Execution:
    """Fills orders and keeps the table of working orders true.

    volume, volume_left: base that the current bar traded, and what of it our orders may still take
    (None: no limit).
    """

    def __init__(
        self, accounting: Accounting, journal: Journal, settings: ExchangeSettings
    ) -> None:
        self.accounting = accounting
        self.journal = journal
        self.settings = settings
        self.volume = ZERO
        self.volume_left: Decimal | None = None
        self.next_priority = 1

    def begin_bar(self, volume: Decimal) -> None:
        """Take note of what the bar's volume lets us fill."""
        self.volume = volume
        share = self.settings.max_volume_share
        self.volume_left = None if share is None else volume * share

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
        rate = self.settings.slippage.rate(quantity=quantity, volume=self.volume)
        paid = worsened(price, side, rate, state.instrument.tick_size)
        if limit is not None and (paid - limit) * side.sign > ZERO:
            paid = limit
        if not order.reserved and not self._can_afford(state, order, quantity, paid):
            return
        lost = (paid - price) * side.sign * quantity
        self._trade(state, order, quantity, paid, Liquidity.TAKER, max(ZERO, lost))

    def fill_resting(
        self, state: SymbolState, order: WorkingOrder, price: Decimal, liquidity: Liquidity
    ) -> None:
        """Fill a limit order at `price`, as far as the bar's volume goes."""
        quantity = self._fillable(state, order)
        if quantity:
            self._trade(state, order, quantity, price, liquidity, ZERO)

    def _fillable(self, state: SymbolState, order: WorkingOrder) -> Decimal:
        """Return how much may fill now; an order that can never fill is canceled."""
        if order.request.close_position:
            order.quantity = order.filled + state.reducible_quantity(order.request.side)
        quantity = order.leaves
        if order.request.reduce_only or order.request.close_position:
            quantity = min(quantity, state.reducible_quantity(order.request.side))
            if not quantity:
                self.cancel(state, order, "there is no position left to reduce")
                return ZERO
        if self.volume_left is None:
            return quantity
        if order.request.time_in_force is TimeInForce.FOK and quantity > self.volume_left:
            self.expire(state, order, "FOK: the bar's volume cannot fill it whole")
            return ZERO
        return min(quantity, floor_to_step(self.volume_left, state.instrument.step_size))

    def _can_afford(
        self, state: SymbolState, order: WorkingOrder, quantity: Decimal, price: Decimal
    ) -> bool:
        """Check margin for what the trade would open; a refusal rejects the order."""
        side = order.request.side
        opening = state.opening_quantity(side, quantity)
        if not opening:
            return True
        cost = self.accounting.cost_of(state, side, opening, price, self.journal.ts_ms)
        free = self.accounting.free_for_orders()
        held = abs(state.signed_quantity) if opening == quantity else ZERO
        notional = (held + opening) * price
        instrument = state.instrument
        if cost > free:
            words = f"opening {plain(opening)} at {plain(price)} needs {plain(cost)} "
            self.reject(
                state,
                order,
                Rule.MARGIN,
                f"{words}of margin and fees, {plain(max(ZERO, free))} is free; the largest "
                f"affordable quantity is {self._affordable(state, opening, cost, free)}",
            )
            return False
        most = instrument.tier_for(notional).max_leverage
        if state.leverage > most:
            self.reject(
                state,
                order,
                Rule.LEVERAGE,
                f"a position of {plain(notional)} allows {plain(most)}x at most, "
                f"{plain(state.leverage)}x is set",
            )
            return False
        return True

    @staticmethod
    def _affordable(state: SymbolState, opening: Decimal, cost: Decimal, free: Decimal) -> str:
        most = opening * max(ZERO, free) / cost
        return plain(floor_to_step(most, state.instrument.step_size))

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
        if self.volume_left is not None:
            self.volume_left -= quantity
        if order.reserved:
            self.release(order, order.reserved * quantity / order.leaves)
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
        if not state.signed_quantity:
            self._cancel_reducing(state)

    # Brackets.

    def _wake_legs(self, state: SymbolState, entry: WorkingOrder) -> None:
        """Let the legs of an entry work for as much as has filled."""
        for leg in state.legs[entry.request.client_order_id]:
            quantity = self._leg_quantity(state, entry, leg)
            if not quantity:
                continue
            if leg.request.client_order_id in state.orders:
                self._resize(state, leg, quantity)
                continue
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
        planned = leg.request.quantity
        assert planned is not None
        if not entry.leaves:
            return planned
        part = planned * entry.filled / entry.quantity
        return floor_to_step(part, state.instrument.step_size)

    def _resize(self, state: SymbolState, order: WorkingOrder, quantity: Decimal) -> None:
        if quantity == order.quantity:
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

    def _cancel_reducing(self, state: SymbolState) -> None:
        """Nothing is left to reduce, so orders that only reduce have lost their meaning.

        The rest of a partly filled bracket entry goes too: its stop has already spoken.
        """
        for order in list(state.orders.values()):
            request = order.request
            spent = order.filled and request.client_order_id in state.legs
            if request.reduce_only or request.close_position or spent:
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

    def expire(self, state: SymbolState, order: WorkingOrder, reason: str) -> None:
        """End an order by its time in force."""
        self._remove(state, order)
        self.journal.add(
            OrderExpired,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            reason=reason,
        )

    def reject(self, state: SymbolState, order: WorkingOrder, rule: Rule, reason: str) -> None:
        """Refuse an order that was already accepted, when it comes to trade."""
        self._remove(state, order)
        self.journal.add(
            OrderRejected,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            code=refusal(state.instrument.venue, rule, reason).code,
            reason=reason,
        )

    def _remove(self, state: SymbolState, order: WorkingOrder) -> None:
        if order.reserved:
            self.release(order, order.reserved)
        client_order_id = order.request.client_order_id
        state.orders.pop(client_order_id, None)
        if order.leaves:
            # A partly filled entry that ends keeps the legs that already protect its fill.
            state.legs.pop(client_order_id, None)

    def release(self, order: WorkingOrder, amount: Decimal) -> None:
        """Give back margin that a resting order held."""
        order.reserved -= amount
        self.accounting.reserved -= amount

    # Orders that the exchange makes itself.

    def forced_trade(
        self,
        state: SymbolState,
        quantity: Decimal,
        price: Decimal,
        *,
        purpose: OrderPurpose,
        fee: Decimal | None,
        fee_kind: LedgerKind = LedgerKind.FEE,
        slippage_cost: Decimal = ZERO,
    ) -> None:
        """Close `quantity` of the position by an order of the exchange's own."""
        side = Side.SELL if state.signed_quantity > ZERO else Side.BUY
        name = "autoclose" if purpose is OrderPurpose.LIQUIDATION else "closeout"
        request = OrderRequest(
            client_order_id=ClientOrderId(f"{name}-{self.next_priority}"),
            symbol=state.symbol,
            side=side,
            type=OrderType.MARKET,
            quantity=quantity,
            reduce_only=True,
            purpose=purpose,
        )
        order = self.new_order(request)
        self.journal.add(
            OrderAccepted,
            symbol=state.symbol,
            order_id=order.order_id,
            request=request,
            quantity=quantity,
        )
        booked = self.accounting.book_fill(
            state,
            self.journal.ts_ms,
            side=side,
            quantity=quantity,
            price=price,
            liquidity=Liquidity.TAKER,
            fee=fee,
            fee_kind=fee_kind,
        )
        self.journal.add(
            OrderFilled,
            symbol=state.symbol,
            order_id=order.order_id,
            client_order_id=request.client_order_id,
            side=side,
            quantity=quantity,
            price=price,
            liquidity=Liquidity.TAKER,
            fee=booked.fee,
            realized_pnl=booked.realized_pnl,
            slippage_cost=slippage_cost,
            position_after=state.signed_quantity,
            leaves_quantity=ZERO,
            purpose=purpose,
        )
        if not state.signed_quantity:
            self._cancel_reducing(state)

    def close_out(self) -> None:
        """Close every position at its last price, worsened by slippage, as taker."""
        for state in self.accounting.symbols.values():
            quantity = abs(state.signed_quantity)
            if not quantity:
                continue
            side = Side.SELL if state.signed_quantity > ZERO else Side.BUY
            rate = self.settings.slippage.rate(quantity=quantity, volume=max(self.volume, ONE))
            price = worsened(state.last_price, side, rate, state.instrument.tick_size)
            self.forced_trade(
                state,
                quantity,
                price,
                purpose=OrderPurpose.CLOSE_OUT,
                fee=None,
                slippage_cost=abs(price - state.last_price) * quantity,
            )
