"""An onlooker who judges a run from outside: by its bars, commands and events alone."""

from collections.abc import Sequence
from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.events import (
    BarClosed,
    Event,
    FundingSettled,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    PositionLiquidated,
)
from perpdesk.domain.order import (
    Liquidity,
    Order,
    OrderChange,
    OrderPurpose,
    OrderRequest,
    OrderType,
    TimeInForce,
    WorkingPrice,
)
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import LimitFill
from perpdesk.simulation.slippage import NoSlippage
from perpdesk.simulation.state import SymbolState

CHANGES = {
    OrderTriggered: OrderChange.TRIGGERED,
    OrderAmended: OrderChange.AMENDED,
    OrderCanceled: OrderChange.CANCELED,
    OrderExpired: OrderChange.EXPIRED,
    OrderRejected: OrderChange.REJECTED,
}


class Onlooker:
    """Folds events into orders and positions, and objects to what may not happen."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.orders: dict[str, Order] = {}
        self.prices: dict[str, Decimal | None] = {}
        self.triggers: dict[str, tuple[int, Decimal]] = {}
        self.accepted_ms: dict[str, int] = {}
        self.positions = dict.fromkeys(exchange.symbols, Decimal(0))
        self.cash = exchange.settings.initial_capital
        self.next_seq = 1

    def watch(self, events: Sequence[Event], bar: BarClosed | None) -> None:
        """Take in what one command or bar (None: a command) brought about."""
        for event in events:
            assert event.seq == self.next_seq
            self.next_seq += 1
            if isinstance(event, OrderAccepted):
                self._accept(event)
            elif isinstance(event, OrderFilled):
                self._fill(event, bar)
            elif isinstance(event, FundingSettled):
                assert event.signed_quantity == self.positions[event.symbol] != 0
                self.cash += event.amount
            elif isinstance(event, PositionLiquidated):
                assert abs(event.signed_quantity) >= event.closed_quantity > 0
            elif type(event) in CHANGES:
                self._change(event, bar)
        self._compare()

    def _accept(self, event: OrderAccepted) -> None:
        request = event.request
        assert request.client_order_id not in self.orders, "an id was accepted twice"
        order = Order(request=request, quantity=event.quantity).change(OrderChange.ACCEPTED)
        self.orders[request.client_order_id] = order
        self.prices[request.client_order_id] = request.price
        self.accepted_ms[request.client_order_id] = event.ts_ms

    def _change(self, event: Event, bar: BarClosed | None) -> None:
        assert isinstance(
            event, OrderTriggered | OrderAmended | OrderCanceled | OrderExpired | OrderRejected
        )
        name = event.client_order_id
        if name not in self.orders:
            assert isinstance(event, OrderRejected)
            return
        order = self.orders[name].change(CHANGES[type(event)])
        if isinstance(event, OrderTriggered):
            assert bar is not None, "an order triggered outside a bar"
            self.triggers[name] = bar.ts_ms, event.trigger_price
        if isinstance(event, OrderAmended):
            assert event.quantity >= order.filled_quantity
            order = Order(
                request=order.request,
                status=order.status,
                quantity=event.quantity,
                filled_quantity=order.filled_quantity,
                filled_value=order.filled_value,
            )
            self.prices[name] = event.price
        self.orders[name] = order

    def _fill(self, event: OrderFilled, bar: BarClosed | None) -> None:
        name = event.client_order_id
        request = self.orders[name].request
        order = self.orders[name].fill(quantity=event.quantity, price=event.price)
        self.orders[name] = order
        assert order.leaves_quantity == event.leaves_quantity
        assert order.filled_quantity + order.leaves_quantity == order.quantity
        before = self.positions[event.symbol]
        after = before + event.side.sign * event.quantity
        assert event.position_after == after
        if request.reduce_only or request.close_position:
            assert abs(after) < abs(before)
            assert after * before >= 0
        self.positions[event.symbol] = after
        self.cash += event.realized_pnl - event.fee
        if event.purpose not in (OrderPurpose.LIQUIDATION, OrderPurpose.CLOSE_OUT):
            assert bar is not None, "an order filled outside a bar"
            self._judge_price(event, request, bar)

    def _judge_price(self, event: OrderFilled, request: OrderRequest, bar: BarClosed) -> None:
        assert bar.symbol == event.symbol
        settings = self.exchange.settings
        sign, name, last = event.side.sign, event.client_order_id, bar.last
        plain = isinstance(settings.slippage, NoSlippage)
        worse = (event.price - last.open) * sign
        if plain:
            assert last.low <= event.price <= last.high
        if request.type is OrderType.MARKET:
            assert event.liquidity is Liquidity.TAKER
            assert worse == 0 if plain else worse >= 0
        if request.type.is_limit:
            limit = self.prices[name]
            assert limit is not None
            assert (limit - event.price) * sign >= 0, "beyond its limit"
        if request.type is OrderType.LIMIT and event.liquidity is Liquidity.MAKER:
            self._judge_maker(event, request, bar)
        if request.time_in_force is TimeInForce.GTX:
            assert event.liquidity is Liquidity.MAKER or not request.type.is_limit
        triggered_ms, trigger = self.triggers.get(name, (-1, Decimal(0)))
        if triggered_ms == bar.ts_ms:
            self._judge_stop(event, request, trigger)
        share = settings.max_volume_share
        if share is not None:
            assert event.quantity <= bar.volume * share

    @staticmethod
    def _judge_stop(event: OrderFilled, request: OrderRequest, trigger: Decimal) -> None:
        """A stop on last price that fills in the bar of its trigger is never better than it."""
        stops = (OrderType.STOP_MARKET, OrderType.TRAILING_STOP_MARKET)
        if request.type in stops and request.working_price is WorkingPrice.LAST:
            assert (event.price - trigger) * event.side.sign >= 0

    def _judge_maker(self, event: OrderFilled, request: OrderRequest, bar: BarClosed) -> None:
        """A maker fill lies at the limit, or at a better open; the market traded through it."""
        rules = self.exchange.symbols[event.symbol].instrument
        through = self.exchange.settings.limit_fill is LimitFill.THROUGH
        beyond = rules.tick_size if through else Decimal(0)
        limit, sign = self.prices[event.client_order_id], event.side.sign
        assert limit is not None
        extreme = bar.last.low if sign > 0 else bar.last.high
        assert (limit - extreme) * sign >= beyond
        assert event.price in (limit, bar.last.open)
        rested = self.accepted_ms[event.client_order_id] <= bar.ts_ms
        assert rested or request.time_in_force is TimeInForce.GTX or request.parent_id

    def _compare(self) -> None:
        """Hold what the events tell against what the exchange says."""
        exchange = self.exchange
        exchange.check_invariants()
        assert exchange.ledger.cash == self.cash
        assert sum(entry.amount for entry in exchange.ledger.entries) == self.cash
        for symbol, state in exchange.symbols.items():
            assert exchange.position(symbol).signed_quantity == self.positions[symbol]
            working = {
                name
                for name, order in self.orders.items()
                if order.status.is_open and order.request.symbol == symbol
            }
            assert working == set(state.orders)
            for name, order in state.orders.items():
                assert order.leaves == self.orders[name].leaves_quantity


def watch_liquidations(exchange: Exchange) -> list[Decimal]:
    """Object to any liquidation that takes more than what stood behind the position.

    Returns the list to which every loss is added.
    """
    losses: list[Decimal] = []
    liquidate = exchange._liquidator.liquidate

    def watched(state: SymbolState, mark_price: Decimal) -> None:
        most, cash = exchange.accounting.margin_to_lose(state), exchange.ledger.cash
        liquidate(state, mark_price)
        losses.append(cash - exchange.ledger.cash)
        assert losses[-1] <= most, f"lost {losses[-1]} of {most}"
        if state.margin_mode is MarginMode.ISOLATED:
            left = exchange.accounting.margin_to_lose(state)
            assert left >= 0

    exchange._liquidator.liquidate = watched  # type: ignore[method-assign]
    return losses
