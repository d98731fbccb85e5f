"""What each market stream says at each step of the world, told apart by the stream's name."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from perpdesk.domain.candles import DataKind, Timeframe, Venue
from perpdesk.domain.order import Side
from perpdesk.emulator.binance import market_rows as rows
from perpdesk.emulator.binance.book_feeds import BookTickerFeed, DepthFeed, PartialDepthFeed
from perpdesk.emulator.binance.feed import MARKET, PUBLIC, Feed, Steps, passes
from perpdesk.emulator.binance.words import INTERVALS, fixed, price, quantity
from perpdesk.emulator.faults import FaultKind, Faults
from perpdesk.emulator.market import Market

_KLINE_MS: Final = 250
_TICKER_MS: Final = 2_000
_DEPTH: Final = re.compile(r"depth(5|10|20)?(?:@(100|250|500)ms)?")


class _Quiet:
    """What most feeds share: nothing to let go of."""

    route = MARKET

    def close(self) -> None:
        """Nothing is held."""


class TradeFeed(_Quiet):
    """Trades, one by one, or as aggregates."""

    def __init__(self, market: Market, *, aggregated: bool) -> None:
        self.route = MARKET if aggregated else PUBLIC
        self._market = market
        self._aggregated = aggregated

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the trades of the step."""
        symbol, rules = self._market.symbol, self._market.instrument
        trades = steps[symbol].trades
        if self._aggregated:
            head = {"e": "aggTrade", "E": now_ms, "s": symbol}
            return [head | rows.aggregate_row(trade, rules) for trade in trades]
        return [
            {
                "e": "trade",
                "E": now_ms,
                "T": trade.ts_ms,
                "s": symbol,
                "t": trade.trade_id,
                "p": price(trade.price, rules),
                "q": quantity(trade.quantity, rules),
                "X": "MARKET",
                "m": trade.taker_side is Side.SELL,
            }
            for trade in trades
        ]


class KlineFeed(_Quiet):
    """The open candle four times a second, and once more when it closes."""

    def __init__(
        self, market: Market, timeframe: Timeframe, name: str, faults: Faults, *, continuous: bool
    ) -> None:
        self._market = market
        self._timeframe = timeframe
        self._name = name
        self._faults = faults
        self._continuous = continuous
        self._body: dict[str, object] | None = None
        self._traded = False

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the candle where it is due."""
        step, timeframe = steps[self._market.symbol], self._timeframe
        closes = timeframe.close_ms(timeframe.floor(step.start_ms)) <= now_ms
        self._traded |= bool(step.trades)
        if not closes and not passes(steps, now_ms, _KLINE_MS):
            return []
        if self._traded or closes or self._body is None:
            self._body, self._traded = self._candle(step.start_ms), False
        body = self._body
        if closes:
            self._body = None
        if body is None:
            return []
        if closes and self._faults.take(FaultKind.LATE_CANDLE, Venue.BINANCE, self._name):
            return []
        symbol = self._market.symbol
        if self._continuous:
            kind = {"e": "continuous_kline", "E": now_ms, "ps": symbol, "ct": "PERPETUAL"}
            return [kind | {"k": body}]
        return [{"e": "kline", "E": now_ms, "s": symbol, "k": body}]

    def _candle(self, ts_ms: int) -> dict[str, object] | None:
        found = self._market.rows(self._timeframe, DataKind.CANDLES, ts_ms, ts_ms)
        if not found:
            return None
        return rows.kline_body(
            found[-1], self._timeframe, self._market, with_symbol=not self._continuous
        )


class MarkFeed(_Quiet):
    """Mark price and funding of one market, or of all in a list."""

    def __init__(self, markets: Sequence[Market], every_ms: int, *, listed: bool) -> None:
        self._markets = markets
        self._every_ms = every_ms
        self._listed = listed

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the mark at the end of each period."""
        if not passes(steps, now_ms, self._every_ms):
            return []
        told: list[object] = [self._row(market, now_ms) for market in self._markets]
        return [told] if self._listed else told

    @staticmethod
    def _row(market: Market, now_ms: int) -> dict[str, object]:
        mark = fixed(market.mark_price, 8)
        return {
            "e": "markPriceUpdate",
            "E": now_ms,
            "s": market.symbol,
            "p": mark,
            "ap": mark,
            "P": mark,
            "i": mark,
            "r": fixed(market.funding_rate, 8),
            "T": market.next_funding_ms,
        }


class TickerFeed(_Quiet):
    """The rolling day of one market, or of all in a list; in full or short."""

    def __init__(
        self, markets: Sequence[Market], days: rows.DayTickers, *, mini: bool, listed: bool
    ) -> None:
        self._markets = markets
        self._days = days
        self._mini = mini
        self._listed = listed

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the day at the end of each period."""
        if not passes(steps, now_ms, _TICKER_MS):
            return []
        told: list[object] = [self._row(market, now_ms) for market in self._markets]
        return [told] if self._listed else told

    def _row(self, market: Market, now_ms: int) -> dict[str, object]:
        day = self._days.of(market)
        kind = "24hrMiniTicker" if self._mini else "24hrTicker"
        head: dict[str, object] = {"e": kind, "E": now_ms, "s": market.symbol}
        names = _MINI if self._mini else _FULL
        return head | {short: day[name] for short, name in names.items()}


_MINI: Final = {
    "c": "lastPrice",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
}
_FULL: Final = {
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    **_MINI,
    "Q": "lastQty",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}


class ForceFeed(_Quiet):
    """Liquidations; the venue's user streams put them here."""

    def __init__(self, symbol: str | None) -> None:
        self._symbol = symbol
        self._waiting: list[object] = []

    def put(self, symbol: str, message: object) -> None:
        """Take a liquidation, if it is one of this stream's."""
        if self._symbol in (None, symbol):
            self._waiting.append(message)

    def on_step(self, steps: Steps, now_ms: int) -> list[object]:
        """Return the liquidations since the last step."""
        waiting, self._waiting = self._waiting, []
        return waiting


def feed_of(
    name: str, markets: Mapping[str, Market], days: rows.DayTickers, faults: Faults
) -> Feed | None:
    """Return the feed of a stream's name; None for a name that no stream has."""
    everything = list(markets.values())
    match name:
        case "!markPrice@arr" | "!markPrice@arr@1s":
            return MarkFeed(everything, 1_000 if name.endswith("@1s") else 3_000, listed=True)
        case "!ticker@arr" | "!miniTicker@arr":
            return TickerFeed(everything, days, mini=name.startswith("!mini"), listed=True)
        case "!forceOrder@arr":
            return ForceFeed(None)
    symbol, _, kind = name.partition("@")
    continuous = symbol.removesuffix("_perpetual")
    if symbol != symbol.lower():
        return None
    market = markets.get(continuous.upper())
    if market is None:
        return None
    word, _, interval = kind.partition("_")
    if word == "continuousKline" and continuous != symbol and interval in INTERVALS:
        return KlineFeed(market, Timeframe.parse(interval), name, faults, continuous=True)
    return None if continuous != symbol else _feed_of_symbol(kind, name, market, days, faults)


def _feed_of_symbol(
    kind: str, name: str, market: Market, days: rows.DayTickers, faults: Faults
) -> Feed | None:
    match kind:
        case "aggTrade" | "trade":
            return TradeFeed(market, aggregated=kind == "aggTrade")
        case "markPrice" | "markPrice@1s":
            return MarkFeed([market], 1_000 if kind.endswith("@1s") else 3_000, listed=False)
        case "bookTicker":
            return BookTickerFeed(market)
        case "ticker" | "miniTicker":
            return TickerFeed([market], days, mini=kind == "miniTicker", listed=False)
        case "forceOrder":
            return ForceFeed(market.symbol)
    if (depth := _DEPTH.fullmatch(kind)) is not None:
        every_ms = int(depth[2] or 250)
        if depth[1] is None:
            return DepthFeed(market, every_ms, name, faults)
        return PartialDepthFeed(market, int(depth[1]), every_ms)
    word, _, interval = kind.partition("_")
    if word == "kline" and interval in INTERVALS:
        return KlineFeed(market, Timeframe.parse(interval), name, faults, continuous=False)
    return None
