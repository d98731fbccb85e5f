"""One budget per venue and process: what a request costs, who goes first, when to stop.

The venue's headers are the truth; our own count bridges the time between two answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from perpdesk.venues.clock import LocalTime


class Lane(IntEnum):
    """Who goes first where budget is short."""

    CANCEL = 0
    STOP = 1
    QUERY = 2
    ENTRY = 3
    HISTORY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A limit of the venue: `limit` units in any window of `window_ms`."""

    name: str
    limit: int
    window_ms: int


class RateBudget:
    """Shared by everything in the process that talks to one venue."""

    def __init__(self, pools: Mapping[str, Pool], local: LocalTime) -> None:
        raise NotImplementedError

    async def spend(self, lane: Lane, costs: Mapping[str, int]) -> None:
        """Wait for the turn of the lane and for budget in every pool named, then take it.

        costs: units by pool name. Lanes below CANCEL leave a reserve for those above them.
        Raises VenueUnavailable at once while the venue has banned us (`stop`), saying until when.
        """
        raise NotImplementedError

    def observe(self, pool: str, used: int, limit: int | None = None) -> None:
        """Take the venue's own count from a header."""
        raise NotImplementedError

    def retry_after(self, seconds: float) -> None:
        """Hold every lane for as long as the venue asked (429, 10006)."""
        raise NotImplementedError

    def stop(self, seconds: float, reason: str) -> None:
        """Make no call at all until the ban ends (418, 403)."""
        raise NotImplementedError

    def used_ratio(self) -> dict[str, float]:
        """Return how much of each pool is used now, 0 to 1."""
        raise NotImplementedError
