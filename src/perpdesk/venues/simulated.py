"""`SimulatedVenue`: the simulated exchange behind the port of a real one.

It is fed with bars by `advance`, and tells what happened as a venue does: by reports, and by the
feed of the account. Time is the exchange's: the close of the last bar. An order at market fills at
the open of the next bar.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import OutcomeUnknown, UsageRefused, VenueRejected
from perpdesk.domain.events import (
    AmendOrder,
    BarClosed,
    BarsClosed,
    CancelAllOrders,
    CancelOrder,
    Command,
    CommandRejected,
    Event,
    FundingSettled,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
    OrderFilled,
    OrderRejected,
    SetLeverage,
    SetMarginMode,
    SubmitOrder,
)
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderRequest
from perpdesk.domain.order_rules import Rule, refusal
from perpdesk.domain.ports import Feed, NeverArrived
from perpdesk.domain.streams import (
    AccountSynchronized,
    CandleUpdated,
    MarkChanged,
    StreamEvent,
    StreamKind,
    Subscription,
)
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
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.state import SymbolState
from perpdesk.venues.feed import BoundedFeed
from perpdesk.venues.simulated_records import Records

_TOUCHES_POSITION = (
    OrderFilled,
    FundingSettled,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
)


class SimulatedVenue:
    """Implements `domain.ports.TradingVenue` and `domain.ports.Streams` over one Exchange.

    Nobody else may drive the exchange. `market` brings the bars themselves, as closed candles and
    marks; bars have no trades, quotes and depth.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        instrument = next(iter(exchange.symbols.values())).instrument
        self._venue = instrument.venue
        self._records = Records(instrument.quote)
        self._accounts: list[BoundedFeed] = []
        self._markets: list[tuple[BoundedFeed, tuple[Subscription, ...]]] = []

    @property
    def venue(self) -> Venue:
        """Return whose rules the exchange simulates."""
        return self._venue

    @property
    def now_ms(self) -> int:
        """Return the exchange's time."""
        return self.exchange.now_ms

    # The market.

    def advance(self, bars: BarClosed | BarsClosed) -> list[Event]:
        """Let the exchange live through bars, and tell everybody; return what happened.

        A tick is a bar whose four prices are one.
        """
        events = self._process(bars)
        for bar in bars.bars if isinstance(bars, BarsClosed) else (bars,):
            for feed, subscriptions in self._markets:
                for each in subscriptions:
                    if each.symbol == bar.symbol and _fits(each, bar):
                        feed.put(_update(each, bar))
        return events

    def _process(self, item: Command | BarClosed | BarsClosed) -> list[Event]:
        cash = self.exchange.ledger.cash
        events = self.exchange.process(item)
        news: list[StreamEvent] = []
        touched: dict[str, None] = {}
        for event in events:
            if isinstance(item, SubmitOrder) and isinstance(event, OrderRejected):
                continue  # Refused at the door: there never was such an order.
            news += self._records.take(event)
            if isinstance(event, _TOUCHES_POSITION):
                touched[event.symbol] = None
        news += [self._position(self.exchange.symbols[symbol]) for symbol in touched]
        if self.exchange.ledger.cash != cash:
            news.append(self._balance())
        for feed in self._accounts:
            for each in news:
                feed.put(each)
        return events

    # Orders.

    async def place(self, request: OrderRequest) -> OrderReport:
        """Place one order; a bracket's legs are orders of their own here (see brackets.py)."""
        self._command(SubmitOrder(request=request))
        return self._records.orders[request.client_order_id]

    async def place_batch(
        self, requests: Sequence[OrderRequest]
    ) -> tuple[OrderReport | VenueRejected | OutcomeUnknown, ...]:
        """Place several, each by its own fate."""
        fates: list[OrderReport | VenueRejected | OutcomeUnknown] = []
        for request in requests:
            try:
                fates.append(await self.place(request))
            except VenueRejected as refused:
                fates.append(refused)
        return tuple(fates)

    async def amend(self, symbol: str, change: AmendOrder) -> OrderReport:
        """Change a resting order."""
        self._check_symbol_of(symbol, change.client_order_id)
        self._command(change)
        return self._records.orders[change.client_order_id]

    async def cancel(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport:
        """Cancel one order."""
        self._check_symbol_of(symbol, client_order_id)
        self._command(CancelOrder(client_order_id=client_order_id))
        return self._records.orders[client_order_id]

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every order of a symbol."""
        self._state(symbol)
        self._command(CancelAllOrders(symbol=symbol))

    async def find(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport | None:
        """Return an order as it stands; None is certain here."""
        report = self._records.orders.get(client_order_id)
        return report if report is not None and report.symbol == symbol else None

    async def resolve(
        self, symbol: str, client_order_id: ClientOrderId, *, sent_ms: int
    ) -> OrderReport | NeverArrived:
        """Return what became of an order: nothing is ever under way to a simulated exchange."""
        report = await self.find(symbol, client_order_id)
        return NeverArrived(client_order_id=client_order_id) if report is None else report

    # The account.

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Return working orders."""
        return tuple(
            report
            for report in self._records.orders.values()
            if report.status.is_open and symbol in (None, report.symbol)
        )

    async def positions(self) -> tuple[PositionReport, ...]:
        """Return open positions."""
        states = self.exchange.symbols.values()
        return tuple(self._position(state) for state in states if state.signed_quantity)

    async def balances(self) -> tuple[BalanceReport, ...]:
        """Return the one balance."""
        return (self._balance(),)

    async def fills(self, symbol: str, since_ms: int) -> tuple[FillReport, ...]:
        """Return our trades of a symbol, ascending."""
        self._state(symbol)
        return tuple(
            fill
            for fill in self._records.fills
            if fill.symbol == symbol and fill.ts_event_ms >= since_ms
        )

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Return the ledger from `since_ms` on."""
        return self._records.income(self.exchange.ledger.entries, since_ms)

    async def settings(self, symbol: str) -> AccountSettings:
        """Return leverage and margin mode; positions are one-way."""
        state = self._state(symbol)
        return AccountSettings(
            symbol=symbol,
            leverage=state.leverage,
            margin_mode=state.margin_mode,
            position_mode=PositionMode.ONE_WAY,
        )

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage."""
        if self._state(symbol).leverage != leverage:
            self._command(SetLeverage(symbol=symbol, leverage=leverage))

    async def set_margin_mode(self, symbol: str, mode: MarginMode) -> None:
        """Set isolated or cross."""
        if self._state(symbol).margin_mode is not mode:
            self._command(SetMarginMode(symbol=symbol, margin_mode=mode))

    async def set_position_mode(self, mode: PositionMode) -> None:
        """Accept one-way; the simulated exchange knows no other."""
        if mode is not PositionMode.ONE_WAY:
            raise VenueRejected(
                "the simulated exchange nets positions: hedge mode does not exist here",
                next_step="Trade in one-way mode.",
            )

    async def permissions(self) -> KeyPermissions:
        """Return what a good key may do."""
        return KeyPermissions(
            can_read=True,
            can_trade=True,
            can_withdraw=False,
            can_transfer=False,
            ip_restricted=True,
        )

    # Streams.

    @asynccontextmanager
    async def account(self) -> AsyncIterator[Feed]:
        """Open the feed of the account; it begins with all that is known."""
        feed = BoundedFeed()
        feed.put(
            AccountSynchronized(
                orders=await self.open_orders(),
                positions=await self.positions(),
                balances=await self.balances(),
                fills=tuple(self._records.fills),
                ts_init_ms=self.now_ms,
            )
        )
        self._accounts.append(feed)
        try:
            yield feed
        finally:
            self._accounts.remove(feed)
            feed.close()

    @asynccontextmanager
    async def market(self, subscriptions: Sequence[Subscription]) -> AsyncIterator[Feed]:
        """Open a feed of the bars that the exchange is fed with."""
        for each in subscriptions:
            self._state(each.symbol)
            if each.kind is StreamKind.CANDLES and each.timeframe is None:
                raise UsageRefused("candles need a timeframe", next_step="Name one, such as 1m.")
            if each.kind not in (StreamKind.CANDLES, StreamKind.MARK):
                raise UsageRefused(
                    f"the simulated exchange lives on bars and has no {each.kind.value}",
                    next_step="Subscribe to candles or mark, or to a venue's own data.",
                )
        entry = (BoundedFeed(), tuple(subscriptions))
        self._markets.append(entry)
        try:
            yield entry[0]
        finally:
            self._markets.remove(entry)
            entry[0].close()

    # Inside.

    def _command(self, command: Command) -> None:
        """Carry out a command; a refusal is raised in the venue's terms."""
        for event in self._process(command):
            if isinstance(event, OrderRejected | CommandRejected):
                raise VenueRejected(event.reason, code=event.code)

    def _state(self, symbol: str) -> SymbolState:
        state = self.exchange.symbols.get(symbol)
        if state is None:
            known = ", ".join(self.exchange.symbols)
            words = f"symbol {symbol} is not traded here; {known} are"
            raise _refused(self._venue, Rule.UNKNOWN_SYMBOL, words)
        return state

    def _check_symbol_of(self, symbol: str, client_order_id: ClientOrderId) -> None:
        self._state(symbol)
        report = self._records.orders.get(client_order_id)
        if report is not None and report.symbol != symbol:
            words = f"order {client_order_id} is not one of {symbol}"
            raise _refused(self._venue, Rule.UNKNOWN_ORDER, words)

    def _position(self, state: SymbolState) -> PositionReport:
        position = self.exchange.position(state.symbol)
        isolated = state.margin_mode is MarginMode.ISOLATED
        return PositionReport(
            symbol=state.symbol,
            signed_quantity=position.signed_quantity,
            entry_price=position.average_entry_price,
            mark_price=state.mark_price or None,
            unrealized_pnl=self.exchange.accounting.margin_of(state).unrealized,
            leverage=state.leverage,
            margin_mode=state.margin_mode,
            isolated_margin=position.isolated_margin if isolated else None,
            liquidation_price=self.exchange.liquidation_price(state.symbol),
            ts_event_ms=self.now_ms,
        )

    def _balance(self) -> BalanceReport:
        return BalanceReport(
            asset=self._records.asset,
            wallet=self.exchange.ledger.cash,
            available=max(ZERO, self.exchange.accounting.free_for_orders()),
            ts_event_ms=self.now_ms,
        )


def _refused(venue: Venue, rule: Rule, words: str) -> VenueRejected:
    fault = refusal(venue, rule, words)
    return VenueRejected(fault.reason, code=fault.code)


def _fits(subscription: Subscription, bar: BarClosed) -> bool:
    """Tell whether the bar is a candle of the subscribed length; a mark has none."""
    timeframe = subscription.timeframe
    return subscription.kind is StreamKind.MARK or (
        timeframe is not None and timeframe.duration_ms == bar.close_ms - bar.ts_ms
    )


def _update(subscription: Subscription, bar: BarClosed) -> CandleUpdated | MarkChanged:
    """Return what a bar is to a subscriber: a closed candle, or the mark at its close."""
    if subscription.kind is StreamKind.MARK:
        return MarkChanged(
            symbol=bar.symbol,
            mark_price=bar.mark.close,
            index_price=None,
            funding_rate=bar.funding[-1].rate if bar.funding else None,
            next_funding_ms=None,
            ts_event_ms=bar.close_ms,
            ts_init_ms=bar.close_ms,
        )
    assert subscription.timeframe is not None
    return CandleUpdated(
        symbol=bar.symbol,
        timeframe=subscription.timeframe,
        ts_ms=bar.ts_ms,
        open=float(bar.last.open),
        high=float(bar.last.high),
        low=float(bar.last.low),
        close=float(bar.last.close),
        volume=float(bar.volume),
        is_closed=True,
        ts_event_ms=bar.close_ms,
        ts_init_ms=bar.close_ms,
    )
