"""What a venue pushes while it is open: market facts, account facts, and the state of the pipe.

ts_event_ms: at the venue. ts_init_ms: when it was received here, on the same clock as the venue's
(local time plus the measured offset).
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from perpdesk.domain.candles import Timeframe
from perpdesk.domain.order import Side
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillReport,
    OrderReport,
    PositionReport,
)


class StreamKind(StrEnum):
    """What can be subscribed to."""

    CANDLES = "candles"
    TRADES = "trades"
    QUOTES = "quotes"
    DEPTH = "depth"
    MARK = "mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One stream of one symbol. timeframe: of candles. levels: of depth, per side."""

    kind: StreamKind
    symbol: str
    timeframe: Timeframe | None = None
    levels: int = 50


# Market.


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleUpdated:
    """A candle as it stands; `is_closed` on its last update only. volume: base."""

    symbol: str
    timeframe: Timeframe
    ts_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_closed: bool
    ts_event_ms: int
    ts_init_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOccurred:
    """A public trade (on Binance: an aggregated one). taker_side: who took from the book."""

    symbol: str
    trade_id: str
    price: Decimal
    quantity: Decimal
    taker_side: Side
    ts_event_ms: int
    ts_init_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteChanged:
    """Best bid and ask. update_id: rises within a symbol."""

    symbol: str
    bid_price: Decimal
    bid_quantity: Decimal
    ask_price: Decimal
    ask_quantity: Decimal
    update_id: int
    ts_event_ms: int
    ts_init_ms: int


Level = tuple[Decimal, Decimal]
"""Price and quantity (base)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthChanged:
    """The book as it stands, best first, at most the subscribed levels per side."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    update_id: int
    ts_event_ms: int
    ts_init_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkChanged:
    """Mark price, and what the next funding is going to be. funding_rate: fraction, an estimate
    until `next_funding_ms`. Fields that the venue left out of a message keep their last value."""

    symbol: str
    mark_price: Decimal
    index_price: Decimal | None
    funding_rate: Decimal | None
    next_funding_ms: int | None
    ts_event_ms: int
    ts_init_ms: int


MarketUpdate = CandleUpdated | TradeOccurred | QuoteChanged | DepthChanged | MarkChanged


# The pipe itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLost:
    """A stream is stale or cut: nothing it carries is up to date. No new entries from here on."""

    stream: str
    reason: str
    ts_init_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRestored:
    """A stream is whole again: what was missed has been delivered before this event."""

    stream: str
    ts_init_ms: int


PipeUpdate = StreamLost | StreamRestored

# Account.


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSynchronized:
    """What REST says after a (re)connect; it replaces what was known.

    orders: open ones of both namespaces. fills: since the last known one, overlapping.
    """

    orders: tuple[OrderReport, ...]
    positions: tuple[PositionReport, ...]
    balances: tuple[BalanceReport, ...]
    fills: tuple[FillReport, ...]
    ts_init_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPaid:
    """Funding moved a balance. amount: quote, negative when paid."""

    symbol: str
    amount: Decimal
    asset: str
    ts_event_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginCalled:
    """The venue warns that a position is close to liquidation. It may never say so."""

    symbol: str
    ts_event_ms: int


AccountUpdate = (
    OrderReport
    | FillReport
    | PositionReport
    | BalanceReport
    | FundingPaid
    | MarginCalled
    | AccountSynchronized
)

StreamEvent = MarketUpdate | AccountUpdate | PipeUpdate
