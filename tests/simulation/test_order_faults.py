"""What becomes of an order when the request, the answer or the reading goes wrong: rows 9 to 12,
and 22: what is refused is refused for good."""

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest
from tests.contract.venue_benches import eventually
from tests.simulation.driven_brackets import driven, long_of
from tests.simulation.fault_benches import (
    AMEND,
    BATCH,
    CANCEL,
    CONDITIONAL,
    REGULAR,
    SYMBOL,
    Bench,
    account_of,
    bench_of,
    opened,
    order,
    resting,
    stop,
    told_fills,
)
from tests.simulation.fault_rows import row

from perpdesk.domain.errors import (
    OutcomeUnknown,
    PerpdeskError,
    VenueRejected,
    VenueUnavailable,
)
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderStatus, OrderType, Side
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.emulator.faults import FaultKind
from perpdesk.venues.binance import codes as binance_codes
from perpdesk.venues.bybit import codes as bybit_codes

D = Decimal
NAME = ClientOrderId("desk-a-e-1")
STOP = ClientOrderId("desk-a-s-1")


@pytest.fixture(params=["binance", "bybit"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with bench_of(request.param) as bench:
        yield bench


async def place_blindly(bench: Bench, request: OrderRequest) -> OrderReport | NeverArrived:
    """Place an order whose outcome is going to be unknown, and resolve it as a caller must."""
    sent_ms = bench.now_ms()
    with pytest.raises(OutcomeUnknown) as unknown:
        await bench.trading.place(request)
    assert unknown.value.next_step
    return await bench.trading.resolve(SYMBOL, request.client_order_id, sent_ms=sent_ms)


# Row 9: the answer is lost, the order was accepted.


@row(9)
@pytest.mark.parametrize("kind", ["market", "limit", "stop"])
async def test_an_order_whose_answer_was_lost_is_found_and_never_sent_again(
    bench: Bench, kind: str
) -> None:
    if kind == "stop":
        await opened(bench)
    request = {
        "market": order(),
        "limit": resting(bench),
        "stop": stop(bench),
    }[kind]
    where = CONDITIONAL if kind == "stop" else REGULAR
    bench.arm(FaultKind.DROP_AFTER, where[bench.name])
    found = await place_blindly(bench, request)
    assert isinstance(found, OrderReport)
    assert found.client_order_id == request.client_order_id
    assert bench.accepted().count(request.client_order_id) == 1
    if kind == "market":
        assert (found.status, bench.held) == (OrderStatus.FILLED, D("0.010"))
    else:
        assert found.status is OrderStatus.ACCEPTED


@row(9)
async def test_a_batch_whose_answer_was_lost_leaves_each_order_to_be_resolved(
    bench: Bench,
) -> None:
    requests = [resting(bench, f"desk-b-e-{number}") for number in (1, 2, 3)]
    bench.arm(FaultKind.DROP_AFTER, BATCH[bench.name])
    sent_ms = bench.now_ms()
    fates = await bench.trading.place_batch(requests)
    assert [type(fate) for fate in fates] == [OutcomeUnknown] * 3
    for request in requests:
        found = await bench.trading.resolve(SYMBOL, request.client_order_id, sent_ms=sent_ms)
        assert isinstance(found, OrderReport)
        assert found.status is OrderStatus.ACCEPTED
    assert sorted(bench.accepted()) == ["desk-b-e-1", "desk-b-e-2", "desk-b-e-3"]


@row(9)
async def test_a_cancel_whose_answer_was_lost_has_worked_and_shows_so(bench: Bench) -> None:
    await bench.trading.place(resting(bench))
    bench.arm(FaultKind.DROP_AFTER, CANCEL[bench.name])
    sent_ms = bench.now_ms()
    with pytest.raises(OutcomeUnknown):
        await bench.trading.cancel(SYMBOL, NAME)
    found = await bench.trading.resolve(SYMBOL, NAME, sent_ms=sent_ms)
    assert isinstance(found, OrderReport)
    assert found.status is OrderStatus.CANCELED
    assert bench.working() == {}


@row(9)
async def test_an_amendment_whose_answer_was_lost_shows_in_the_order(bench: Bench) -> None:
    await bench.trading.place(resting(bench))
    lower = bench.price - 700
    # Binance amends by all fields at once, so its adapter reads the order first, at the same path.
    passes = 1 if bench.name == "binance" else 0
    bench.arm(FaultKind.DROP_AFTER, AMEND[bench.name], passes=passes)
    with pytest.raises(OutcomeUnknown):
        await bench.trading.amend(SYMBOL, AmendOrder(client_order_id=NAME, price=lower))
    found = await bench.trading.find(SYMBOL, NAME)
    assert found is not None
    assert found.price == lower
    assert bench.accepted() == [NAME]


# Row 10: the answer is no answer.

UNCLEAR = {
    "unknown": True,
    "half-answer": True,
    "server-error": False,
    "drop-before": False,
}
"""Faults after which nobody can know, and whether the order was in fact carried out."""


@row(10)
@pytest.mark.parametrize("kind", UNCLEAR)
async def test_no_answer_or_half_an_answer_is_an_unknown_outcome_which_asking_settles(
    bench: Bench, kind: str
) -> None:
    bench.arm(FaultKind(kind), REGULAR[bench.name])
    found = await place_blindly(bench, order())
    assert bench.struck(FaultKind(kind)) == 1
    if UNCLEAR[kind]:
        assert isinstance(found, OrderReport)
        assert (found.client_order_id, found.status) == (NAME, OrderStatus.FILLED)
        assert bench.accepted() == [NAME]
    else:
        assert found == NeverArrived(client_order_id=NAME)
        assert bench.accepted() == []


@row(10)
@pytest.mark.parametrize("kind", UNCLEAR)
async def test_a_stop_without_an_answer_is_an_unknown_outcome_too(bench: Bench, kind: str) -> None:
    await opened(bench)
    bench.arm(FaultKind(kind), CONDITIONAL[bench.name])
    found = await place_blindly(bench, stop(bench))
    assert isinstance(found, OrderReport if UNCLEAR[kind] else NeverArrived)
    assert bench.accepted().count(STOP) == int(UNCLEAR[kind])


@row(10)
@pytest.mark.parametrize("kind", UNCLEAR)
async def test_a_reading_without_an_answer_is_no_reading_and_says_nothing_of_the_order(
    bench: Bench, kind: str
) -> None:
    await opened(bench)
    bench.arm(FaultKind(kind), left=4)
    # The readings that fail are not mistaken for "not found": asking goes on until one succeeds.
    found = await bench.trading.resolve(SYMBOL, NAME, sent_ms=bench.now_ms() - 60_000)
    assert isinstance(found, OrderReport)
    assert found.status is OrderStatus.FILLED


@row(10)
async def test_an_order_that_never_arrived_may_be_tried_anew_under_a_new_id(bench: Bench) -> None:
    bench.arm(FaultKind.SERVER_ERROR, REGULAR[bench.name])
    assert isinstance(await place_blindly(bench, order()), NeverArrived)
    await opened(bench, "desk-a-e-2")
    assert bench.accepted() == ["desk-a-e-2"]
    assert bench.held == D("0.010")


# Row 11: only codes that are known to mean "not accepted" are a rejection.


@row(11)
async def test_a_refusal_with_a_known_code_is_final_and_names_the_code(bench: Bench) -> None:
    with pytest.raises(VenueRejected) as refused:
        await bench.trading.place(resting(bench, quantity=D(50)))
    assert refused.value.code in ("-2019", "-2027", "110007", "110090")
    assert bench.accepted() == []


@row(11)
def test_a_code_of_binance_rejects_an_order_only_if_the_table_says_not_accepted() -> None:
    for code, status in product(range(-10_000, 0), (400, 500, 503)):
        answer = binance_codes.Answer(status=status, code=code, text="odd words")
        error = binance_codes.error_of(answer, call="POST order", changes=True)
        tabled = code in binance_codes.NOT_ACCEPTED or -1136 <= code <= -1100
        loaded = code in binance_codes.BUSY
        expected = VenueUnavailable if loaded else VenueRejected if tabled else OutcomeUnknown
        assert type(error) is expected, code


@row(11)
def test_a_code_of_bybit_rejects_an_order_only_if_the_table_says_not_accepted() -> None:
    tabled = set(bybit_codes.REFUSALS) | bybit_codes.DOCUMENTED_REFUSALS
    definite = bybit_codes.TRY_LATER | {bybit_codes.CLOCK}
    tried = {*range(1, 200_000, 13), *tabled, *definite, *bybit_codes.UNKNOWN_OUTCOME}
    for code in tried:
        error = bybit_codes.error_of(code, "odd words", changes=True, asked="order/create")
        expected: type[PerpdeskError] = OutcomeUnknown
        if code in definite:
            expected = VenueUnavailable
        elif code in tabled:
            expected = VenueRejected
        assert type(error) is expected, code


# Row 12: the venue says "not found" of what it has.


@row(12)
async def test_one_false_not_found_is_not_believed(bench: Bench) -> None:
    bench.arm(FaultKind.DROP_AFTER, REGULAR[bench.name])
    # Both places where an order may be looked for lag behind, at Bybit too.
    bench.arm(FaultKind.NOT_FOUND, left=2)
    found = await place_blindly(bench, order())
    assert isinstance(found, OrderReport)
    assert bench.struck(FaultKind.NOT_FOUND) >= 1
    assert bench.accepted() == [NAME]


@row(12)
async def test_not_found_is_final_only_after_the_window_and_twice(bench: Bench) -> None:
    bench.arm(FaultKind.DROP_BEFORE, REGULAR[bench.name])
    began = bench.local.monotonic_ms()
    found = await place_blindly(bench, order())
    waited_ms = bench.local.monotonic_ms() - began
    assert isinstance(found, NeverArrived)
    # recvWindow 5 s + margin 2 s, then a second reading 1 s later at least.
    assert waited_ms >= 8_000


@row(12)
async def test_a_fill_that_shows_up_after_never_arrived_is_told_under_our_id(
    bench: Bench,
) -> None:
    async with account_of(bench) as listener:
        bench.arm(FaultKind.DROP_AFTER, REGULAR[bench.name])
        bench.arm(FaultKind.NOT_FOUND, left=None)
        request = resting(bench, side=Side.SELL, price=bench.price + 1)
        found = await place_blindly(bench, request)
        assert isinstance(found, NeverArrived)
        bench.disarm()
        fills = await eventually(
            lambda: told_fills(listener), meanwhile=lambda: bench.world.advance(60_000)
        )
    assert fills.get(NAME, D(0)) > 0
    assert bench.accepted() == [NAME]


@row(12)
async def test_a_late_fill_revives_its_bracket_which_protects_it_and_tells_a_person(
    bench: Bench,
) -> None:
    limit = bench.price + 1
    plan = long_of(bench)
    entry = replace(plan.entry, type=OrderType.STOP_MARKET, trigger_price=limit, price=None)
    bench.arm(FaultKind.DROP_AFTER, CONDITIONAL[bench.name])
    bench.arm(FaultKind.NOT_FOUND, left=None)
    async with driven(bench, replace(plan, entry=entry)) as run:
        await eventually(lambda: run.bracket.is_done)
        assert run.alarms == []
        bench.disarm()
        # It was there all the time, and triggers now.
        await eventually(lambda: bench.held, meanwhile=lambda: bench.world.advance(10_000))
        await eventually(lambda: run.is_protected)
        assert any("never arrived" in alarm for alarm in run.alarms)
    assert bench.accepted() == [NAME, STOP]


# Row 22: what is refused is refused, in the venue's words, and not made smaller in silence.


@row(22)
@pytest.mark.parametrize(
    ("what", "codes"),
    [
        ("margin", {"-2019", "-2027", "110007", "110090"}),
        ("reduce-only", {"-2022", "110017"}),
        ("filter", {"-4014", "-1111", "10001"}),
        ("price band", {"-4016", "110003", "110120", "110121", "30208"}),
        ("highest price", {"-4002", "110003", "10001"}),
        ("trigger", {"-2021", "110092", "110093"}),
    ],
)
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_refused_order_fails_with_the_venues_reason_and_no_smaller_one_follows(
    name: str, what: str, codes: set[str]
) -> None:
    # Rules that are not known here are judged by the venue alone.
    async with bench_of(name, knows_rules=False) as bench:
        request = {
            "margin": resting(bench, quantity=D(50)),
            "reduce-only": order(side=Side.SELL, reduce_only=True),
            "filter": resting(bench, price=bench.price + D("0.01234")),
            "price band": resting(bench, price=(bench.price * D("1.5")).quantize(D("0.1"))),
            "highest price": resting(bench, price=D(10_000_000)),
            "trigger": stop(bench, trigger_price=bench.price + 500, reduce_only=False),
        }[what]
        with pytest.raises(VenueRejected) as refused:
            await bench.trading.place(request)
        assert refused.value.code in codes
        assert refused.value.message
        posted = [path for path in bench.asked if path in (REGULAR[name], CONDITIONAL[name])]
        assert len(posted) == 1
        assert bench.accepted() == []
        assert bench.held == 0


@row(22)
@pytest.mark.parametrize(
    ("name", "most", "code"), [("binance", 200, "-4045"), ("bybit", 10, "110009")]
)
async def test_one_conditional_order_too_many_is_refused_and_the_others_stay(
    name: str, most: int, code: str
) -> None:
    async with bench_of(name) as bench:
        requests = [stop(bench, f"desk-m-s-{number}", reduce_only=False) for number in range(most)]
        fates = await bench.trading.place_batch(requests)
        assert {type(fate) for fate in fates} == {OrderReport}
        with pytest.raises(VenueRejected) as refused:
            await bench.trading.place(stop(bench, "desk-m-s-last", reduce_only=False))
        assert refused.value.code == code
        assert len(bench.working()) == most
