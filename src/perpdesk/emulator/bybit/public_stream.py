"""/v5/public/linear: candles, trades, tickers, books and liquidations, step by step.

Only topics that somebody listens to are worked on. Source: reference/exchanges.md 4.2.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from perpdesk.domain.candles import DataKind, Venue
from perpdesk.domain.events import PositionLiquidated
from perpdesk.domain.numbers import ZERO
from perpdesk.emulator.bybit.market_rows import (
    INTERVALS,
    DayStatistics,
    candles,
    level_rows,
    price_limits,
    stream_candle,
    stream_trade,
    tick_word,
    ticker_row,
)
from perpdesk.emulator.bybit.messages import encoded, number
from perpdesk.emulator.bybit.topics import ACKNOWLEDGE_S, Connections, Topics, reply
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.market import Market, MarketStep
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

DEPTHS: Final = (1, 50, 200, 500, 1000)
_TICKER_MS: Final = 1_000
_REPEAT_MS: Final = 3_000
"""The best level is told again after so long without a change."""

_Levels = dict[Decimal, Decimal]


@dataclass(slots=True, kw_only=True)
class BookFeed:
    """What the listeners of one depth have been told."""

    depth: int
    update_id: int
    bids: _Levels = field(default_factory=dict)
    asks: _Levels = field(default_factory=dict)
    book_id: int = 0
    told_ms: int = 0


class PublicStream:
    """Publishes what happens in public."""

    def __init__(self, world: World, connections: Connections) -> None:
        self.world = world
        self.connections = connections
        self.topics = Topics()
        self._days = {symbol: DayStatistics(market) for symbol, market in self._markets.items()}
        self._tickers: dict[str, dict[str, str]] = {}
        self._books: dict[str, BookFeed] = {}
        self._before: dict[str, Decimal] = {}
        self._next_cross = 1

    @property
    def _markets(self) -> Mapping[str, Market]:
        return self.world.venues[Venue.BYBIT].markets

    # Subscriptions.

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Serve a connection."""
        connection = self.connections.connection_id()

        async def say(socket: ClientSocket, asked: Mapping[str, Any]) -> None:
            if not socket.on_close:
                socket.on_close.append(lambda: self._left(socket))
            await self._answer(socket, asked, connection)

        return await self.connections.serve(request, say)

    def _left(self, socket: ClientSocket) -> None:
        self.topics.leave(socket)
        self._drop_idle()

    async def _answer(
        self, socket: ClientSocket, asked: Mapping[str, Any], connection: str
    ) -> None:
        op, names = str(asked.get("op", "")), asked.get("args") or []
        if op == "ping":
            socket.reply(reply(asked, connection, op="ping", words="pong"))
            return
        if op not in ("subscribe", "unsubscribe") or not isinstance(names, list):
            words = "error:request op is invalid"
            socket.reply(reply(asked, connection, op=op, success=False, words=words))
            return
        await asyncio.sleep(ACKNOWLEDGE_S)
        wrong = next((name for name in names if not self._is_topic(str(name))), None)
        if wrong is not None:
            words = f"error:handler not found,topic:{wrong}"
            socket.reply(reply(asked, connection, op=op, success=False, words=words))
            return
        for name in names:
            if op == "unsubscribe":
                self.topics.remove(name, socket)
        socket.reply(reply(asked, connection, op=op))
        if op == "subscribe":
            for name in names:
                self._begin(name, socket)
        self._drop_idle()

    def _is_topic(self, name: str) -> bool:
        parts = name.split(".")
        if parts[-1] not in self._markets:
            return name in ("system.status",)
        match parts[:-1]:
            case ["kline", interval]:
                return interval in INTERVALS
            case ["orderbook", depth]:
                return depth.isdecimal() and int(depth) in DEPTHS
            case [("publicTrade" | "tickers" | "allLiquidation" | "priceLimit")]:
                return True
        return False

    def _begin(self, name: str, socket: ClientSocket) -> None:
        """Subscribe, and tell the newcomer where things stand."""
        self.topics.add(name, socket)
        kind, _, symbol = name.partition(".")
        if kind == "tickers":
            row = self._tickers.get(name) or self._ticker(symbol)
            self._tickers[name] = row
            socket.send(name, encoded(self._ticker_message(name, "snapshot", row)))
        elif kind == "orderbook":
            feed = self._books.get(name) or self._open_book(name)
            socket.send(name, encoded(self._book_message(name, feed, "snapshot", None)))

    def _drop_idle(self) -> None:
        for name in [name for name in self._tickers if name not in self.topics.sockets]:
            del self._tickers[name]
        for name in [name for name in self._books if name not in self.topics.sockets]:
            del self._books[name]

    # Publishing.

    def publish(self, steps: list[MarketStep]) -> None:
        """Tell what a step has brought."""
        if not self.topics.sockets:
            return
        by_symbol = {step.symbol: step for step in steps}
        for name in list(self.topics.sockets):
            step = by_symbol.get(name.rpartition(".")[2])
            if step is not None:
                self._publish(name, step)
        for step in steps:
            if step.trades:
                self._before[step.symbol] = step.trades[-1].price

    def _publish(self, name: str, step: MarketStep) -> None:
        kind = name.partition(".")[0]
        if kind == "publicTrade" and step.trades:
            self._publish_trades(name, step)
        elif kind == "kline":
            self._publish_candle(name, step)
        elif kind == "tickers":
            self._publish_ticker(name, step)
        elif kind == "orderbook":
            self._publish_book(name, step)
        elif kind == "priceLimit" and step.trades:
            data = price_limits(self._markets[step.symbol])
            self.topics.send(name, {"topic": name, "data": data, "ts": step.end_ms})

    def _publish_trades(self, name: str, step: MarketStep) -> None:
        before = self._before.get(step.symbol, step.trades[0].price)
        rows = []
        for trade in step.trades:
            rows.append(stream_trade(trade, step.symbol, before))
            before = trade.price
        self.topics.send(name, {"topic": name, "type": "snapshot", "ts": step.end_ms, "data": rows})

    def _publish_candle(self, name: str, step: MarketStep) -> None:
        word = name.split(".")[1]
        timeframe = INTERVALS[word]
        is_over = timeframe.floor(step.end_ms) == step.end_ms
        if not (step.trades or is_over):
            return
        market, opened = self._markets[step.symbol], timeframe.floor(step.end_ms - 1)
        rows = candles(market, DataKind.CANDLES, word, opened, opened)
        if not rows:
            return
        if is_over:
            late = self.world.faults.take(FaultKind.LATE_CANDLE, Venue.BYBIT, name)
            if late is not None:
                return
        ts_ms = step.trades[-1].ts_ms if step.trades else step.end_ms
        data = [stream_candle(rows[-1], word, timeframe, ts_ms=ts_ms)]
        self.topics.send(name, {"topic": name, "data": data, "ts": step.end_ms, "type": "snapshot"})

    # Tickers.

    def _ticker(self, symbol: str) -> dict[str, str]:
        market = self._markets[symbol]
        word = tick_word(market.last_price, self._before.get(symbol, market.last_price))
        return ticker_row(market, self._days[symbol]) | {"tickDirection": word}

    def _ticker_message(self, name: str, kind: str, data: Mapping[str, str]) -> dict[str, Any]:
        self._next_cross += 1
        return {
            "topic": name,
            "type": kind,
            "data": data,
            "cs": self._next_cross,
            "ts": self.world.now_ms,
        }

    def _publish_ticker(self, name: str, step: MarketStep) -> None:
        """Tell what has changed; what has not is left out."""
        if not step.trades and step.end_ms % _TICKER_MS:
            return
        row, before = self._ticker(step.symbol), self._tickers.get(name, {})
        changed = {key: value for key, value in row.items() if before.get(key) != value}
        self._tickers[name] = row
        if changed:
            self.topics.send(
                name, self._ticker_message(name, "delta", {"symbol": step.symbol} | changed)
            )

    # Books.

    def _open_book(self, name: str) -> BookFeed:
        _, depth, symbol = name.split(".")
        book = self._markets[symbol].book
        bids, asks = book.top(int(depth))
        feed = BookFeed(
            depth=int(depth),
            update_id=book.update_id,
            bids=dict(bids),
            asks=dict(asks),
            book_id=book.update_id,
            told_ms=self.world.now_ms,
        )
        self._books[name] = feed
        return feed

    def _book_message(
        self,
        name: str,
        feed: BookFeed,
        kind: str,
        changes: tuple[_Levels, _Levels] | None,
    ) -> dict[str, Any]:
        symbol = name.rpartition(".")[2]
        book = self._markets[symbol].book
        bids, asks = changes or (feed.bids, feed.asks)
        return {
            "topic": name,
            "type": kind,
            "ts": self.world.now_ms,
            "data": {
                "s": symbol,
                "b": level_rows(list(bids.items())),
                "a": level_rows(list(asks.items())),
                "u": feed.update_id,
                "seq": book.update_id,
            },
            "cts": book.ts_ms,
        }

    def _publish_book(self, name: str, step: MarketStep) -> None:
        feed, book = self._books[name], self._markets[step.symbol].book
        if step.trades or step.end_ms % _TICKER_MS == 0:
            book.refresh(step.end_ms)
        is_due = feed.depth == 1 and step.end_ms - feed.told_ms >= _REPEAT_MS
        if book.update_id == feed.book_id and not is_due:
            return
        bids, asks = book.top(feed.depth)
        changes = _changes(feed.bids, dict(bids)), _changes(feed.asks, dict(asks))
        feed.bids, feed.asks, feed.book_id = dict(bids), dict(asks), book.update_id
        if not (changes[0] or changes[1] or is_due):
            return
        feed.told_ms = step.end_ms
        if changes[0] or changes[1]:
            feed.update_id += 1
        if self.world.faults.take(FaultKind.SEQUENCE_GAP, Venue.BYBIT, name) is not None:
            return
        kind, told = ("snapshot", None) if feed.depth == 1 else ("delta", changes)
        self.topics.send(name, self._book_message(name, feed, kind, told))

    # Liquidations.

    def liquidated(self, event: PositionLiquidated) -> None:
        """Tell that somebody's position was closed: Buy means that a long was."""
        name = f"allLiquidation.{event.symbol}"
        row = {
            "T": event.ts_ms,
            "s": event.symbol,
            "S": "Buy" if event.signed_quantity > ZERO else "Sell",
            "v": number(event.closed_quantity),
            "p": number(event.price),
        }
        self.topics.send(
            name, {"topic": name, "type": "snapshot", "ts": self.world.now_ms, "data": [row]}
        )


def _changes(before: _Levels, now: _Levels) -> _Levels:
    changed = {price: size for price, size in now.items() if before.get(price) != size}
    gone = {price: ZERO for price in before if price not in now}
    return changed | gone
