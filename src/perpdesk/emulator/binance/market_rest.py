"""REST of public market data: exchangeInfo, candles, trades, book, prices, funding."""

from collections.abc import Callable
from typing import Final

from perpdesk.domain.candles import DAY_MS, HOUR_MS, DataKind, Timeframe
from perpdesk.emulator.binance import market_rows as rows
from perpdesk.emulator.binance.calls import Call, Endpoint, Params, Security, Weight, by_symbol
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.exchange_info import exchange_info
from perpdesk.emulator.binance.words import INTERVALS, fixed, price, quantity
from perpdesk.emulator.market import Market, Row
from perpdesk.emulator.trade_tape import MarketTrade

MOST_CANDLES: Final = 1_500
AGGREGATES_KEPT_MS: Final = 2 * DAY_MS
LONGEST_TRADES_MS: Final = HOUR_MS
_MONTH_MS: Final = 31 * DAY_MS
_PERIODS: Final = frozenset(("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"))
_JITTER_MS: Final = 9


class MarketRest:
    """Endpoints that anybody may ask. tell_time: what /time says."""

    def __init__(self, tell_time: Callable[[], int], weight_limit: int) -> None:
        self._tell_time = tell_time
        self._weight_limit = weight_limit
        self._days = rows.DayTickers()

    def endpoints(self) -> list[Endpoint]:
        """Return what this serves."""
        plain: list[tuple[str, Callable[[Call], object], Weight]] = [
            ("/api/v3/ping", self._ping, 1),
            ("/api/v3/time", self._time, 1),
            ("/fapi/v1/ping", self._ping, 1),
            ("/fapi/v1/time", self._time, 1),
            ("/fapi/v1/exchangeInfo", self._exchange_info, 1),
            ("/fapi/v1/klines", self._klines, _candle_weight),
            ("/fapi/v1/continuousKlines", self._continuous, _candle_weight),
            ("/fapi/v1/markPriceKlines", self._mark_klines, _candle_weight),
            ("/fapi/v1/indexPriceKlines", self._index_klines, _candle_weight),
            ("/fapi/v1/premiumIndexKlines", self._premium_klines, _candle_weight),
            ("/fapi/v1/aggTrades", self._aggregates, 20),
            ("/fapi/v1/trades", self._trades, 5),
            ("/fapi/v1/depth", self._depth, _depth_weight),
            ("/fapi/v1/premiumIndex", self._premium_index, by_symbol(1, 10)),
            ("/fapi/v1/fundingRate", self._funding_rate, 1),
            ("/fapi/v1/fundingInfo", self._funding_info, 0),
            ("/fapi/v1/openInterest", self._open_interest, 1),
            ("/futures/data/openInterestHist", self._open_interest_history, 0),
            ("/fapi/v1/insuranceBalance", self._insurance, 1),
            ("/fapi/v1/assetIndex", self._asset_index, 1),
            ("/fapi/v1/constituents", self._constituents, 2),
        ]
        for version in ("v1", "v2"):
            path = f"/fapi/{version}/ticker/"
            plain += [
                (path + "price", self._ticker_price, by_symbol(1, 2)),
                (path + "bookTicker", self._book_ticker, by_symbol(2, 5)),
                (path + "24hr", self._day_ticker, by_symbol(1, 40)),
            ]
        historical = Endpoint(
            method="GET",
            path="/fapi/v1/historicalTrades",
            act=self._historical,
            weight=200,
            security=Security.KEY,
        )
        return [
            Endpoint(method="GET", path=path, act=act, weight=weight) for path, act, weight in plain
        ] + [historical]

    # The venue.

    def _ping(self, _: Call) -> object:
        return {}

    def _time(self, _: Call) -> object:
        return {"serverTime": self._tell_time()}

    def _exchange_info(self, call: Call) -> object:
        return exchange_info(call.venue.markets, call.now_ms, self._weight_limit)

    # Candles.

    def _klines(self, call: Call) -> object:
        market, timeframe = call.market(), timeframe_of(call.params)
        found = candles(call, market, timeframe, DataKind.CANDLES)
        return [rows.kline_row(row, timeframe, market.instrument) for row in found]

    def _continuous(self, call: Call) -> object:
        if call.params.text("contractType") != "PERPETUAL":
            raise ApiError(-1130, "contractType")
        market, timeframe = call.market("pair"), timeframe_of(call.params)
        found = candles(call, market, timeframe, DataKind.CANDLES)
        return [rows.kline_row(row, timeframe, market.instrument) for row in found]

    def _mark_klines(self, call: Call) -> object:
        return self._price_klines(call, call.market())

    def _index_klines(self, call: Call) -> object:
        return self._price_klines(call, call.market("pair"))

    def _price_klines(self, call: Call, market: Market) -> object:
        timeframe = timeframe_of(call.params)
        found = candles(call, market, timeframe, DataKind.MARK)
        return [rows.price_row(row, timeframe) for row in found]

    def _premium_klines(self, call: Call) -> object:
        market, timeframe = call.market(), timeframe_of(call.params)
        last = candles(call, market, timeframe, DataKind.CANDLES)
        mark = candles(call, market, timeframe, DataKind.MARK)
        pairs = zip(last, mark, strict=True)
        return [rows.premium_row(each, base, timeframe) for each, base in pairs]

    # Trades.

    def _aggregates(self, call: Call) -> object:
        market, params = call.market(), call.params
        limit = params.limit(500, 1000)
        start_ms, end_ms = params.integer("startTime"), params.integer("endTime")
        from_id = params.integer("fromId")
        found: list[MarketTrade]
        if from_id is not None:
            found = market.trades_from(from_id, limit)
        elif start_ms is None and end_ms is None:
            found = market.recent_trades(limit)
        else:
            start_ms = (end_ms or 0) - LONGEST_TRADES_MS if start_ms is None else start_ms
            end_ms = start_ms + LONGEST_TRADES_MS if end_ms is None else end_ms
            if end_ms - start_ms > LONGEST_TRADES_MS:
                raise ApiError(-1127)
            start_ms = max(start_ms, call.now_ms - AGGREGATES_KEPT_MS)
            found = list(market.trades_between(start_ms, min(end_ms + 1, call.now_ms)))[:limit]
        return [rows.aggregate_row(trade, market.instrument) for trade in found]

    def _trades(self, call: Call) -> object:
        market = call.market()
        found = market.recent_trades(call.params.limit(500, 1000))
        return [rows.trade_row(trade, market.instrument) for trade in found]

    def _historical(self, call: Call) -> object:
        market, from_id = call.market(), call.params.integer("fromId")
        limit = call.params.limit(100, 500)
        found = (
            market.recent_trades(limit) if from_id is None else market.trades_from(from_id, limit)
        )
        return [rows.trade_row(trade, market.instrument) for trade in found]

    # Prices.

    def _depth(self, call: Call) -> object:
        limit = call.params.integer("limit") or 500
        if limit not in (5, 10, 20, 50, 100, 500, 1000):
            raise ApiError(-1130, "limit")
        return rows.depth_body(call.market(), limit, call.now_ms)

    def _ticker_price(self, call: Call) -> object:
        return call.one_or_all(
            lambda market: {
                "symbol": market.symbol,
                "price": price(market.last_price, market.instrument),
                "time": call.now_ms,
            }
        )

    def _book_ticker(self, call: Call) -> object:
        return call.one_or_all(lambda market: rows.book_ticker(market, call.now_ms))

    def _day_ticker(self, call: Call) -> object:
        return call.one_or_all(self._days.of)

    def _premium_index(self, call: Call) -> object:
        return call.one_or_all(lambda market: rows.premium_index(market, call.now_ms))

    # Funding and open interest.

    def _funding_rate(self, call: Call) -> object:
        params = call.params
        limit = params.limit(100, 1000)
        start_ms, end_ms = params.integer("startTime"), params.integer("endTime")
        found: list[tuple[int, str, object]] = []
        for market in call.markets():
            first_ms, last_ms = start_ms or 0, call.now_ms if end_ms is None else end_ms
            for row in market.funding_history(first_ms - _JITTER_MS, last_ms):
                # The venue writes down settlements some milliseconds after their time, and goes by
                # what is written.
                written_ms = row.ts_ms + row.ts_ms // HOUR_MS % _JITTER_MS
                if not first_ms <= written_ms <= last_ms:
                    continue
                told = {
                    "symbol": market.symbol,
                    "fundingTime": written_ms,
                    "fundingRate": fixed(row.rate, 8),
                    "markPrice": fixed(row.mark_price, 8) if row.mark_price else "",
                }
                found.append((row.ts_ms, market.symbol, told))
        found.sort(key=lambda each: each[:2])
        chosen = found[-limit:] if start_ms is None else found[:limit]
        return [told for _, _, told in chosen]

    def _funding_info(self, call: Call) -> object:
        return [
            rows.funding_info(market, call.now_ms)
            for market in call.venue.markets.values()
            if market.interval_ms != 8 * HOUR_MS
        ]

    def _open_interest(self, call: Call) -> object:
        market = call.market()
        return {
            "openInterest": quantity(market.open_interest(call.now_ms), market.instrument),
            "symbol": market.symbol,
            "time": call.now_ms,
        }

    def _open_interest_history(self, call: Call) -> object:
        market, params = call.market(), call.params
        if params.text("period") not in _PERIODS:
            raise ApiError(-1130, "period")
        span = Timeframe.parse(params.text("period")).duration_ms
        limit = params.limit(30, 500)
        end_ms = min(params.integer("endTime") or call.now_ms, call.now_ms) // span * span
        start_ms = params.integer("startTime")
        oldest = max(call.now_ms - 30 * DAY_MS, 0 if start_ms is None else start_ms)
        times = range(-(-oldest // span) * span, end_ms + 1, span)
        chosen = times[-limit:] if start_ms is None else times[:limit]
        return [rows.open_interest_row(market, ts_ms) for ts_ms in chosen]

    # What little sense it makes here.

    def _insurance(self, call: Call) -> object:
        named = {market.instrument.quote for market in call.markets()}
        return {
            "symbols": [market.symbol for market in call.markets()],
            "assets": [
                {"asset": quote, "marginBalance": "793930579.315848", "updateTime": call.now_ms}
                for quote in sorted(named)
            ],
        }

    def _asset_index(self, call: Call) -> object:
        quotes = sorted({market.instrument.quote for market in call.venue.markets.values()})
        return [
            {
                "symbol": f"{quote}USD",
                "time": call.now_ms,
                "index": "1.00000000",
                "bidBuffer": "0.00010000",
                "askBuffer": "0.00010000",
                "bidRate": "0.99990000",
                "askRate": "1.00010000",
                "autoExchangeBidBuffer": "0.00010000",
                "autoExchangeAskBuffer": "0.00010000",
                "autoExchangeBidRate": "0.99990000",
                "autoExchangeAskRate": "1.00010000",
            }
            for quote in quotes
        ]

    def _constituents(self, call: Call) -> object:
        market = call.market()
        part = {
            "exchange": "binance",
            "symbol": market.symbol,
            "price": fixed(market.mark_price, 8),
            "weight": "1.00000000",
        }
        return {"symbol": market.symbol, "time": call.now_ms, "constituents": [part]}


def timeframe_of(params: Params) -> Timeframe:
    """Return the interval asked for."""
    name = params.text("interval")
    if name not in INTERVALS:
        raise ApiError(-1120)
    return Timeframe.parse(name)


def candles(call: Call, market: Market, timeframe: Timeframe, kind: DataKind) -> list[Row]:
    """Return candles from startTime on, or the latest; the open one included, oldest first."""
    params = call.params
    limit = params.limit(500, MOST_CANDLES)
    start_ms, end_ms = params.integer("startTime"), params.integer("endTime")
    end_ms = call.now_ms if end_ms is None else min(end_ms, call.now_ms)
    length_ms = _MONTH_MS if timeframe.is_month else timeframe.duration_ms
    if start_ms is None:
        found = market.rows(timeframe, kind, end_ms - limit * length_ms, end_ms)
        return [row for row in found if row.ts_ms <= end_ms][-limit:]
    if start_ms > end_ms:
        return []
    first_ms = max(start_ms, timeframe.floor(int(market.tape.candles.ts_ms[0])))
    found = market.rows(timeframe, kind, first_ms, min(end_ms, first_ms + limit * length_ms))
    return [row for row in found if start_ms <= row.ts_ms <= end_ms][:limit]


def _candle_weight(params: Params) -> int:
    limit = params.limit(500, MOST_CANDLES)
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


def _depth_weight(params: Params) -> int:
    limit = params.integer("limit") or 500
    if limit <= 50:
        return 2
    if limit <= 100:
        return 5
    return 10 if limit <= 500 else 20
