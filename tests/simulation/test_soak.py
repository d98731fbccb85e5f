"""Both adapters, a random trader and bad weather, in one process: the short form of the soak.

`python -m benchmarks.soak` is the long form, with what memory and tasks do over a day.
"""

import asyncio

import pytest
from benchmarks.contestants.venue_soak_client import soak
from benchmarks.contestants.venue_soak_world import Plan, soaked_world


@pytest.mark.slow
async def test_in_bad_weather_no_candle_and_no_fill_is_lost_and_no_order_is_sent_twice() -> None:
    plan = Plan(hours=0.25, symbols=4, weather=40, seed=3, speed=60)
    samples: list[dict[str, float]] = []
    tasks_before = len(asyncio.all_tasks())
    async with soaked_world(plan) as (_, address):
        verdict = await soak(plan, address, samples.append)
    assert verdict["problems"] == {}
    assert verdict["errors"] == []
    # The weather was bad and the trader busy, or nothing was proved.
    assert sum(verdict["struck"].values()) > 50
    assert verdict["looked_at"]["orders"] > 10
    assert verdict["looked_at"]["candles"] > 20
    assert samples[-1]["events"] > 500
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > tasks_before:
            await asyncio.sleep(0.01)
