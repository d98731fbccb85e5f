"""Virtual time: it may run faster than the wall, stand still, or be moved by hand."""

import time


class VirtualClock:
    """What the time should be by now. The world follows it, and holds it back where it cannot.

    speed: virtual ms per wall ms; zero stands still, and time moves by `World.advance` alone.
    """

    def __init__(self, start_ms: int, speed: float) -> None:
        self._from_ms = float(start_ms)
        self._from_wall = time.monotonic()
        self.speed = speed

    def now_ms(self) -> int:
        """Return what the time should be."""
        passed = (time.monotonic() - self._from_wall) * 1000 * self.speed
        return int(self._from_ms + passed)

    def move_to(self, now_ms: int, *, speed: float | None = None) -> None:
        """Go on from a time, at another speed where one is given."""
        self._from_ms, self._from_wall = float(now_ms), time.monotonic()
        self.speed = self.speed if speed is None else speed
