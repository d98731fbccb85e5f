"""Live data of Binance: sockets by route, each in a pipe that heals itself.

Streams are spread over the routes /public and /market, because on the wrong one they stay silent
without an error (reference/exchanges.md 1.1). Silence is judged stream by stream.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Final

from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.ports import Feed
from perpdesk.domain.streams import (
    CandleUpdated,
    MarkChanged,
    QuoteChanged,
    StreamKind,
    StreamLost,
    StreamRestored,
    Subscription,
    TradeOccurred,
)
from perpdesk.venues.binance.background import Background, feeding
from perpdesk.venues.binance.candle_track import CandleTrack
from perpdesk.venues.binance.depth_track import DepthTrack
from perpdesk.venues.binance.history import INTERVALS, BinanceHistory
from perpdesk.venues.binance.names import Recent
from perpdesk.venues.binance.rest import BinanceRest, unknown_symbol
from perpdesk.venues.binance.sockets import market_socket
from perpdesk.venues.binance.trading import BinanceTrading
from perpdesk.venues.binance.user_stream import AccountStream
from perpdesk.venues.binance.wire_market import DepthDifference, market_update
from perpdesk.venues.binance.words import UnknownEvent
from perpdesk.venues.feed import BoundedFeed
from perpdesk.venues.pipe import Pipe, PipeSettings

STREAMS_PER_SOCKET: Final = 200
WATCH_S: Final = 1.0
LONGEST_SILENCE_S: Final = 300.0
USUAL_GAPS: Final = 3.0
GAP_MEMORY: Final = 0.99

_ROUTES: Final = {
    StreamKind.CANDLES: "market",
    StreamKind.TRADES: "market",
    StreamKind.MARK: "market",
    StreamKind.QUOTES: "public",
    StreamKind.DEPTH: "public",
}


def stream_name(subscription: Subscription) -> str:
    """Return Binance's name of a stream. Raises UsageRefused for a timeframe it has not."""
    symbol = subscription.symbol.lower()
    match subscription.kind:
        case StreamKind.CANDLES:
            timeframe = subscription.timeframe
            if timeframe is None or timeframe.name not in INTERVALS:
                raise UsageRefused(
                    f"Binance streams no {timeframe} candles",
                    next_step=f"Choose one of {', '.join(INTERVALS)}.",
                )
            return f"{symbol}@kline_{timeframe}"
        case StreamKind.TRADES:
            return f"{symbol}@aggTrade"
        case StreamKind.MARK:
            return f"{symbol}@markPrice@1s"
        case StreamKind.QUOTES:
            return f"{symbol}@bookTicker"
        case StreamKind.DEPTH:
            return f"{symbol}@depth@100ms"


class BinanceStreams:
    """Implements `domain.ports.Streams`."""

    def __init__(
        self,
        rest: BinanceRest,
        history: BinanceHistory,
        trading: BinanceTrading,
        *,
        settings: PipeSettings,
    ) -> None:
        self._rest = rest
        self._history = history
        self._trading = trading
        self._settings = settings

    def market(self, subscriptions: Sequence[Subscription]) -> AbstractAsyncContextManager[Feed]:
        """Open a feed of market data."""
        self._check_symbols(subscriptions)
        feed = BoundedFeed()
        by_route: dict[str, dict[str, Subscription]] = {}
        for one in subscriptions:
            by_route.setdefault(_ROUTES[one.kind], {})[stream_name(one)] = one
        sockets = []
        for route, wanted in by_route.items():
            names = list(wanted)
            for first in range(0, len(names), STREAMS_PER_SOCKET):
                chosen = names[first : first + STREAMS_PER_SOCKET]
                sockets.append(
                    MarketStream(
                        f"binance/{route}/{first // STREAMS_PER_SOCKET + 1}",
                        route,
                        {name: wanted[name] for name in chosen},
                        feed=feed,
                        rest=self._rest,
                        history=self._history,
                        settings=self._settings,
                    )
                )
        return feeding(feed, [each.run() for each in sockets])

    def _check_symbols(self, subscriptions: Sequence[Subscription]) -> None:
        """Refuse a symbol that is not listed: Binance would confirm it, and stay silent."""
        known = self._rest.known_symbols
        for one in subscriptions:
            if known and one.symbol not in known:
                raise unknown_symbol(one.symbol, known)

    def account(self) -> AbstractAsyncContextManager[Feed]:
        """Open the feed of the account; it begins with an AccountSynchronized."""
        feed = BoundedFeed()
        stream = AccountStream(self._rest, self._trading, feed=feed, settings=self._settings)
        return feeding(feed, [stream.run()])


class Silence:
    """How long a stream may say nothing: thrice its usual gap, within bounds.

    A quiet symbol earns patience by being quiet, a busy one loses it again by speaking; and where a
    new connection brought nothing either, as of a symbol that is not traded any more, the next is
    made later. steady: the venue owes a message every second, whatever the market does.
    """

    def __init__(self, now_ms: float, *, least_s: float, steady: bool) -> None:
        self.heard_ms = now_ms
        self._least_s = least_s
        self._steady = steady
        self._usual_s = 0.0
        self._in_vain = 0

    def begin(self, now_ms: float) -> None:
        """Note a new connection."""
        self.heard_ms = now_ms

    def heard(self, now_ms: float) -> None:
        """Note a message."""
        self._usual_s = max((now_ms - self.heard_ms) / 1000, self._usual_s * GAP_MEMORY)
        self.heard_ms = now_ms
        self._in_vain = 0

    def gave_up(self, now_ms: float) -> None:
        """Note that the connection was given up for its silence."""
        self.heard_ms = now_ms
        self._in_vain += 1

    @property
    def limit_s(self) -> float:
        """Return after how many seconds the stream counts as stale."""
        usual_s = 0.0 if self._steady else USUAL_GAPS * self._usual_s
        patience_s = max(self._least_s, usual_s) * USUAL_GAPS**self._in_vain
        return max(self._least_s, min(LONGEST_SILENCE_S, patience_s))


class MarketStream:
    """The streams of one socket, with what each needs to be whole."""

    def __init__(
        self,
        name: str,
        route: str,
        wanted: dict[str, Subscription],
        *,
        feed: BoundedFeed,
        rest: BinanceRest,
        history: BinanceHistory,
        settings: PipeSettings,
    ) -> None:
        self._rest = rest
        self._clock = rest.clock
        self._local = rest.clock.local
        self._wanted = wanted
        self._feed = feed
        self._latest_ms = 0
        self._background = Background(self._failed)
        names = list(wanted)
        self._pipe = Pipe(
            name,
            connect=lambda: market_socket(
                rest.client, rest.endpoints.stream, route=route, streams=names
            ),
            resync=self._resync,
            deliver=self._deliver,
            lost=self._lost,
            restored=lambda: feed.put(StreamRestored(stream=name, ts_init_ms=self._clock.now_ms())),
            local=self._local,
            # Silence is judged stream by stream; a socket may carry quiet ones alone.
            settings=replace(settings, silence_s=max(settings.silence_s, LONGEST_SILENCE_S)),
        )
        self._name = name
        self._is_live = False
        self._last_ids: dict[str, int] = {}
        self._trades: Recent[tuple[str, str], bool] = Recent()
        self._watch_s = min(WATCH_S, settings.silence_s / 4)
        now = self._local.monotonic_ms()
        self._silences = {
            key: Silence(now, least_s=settings.silence_s, steady=one.kind is StreamKind.MARK)
            for key, one in wanted.items()
        }
        self._candles = {
            key: CandleTrack(
                one.symbol,
                one.timeframe,
                history=history,
                clock=self._clock,
                put=feed.put,
                start=self._background.start,
            )
            for key, one in wanted.items()
            if one.kind is StreamKind.CANDLES and one.timeframe is not None
        }
        self._books = {
            key: DepthTrack(
                one.symbol,
                one.levels,
                rest=rest,
                clock=self._clock,
                put=feed.put,
                start=self._background.start,
            )
            for key, one in wanted.items()
            if one.kind is StreamKind.DEPTH
        }

    async def run(self) -> None:
        """Run until cancelled."""
        self._background.start(self._watch())
        try:
            await self._pipe.run()
        finally:
            await self._background.cancel()

    def _failed(self, reason: str) -> None:
        self._pipe.rebuild(reason)

    def _lost(self, reason: str) -> None:
        self._is_live = False
        now_ms = self._clock.now_ms()
        self._feed.put(StreamLost(stream=self._name, reason=reason, ts_init_ms=now_ms))

    def _now_ms(self) -> int:
        """Return the venue's time: what it last said is a lower bound of it."""
        return max(self._clock.now_ms(), self._latest_ms)

    async def _resync(self) -> None:
        now_ms = self._now_ms()
        work = {name: candles.resync(now_ms) for name, candles in self._candles.items()}
        work |= {name: book.resync() for name, book in self._books.items()}
        outcomes = await asyncio.gather(*work.values(), return_exceptions=True)
        for name, outcome in zip(work, outcomes, strict=True):
            if isinstance(outcome, VenueRejected):
                # A symbol that is not traded any more must not take the others with it.
                self._feed.put(
                    StreamLost(stream=name, reason=outcome.message, ts_init_ms=self._clock.now_ms())
                )
            elif isinstance(outcome, BaseException):
                raise outcome
        for silence in self._silences.values():
            silence.begin(self._local.monotonic_ms())
        self._is_live = True

    def _deliver(self, message: Any) -> None:
        if "data" not in message:
            return  # An answer to a request, not a message of a stream.
        stream = message["stream"]
        silence = self._silences.get(stream)
        if silence is not None:
            silence.heard(self._local.monotonic_ms())
        try:
            update = market_update(message["data"], ts_init_ms=self._clock.now_ms())
        except UnknownEvent:
            return  # Not subscribed, and nothing that is relied on.
        self._latest_ms = max(self._latest_ms, update.ts_event_ms)
        if isinstance(update, CandleUpdated):
            self._candles[stream].take(update)
        elif isinstance(update, DepthDifference):
            self._books[stream].take(update)
        elif self._is_newer(stream, update):
            self._feed.put(update)

    def _is_newer(self, stream: str, update: TradeOccurred | QuoteChanged | MarkChanged) -> bool:
        """Tell whether an update is not one that an overlapping connection told before."""
        if isinstance(update, TradeOccurred):
            trade = (stream, update.trade_id)
            if trade in self._trades:
                return False
            self._trades.put(trade, True)
            return True
        number = update.update_id if isinstance(update, QuoteChanged) else update.ts_event_ms
        if number <= self._last_ids.get(stream, -1):
            return False
        self._last_ids[stream] = number
        return True

    async def _watch(self) -> None:
        """Look at every stream once a second: has it spoken, should its candle have closed."""
        while True:
            await self._local.sleep(self._watch_s)
            if not self._is_live:
                continue  # A connection that is being made is the pipe's to judge.
            now = self._local.monotonic_ms()
            for name, silence in self._silences.items():
                silent_s = (now - silence.heard_ms) / 1000
                if silent_s > silence.limit_s:
                    silence.gave_up(now)
                    self._pipe.rebuild(f"{name} has been silent for {silent_s:.0f} s")
                    break
            for candles in self._candles.values():
                candles.check(self._now_ms())
