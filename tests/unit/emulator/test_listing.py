"""Filters change and symbols close while others trade."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.emulator.builders import NOON_MS, world_of

from perpdesk.domain.candles import Venue
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderStatus, OrderType, Side
from perpdesk.emulator.accounts import Account, Refused
from perpdesk.emulator.control import Control
from perpdesk.emulator.control_requests import SymbolChange
from perpdesk.emulator.listing import change_filters, set_trading
from perpdesk.emulator.world import World

D = Decimal


@pytest.fixture(params=[Venue.BINANCE, Venue.BYBIT])
def venue(request: pytest.FixtureRequest) -> Venue:
    found: Venue = request.param
    return found


@pytest.fixture
def world(venue: Venue) -> World:
    return world_of(venue)


@pytest.fixture
def account(world: World, venue: Venue) -> Account:
    return world.venues[venue].accounts.by_id["demo"]


def limit(price: Decimal, client_id: str = "a", **fields: Any) -> OrderRequest:
    given: dict[str, Any] = {"quantity": D("0.010"), **fields}
    return OrderRequest(
        client_order_id=ClientOrderId(client_id),
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        price=price,
        **given,
    )


def test_other_filters_judge_the_next_order(world: World, venue: Venue, account: Account) -> None:
    market = world.venues[venue].markets["BTCUSDT"]
    price = market.last_price.quantize(D(1)) - 500
    account.place(limit(price + D("0.5"), "before"), now_ms=NOON_MS)
    change_filters(world, venue, "BTCUSDT", {"tick_size": D(1), "min_notional": D(1_000)})
    with pytest.raises(Refused):
        account.place(limit(price + D("0.5")), now_ms=NOON_MS)
    with pytest.raises(Refused):
        account.place(limit(price), now_ms=NOON_MS)
    placed = account.place(limit(price, quantity=D("0.100")), now_ms=NOON_MS)
    assert placed.status is OrderStatus.ACCEPTED
    assert [record.client_id for record in account.open_orders()] == ["before", "a"]


def test_the_market_goes_on_under_other_filters(
    world: World, venue: Venue, account: Account
) -> None:
    change_filters(world, venue, "BTCUSDT", {"tick_size": D(1)})
    market = world.venues[venue].markets["BTCUSDT"]
    world.advance(120_000)
    assert market.book.best_bid[0] == market.book.best_bid[0].quantize(D(1))
    assert market.book.best_bid[0] < market.book.best_ask[0]


def test_a_closed_symbol_takes_no_order_and_keeps_none(
    world: World, venue: Venue, account: Account
) -> None:
    market = world.venues[venue].markets["BTCUSDT"]
    resting = account.place(limit(market.last_price - 500, "rests"), now_ms=NOON_MS)
    set_trading(world, venue, "BTCUSDT", is_open=False)
    assert resting.status is OrderStatus.CANCELED
    with pytest.raises(Refused) as refused:
        account.place(limit(market.last_price - 500), now_ms=NOON_MS)
    assert refused.value.code == {Venue.BINANCE: "-4141", Venue.BYBIT: "110074"}[venue]
    set_trading(world, venue, "BTCUSDT", is_open=True)
    assert account.place(limit(market.last_price - 500), now_ms=NOON_MS).is_open


def test_the_control_tells_how_a_symbol_stands(world: World, venue: Venue) -> None:
    said = Control(world)._symbol(
        SymbolChange(venue=venue, symbol="BTCUSDT", status="closed", min_notional=Decimal(200))
    )
    assert (said["status"], said["min_notional"]) == ("closed", "200")
    assert [entry.what for entry in world.journal] == ["filters changed", "symbol closed"]


def test_a_filter_that_is_not_known_is_refused(world: World, venue: Venue) -> None:
    with pytest.raises(KeyError):
        change_filters(world, venue, "BTCUSDT", {"color": D(1)})
