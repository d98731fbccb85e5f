"""Market data in Binance's messages, streamed or stored, as domain objects. Pure.

Source: reference/exchanges.md 3.1 and 4.1, read 2026-11.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from perpdesk.domain.candles import (
    Candles,
    FundingRates,
    OpenInterest,
    Timeframe,
    Trades,
    Venue,
)
from perpdesk.domain.order import Side
from perpdesk.domain.streams import (
    CandleUpdated,
    Level,
    MarkChanged,
    QuoteChanged,
    TradeOccurred,
)
from perpdesk.venues.binance.fields import (
    Message,
    flag,
    number,
    positive,
    required,
    to_number,
    whole,
)
from perpdesk.venues.binance.words import UnknownEvent

COIN_MARGINED: Final = 2
"""`st` of a row about a COIN-M contract, which all-market streams mix in since 2026-06."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthDifference:
    """Changed levels of a book: update ids first..last, following the difference `previous`."""

    symbol: str
    first: int
    last: int
    previous: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts_event_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSnapshot:
    """A book by REST, up to `last_update_id`."""

    last_update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts_event_ms: int


MarketMessage = CandleUpdated | TradeOccurred | QuoteChanged | MarkChanged | DepthDifference


def market_update(message: Message, *, ts_init_ms: int) -> MarketMessage:
    """Read the payload of one message of a market stream. Raises UnknownEvent."""
    kind = str(required(message, "e"))
    reader = _READERS.get(kind)
    if reader is None:
        raise UnknownEvent("market event", kind)
    return reader(message, ts_init_ms)


def _candle(message: Message, ts_init_ms: int) -> CandleUpdated:
    bar = required(message, "k")
    return CandleUpdated(
        symbol=str(required(message, "s")),
        timeframe=Timeframe.parse(str(required(bar, "i"))),
        ts_ms=whole(bar, "t"),
        open=float(required(bar, "o")),
        high=float(required(bar, "h")),
        low=float(required(bar, "l")),
        close=float(required(bar, "c")),
        volume=float(required(bar, "v")),
        is_closed=required(bar, "x") is True,
        ts_event_ms=whole(message, "E"),
        ts_init_ms=ts_init_ms,
    )


def _trade(message: Message, ts_init_ms: int) -> TradeOccurred:
    return TradeOccurred(
        symbol=str(required(message, "s")),
        trade_id=str(whole(message, "a")),
        price=number(message, "p"),
        quantity=number(message, "q"),
        taker_side=Side.SELL if flag(message, "m") else Side.BUY,
        ts_event_ms=whole(message, "T"),
        ts_init_ms=ts_init_ms,
    )


def _quote(message: Message, ts_init_ms: int) -> QuoteChanged:
    return QuoteChanged(
        symbol=str(required(message, "s")),
        bid_price=number(message, "b"),
        bid_quantity=number(message, "B"),
        ask_price=number(message, "a"),
        ask_quantity=number(message, "A"),
        update_id=whole(message, "u"),
        ts_event_ms=whole(message, "T"),
        ts_init_ms=ts_init_ms,
    )


def _mark(message: Message, ts_init_ms: int) -> MarkChanged:
    rate = message.get("r")
    return MarkChanged(
        symbol=str(required(message, "s")),
        mark_price=number(message, "p"),
        index_price=positive(message, "i"),
        funding_rate=None if rate in (None, "") else to_number(rate, "r"),
        next_funding_ms=int(message.get("T") or 0) or None,
        ts_event_ms=whole(message, "E"),
        ts_init_ms=ts_init_ms,
    )


def _depth(message: Message, ts_init_ms: int) -> DepthDifference:
    return DepthDifference(
        symbol=str(required(message, "s")),
        first=whole(message, "U"),
        last=whole(message, "u"),
        previous=whole(message, "pu"),
        bids=levels(required(message, "b")),
        asks=levels(required(message, "a")),
        ts_event_ms=whole(message, "T"),
    )


_READERS: Final[dict[str, Callable[[Message, int], MarketMessage]]] = {
    "kline": _candle,
    "aggTrade": _trade,
    "bookTicker": _quote,
    "markPriceUpdate": _mark,
    "depthUpdate": _depth,
}


def levels(rows: Sequence[Sequence[Any]]) -> tuple[Level, ...]:
    """Read [price, quantity] pairs."""
    return tuple((Decimal(row[0]), Decimal(row[1])) for row in rows)


def depth_snapshot(message: Message) -> DepthSnapshot:
    """Read a book by REST."""
    return DepthSnapshot(
        last_update_id=whole(message, "lastUpdateId"),
        bids=levels(required(message, "bids")),
        asks=levels(required(message, "asks")),
        ts_event_ms=int(message.get("T") or message.get("E") or 0),
    )


# Stored.


def candles(
    rows: Sequence[Sequence[Any]], *, symbol: str, timeframe: Timeframe, now_ms: int
) -> Candles:
    """Read rows of klines or markPriceKlines, without those that `now_ms` has not closed yet.

    now_ms: the venue's clock. Mark prices have no volume: zeros.
    """
    kept = {int(row[0]): row for row in rows if timeframe.close_ms(int(row[0])) <= now_ms}
    ordered = [kept[ts_ms] for ts_ms in sorted(kept)]
    columns = np.array([[float(value) for value in row[1:6]] for row in ordered], dtype=np.float64)
    columns = columns.reshape(len(ordered), 5)
    return Candles(
        venue=Venue.BINANCE,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=np.array(sorted(kept), dtype=np.int64),
        open=columns[:, 0].copy(),
        high=columns[:, 1].copy(),
        low=columns[:, 2].copy(),
        close=columns[:, 3].copy(),
        volume=columns[:, 4].copy(),
    )


def funding_rates(rows: Sequence[Message], *, symbol: str) -> FundingRates:
    """Read rows of fundingRate; older ones have no mark price, which becomes NaN."""
    ordered = sorted(rows, key=lambda row: whole(row, "fundingTime"))
    return FundingRates(
        venue=Venue.BINANCE,
        symbol=symbol,
        ts_ms=np.array([whole(row, "fundingTime") for row in ordered], dtype=np.int64),
        rate=np.array([float(number(row, "fundingRate")) for row in ordered], dtype=np.float64),
        mark_price=np.array(
            [float(positive(row, "markPrice") or "nan") for row in ordered], dtype=np.float64
        ),
    )


def open_interest(rows: Sequence[Message], *, symbol: str, timeframe: Timeframe) -> OpenInterest:
    """Read rows of openInterestHist."""
    ordered = sorted(rows, key=lambda row: whole(row, "timestamp"))
    return OpenInterest(
        venue=Venue.BINANCE,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=np.array([whole(row, "timestamp") for row in ordered], dtype=np.int64),
        open_interest=np.array(
            [float(number(row, "sumOpenInterest")) for row in ordered], dtype=np.float64
        ),
    )


def trades(rows: Sequence[Message], *, symbol: str) -> Trades:
    """Read rows of aggTrades."""
    by_id = {whole(row, "a"): row for row in rows}
    ordered = sorted(by_id.values(), key=lambda row: (whole(row, "T"), whole(row, "a")))
    return Trades(
        venue=Venue.BINANCE,
        symbol=symbol,
        ts_ms=np.array([whole(row, "T") for row in ordered], dtype=np.int64),
        trade_id=np.array([whole(row, "a") for row in ordered], dtype=np.int64),
        price=np.array([float(row["p"]) for row in ordered], dtype=np.float64),
        quantity=np.array([float(row["q"]) for row in ordered], dtype=np.float64),
        is_buyer_maker=np.array([flag(row, "m") for row in ordered], dtype=np.bool_),
    )


# Reference.


def trading_symbols(exchange_info: Message) -> tuple[str, ...]:
    """Return the linear USDT perpetuals that trade now."""
    return tuple(
        str(one["symbol"])
        for one in required(exchange_info, "symbols")
        if one.get("contractType") == "PERPETUAL"
        and one.get("status") == "TRADING"
        and one.get("quoteAsset") == "USDT"
        and one.get("marginAsset") == "USDT"
    )


def symbols_of(exchange_info: Message) -> tuple[str, ...]:
    """Return every symbol that is listed, whatever its state."""
    return tuple(str(one["symbol"]) for one in required(exchange_info, "symbols"))


def listed_ms(exchange_info: Message, symbol: str) -> int | None:
    """Return when a symbol was listed, None where it is not known."""
    for one in required(exchange_info, "symbols"):
        if one.get("symbol") == symbol:
            return whole(one, "onboardDate")
    return None


def server_time_ms(message: Message) -> int:
    """Read the answer of time."""
    return whole(message, "serverTime")
