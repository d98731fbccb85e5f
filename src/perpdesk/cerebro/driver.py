"""Runs the exchange over execution bars, and skips those that cannot change anything but the mark.

A bar inside the exchange's guard is quiet: skipping it gives the same events, because nothing in it
can trigger, fill, settle or liquidate. The driver finds the next bar that is not quiet by one
vectorised comparison, which is what makes a million bars cheap.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import numpy as np

from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.numbers import ATOMS_PER_UNIT, amount_of
from perpdesk.simulation.guard import Guard

NEVER_MS: Final = 1 << 62
_HORIZON: Final = 512
"""How many bars a first look ahead compares; each further look over the same guard doubles it."""


class Lane:
    """One symbol's execution bars and how far the exchange has come on them.

    at: bars before it are done. wake: first bar at or after `at` that may have to be processed;
    where only a look ahead ended there, `is_open` says so, and another look decides.
    """

    def __init__(self, host: SimulationHost, bars: ExecutionBars) -> None:
        self.host = host
        self.bars = bars
        self.size = len(bars)
        self.at = 0
        self.wake = 0
        self.is_open = False
        self._guard: Guard | None = None
        self._horizon = _HORIZON

    @property
    def wake_ms(self) -> int:
        """Return when the wake bar closes."""
        return int(self.bars.close_ms[self.wake]) if self.wake < self.size else NEVER_MS

    def skip_to(self, index: int) -> None:
        """Let the exchange know the close of the last quiet bar before `index`."""
        if index <= self.at:
            return
        bars = self.bars
        self.host.exchange.skip_to(
            bars.symbol,
            int(bars.close_ms[index - 1]),
            last_price=amount_of(int(bars.last.close[index - 1])),
            mark_price=amount_of(int(bars.mark.close[index - 1])),
        )
        self.at = index

    def find_wake(self) -> None:
        """Find the next bar that is not quiet, given the exchange's state of this moment."""
        self._guard = self.host.exchange.guard(self.bars.symbol)
        self._horizon = _HORIZON
        self.is_open = False
        if self._guard is None:
            self.wake = self.at
            return
        self._look_ahead(self._guard, self.at)

    def look_further(self) -> None:
        """Go on from where the last look ahead ended; nothing has changed since."""
        assert self._guard is not None
        self._horizon *= 2
        self._look_ahead(self._guard, self.wake)

    def _look_ahead(self, guard: Guard, start: int) -> None:
        wake, self.is_open = self._first_outside(guard, start)
        forced = self._first_forced(guard)
        if forced <= wake:
            wake, self.is_open = forced, False
        self.wake = wake

    def _first_forced(self, guard: Guard) -> int:
        """Return the first bar that matters whatever its prices: funding, or a time that is due."""
        wake = self.size
        state = self.host.exchange.symbols[self.bars.symbol]
        if state.signed_quantity:
            funding = self.bars.next_funding(self.at)
            if funding is not None:
                wake = min(wake, funding)
        due_ms = guard.expire_ms
        if self.host.desk.pending.waiting:
            desk_ms = self.host.desk.next_due_ms
            if desk_ms is not None:
                due_ms = desk_ms if due_ms is None else min(due_ms, desk_ms)
        if due_ms is not None:
            wake = min(wake, max(self.at, int(np.searchsorted(self.bars.ts_ms, due_ms))))
        return wake

    def _first_outside(self, guard: Guard, start: int) -> tuple[int, bool]:
        """Return the first bar from `start` on that touches a bound of the guard.

        Where none within the horizon does, the horizon's end, and true: there is more to look at.
        """
        tests = []
        last, mark = self.bars.last, self.bars.mark
        for column, bound, low in (
            (last.low, guard.last_low, True),
            (last.high, guard.last_high, False),
            (mark.low, guard.mark_low, True),
            (mark.high, guard.mark_high, False),
        ):
            if bound is not None:
                # Cut to whole atoms: a bound between two may wake a bar too early, never too late.
                tests.append((column, int(bound * ATOMS_PER_UNIT), low))
        if not tests:
            return self.size, False
        end = min(start + self._horizon, self.size)
        first = end
        for column, limit, low in tests:
            part = column[start:first]
            hit = part <= limit if low else part >= limit
            place = int(hit.argmax()) if len(hit) else 0
            if len(hit) and hit[place]:
                first = start + place
        return first, first == end < self.size


class BatchDriver:
    """Advances all symbols of a host through recorded bars, in order of time.

    All symbols have bars of one timeframe.
    """

    def __init__(self, host: SimulationHost, bars: Sequence[ExecutionBars]) -> None:
        self.host = host
        self.lanes = [Lane(host, each) for each in bars]
        self._seen_changes = -1
        self.next_ms = 0

    def advance(self, close_ms: int) -> None:
        """Process every bar that closes at or before `close_ms` and could change something."""
        if self._seen_changes != self.host.changes:
            self._find_wakes()
        while self.next_ms <= close_ms and self.host.exchange.stopped is None:
            lane = min(self.lanes, key=_wake_order)
            if lane.is_open:
                lane.look_further()
                self.next_ms = min(each.wake_ms for each in self.lanes)
                continue
            self._process(lane)
            self._find_wakes()

    def _process(self, waking: Lane) -> None:
        """Run the bar that a lane waits for, together with the other symbols' bars of that time."""
        ts_ms = int(waking.bars.ts_ms[waking.wake])
        bars = []
        for lane in self.lanes:
            index = bisect_left(lane.bars.ts_ms, ts_ms)
            lane.skip_to(index)
            if index < lane.size and lane.bars.ts_ms[index] == ts_ms:
                bars.append(lane.bars.bar(index))
                lane.at = index + 1
        self.host.on_bars(bars)

    def synchronise(self, close_ms: int) -> None:
        """Bring every symbol's prices to `close_ms`; call before looking or acting at that time."""
        for lane in self.lanes:
            lane.skip_to(int(np.searchsorted(lane.bars.close_ms, close_ms, side="right")))

    def _find_wakes(self) -> None:
        self._seen_changes = self.host.changes
        for lane in self.lanes:
            lane.find_wake()
        self.next_ms = min(lane.wake_ms for lane in self.lanes)


def _wake_order(lane: Lane) -> int:
    return lane.wake_ms
