"""The one policy for questions that change nothing: wait and ask again, a few times.

Orders are never sent by this: what became of them is resolved (resolution.py).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from perpdesk.domain.errors import VenueUnavailable
from perpdesk.venues.clock import LocalTime

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon. tries: all in all. The wait doubles from first_s up to longest_s;
    `jitter` gives 0 to 1, and so half to all of it."""

    jitter: Callable[[], float]
    tries: int = 4
    first_s: float = 0.5
    longest_s: float = 8.0

    def wait_s(self, failures: int) -> float:
        """Return how long to wait after so many failures."""
        whole = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return whole * (0.5 + 0.5 * self.jitter())


async def read(
    ask: Callable[[], Awaitable[Answer]], *, policy: RetryPolicy, local: LocalTime
) -> Answer:
    """Return the answer; the last VenueUnavailable is raised where every try failed.

    Any other error is raised at once: asking again would not change it.
    """
    failures = 0
    while True:
        try:
            return await ask()
        except VenueUnavailable:
            failures += 1
            if failures >= policy.tries:
                raise
            await local.sleep(policy.wait_s(failures))
