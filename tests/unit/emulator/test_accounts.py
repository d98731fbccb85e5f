"""Accounts of the emulator: ids as the venues have them, money as the simulation books it."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.emulator.builders import D, world_of

from perpdesk.domain.account import LedgerKind
from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from perpdesk.emulator.accounts import Account, Refused
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.emulator.world import World


@pytest.fixture
def world() -> World:
    return world_of()


def account_of(world: World, venue: Venue = Venue.BINANCE) -> Account:
    return world.venues[venue].accounts.by_id["demo"]


def order(client_id: str = "a", **fields: Any) -> OrderRequest:
    given: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "quantity": D("0.01"),
        **fields,
    }
    return OrderRequest(client_order_id=ClientOrderId(client_id), **given)


def price_off(account: Account, off: str) -> Decimal:
    return account.markets["BTCUSDT"].last_price + D(off)


def test_a_market_order_has_filled_at_the_best_price_when_the_answer_comes(world: World) -> None:
    account = account_of(world)
    ask, _ = account.markets["BTCUSDT"].book.best_ask
    record = account.place(order(), now_ms=world.now_ms)
    assert record.status is OrderStatus.FILLED
    assert record.average_price == ask
    (fill,) = account.fills
    assert (fill.quantity, fill.price, fill.position_after) == (D("0.01"), ask, D("0.01"))
    # Taker, 0.05 %, cut at 1e-8.
    assert fill.fee == (D("0.01") * ask * D("0.0005")).quantize(D("1e-8"))
    assert [(row.kind, row.amount) for row in account.income] == [("FEE", -fill.fee)]


def test_a_limit_order_rests_until_the_market_comes_to_it(world: World) -> None:
    account = account_of(world)
    price = price_off(account, "-1.0")
    record = account.place(
        order(type=OrderType.LIMIT, price=price, side=Side.BUY), now_ms=world.now_ms
    )
    assert record.is_open
    world.advance(6 * HOUR_MS)
    assert record.status is OrderStatus.FILLED
    assert record.average_price <= price


def test_an_id_may_be_used_again_at_binance_once_its_order_is_closed(world: World) -> None:
    account = account_of(world)
    far = order("x", type=OrderType.LIMIT, price=price_off(account, "-1000.0"))
    first = account.place(far, now_ms=world.now_ms)
    with pytest.raises(Refused) as refused:
        account.place(far, now_ms=world.now_ms)
    assert refused.value.code == "-4116"
    account.cancel(first, now_ms=world.now_ms)
    second = account.place(far, now_ms=world.now_ms)
    assert second.order_id != first.order_id
    assert account.find(client_id="x") is second


def test_an_id_is_used_for_good_at_bybit(world: World) -> None:
    account = account_of(world, Venue.BYBIT)
    account.place(order("x"), now_ms=world.now_ms)
    with pytest.raises(Refused) as refused:
        account.place(order("x"), now_ms=world.now_ms)
    assert refused.value.code == "110072"


def test_a_triggered_conditional_order_becomes_a_normal_one_at_binance(world: World) -> None:
    account = account_of(world)
    account.place(order("in"), now_ms=world.now_ms)
    stop = account.place(
        order(
            "stop",
            type=OrderType.STOP_MARKET,
            side=Side.SELL,
            trigger_price=price_off(account, "-5.0"),
            reduce_only=True,
        ),
        now_ms=world.now_ms,
        is_algo=True,
    )
    assert stop.is_waiting
    assert account.find(client_id="stop") is None
    world.advance(6 * HOUR_MS)
    assert stop.status is OrderStatus.FILLED
    assert stop.working_id is not None
    assert account.find_working(stop.working_id) is stop
    assert not account.exchange.position("BTCUSDT").is_open


def test_post_only_that_would_take_expires(world: World) -> None:
    account = account_of(world)
    crossing = order(
        type=OrderType.LIMIT, price=price_off(account, "100.0"), time_in_force=TimeInForce.GTX
    )
    assert account.place(crossing, now_ms=world.now_ms).status is OrderStatus.EXPIRED


def test_partial_fills_take_a_part_of_what_is_left_each_time(world: World) -> None:
    account = account_of(world)
    world.faults.arm(Fault(kind=FaultKind.PARTIAL_FILLS, value=0.5))
    world.advance(1_000)
    record = account.place(order(quantity=D("0.010")), now_ms=world.now_ms)
    assert (record.status, record.filled) == (OrderStatus.PARTIALLY_FILLED, D("0.005"))
    world.advance(1_000)
    assert record.filled == D("0.007")
    world.faults.clear()
    world.advance(2_000)
    assert record.status is OrderStatus.FILLED
    assert record.filled == sum(fill.quantity for fill in account.fills) == D("0.010")


def test_funding_is_paid_on_what_is_held(world: World) -> None:
    account = account_of(world)
    account.place(order(quantity=D("0.1")), now_ms=world.now_ms)
    world.advance(5 * HOUR_MS)
    paid = [row for row in account.income if row.kind == LedgerKind.FUNDING]
    (settled,) = account.markets["BTCUSDT"].funding_history(0, world.now_ms)[-1:]
    assert [row.ts_ms for row in paid] == [settled.ts_ms]
    expected = -D("0.1") * settled.mark_price * settled.rate
    assert abs(paid[0].amount - expected) < D("1e-7")


def test_a_forced_liquidation_closes_the_position_by_an_order_of_the_exchange(world: World) -> None:
    account = account_of(world)
    account.place(order(quantity=D("4")), now_ms=world.now_ms)
    account.force_liquidation("BTCUSDT", now_ms=world.now_ms)
    fill = account.fills[-1]
    assert fill.order.is_forced
    assert fill.order.client_id.startswith("autoclose-")
    assert fill.position_after < D("4")


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_income_adds_up_to_the_cash_of_the_account(world: World, venue: Venue) -> None:
    account = account_of(world, venue)
    for number, side in enumerate((Side.BUY, Side.SELL, Side.SELL, Side.BUY)):
        account.place(order(f"o{number}", side=side, quantity=D("0.02")), now_ms=world.now_ms)
        world.advance(3 * HOUR_MS)
    total = sum((row.amount for row in account.income), D(10_000))
    assert total == account.exchange.ledger.cash
    account.exchange.check_invariants()


def test_everything_accepted_is_in_the_journal_under_the_clients_id(world: World) -> None:
    account = account_of(world)
    account.place(order("mine"), now_ms=world.now_ms)
    told = [(entry.what, entry.facts.get("client_id")) for entry in world.journal]
    assert told == [("OrderAccepted", "mine"), ("OrderFilled", "mine")]
