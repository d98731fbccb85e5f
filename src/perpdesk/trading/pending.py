"""Signals that wait for a yes: one place, one state each, changed by compare-and-set."""

from dataclasses import dataclass
from typing import Protocol

from perpdesk.domain.signal import EntryType, Signal, SignalState


def end_ms_of(signal: Signal) -> int | None:
    """Return when a signal is over by itself; None for a market entry that names no end.

    An entry that waits at a price of its own ends when the strategy's next bar closes, unless the
    signal says otherwise.
    """
    if signal.valid_until_ms is not None or signal.entry is EntryType.MARKET:
        return signal.valid_until_ms
    return signal.timeframe.close_ms(signal.ts_ms)


class ConfirmationPolicy(Protocol):
    """Who says yes, and when."""

    def confirm_at_ms(self, signal: Signal) -> int | None:
        """Return when the signal is confirmed by itself; None means a human has to."""

    def expires_at_ms(self, signal: Signal) -> int | None:
        """Return when the signal is no longer worth confirming; None means never."""


@dataclass(frozen=True, slots=True)
class ConfirmAfter:
    """Confirm every signal `delay_ms` after it was emitted: 0 acts at once.

    A delay shows in a backtest what a slow human costs.
    """

    delay_ms: int = 0

    def confirm_at_ms(self, signal: Signal) -> int | None:
        """Return the time of the signal plus the delay."""
        return signal.ts_ms + self.delay_ms

    def expires_at_ms(self, signal: Signal) -> int | None:
        """Return the end of the signal itself."""
        return end_ms_of(signal)


@dataclass(frozen=True, slots=True)
class AwaitHuman:
    """Wait for a person, at most `ttl_ms`."""

    ttl_ms: int

    def confirm_at_ms(self, signal: Signal) -> int | None:
        """Return None: nobody but a person confirms."""
        return None

    def expires_at_ms(self, signal: Signal) -> int | None:
        """Return the earlier of the time to live and the end of the signal itself."""
        end_ms, own_ms = signal.ts_ms + self.ttl_ms, end_ms_of(signal)
        return end_ms if own_ms is None else min(end_ms, own_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRecord:
    """A signal, where it stands, since when, and why."""

    signal: Signal
    state: SignalState
    ts_ms: int
    reason: str = ""


class PendingSignals:
    """Every signal of the desk by id, and which of them still wait.

    A signal leaves PENDING exactly once: whoever asks first (web, Telegram, policy, expiry) wins,
    everybody later is told no.
    """

    def __init__(self) -> None:
        self.records: dict[str, SignalRecord] = {}
        self.waiting: dict[str, Signal] = {}

    def add(self, signal: Signal) -> bool:
        """Take a new signal in as PENDING; false if its id was seen before, whatever became of it.

        So the same bar, delivered again, can never be acted on twice.
        """
        if signal.id in self.records:
            return False
        self.records[signal.id] = SignalRecord(
            signal=signal, state=SignalState.PENDING, ts_ms=signal.ts_ms
        )
        self.waiting[signal.id] = signal
        return True

    def decide(self, signal_id: str, state: SignalState, ts_ms: int, reason: str = "") -> bool:
        """Move a PENDING signal to `state`; false if somebody was faster or it is not known."""
        if self.waiting.pop(signal_id, None) is None:
            return False
        record = self.records[signal_id]
        self.records[signal_id] = SignalRecord(
            signal=record.signal, state=state, ts_ms=ts_ms, reason=reason
        )
        return True
