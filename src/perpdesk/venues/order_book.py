"""A local order book from snapshots and differences, by each venue's sequence rules. Pure.

Source: reference/exchanges.md 4.1 (Binance) and 4.2 (Bybit).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from perpdesk.domain.streams import Level


class BookGap(Exception):
    """A difference does not follow the one before: take a new snapshot."""


class LocalBook:
    """Both sides by price. Quantities are absolute; zero deletes a level."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.update_id = 0
        self._bid_prices: list[Decimal] = []
        self._ask_prices: list[Decimal] = []

    def top(self, levels: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Return the best `levels` bids and asks, best first."""
        bids = islice(reversed(self._bid_prices), levels)
        asks = islice(self._ask_prices, levels)
        return (
            tuple((price, self.bids[price]) for price in bids),
            tuple((price, self.asks[price]) for price in asks),
        )

    def _replace(self, update_id: int, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        self.bids = {price: quantity for price, quantity in bids if quantity}
        self.asks = {price: quantity for price, quantity in asks if quantity}
        self._bid_prices, self._ask_prices = sorted(self.bids), sorted(self.asks)
        self.update_id = update_id

    def _apply(self, update_id: int, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        _change(self.bids, self._bid_prices, bids)
        _change(self.asks, self._ask_prices, asks)
        self.update_id = update_id


def _change(side: dict[Decimal, Decimal], prices: list[Decimal], levels: Iterable[Level]) -> None:
    for price, quantity in levels:
        if quantity:
            if price not in side:
                insort(prices, price)
            side[price] = quantity
        # A level that is not there may be deleted: it lay outside the snapshot.
        elif side.pop(price, None) is not None:
            del prices[bisect_left(prices, price)]


@dataclass(frozen=True, slots=True)
class _Difference:
    first: int
    last: int
    previous: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class BinanceBook(LocalBook):
    """Buffers differences until a snapshot fits between them; afterwards each `pu` must equal the
    `u` before it.

    A difference that was applied already is ignored, so that two sockets may overlap.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffer: list[_Difference] = []
        self._has_snapshot = False
        self._in_step = False

    def snapshot(self, last_update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a REST snapshot and apply what was buffered. Raises BookGap where it is too old."""
        self._replace(last_update_id, bids, asks)
        self._has_snapshot, self._in_step = True, False
        waiting, self._buffer = self._buffer, []
        for place, each in enumerate(waiting):
            try:
                self._follow(each)
            except BookGap:
                self._buffer = waiting[place:]
                raise

    def difference(
        self, first: int, last: int, previous: int, bids: Sequence[Level], asks: Sequence[Level]
    ) -> bool:
        """Take a difference (U, u, pu); return whether the book is in step. Raises BookGap."""
        found = _Difference(first, last, previous, bids, asks)
        if not self._has_snapshot:
            self._buffer.append(found)
            return False
        try:
            self._follow(found)
        except BookGap:
            self._buffer = [found]
            raise
        return self._in_step

    def _follow(self, found: _Difference) -> None:
        if found.last < self.update_id or (self._in_step and found.last == self.update_id):
            return
        # The venue asks for U <= lastUpdateId <= u of the first. Ids are shared by its symbols, so
        # between `pu` and U nothing of this book can lie: pu <= lastUpdateId says as much.
        follows = (
            found.previous == self.update_id if self._in_step else found.previous <= self.update_id
        )
        if not follows:
            self._has_snapshot = self._in_step = False
            raise BookGap(f"a difference follows {found.previous}, the book is at {self.update_id}")
        self._in_step = True
        self._apply(found.last, found.bids, found.asks)


class BybitBook(LocalBook):
    """A snapshot, or u == 1, starts anew; each delta's `u` is one more than the one before."""

    def __init__(self) -> None:
        super().__init__()
        self._has_snapshot = False

    def snapshot(self, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a snapshot."""
        self._replace(update_id, bids, asks)
        self._has_snapshot = True

    def delta(self, update_id: int, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a delta. Raises BookGap."""
        if update_id == 1:  # The venue's service was restarted: this is a snapshot in disguise.
            self.snapshot(update_id, bids, asks)
            return
        if not self._has_snapshot or update_id != self.update_id + 1:
            self._has_snapshot = False
            raise BookGap(f"delta {update_id} does not follow {self.update_id}")
        self._apply(update_id, bids, asks)
