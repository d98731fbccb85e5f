"""A local order book from snapshots and differences, by each venue's sequence rules. Pure.

Source: reference/exchanges.md 4.1 (Binance) and 4.2 (Bybit).
"""

from decimal import Decimal
from collections.abc import Sequence

from perpdesk.domain.streams import Level


class BookGap(Exception):
    """A difference does not follow the one before: take a new snapshot."""


class LocalBook:
    """Both sides by price. Quantities are absolute; zero deletes a level."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.update_id = 0

    def top(self, levels: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Return the best `levels` bids and asks, best first."""
        raise NotImplementedError


class BinanceBook(LocalBook):
    """Buffers differences until a snapshot fits between them; afterwards each `pu` must equal the
    `u` before it."""

    def snapshot(
        self, last_update_id: int, bids: Sequence[Level], asks: Sequence[Level]
    ) -> None:
        """Take a REST snapshot and apply what was buffered. Raises BookGap where it is too old."""
        raise NotImplementedError

    def difference(
        self, first: int, last: int, previous: int, bids: Sequence[Level], asks: Sequence[Level]
    ) -> bool:
        """Take a difference (U, u, pu); return whether the book is in step. Raises BookGap."""
        raise NotImplementedError


class BybitBook(LocalBook):
    """A snapshot, or u == 1, starts anew; each delta's `u` is one more than the one before."""

    def snapshot(self, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a snapshot."""
        raise NotImplementedError

    def delta(self, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a delta. Raises BookGap."""
        raise NotImplementedError
