"""Clocks for tests: one that runs fast, so that waits end soon, and one that can be moved."""

import asyncio

from perpdesk.venues.clock import SystemTime

SPEED = 100


class HastyTime:
    """Implements `LocalTime`."""

    def __init__(self) -> None:
        self._real = SystemTime()
        self._began_ms = self._real.monotonic_ms()
        self._wall_ms = self._real.now_ms()

    def now_ms(self) -> int:
        return self._wall_ms + round(self.monotonic_ms())

    def monotonic_ms(self) -> float:
        return (self._real.monotonic_ms() - self._began_ms) * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


class SteeredTime(SystemTime):
    """The real clock, with a wall clock that a test may put ahead."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms
