"""Warnings: what a reader must know before he trusts a run."""

from dataclasses import replace

from tests.unit.reports.builders import EventLog
from tests.unit.trading.builders import SHORT, T0, exit_of, signal_of

from perpdesk.backtest.notes import warnings_on_signals, warnings_on_trades, warnings_on_verdict
from perpdesk.domain.order import OrderPurpose, Side
from perpdesk.domain.signal import Signal, SignalState
from perpdesk.reports.trades import RoundTrip, round_trips
from perpdesk.strategies.verdict import LookaheadVerdict
from perpdesk.trading.pending import SignalRecord


def denied(signal: Signal, reason: str) -> SignalRecord:
    return SignalRecord(signal=signal, state=SignalState.DENIED, ts_ms=T0, reason=reason)


def test_an_account_too_small_for_any_entry_is_told_why_whatever_exits_came() -> None:
    left = SignalRecord(signal=exit_of(), state=SignalState.EXPIRED, ts_ms=T0)
    records = [
        denied(signal_of(), "a size of 0 BTC is below the smallest legal order of 0.002"),
        denied(signal_of(SHORT), "a size of 0 BTC is below the smallest legal order of 0.003"),
        denied(signal_of(SHORT), "risk-reward 2 is below the floor 3"),
        left,
    ]
    assert warnings_on_signals(records, []) == [
        "all 3 entry signals were denied, so nothing was traded; most often: a size of … BTC is "
        "below the smallest legal order of …"
    ]
    passed = replace(records[0], state=SignalState.CONFIRMED)
    assert warnings_on_signals([passed, *records], []) == []
    assert warnings_on_signals([left], []) == []
    assert warnings_on_signals([], []) == ["the strategy gave no signal in this range"]


def trips_of(*reasons: OrderPurpose) -> list[RoundTrip]:
    log = EventLog()
    for reason in reasons:
        log.fill(Side.BUY, "1", "100")
        log.fill(Side.SELL, "1", "90", purpose=reason)
    return round_trips(log.events)


def test_liquidated_trades_are_told_with_their_share() -> None:
    trips = trips_of(OrderPurpose.LIQUIDATION, OrderPurpose.STOP_LOSS, OrderPurpose.LIQUIDATION)
    assert warnings_on_trades(trips) == [
        "2 of 3 trades were liquidated; at this leverage the liquidation price can lie before the "
        "stop: lower the leverage or the risk"
    ]
    assert warnings_on_trades(trips_of(OrderPurpose.STOP_LOSS)) == []


def test_a_strategy_that_looks_ahead_is_a_warning() -> None:
    found = LookaheadVerdict(passed=False, checks=(), text="falsified. bar 7")
    assert warnings_on_verdict(found) == [
        "the strategy looks ahead, so the result means nothing: falsified. bar 7"
    ]
    assert warnings_on_verdict(replace(found, passed=True, text="not falsified")) == []
