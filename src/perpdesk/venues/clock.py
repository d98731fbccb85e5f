"""Venue time: local time plus an offset that is measured, shown, and measured again on refusal."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

SAMPLES: Final = 5
DRIFT_WARNING_MS: Final = 500


class LocalTime(Protocol):
    """This machine's clocks; a test brings its own."""

    def now_ms(self) -> int:
        """Return wall time, UTC."""
        ...

    def monotonic_ms(self) -> float:
        """Return a time that never steps; for timeouts and budgets."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemTime:
    """The clocks of the operating system."""

    def now_ms(self) -> int:
        """Return wall time, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        """Return a time that never steps."""
        return time.monotonic() * 1000

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class VenueClock:
    """A venue's clock as seen from here. offset_ms: what to add to local time.

    A venue forgives a timestamp 1,000 ms ahead and recvWindow behind, so `timestamp_ms` stays a
    little in the past (reference/exchanges.md 2.3).
    """

    CAUTION_MS: Final = 200

    def __init__(self, local: LocalTime) -> None:
        self.local = local
        self.offset_ms = 0
        self.measured_at_ms: int | None = None

    def now_ms(self) -> int:
        """Return the venue's time."""
        return self.local.now_ms() + self.offset_ms

    def timestamp_ms(self) -> int:
        """Return the time to sign a request with."""
        return self.now_ms() - self.CAUTION_MS

    @property
    def has_drifted(self) -> bool:
        """Tell whether the local clock is so far off that a person should set it."""
        return abs(self.offset_ms) > DRIFT_WARNING_MS

    async def measure(self, ask: Callable[[], Awaitable[int]], samples: int = SAMPLES) -> int:
        """Set the offset to the median of server time - (t0 + t1) / 2 and return it.

        ask: returns the venue's time in ms.
        """
        offsets = []
        for _ in range(samples):
            began_ms, began = self.local.now_ms(), self.local.monotonic_ms()
            server_ms = await ask()
            half = (self.local.monotonic_ms() - began) / 2
            offsets.append(server_ms - (began_ms + half))
        self.offset_ms = round(statistics.median(offsets))
        self.measured_at_ms = self.local.now_ms()
        return self.offset_ms
