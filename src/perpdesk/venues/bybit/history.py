"""Recorded market data, a window at a time."""

from typing import Any, Final

from perpdesk.domain.candles import (
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Trades,
    Venue,
)
from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.streams import TradeOccurred
from perpdesk.venues.bybit import calls
from perpdesk.venues.bybit.codes import nearest_symbol
from perpdesk.venues.bybit.fields import Message, rows
from perpdesk.venues.bybit.market_wire import (
    candles_of,
    funding_of,
    interval_of,
    open_interest_interval,
    open_interest_of,
    recent_trades,
    trades_of,
)
from perpdesk.venues.bybit.paging import all_pages
from perpdesk.venues.bybit.reference import BybitReference
from perpdesk.venues.bybit.transport import Answer, Transport
from perpdesk.venues.bybit.wire import LINEAR
from perpdesk.venues.rate_limit import Lane

PAGE_ROWS: Final = {
    DataKind.CANDLES: 1_000,
    DataKind.MARK: 1_000,
    DataKind.FUNDING: 200,
    DataKind.OPEN_INTEREST: 200,
    DataKind.TRADES: 1_000,
}
_KLINES: Final = {DataKind.CANDLES: calls.KLINE, DataKind.MARK: calls.MARK_KLINE}


class BybitHistory:
    """Implements `domain.ports.HistorySource` over /v5/market."""

    def __init__(self, transport: Transport, reference: BybitReference) -> None:
        self._transport = transport
        self._reference = reference

    @property
    def venue(self) -> Venue:
        """Return whose history this is."""
        return Venue.BYBIT

    def page_rows(self, kind: DataKind) -> int:
        """Return how many rows one request can bring."""
        return PAGE_ROWS[kind]

    async def first_ms(self, symbol: str) -> int:
        """Return when the symbol was listed. Raises VenueRejected for an unknown symbol."""
        return await self._reference.launch_ms(symbol)

    async def now_ms(self) -> int:
        """Return the venue's clock."""
        return await self._transport.server_ms()

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
        """Return closed candles of last price (CANDLES) or mark price (MARK)."""
        if kind not in _KLINES:
            raise UsageRefused(f"{kind} are no candles; ask for candles or mark")
        parameters = {
            "category": LINEAR,
            "symbol": symbol,
            "interval": interval_of(timeframe),
            "start": start_ms,
            "end": end_ms - 1,
            "limit": PAGE_ROWS[kind],
        }
        answer = await self._ask(_KLINES[kind], symbol, parameters, lane)
        return candles_of(answer.body, symbol, timeframe, start_ms=start_ms, end_ms=end_ms)

    async def funding(self, symbol: str, start_ms: int, end_ms: int) -> FundingRates:
        """Return settlements; a window with more than a page of them is read back to its start."""
        found: list[Message] = []
        last_ms = end_ms - 1
        while True:
            # startTime alone is an error, so both ends are always given.
            parameters = {
                "category": LINEAR,
                "symbol": symbol,
                "startTime": start_ms,
                "endTime": last_ms,
                "limit": PAGE_ROWS[DataKind.FUNDING],
            }
            answer = await self._ask(calls.FUNDING_HISTORY, symbol, parameters, Lane.HISTORY)
            page = rows(answer.result)
            found += page
            if len(page) < PAGE_ROWS[DataKind.FUNDING]:
                break
            last_ms = min(int(row["fundingRateTimestamp"]) for row in page) - 1
            if last_ms < start_ms:
                break
        kept = [row for row in found if start_ms <= int(row["fundingRateTimestamp"]) < end_ms]
        return funding_of(kept, symbol)

    async def open_interest(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> OpenInterest:
        """Return open interest at the period's grid."""
        parameters = {
            "category": LINEAR,
            "symbol": symbol,
            "intervalTime": open_interest_interval(timeframe),
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": PAGE_ROWS[DataKind.OPEN_INTEREST],
        }
        try:
            merged = await all_pages(
                self._transport, calls.OPEN_INTEREST, parameters, lane=Lane.HISTORY
            )
        except VenueRejected as error:
            raise await self._explained(error, symbol) from error
        kept = [row for row in rows(merged["result"]) if start_ms <= int(row["timestamp"]) < end_ms]
        return open_interest_of(kept, symbol, timeframe)

    async def trades(self, symbol: str, start_ms: int, end_ms: int) -> Trades:
        """Return trades as far back as recent-trade goes: the last thousand, no further."""
        recent = await self.recent_trades(symbol)
        return trades_of([one for one in recent if start_ms <= one.ts_event_ms < end_ms], symbol)

    async def recent_trades(
        self, symbol: str, *, lane: Lane = Lane.HISTORY
    ) -> tuple[TradeOccurred, ...]:
        """Return the last thousand trades, ascending, with the ids that the stream gives them."""
        parameters = {"category": LINEAR, "symbol": symbol, "limit": PAGE_ROWS[DataKind.TRADES]}
        answer = await self._ask(calls.RECENT_TRADES, symbol, parameters, lane)
        return recent_trades(answer.body, self._transport.clock.now_ms())

    async def _ask(
        self, call: calls.Call, symbol: str, parameters: dict[str, Any], lane: Lane
    ) -> Answer:
        try:
            return await self._transport.call(call, parameters, lane=lane)
        except VenueRejected as error:
            raise await self._explained(error, symbol) from error

    async def _explained(self, error: VenueRejected, symbol: str) -> VenueRejected:
        """Return a refusal that names the nearest symbol, where the symbol is what is wrong."""
        known = await self._reference.symbols()
        if symbol in known:
            return error
        return VenueRejected(
            error.message, code=error.code, next_step=nearest_symbol(symbol, known)
        )
