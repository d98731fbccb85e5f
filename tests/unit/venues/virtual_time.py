"""A clock that moves only when a test says so, or when everybody sleeps."""

import asyncio
import heapq
from collections.abc import Awaitable
from typing import Any

SETTLE = 50
"""Turns of the event loop that let everything happen which can happen now."""


class VirtualTime:
    """Implements `LocalTime`. started_ms: the wall clock at monotonic zero."""

    def __init__(self, started_ms: int = 1_790_000_000_000) -> None:
        self.started_ms = started_ms
        self.elapsed_ms = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0

    def now_ms(self) -> int:
        return self.started_ms + round(self.elapsed_ms)

    def monotonic_ms(self) -> float:
        return self.elapsed_ms

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._sleepers, (self.elapsed_ms + seconds * 1000, self._number, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in their order."""
        until = self.elapsed_ms + seconds * 1000
        await settle()
        while self._wake_next(until):
            await settle()
        self.elapsed_ms = until

    def _wake_next(self, until: float) -> bool:
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self.elapsed_ms = max(self.elapsed_ms, due)
                future.set_result(None)
                return True
        return False

    async def finish(self, work: Awaitable[Any], within_s: float = 1e6) -> Any:
        """Return what `work` gives, letting time pass as far as it needs."""
        task = asyncio.ensure_future(work)
        until = self.elapsed_ms + within_s * 1000
        await settle()
        while not task.done():
            assert self._wake_next(until), "it waits for something that never comes"
            await settle()
        return task.result()


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    for _ in range(SETTLE):
        await asyncio.sleep(0)


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
