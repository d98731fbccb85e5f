"""The desk: a synchronous state machine from signals to commands. It never reads a clock or a mode.

Signal → risk → pending → confirmed by policy or person → risk again at the price of that moment →
size → commands. Exits never wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from perpdesk.domain.account import AccountState
from perpdesk.domain.errors import Denied
from perpdesk.domain.events import (
    CancelOrder,
    Command,
    Event,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    SubmitBracket,
    SubmitOrder,
)
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderPurpose, WorkingPrice
from perpdesk.domain.signal import EntryType, PositionSide, Signal, SignalKind, SignalState
from perpdesk.trading.orders import bracket_legs, close_request, entry_request
from perpdesk.trading.pending import ConfirmAfter, ConfirmationPolicy, PendingSignals
from perpdesk.trading.risk import RiskLimits, check_price, check_signal
from perpdesk.trading.sizing import PercentRisk, Sizing, legal_quantity


class AccountView(Protocol):
    """What the desk may look up about the account at the moment it decides."""

    def account(self) -> AccountState:
        """Return the account at the latest marks."""

    def free_for_entry(self, symbol: str) -> Decimal:
        """Return the quote an entry may bind, the margin of an opposite position included."""

    def last_price(self, symbol: str) -> Decimal:
        """Return the latest price of a symbol."""

    def leverage(self, symbol: str) -> Decimal:
        """Return the leverage set for a symbol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSettings:
    """name: first part of every client order id. stop_watches: price that triggers stop losses."""

    name: str = "pd"
    sizing: Sizing = field(default_factory=lambda: PercentRisk(Decimal(1)))
    limits: RiskLimits = field(default_factory=RiskLimits)
    stop_watches: WorkingPrice = WorkingPrice.LAST


class Desk:
    """Signals in, commands out; positions and working entries are folds over the events it sees."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        view: AccountView,
        settings: DeskSettings,
        policy: ConfirmationPolicy | None = None,
    ) -> None:
        self.instruments = instruments
        self.view = view
        self.settings = settings
        self.policy = policy if policy is not None else ConfirmAfter(0)
        self.pending = PendingSignals()
        self.positions: dict[str, Decimal] = dict.fromkeys(instruments, ZERO)
        self.entries: dict[str, dict[ClientOrderId, str]] = {name: {} for name in instruments}
        self.refusals: list[OrderRejected] = []

    # Signals.

    def on_signal(self, signal: Signal, now_ms: int) -> list[Command]:
        """Take a signal in: exits act at once, entries pass risk and then wait for their yes."""
        if not self.pending.add(signal):
            return []
        if signal.kind is SignalKind.EXIT:
            return self._exit(signal, now_ms)
        try:
            check_signal(signal, self.settings.limits)
            self._check_position(signal)
        except Denied as denied:
            self.pending.decide(signal.id, SignalState.DENIED, now_ms, denied.message)
            return []
        self._supersede(signal, now_ms)
        return self.on_time(now_ms)

    def _check_position(self, signal: Signal) -> None:
        held = self.positions[signal.symbol]
        if held * signal.side.sign > ZERO:
            raise Denied(f"a {signal.side} position of {signal.symbol} is open already")

    def _supersede(self, signal: Signal, now_ms: int, side: PositionSide | None = None) -> bool:
        """Let a signal replace what its strategy asked before: all of it, or what is on `side`.

        Tell whether there was anything.
        """
        found = False
        for other in list(self.pending.waiting.values()):
            same = (other.symbol, other.strategy) == (signal.symbol, signal.strategy)
            if same and other.id != signal.id and side in (None, other.side):
                reason = f"by signal {signal.id}"
                found |= self.pending.decide(other.id, SignalState.SUPERSEDED, now_ms, reason)
        return found

    def _exit(self, signal: Signal, now_ms: int) -> list[Command]:
        called_back = self._supersede(signal, now_ms, signal.side)
        commands = self._cancel_entries(signal.symbol, signal.side)
        if self.positions[signal.symbol] * signal.side.sign > ZERO:
            commands.append(self._close(signal, signal.side))
        if commands or called_back:
            self.pending.decide(signal.id, SignalState.CONFIRMED, now_ms, "exits do not wait")
        else:
            self.pending.decide(signal.id, SignalState.EXPIRED, now_ms, "nothing to close")
        return commands

    # Decisions.

    @property
    def next_due_ms(self) -> int | None:
        """Return when `on_time` has something to do, None while nothing waits for the clock."""
        times = []
        for signal in self.pending.waiting.values():
            moments = (self.policy.confirm_at_ms(signal), self.policy.expires_at_ms(signal))
            times += [moment for moment in moments if moment is not None]
        return min(times, default=None)

    def on_time(self, now_ms: int) -> list[Command]:
        """Let the policy confirm what is due, and expire what is over: whichever came first."""
        commands: list[Command] = []
        for signal in list(self.pending.waiting.values()):
            expires_ms = self.policy.expires_at_ms(signal)
            confirm_ms = self.policy.confirm_at_ms(signal)
            if confirm_ms is not None and (expires_ms is None or confirm_ms < expires_ms):
                if confirm_ms <= now_ms:
                    commands += self._confirm(signal, now_ms)
            elif expires_ms is not None and expires_ms <= now_ms:
                self._expire(signal, now_ms)
        return commands

    def confirm(self, signal_id: str, now_ms: int) -> list[Command]:
        """Turn a waiting signal into commands, if it still holds at this moment's price.

        A yes that comes when the signal's time is over comes too late.
        """
        signal = self.pending.waiting.get(signal_id)
        if signal is None:
            return []
        expires_ms = self.policy.expires_at_ms(signal)
        if expires_ms is not None and expires_ms <= now_ms:
            self._expire(signal, now_ms)
            return []
        return self._confirm(signal, now_ms)

    def _expire(self, signal: Signal, now_ms: int) -> None:
        self.pending.decide(signal.id, SignalState.EXPIRED, now_ms, "its time is over")

    def _confirm(self, signal: Signal, now_ms: int) -> list[Command]:
        try:
            commands = self._enter(signal)
        except Denied as denied:
            self.pending.decide(signal.id, SignalState.DENIED, now_ms, denied.message)
            return []
        self.pending.decide(signal.id, SignalState.CONFIRMED, now_ms)
        return commands

    def dismiss(self, signal_id: str, now_ms: int, reason: str) -> bool:
        """Say no to a waiting signal; false if it was decided already."""
        return self.pending.decide(signal_id, SignalState.DISMISSED, now_ms, reason)

    def _enter(self, signal: Signal) -> list[Command]:
        symbol, settings = signal.symbol, self.settings
        instrument = self.instruments[symbol]
        self._check_position(signal)
        price = self.view.last_price(symbol)
        check_price(signal, price, settings.limits)
        entry_price = price if signal.entry is EntryType.MARKET else signal.expected_entry
        wished = settings.sizing.quantity(
            signal, entry_price=entry_price, equity=self.view.account().equity
        )
        quantity = legal_quantity(
            wished,
            instrument,
            entry_price=entry_price,
            leverage=self.view.leverage(symbol),
            free_margin=self.view.free_for_entry(symbol),
            resting=signal.entry is EntryType.LIMIT,
        )
        commands = self._cancel_entries(symbol, None)
        if self.positions[symbol]:
            commands.append(self._close(signal, signal.side.opposite))
        entry = entry_request(settings.name, signal, quantity)
        legs = bracket_legs(
            settings.name, signal, entry, instrument, stop_watches=settings.stop_watches
        )
        commands.append(
            SubmitBracket(entry=entry, legs=legs) if legs else SubmitOrder(request=entry)
        )
        return commands

    def _close(self, signal: Signal, side: PositionSide) -> Command:
        quantity = abs(self.positions[signal.symbol])
        return SubmitOrder(
            request=close_request(self.settings.name, signal.id, signal.symbol, side, quantity)
        )

    def _cancel_entries(self, symbol: str, side: PositionSide | None) -> list[Command]:
        """Cancel working entries of a symbol: those on `side`, or all."""
        return [
            CancelOrder(client_order_id=order_id)
            for order_id, position_side in self.entries[symbol].items()
            if side is None or position_side == side
        ]

    # Facts.

    def on_event(self, event: Event) -> list[Command]:
        """Fold one event of the venue."""
        if isinstance(event, OrderFilled):
            self.positions[event.symbol] = event.position_after
            if not event.leaves_quantity:
                self.entries[event.symbol].pop(event.client_order_id, None)
        elif isinstance(event, OrderAccepted):
            if event.request.purpose is OrderPurpose.ENTRY:
                long = event.request.side.sign > 0
                side = PositionSide.LONG if long else PositionSide.SHORT
                self.entries[event.symbol][event.request.client_order_id] = side
        elif isinstance(event, OrderCanceled | OrderExpired | OrderRejected):
            self.entries[event.symbol].pop(event.client_order_id, None)
            if isinstance(event, OrderRejected):
                self.refusals.append(event)
        return []
