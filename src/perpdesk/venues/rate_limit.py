"""One budget per venue and process: what a request costs, who goes first, when to stop.

The venue's headers are the truth; our own count bridges the time between two answers.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from perpdesk.domain.errors import VenueUnavailable
from perpdesk.venues.clock import LocalTime


class Lane(IntEnum):
    """Who goes first where budget is short."""

    CANCEL = 0
    STOP = 1
    QUERY = 2
    ENTRY = 3
    HISTORY = 4


SHARES: Final = {
    Lane.CANCEL: 1.0,
    Lane.STOP: 0.97,
    Lane.QUERY: 0.90,
    Lane.ENTRY: 0.80,
    Lane.HISTORY: 0.60,
}
"""How far each lane may fill a pool: what it leaves is there for those that go first."""

IN_FLIGHT_MS: Final = 2_000
"""What was spent so recently may not be in the venue's count yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A limit of the venue: `limit` units in any window of `window_ms`."""

    name: str
    limit: int
    window_ms: int


class _Window:
    """What was spent in the last `window_ms`: sliding, so that it also fits the venue's fixed one.

    A sliding count is never below that of a window that begins anew at the full minute.
    """

    def __init__(self, pool: Pool) -> None:
        self.limit = pool.limit
        self.window_ms = pool.window_ms
        self.used = 0
        self._spent: deque[tuple[float, int]] = deque()

    def forget(self, now: float) -> None:
        """Drop what has left the window."""
        while self._spent and self._spent[0][0] <= now - self.window_ms:
            self.used -= self._spent.popleft()[1]

    def add(self, now: float, units: int) -> None:
        """Count units as spent now."""
        if units:
            self._spent.append((now, units))
            self.used += units

    def correct(self, now: float, used: int) -> None:
        """Take the venue's count. A lower one means that its window began anew."""
        self.forget(now)
        self.add(now, max(0, used - self.used))
        excess = self.used - used
        while excess > 0 and self._spent[0][0] <= now - IN_FLIGHT_MS:
            at, units = self._spent.popleft()
            gone = min(units, excess)
            excess -= gone
            self.used -= gone
            if units > gone:
                self._spent.appendleft((at, units - gone))

    def room_for(self, lane: Lane) -> int:
        """Return how many units the lane may have used up in all."""
        return max(1, int(SHARES[lane] * self.limit))

    def fits(self, lane: Lane, units: int) -> bool:
        """Tell whether the lane may spend. What exceeds its share waits for an empty pool."""
        return not units or not self.used or self.used + units <= self.room_for(lane)

    def wait_ms(self, lane: Lane, units: int, now: float) -> float:
        """Return how long until `fits`, if nobody else spends."""
        used = self.used
        for at, spent in self._spent:
            if not used or used + units <= self.room_for(lane):
                return 0.0
            used -= spent
            ready_ms = at + self.window_ms - now
            if not used or used + units <= self.room_for(lane):
                return ready_ms
        return 0.0


class _Turn:
    """A caller that waits for its turn."""

    def __init__(self, lane: Lane, number: int, costs: Mapping[str, int]) -> None:
        self.order = (lane, number)
        self.lane = lane
        self.costs = costs
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def competes_with(self, costs: Mapping[str, int]) -> bool:
        """Tell whether both want of one pool."""
        return not self.costs.keys().isdisjoint(costs)


class RateBudget:
    """Shared by everything in the process that talks to one venue."""

    def __init__(self, pools: Mapping[str, Pool], local: LocalTime) -> None:
        self._windows = {name: _Window(pool) for name, pool in pools.items()}
        self._local = local
        self._waiting: list[_Turn] = []
        self._number = 0
        self._held_until = 0.0
        self._stopped_until = 0.0
        self._stop_words = ""
        self._server: asyncio.Task[None] | None = None

    async def spend(self, lane: Lane, costs: Mapping[str, int]) -> None:
        """Wait for the turn of the lane and for budget in every pool named, then take it.

        costs: units by pool name. Lanes below CANCEL leave a reserve for those above them.
        Raises VenueUnavailable at once while the venue has banned us (`stop`), saying until when.
        """
        unknown = costs.keys() - self._windows.keys()
        assert not unknown, f"no such pools: {sorted(unknown)}; known: {sorted(self._windows)}"
        self._refuse_while_stopped()
        now = self._local.monotonic_ms()
        rivals = (turn for turn in self._waiting if turn.lane <= lane)
        if not any(turn.competes_with(costs) for turn in rivals) and self._fits(lane, costs, now):
            self._take(costs, now)
            return
        self._number += 1
        turn = _Turn(lane, self._number, costs)
        self._waiting.append(turn)
        self._waiting.sort(key=lambda each: each.order)
        self._serve_anew()
        try:
            await turn.granted
        finally:
            if turn in self._waiting:  # The caller was canceled: others may move up.
                self._waiting.remove(turn)
                self._serve_anew()

    def observe(self, pool: str, used: int, limit: int | None = None) -> None:
        """Take the venue's own count from a header."""
        window = self._windows[pool]
        before = window.used
        window.correct(self._local.monotonic_ms(), used)
        grown = limit is not None and limit > window.limit
        if limit is not None:
            window.limit = limit
        if grown or window.used < before:
            self._serve_anew()

    def retry_after(self, seconds: float) -> None:
        """Hold every lane for as long as the venue asked (429, 10006)."""
        until = self._local.monotonic_ms() + seconds * 1000
        self._held_until = max(self._held_until, until)

    def stop(self, seconds: float, reason: str) -> None:
        """Make no call at all until the ban ends (418, 403)."""
        until = self._local.monotonic_ms() + seconds * 1000
        if until > self._stopped_until:
            self._stopped_until = until
            wall_ms = self._local.now_ms() + round(seconds * 1000)
            ends = datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            self._stop_words = f"no call is made to the venue until {ends}: {reason}"
        for turn in self._waiting:
            if not turn.granted.done():
                turn.granted.set_exception(self._stopped())
        self._waiting.clear()

    def used_ratio(self) -> dict[str, float]:
        """Return how much of each pool is used now, 0 to 1."""
        now = self._local.monotonic_ms()
        ratios = {}
        for name, window in self._windows.items():
            window.forget(now)
            ratios[name] = window.used / window.limit
        return ratios

    # Inside.

    def _stopped(self) -> VenueUnavailable:
        return VenueUnavailable(
            self._stop_words, next_step="Wait until then; entries stay blocked and stops rest."
        )

    def _refuse_while_stopped(self) -> None:
        if self._local.monotonic_ms() < self._stopped_until:
            raise self._stopped()

    def _fits(self, lane: Lane, costs: Mapping[str, int], now: float) -> bool:
        if now < self._held_until:
            return False
        for name in costs:
            self._windows[name].forget(now)
        return all(self._windows[name].fits(lane, units) for name, units in costs.items())

    def _take(self, costs: Mapping[str, int], now: float) -> None:
        for name, units in costs.items():
            self._windows[name].add(now, units)

    def _serve_anew(self) -> None:
        """Let the waiting be looked at now; the old server may sleep longer than it should."""
        if self._server is not None:
            self._server.cancel()
            self._server = None
        if self._waiting:
            self._server = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        """Grant turns as budget comes free, until nobody waits."""
        while self._waiting:
            now = self._local.monotonic_ms()
            self._grant(now)
            if self._waiting:
                wait_ms = min(self._wait_ms(turn, now) for turn in self._unrivaled())
                # Never less than a millisecond: a rounding error must not spin.
                await self._local.sleep(max(1.0, wait_ms) / 1000)

    def _grant(self, now: float) -> None:
        """Give every turn that may go its budget, in lane order, none overtaking its rival."""
        still: list[_Turn] = []
        for turn in self._waiting:
            if turn.granted.done():
                continue
            blocked = any(ahead.competes_with(turn.costs) for ahead in still)
            if blocked or not self._fits(turn.lane, turn.costs, now):
                still.append(turn)
                continue
            self._take(turn.costs, now)
            turn.granted.set_result(None)
        self._waiting = still

    def _unrivaled(self) -> Iterator[_Turn]:
        """Yield those who wait for budget alone; the others wait for one of them first."""
        taken: set[str] = set()
        for turn in self._waiting:
            if taken.isdisjoint(turn.costs):
                yield turn
            taken |= turn.costs.keys()

    def _wait_ms(self, turn: _Turn, now: float) -> float:
        waits = (
            self._windows[name].wait_ms(turn.lane, units, now) for name, units in turn.costs.items()
        )
        return max(self._held_until - now, *waits, 0.0)
