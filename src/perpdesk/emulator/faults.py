"""Failing on purpose: switches at run time, and a schedule that a seed draws.

A fault is armed with a probability and, where wanted, a count and a span of virtual time. Doors ask
`take`, which tells whether it strikes now; every strike is written down.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from perpdesk.domain.candles import HOUR_MS, Venue


class FaultKind(StrEnum):
    """What can go wrong. Values in parentheses: what `Fault.value` means."""

    DELAY = "delay"
    """An answer or message comes late (ms)."""
    JITTER = "jitter"
    """As DELAY, by a random part of it (ms)."""
    DROP_BEFORE = "drop-before"
    """The connection breaks before the request is read: nothing was done."""
    DROP_AFTER = "drop-after"
    """The connection breaks after the request was carried out: the answer is lost."""
    DUPLICATE = "duplicate"
    """A stream message comes twice."""
    REORDER = "reorder"
    """A stream message comes after the one that follows it."""
    SILENT = "silent"
    """A socket stays open and says nothing (s)."""
    CLOSE = "close"
    """A socket is cut without a goodbye."""
    SEQUENCE_GAP = "sequence-gap"
    """A depth message is lost."""
    LATE_CANDLE = "late-candle"
    """The message that closes a candle never comes."""
    RATE_LIMIT = "rate-limit"
    """429, or 10006 at Bybit (s until Retry-After)."""
    BAN = "ban"
    """418 (s), 403 at Bybit."""
    FORBIDDEN = "forbidden"
    """403: the firewall."""
    UNKNOWN = "unknown"
    """503 with an unknown outcome: the request was carried out."""
    SERVER_ERROR = "server-error"
    """A 5xx: nothing was done, but nobody says so."""
    HALF_ANSWER = "half-answer"
    """The body ends in the middle, or is no JSON."""
    CLOCK_SKEW = "clock-skew"
    """The venue's clock is off (ms)."""
    MAINTENANCE = "maintenance"
    """Every request is refused, sockets are closed."""
    LISTEN_KEY_EXPIRY = "listen-key-expiry"
    """The user stream's key dies; the stream falls silent (Binance)."""
    STOP_REFUSED = "stop-refused"
    """Conditional orders are refused."""
    PARTIAL_FILLS = "partial-fills"
    """One stretch of time fills this part of an order (fraction)."""
    NOT_FOUND = "not-found"
    """A query says that an order does not exist which does."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """An armed fault. path: a pattern of the request's path or the stream's name. left: how many
    times it may still strike, None without limit. until_ms: virtual time at which it ends."""

    kind: FaultKind
    venue: Venue | None = None
    path: str = "*"
    probability: float = 1.0
    left: int | None = None
    value: float = 0.0
    until_ms: int | None = None

    def covers(self, venue: Venue, path: str, now_ms: int) -> bool:
        """Tell whether the fault is meant for this place and time."""
        return (
            (self.venue is None or self.venue is venue)
            and (self.left is None or self.left > 0)
            and (self.until_ms is None or now_ms < self.until_ms)
            and fnmatchcase(path, self.path)
        )


class Faults:
    """The faults that are armed, and how often each kind has struck."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.armed: list[Fault] = []
        self.struck: Counter[FaultKind] = Counter()
        self.now_ms = 0

    def arm(self, fault: Fault) -> None:
        """Arm a fault."""
        self.armed.append(fault)

    def clear(self, kind: FaultKind | None = None) -> None:
        """Disarm the faults of one kind, or all."""
        self.armed = [each for each in self.armed if kind is not None and each.kind is not kind]

    def take(self, kind: FaultKind, venue: Venue, path: str = "") -> Fault | None:
        """Return the fault if it strikes now."""
        if not self.armed:
            return None
        for fault in self.armed:
            if fault.kind is not kind or not fault.covers(venue, path, self.now_ms):
                continue
            if fault.probability < 1 and self.random.random() >= fault.probability:
                continue
            if fault.left is not None:
                fault.left -= 1
            self.struck[kind] += 1
            return fault
        return None

    def active(self, kind: FaultKind, venue: Venue, path: str = "") -> Fault | None:
        """Return a fault of the kind that is in force, without using it up."""
        for fault in self.armed:
            if fault.kind is kind and fault.covers(venue, path, self.now_ms):
                return fault
        return None

    def expire(self) -> None:
        """Forget what can strike no more."""
        self.armed = [
            each
            for each in self.armed
            if each.left != 0 and (each.until_ms is None or self.now_ms < each.until_ms)
        ]


@dataclass(slots=True, kw_only=True)
class Schedule:
    """Arms faults at random virtual times. per_hour: mean number of strikes by kind.

    Each arms a fault that strikes once, or lasts `LASTS_MS` where it is a state.
    """

    per_hour: Mapping[FaultKind, float]
    values: Mapping[FaultKind, float] = field(default_factory=dict)
    seed: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def advance(self, faults: Faults, start_ms: int, end_ms: int) -> None:
        """Arm what falls into [start_ms, end_ms)."""
        hours = (end_ms - start_ms) / HOUR_MS
        for kind in sorted(self.per_hour):
            if self._random.random() < self.per_hour[kind] * hours:
                lasting = LASTS_MS.get(kind)
                faults.arm(
                    Fault(
                        kind=kind,
                        left=None if lasting else 1,
                        value=self.values.get(kind, DEFAULT_VALUES.get(kind, 0.0)),
                        until_ms=end_ms + (lasting or HOUR_MS),
                    )
                )


LASTS_MS: Mapping[FaultKind, int] = {
    FaultKind.MAINTENANCE: 60_000,
    FaultKind.CLOCK_SKEW: 120_000,
    FaultKind.PARTIAL_FILLS: 120_000,
}
"""States, and how long a scheduled one lasts, in virtual time."""

DEFAULT_VALUES: Mapping[FaultKind, float] = {
    FaultKind.DELAY: 300,
    FaultKind.JITTER: 300,
    FaultKind.SILENT: 5,
    FaultKind.RATE_LIMIT: 1,
    FaultKind.BAN: 2,
    FaultKind.CLOCK_SKEW: 2500,
    FaultKind.PARTIAL_FILLS: 0.4,
}

USUAL_RATES: Mapping[FaultKind, float] = {
    FaultKind.DELAY: 6,
    FaultKind.JITTER: 6,
    FaultKind.DROP_BEFORE: 1,
    FaultKind.DROP_AFTER: 1,
    FaultKind.DUPLICATE: 6,
    FaultKind.REORDER: 3,
    FaultKind.SILENT: 0.5,
    FaultKind.CLOSE: 1,
    FaultKind.SEQUENCE_GAP: 1,
    FaultKind.LATE_CANDLE: 1,
    FaultKind.RATE_LIMIT: 1,
    FaultKind.BAN: 0.1,
    FaultKind.FORBIDDEN: 0.1,
    FaultKind.UNKNOWN: 0.5,
    FaultKind.SERVER_ERROR: 0.5,
    FaultKind.HALF_ANSWER: 0.5,
    FaultKind.CLOCK_SKEW: 0.1,
    FaultKind.MAINTENANCE: 0.05,
    FaultKind.LISTEN_KEY_EXPIRY: 0.2,
    FaultKind.STOP_REFUSED: 0.5,
    FaultKind.PARTIAL_FILLS: 1,
    FaultKind.NOT_FOUND: 1,
}
"""Strikes per virtual hour in ordinary bad weather; a soak multiplies them."""
