"""A venue's history in memory: with holes, failures, slow answers and a count of what was asked."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from perpdesk.domain.candles import (
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Trades,
    Venue,
)
from perpdesk.domain.errors import VenueRejected, VenueUnavailable
from perpdesk.domain.ports import ReferenceAnswer

PAGE_ROWS = {
    DataKind.CANDLES: 100,
    DataKind.MARK: 100,
    DataKind.FUNDING: 50,
    DataKind.TRADES: 40,
    DataKind.OPEN_INTEREST: 50,
}


def rows_between(rows: Any, start_ms: int, end_ms: int, at_most: int | None = None) -> Any:
    """Return the rows of any columns with start <= time < end."""
    first, last = np.searchsorted(rows.ts_ms, [start_ms, end_ms])
    if at_most is not None:
        last = min(last, first + at_most)
    columns = {
        name: value[first:last]
        for name in rows.__slots__
        if isinstance(value := getattr(rows, name), np.ndarray)
    }
    return replace(rows, **columns)


@dataclass
class FakeHistory:
    """What it holds it answers. asked: every request, in order.

    failing: a request for which it says True is refused as unavailable. stop_at: the request that
    never comes back, as when the process is killed while it waits.
    """

    now: int
    rows: dict[tuple[DataKind, str], Any] = field(default_factory=dict)
    listed: dict[str, int] = field(default_factory=dict)
    page_size: dict[DataKind, int] = field(default_factory=lambda: dict(PAGE_ROWS))
    asked: list[tuple[DataKind, str, int, int]] = field(default_factory=list)
    failing: Callable[[int], bool] = lambda number: False
    stop_at: int | None = None
    most_at_once: int = 0
    at_once: int = 0
    short_once: set[int] = field(default_factory=set)
    was_short: set[int] = field(default_factory=set)

    @property
    def venue(self) -> Venue:
        return Venue.BINANCE

    def page_rows(self, kind: DataKind) -> int:
        return self.page_size[kind]

    async def first_ms(self, symbol: str) -> int:
        if symbol not in self.listed:
            raise VenueRejected("Invalid symbol.", code="-1121")
        return self.listed[symbol]

    async def now_ms(self) -> int:
        return self.now

    async def symbols(self) -> tuple[str, ...]:
        return tuple(self.listed)

    async def reference(self, symbols: Any) -> tuple[ReferenceAnswer, ...]:
        return ()

    async def candles(
        self, symbol: str, timeframe: Timeframe, kind: DataKind, start_ms: int, end_ms: int
    ) -> Candles:
        found: Candles = await self._answer(kind, symbol, start_ms, end_ms)
        assert found.timeframe == timeframe
        return found

    async def funding(self, symbol: str, start_ms: int, end_ms: int) -> FundingRates:
        found: FundingRates = await self._answer(DataKind.FUNDING, symbol, start_ms, end_ms)
        return found

    async def open_interest(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> OpenInterest:
        found: OpenInterest = await self._answer(DataKind.OPEN_INTEREST, symbol, start_ms, end_ms)
        assert found.timeframe == timeframe
        return found

    async def trades(self, symbol: str, start_ms: int, end_ms: int) -> Trades:
        found: Trades = await self._answer(DataKind.TRADES, symbol, start_ms, end_ms)
        return found

    async def _answer(self, kind: DataKind, symbol: str, start_ms: int, end_ms: int) -> Any:
        number = len(self.asked)
        self.asked.append((kind, symbol, start_ms, end_ms))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if number == self.stop_at:
                await asyncio.Event().wait()
            if self.failing(number):
                raise VenueUnavailable("connection refused")
            page = self.page_size[kind]
            found = rows_between(self.rows[kind, symbol], start_ms, end_ms, page)
            if kind in (DataKind.CANDLES, DataKind.MARK, DataKind.OPEN_INTEREST):
                steps = (end_ms - start_ms) // found.timeframe.duration_ms
                assert steps <= page, "a window is more than one request"
            if number in self.short_once and end_ms not in self.was_short:
                self.was_short.add(end_ms)  # asked once more, it answers in full
                return rows_between(found, start_ms, (start_ms + end_ms) // 2)
            return found
        finally:
            self.at_once -= 1
