"""What becomes of our picture of the account when others act on it: rows 25 and 32.

The desk's own orders bear its id in their client ids. What does not is told by the adapters as it
is, and `foreign_among` tells the two apart.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.contract.venue_benches import DEMO, Listener, eventually
from tests.simulation.fault_benches import (
    SYMBOL,
    Bench,
    account_of,
    bench_of,
    opened,
    order,
    resting,
    stop,
)
from tests.simulation.fault_rows import row

from perpdesk.domain.order import ClientOrderId, OrderStatus, OrderType, Side
from perpdesk.domain.ports import TradingVenue
from perpdesk.domain.streams import AccountSynchronized
from perpdesk.domain.venue_reports import FillCause, FillReport, OrderReport
from perpdesk.venues.binance.venue import connect as connect_binance
from perpdesk.venues.bybit.connect import connect as connect_bybit
from perpdesk.venues.endpoints import loopback
from perpdesk.venues.foreign_orders import Foreign, foreign_among

D = Decimal
DESK = "desk"


@pytest.fixture(params=["binance", "bybit"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as bench:
        yield bench


@asynccontextmanager
async def second_host(bench: Bench) -> AsyncIterator[TradingVenue]:
    """Yield another program's adapter, with the same key."""
    endpoints = loopback(bench.plug.address)[bench.name]
    given: dict[str, Any] = {"instruments": lambda: bench.rules, "local": bench.local}
    adapter: Any
    if bench.name == "binance":
        adapter = await connect_binance(endpoints, DEMO, **given)
    else:
        adapter = connect_bybit(endpoints, DEMO, **given)
        await adapter.measure_clock()
    try:
        yield adapter.trading
    finally:
        await adapter.close()


def foreign_in(listener: Listener) -> Foreign:
    """Return what the feed told that is not ours, each order as it stands last."""
    orders = {one.order_id: one for one in listener.of(OrderReport)}
    fills = list(listener.of(FillReport))
    for snapshot in listener.of(AccountSynchronized):
        fills += [one for one in snapshot.fills if one not in fills]
        orders = {one.order_id: one for one in snapshot.orders} | orders
    return foreign_among(orders.values(), fills, desk_id=DESK, symbols={SYMBOL})


@row(32)
async def test_a_second_host_with_our_key_shows_by_the_names_of_its_orders(bench: Bench) -> None:
    async with account_of(bench) as listener:
        await opened(bench)
        await bench.trading.place(stop(bench))
        await eventually(lambda: listener.of(FillReport))
        assert not foreign_in(listener)
        async with second_host(bench) as other:
            await other.place(resting(bench, "other-a-e-1"))
            await other.place(stop(bench, "other-a-s-1"))
            await eventually(
                lambda: {"other-a-e-1", "other-a-s-1"} == set(foreign_in(listener).names)
            )
            await other.place(order("other-b-e-1"))
            await eventually(lambda: foreign_in(listener).fills)
    found = foreign_in(listener)
    assert {one.client_order_id for one in found.orders} == {"other-a-e-1", "other-a-s-1"}
    assert [one.client_order_id for one in found.fills] == ["other-b-e-1"]
    assert bench.held == D("0.020")


@row(32)
async def test_a_second_hosts_orders_of_before_our_start_are_found_at_the_start(
    bench: Bench,
) -> None:
    async with second_host(bench) as other:
        await other.place(resting(bench, "other-a-e-1"))
    async with account_of(bench) as listener:
        assert foreign_in(listener).names == ("other-a-e-1",)
    # The same by asking.
    found = foreign_among(await bench.trading.open_orders(), (), desk_id=DESK, symbols={SYMBOL})
    assert found.names == ("other-a-e-1",)


@row(32)
async def test_a_desk_whose_id_begins_like_ours_is_another_desk(bench: Bench) -> None:
    async with account_of(bench) as listener, second_host(bench) as other:
        await other.place(resting(bench, "desk2-a-e-1"))
        await eventually(lambda: foreign_in(listener).orders)
    assert foreign_in(listener).names == ("desk2-a-e-1",)


@row(32)
async def test_what_a_second_host_does_in_symbols_that_are_not_ours_is_left_alone(
    bench: Bench,
) -> None:
    async with account_of(bench) as listener, second_host(bench) as other:
        price = bench.world.venues[bench.venue].markets["ETHUSDT"].last_price - 50
        await other.place(resting(bench, "other-a-e-1", symbol="ETHUSDT", price=price))
        await eventually(lambda: listener.of(OrderReport))
        assert not foreign_in(listener)


@row(25)
async def test_an_order_by_hand_is_foreign_while_it_rests_and_its_fill_when_it_traded(
    bench: Bench,
) -> None:
    async with account_of(bench) as listener:
        by_hand = resting(bench, "web_000001")
        record = bench.account.place(by_hand, now_ms=bench.world.now_ms)
        await eventually(lambda: foreign_in(listener).orders)
        assert foreign_in(listener).names == ("web_000001",)
        bench.account.cancel(record, now_ms=bench.world.now_ms)
        await eventually(lambda: not foreign_in(listener))
        bench.account.place(
            order("web_000002", side=Side.SELL, type=OrderType.MARKET), now_ms=bench.world.now_ms
        )
        (fill,) = await eventually(lambda: foreign_in(listener).fills)
    assert (fill.client_order_id, fill.quantity) == ("web_000002", D("0.010"))
    assert foreign_in(listener).orders == ()


@row(25)
async def test_a_liquidation_is_foreign_and_ends_our_orders_of_the_symbol(bench: Bench) -> None:
    async with account_of(bench) as listener:
        await opened(bench, quantity=D("0.400"))
        await bench.trading.place(stop(bench, quantity=D("0.400")))
        bench.account.force_liquidation(SYMBOL, now_ms=bench.world.now_ms)
        bench.world.advance(1_000)
        fills = await eventually(lambda: foreign_in(listener).fills)
        assert {one.cause for one in fills} == {FillCause.LIQUIDATION}
        assert foreign_in(listener).names == ()

        async def stop_is_closed() -> bool:
            found = await bench.trading.find(SYMBOL, ClientOrderId("desk-a-s-1"))
            return found is not None and found.status is OrderStatus.CANCELED

        await eventually(stop_is_closed)
    assert bench.held == 0
