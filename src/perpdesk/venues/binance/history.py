"""Recorded market data of Binance, a window at a time."""

from typing import Any, Final

from perpdesk.domain.candles import (
    HOUR_MS,
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Trades,
    Venue,
)
from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.venues.binance import wire_market
from perpdesk.venues.binance.rest import FUNDING, FUTURES_DATA, BinanceRest, understand
from perpdesk.venues.rate_limit import Lane

CANDLE_ROWS: Final = 499
"""The largest page of weight 2: 250 rows a unit, where the full 1500 give 150."""
FUNDING_ROWS: Final = 1000
OPEN_INTEREST_ROWS: Final = 500
TRADE_ROWS: Final = 1000
CLOCK_DOUBT_MS: Final = HOUR_MS
"""By how much this machine's clock may have been set since it was last compared."""
TRADES_WEIGHT: Final = 20

INTERVALS: Final = (
    *("1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h"),
    *("1d", "3d", "1w", "1M"),
)
PERIODS: Final = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")

_PATHS: Final = {DataKind.CANDLES: "klines", DataKind.MARK: "markPriceKlines"}
_PAGES: Final = {
    DataKind.CANDLES: CANDLE_ROWS,
    DataKind.MARK: CANDLE_ROWS,
    DataKind.FUNDING: FUNDING_ROWS,
    DataKind.OPEN_INTEREST: OPEN_INTEREST_ROWS,
    DataKind.TRADES: TRADE_ROWS,
}


class BinanceHistory:
    """Implements `domain.ports.HistorySource`."""

    def __init__(self, rest: BinanceRest) -> None:
        self._rest = rest

    @property
    def venue(self) -> Venue:
        """Return whose history this is."""
        return Venue.BINANCE

    def page_rows(self, kind: DataKind) -> int:
        """Return how many rows one request can bring."""
        return _PAGES[kind]

    async def first_ms(self, symbol: str) -> int:
        """Return when the first candle opened. Raises VenueRejected for an unknown symbol."""
        rows = await self._rest.get(
            "klines",
            {"symbol": symbol, "interval": "1m", "startTime": "0", "limit": "1"},
            lane=Lane.HISTORY,
        )
        if rows:
            return int(rows[0][0])
        info = await self._rest.get("exchangeInfo", lane=Lane.HISTORY)
        listed = wire_market.listed_ms(info, symbol)
        if listed is None:
            raise VenueRejected(
                f"{symbol} has no candles on Binance, and no date of listing",
                next_step="Choose a symbol that has traded.",
            )
        return listed

    async def now_ms(self) -> int:
        """Return the venue's clock, asked for now."""
        return await self._ask_now_ms(Lane.HISTORY)

    async def _ask_now_ms(self, lane: Lane) -> int:
        answer = await self._rest.get("time", lane=lane)
        return understand(wire_market.server_time_ms, answer, what="time", changes=False)

    async def candles(
        self,
        symbol: str,
        timeframe: Timeframe,
        kind: DataKind,
        start_ms: int,
        end_ms: int,
        *,
        lane: Lane = Lane.HISTORY,
    ) -> Candles:
        """Return closed candles of last price (CANDLES) or mark price (MARK).

        More than a page is fetched page by page.
        """
        _check_timeframe(timeframe, INTERVALS)
        rows: list[Any] = []
        page_ms = CANDLE_ROWS * timeframe.duration_ms
        for begin_ms in range(start_ms, end_ms, page_ms):
            until_ms = min(end_ms, begin_ms + page_ms)
            rows += await self._candle_page(symbol, timeframe, kind, begin_ms, until_ms, lane)
        kept = [row for row in rows if start_ms <= int(row[0]) < end_ms]
        now_ms = await self._closing_time(kept, timeframe, lane)
        return understand(
            lambda found: wire_market.candles(
                found, symbol=symbol, timeframe=timeframe, now_ms=now_ms
            ),
            kept,
            what=_PATHS[kind],
            changes=False,
        )

    async def _candle_page(
        self,
        symbol: str,
        timeframe: Timeframe,
        kind: DataKind,
        start_ms: int,
        end_ms: int,
        lane: Lane,
    ) -> list[Any]:
        count = min(CANDLE_ROWS, -(-(end_ms - start_ms) // timeframe.duration_ms))
        answer = await self._rest.get(
            _PATHS[kind],
            {
                "symbol": symbol,
                "interval": timeframe.name,
                "startTime": str(start_ms),
                "endTime": str(end_ms - 1),
                "limit": str(count),
            },
            weight=1 if count < 100 else 2,
            lane=lane,
        )
        return understand(_rows, answer, what=_PATHS[kind], changes=False)

    async def _closing_time(self, rows: list[Any], timeframe: Timeframe, lane: Lane) -> int:
        """Return the venue's time, asked anew unless every row closed long ago by our idea of it.

        A clock that ran on since it was measured must not withhold a candle that is closed, and one
        that was set ahead must not close one that is open: only the venue says what is final.
        """
        now_ms = self._rest.clock.now_ms()
        if self._rest.clock.measured_at_ms is None or any(
            timeframe.close_ms(int(row[0])) > now_ms - CLOCK_DOUBT_MS for row in rows[-2:]
        ):
            return await self._ask_now_ms(lane)
        return now_ms

    async def funding(self, symbol: str, start_ms: int, end_ms: int) -> FundingRates:
        """Return settlements."""
        rows: list[Any] = []
        begin_ms = start_ms
        while begin_ms < end_ms:
            answer = await self._rest.get(
                "fundingRate",
                {
                    "symbol": symbol,
                    "startTime": str(begin_ms),
                    "endTime": str(end_ms - 1),
                    "limit": str(FUNDING_ROWS),
                },
                lane=Lane.HISTORY,
                pool=FUNDING,
            )
            page = understand(_rows, answer, what="fundingRate", changes=False)
            rows += page
            if len(page) < FUNDING_ROWS:
                break
            begin_ms = max(int(row["fundingTime"]) for row in page) + 1
        kept = [row for row in rows if start_ms <= int(row["fundingTime"]) < end_ms]
        return understand(
            lambda found: wire_market.funding_rates(found, symbol=symbol),
            kept,
            what="fundingRate",
            changes=False,
        )

    async def open_interest(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> OpenInterest:
        """Return open interest at the period's grid; Binance keeps 30 days."""
        _check_timeframe(timeframe, PERIODS)
        rows: list[Any] = []
        page_ms = OPEN_INTEREST_ROWS * timeframe.duration_ms
        for begin_ms in range(start_ms, end_ms, page_ms):
            answer = await self._rest.get(
                "futures/data/openInterestHist",
                {
                    "symbol": symbol,
                    "period": timeframe.name,
                    "startTime": str(begin_ms),
                    "endTime": str(min(end_ms, begin_ms + page_ms) - 1),
                    "limit": str(OPEN_INTEREST_ROWS),
                },
                lane=Lane.HISTORY,
                pool=FUTURES_DATA,
            )
            rows += understand(_rows, answer, what="openInterestHist", changes=False)
        kept = [row for row in rows if start_ms <= int(row["timestamp"]) < end_ms]
        return understand(
            lambda found: wire_market.open_interest(found, symbol=symbol, timeframe=timeframe),
            kept,
            what="openInterestHist",
            changes=False,
        )

    async def trades(self, symbol: str, start_ms: int, end_ms: int) -> Trades:
        """Return aggregated trades; Binance keeps 48 hours.

        Windows of under an hour find where to begin, ids lead on from there without a gap.
        """
        rows: list[Any] = []
        begin_ms = start_ms
        while begin_ms < end_ms and not rows:
            until_ms = min(end_ms, begin_ms + HOUR_MS - 1)
            rows = await self._trade_page(
                {"symbol": symbol, "startTime": str(begin_ms), "endTime": str(until_ms - 1)}
            )
            begin_ms = until_ms
        more = len(rows) == TRADE_ROWS or (bool(rows) and begin_ms < end_ms)
        while more and int(rows[-1]["T"]) < end_ms:
            following = str(int(rows[-1]["a"]) + 1)
            page = await self._trade_page({"symbol": symbol, "fromId": following})
            rows = rows + page
            more = len(page) == TRADE_ROWS
        kept = [row for row in rows if start_ms <= int(row["T"]) < end_ms]
        return understand(
            lambda found: wire_market.trades(found, symbol=symbol),
            kept,
            what="aggTrades",
            changes=False,
        )

    async def _trade_page(self, parameters: dict[str, str]) -> list[Any]:
        answer = await self._rest.get(
            "aggTrades",
            {**parameters, "limit": str(TRADE_ROWS)},
            weight=TRADES_WEIGHT,
            lane=Lane.HISTORY,
        )
        return understand(_rows, answer, what="aggTrades", changes=False)


def _rows(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise TypeError(f"a list was expected, not {str(answer)[:80]}")
    return answer


def _check_timeframe(timeframe: Timeframe, known: tuple[str, ...]) -> None:
    if timeframe.name not in known:
        raise UsageRefused(
            f"Binance has no {timeframe} data of this kind",
            next_step=f"Choose one of {', '.join(known)}.",
        )
