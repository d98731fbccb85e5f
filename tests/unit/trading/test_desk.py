import pytest
from tests.unit.trading.builders import (
    LONG,
    SHORT,
    T0,
    D,
    FixedView,
    accept,
    desk_of,
    exit_of,
    fill,
    open_position,
    requests_of,
    signal_of,
    targets,
)

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS
from perpdesk.domain.events import (
    CancelOrder,
    OrderExpired,
    OrderRejected,
    SubmitBracket,
    SubmitOrder,
)
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderType, Side
from perpdesk.domain.signal import EntryType, PositionSide, SignalState
from perpdesk.trading.desk import Desk
from perpdesk.trading.pending import AwaitHuman, ConfirmAfter
from perpdesk.trading.sizing import FixedQuantity


def state_of(desk: Desk, signal_id: str) -> SignalState:
    return desk.pending.records[signal_id].state


def reason_of(desk: Desk, signal_id: str) -> str:
    return desk.pending.records[signal_id].reason


def test_a_signal_becomes_a_sized_entry_with_its_bracket() -> None:
    desk = desk_of()
    signal = signal_of()
    (command,) = desk.on_signal(signal, T0)
    assert isinstance(command, SubmitBracket)
    # 1 % of 10 000 over 2 is 50, worth 5 000 of the 10 000 that are free.
    assert command.entry.quantity == 50
    assert [leg.purpose for leg in command.legs] == [
        OrderPurpose.STOP_LOSS,
        OrderPurpose.TAKE_PROFIT,
    ]
    assert state_of(desk, signal.id) is SignalState.CONFIRMED


def test_a_signal_without_legs_is_a_plain_order() -> None:
    desk = desk_of(min_risk_reward=D(0), sizing=FixedQuantity(D(1)))
    (command,) = desk.on_signal(signal_of(stop_loss=None, take_profits=()), T0)
    assert isinstance(command, SubmitOrder)


def test_the_same_bar_is_never_ordered_twice() -> None:
    desk = desk_of()
    assert desk.on_signal(signal_of(), T0)
    assert desk.on_signal(signal_of(reason="delivered again"), T0 + HOUR_MS) == []
    assert desk.on_signal(signal_of(), T0) == []
    assert len(desk.pending.records) == 1


def test_a_denied_signal_stays_denied_when_it_comes_again() -> None:
    desk = desk_of()
    poor = signal_of(take_profits=targets(("101", "1")))
    assert desk.on_signal(poor, T0) == []
    desk.settings = desk_of(min_risk_reward=D(0)).settings
    assert desk.on_signal(poor, T0) == []
    assert state_of(desk, poor.id) is SignalState.DENIED
    assert "risk-reward 0.5 is below the floor 3" in reason_of(desk, poor.id)


def test_a_size_that_cannot_be_legal_denies_and_sends_nothing() -> None:
    desk = desk_of(FixedView(free=D(0)))
    signal = signal_of()
    assert desk.on_signal(signal, T0) == []
    assert state_of(desk, signal.id) is SignalState.DENIED
    assert "smallest legal order of 0.05" in reason_of(desk, signal.id)


def test_a_second_signal_on_the_side_that_is_open_is_denied() -> None:
    desk = desk_of()
    open_position(desk)
    again = signal_of(ts_ms=T0 + HOUR_MS)
    assert desk.on_signal(again, T0 + HOUR_MS) == []
    assert "a LONG position of BTCUSDT is open already" in reason_of(desk, again.id)


def test_symbols_do_not_stand_in_each_others_way() -> None:
    desk = desk_of()
    open_position(desk)
    other = signal_of(symbol="ETHUSDT", ts_ms=T0 + HOUR_MS)
    assert requests_of(desk.on_signal(other, T0 + HOUR_MS))[0].symbol == "ETHUSDT"


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_an_opposite_signal_closes_first_and_then_enters(side: PositionSide) -> None:
    desk = desk_of()
    open_position(desk, side)
    turn = signal_of(side.opposite, ts_ms=T0 + HOUR_MS)
    close, entry, *_ = requests_of(desk.on_signal(turn, T0 + HOUR_MS))
    assert (close.purpose, close.reduce_only, close.quantity) == (OrderPurpose.EXIT, True, D(50))
    assert (entry.purpose, entry.reduce_only, entry.quantity) == (OrderPurpose.ENTRY, False, D(50))
    assert close.side is entry.side is Side.opening(side.opposite)


def test_an_exit_closes_at_once_even_where_entries_wait_for_a_human() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=HOUR_MS))
    signal = signal_of()
    desk.on_signal(signal, T0)
    entry = requests_of(desk.confirm(signal.id, T0))[0]
    fill(desk, entry, position_after=D(50))
    leave = exit_of()
    (close,) = requests_of(desk.on_signal(leave, leave.ts_ms))
    assert (close.type, close.quantity, close.side) == (OrderType.MARKET, D(50), Side.SELL)
    assert state_of(desk, leave.id) is SignalState.CONFIRMED


@pytest.mark.parametrize("held", [D(0), D(-50)])
def test_an_exit_of_a_side_that_is_not_open_does_nothing(held: object) -> None:
    desk = desk_of()
    if held:
        open_position(desk, SHORT)
    leave = exit_of(LONG)
    assert desk.on_signal(leave, T0 + HOUR_MS) == []
    assert state_of(desk, leave.id) is SignalState.EXPIRED
    assert reason_of(desk, leave.id) == "nothing to close"


def test_an_exit_cancels_the_entry_that_still_works_on_its_side() -> None:
    desk = desk_of()
    waits = signal_of(entry=EntryType.LIMIT, entry_price=D(99), take_profits=targets(("110", "1")))
    entry = requests_of(desk.on_signal(waits, T0))[0]
    accept(desk, entry)
    assert desk.on_signal(exit_of(SHORT, T0 + 1), T0 + 1) == []
    assert desk.on_signal(exit_of(LONG), T0 + HOUR_MS) == [
        CancelOrder(client_order_id=entry.client_order_id)
    ]


def test_an_exit_calls_back_the_entry_that_still_waits_for_its_yes() -> None:
    desk = desk_of(policy=ConfirmAfter(2 * HOUR_MS))
    long, short = signal_of(), signal_of(SHORT, symbol="ETHUSDT")
    desk.on_signal(long, T0)
    desk.on_signal(short, T0)
    leave = exit_of(LONG)
    desk.on_signal(leave, T0 + HOUR_MS)
    assert state_of(desk, leave.id) is SignalState.CONFIRMED
    assert state_of(desk, long.id) is SignalState.SUPERSEDED
    assert state_of(desk, short.id) is SignalState.PENDING
    commands = desk.on_time(T0 + 2 * HOUR_MS)
    assert [one.symbol for one in requests_of(commands)] == ["ETHUSDT"] * 3


def test_a_partly_filled_entry_still_counts_as_working_until_it_is_whole() -> None:
    desk = desk_of()
    waits = signal_of(entry=EntryType.LIMIT, entry_price=D(99), take_profits=targets(("110", "1")))
    entry = requests_of(desk.on_signal(waits, T0))[0]
    accept(desk, entry)
    fill(desk, entry, position_after=D(1), leaves="49")
    cancel, close = desk.on_signal(exit_of(LONG), T0 + HOUR_MS)
    assert cancel == CancelOrder(client_order_id=entry.client_order_id)
    assert requests_of([close])[0].quantity == 1


@pytest.mark.parametrize("end", ["filled", "expired", "rejected"])
def test_an_entry_that_has_ended_is_not_canceled_again(end: str) -> None:
    desk = desk_of()
    waits = signal_of(entry=EntryType.LIMIT, entry_price=D(99), take_profits=targets(("110", "1")))
    entry = requests_of(desk.on_signal(waits, T0))[0]
    accept(desk, entry)
    name = entry.client_order_id
    if end == "filled":
        fill(desk, entry, position_after=D(0))
    elif end == "expired":
        desk.on_event(
            OrderExpired(seq=2, ts_ms=T0, symbol="BTCUSDT", client_order_id=name, reason="GTD")
        )
    else:
        rejected = OrderRejected(
            seq=2, ts_ms=T0, symbol="BTCUSDT", client_order_id=name, code="-2019", reason="margin"
        )
        desk.on_event(rejected)
        assert desk.refusals == [rejected]
    assert desk.on_signal(exit_of(LONG), T0 + HOUR_MS) == []


def test_a_new_entry_replaces_the_one_that_still_works() -> None:
    desk = desk_of()
    first = signal_of(entry=EntryType.LIMIT, entry_price=D(99), take_profits=targets(("110", "1")))
    entry = requests_of(desk.on_signal(first, T0))[0]
    accept(desk, entry)
    cancel, submit = desk.on_signal(signal_of(ts_ms=T0 + HOUR_MS), T0 + HOUR_MS)
    assert cancel == CancelOrder(client_order_id=entry.client_order_id)
    assert isinstance(submit, SubmitBracket)


# Waiting.


def test_confirm_after_acts_when_the_delay_has_passed_and_not_before() -> None:
    desk = desk_of(policy=ConfirmAfter(5 * MINUTE_MS))
    signal = signal_of()
    assert desk.on_signal(signal, T0) == []
    assert desk.next_due_ms == T0 + 5 * MINUTE_MS
    assert desk.on_time(T0 + 5 * MINUTE_MS - 1) == []
    assert len(requests_of(desk.on_time(T0 + 5 * MINUTE_MS))) == 3
    assert desk.next_due_ms is None
    assert desk.on_time(T0 + HOUR_MS) == []


def test_the_delayed_entry_is_sized_by_the_price_and_equity_of_that_moment() -> None:
    view = FixedView()
    desk = desk_of(view, policy=ConfirmAfter(5 * MINUTE_MS))
    desk.on_signal(signal_of(), T0)
    view.price, view.equity = D(99), D(20_000)
    # 1 % of 20 000 over the 1 that is left to the stop would be 200; 10 000 / 99 / 1.002 / 1.005.
    entry = requests_of(desk.on_time(T0 + HOUR_MS))[0]
    assert entry.quantity == D("100.306")


def test_risk_is_asked_again_when_the_delay_has_passed() -> None:
    view = FixedView()
    desk = desk_of(view, policy=ConfirmAfter(5 * MINUTE_MS))
    signal = signal_of()
    desk.on_signal(signal, T0)
    view.price = D(97)
    assert desk.on_time(T0 + HOUR_MS) == []
    assert "already beyond the stop loss 98" in reason_of(desk, signal.id)


def test_a_position_that_opened_meanwhile_denies_the_waiting_signal() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=5 * HOUR_MS))
    first, second = signal_of(), signal_of(strategy="other@1")
    desk.on_signal(first, T0)
    desk.on_signal(second, T0)
    fill(desk, requests_of(desk.confirm(first.id, T0))[0], position_after=D(50))
    assert desk.confirm(second.id, T0) == []
    assert "open already" in reason_of(desk, second.id)


def test_a_newer_signal_of_the_same_strategy_supersedes_the_waiting_one() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=5 * HOUR_MS))
    old, new = signal_of(), signal_of(ts_ms=T0 + HOUR_MS)
    other = signal_of(strategy="other@1")
    for signal in (old, other, new):
        desk.on_signal(signal, signal.ts_ms)
    assert state_of(desk, old.id) is SignalState.SUPERSEDED
    assert new.id in reason_of(desk, old.id)
    assert set(desk.pending.waiting) == {other.id, new.id}
    assert desk.confirm(old.id, T0 + HOUR_MS) == []


def test_a_denied_signal_supersedes_nothing() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=5 * HOUR_MS))
    good, poor = signal_of(), signal_of(ts_ms=T0 + 1, take_profits=targets(("101", "1")))
    desk.on_signal(good, T0)
    desk.on_signal(poor, T0 + 1)
    assert state_of(desk, good.id) is SignalState.PENDING


def test_a_human_who_does_not_answer_lets_the_signal_expire() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=30 * MINUTE_MS))
    signal = signal_of()
    assert desk.on_signal(signal, T0) == []
    assert desk.next_due_ms == T0 + 30 * MINUTE_MS
    desk.on_time(T0 + 30 * MINUTE_MS - 1)
    assert state_of(desk, signal.id) is SignalState.PENDING
    desk.on_time(T0 + 30 * MINUTE_MS)
    assert state_of(desk, signal.id) is SignalState.EXPIRED
    assert desk.confirm(signal.id, T0 + 30 * MINUTE_MS) == []


def test_a_yes_after_the_end_comes_too_late_even_where_no_clock_ticked() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=30 * MINUTE_MS))
    signal = signal_of()
    desk.on_signal(signal, T0)
    assert desk.confirm(signal.id, T0 + 30 * MINUTE_MS) == []
    assert state_of(desk, signal.id) is SignalState.EXPIRED


def test_the_end_that_a_signal_names_itself_comes_before_a_longer_time_to_live() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=30 * MINUTE_MS))
    desk.on_signal(signal_of(valid_until_ms=T0 + 7), T0)
    assert desk.next_due_ms == T0 + 7


@pytest.mark.parametrize("entry", [EntryType.LIMIT, EntryType.STOP])
def test_an_entry_that_waits_at_a_price_is_over_when_the_next_bar_closes(entry: EntryType) -> None:
    desk = desk_of(policy=ConfirmAfter(HOUR_MS), min_risk_reward=D(0))
    signal = signal_of(entry=entry, entry_price=D("100.5"))
    desk.on_signal(signal, T0)
    assert desk.on_time(T0 + HOUR_MS) == []
    assert state_of(desk, signal.id) is SignalState.EXPIRED


def test_a_yes_that_was_due_before_the_end_counts_where_the_clock_ticks_rarely() -> None:
    desk = desk_of(policy=ConfirmAfter(5 * MINUTE_MS))
    signal = signal_of(valid_until_ms=T0 + 30 * MINUTE_MS)
    desk.on_signal(signal, T0)
    assert desk.on_time(T0 + HOUR_MS)
    assert state_of(desk, signal.id) is SignalState.CONFIRMED


def test_a_delay_beyond_the_signals_end_lets_it_expire() -> None:
    desk = desk_of(policy=ConfirmAfter(HOUR_MS))
    signal = signal_of(valid_until_ms=T0 + HOUR_MS)
    desk.on_signal(signal, T0)
    assert desk.on_time(T0 + HOUR_MS) == []
    assert state_of(desk, signal.id) is SignalState.EXPIRED


def test_a_dismissed_signal_cannot_be_confirmed_and_says_who_said_no() -> None:
    desk = desk_of(policy=AwaitHuman(ttl_ms=HOUR_MS))
    signal = signal_of()
    desk.on_signal(signal, T0)
    assert desk.dismiss(signal.id, T0 + 1, "not today")
    assert not desk.dismiss(signal.id, T0 + 2, "again")
    assert desk.confirm(signal.id, T0 + 3) == []
    assert (state_of(desk, signal.id), reason_of(desk, signal.id)) == (
        SignalState.DISMISSED,
        "not today",
    )


def test_an_unknown_signal_can_neither_be_confirmed_nor_dismissed() -> None:
    desk = desk_of()
    assert desk.confirm("nobody", T0) == []
    assert not desk.dismiss("nobody", T0, "")


def test_a_leg_that_ends_is_no_entry() -> None:
    desk = desk_of()
    desk.on_event(
        OrderExpired(
            seq=1, ts_ms=T0, symbol="BTCUSDT", client_order_id=ClientOrderId("leg"), reason="GTD"
        )
    )
    assert desk.entries["BTCUSDT"] == {}
