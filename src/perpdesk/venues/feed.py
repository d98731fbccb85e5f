"""A queue between a socket and its reader: bounded, coalescing what is superseded, counting it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable

from perpdesk.domain.streams import (
    CandleUpdated,
    DepthChanged,
    MarkChanged,
    QuoteChanged,
    StreamEvent,
    StreamLost,
    StreamRestored,
    TradeOccurred,
)

TRADES = "trades"
"""How StreamLost and StreamRestored name what the feed itself had to drop."""


class _Place:
    """A place in the queue; None once what stood there was dropped."""

    __slots__ = ("event", "key")

    def __init__(self, event: StreamEvent | None, key: Hashable | None) -> None:
        self.event = event
        self.key = key


class BoundedFeed:
    """Implements `domain.ports.Feed`. `put` never waits; it is called in the event loop.

    Quotes, depth, marks and unfinished candles that have not been read yet give way to a newer one
    of the same stream, in the place of the older. Facts (trades, closed candles, account updates,
    pipe updates) are kept in order. Where more than `limit` facts wait, trades of the oldest go and
    a StreamLost says so; account facts and closed candles never go. A StreamRestored follows when
    the reader has caught up. There is one reader.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._queue: deque[_Place] = deque()
        self._superseded: dict[Hashable, _Place] = {}
        self._trades: deque[_Place] = deque()
        self._facts = 0
        self._holes = 0
        self._dropped = 0
        self._coalesced = 0
        self._loss: _Place | None = None
        self._must_restore = False
        self._latest_ms = 0
        self._closed = False
        self._error: BaseException | None = None
        self._wake: asyncio.Future[None] | None = None

    # Writing.

    def put(self, event: StreamEvent) -> None:
        """Take an event; one that comes after `close` is ignored."""
        if self._closed:
            return
        key = _stream_of(event)
        if key is not None:
            place = self._superseded.get(key)
            if place is not None:
                place.event = event
                self._coalesced += 1
                return
            place = self._superseded[key] = _Place(event, key)
        else:
            place = _Place(event, None)
            self._take_fact(event, place)
        self._queue.append(place)
        if self._facts > self._limit:
            self._drop_oldest_trade()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def close(self, error: BaseException | None = None) -> None:
        """End the feed: the reader gets what is left, then the error or the end."""
        if self._closed:
            return
        self._closed = True
        self._error = error
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _take_fact(self, event: StreamEvent, place: _Place) -> None:
        self._facts += 1
        if isinstance(event, TradeOccurred):
            self._trades.append(place)
            self._latest_ms = event.ts_init_ms
        elif isinstance(event, CandleUpdated):
            # What comes next belongs to the next candle: it must not overtake this one.
            self._superseded.pop(_candle_stream(event), None)
        elif isinstance(event, StreamLost | StreamRestored):
            # What comes after the break must not be read before the news of it.
            self._superseded.clear()

    def _drop_oldest_trade(self) -> None:
        """Make a hole where the oldest trade stood; the first hole tells of them all."""
        if not self._trades:
            return
        place = self._trades.popleft()
        self._dropped += 1
        if self._loss is None:
            assert isinstance(place.event, TradeOccurred)
            place.event = StreamLost(
                stream=TRADES,
                reason=f"the reader is behind by more than {self._limit} events: trades dropped",
                ts_init_ms=place.event.ts_init_ms,
            )
            self._loss = place
            return
        place.event = None
        self._facts -= 1
        self._holes += 1
        if self._holes > self._limit:
            self._queue = deque(each for each in self._queue if each.event is not None)
            self._holes = 0

    # Reading.

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        while True:
            event = self._pop()
            if event is not None:
                return event
            if self._closed:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None

    def _pop(self) -> StreamEvent | None:
        if self._must_restore and self._facts <= self._limit // 2:
            self._must_restore = False
            return StreamRestored(stream=TRADES, ts_init_ms=self._latest_ms)
        while self._queue:
            place = self._queue.popleft()
            event = place.event
            if event is None:
                self._holes -= 1
                continue
            self._leave(place, event)
            return event
        return None

    def _leave(self, place: _Place, event: StreamEvent) -> None:
        if place.key is not None:
            if self._superseded.get(place.key) is place:
                del self._superseded[place.key]
            return
        self._facts -= 1
        if place is self._loss:
            self._loss = None
            self._must_restore = True
        elif isinstance(event, TradeOccurred):
            self._trades.popleft()

    # How it goes.

    @property
    def coalesced(self) -> int:
        """Return how many updates gave way to newer ones."""
        return self._coalesced

    @property
    def dropped(self) -> int:
        """Return how many trades were dropped because the reader was too slow."""
        return self._dropped

    def __len__(self) -> int:
        return len(self._queue) - self._holes


def _stream_of(event: StreamEvent) -> Hashable | None:
    """Return what identifies the stream of an event that newer ones supersede, None of a fact."""
    if isinstance(event, QuoteChanged | DepthChanged | MarkChanged):
        return type(event), event.symbol
    if isinstance(event, CandleUpdated) and not event.is_closed:
        return _candle_stream(event)
    return None


def _candle_stream(event: CandleUpdated) -> Hashable:
    return CandleUpdated, event.symbol, event.timeframe
