"""Streams of the book: best prices, differences, and the best levels whole."""

from typing import Final

from perpdesk.domain.candles import Venue
from perpdesk.emulator.binance import market_rows as rows
from perpdesk.emulator.binance.feed import PUBLIC, Steps, passes
from perpdesk.emulator.binance.words import price, quantity
from perpdesk.emulator.book import BookChange
from perpdesk.emulator.faults import FaultKind, Faults
from perpdesk.emulator.market import Market

_BOOK_LIFE_MS: Final = 5_000
"""How often a book is looked at when nothing trades."""


class _BookFeed:
    """A feed that follows a book. The book is kept alive as long as somebody listens."""

    route = PUBLIC

    def __init__(self, market: Market) -> None:
        self._market = market
        self._changes: list[BookChange] = []
        market.book.refresh()
        self._told_id = market.book.update_id
        market.book.listeners.append(self._note)

    def _note(self, change: BookChange) -> None:
        self._changes.append(change)

    def close(self) -> None:
        """Leave the book."""
        self._market.book.listeners.remove(self._note)

    def _look(self, steps: Steps, now_ms: int) -> None:
        if passes(steps, now_ms, _BOOK_LIFE_MS):
            self._market.book.refresh(now_ms)


class BookTickerFeed(_BookFeed):
    """Best bid and ask, whenever they change."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._told: object = None

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the best prices if they are others than before."""
        self._look(steps, now_ms)
        book, rules = self._market.book, self._market.instrument
        best = (book.best_bid, book.best_ask)
        self._changes.clear()
        if best == self._told:
            return []
        self._told = best
        (bid, bid_size), (ask, ask_size) = best
        return [
            {
                "e": "bookTicker",
                "u": book.update_id,
                "s": self._market.symbol,
                "b": price(bid, rules),
                "B": quantity(bid_size, rules),
                "a": price(ask, rules),
                "A": quantity(ask_size, rules),
                "T": book.ts_ms,
                "E": now_ms,
            }
        ]


class DepthFeed(_BookFeed):
    """Differences of the book, gathered over a period; `pu` is the `u` of the message before."""

    def __init__(self, market: Market, every_ms: int, name: str, faults: Faults) -> None:
        super().__init__(market)
        self._every_ms = every_ms
        self._name = name
        self._faults = faults

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return what has changed by the end of a period."""
        self._look(steps, now_ms)
        if not self._changes or not passes(steps, now_ms, self._every_ms):
            return []
        changes, self._changes = self._changes, []
        bids = {level: held for change in changes for level, held in change.bids}
        asks = {level: held for change in changes for level, held in change.asks}
        rules, before = self._market.instrument, self._told_id
        self._told_id = changes[-1].last_id
        if self._faults.take(FaultKind.SEQUENCE_GAP, Venue.BINANCE, self._name) is not None:
            return []
        return [
            {
                "e": "depthUpdate",
                "E": now_ms,
                "T": changes[-1].ts_ms,
                "s": self._market.symbol,
                "U": changes[0].first_id,
                "u": self._told_id,
                "pu": before,
                "b": rows.level_rows(sorted(bids.items()), rules),
                "a": rows.level_rows(sorted(asks.items()), rules),
            }
        ]


class PartialDepthFeed(_BookFeed):
    """The best levels, whole, whenever the book has changed."""

    def __init__(self, market: Market, levels: int, every_ms: int) -> None:
        super().__init__(market)
        self._levels = levels
        self._every_ms = every_ms
        self._is_first = True

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the levels at the end of a period."""
        self._look(steps, now_ms)
        if not (self._changes or self._is_first) or not passes(steps, now_ms, self._every_ms):
            return []
        book, rules, before = self._market.book, self._market.instrument, self._told_id
        first_id = self._changes[0].first_id if self._changes else before
        bids, asks = book.top(self._levels)
        self._changes.clear()
        self._is_first = False
        self._told_id = book.update_id
        return [
            {
                "e": "depthUpdate",
                "E": now_ms,
                "T": book.ts_ms,
                "s": self._market.symbol,
                "U": first_id,
                "u": book.update_id,
                "pu": before,
                "b": rows.level_rows(bids, rules),
                "a": rows.level_rows(asks, rules),
            }
        ]
