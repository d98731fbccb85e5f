"""A reader of the flood: through an adapter, or with aiohttp and json alone.

usage: python -m benchmarks.contestants.venue_flood_reader ADDRESS binance|bybit|raw RATE SECONDS
       [CORE]
Prints one line: how late messages reached the reader's hand (ms, from just before they were sent),
how many came, how many waited at most.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import numpy as np

from perpdesk.domain.streams import QuoteChanged, StreamKind, Subscription, TradeOccurred
from perpdesk.venues.binance.venue import connect as connect_binance
from perpdesk.venues.bybit.connect import connect as connect_bybit
from perpdesk.venues.endpoints import loopback

SYMBOLS: Final = [f"S{number:02}USDT" for number in range(20)]
"""Trades and quotes of twenty symbols are forty streams."""
SETTLE_S: Final = 1.0
LOOK_S: Final = 0.01


class Clocked:
    """How late each message was, by the time at which it came."""

    def __init__(self) -> None:
        self.late_ns: list[int] = []
        self.most_waiting = 0

    def note(self, sent_ns: int) -> None:
        """Take the stamp of a message that is in the reader's hand now."""
        self.late_ns.append(time.monotonic_ns() - sent_ns)

    def clear(self) -> None:
        """Forget what came while the flood was rising."""
        self.late_ns.clear()
        self.most_waiting = 0


@asynccontextmanager
async def adapter_feed(name: str, address: str) -> AsyncIterator[Any]:
    """Yield the feed of an adapter over forty streams."""
    endpoints = loopback(address)[name]
    wanted = [
        Subscription(kind=kind, symbol=symbol)
        for symbol in SYMBOLS
        for kind in (StreamKind.TRADES, StreamKind.QUOTES)
    ]
    venue: Any
    if name == "binance":
        venue = await connect_binance(endpoints, None)
    else:
        venue = connect_bybit(endpoints)
        await venue.measure_clock()
    try:
        async with venue.streams.market(wanted) as feed:
            yield feed
    finally:
        await venue.close()


async def read_feed(feed: Any, clocked: Clocked) -> None:
    """Read events."""
    async for event in feed:
        if isinstance(event, TradeOccurred):
            clocked.note(int(event.trade_id))
        elif isinstance(event, QuoteChanged):
            clocked.note(event.update_id)


async def read_raw(address: str, clocked: Clocked) -> None:
    """Read messages with aiohttp, and understand no more of them than JSON."""
    names = [f"{one.lower()}@{kind}" for one in SYMBOLS for kind in ("aggTrade", "bookTicker")]
    url = f"ws://{address}/raw/stream?streams={'/'.join(names)}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        async for frame in socket:
            data = json.loads(frame.data)["data"]
            clocked.note(data["a"] if data["e"] == "aggTrade" else data["u"])


async def _look(waiting: Callable[[], int], clocked: Clocked) -> None:
    while True:
        clocked.most_waiting = max(clocked.most_waiting, waiting())
        await asyncio.sleep(LOOK_S)


async def _measure(
    address: str, rate: float, seconds: float, clocked: Clocked, gone: Callable[[], int]
) -> dict[str, float]:
    """Let the flood run and return the figures. gone: how many were coalesced or dropped."""
    async with aiohttp.ClientSession(f"http://{address}") as session:

        async def told(query: dict[str, str]) -> int:
            async with session.get("/rate", params=query) as answer:
                return int((await answer.json())["sent"])

        await told({"n": str(rate)})
        await asyncio.sleep(SETTLE_S)
        clocked.clear()
        sent, coalesced = await told({}), gone()
        cpu, wall = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        passed = time.monotonic() - wall
        cpu = time.process_time() - cpu
        late = np.array(clocked.late_ns, dtype=np.float64) / 1e6
        came = len(late) + gone() - coalesced
        most_waiting = clocked.most_waiting
        sent = await told({"n": "0"}) - sent
    last = late[3 * len(late) // 4 :]
    return {
        "p50_ms": float(np.percentile(late, 50)),
        "p99_ms": float(np.percentile(late, 99)),
        "last_p99_ms": float(np.percentile(last, 99)),
        "sent_s": sent / passed,
        "came_s": came / passed,
        "came_share": came / max(1, sent),
        "coalesced": gone() - coalesced,
        "most_waiting": most_waiting,
        "cpu_share": cpu / passed,
    }


async def run(address: str, name: str, rate: float, seconds: float) -> dict[str, float]:
    """Measure one contestant."""
    clocked = Clocked()
    if name == "raw":
        reading = asyncio.create_task(read_raw(address, clocked))
        try:
            return await _measure(address, rate, seconds, clocked, lambda: 0)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    async with adapter_feed(name, address) as feed:
        reading = asyncio.create_task(read_feed(feed, clocked))
        looking = asyncio.create_task(_look(lambda: len(feed), clocked))
        try:
            return await _measure(
                address, rate, seconds, clocked, lambda: feed.coalesced + feed.dropped
            )
        finally:
            for task in (reading, looking):
                task.cancel()
            await asyncio.gather(reading, looking, return_exceptions=True)


if __name__ == "__main__":
    host, contestant, per_second, lasting, *core = sys.argv[1:]
    if core:
        os.sched_setaffinity(0, {int(core[0])})
    print(json.dumps(asyncio.run(run(host, contestant, float(per_second), float(lasting)))))
