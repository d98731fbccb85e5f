from tests.unit.venues.virtual_time import VirtualTime

from perpdesk.venues.clock import VenueClock

Trips = list[tuple[int, int]]


async def measured(
    local: VirtualTime, ahead_ms: int, trips_ms: list[tuple[int, int]]
) -> VenueClock:
    """Measure a venue that is ahead of us. trips_ms: how long each question and answer takes."""
    clock = VenueClock(local)
    left = list(trips_ms)

    async def ask() -> int:
        there, back = left.pop(0)
        local.elapsed_ms += there
        answer = local.now_ms() + ahead_ms
        local.elapsed_ms += back
        return answer

    await clock.measure(ask, samples=len(trips_ms))
    return clock


async def test_the_offset_is_what_the_venue_is_ahead_of_us() -> None:
    local = VirtualTime()
    clock = await measured(local, 1_500, [(40, 40)] * 5)
    assert clock.offset_ms == 1_500
    assert clock.now_ms() == local.now_ms() + 1_500
    assert clock.has_drifted


async def test_a_slow_answer_does_not_move_the_median() -> None:
    clock = await measured(
        VirtualTime(), -300, [(20, 20), (20, 900), (20, 20), (2_000, 10), (9, 9)]
    )
    assert clock.offset_ms == -300
    assert not clock.has_drifted


async def test_requests_are_signed_a_little_in_the_past() -> None:
    local = VirtualTime()
    clock = await measured(local, 0, [(1, 1)])
    assert 100 <= local.now_ms() - clock.timestamp_ms() <= 300
    assert clock.measured_at_ms == local.now_ms()
