"""Market messages, by REST and by topic, turned into domain objects. Pure.

Source: reference/exchanges.md 3b.1 and 4.2.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
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
from perpdesk.domain.errors import UsageRefused
from perpdesk.domain.order import Side
from perpdesk.domain.streams import (
    CandleUpdated,
    Level,
    MarkChanged,
    StreamKind,
    Subscription,
    TradeOccurred,
)
from perpdesk.venues.bybit.fields import (
    SIDES,
    MalformedMessage,
    Message,
    decimal_of,
    number,
    optional,
    positive,
    rows,
    text,
    whole,
    word,
)

INTERVALS: Final = {
    "1m": "1",
    "3m": "3",
    "5m": "5",
    "15m": "15",
    "30m": "30",
    "1h": "60",
    "2h": "120",
    "4h": "240",
    "6h": "360",
    "12h": "720",
    "1d": "D",
    "1w": "W",
    "1M": "M",
}
TIMEFRAMES: Final = {code: Timeframe.parse(name) for name, code in INTERVALS.items()}
OPEN_INTEREST_INTERVALS: Final = {
    "5m": "5min",
    "15m": "15min",
    "30m": "30min",
    "1h": "1h",
    "4h": "4h",
    "1d": "1d",
}
BOOK_DEPTHS: Final = (1, 50, 200, 1000)
_KLINE_FIELDS: Final = 5


def interval_of(timeframe: Timeframe) -> str:
    """Return Bybit's word for a candle length. Raises UsageRefused where it has none."""
    return _known(INTERVALS, timeframe, "candles")


def open_interest_interval(timeframe: Timeframe) -> str:
    """Return Bybit's word for a period of open interest. Raises UsageRefused where it has none."""
    return _known(OPEN_INTEREST_INTERVALS, timeframe, "open interest")


def _known(table: Mapping[str, str], timeframe: Timeframe, what: str) -> str:
    try:
        return table[timeframe.name]
    except KeyError:
        raise UsageRefused(
            f"Bybit has no {what} of {timeframe}",
            next_step=f"Use one of {', '.join(table)}.",
        ) from None


def topic_of(subscription: Subscription) -> str:
    """Return the topic that carries a subscription."""
    symbol = subscription.symbol
    match subscription.kind:
        case StreamKind.CANDLES:
            if subscription.timeframe is None:
                raise UsageRefused("a subscription to candles needs a timeframe, such as 1m")
            return f"kline.{interval_of(subscription.timeframe)}.{symbol}"
        case StreamKind.TRADES:
            return f"publicTrade.{symbol}"
        case StreamKind.QUOTES:
            return f"orderbook.1.{symbol}"
        case StreamKind.DEPTH:
            return f"orderbook.{book_depth(subscription.levels)}.{symbol}"
        case StreamKind.MARK:
            return f"tickers.{symbol}"


def book_depth(levels: int) -> int:
    """Return the smallest depth topic, beyond the best price, that holds so many levels."""
    for depth in BOOK_DEPTHS[1:]:
        if levels <= depth:
            return depth
    raise UsageRefused(
        f"Bybit has no order book of {levels} levels",
        next_step=f"Ask for at most {BOOK_DEPTHS[-1]}.",
    )


# Topics.


def candle_updates(message: Message, ts_init_ms: int) -> tuple[CandleUpdated, ...]:
    """Return the candles of a `kline.{interval}.{symbol}` message."""
    _, interval, symbol = str(message["topic"]).split(".")
    return tuple(
        CandleUpdated(
            symbol=symbol,
            timeframe=_timeframe(interval),
            ts_ms=whole(row, "start"),
            open=float(number(row, "open")),
            high=float(number(row, "high")),
            low=float(number(row, "low")),
            close=float(number(row, "close")),
            volume=float(number(row, "volume")),
            is_closed=bool(row["confirm"]),
            ts_event_ms=whole(row, "timestamp"),
            ts_init_ms=ts_init_ms,
        )
        for row in rows(message, "data")
    )


def _timeframe(interval: str) -> Timeframe:
    try:
        return TIMEFRAMES[interval]
    except KeyError:
        raise MalformedMessage("interval", interval) from None


def trades_occurred(message: Message, ts_init_ms: int) -> tuple[TradeOccurred, ...]:
    """Return the trades of a `publicTrade.{symbol}` message."""
    return tuple(
        TradeOccurred(
            symbol=text(row, "s"),
            trade_id=text(row, "i"),
            price=number(row, "p"),
            quantity=number(row, "v"),
            taker_side=word(SIDES, row, "S"),
            ts_event_ms=whole(row, "T"),
            ts_init_ms=ts_init_ms,
        )
        for row in rows(message, "data")
    )


def recent_trades(answer: Message, ts_init_ms: int) -> tuple[TradeOccurred, ...]:
    """Return the trades of recent-trade, oldest first."""
    found = [
        TradeOccurred(
            symbol=text(row, "symbol"),
            trade_id=text(row, "execId"),
            price=number(row, "price"),
            quantity=number(row, "size"),
            taker_side=word(SIDES, row, "side"),
            ts_event_ms=whole(row, "time"),
            ts_init_ms=ts_init_ms,
        )
        for row in rows(answer["result"])
    ]
    # Newest first as received; a stable sort keeps the venue's order within one millisecond.
    return tuple(sorted(reversed(found), key=lambda trade: trade.ts_event_ms))


def levels(side: Iterable[Sequence[Any]]) -> list[Level]:
    """Return one side of a book message; quantity zero deletes a level."""
    return [(decimal_of("price", one[0]), decimal_of("size", one[1])) for one in side]


def book_symbol(message: Message) -> str:
    """Return whose book a message carries."""
    return text(message["data"], "s")


def merged_ticker(known: Mapping[str, Any], message: Message) -> dict[str, Any]:
    """Return the ticker after a message: a snapshot replaces it, a delta names what changed."""
    data = message["data"]
    return dict(data) if message.get("type") == "snapshot" else {**known, **data}


def mark_changed(
    ticker: Mapping[str, Any], *, ts_event_ms: int, ts_init_ms: int
) -> MarkChanged | None:
    """Return what a ticker says of mark and funding; None where it says no mark price yet."""
    mark = positive(ticker, "markPrice")
    if mark is None:
        return None
    due = positive(ticker, "nextFundingTime")
    return MarkChanged(
        symbol=text(ticker, "symbol"),
        mark_price=mark,
        index_price=positive(ticker, "indexPrice"),
        funding_rate=optional(ticker, "fundingRate"),
        next_funding_ms=int(due) if due is not None else None,
        ts_event_ms=ts_event_ms,
        ts_init_ms=ts_init_ms,
    )


# History, as columns.


def candles_of(
    answer: Message, symbol: str, timeframe: Timeframe, *, start_ms: int, end_ms: int
) -> Candles:
    """Return the closed candles of a kline answer with start_ms <= open time < end_ms, ascending.

    Answers come newest first and hold the unfinished candle: what is not closed by the answer's
    own time is left out. Mark prices have five fields; their volume is zero.
    """
    server_ms = whole(answer, "time")
    kept = [
        row
        for row in rows(answer["result"])
        if start_ms <= int(row[0]) < end_ms and timeframe.close_ms(int(row[0])) <= server_ms
    ]
    kept.sort(key=lambda row: int(row[0]))

    def column(place: int) -> Any:
        return np.array([float(row[place]) for row in kept], np.float64)

    marks = bool(kept) and len(kept[0]) <= _KLINE_FIELDS
    return Candles(
        venue=Venue.BYBIT,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=np.array([int(row[0]) for row in kept], np.int64),
        open=column(1),
        high=column(2),
        low=column(3),
        close=column(4),
        volume=np.zeros(len(kept)) if marks else column(_KLINE_FIELDS),
    )


def funding_of(found: Iterable[Message], symbol: str) -> FundingRates:
    """Return settlements of funding/history rows, ascending; they come without a mark price."""
    by_time = {whole(row, "fundingRateTimestamp"): number(row, "fundingRate") for row in found}
    times = sorted(by_time)
    return FundingRates(
        venue=Venue.BYBIT,
        symbol=symbol,
        ts_ms=np.array(times, np.int64),
        rate=np.array([float(by_time[ts]) for ts in times], np.float64),
        mark_price=np.full(len(times), np.nan),
    )


def open_interest_of(found: Iterable[Message], symbol: str, timeframe: Timeframe) -> OpenInterest:
    """Return open interest rows, ascending."""
    by_time = {whole(row, "timestamp"): number(row, "openInterest") for row in found}
    times = sorted(by_time)
    return OpenInterest(
        venue=Venue.BYBIT,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=np.array(times, np.int64),
        open_interest=np.array([float(by_time[ts]) for ts in times], np.float64),
    )


def trades_of(found: Sequence[TradeOccurred], symbol: str) -> Trades:
    """Return trades as columns, in the order given."""
    return Trades(
        venue=Venue.BYBIT,
        symbol=symbol,
        ts_ms=np.array([one.ts_event_ms for one in found], np.int64),
        trade_id=np.array([trade_number(one.trade_id) for one in found], np.int64),
        price=np.array([float(one.price) for one in found], np.float64),
        quantity=np.array([float(one.quantity) for one in found], np.float64),
        is_buyer_maker=np.array([one.taker_side is Side.SELL for one in found], np.bool_),
    )


def trade_number(trade_id: str) -> int:
    """Return a trade id as a whole number: v5 names linear trades by UUID, columns hold int64."""
    if trade_id.isdigit() and int(trade_id) < 2**63:
        return int(trade_id)
    return int.from_bytes(hashlib.sha256(trade_id.encode()).digest()[:8]) >> 1
