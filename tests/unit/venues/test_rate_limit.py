import asyncio

import pytest
from tests.unit.venues.virtual_time import VirtualTime, settle, stop

from perpdesk.domain.errors import VenueUnavailable
from perpdesk.venues.rate_limit import Lane, Pool, RateBudget

WEIGHT = "weight"


def budget_of(local: VirtualTime, limit: int = 100, window_ms: int = 60_000) -> RateBudget:
    pools = {
        WEIGHT: Pool(name=WEIGHT, limit=limit, window_ms=window_ms),
        "orders": Pool(name="orders", limit=10, window_ms=1_000),
    }
    return RateBudget(pools, local)


async def spend_until_it_waits(budget: RateBudget, lane: Lane, units: int = 1) -> int:
    """Return how many units the lane got before it had to wait."""
    got = 0
    while True:
        task = asyncio.ensure_future(budget.spend(lane, {WEIGHT: units}))
        await settle()
        if not task.done():
            await stop(task)
            return got
        got += units


@pytest.mark.parametrize(
    ("lane", "most"),
    [(Lane.HISTORY, 60), (Lane.ENTRY, 80), (Lane.QUERY, 90), (Lane.STOP, 97), (Lane.CANCEL, 100)],
)
async def test_each_lane_leaves_a_reserve_for_those_above_it(lane: Lane, most: int) -> None:
    budget = budget_of(VirtualTime())
    assert await spend_until_it_waits(budget, lane) == most
    assert budget.used_ratio()[WEIGHT] == most / 100


async def test_a_cancel_still_goes_when_history_has_used_its_share() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await spend_until_it_waits(budget, Lane.HISTORY)
    waiting = asyncio.ensure_future(budget.spend(Lane.HISTORY, {WEIGHT: 5}))
    await settle()
    await budget.spend(Lane.CANCEL, {WEIGHT: 1})
    assert local.elapsed_ms == 0
    assert not waiting.done()
    await stop(waiting)


async def test_budget_comes_back_when_it_has_left_the_window() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.HISTORY, {WEIGHT: 50})
    await local.advance(20)
    await budget.spend(Lane.HISTORY, {WEIGHT: 10})
    await local.finish(budget.spend(Lane.HISTORY, {WEIGHT: 30}))
    assert local.elapsed_ms == 60_000
    await local.finish(budget.spend(Lane.HISTORY, {WEIGHT: 30}))
    assert local.elapsed_ms == 80_000


async def test_waiters_are_served_by_lane_and_then_by_arrival() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.CANCEL, {WEIGHT: 100})
    served: list[str] = []

    async def ask(name: str, lane: Lane) -> None:
        await budget.spend(lane, {WEIGHT: 1})
        served.append(name)

    tasks = []
    for name, lane in (
        ("history", Lane.HISTORY),
        ("entry", Lane.ENTRY),
        ("query 1", Lane.QUERY),
        ("cancel", Lane.CANCEL),
        ("query 2", Lane.QUERY),
        ("stop", Lane.STOP),
    ):
        tasks.append(asyncio.ensure_future(ask(name, lane)))
        await settle()
    await local.advance(61)
    assert served == ["cancel", "stop", "query 1", "query 2", "entry", "history"]
    assert all(task.done() for task in tasks)


async def test_a_lane_does_not_wait_for_a_pool_that_it_does_not_use() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.CANCEL, {WEIGHT: 100})
    waiting = asyncio.ensure_future(budget.spend(Lane.QUERY, {WEIGHT: 1}))
    await settle()
    await budget.spend(Lane.ENTRY, {"orders": 1})
    assert local.elapsed_ms == 0
    await stop(waiting)


async def test_a_canceled_waiter_takes_nothing_and_holds_up_nobody() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.HISTORY, {WEIGHT: 60})
    await local.advance(1)
    first = asyncio.ensure_future(budget.spend(Lane.ENTRY, {WEIGHT: 40}))
    await settle()
    second = asyncio.ensure_future(budget.spend(Lane.ENTRY, {WEIGHT: 10}))
    await settle()
    assert not second.done()  # It may not overtake the first.
    await stop(first)
    await settle()
    assert second.done()
    assert budget.used_ratio()[WEIGHT] == 0.7


async def test_what_exceeds_its_share_waits_for_an_empty_pool_and_not_forever() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.HISTORY, {WEIGHT: 1})
    await local.finish(budget.spend(Lane.HISTORY, {WEIGHT: 70}))
    assert local.elapsed_ms == 60_000


async def test_the_venues_count_wins_over_ours_when_others_share_the_address() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.QUERY, {WEIGHT: 1})
    budget.observe(WEIGHT, 89)
    assert budget.used_ratio()[WEIGHT] == 0.89
    await budget.spend(Lane.QUERY, {WEIGHT: 1})
    waiting = asyncio.ensure_future(budget.spend(Lane.QUERY, {WEIGHT: 1}))
    await settle()
    assert not waiting.done()
    await stop(waiting)


async def test_a_lower_count_of_the_venue_frees_budget_and_wakes_who_waits() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.HISTORY, {WEIGHT: 60})
    await local.advance(10)
    waiting = asyncio.ensure_future(budget.spend(Lane.HISTORY, {WEIGHT: 10}))
    await settle()
    budget.observe(WEIGHT, 4)  # The venue's minute began anew.
    await settle()
    assert waiting.done()
    assert budget.used_ratio()[WEIGHT] == 0.14


async def test_a_lower_count_does_not_forget_requests_that_are_still_under_way() -> None:
    budget = budget_of(VirtualTime())
    await budget.spend(Lane.ENTRY, {WEIGHT: 30})
    budget.observe(WEIGHT, 10)
    assert budget.used_ratio()[WEIGHT] == 0.3


async def test_a_limit_that_the_venue_announces_replaces_ours() -> None:
    budget = budget_of(VirtualTime())
    budget.observe(WEIGHT, 0, limit=50)
    assert await spend_until_it_waits(budget, Lane.CANCEL) == 50


async def test_retry_after_holds_every_lane_for_as_long_as_the_venue_asked() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    budget.retry_after(7)
    await local.finish(budget.spend(Lane.CANCEL, {WEIGHT: 1}))
    assert local.elapsed_ms == 7_000


async def test_a_ban_refuses_at_once_and_says_until_when() -> None:
    local = VirtualTime(started_ms=1_790_000_000_000)  # 2026-09-21 14:13:20 UTC
    budget = budget_of(local)
    budget.stop(120, "HTTP 418")
    with pytest.raises(VenueUnavailable, match="2026-09-21 14:15:20 UTC: HTTP 418"):
        await budget.spend(Lane.CANCEL, {WEIGHT: 1})
    await local.advance(121)
    await budget.spend(Lane.CANCEL, {WEIGHT: 1})


async def test_a_ban_also_refuses_those_who_wait_already() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.CANCEL, {WEIGHT: 100})
    waiting = asyncio.ensure_future(budget.spend(Lane.CANCEL, {WEIGHT: 1}))
    await settle()
    budget.stop(60, "HTTP 403")
    with pytest.raises(VenueUnavailable, match="HTTP 403"):
        await waiting


async def test_two_thousand_requests_never_exceed_the_limit_in_any_window() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    went: list[float] = []

    async def ask() -> None:
        await budget.spend(Lane.CANCEL, {"orders": 1})
        went.append(local.elapsed_ms)

    async with asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(ask())
        await local.advance(25)
    assert len(went) == 200
    for place in range(len(went) - 10):
        assert went[place + 10] - went[place] >= 1_000


async def test_one_who_waits_behind_a_rival_does_not_keep_the_server_busy() -> None:
    local = VirtualTime()
    budget = budget_of(local)
    await budget.spend(Lane.CANCEL, {"orders": 10})
    both = {WEIGHT: 1, "orders": 1}
    first = asyncio.ensure_future(budget.spend(Lane.STOP, both))
    behind = asyncio.ensure_future(budget.spend(Lane.HISTORY, {WEIGHT: 1}))
    looks = 0
    sleep = local.sleep

    async def counted(seconds: float) -> None:
        nonlocal looks
        looks += 1
        await sleep(seconds)

    local.sleep = counted  # type: ignore[method-assign]
    await local.advance(1.1)
    assert first.done()
    assert behind.done()
    assert looks < 5
