"""How one bar meets the working orders: at its open, then along its path.

A bar tells four prices and hides their order. The path assumed is the pessimistic one: with a
position open the adverse extreme comes first; when flat, the side of the nearest entry comes first,
so that what happens after the entry is the worst that the bar allows. Where both a stop and a
target lie within a bar, the stop is hit.
"""

from decimal import Decimal

from perpdesk.domain.events import BarClosed, OrderTriggered
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import Liquidity, OrderPurpose, Side, TimeInForce
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.execution import Execution
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.liquidator import Liquidator
from perpdesk.simulation.settings import ExchangeSettings, LimitFill
from perpdesk.simulation.state import SymbolState, WorkingOrder

_STOP, _LIQUIDATION, _LIMIT = 0, 1, 2
"""At one price, stops come before liquidation, and both before what fills in our favour."""

_Met = tuple[Decimal, int, int, WorkingOrder | None]
"""Distance along the way, rank, priority, and the order met (None: a liquidation)."""


class BarMatcher:
    """Matches the orders of one symbol against one bar."""

    def __init__(
        self,
        accounting: Accounting,
        execution: Execution,
        liquidator: Liquidator,
        journal: Journal,
        settings: ExchangeSettings,
    ) -> None:
        self.accounting = accounting
        self.execution = execution
        self.liquidator = liquidator
        self.journal = journal
        self.through = settings.limit_fill is LimitFill.THROUGH

    # At the open.

    def at_open(self, state: SymbolState, bar: BarClosed) -> None:
        """Fill what the first price of the bar fills, in order of priority."""
        self.execution.begin_bar(state, bar.volume)
        seen: set[int] = set()
        while True:
            # Filling an entry wakes its legs; they meet the same first price.
            fresh = [order for order in state.orders.values() if order.priority not in seen]
            if not fresh:
                return
            for order in fresh:
                seen.add(order.priority)
                if order.request.client_order_id in state.orders:
                    self._order_at_open(state, order, bar)

    def _order_at_open(self, state: SymbolState, order: WorkingOrder, bar: BarClosed) -> None:
        request = order.request
        if request.expire_ms is not None and request.expire_ms <= bar.ts_ms:
            self.execution.expire(state, order, "GTD: its time is over")
            return
        if not order.triggered:
            watched = bar.mark.open if order.watches_mark else bar.last.open
            order.observe(watched)
            level = order.trigger_level(state.instrument.tick_size)
            if level is None or not self._is_reached(order, level, watched):
                return
            self._trigger(state, order, level)
        if order.is_market:
            self.execution.take_from_market(state, order, bar.last.open, limit=None)
            self._end_immediate(state, order)
        else:
            self._limit_at_open(state, order, bar)

    def _limit_at_open(self, state: SymbolState, order: WorkingOrder, bar: BarClosed) -> None:
        price, first = order.price, bar.last.open
        assert price is not None
        sign = order.request.side.sign
        if order.rested:
            if self._trades_at(state, order, first):
                better = min(price, first) if sign > 0 else max(price, first)
                self.execution.fill_resting(state, order, better, Liquidity.MAKER)
            return
        self._limit_arrives(state, order, first)

    def _end_immediate(self, state: SymbolState, order: WorkingOrder) -> None:
        """IOC and FOK do not outlive their first chance."""
        immediate = order.request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        if immediate and order.request.client_order_id in state.orders:
            self.execution.expire(state, order, f"{order.request.time_in_force}: not filled whole")

    # Along the path.

    def along_path(self, state: SymbolState, bar: BarClosed) -> None:
        """Walk open → first extreme → second extreme → close."""
        if self._reaches_something(state, bar):
            last, mark = bar.last, bar.mark
            if self._low_comes_first(state, bar):
                self._walk(state, bar, (last.open, last.low), (mark.open, mark.low), -1)
                self._walk(state, bar, (last.low, last.high), (mark.low, mark.high), 1)
                self._walk(state, bar, (last.high, last.close), (mark.high, mark.close), -1)
            else:
                self._walk(state, bar, (last.open, last.high), (mark.open, mark.high), 1)
                self._walk(state, bar, (last.high, last.low), (mark.high, mark.low), -1)
                self._walk(state, bar, (last.low, last.close), (mark.low, mark.close), 1)
        for order in state.orders.values():
            order.rested = True

    def _reaches_something(self, state: SymbolState, bar: BarClosed) -> bool:
        """Tell whether the extremes reach an order or a liquidation, or a trailing stop follows."""
        if state.signed_quantity:
            price = self.accounting.liquidation_price(state)
            if price is not None and (
                bar.mark.low <= price if state.signed_quantity > ZERO else bar.mark.high >= price
            ):
                return True
        for order in state.orders.values():
            if order.is_trailing:
                return True
            level = self._level(state, order)
            if level is None:
                continue
            extremes = bar.mark if order.watches_mark and not order.rests else bar.last
            extreme = extremes.high if self._moves_up_to(order) else extremes.low
            if order.rests:
                if self._trades_at(state, order, extreme):
                    return True
            elif self._is_reached(order, level, extreme):
                return True
        return False

    def _low_comes_first(self, state: SymbolState, bar: BarClosed) -> bool:
        """Decide the order of the extremes: against the position, or towards the nearest entry."""
        if state.signed_quantity:
            return state.signed_quantity > ZERO
        first = bar.last.open
        down: Decimal | None = None
        up: Decimal | None = None
        for order in state.orders.values():
            level = self._level(state, order)
            if level is None:
                continue
            distance = level - first
            if distance > ZERO:
                up = distance if up is None else min(up, distance)
            else:
                down = -distance if down is None else min(down, -distance)
        return up is None or (down is not None and down <= up)

    def _walk(
        self,
        state: SymbolState,
        bar: BarClosed,
        last: tuple[Decimal, Decimal],
        mark: tuple[Decimal, Decimal],
        direction: int,
    ) -> None:
        """Move last and mark price from start to end and execute what they meet, nearest first.

        direction: +1 up, -1 down; of mark too, which may move where last price stands still.
        """
        (at, end), (mark_at, mark_end) = last, mark
        done: set[int] = set()
        while state.orders or state.signed_quantity:
            met = self._next_met(state, bar, at, end, mark_end, direction, done)
            if met is None:
                break
            at, order = met
            if order is None:
                before, price = state.signed_quantity, self.accounting.liquidation_price(state)
                assert price is not None
                # Judged on mark alone: where last price stands by then does not matter.
                mark_at = max(price, mark_at) if direction > 0 else min(price, mark_at)
                self.liquidator.liquidate(state, mark_at)
                if state.signed_quantity == before:
                    done.add(0)
            else:
                done.add(order.priority)
                self._execute_on_path(state, order, bar, at)
        for order in state.orders.values():
            order.observe(mark_end if order.watches_mark else end)

    def _next_met(
        self,
        state: SymbolState,
        bar: BarClosed,
        at: Decimal,
        end: Decimal,
        mark_end: Decimal,
        direction: int,
        done: set[int],
    ) -> tuple[Decimal, WorkingOrder | None] | None:
        """Return the price and order met next on the way (None for a liquidation), if any.

        Levels on mark take their place on the way by their price; that they are reached is judged
        by the mark's own extreme.
        """
        best: _Met | None = None
        for order in state.orders.values():
            if order.priority in done or self._is_idle(order, bar):
                continue
            level = self._level(state, order)
            if level is None or self._moves_up_to(order) != (direction > 0):
                continue
            if order.rests:
                if not self._trades_at(state, order, end):
                    continue
            elif not self._is_reached(order, level, mark_end if order.watches_mark else end):
                continue
            place = max(level, at) if direction > 0 else min(level, at)
            rank = _LIMIT if order.rests else _STOP
            key: _Met = (place * direction, rank, order.priority, order)
            if best is None or key[:3] < best[:3]:
                best = key
        if (
            state.signed_quantity
            and 0 not in done
            and (state.signed_quantity < ZERO) == (direction > 0)
        ):
            price = self.accounting.liquidation_price(state)
            if price is not None and (mark_end - price) * direction >= ZERO:
                place = max(price, at) if direction > 0 else min(price, at)
                key = (place * direction, _LIQUIDATION, 0, None)
                if best is None or key[:3] < best[:3]:
                    best = key
        return None if best is None else (best[0] * direction, best[3])

    @staticmethod
    def _is_idle(order: WorkingOrder, bar: BarClosed) -> bool:
        """Tell whether an order sits this path out: a sleeping target, or one that expires in it.

        Nobody knows whether the price came before the expiry, so it fills at the open or not.
        """
        expire_ms = order.request.expire_ms
        return order.asleep_until_ms > bar.ts_ms or (
            expire_ms is not None and expire_ms < bar.close_ms
        )

    def _execute_on_path(
        self, state: SymbolState, order: WorkingOrder, bar: BarClosed, at: Decimal
    ) -> None:
        entry_id = order.request.client_order_id
        is_entry = entry_id in state.legs
        sign = order.request.side.sign
        by_stop = not order.rests and order.rises_to_trigger() == (sign > 0)
        # A level on mark may lie where last price never traded in this bar.
        price = min(max(at, bar.last.low), bar.last.high)
        if not order.rests:
            level = order.trigger_level(state.instrument.tick_size)
            assert level is not None
            self._trigger(state, order, level)
            self._take_after_trigger(state, order, price)
        elif not order.rested and order.price is not None and (order.price - price) * sign > ZERO:
            # A leg that woke beyond its price meets the market where it stands.
            self._limit_arrives(state, order, price)
        else:
            first_time = not order.rested and order.request.time_in_force is not TimeInForce.GTX
            liquidity = Liquidity.TAKER if first_time else Liquidity.MAKER
            assert order.price is not None
            self.execution.fill_resting(state, order, order.price, liquidity)
        if is_entry:
            self._put_targets_to_sleep(state, order, bar, entered_by_stop=by_stop)

    def _take_after_trigger(self, state: SymbolState, order: WorkingOrder, price: Decimal) -> None:
        if order.is_market:
            self.execution.take_from_market(state, order, price, limit=None)
            self._end_immediate(state, order)
        else:
            self._limit_arrives(state, order, price)

    @staticmethod
    def _crosses(order: WorkingOrder, price: Decimal) -> bool:
        """Tell whether a limit order would take at `price` rather than rest."""
        assert order.price is not None
        return (order.price - price) * order.request.side.sign >= ZERO

    def _limit_arrives(self, state: SymbolState, order: WorkingOrder, first: Decimal) -> None:
        """Let a limit order that is new to the book take what crosses it, and rest otherwise."""
        if self._crosses(order, first):
            if order.request.time_in_force is TimeInForce.GTX:
                self.execution.expire(state, order, "GTX: it would take liquidity")
                return
            self.execution.take_from_market(state, order, first, limit=order.price)
        self._end_immediate(state, order)
        if order.request.type.is_conditional and order.request.client_order_id in state.orders:
            # Conditional orders hold no margin until they rest in the book.
            fault = self.execution.reserve(state, order)
            if fault is not None:
                self.execution.reject(state, order, fault)

    def _put_targets_to_sleep(
        self, state: SymbolState, entry: WorkingOrder, bar: BarClosed, *, entered_by_stop: bool
    ) -> None:
        """Keep targets of an entry inside the bar from filling on a price that came before it.

        After a limit entry nobody knows whether the favourable extreme came later. After a stop
        entry it did, but if the bar also reaches the stop loss, the adverse price came first.
        """
        parent = entry.request.client_order_id
        legs = [order for order in state.orders.values() if order.request.parent_id == parent]
        adverse = bar.last.low if entry.request.side is Side.BUY else bar.last.high
        stopped = any(
            leg.request.purpose is OrderPurpose.STOP_LOSS
            and leg.trigger_price is not None
            and self._is_reached(leg, leg.trigger_price, adverse)
            for leg in legs
        )
        if entered_by_stop and not stopped:
            return
        for leg in legs:
            if leg.request.purpose is OrderPurpose.TAKE_PROFIT:
                leg.asleep_until_ms = bar.close_ms

    # Levels.

    def _trigger(self, state: SymbolState, order: WorkingOrder, level: Decimal) -> None:
        order.triggered = True
        # What triggers now is new to the book, however long it has waited.
        order.rested = False
        self.journal.add(
            OrderTriggered,
            symbol=state.symbol,
            client_order_id=order.request.client_order_id,
            trigger_price=level,
        )

    def _level(self, state: SymbolState, order: WorkingOrder) -> Decimal | None:
        """Return the price at which the order acts; None for what acts at once or sleeps."""
        if order.rests:
            return order.price
        if order.triggered:
            return None
        return order.trigger_level(state.instrument.tick_size)

    @staticmethod
    def _moves_up_to(order: WorkingOrder) -> bool:
        """Tell whether a rising price reaches the order's level."""
        if order.rests:
            return order.request.side is Side.SELL
        return order.rises_to_trigger()

    @staticmethod
    def _is_reached(order: WorkingOrder, level: Decimal, price: Decimal) -> bool:
        return price >= level if order.rises_to_trigger() else price <= level

    def _trades_at(self, state: SymbolState, order: WorkingOrder, price: Decimal) -> bool:
        """Tell whether a market price fills a resting limit order: through it by a tick."""
        assert order.price is not None
        beyond = state.instrument.tick_size if self.through else ZERO
        return (order.price - price) * order.request.side.sign >= beyond
