"""One contract for every venue: Binance and Bybit on the emulator, and the simulated exchange."""

from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from tests.contract.venue_benches import SYMBOL, VENUES, Bench, Listener, bench_of, eventually
from tests.unit.emulator.builders import NOON_MS

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import HOUR_MS, MINUTE_MS
from perpdesk.domain.errors import Denied, VenueRejected
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    Trailing,
    WorkingPrice,
)
from perpdesk.domain.order_rules import check_order
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.streams import AccountSynchronized, FundingPaid
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillReport,
    IncomeKind,
    OrderReport,
    PositionMode,
    PositionReport,
)

D = Decimal


@pytest.fixture(params=VENUES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as bench:
        yield bench


def order(client_id: str = "desk-a-1", **fields: Any) -> OrderRequest:
    given: dict[str, Any] = {
        "symbol": SYMBOL,
        "side": Side.BUY,
        "type": OrderType.MARKET,
        "quantity": D("0.010"),
        **fields,
    }
    return OrderRequest(client_order_id=ClientOrderId(client_id), **given)


async def finished(bench: Bench, client_id: str) -> OrderReport:
    """Return an order once it is closed, letting the market live on meanwhile."""

    async def closed() -> OrderReport | None:
        found = await bench.trading.find(SYMBOL, ClientOrderId(client_id))
        return found if found is not None and found.status.is_closed else None

    found = await eventually(closed, meanwhile=lambda: bench.move(1_000))
    assert isinstance(found, OrderReport)
    return found


async def opened(bench: Bench, client_id: str = "desk-open", **fields: Any) -> OrderReport:
    await bench.trading.place(order(client_id, **fields))
    return await finished(bench, client_id)


async def position(bench: Bench) -> Decimal:
    found = [one for one in await bench.trading.positions() if one.symbol == SYMBOL]
    return found[0].signed_quantity if found else D(0)


# Orders.


async def test_a_market_order_opens_a_position_and_pays_its_fee(bench: Bench) -> None:
    began = bench.now_ms()
    report = await opened(bench, side=Side.SELL)
    assert report.status is OrderStatus.FILLED
    assert (report.client_order_id, report.filled_quantity) == ("desk-open", D("0.010"))
    assert await position(bench) == D("-0.010")
    (fill,) = await bench.trading.fills(SYMBOL, began)
    assert (fill.client_order_id, fill.side, fill.quantity) == ("desk-open", Side.SELL, D("0.010"))
    # Both venues take 0.05 or 0.055 % of 0.01 BTC from a taker of the lowest tier.
    assert fill.fee / (fill.quantity * fill.price) in (
        pytest.approx(D("0.0005"), rel=D("1e-6")),
        pytest.approx(D("0.00055"), rel=D("1e-6")),
    )


async def test_a_limit_order_rests_is_found_and_is_canceled(bench: Bench) -> None:
    price = bench.price - 500
    placed = await bench.trading.place(order("desk-l", type=OrderType.LIMIT, price=price))
    assert placed.client_order_id == "desk-l"
    (working,) = await bench.trading.open_orders(SYMBOL)
    assert (working.client_order_id, working.price, working.quantity) == (
        "desk-l",
        price,
        D("0.010"),
    )
    assert working.status is OrderStatus.ACCEPTED
    await bench.trading.cancel(SYMBOL, ClientOrderId("desk-l"))
    assert (await finished(bench, "desk-l")).status is OrderStatus.CANCELED
    assert await bench.trading.open_orders(SYMBOL) == ()


async def test_canceling_what_is_not_open_is_refused(bench: Bench) -> None:
    await opened(bench)
    for name in ("desk-open", "desk-never"):
        with pytest.raises(VenueRejected):
            await bench.trading.cancel(SYMBOL, ClientOrderId(name))


async def test_a_resting_order_is_amended_in_price_and_size(bench: Bench) -> None:
    price = bench.price - 500
    await bench.trading.place(order("desk-l", type=OrderType.LIMIT, price=price))
    await bench.trading.amend(
        SYMBOL, AmendOrder(client_order_id=ClientOrderId("desk-l"), price=price - 100)
    )
    await bench.trading.amend(
        SYMBOL, AmendOrder(client_order_id=ClientOrderId("desk-l"), quantity=D("0.020"))
    )
    (working,) = await bench.trading.open_orders(SYMBOL)
    assert (working.price, working.quantity) == (price - 100, D("0.020"))
    assert working.client_order_id == "desk-l"


CONDITIONAL = {
    "stop-market": (OrderType.STOP_MARKET, -5, None),
    "stop-limit": (OrderType.STOP_LIMIT, -5, -400),
    "take-profit-market": (OrderType.TAKE_PROFIT_MARKET, 5, None),
    "take-profit-limit": (OrderType.TAKE_PROFIT_LIMIT, 5, -400),
}


@pytest.mark.parametrize("name", CONDITIONAL)
@pytest.mark.parametrize("working", [WorkingPrice.LAST, WorkingPrice.MARK])
async def test_a_conditional_order_waits_and_then_closes_the_position(
    bench: Bench, name: str, working: WorkingPrice
) -> None:
    kind, off, limit_off = CONDITIONAL[name]
    await opened(bench)
    base = bench.price if working is WorkingPrice.LAST else bench.market.mark_price
    base = base.quantize(D("0.1"))
    request = order(
        f"desk-{name}",
        side=Side.SELL,
        type=kind,
        trigger_price=base + off,
        price=None if limit_off is None else base + limit_off,
        working_price=working,
        reduce_only=True,
    )
    await bench.trading.place(request)
    (waiting,) = await bench.trading.open_orders(SYMBOL)
    assert (waiting.client_order_id, waiting.type) == (f"desk-{name}", kind)
    assert (waiting.trigger_price, waiting.price) == (request.trigger_price, request.price)
    assert waiting.reduce_only
    # Within an hour the made market moves by much more than five.
    await eventually(lambda: _is_flat(bench), seconds=20, meanwhile=lambda: bench.move(60_000))
    report = await finished(bench, f"desk-{name}")
    assert (report.status, report.filled_quantity) == (OrderStatus.FILLED, D("0.010"))


async def _is_flat(bench: Bench) -> bool:
    return await position(bench) == 0


@pytest.mark.parametrize("name", CONDITIONAL)
async def test_a_waiting_conditional_order_is_canceled(bench: Bench, name: str) -> None:
    kind, off, limit_off = CONDITIONAL[name]
    await opened(bench)
    base = bench.price
    await bench.trading.place(
        order(
            "desk-c",
            side=Side.SELL,
            type=kind,
            trigger_price=base + 400 * off,
            price=None if limit_off is None else base + 400 * off,
            reduce_only=True,
        )
    )
    await bench.trading.cancel(SYMBOL, ClientOrderId("desk-c"))
    report = await finished(bench, "desk-c")
    assert (report.status, report.filled_quantity) == (OrderStatus.CANCELED, D(0))
    assert await position(bench) == D("0.010")


async def test_a_trailing_stop_follows_and_closes_the_position(bench: Bench) -> None:
    await opened(bench)
    await bench.trading.place(
        order(
            "desk-t",
            side=Side.SELL,
            type=OrderType.TRAILING_STOP_MARKET,
            trailing=Trailing(callback_rate=D("0.002")),
            reduce_only=True,
        )
    )
    (waiting,) = await bench.trading.open_orders(SYMBOL)
    assert (waiting.client_order_id, waiting.type) == ("desk-t", OrderType.TRAILING_STOP_MARKET)
    await eventually(lambda: _is_flat(bench), seconds=20, meanwhile=lambda: bench.move(60_000))


async def test_a_trailing_stop_can_be_canceled(bench: Bench) -> None:
    await opened(bench)
    trailing = Trailing(callback_rate=D("0.05"))
    await bench.trading.place(
        order(
            "desk-t",
            side=Side.SELL,
            type=OrderType.TRAILING_STOP_MARKET,
            trailing=trailing,
            reduce_only=True,
        )
    )
    await bench.trading.cancel(SYMBOL, ClientOrderId("desk-t"))
    assert await bench.trading.open_orders(SYMBOL) == ()


async def test_an_order_that_closes_the_position_closes_all_of_it(bench: Bench) -> None:
    await opened(bench, "desk-one")
    await bench.trading.place(
        order(
            "desk-close",
            side=Side.SELL,
            type=OrderType.STOP_MARKET,
            quantity=None,
            close_position=True,
            trigger_price=bench.price - 5,
        )
    )
    await opened(bench, "desk-two", quantity=D("0.005"))
    await eventually(lambda: _is_flat(bench), seconds=20, meanwhile=lambda: bench.move(60_000))


async def test_the_same_order_sent_twice_exists_once(bench: Bench) -> None:
    request = order("desk-d", type=OrderType.LIMIT, price=bench.price - 500)
    await bench.trading.place(request)
    with suppress(VenueRejected):
        await bench.trading.place(request)
    assert len(await bench.trading.open_orders(SYMBOL)) == 1


async def test_post_only_never_takes(bench: Bench) -> None:
    request = order(
        "desk-p", type=OrderType.LIMIT, price=bench.price + 50, time_in_force=TimeInForce.GTX
    )
    try:
        await bench.trading.place(request)
    except VenueRejected:
        return
    report = await finished(bench, "desk-p")
    assert report.status in (OrderStatus.EXPIRED, OrderStatus.REJECTED, OrderStatus.CANCELED)
    assert report.filled_quantity == 0


@pytest.mark.parametrize("tif", [TimeInForce.IOC, TimeInForce.FOK])
async def test_what_cannot_fill_at_once_does_not_rest(bench: Bench, tif: TimeInForce) -> None:
    request = order("desk-i", type=OrderType.LIMIT, price=bench.price - 50, time_in_force=tif)
    try:
        await bench.trading.place(request)
    except VenueRejected:
        # Binance refuses a fill-or-kill that cannot fill, and keeps no trace of it.
        assert tif is TimeInForce.FOK
    else:
        report = await finished(bench, "desk-i")
        assert report.status in (OrderStatus.EXPIRED, OrderStatus.CANCELED)
        assert report.filled_quantity == 0
    assert await position(bench) == 0
    assert await bench.trading.open_orders(SYMBOL) == ()


async def test_reduce_only_without_a_position_is_refused(bench: Bench) -> None:
    with pytest.raises(VenueRejected) as refused:
        await bench.trading.place(order("desk-r", side=Side.SELL, reduce_only=True))
    assert refused.value.code in ("-2022", "110017")


ILLEGAL: dict[str, dict[str, Any]] = {
    "tick": {"type": OrderType.LIMIT, "price": D("40000.05")},
    "step": {"quantity": D("0.0105")},
    "below the minimum quantity": {"quantity": D("0.0001")},
    "above the maximum quantity": {"quantity": D("5000")},
    "price band": {"type": OrderType.LIMIT, "price": D("90000.0")},
    "notional": {"type": OrderType.LIMIT, "price": D("1000.0"), "quantity": D("0.001")},
}


@pytest.mark.parametrize("rule", ILLEGAL)
async def test_an_illegal_order_is_refused_with_rule_and_value_before_it_harms(
    bench: Bench, rule: str
) -> None:
    request = order("desk-x", **ILLEGAL[rule])
    if check_order(request, bench.market.instrument, mark_price=bench.market.mark_price) is None:
        pytest.skip(f"{bench.name} allows it")
    with pytest.raises((Denied, VenueRejected)) as refused:
        await bench.trading.place(request)
    assert any(digit in refused.value.message for digit in "0123456789")
    assert await bench.trading.open_orders(SYMBOL) == ()


async def test_more_than_the_account_can_carry_is_refused(bench: Bench) -> None:
    with pytest.raises(VenueRejected) as refused:
        await bench.trading.place(
            order("desk-m", quantity=D("50"), type=OrderType.LIMIT, price=bench.price - 50)
        )
    assert refused.value.code in ("-2019", "-2027", "110007", "110090")


async def test_each_order_of_a_batch_has_its_own_fate(bench: Bench) -> None:
    price = bench.price - 500
    requests = [
        order("desk-b1", type=OrderType.LIMIT, price=price),
        order("desk-b2", type=OrderType.LIMIT, price=price, quantity=D("60")),
        order("desk-b3", type=OrderType.LIMIT, price=price - 10),
    ]
    first, second, third = await bench.trading.place_batch(requests)
    assert isinstance(first, OrderReport)
    assert isinstance(second, VenueRejected)
    assert isinstance(third, OrderReport)
    assert {one.client_order_id for one in await bench.trading.open_orders(SYMBOL)} == {
        "desk-b1",
        "desk-b3",
    }


async def test_cancel_all_takes_conditional_orders_too(bench: Bench) -> None:
    await opened(bench)
    await bench.trading.place(order("desk-l", type=OrderType.LIMIT, price=bench.price - 500))
    await bench.trading.place(
        order(
            "desk-s",
            side=Side.SELL,
            type=OrderType.STOP_MARKET,
            trigger_price=bench.price - 900,
            reduce_only=True,
        )
    )
    assert len(await bench.trading.open_orders(SYMBOL)) == 2
    await bench.trading.cancel_all(SYMBOL)
    await eventually(lambda: _no_orders(bench))


async def _no_orders(bench: Bench) -> bool:
    return await bench.trading.open_orders() == ()


# Asking.


async def test_an_unknown_order_is_not_found_and_resolves_to_never_arrived(bench: Bench) -> None:
    name = ClientOrderId("desk-never")
    assert await bench.trading.find(SYMBOL, name) is None
    resolved = await bench.trading.resolve(SYMBOL, name, sent_ms=bench.now_ms() - 60_000)
    assert resolved == NeverArrived(client_order_id=name)


async def test_an_order_that_arrived_is_resolved_to_what_became_of_it(bench: Bench) -> None:
    await opened(bench)
    resolved = await bench.trading.resolve(
        SYMBOL, ClientOrderId("desk-open"), sent_ms=bench.now_ms()
    )
    assert isinstance(resolved, OrderReport)
    assert resolved.status is OrderStatus.FILLED


# The account.


async def test_settings_are_read_and_what_is_so_already_is_success(bench: Bench) -> None:
    for _ in range(2):
        await bench.trading.set_leverage(SYMBOL, D(7))
        await bench.trading.set_margin_mode(SYMBOL, MarginMode.ISOLATED)
        await bench.trading.set_position_mode(PositionMode.ONE_WAY)
    found = await bench.trading.settings(SYMBOL)
    assert (found.leverage, found.margin_mode, found.position_mode) == (
        D(7),
        MarginMode.ISOLATED,
        PositionMode.ONE_WAY,
    )


async def test_leverage_beyond_the_tier_is_refused(bench: Bench) -> None:
    with pytest.raises((VenueRejected, Denied)) as refused:
        await bench.trading.set_leverage(SYMBOL, D(10_000))
    most = bench.market.instrument.tiers[0].max_leverage
    assert f"leverage 10000 is not within 1 to {most}" in refused.value.message


async def test_the_key_may_trade_and_not_withdraw(bench: Bench) -> None:
    found = await bench.trading.permissions()
    assert (found.can_read, found.can_trade, found.can_withdraw) == (True, True, False)


async def test_income_adds_up_to_the_balance(bench: Bench) -> None:
    began = bench.now_ms() - 1_000
    (before,) = [one for one in await bench.trading.balances() if one.asset == "USDT"]
    await opened(bench)
    await bench.pass_time(HOUR_MS // 2)
    await opened(bench, "desk-out", side=Side.SELL, reduce_only=True)
    await bench.pass_time(1_000)
    (after,) = [one for one in await bench.trading.balances() if one.asset == "USDT"]
    income = await bench.trading.income(began)
    rows = [row for row in income if row.kind is not IncomeKind.TRANSFER]
    kinds = {row.kind for row in rows}
    assert {IncomeKind.FEE, IncomeKind.REALIZED_PNL} <= kinds
    assert sum((row.amount for row in rows), D(0)) == after.wallet - before.wallet


async def test_the_account_feed_begins_whole_and_tells_everything_once(bench: Bench) -> None:
    began = bench.now_ms()
    async with bench.streams.account() as feed:
        listener = Listener(feed)
        await eventually(lambda: listener.of(AccountSynchronized))
        await opened(bench, "desk-in")
        await opened(bench, "desk-out", side=Side.SELL, reduce_only=True)
        await eventually(
            lambda: (
                len(listener.of(FillReport)) >= 2
                and any(
                    one.client_order_id == "desk-out" and one.status is OrderStatus.FILLED
                    for one in listener.of(OrderReport)
                )
                and listener.of(PositionReport)
                and listener.of(BalanceReport)
            ),
            meanwhile=lambda: bench.move(1_000),
        )
        await listener.close()
    first, *_ = listener.events
    assert isinstance(first, AccountSynchronized)
    assert first.orders == ()
    told = [(one.trade_id, one.client_order_id, one.quantity) for one in listener.of(FillReport)]
    asked = await bench.trading.fills(SYMBOL, began)
    assert told == [(one.trade_id, one.client_order_id, one.quantity) for one in asked]
    assert [one.client_order_id for one in asked] == ["desk-in", "desk-out"]
    flat = [one for one in listener.of(PositionReport) if one.symbol == SYMBOL][-1]
    assert flat.signed_quantity == 0


@pytest.mark.parametrize("name", VENUES)
async def test_funding_is_told_and_booked(name: str) -> None:
    # It settles at 16:00.
    async with bench_of(name, start_ms=NOON_MS + 4 * HOUR_MS - 5 * MINUTE_MS) as bench:
        began = bench.now_ms()
        async with bench.streams.account() as feed:
            listener = Listener(feed)
            await eventually(lambda: listener.of(AccountSynchronized))
            await opened(bench, quantity=D("0.100"))
            await bench.pass_time(10 * MINUTE_MS)
            (paid,) = await eventually(lambda: listener.of(FundingPaid))
            await listener.close()
        income = await bench.trading.income(began)
    rows = [row for row in income if row.kind is IncomeKind.FUNDING]
    assert [(row.symbol, row.amount) for row in rows] == [(SYMBOL, paid.amount)]
    (settled,) = bench.market.funding_history(began, bench.now_ms())
    # Longs pay when the rate is positive.
    expected = -D("0.100") * settled.mark_price * settled.rate
    assert abs(paid.amount - expected) < D("0.00000002")
