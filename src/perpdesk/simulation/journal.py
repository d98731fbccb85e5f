"""The exchange's own record: every event with its sequence number and time."""

from typing import Any

from perpdesk.domain.events import Event


class Journal:
    """Hands out sequence numbers and collects the events of the current `process` call."""

    __slots__ = ("events", "next_seq", "ts_ms")

    def __init__(self) -> None:
        self.next_seq = 1
        self.ts_ms = 0
        self.events: list[Event] = []

    def add(self, kind: type[Any], **fields: Any) -> None:
        """Append one event of `kind`; seq and ts_ms are filled in."""
        self.events.append(kind(seq=self.next_seq, ts_ms=self.ts_ms, **fields))
        self.next_seq += 1

    def take(self) -> list[Event]:
        """Return the events collected so far and begin anew."""
        events, self.events = self.events, []
        return events
