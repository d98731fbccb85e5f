"""Accounts: keys, a simulated exchange each, and the ids their clients know things by."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from perpdesk.domain.account import LedgerKind, MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    AddIsolatedMargin,
    AmendOrder,
    BarClosed,
    BarsClosed,
    CancelOrder,
    Command,
    CommandRejected,
    Event,
    Ohlc,
    SetLeverage,
    SetMarginMode,
    SubmitOrder,
)
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderStatus, Side
from perpdesk.domain.order_rules import Rule, refusal
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.bookkeeping import Records
from perpdesk.emulator.market import Market, MarketStep
from perpdesk.emulator.records import AccountChange, FillRecord, IncomeRecord, OrderRecord
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings

UNLIMITED: Final = Decimal(10) ** 12
CLOSED_SYMBOL: Final = {Venue.BINANCE: "-4141", Venue.BYBIT: "110074"}
"""What a venue says to an order for a symbol that does not trade."""


class Refused(Exception):
    """The exchange said no. code: the venue's own; reason: in words."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


@dataclass(slots=True, kw_only=True)
class ApiKey:
    """A key of an account. allowed_ips: empty allows all. expires_ms: virtual time."""

    key: str
    secret: str
    can_trade: bool = True
    can_withdraw: bool = False
    can_transfer: bool = False
    allowed_ips: frozenset[str] = frozenset()
    expires_ms: int | None = None


@dataclass(slots=True, kw_only=True)
class FillTerms:
    """How eagerly the market fills: what one stretch of time offers. None: everything."""

    share_of_order: Decimal | None = None


class Account:
    """One account on one venue. listeners: told of every change, in order."""

    def __init__(
        self,
        account_id: str,
        venue: Venue,
        markets: Mapping[str, Market],
        *,
        capital: Decimal,
        now_ms: int,
    ) -> None:
        self.account_id = account_id
        self.venue = venue
        self.markets = markets
        self.position_mode = PositionMode.ONE_WAY
        self.fill_terms = FillTerms()
        self.listeners: list[Callable[[AccountChange], None]] = []
        instruments: dict[str, Instrument] = {name: m.instrument for name, m in markets.items()}
        self.exchange = Exchange(
            instruments,
            ExchangeSettings(
                initial_capital=capital,
                leverage=Decimal(20) if venue is Venue.BINANCE else Decimal(10),
                margin_mode=MarginMode.CROSS,
                max_volume_share=Decimal(1),
            ),
        )
        self.records = Records(venue, self.exchange.ledger)
        self._feed_first_prices(now_ms)

    @property
    def orders(self) -> dict[int, OrderRecord]:
        """Return orders by the venue's id, in order of acceptance."""
        return self.records.orders

    @property
    def fills(self) -> deque[FillRecord]:
        """Return the account's trades, oldest first."""
        return self.records.fills

    @property
    def income(self) -> deque[IncomeRecord]:
        """Return the changes of cash, oldest first."""
        return self.records.income

    # Time.

    def step(self, steps: list[MarketStep]) -> None:
        """Live through a stretch of time: every market's step, each once."""
        bars = []
        for step in steps:
            if self._is_quiet(step):
                self.exchange.skip_to(
                    step.symbol,
                    step.end_ms,
                    last_price=step.last.close,
                    mark_price=step.mark.close,
                )
            else:
                bars.append(self._bar(step))
        if bars:
            self._apply(self.exchange.process(BarsClosed(bars=tuple(bars))))

    def _is_quiet(self, step: MarketStep) -> bool:
        state = self.exchange.symbols[step.symbol]
        if not state.orders and not state.signed_quantity:
            return True
        if step.funding and state.signed_quantity:
            return False
        guard = self.exchange.guard(step.symbol)
        if guard is None or (guard.expire_ms is not None and guard.expire_ms <= step.end_ms):
            return False
        return (
            (guard.last_low is None or step.last.low > guard.last_low)
            and (guard.last_high is None or step.last.high < guard.last_high)
            and (guard.mark_low is None or step.mark.low > guard.mark_low)
            and (guard.mark_high is None or step.mark.high < guard.mark_high)
        )

    def _bar(self, step: MarketStep) -> BarClosed:
        return BarClosed(
            symbol=step.symbol,
            ts_ms=step.start_ms,
            close_ms=step.end_ms,
            last=step.last,
            mark=step.mark,
            volume=self._volume(step.symbol),
            funding=step.funding,
        )

    def _volume(self, symbol: str) -> Decimal:
        share = self.fill_terms.share_of_order
        working = [order for order in self._open_orders(symbol) if not order.is_waiting]
        if share is None or not working:
            return UNLIMITED
        step = self.markets[symbol].instrument.step_size
        return max(step, max(order.leaves for order in working) * share)

    def _feed_first_prices(self, now_ms: int) -> None:
        for market in self.markets.values():
            self._instant(market, market.last_price, now_ms)

    def _instant(self, market: Market, price: Decimal, now_ms: int) -> None:
        """Let the market stand at `price` for a millisecond, so that what can fill now does."""
        mark = market.mark_price
        bar = BarClosed(
            symbol=market.symbol,
            ts_ms=now_ms,
            close_ms=now_ms + 1,
            last=Ohlc(open=price, high=price, low=price, close=price),
            mark=Ohlc(open=mark, high=mark, low=mark, close=mark),
            volume=self._volume(market.symbol),
        )
        self._apply(self.exchange.process(bar))
        self.exchange.journal.ts_ms = now_ms  # The moment takes no time of the world's.
        self.exchange.symbols[market.symbol].last_price = market.last_price

    def force_liquidation(self, symbol: str, *, now_ms: int) -> None:
        """Let the mark jump through the liquidation price of a position for a millisecond.

        Raises Refused where there is no position that could be liquidated.
        """
        level = self.exchange.liquidation_price(symbol)
        if level is None:
            raise Refused("no-position", f"no position in {symbol} can be liquidated")
        market = self.markets[symbol]
        tick = market.instrument.tick_size
        long = self.exchange.position(symbol).signed_quantity > ZERO
        mark = max(tick, level - tick if long else level + tick)
        last = market.last_price
        bar = BarClosed(
            symbol=symbol,
            ts_ms=now_ms,
            close_ms=now_ms + 1,
            last=Ohlc(open=last, high=last, low=last, close=last),
            mark=Ohlc(open=mark, high=mark, low=mark, close=mark),
            volume=UNLIMITED,
        )
        self._apply(self.exchange.process(bar))
        self.exchange.symbols[symbol].mark_price = market.mark_price

    # Orders.

    def place(
        self,
        request: OrderRequest,
        *,
        now_ms: int,
        is_algo: bool = False,
        extra: dict[str, str] | None = None,
    ) -> OrderRecord:
        """Place an order; what can fill at once has filled when this returns.

        request.client_order_id: the client's words; Binance wants them unique among open orders of
        the namespace, Bybit for good. Raises Refused with the venue's code.
        """
        market = self.markets[request.symbol]
        if not market.is_open:
            raise Refused(CLOSED_SYMBOL[self.venue], f"{request.symbol} is closed for trading")
        client_id = str(request.client_order_id)
        known = self.records.by_client.get((is_algo, client_id))
        if known is not None and (self.venue is Venue.BYBIT or known.is_open):
            fault = refusal(self.venue, Rule.DUPLICATE_ID, f"id {client_id} is in use")
            raise Refused(fault.code, fault.reason)
        internal = ClientOrderId(f"i{self.records.take_number('internal')}")
        record = OrderRecord(
            order_id=self.records.take_number("order"),
            client_id=client_id,
            is_algo=is_algo,
            request=replace(request, client_order_id=internal),
            created_ms=now_ms,
            updated_ms=now_ms,
            quantity=ZERO if request.quantity is None else request.quantity,
            price=request.price,
            trigger_price=request.trigger_price,
            extra=extra or {},
        )
        self.records.by_internal[internal] = record
        self._command(SubmitOrder(request=record.request), now_ms)
        if record.status is OrderStatus.REJECTED:
            del self.records.by_internal[internal]
            raise Refused(record.reject_code, record.reason)
        if not request.type.is_conditional:
            book = market.book
            taken = book.best_ask if request.side is Side.BUY else book.best_bid
            self._instant(market, taken[0], now_ms)
        return record

    def cancel(self, record: OrderRecord, *, now_ms: int) -> None:
        """Cancel a working order. Raises Refused where it is not open."""
        self._command(CancelOrder(client_order_id=record.request.client_order_id), now_ms)

    def amend(
        self,
        record: OrderRecord,
        *,
        now_ms: int,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        trigger_price: Decimal | None = None,
    ) -> None:
        """Change a working order. Raises Refused."""
        self._command(
            AmendOrder(
                client_order_id=record.request.client_order_id,
                quantity=quantity,
                price=price,
                trigger_price=trigger_price,
            ),
            now_ms,
        )
        if record.is_open and not record.is_waiting:
            market = self.markets[record.symbol]
            best = market.book.best_ask if record.request.side is Side.BUY else market.book.best_bid
            self._instant(market, best[0], now_ms)

    def find(
        self, *, order_id: int | None = None, client_id: str | None = None, is_algo: bool = False
    ) -> OrderRecord | None:
        """Return the order of an id; by client id the latest one that bore it."""
        if order_id is not None:
            found = self.orders.get(order_id)
            return found if found is not None and found.is_algo == is_algo else None
        return self.records.by_client.get((is_algo, client_id or ""))

    def find_working(self, order_id: int) -> OrderRecord | None:
        """Return the conditional order that became the normal order of this id."""
        return next((each for each in self.orders.values() if each.working_id == order_id), None)

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        """Return what the exchange works, in order of acceptance."""
        return list(self._open_orders(symbol))

    def _open_orders(self, symbol: str | None) -> Iterator[OrderRecord]:
        for state in self.exchange.symbols.values():
            if symbol is None or state.symbol == symbol:
                for internal in state.orders:
                    record = self.records.by_internal.get(internal)
                    if record is not None:
                        yield record

    # Settings.

    def set_leverage(self, symbol: str, leverage: Decimal, *, now_ms: int) -> None:
        """Set the leverage. Raises Refused."""
        self._command(SetLeverage(symbol=symbol, leverage=leverage), now_ms)

    def set_margin_mode(self, symbol: str, mode: MarginMode, *, now_ms: int) -> None:
        """Set isolated or cross. Raises Refused."""
        self._command(SetMarginMode(symbol=symbol, margin_mode=mode), now_ms)

    def add_margin(self, symbol: str, amount: Decimal, *, now_ms: int) -> None:
        """Move quote to or from an isolated position. Raises Refused."""
        self._command(AddIsolatedMargin(symbol=symbol, amount=amount), now_ms)

    def deposit(self, amount: Decimal, *, now_ms: int) -> None:
        """Put money on the account, or take it off."""
        self.exchange.ledger.book(now_ms, LedgerKind.DEPOSIT, "", amount)
        self.records.add_income(now_ms, LedgerKind.DEPOSIT, "", amount)

    # Events.

    def _command(self, command: Command, now_ms: int) -> None:
        self.exchange.journal.ts_ms = max(self.exchange.journal.ts_ms, now_ms)
        events = self.exchange.process(command)
        self._apply(events)
        for event in events:
            if isinstance(event, CommandRejected):
                raise Refused(event.code, event.reason)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            change = self.records.apply(event)
            for listener in self.listeners:
                listener(change)


@dataclass(slots=True, kw_only=True)
class Accounts:
    """All accounts of one venue, and the keys that open them."""

    venue: Venue
    by_id: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, tuple[ApiKey, Account]] = field(default_factory=dict)

    def add(self, account: Account, *keys: ApiKey) -> None:
        """Add an account with its keys."""
        self.by_id[account.account_id] = account
        for key in keys:
            self.keys[key.key] = (key, account)
