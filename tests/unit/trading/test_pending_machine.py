"""The pending queue under random hands: every signal is decided once, and acted on at most once."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from tests.unit.trading.builders import (
    LONG,
    SHORT,
    T0,
    FixedView,
    desk_of,
    exit_of,
    requests_of,
    signal_of,
)

from perpdesk.domain.candles import MINUTE_MS
from perpdesk.domain.events import Command
from perpdesk.domain.order import OrderPurpose
from perpdesk.domain.signal import SignalState
from perpdesk.trading.pending import AwaitHuman, ConfirmAfter

FINAL = frozenset(SignalState) - {SignalState.PENDING}


class PendingQueue(RuleBasedStateMachine):
    """Web, Telegram, policy, clock and strategy, all asking at random."""

    known = Bundle("known")

    @initialize(human=st.booleans())
    def start(self, human: bool) -> None:
        policy = AwaitHuman(ttl_ms=10 * MINUTE_MS) if human else ConfirmAfter(7 * MINUTE_MS)
        self.view = FixedView()
        self.desk = desk_of(self.view, policy=policy)
        self.now_ms = T0
        self.ended: dict[str, SignalState] = {}
        self.entered: list[str] = []

    def take(self, commands: list[Command]) -> int:
        entries = [one for one in requests_of(commands) if one.purpose is OrderPurpose.ENTRY]
        self.entered += [one.client_order_id for one in entries]
        return len(entries)

    @rule(
        target=known,
        at=st.integers(0, 5),
        long=st.booleans(),
        strategy=st.sampled_from(["a@1", "b@1"]),
        symbol=st.sampled_from(["BTCUSDT", "ETHUSDT"]),
        life=st.sampled_from([None, 3, 30]),
    )
    def signal(self, at: int, long: bool, strategy: str, symbol: str, life: int | None) -> str:
        signal = signal_of(
            LONG if long else SHORT,
            ts_ms=T0 + at * MINUTE_MS,
            strategy=strategy,
            symbol=symbol,
            valid_until_ms=None if life is None else T0 + (at + life) * MINUTE_MS,
        )
        known = signal.id in self.desk.pending.records
        entries = self.take(self.desk.on_signal(signal, self.now_ms))
        assert not (known and entries)
        return signal.id

    @rule(at=st.integers(0, 5), long=st.booleans())
    def leave(self, at: int, long: bool) -> None:
        signal = exit_of(LONG if long else SHORT, T0 + at * MINUTE_MS)
        assert self.take(self.desk.on_signal(signal, self.now_ms)) == 0
        # Confirmed where there was something to close or to call back.
        state = self.desk.pending.records[signal.id].state
        assert state in (SignalState.CONFIRMED, SignalState.EXPIRED)

    @rule(signal_id=known)
    def confirm(self, signal_id: str) -> None:
        waited = signal_id in self.desk.pending.waiting
        entries = self.take(self.desk.confirm(signal_id, self.now_ms))
        confirmed = self.desk.pending.records[signal_id].state is SignalState.CONFIRMED
        assert entries == (waited and confirmed)

    @rule(signal_id=known)
    def dismiss(self, signal_id: str) -> None:
        waited = signal_id in self.desk.pending.waiting
        assert self.desk.dismiss(signal_id, self.now_ms, "no") == waited

    @rule(minutes=st.integers(0, 8))
    def tick(self, minutes: int) -> None:
        self.now_ms += minutes * MINUTE_MS
        self.take(self.desk.on_time(self.now_ms))
        due_ms = self.desk.next_due_ms
        assert due_ms is None or due_ms > self.now_ms

    @rule(price=st.sampled_from(["100", "97", "99", "103", "101"]))
    def move(self, price: str) -> None:
        self.view.price = type(self.view.price)(price)

    @invariant()
    def a_decided_signal_never_changes(self) -> None:
        for signal_id, record in self.desk.pending.records.items():
            if signal_id in self.ended:
                assert record.state is self.ended[signal_id]
            elif record.state in FINAL:
                self.ended[signal_id] = record.state

    @invariant()
    def waiting_and_pending_are_the_same(self) -> None:
        records = self.desk.pending.records.items()
        pending = {name for name, record in records if record.state is SignalState.PENDING}
        assert set(self.desk.pending.waiting) == pending

    @invariant()
    def nothing_is_ordered_twice(self) -> None:
        assert len(set(self.entered)) == len(self.entered)
        confirmed = sum(state is SignalState.CONFIRMED for state in self.ended.values())
        assert len(self.entered) <= confirmed

    @invariant()
    def one_strategy_waits_with_one_signal_per_symbol(self) -> None:
        waiting = [(one.symbol, one.strategy) for one in self.desk.pending.waiting.values()]
        assert len(set(waiting)) == len(waiting)


TestPendingQueue = PendingQueue.TestCase
