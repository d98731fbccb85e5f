"""What the desk asks of the world. Adapters implement it, the desk never asks which one it has.

All calls raise by what the caller must do: `VenueRejected` (final, with the venue's own code),
`VenueUnavailable` (wait, then try again; nothing was done), and, for calls that change something,
`OutcomeUnknown` (it may have worked: `resolve`, never send again).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import (
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Trades,
    Venue,
)
from perpdesk.domain.errors import OutcomeUnknown, VenueRejected
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.order import ClientOrderId, OrderRequest
from perpdesk.domain.streams import StreamEvent, Subscription
from perpdesk.domain.venue_reports import (
    AccountSettings,
    BalanceReport,
    FillReport,
    IncomeReport,
    KeyPermissions,
    OrderReport,
    PositionMode,
    PositionReport,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceAnswer:
    """A venue's own words about its instruments, as received; `marketdata` reads and keeps them.

    name: what was asked, such as "exchangeInfo" or "risk-limit". observed_ms: venue time.
    """

    name: str
    answer: object
    observed_ms: int


class ReferenceSource(Protocol):
    """Instruments, margin tiers and fee rates as they are now."""

    @property
    def venue(self) -> Venue:
        """Return whose rules these are."""
        ...

    async def symbols(self) -> tuple[str, ...]:
        """Return the linear USDT perpetuals that trade now."""
        ...

    async def reference(self, symbols: Sequence[str]) -> tuple[ReferenceAnswer, ...]:
        """Return rules and, where a key allows it, tiers and fee rates of the symbols."""
        ...


class HistorySource(Protocol):
    """Recorded market data, a window at a time; rows with start_ms <= time < end_ms, ascending.

    Candles that are not closed by the venue's own clock are left out. A window may hold at most
    `page_rows(kind)` rows, so that one window is one request.
    """

    @property
    def venue(self) -> Venue:
        """Return whose history this is."""
        ...

    def page_rows(self, kind: DataKind) -> int:
        """Return how many rows one request can bring."""
        ...

    async def first_ms(self, symbol: str) -> int:
        """Return when the symbol was listed. Raises VenueRejected for an unknown symbol."""
        ...

    async def now_ms(self) -> int:
        """Return the venue's clock."""
        ...

    async def candles(
        self, symbol: str, timeframe: Timeframe, kind: DataKind, start_ms: int, end_ms: int
    ) -> Candles:
        """Return closed candles of last price (CANDLES) or mark price (MARK)."""
        ...

    async def funding(self, symbol: str, start_ms: int, end_ms: int) -> FundingRates:
        """Return settlements."""
        ...

    async def open_interest(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int
    ) -> OpenInterest:
        """Return open interest at the period's grid."""
        ...

    async def trades(self, symbol: str, start_ms: int, end_ms: int) -> Trades:
        """Return (aggregated) trades, as far back as the venue keeps them."""
        ...


class Feed(Protocol):
    """Events in order; a slow reader loses superseded updates of market state, never a fact.

    Coalesced: quotes, depth, mark and unfinished candles of one stream. Never: trades in order,
    closed candles, account updates and the state of the pipe.
    """

    def __aiter__(self) -> AsyncIterator[StreamEvent]: ...

    @property
    def coalesced(self) -> int:
        """Return how many updates gave way to newer ones."""
        ...


class Streams(Protocol):
    """Live data. Feeds heal themselves and say so by StreamLost and StreamRestored."""

    def market(self, subscriptions: Sequence[Subscription]) -> AbstractAsyncContextManager[Feed]:
        """Open a feed of market data."""
        ...

    def account(self) -> AbstractAsyncContextManager[Feed]:
        """Open the feed of the account; it begins with an AccountSynchronized."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverArrived:
    """The venue does not know the order, and cannot come to know it any more.

    Said only after two readings beyond the send time + recvWindow + margin. A new attempt takes a
    new client id.
    """

    client_order_id: ClientOrderId


class TradingVenue(Protocol):
    """Orders and the account. Client ids are ours and reach the venue unchanged."""

    @property
    def venue(self) -> Venue:
        """Return where orders go."""
        ...

    async def place(self, request: OrderRequest) -> OrderReport:
        """Place one order. Raises OutcomeUnknown where it may have been accepted."""
        ...

    async def place_batch(
        self, requests: Sequence[OrderRequest]
    ) -> tuple[OrderReport | VenueRejected | OutcomeUnknown, ...]:
        """Place several, each by its own fate, in their order."""
        ...

    async def amend(self, symbol: str, change: AmendOrder) -> OrderReport:
        """Change a resting limit order; None leaves a field as it is."""
        ...

    async def cancel(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport:
        """Cancel one order, conditional or not. Raises VenueRejected where it is not open."""
        ...

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every order of a symbol, conditional ones too."""
        ...

    async def find(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport | None:
        """Return what the venue knows of an order: one reading; None proves no absence yet."""
        ...

    async def resolve(
        self, symbol: str, client_order_id: ClientOrderId, *, sent_ms: int
    ) -> OrderReport | NeverArrived:
        """Ask until it is certain what became of an order that was sent at `sent_ms`.

        sent_ms: venue time, the latest at which it may have been sent; after a restart that is the
        moment of the restart, not of the row that was written before sending.
        """
        ...

    # The account.

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Return working orders of every namespace."""
        ...

    async def positions(self) -> tuple[PositionReport, ...]:
        """Return open positions."""
        ...

    async def balances(self) -> tuple[BalanceReport, ...]:
        """Return the money of the account."""
        ...

    async def fills(self, symbol: str, since_ms: int) -> tuple[FillReport, ...]:
        """Return our trades of a symbol from `since_ms` on, ascending."""
        ...

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Return the venue's ledger from `since_ms` on, ascending."""
        ...

    async def settings(self, symbol: str) -> AccountSettings:
        """Return leverage, margin mode and position mode as the venue has them."""
        ...

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage; that it was so already is success."""
        ...

    async def set_margin_mode(self, symbol: str, mode: MarginMode) -> None:
        """Set isolated or cross; that it was so already is success."""
        ...

    async def set_position_mode(self, mode: PositionMode) -> None:
        """Set one-way or hedge mode; that it was so already is success."""
        ...

    async def permissions(self) -> KeyPermissions:
        """Return what the key may do."""
        ...
