from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

from tests.unit.venues.virtual_time import VirtualTime

from perpdesk.domain.errors import DataRefused, OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.order import ClientOrderId, OrderId, OrderStatus, OrderType, Side
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.resolution import Attempts, resolve

ID = ClientOrderId("desk-1-entry")
REPORT = OrderReport(
    symbol="BTCUSDT",
    client_order_id=ID,
    order_id=OrderId("1"),
    status=OrderStatus.FILLED,
    side=Side.BUY,
    type=OrderType.MARKET,
    quantity=Decimal(1),
)
Reading = OrderReport | None | Exception


def readings(
    answers: Sequence[Reading], local: VirtualTime, asked_ms: list[float]
) -> Callable[[], Awaitable[OrderReport | None]]:
    """Answer in turn, the last one for ever."""
    left = list(answers)

    async def find() -> OrderReport | None:
        asked_ms.append(local.elapsed_ms)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return find


async def outcome(
    answers: Sequence[Reading], local: VirtualTime, asked_ms: list[float], offset_ms: int = 0
) -> OrderReport | NeverArrived:
    clock = VenueClock(local)
    clock.offset_ms = offset_ms
    found = await local.finish(
        resolve(
            ID,
            readings(answers, local, asked_ms),
            sent_ms=clock.now_ms(),
            recv_window_ms=5_000,
            clock=clock,
        )
    )
    assert isinstance(found, OrderReport | NeverArrived)
    return found


async def test_an_order_that_is_found_at_once_needs_no_waiting() -> None:
    local, asked = VirtualTime(), list[float]()
    assert await outcome([REPORT], local, asked) == REPORT
    assert asked == [0]


async def test_not_found_is_final_only_after_the_window_and_by_two_readings_apart() -> None:
    local, asked = VirtualTime(), list[float]()
    found = await outcome([None], local, asked)
    assert found == NeverArrived(client_order_id=ID)
    final = [each for each in asked if each > 7_000]
    assert len(final) == 2
    assert final[1] - final[0] >= 1_000


async def test_an_order_that_shows_up_late_is_found_although_it_was_not_there_before() -> None:
    local, asked = VirtualTime(), list[float]()
    assert await outcome([None] * 8 + [REPORT], local, asked) == REPORT


async def test_a_false_not_found_after_the_window_is_asked_a_second_time() -> None:
    local, asked = VirtualTime(), list[float]()
    clock = VenueClock(local)
    sent_ms = clock.now_ms() - 60_000  # A restart: the order was sent a minute ago.
    find = readings([None, REPORT], local, asked)
    found = await local.finish(
        resolve(ID, find, sent_ms=sent_ms, recv_window_ms=5_000, clock=clock)
    )
    assert found == REPORT
    assert len(asked) == 2


async def test_a_reading_that_fails_counts_for_nothing() -> None:
    local, asked = VirtualTime(), list[float]()
    answers = [VenueUnavailable("503"), OutcomeUnknown("cut off"), VenueUnavailable("429")]
    found = await outcome([*answers, None], local, asked)
    assert found == NeverArrived(client_order_id=ID)
    assert len([each for each in asked if each > 7_000]) >= 2


async def test_a_venue_that_is_away_is_asked_less_and_less_but_for_ever() -> None:
    local, asked = VirtualTime(), list[float]()
    assert await outcome([VenueUnavailable("down")] * 50 + [REPORT], local, asked) == REPORT
    assert asked[1:6] == [1_000, 3_000, 7_000, 15_000, 31_000]
    assert asked[-1] - asked[-2] == 30_000


async def test_the_window_is_counted_on_the_venues_clock() -> None:
    local, asked = VirtualTime(), list[float]()
    # Our clock runs a minute late; the order was stamped with the venue's time.
    await outcome([None], local, asked, offset_ms=60_000)
    assert len([each for each in asked if each > 7_000]) == 2


async def test_a_step_of_the_wall_clock_does_not_end_the_wait_early() -> None:
    local, asked = VirtualTime(), list[float]()
    clock = VenueClock(local)
    sent_ms = clock.now_ms()
    find = readings([None], local, asked)

    async def find_and_step() -> OrderReport | None:
        local.started_ms += 3_600_000
        return await find()

    await local.finish(
        resolve(ID, find_and_step, sent_ms=sent_ms, recv_window_ms=5_000, clock=clock)
    )
    assert len([each for each in asked if each > 7_000]) == 2


async def test_a_question_that_is_refused_says_nothing_of_the_order() -> None:
    local, asked = VirtualTime(), list[float]()
    refused = VenueRejected("this address is not on the key's list", code="-2015")
    assert await outcome([refused, DataRefused("a word"), REPORT], local, asked) == REPORT


async def test_a_wall_clock_that_stepped_back_does_not_prolong_the_wait() -> None:
    local, asked = VirtualTime(), list[float]()
    clock = VenueClock(local)
    sent_ms = clock.now_ms() + 3_600_000
    find = readings([None], local, asked)
    await local.finish(resolve(ID, find, sent_ms=sent_ms, recv_window_ms=5_000, clock=clock))
    assert asked[-1] < 10_000


async def test_the_window_is_counted_from_the_last_attempt_that_this_process_made() -> None:
    local, asked = VirtualTime(), list[float]()
    clock = VenueClock(local)
    attempts = Attempts(local)
    sent_ms = clock.now_ms()
    await local.advance(30)  # It waited for budget, and was signed only then.
    attempts.note(ID)
    local.started_ms += 3_600_000
    await local.finish(
        resolve(
            ID,
            readings([None], local, asked),
            sent_ms=sent_ms,
            recv_window_ms=5_000,
            clock=clock,
            attempts=attempts,
        )
    )
    assert len([each for each in asked if each > 37_000]) == 2


def test_attempts_are_kept_of_the_latest_orders_alone() -> None:
    local = VirtualTime()
    attempts = Attempts(local, most=2)
    for name in ("a", "b", "a", "c"):
        attempts.note(ClientOrderId(name))
    known = [attempts.last_ms(ClientOrderId(name)) is not None for name in ("a", "b", "c")]
    assert known == [True, False, True]
