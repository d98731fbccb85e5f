"""The public endpoints under /v5/market. Source: reference/exchanges.md 3b.1."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from perpdesk.domain.candles import DAY_MS, HOUR_MS, MINUTE_MS, DataKind, Venue
from perpdesk.emulator.bybit.auth import Gate
from perpdesk.emulator.bybit.calls import Call, Endpoint, get
from perpdesk.emulator.bybit.errors import parameter
from perpdesk.emulator.bybit.market_rows import (
    INTERVALS,
    REST_TICKER_EXTRA,
    DayStatistics,
    candle_row,
    candles,
    instrument_row,
    level_rows,
    premium_row,
    price_limits,
    price_row,
    ticker_row,
    tier_rows,
    trade_row,
)
from perpdesk.emulator.bybit.messages import limit_of, number, page, whole
from perpdesk.emulator.bybit.order_entry import check_category, market_of
from perpdesk.emulator.market import Market, Row
from perpdesk.emulator.world import World

SYMBOLS_PER_RISK_PAGE: Final = 15
_OPEN_INTEREST_STEPS: Final = {
    "5min": 5 * MINUTE_MS,
    "15min": 15 * MINUTE_MS,
    "30min": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "4h": 4 * HOUR_MS,
    "1d": DAY_MS,
}


class MarketRest:
    """Answers what needs no key."""

    def __init__(self, world: World, gate: Gate) -> None:
        self.world = world
        self.gate = gate
        self.days = {symbol: DayStatistics(market) for symbol, market in self._markets.items()}

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        return [
            get("market/time", self._time),
            get("market/instruments-info", self._instruments),
            get("market/kline", self._kline_of(DataKind.CANDLES, candle_row)),
            get("market/mark-price-kline", self._kline_of(DataKind.MARK, price_row)),
            get("market/index-price-kline", self._kline_of(DataKind.MARK, price_row)),
            get("market/premium-index-price-kline", self._premium),
            get("market/orderbook", self._orderbook),
            get("market/tickers", self._tickers),
            get("market/recent-trade", self._trades),
            get("market/funding/history", self._funding),
            get("market/open-interest", self._open_interest),
            get("market/risk-limit", self._risk_limit),
            get("market/insurance", self._insurance),
            get("market/price-limit", self._price_limit),
            get("system/status", lambda call: {"list": []}),
        ]

    @property
    def _markets(self) -> Mapping[str, Market]:
        return self.world.venues[Venue.BYBIT].markets

    def _asked(self, call: Call) -> list[tuple[int, Market]]:
        """Return the markets that are asked for, by symbol or all of them, with their places."""
        check_category(call.params)
        if call.params.get("symbol"):
            market_of(self.world, call.params)
        return [
            (place, market)
            for place, (symbol, market) in enumerate(sorted(self._markets.items()))
            if call.params.get("symbol", symbol) == symbol
            and call.params.get("baseCoin", market.instrument.base) == market.instrument.base
        ]

    def _time(self, call: Call) -> dict[str, Any]:
        now = self.gate.server_ms
        return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}

    def _instruments(self, call: Call) -> dict[str, Any]:
        # Unless a status is asked for, only what trades is told.
        status = call.params.get("status", "Trading")
        rows = [instrument_row(market, place) for place, market in self._asked(call)]
        rows = [row for row in rows if row["status"] == status]
        found, cursor = page(rows, call.params, limit_of(call.params, 500, 1000))
        return {"category": "linear", "list": found, "nextPageCursor": cursor}

    # Candles.

    def _span(self, call: Call) -> tuple[Market, str, int, int, int]:
        """Return market, interval, first and last open time, and how many rows at most."""
        params = call.params
        check_category({"category": "linear"} | dict(params))
        market, word = market_of(self.world, params), str(params.get("interval", ""))
        if word not in INTERVALS:
            raise parameter(f"interval {word or 'is missing'} is not known")
        limit = limit_of(params, 200, 1000)
        timeframe, now = INTERVALS[word], self.world.now_ms
        longest = 31 * DAY_MS if timeframe.is_month else timeframe.duration_ms
        start, end = whole(params, "start"), whole(params, "end")
        if start is not None and end is None:
            # From a start on, the venue goes forward; otherwise it ends at the end.
            return market, word, start, start + (limit - 1) * longest, limit
        end = now if end is None else min(end, now)
        earliest = timeframe.floor(end) - limit * longest
        return market, word, earliest if start is None else max(start, earliest), end, limit

    def _kline_of(
        self, kind: DataKind, words: Callable[[Row], list[str]]
    ) -> Callable[[Call], dict[str, Any]]:
        def kline(call: Call) -> dict[str, Any]:
            market, word, start, end, limit = self._span(call)
            rows = [row for row in candles(market, kind, word, start, end) if row.ts_ms >= start]
            listed = [words(row) for row in reversed(rows)][:limit]
            return {"symbol": market.symbol, "category": "linear", "list": listed}

        return kline

    def _premium(self, call: Call) -> dict[str, Any]:
        market, word, start, end, limit = self._span(call)
        last = candles(market, DataKind.CANDLES, word, start, end)
        mark = candles(market, DataKind.MARK, word, start, end)
        pairs = list(zip(last, mark, strict=True))
        listed = [premium_row(*pair) for pair in reversed(pairs) if pair[0].ts_ms >= start]
        return {"symbol": market.symbol, "category": "linear", "list": listed[:limit]}

    # Book, tickers, trades.

    def _orderbook(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        market = market_of(self.world, call.params)
        bids, asks = market.book.top(limit_of(call.params, 25, 1000))
        return {
            "s": market.symbol,
            "a": level_rows(asks),
            "b": level_rows(bids),
            "ts": self.world.now_ms,
            "u": market.book.update_id,
            "seq": market.book.update_id,
            "cts": market.book.ts_ms,
        }

    def _tickers(self, call: Call) -> dict[str, Any]:
        rows = [
            ticker_row(market, self.days[market.symbol]) | REST_TICKER_EXTRA
            for _, market in self._asked(call)
        ]
        return {"category": "linear", "list": rows}

    def _trades(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        market = market_of(self.world, call.params)
        trades = market.recent_trades(limit_of(call.params, 500, 1000))
        rows = [trade_row(trade, market.symbol) for trade in reversed(trades)]
        return {"category": "linear", "list": rows}

    # Funding and open interest.

    def _funding(self, call: Call) -> dict[str, Any]:
        params = call.params
        check_category(params)
        market = market_of(self.world, params)
        start, end = whole(params, "startTime"), whole(params, "endTime")
        if start is not None and end is None:
            raise parameter("startTime needs endTime")
        found = market.funding_history(start or 0, self.world.now_ms if end is None else end)
        rows = [
            {
                "symbol": market.symbol,
                "fundingRate": number(row.rate),
                "fundingRateTimestamp": str(row.ts_ms),
            }
            for row in reversed(found)
        ]
        return {"category": "linear", "list": rows[: limit_of(params, 200, 200)]}

    def _open_interest(self, call: Call) -> dict[str, Any]:
        params = call.params
        check_category(params)
        market = market_of(self.world, params)
        step = _OPEN_INTEREST_STEPS.get(str(params.get("intervalTime", "")))
        if step is None:
            raise parameter(f"intervalTime must be one of {', '.join(_OPEN_INTEREST_STEPS)}")
        limit, now = limit_of(params, 50, 200), self.world.now_ms
        end = min(whole(params, "endTime", now) or now, now) // step * step
        first = int(market.tape.candles.ts_ms[0])
        start = max(whole(params, "startTime", first) or first, first)
        times = range(end, start - 1, -step)
        found, cursor = page(times, params, limit)
        rows = []
        for ts_ms in found:
            held = market.open_interest(ts_ms)
            rows.append(
                {
                    "openInterest": number(held),
                    "singleOpenInterest": number(held / 2),
                    "timestamp": str(ts_ms),
                }
            )
        return {
            "symbol": market.symbol,
            "category": "linear",
            "list": rows,
            "nextPageCursor": cursor,
        }

    # Rules.

    def _risk_limit(self, call: Call) -> dict[str, Any]:
        found, cursor = page(self._asked(call), call.params, SYMBOLS_PER_RISK_PAGE)
        rows = [row for place, market in found for row in tier_rows(market, place)]
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _insurance(self, call: Call) -> dict[str, Any]:
        coins = {market.instrument.quote for market in self._markets.values()}
        wanted = call.params.get("coin")
        rows = [
            {"coin": coin, "symbols": "", "balance": "100000000", "value": "100000000"}
            for coin in sorted(coins)
            if wanted in (None, "", coin)
        ]
        return {"updatedTime": str(self.world.now_ms // DAY_MS * DAY_MS), "list": rows}

    def _price_limit(self, call: Call) -> dict[str, Any]:
        market = market_of(self.world, call.params)
        return price_limits(market) | {"ts": str(self.world.now_ms)}
