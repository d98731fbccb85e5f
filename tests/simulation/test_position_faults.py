"""What becomes of a position whose orders are filled in part, refused, or touched by others: rows
21, 23, 24 and 25."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest
from tests.contract.venue_benches import eventually
from tests.simulation.driven_brackets import ENTRY, EXIT, STOP, TARGET, driven, long_of, with_target
from tests.simulation.fault_benches import (
    CONDITIONAL,
    SYMBOL,
    Bench,
    account_of,
    bench_of,
    opened,
)
from tests.simulation.fault_rows import row

from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderType, Side
from perpdesk.domain.venue_reports import FillCause, FillReport, OrderReport, PositionReport
from perpdesk.emulator.faults import FaultKind

D = Decimal


@pytest.fixture(params=["binance", "bybit"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as bench:
        yield bench


# Row 21: a partial fill, then a cancel.


@row(21)
async def test_the_stop_covers_what_has_filled_after_every_partial_fill(bench: Bench) -> None:
    # Each second fills a quarter of what is left; the price of the entry is never out of reach.
    bench.arm(FaultKind.PARTIAL_FILLS, left=None, value=0.25)
    plan = long_of(bench, "0.100", entry_price=(bench.price + 400).quantize(D("0.1")))
    held: list[Decimal] = []
    async with driven(bench, plan) as run:
        for _ in range(5):
            bench.world.advance(1_000)
            await eventually(lambda: run.is_protected)
            held.append(bench.held)
        assert bench.working().get(ENTRY, D(0)) > 0
        # The desk's rule ends what has not filled.
        await bench.trading.cancel(SYMBOL, ClientOrderId(ENTRY))
        bench.disarm()
        bench.world.advance(5_000)
        await eventually(lambda: run.is_protected and ENTRY not in bench.working())
        assert bench.held == held[-1]
        assert run.alarms == []
    assert all(before < after for before, after in pairwise(held))
    assert len(bench.accepted()) == len(set(bench.accepted()))


@row(21)
async def test_a_target_that_fills_in_part_leaves_a_stop_for_the_rest_alone(
    bench: Bench,
) -> None:
    async with driven(bench, with_target(bench, long_of(bench, "0.100"))) as run:
        await eventually(lambda: run.is_protected, meanwhile=lambda: bench.world.advance(1_000))
        await eventually(lambda: TARGET in bench.working())
        bench.arm(FaultKind.PARTIAL_FILLS, left=None, value=0.4)
        bench.world.advance(1_000)
        _touch(bench, TARGET)
        assert bench.held == D("0.060")
        await eventually(lambda: run.is_protected)
        assert run.alarms == []
    assert len(bench.accepted()) == len(set(bench.accepted()))


def _touch(bench: Bench, client_id: str) -> None:
    """Let the market touch a resting order for a moment, far from where it trades."""
    (record,) = [one for one in bench.account.open_orders() if one.client_id == client_id]
    assert record.price is not None
    bench.account._instant(bench.market, record.price + 10, bench.world.now_ms + 1)


# Row 23: the stop is refused.


@row(23)
async def test_a_stop_that_is_refused_once_is_placed_by_one_corrected_try(bench: Bench) -> None:
    # What Binance says of a stop at the wrong service; what Bybit says of one too many.
    bench.arm(FaultKind.STOP_REFUSED, CONDITIONAL[bench.name], value=4120)
    async with driven(bench, long_of(bench)) as run:
        await eventually(lambda: run.is_protected, meanwhile=lambda: bench.world.advance(1_000))
        assert bench.struck(FaultKind.STOP_REFUSED) == 1
        assert bench.held == D("0.010")
    assert bench.accepted() == [ENTRY, "desk-a-s-2"]


@row(23)
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_stop_that_is_refused_again_closes_the_position_at_market_with_an_alarm(
    name: str,
) -> None:
    # No hurry here: five seconds are five seconds.
    async with bench_of(name, hurry=1.0) as bench:
        bench.arm(FaultKind.STOP_REFUSED, CONDITIONAL[name], left=None, value=4120)
        async with driven(bench, long_of(bench)) as run:
            began = bench.local.monotonic_ms()
            await eventually(
                lambda: EXIT in bench.filled(), meanwhile=lambda: bench.world.advance(1_000)
            )
            # From before the entry was sent to the fill of the exit.
            assert bench.local.monotonic_ms() - began < 5_000
            assert bench.held == 0
            assert bench.struck(FaultKind.STOP_REFUSED) == 2
            (alarm,) = run.alarms
            assert SYMBOL in alarm
            assert "at market" in alarm
            await eventually(lambda: run.bracket.is_done)
        assert bench.accepted() == [ENTRY, EXIT]
        assert bench.filled() == {ENTRY: D("0.010"), EXIT: D("0.010")}


@row(23)
async def test_a_stop_that_would_trigger_at_once_closes_the_position_without_another_try(
    bench: Bench,
) -> None:
    plan = long_of(bench)
    # The price has fallen through the stop before it could be placed.
    (leg,) = plan.legs
    through = replace(leg, trigger_price=bench.price + 300)
    async with driven(bench, replace(plan, legs=(through,))) as run:
        await eventually(
            lambda: EXIT in bench.filled(), meanwhile=lambda: bench.world.advance(1_000)
        )
        assert bench.held == 0
        (alarm,) = run.alarms
        assert any(code in alarm for code in ("-2021", "110092", "110093"))
    assert bench.accepted() == [ENTRY, EXIT]


@row(23)
async def test_a_stop_of_unknown_outcome_is_resolved_and_never_doubled(bench: Bench) -> None:
    bench.arm(FaultKind.DROP_AFTER, CONDITIONAL[bench.name], passes=_entries_before(bench))
    async with driven(bench, long_of(bench)) as run:
        await eventually(lambda: run.is_protected, meanwhile=lambda: bench.world.advance(1_000))
        await bench.pass_time(1_000)
        assert run.is_protected
    assert bench.accepted() == [ENTRY, STOP]


def _entries_before(bench: Bench) -> int:
    """Return how many orders go by the stop's path before it: at Bybit the entry does."""
    return 1 if bench.name == "bybit" else 0


# Row 24: the stop is canceled by hand at the venue.


@row(24)
async def test_a_stop_that_was_canceled_by_hand_is_placed_again(bench: Bench) -> None:
    async with driven(bench, long_of(bench)) as run:
        await eventually(lambda: run.is_protected, meanwhile=lambda: bench.world.advance(1_000))
        _cancel_by_hand(bench, STOP)
        assert run.stops() == {}
        await eventually(lambda: run.is_protected)
        assert list(run.stops()) == ["desk-a-s-2"]
        assert bench.held == D("0.010")


@row(24)
async def test_a_stop_that_is_canceled_by_hand_again_and_again_ends_in_an_exit_and_an_alarm(
    bench: Bench,
) -> None:
    async with driven(bench, long_of(bench)) as run:
        for number in (1, 2, 3):
            name = f"desk-a-s-{number}"
            await eventually(
                lambda name=name: name in run.stops(),  # type: ignore[misc]
                meanwhile=lambda: bench.world.advance(1_000),
            )
            _cancel_by_hand(bench, name)
        await eventually(lambda: not bench.held, meanwhile=lambda: bench.world.advance(100))
        assert any("at market" in alarm for alarm in run.alarms)
    assert bench.accepted()[-1] == EXIT
    assert len(bench.accepted()) == len(set(bench.accepted()))


@row(24)
async def test_a_stop_that_was_canceled_while_the_stream_was_gone_is_placed_again(
    bench: Bench,
) -> None:
    async with driven(bench, long_of(bench)) as run:
        await eventually(lambda: run.is_protected, meanwhile=lambda: bench.world.advance(1_000))
        await bench.plug.pull()
        _cancel_by_hand(bench, STOP)
        await bench.plug.put_in()
        await eventually(lambda: run.is_protected)
        assert list(run.stops()) == ["desk-a-s-2"]


def _cancel_by_hand(bench: Bench, client_id: str) -> None:
    (record,) = [one for one in bench.account.open_orders() if one.client_id == client_id]
    bench.account.cancel(record, now_ms=bench.world.now_ms)


# Row 25: somebody else changes the position.


@row(25)
async def test_a_position_changed_by_hand_is_told_as_a_fill_under_a_name_that_is_not_ours(
    bench: Bench,
) -> None:
    async with account_of(bench) as listener:
        await opened(bench)
        await eventually(lambda: listener.of(FillReport))
        _trade_by_hand(bench, Side.SELL, "0.004")
        fills = await eventually(lambda: listener.of(FillReport)[1:])
        (fill,) = fills
        assert (fill.side, fill.quantity, fill.cause) == (
            Side.SELL,
            D("0.004"),
            FillCause.ORDER,
        )
        assert not fill.client_order_id.startswith("desk-")
        await eventually(
            lambda: (
                listener.of(PositionReport)
                and listener.of(PositionReport)[-1].signed_quantity == D("0.006")
            )
        )
    asked = await bench.trading.fills(SYMBOL, bench.world.now_ms - 3_600_000)
    assert [one.trade_id for one in asked][-1] == fill.trade_id
    assert asked[-1].client_order_id == fill.client_order_id


def _trade_by_hand(bench: Bench, side: Side, quantity: str) -> None:
    request = OrderRequest(
        client_order_id=ClientOrderId("web_000001"),
        symbol=SYMBOL,
        side=side,
        type=OrderType.MARKET,
        quantity=D(quantity),
    )
    bench.account.place(request, now_ms=bench.world.now_ms)


@row(25)
async def test_a_liquidation_is_told_with_its_cause_and_without_a_name_of_ours(
    bench: Bench,
) -> None:
    async with account_of(bench) as listener:
        await opened(bench, quantity=D("0.400"))
        bench.account.force_liquidation(SYMBOL, now_ms=bench.world.now_ms)
        bench.world.advance(1_000)
        forced = await eventually(
            lambda: [one for one in listener.of(FillReport) if one.side is Side.SELL]
        )
        await eventually(
            lambda: (
                listener.of(PositionReport)
                and listener.of(PositionReport)[-1].signed_quantity == bench.held
            )
        )
    assert {one.cause for one in forced} == {FillCause.LIQUIDATION}
    assert {one.client_order_id for one in forced} == {""}
    asked = await bench.trading.fills(SYMBOL, bench.world.now_ms - 3_600_000)
    assert {one.cause for one in asked if one.side is Side.SELL} == {FillCause.LIQUIDATION}


@row(25)
async def test_a_bracket_whose_position_was_closed_by_hand_ends_without_opening_the_other_side(
    bench: Bench,
) -> None:
    async with driven(bench, long_of(bench)) as run:
        await eventually(lambda: run.is_protected, meanwhile=lambda: bench.world.advance(1_000))
        _trade_by_hand(bench, Side.SELL, "0.010")
        bench.world.advance(2_000)
        await bench.pass_time(1_000)
        assert bench.held == 0
        # What still rests can only reduce, so it cannot open a short.
        for record in bench.account.open_orders():
            assert record.request.reduce_only
        reports = [one for one in run.events if isinstance(one, OrderReport)]
        assert all(one.client_order_id for one in reports)
