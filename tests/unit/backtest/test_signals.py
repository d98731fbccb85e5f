"""The audit of signals: every one of them, and how it ended."""

import csv
import io
import time
from typing import Any

from tests.unit.trading.builders import SHORT, T0, D, exit_of, signal_of, targets

from perpdesk.backtest.signals import SIGNAL_COLUMNS, signal_lines, signal_summary
from perpdesk.domain.signal import EntryType, Signal, SignalState
from perpdesk.trading.pending import SignalRecord


def ended(signal: Signal, state: SignalState, reason: str = "", ts_ms: int = T0) -> SignalRecord:
    return SignalRecord(signal=signal, state=state, ts_ms=ts_ms, reason=reason)


def rows_of(*records: SignalRecord) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO("".join(signal_lines(records)))))


def test_a_signal_is_told_with_all_that_it_asked_for_and_how_it_ended() -> None:
    signal = signal_of(
        entry=EntryType.LIMIT,
        entry_price=D("99.50"),
        stop_loss=D(98),
        take_profits=targets(("104", "0.5"), ("107", "0.5")),
        confidence=0.75,
    )
    (row,) = rows_of(ended(signal, SignalState.CONFIRMED, ts_ms=T0 + 7))
    assert tuple(row) == SIGNAL_COLUMNS
    assert row == {
        "ts_ms": str(T0),
        "signal_id": signal.id,
        "symbol": "BTCUSDT",
        "strategy": "idea@1",
        "kind": "ENTRY",
        "side": "LONG",
        "entry": "LIMIT",
        "entry_price": "99.5",
        "reference_price": "100",
        "stop_loss": "98",
        "take_profits": "104:0.5 107:0.5",
        # (4.5 + 7.5) / 2 over 1.5.
        "risk_reward": "4",
        "confidence": "0.75",
        "state": "CONFIRMED",
        "decided_ts_ms": str(T0 + 7),
        "reason": "",
    }


def test_what_is_not_there_is_empty_and_a_reason_survives_commas_and_quotes() -> None:
    bare = signal_of(SHORT, stop_loss=None, take_profits=())
    reason = 'no stop, says "the desk"\nand means it'
    denied, waits = rows_of(
        ended(bare, SignalState.DENIED, reason), ended(exit_of(), SignalState.PENDING)
    )
    for name in ("entry_price", "stop_loss", "take_profits", "risk_reward"):
        assert denied[name] == ""
    assert denied["reason"] == reason
    assert (waits["kind"], waits["state"], waits["decided_ts_ms"]) == ("EXIT", "PENDING", "")


def test_fifty_thousand_signals_take_a_fraction_of_a_second() -> None:
    records = [
        ended(signal_of(), SignalState.DENIED, "risk-reward 1 is below the floor 3")
    ] * 50_000
    began = time.process_time()
    count = sum(len(line) > 0 for line in signal_lines(records))
    seconds = time.process_time() - began
    assert count == 50_001
    assert seconds < 1.0  # 0.2 s on a quiet machine


def test_entries_and_exits_are_counted_apart() -> None:
    summary = signal_summary(
        [
            ended(signal_of(), SignalState.CONFIRMED),
            ended(signal_of(SHORT), SignalState.DENIED, "risk-reward 1.2 is below the floor 3"),
            ended(signal_of(SHORT), SignalState.DENIED, "risk-reward 2.9 is below the floor 3"),
            ended(exit_of(), SignalState.EXPIRED, "nothing to close"),
        ],
        [],
    )
    assert summary.total == 4
    assert summary.entries == {"CONFIRMED": 1, "DENIED": 2}
    assert summary.exits == {"EXPIRED": 1}
    assert summary.denied_reasons == {"risk-reward … is below the floor …": 2}
