"""Waiting for a venue that is away: again after a while, longer each time, and not for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import random
from typing import TypeVar

from perpdesk.domain.errors import VenueUnavailable

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a request is made while the venue is away, and how long between.

    jitter: a number from 0 to 1 by chance; it spreads a wait over its second half, so that many
    who wait do not come back at once.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random

    def wait_s(self, failures: int) -> float:
        """Return the wait after so many failures."""
        full_s = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1))
        return full_s * (0.5 + 0.5 * self.jitter())

    async def ask(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return the answer of a call; raises VenueUnavailable where the venue stays away."""
        failures = 0
        while True:
            try:
                return await call()
            except VenueUnavailable:
                failures += 1
                if failures >= self.attempts:
                    raise
            await self.sleep(self.wait_s(failures))
