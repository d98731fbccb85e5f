"""One socket of market topics: messages become events, gaps are filled before what is newer.

message ─▶ candles (CandleLine) · trades (once each) · books (in sequence) · ticker (merged)
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from perpdesk.domain.candles import DataKind
from perpdesk.domain.errors import VenueUnavailable
from perpdesk.domain.streams import (
    CandleUpdated,
    DepthChanged,
    QuoteChanged,
    StreamEvent,
    StreamKind,
    Subscription,
    TradeOccurred,
)
from perpdesk.venues.bybit.candle_line import CandleLine
from perpdesk.venues.bybit.fields import whole
from perpdesk.venues.bybit.history import PAGE_ROWS, BybitHistory
from perpdesk.venues.bybit.market_wire import (
    book_symbol,
    candle_updates,
    levels,
    mark_changed,
    merged_ticker,
    topic_of,
    trades_occurred,
)
from perpdesk.venues.bybit.sockets import Incoming
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.order_book import BybitBook
from perpdesk.venues.rate_limit import Lane

CLOSE_GRACE_MS: Final = 2_000
"""How long after its end a candle may stay open before REST is asked."""
LOOK_S: Final = 0.5
ASK_AGAIN_S: Final = 1.0
TRADES_KEPT: Final = 5_000
STALE_S: Final = {StreamKind.MARK: 15.0, StreamKind.QUOTES: 30.0, StreamKind.CANDLES: 75.0}
"""What always speaks within so long; trades and deep books of a quiet symbol may not."""


class MarketState:
    """What is known of the topics of one feed, over all its connections.

    put: takes events for the reader. rebuild: throws the connection away.
    """

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        *,
        history: BybitHistory,
        clock: VenueClock,
        put: Callable[[StreamEvent], None],
        rebuild: Callable[[str], None],
    ) -> None:
        self._history = history
        self._clock = clock
        self._put = put
        self._rebuild = rebuild
        self._wanted = {topic_of(one): one for one in subscriptions}
        now_ms = clock.now_ms()
        self._lines = {
            topic: CandleLine(one.symbol, one.timeframe, now_ms=now_ms)
            for topic, one in self._wanted.items()
            if one.timeframe is not None and one.kind is StreamKind.CANDLES
        }
        self._books: dict[str, BybitBook] = {}
        self._tickers: dict[str, dict[str, Any]] = {}
        self._trade_ids: dict[str, OrderedDict[str, None]] = {
            topic: OrderedDict()
            for topic, one in self._wanted.items()
            if one.kind is StreamKind.TRADES
        }
        self._connection = 0
        self._heard: dict[str, float] = {}

    @property
    def topics(self) -> tuple[str, ...]:
        """Return what to subscribe to."""
        return tuple(self._wanted)

    # Messages.

    def deliver(self, incoming: Incoming) -> None:
        """Take a message. Raises BookGap where a book's sequence broke: the pipe starts anew."""
        if incoming.connection != self._connection:
            self._connection = incoming.connection
            self._books.clear()
            self._tickers.clear()
            self._heard = dict.fromkeys(self._wanted, self._clock.local.monotonic_ms())
        message = incoming.message
        topic = str(message.get("topic", ""))
        wanted = self._wanted.get(topic)
        if wanted is None:
            return
        self._heard[topic] = self._clock.local.monotonic_ms()
        match wanted.kind:
            case StreamKind.CANDLES:
                for update in candle_updates(message, self._clock.now_ms()):
                    self._put_all(self._lines[topic].take(update))
            case StreamKind.TRADES:
                self._put_trades(topic, trades_occurred(message, self._clock.now_ms()))
            case StreamKind.QUOTES | StreamKind.DEPTH:
                self._take_book(topic, wanted, message)
            case StreamKind.MARK:
                self._take_ticker(topic, message)

    def _put_all(self, events: Sequence[CandleUpdated]) -> None:
        for event in events:
            self._put(event)

    def _put_trades(self, topic: str, trades: Sequence[TradeOccurred]) -> None:
        """Deliver each trade once: two connections overlap, and REST brings some again."""
        seen = self._trade_ids[topic]
        for trade in trades:
            if trade.trade_id in seen:
                continue
            seen[trade.trade_id] = None
            if len(seen) > TRADES_KEPT:
                seen.popitem(last=False)
            self._put(trade)

    def _take_book(self, topic: str, wanted: Subscription, message: dict[str, Any]) -> None:
        data = message["data"]
        bids, asks, update_id = levels(data["b"]), levels(data["a"]), whole(data, "u")
        if message.get("type") == "snapshot":
            book = self._books.setdefault(topic, BybitBook())
            book.snapshot(update_id, bids, asks)
        elif topic in self._books or update_id == 1:
            book = self._books.setdefault(topic, BybitBook())
            if update_id == book.update_id != 1:
                return  # It came twice: what it says is in the book already.
            book.delta(update_id, bids, asks)
        else:
            return  # A delta that came before the first snapshot changes nothing.
        event_ms = whole(message, "cts") if "cts" in message else whole(message, "ts")
        if wanted.kind is StreamKind.QUOTES:
            self._put_quote(book, book_symbol(message), event_ms)
            return
        best = book.top(wanted.levels)
        self._put(
            DepthChanged(
                symbol=book_symbol(message),
                bids=best[0],
                asks=best[1],
                update_id=book.update_id,
                ts_event_ms=event_ms,
                ts_init_ms=self._clock.now_ms(),
            )
        )

    def _put_quote(self, book: BybitBook, symbol: str, event_ms: int) -> None:
        bids, asks = book.top(1)
        if not bids or not asks:
            return  # One side is empty: there is no quote.
        self._put(
            QuoteChanged(
                symbol=symbol,
                bid_price=bids[0][0],
                bid_quantity=bids[0][1],
                ask_price=asks[0][0],
                ask_quantity=asks[0][1],
                update_id=book.update_id,
                ts_event_ms=event_ms,
                ts_init_ms=self._clock.now_ms(),
            )
        )

    def _take_ticker(self, topic: str, message: dict[str, Any]) -> None:
        if topic not in self._tickers and message.get("type") != "snapshot":
            return
        ticker = merged_ticker(self._tickers.get(topic, {}), message)
        self._tickers[topic] = ticker
        event = mark_changed(
            ticker, ts_event_ms=whole(message, "ts"), ts_init_ms=self._clock.now_ms()
        )
        if event is not None:
            self._put(event)

    def lost(self) -> None:
        """Note that the connection is gone: no topic can be silent until the next one speaks."""
        self._heard = {}

    # What was missed.

    async def resync(self) -> None:
        """Bring what was missed since the last connection, before anything newer."""
        for line in self._lines.values():
            if line.overdue(self._clock.now_ms(), grace_ms=0):
                await self._backfill(line)
        for topic, seen in self._trade_ids.items():
            if seen:
                symbol = self._wanted[topic].symbol
                recent = await self._history.recent_trades(symbol, lane=Lane.QUERY)
                self._put_trades(topic, _after_known(recent, seen))

    async def _backfill(self, line: CandleLine) -> None:
        """Ask REST for the candles that should be closed, page by page."""
        while line.overdue(self._clock.now_ms(), grace_ms=0):
            start_ms = line.next_ms
            most = PAGE_ROWS[DataKind.CANDLES] * line.timeframe.duration_ms
            end_ms = min(line.timeframe.floor(self._clock.now_ms()), start_ms + most)
            found = await self._history.candles(
                line.symbol, line.timeframe, DataKind.CANDLES, start_ms, end_ms, lane=Lane.QUERY
            )
            now_ms = self._clock.now_ms()
            self._put_all(line.fill(found, asked_until_ms=end_ms, ts_init_ms=now_ms))
            if line.next_ms == start_ms:
                return  # REST does not have it yet: the watch asks again.

    # The watch.

    async def watch(self) -> None:
        """Close candles whose closing message was lost, and find topics that fell silent."""
        asked: dict[str, float] = {}
        local = self._clock.local
        while True:
            await local.sleep(LOOK_S)
            now = local.monotonic_ms()
            for topic, line in self._lines.items():
                late = line.overdue(self._clock.now_ms(), grace_ms=CLOSE_GRACE_MS)
                if late and now - asked.get(topic, -1e12) >= ASK_AGAIN_S * 1000:
                    asked[topic] = now
                    await _unless_unavailable(self._backfill(line))
            self._find_silent(now)

    def _find_silent(self, now: float) -> None:
        for topic, at in self._heard.items():
            stale_s = STALE_S.get(self._wanted[topic].kind)
            if stale_s is not None and now - at > stale_s * 1000:
                self._heard = {}
                self._rebuild(f"{topic} has been silent for {stale_s:g} s")
                return


def _after_known(
    recent: Sequence[TradeOccurred], seen: OrderedDict[str, None]
) -> Sequence[TradeOccurred]:
    """Return the trades that follow the last one known; all where none of them is known."""
    for place in range(len(recent) - 1, -1, -1):
        if recent[place].trade_id in seen:
            return recent[place + 1 :]
    return recent


async def _unless_unavailable(work: Awaitable[None]) -> None:
    """Wait for work that will be tried again anyway."""
    try:
        await work
    except VenueUnavailable:
        await asyncio.sleep(0)
