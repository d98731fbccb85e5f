"""What becomes of calls when clocks disagree, the venue wants fewer of them, or changes its rules:
rows 19, 20 and 46."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.contract.venue_benches import Listener, eventually
from tests.simulation.fault_benches import (
    REGULAR,
    SYMBOL,
    Bench,
    account_of,
    bench_of,
    opened,
    order,
    resting,
    state_of,
    stop,
)
from tests.simulation.fault_rows import row

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Timeframe
from perpdesk.domain.errors import Denied, OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.order import ClientOrderId, OrderStatus
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.streams import CandleUpdated, StreamKind, StreamLost, Subscription
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.listing import change_filters, set_trading
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.reference import ReferenceKeeper
from perpdesk.venues.binance.rest import ORDERS_10S
from perpdesk.venues.bybit.calls import ORDERS

D = Decimal
NAMES = ("binance", "bybit")
NAME = ClientOrderId("desk-a-e-1")
TIME = {"binance": "/fapi/v1/time", "bybit": "/v5/market/time"}
M1 = Timeframe.parse("1m")
CANDLES = Subscription(kind=StreamKind.CANDLES, symbol=SYMBOL, timeframe=M1)


@pytest.fixture(params=NAMES)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as bench:
        yield bench


@pytest.fixture(params=NAMES)
async def live(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A bench whose virtual time goes as the wall does: its venue is strict about clocks."""
    async with bench_of(request.param, speed=1.0) as bench:
        yield bench


# Row 19: clocks.


@row(19)
@pytest.mark.parametrize("skew_ms", [2_000, -2_000, 10_000, -10_000])
async def test_an_order_gets_through_once_although_the_venues_clock_has_been_set(
    live: Bench, skew_ms: int
) -> None:
    before_ms = live.adapter.clock.offset_ms
    live.arm(FaultKind.CLOCK_SKEW, left=None, value=skew_ms)
    await live.trading.place(resting(live))
    assert live.accepted() == [NAME]
    moved_ms = live.adapter.clock.offset_ms - before_ms
    if skew_ms in (-2_000, 10_000, -10_000):
        # It was refused (more than 1 s ahead, or more than 5 s behind), and measured again.
        assert moved_ms == pytest.approx(skew_ms, abs=500)
    posted = [path for path in live.asked if path == REGULAR[live.name]]
    assert len(posted) <= 2


@row(19)
@pytest.mark.parametrize("step_ms", [30_000, -30_000])
async def test_an_order_gets_through_once_although_this_machines_clock_has_been_set(
    live: Bench, step_ms: int
) -> None:
    live.local.ahead_ms += step_ms
    await live.trading.place(resting(live))
    assert live.accepted() == [NAME]
    await live.trading.cancel(SYMBOL, NAME)
    assert live.working() == {}


@row(19)
async def test_a_clock_that_stays_wrong_is_measured_once_and_then_said_to_be_wrong(
    live: Bench,
) -> None:
    measured = live.asked.count(TIME[live.name])
    # Whatever was measured is wrong by 20 s when it is used.
    live.local.hop_ms = 20_000
    with pytest.raises(VenueUnavailable) as unavailable:
        await live.trading.place(resting(live))
    live.local.hop_ms = 0
    assert "clock" in f"{unavailable.value.message} {unavailable.value.next_step}"
    assert live.asked.count(REGULAR[live.name]) == 2
    # One measurement is five questions; a second may run beside it because the last is old.
    assert 5 <= live.asked.count(TIME[live.name]) - measured <= 10
    assert live.accepted() == []


@row(19)
async def test_the_clock_is_measured_again_every_five_minutes_without_holding_up_a_call(
    bench: Bench,
) -> None:
    measured = bench.asked.count(TIME[bench.name])
    await bench.trading.positions()
    assert bench.asked.count(TIME[bench.name]) == measured
    bench.adapter.clock.measured_at_ms -= 301_000
    await bench.trading.positions()
    await eventually(lambda: bench.asked.count(TIME[bench.name]) == measured + 5)


@row(19)
async def test_a_clock_that_is_set_during_a_wait_does_not_end_it_early(bench: Bench) -> None:
    bench.arm(FaultKind.DROP_BEFORE, REGULAR[bench.name])
    sent_ms = bench.now_ms()
    began = bench.local.monotonic_ms()
    with pytest.raises(OutcomeUnknown):
        await bench.trading.place(order())
    asking = asyncio.create_task(bench.trading.resolve(SYMBOL, NAME, sent_ms=sent_ms))
    await asyncio.sleep(0.03)
    bench.local.ahead_ms += 60_000
    assert await asking == NeverArrived(client_order_id=NAME)
    assert bench.local.monotonic_ms() - began >= 8_000


# Row 20: too many calls.


@row(20)
async def test_after_too_many_requests_every_call_waits_as_long_as_the_venue_asked(
    bench: Bench,
) -> None:
    await bench.trading.positions()
    bench.arm(FaultKind.RATE_LIMIT, REGULAR[bench.name], value=20)
    with pytest.raises(VenueUnavailable):
        await bench.trading.place(order())
    assert bench.accepted() == []
    began, asked = bench.local.monotonic_ms(), len(bench.asked)
    waiting = [
        asyncio.create_task(bench.trading.positions()),
        asyncio.create_task(bench.trading.place(resting(bench, "desk-b-e-1"))),
    ]
    await asyncio.sleep(0.2)
    assert len(bench.asked) == asked
    await asyncio.gather(*waiting)
    # Twenty seconds; what passed before we looked at our watch is twenty times what it took.
    assert bench.local.monotonic_ms() - began >= 18_000
    assert bench.accepted() == ["desk-b-e-1"]


BANS_S = {
    ("binance", FaultKind.BAN): 1,
    ("binance", FaultKind.FORBIDDEN): 300,
    ("bybit", FaultKind.BAN): 600,
    ("bybit", FaultKind.FORBIDDEN): 600,
}
"""For how many seconds nothing may be asked: as Retry-After says, or what is known of the venue."""


@row(20)
@pytest.mark.parametrize("kind", [FaultKind.BAN, FaultKind.FORBIDDEN])
async def test_during_a_ban_no_call_is_made_and_the_answer_names_the_time_of_its_end(
    bench: Bench, kind: FaultKind
) -> None:
    await bench.trading.place(resting(bench))
    bench.arm(kind, REGULAR[bench.name], value=0.2)
    with pytest.raises(VenueUnavailable):
        await bench.trading.place(order("desk-b-e-1"))
    asked = len(bench.asked)
    for call in (
        lambda: bench.trading.place(order("desk-c-e-1")),
        lambda: bench.trading.cancel(SYMBOL, NAME),
        lambda: bench.trading.place(stop(bench)),
        bench.trading.positions,
    ):
        with pytest.raises(VenueUnavailable) as unavailable:
            await call()
        assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", unavailable.value.message)
    assert len(bench.asked) == asked
    # The stop rests at the venue all the while; after the ban everything works.
    bench.local.skip(BANS_S[bench.name, kind])
    await asyncio.sleep(0.25)
    await bench.trading.cancel(SYMBOL, NAME)
    await opened(bench, "desk-d-e-1")
    assert bench.accepted() == [NAME, "desk-d-e-1"]


@row(20)
async def test_a_reading_that_meets_a_ban_is_no_reading_and_the_order_is_resolved_after_it(
    bench: Bench,
) -> None:
    bench.arm(FaultKind.DROP_AFTER, REGULAR[bench.name])
    sent_ms = bench.now_ms()
    with pytest.raises(OutcomeUnknown):
        await bench.trading.place(order())
    bench.arm(FaultKind.BAN, value=0.1)
    asking = asyncio.create_task(bench.trading.resolve(SYMBOL, NAME, sent_ms=sent_ms))
    await eventually(lambda: bench.struck(FaultKind.BAN))
    await asyncio.sleep(0.1)  # The refusal is on its way; from its arrival on, the ban counts.
    bench.local.skip(700)
    found = await asking
    assert isinstance(found, OrderReport)
    assert found.status is OrderStatus.FILLED
    assert bench.accepted() == [NAME]


@row(20)
async def test_entries_leave_a_reserve_of_the_budget_to_stops_and_cancels(bench: Bench) -> None:
    await opened(bench)
    await bench.trading.place(resting(bench, "desk-b-e-1"))
    await asyncio.sleep(0.1)
    # So much is used that an entry would eat into the reserve.
    pool, used = {"binance": (ORDERS_10S, 250), "bybit": (ORDERS, 8)}[bench.name]
    bench.adapter.budget.observe(pool, used)
    entry = asyncio.create_task(bench.trading.place(resting(bench, "desk-c-e-1")))
    await bench.trading.place(stop(bench))
    await bench.trading.cancel(SYMBOL, ClientOrderId("desk-b-e-1"))
    assert not entry.done()
    await eventually(entry.done)
    assert bench.accepted() == [NAME, "desk-b-e-1", "desk-a-s-1", "desk-c-e-1"]


# Row 46: filters change, symbols close, the venue closes for maintenance.


class Wired:
    """What a session does: the venue's word that rules have changed refreshes those in force."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.changed: list[str] = []
        self.refreshing: list[asyncio.Task[None]] = []
        self.bench: Bench | None = None

    def on_rules_changed(self, symbol: str) -> None:
        self.changed.append(symbol)
        self.refreshing.append(asyncio.get_running_loop().create_task(self.refresh(symbol)))

    async def refresh(self, symbol: str) -> None:
        assert self.bench is not None
        keeper = ReferenceKeeper(self.data_dir, self.bench.adapter.reference)
        await keeper.refresh((symbol,))
        book = InstrumentBook.load(self.data_dir)
        self.bench.rules[symbol] = book.as_of(self.bench.venue, symbol, self.bench.now_ms())

    async def settled(self) -> None:
        await asyncio.gather(*self.refreshing)


@pytest.fixture
def wired(tmp_path: Path) -> Wired:
    return Wired(tmp_path)


@row(46)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["minimum notional", "step", "tick"])
async def test_a_refusal_by_a_filter_refreshes_the_rules_and_the_next_order_is_denied_here(
    name: str, what: str, wired: Wired
) -> None:
    async with bench_of(name, on_rules_changed=wired.on_rules_changed) as bench:
        wired.bench = bench
        await wired.refresh(SYMBOL)
        tick = bench.rules[SYMBOL].tick_size
        price = (bench.price - 500).quantize(D(1))
        changed, request = {
            "minimum notional": ({"min_notional": D(1_000)}, resting(bench, price=price)),
            "step": ({"step_size": D("0.1")}, resting(bench, price=price, quantity=D("0.25"))),
            "tick": ({"tick_size": tick * 10}, resting(bench, price=price + tick)),
        }[what]
        change_filters(bench.world, bench.venue, SYMBOL, changed)
        with pytest.raises(VenueRejected):
            await bench.trading.place(request)
        assert wired.changed == [SYMBOL]
        await wired.settled()
        (filter_name,) = changed
        assert getattr(bench.rules[SYMBOL], filter_name) == changed[filter_name]
        asked = len(bench.asked)
        with pytest.raises(Denied) as denied:
            await bench.trading.place(replace(request, client_order_id=ClientOrderId("desk-a-e-2")))
        assert denied.value.message
        assert len(bench.asked) == asked
        assert bench.accepted() == []


@row(46)
@pytest.mark.parametrize("name", NAMES)
async def test_an_amendment_and_a_batch_that_meet_new_filters_say_so_too(
    name: str, wired: Wired
) -> None:
    async with bench_of(name, on_rules_changed=wired.on_rules_changed) as bench:
        wired.bench = bench
        await wired.refresh(SYMBOL)
        await bench.trading.place(resting(bench))
        change_filters(bench.world, bench.venue, SYMBOL, {"min_notional": D(1_000)})
        smaller = AmendOrder(client_order_id=NAME, quantity=D("0.005"))
        with pytest.raises(VenueRejected):
            await bench.trading.amend(SYMBOL, smaller)
        assert wired.changed == [SYMBOL]
        (fate,) = await bench.trading.place_batch([resting(bench, "desk-b-e-1")])
        assert isinstance(fate, VenueRejected)
        assert wired.changed == [SYMBOL, SYMBOL]
        await wired.settled()
        # What rests was accepted under the old rules, and stays.
        assert bench.working() == {NAME: D("0.010")}


@row(46)
@pytest.mark.parametrize("name", NAMES)
async def test_a_refusal_for_another_reason_does_not_ask_for_the_rules(
    name: str, wired: Wired
) -> None:
    async with bench_of(name, on_rules_changed=wired.on_rules_changed) as bench:
        with pytest.raises(VenueRejected):
            await bench.trading.place(resting(bench, quantity=D(50)))
        with pytest.raises(VenueRejected):
            await bench.trading.cancel(SYMBOL, NAME)
    assert wired.changed == []


@row(46)
async def test_rules_are_asked_for_again_after_an_hour_and_not_before(
    bench: Bench, tmp_path: Path
) -> None:
    now_ms = bench.now_ms()
    keeper = ReferenceKeeper(tmp_path, bench.adapter.reference, now_ms=lambda: now_ms)
    assert await keeper.refresh_if_older((SYMBOL,)) is not None
    change_filters(bench.world, bench.venue, SYMBOL, {"min_notional": D(1_000)})
    now_ms += HOUR_MS - MINUTE_MS
    assert await keeper.refresh_if_older((SYMBOL,)) is None
    now_ms += 2 * MINUTE_MS
    kept = await keeper.refresh_if_older((SYMBOL,))
    assert kept is not None
    assert kept.changed["rules"] == (SYMBOL,)


@row(46)
@pytest.mark.parametrize("name", NAMES)
async def test_a_symbol_that_is_delisted_takes_no_order_is_said_so_and_traded_no_more(
    name: str,
) -> None:
    changed: list[str] = []
    async with bench_of(name, on_rules_changed=changed.append) as bench:
        async with account_of(bench) as listener:
            await bench.trading.place(resting(bench))
            set_trading(bench.world, bench.venue, SYMBOL, is_open=False)
            bench.world.advance(1_000)
            await eventually(
                lambda: any(one.status is OrderStatus.CANCELED for one in listener.of(OrderReport))
            )
        with pytest.raises(VenueRejected) as refused:
            await bench.trading.place(resting(bench, "desk-b-e-1"))
        assert refused.value.code in ("-4141", "110074")
        assert changed == [SYMBOL]
        assert SYMBOL not in await bench.adapter.reference.symbols()
        assert "ETHUSDT" in await bench.adapter.reference.symbols()
        assert bench.accepted() == [NAME]


@row(46)
async def test_during_maintenance_nothing_is_ordered_streams_are_lost_and_all_comes_back(
    bench: Bench,
) -> None:
    async with bench.streams.market([CANDLES]) as feed, account_of(bench) as account:
        market = Listener(feed)
        await eventually(
            lambda: market.of(CandleUpdated), meanwhile=lambda: bench.world.advance(1_000)
        )
        bench.arm(FaultKind.MAINTENANCE, left=None, until_ms=bench.world.now_ms + 3 * MINUTE_MS)
        bench.world.advance(1_000)
        await eventually(lambda: market.of(StreamLost) and account.of(StreamLost))
        sent_ms = bench.now_ms()
        with pytest.raises((VenueUnavailable, OutcomeUnknown)) as refused:
            await bench.trading.place(order())
        with pytest.raises(VenueUnavailable):
            await bench.trading.positions()
        # An answer that leaves it open is resolved when somebody answers again.
        resolving = asyncio.create_task(bench.trading.resolve(SYMBOL, NAME, sent_ms=sent_ms))
        await asyncio.sleep(0.5)
        assert not resolving.done(), refused.value
        bench.world.advance(3 * MINUTE_MS)
        await bench.measure_clock()
        assert await resolving == NeverArrived(client_order_id=NAME)
        for listener in (market, account):
            await eventually(lambda listener=listener: state_of(listener) == "whole")  # type: ignore[misc]
        await opened(bench, "desk-a-e-2")
        await bench.pass_time(10_000)
        await eventually(lambda: len(_closed(market)) >= 3)
        first, *later = _closed(market)
        assert later == [first + MINUTE_MS * number for number in range(1, len(later) + 1)]
        await market.close()
    assert bench.accepted() == ["desk-a-e-2"]


def _closed(listener: Listener) -> list[int]:
    return [one.ts_ms for one in listener.of(CandleUpdated) if one.is_closed]
