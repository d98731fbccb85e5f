"""The exchange and the desk, joined: commands flow down, events flow back, all are recorded."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from perpdesk.domain.account import AccountState, MarginMode
from perpdesk.domain.events import BarClosed, BarsClosed, CloseOut, Command, Event
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.signal import Signal
from perpdesk.simulation.exchange import Exchange
from perpdesk.trading.desk import Desk, DeskSettings
from perpdesk.trading.pending import ConfirmationPolicy


class ExchangeView:
    """What the desk may see of the simulated account."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def account(self) -> AccountState:
        """Return the account at the latest marks."""
        return self._exchange.account()

    def free_for_entry(self, symbol: str) -> Decimal:
        """Return the quote an entry may bind in place of what it replaces.

        The desk closes an opposite position of `symbol` first and cancels what still works there,
        so the margin of both is free again. What market orders of other symbols are about to bind
        at the next open is not.
        """
        free = self._exchange.accounting.free_for_orders() - self._about_to_be_bound(symbol)
        state = self._exchange.symbols[symbol]
        free += sum((order.reserved for order in state.orders.values()), ZERO)
        if not state.signed_quantity:
            return free
        margin = self._exchange.accounting.margin_of(state)
        if state.margin_mode is MarginMode.ISOLATED:
            return free + state.isolated_margin + margin.unrealized
        return free + margin.initial

    def _about_to_be_bound(self, symbol: str) -> Decimal:
        cost, now_ms = ZERO, self._exchange.now_ms
        for other in self._exchange.symbols.values():
            for order in other.orders.values() if other.symbol != symbol else ():
                if order.is_market and not order.request.reduce_only:
                    side = order.request.side
                    cost += self._exchange.accounting.cost_of(
                        other,
                        side,
                        other.opening_quantity(side, order.leaves),
                        other.last_price,
                        now_ms,
                    )
        return cost

    def last_price(self, symbol: str) -> Decimal:
        """Return the latest price of a symbol."""
        return self._exchange.symbols[symbol].last_price

    def leverage(self, symbol: str) -> Decimal:
        """Return the leverage set for a symbol."""
        return self._exchange.symbols[symbol].leverage


class AccountTrace:
    """Cash and positions whenever a bar changed them, by the time that bar closed.

    Enough to draw the account at every bar, because between two entries only the mark moves.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.cash_ms: list[int] = []
        self.cash: list[Decimal] = []
        self.position_ms: dict[str, list[int]] = {symbol: [] for symbol in symbols}
        self.positions: dict[str, list[tuple[Decimal, Decimal, Decimal]]] = {
            symbol: [] for symbol in self.position_ms
        }

    def record_cash(self, close_ms: int, cash: Decimal) -> None:
        """Note the cash at the end of a bar."""
        self.cash_ms.append(close_ms)
        self.cash.append(cash)

    def record_position(
        self,
        symbol: str,
        close_ms: int,
        signed_quantity: Decimal,
        entry_value: Decimal,
        close_fee_rate: Decimal,
    ) -> None:
        """Note a position at the end of a bar, and the rate at which its fee to close is kept."""
        self.position_ms[symbol].append(close_ms)
        self.positions[symbol].append((signed_quantity, entry_value, close_fee_rate))


class SimulationHost:
    """One simulated account under one desk.

    events: everything that happened, in order of `seq`. changes: raised whenever something
    happened, so that drivers know that their view of quiet bars is out of date.
    """

    def __init__(
        self,
        exchange: Exchange,
        instruments: dict[str, Instrument],
        settings: DeskSettings,
        policy: ConfirmationPolicy,
    ) -> None:
        self.exchange = exchange
        self.desk = Desk(instruments, ExchangeView(exchange), settings, policy)
        self.events: list[Event] = []
        self.changes = 0
        self.trace = AccountTrace(instruments)
        self.trace.record_cash(0, exchange.ledger.cash)

    def on_signal(self, signal: Signal) -> None:
        """Hand a strategy's signal to the desk and carry out what it decides."""
        self._reach(signal.ts_ms)
        for command in self.desk.on_signal(signal, self.exchange.now_ms):
            self.carry_out(command)
        self.changes += 1

    def _reach(self, now_ms: int) -> None:
        """Let the exchange's clock reach the present, which a hole in the bars may keep back."""
        if self.exchange.now_ms < now_ms:
            for symbol, state in self.exchange.symbols.items():
                self.exchange.skip_to(
                    symbol, now_ms, last_price=state.last_price, mark_price=state.mark_price
                )

    def on_time(self, now_ms: int) -> None:
        """Let the desk decide what waits for the clock."""
        due_ms = self.desk.next_due_ms if self.desk.pending.waiting else None
        if due_ms is not None and due_ms <= now_ms:
            self._reach(now_ms)
            for command in self.desk.on_time(now_ms):
                self.carry_out(command)
            self.changes += 1

    def on_bars(self, bars: Sequence[BarClosed]) -> None:
        """Run the execution bars of one stretch of time, after what was due before it."""
        if self.desk.pending.waiting:
            self.on_time(bars[0].ts_ms)
        item = bars[0] if len(bars) == 1 else BarsClosed(bars=tuple(bars))
        events = self.exchange.process(item)
        if events:
            self._take(events)
            for bar in bars:
                self._record(bar.symbol, bar.close_ms)

    def finish(self) -> None:
        """Close what is open at the last price, within the last bar."""
        now_ms = self.exchange.now_ms
        self.carry_out(CloseOut())
        for symbol in self.desk.instruments:
            self._record(symbol, now_ms)

    def _record(self, symbol: str, close_ms: int) -> None:
        state = self.exchange.symbols[symbol]
        self.trace.record_cash(close_ms, self.exchange.ledger.cash)
        self.trace.record_position(
            symbol, close_ms, state.signed_quantity, state.entry_value, state.close_fee_rate
        )

    def carry_out(self, command: Command) -> None:
        """Send one command to the exchange."""
        self._take(self.exchange.process(command))

    def _take(self, events: list[Event]) -> None:
        if not events:
            return
        self.changes += 1
        self.events += events
        on_event = self.desk.on_event
        for event in events:
            for command in on_event(event):
                self.carry_out(command)
