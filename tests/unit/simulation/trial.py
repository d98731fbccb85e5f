"""A short way to say in a test what is ordered and how the market moves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from tests.unit.simulation.market import instrument_of

from perpdesk.domain.candles import MINUTE_MS, Venue
from perpdesk.domain.events import (
    BarClosed,
    BarsClosed,
    Command,
    Event,
    FundingSettlement,
    Ohlc,
    OrderFilled,
    SubmitBracket,
    SubmitOrder,
)
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderRequest, OrderType, Side
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings

Prices = tuple[float | str, float | str, float | str, float | str]
AnyEvent = TypeVar("AnyEvent")
BTC = "BTCUSDT"
BUY, SELL = Side.BUY, Side.SELL


def request_of(
    client_order_id: str,
    side: Side,
    quantity: str | None = "1",
    *,
    kind: OrderType = OrderType.MARKET,
    price: str | None = None,
    trigger: str | None = None,
    symbol: str = BTC,
    **more: Any,
) -> OrderRequest:
    """Return a request; numbers are text."""
    return OrderRequest(
        client_order_id=ClientOrderId(client_order_id),
        symbol=symbol,
        side=side,
        type=kind,
        quantity=None if quantity is None else Decimal(quantity),
        price=None if price is None else Decimal(price),
        trigger_price=None if trigger is None else Decimal(trigger),
        **more,
    )


def stop_loss(parent: str, side: Side, trigger: str, quantity: str = "1") -> OrderRequest:
    """Return the protective stop of a bracket, named after its entry."""
    return request_of(
        f"{parent}-stop",
        side,
        quantity,
        kind=OrderType.STOP_MARKET,
        trigger=trigger,
        reduce_only=True,
        parent_id=ClientOrderId(parent),
        purpose=OrderPurpose.STOP_LOSS,
    )


def target(
    parent: str, side: Side, price: str, quantity: str = "1", name: str = "target"
) -> OrderRequest:
    """Return a target of a bracket, named after its entry."""
    return request_of(
        f"{parent}-{name}",
        side,
        quantity,
        kind=OrderType.LIMIT,
        price=price,
        reduce_only=True,
        parent_id=ClientOrderId(parent),
        purpose=OrderPurpose.TAKE_PROFIT,
    )


class Trial:
    """An exchange, a clock of one-minute bars, and every event so far."""

    def __init__(
        self,
        venue: Venue = Venue.BINANCE,
        *,
        cash: str = "10000",
        leverage: str = "10",
        symbols: Sequence[str] = (BTC,),
        instrument: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        instruments: dict[str, Instrument] = {
            symbol: replace(instrument_of(venue, symbol), **(instrument or {}))
            for symbol in symbols
        }
        self.exchange = Exchange(
            instruments,
            ExchangeSettings(initial_capital=Decimal(cash), leverage=Decimal(leverage), **settings),
        )
        self.events: list[Event] = []
        self.next_ms = dict.fromkeys(symbols, 0)

    def bar(
        self,
        last: Prices,
        *,
        mark: Prices | None = None,
        volume: str = "1000",
        funding: Sequence[tuple[int, str, str]] = (),
        symbol: str = BTC,
    ) -> list[Event]:
        """Process the symbol's next bar. funding: (ms after the open, rate, mark)."""
        return self._take(self._next_bar(symbol, last, mark, volume, funding))

    def together(
        self,
        bars: Mapping[str, Prices],
        *,
        funding: Mapping[str, tuple[int, str, str]] | None = None,
    ) -> list[Event]:
        """Process the next bar of several symbols as one stretch, in the order given."""
        due = {symbol: (row,) for symbol, row in (funding or {}).items()}
        return self._take(
            BarsClosed(
                bars=tuple(
                    self._next_bar(symbol, last, None, "1000", due.get(symbol, ()))
                    for symbol, last in bars.items()
                )
            )
        )

    def _next_bar(
        self,
        symbol: str,
        last: Prices,
        mark: Prices | None,
        volume: str,
        funding: Sequence[tuple[int, str, str]],
    ) -> BarClosed:
        open_ms = self.next_ms[symbol]
        self.next_ms[symbol] = open_ms + MINUTE_MS
        return BarClosed(
            symbol=symbol,
            ts_ms=open_ms,
            close_ms=open_ms + MINUTE_MS,
            last=_ohlc(last),
            mark=_ohlc(mark or last),
            volume=Decimal(volume),
            funding=tuple(
                FundingSettlement(
                    ts_ms=open_ms + after, rate=Decimal(rate), mark_price=Decimal(price)
                )
                for after, rate, price in funding
            ),
        )

    def flat(self, price: float | str, **more: Any) -> list[Event]:
        """Process a bar in which nothing moves."""
        return self.bar((price, price, price, price), **more)

    def submit(self, *args: Any, **more: Any) -> list[Event]:
        """Submit an order as `request_of` describes it."""
        return self._take(SubmitOrder(request=request_of(*args, **more)))

    def bracket(self, entry: OrderRequest, *legs: OrderRequest) -> list[Event]:
        """Submit an entry with its legs."""
        return self._take(SubmitBracket(entry=entry, legs=legs))

    def command(self, command: Command) -> list[Event]:
        """Process any other command."""
        return self._take(command)

    def _take(self, item: Command | BarClosed | BarsClosed) -> list[Event]:
        events = self.exchange.process(item)
        self.exchange.check_invariants()
        self.events += events
        return events

    def fills(self, client_order_id: str | None = None) -> list[OrderFilled]:
        """Return the fills so far, of one order or of all."""
        return [
            event
            for event in of_type(self.events, OrderFilled)
            if client_order_id in (None, event.client_order_id)
        ]

    def held(self, symbol: str = BTC) -> Decimal:
        """Return the signed quantity held."""
        return self.exchange.position(symbol).signed_quantity

    @property
    def cash(self) -> Decimal:
        """Return the account's cash."""
        return self.exchange.ledger.cash


def of_type(events: Sequence[Event], kind: type[AnyEvent]) -> list[AnyEvent]:
    """Return the events of a kind."""
    return [event for event in events if isinstance(event, kind)]


def only(events: Sequence[Event], kind: type[AnyEvent]) -> AnyEvent:
    """Return the one event of a kind."""
    found = of_type(events, kind)
    assert len(found) == 1, events
    return found[0]


def _ohlc(prices: Prices) -> Ohlc:
    first, high, low, last = (Decimal(str(price)) for price in prices)
    return Ohlc(open=first, high=high, low=low, close=last)
