"""The client of a soak: both adapters, all feeds, a trader, and a record of what was told.

usage: python -m benchmarks.contestants.venue_soak_client ADDRESS --hours 24 --symbols 20 …
Prints a line of JSON for each sample, and one with the verdict at the end.
"""

import asyncio
import gc
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr

from benchmarks.contestants.venue_soak_time import PIPES, VirtualTime, patience
from benchmarks.contestants.venue_soak_trader import Trader, Witness
from benchmarks.contestants.venue_soak_verdict import Told, judge
from benchmarks.contestants.venue_soak_world import BEGIN_MS, Plan, instruments_of, plan_of
from perpdesk.domain.candles import MINUTE_MS, Timeframe, Venue
from perpdesk.domain.errors import PerpdeskError
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.streams import (
    AccountSynchronized,
    CandleUpdated,
    MarkChanged,
    StreamEvent,
    StreamKind,
    StreamLost,
    Subscription,
)
from perpdesk.domain.venue_reports import FillReport, OrderReport, PositionReport
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET
from perpdesk.venues.binance.venue import BinanceVenue
from perpdesk.venues.binance.venue import connect as connect_binance
from perpdesk.venues.bybit.connect import BybitVenue
from perpdesk.venues.bybit.connect import connect as connect_bybit
from perpdesk.venues.endpoints import Credentials, loopback

DEMO: Final = Credentials(key=DEMO_KEY, secret=SecretStr(DEMO_SECRET))
MINUTE: Final = Timeframe.parse("1m")
SAMPLES: Final = 144
"""How many samples a soak takes, at least one every two virtual minutes."""
MEASURE_CLOCK_S: Final = 300.0


class CandleRecord:
    """Closed candles of one symbol by minute: how often each was told, and with what values."""

    def __init__(self, minutes: int) -> None:
        self.told: npt.NDArray[np.int64] = np.zeros(minutes, dtype=np.int64)
        self.values: npt.NDArray[np.float64] = np.full((minutes, 5), np.nan)
        self.out_of_order = 0
        self._last_ms = 0

    def take(self, candle: CandleUpdated) -> None:
        """Count a closed candle."""
        self.out_of_order += candle.ts_ms <= self._last_ms
        self._last_ms = max(self._last_ms, candle.ts_ms)
        row = (candle.ts_ms - BEGIN_MS) // MINUTE_MS
        if 0 <= row < len(self.told):
            self.told[row] += 1
            self.values[row] = candle.open, candle.high, candle.low, candle.close, candle.volume


class Ear:
    """Listens to the feeds of one venue and keeps what a judge needs."""

    def __init__(self, venue: Venue, instruments: Mapping[str, Instrument], minutes: int) -> None:
        self.venue = venue
        self.candles = {symbol: CandleRecord(minutes) for symbol in instruments}
        self.marks: dict[str, Decimal] = {}
        self.positions: dict[str, Decimal] = {}
        self.open_orders: set[str] = set()
        self.fills: dict[tuple[str, str], tuple[str, Decimal, Decimal]] = {}
        self.fills_told: Counter[tuple[str, str]] = Counter()
        self.events = 0
        self.ended: list[str] = []
        self.lost: Counter[str] = Counter()
        self.synchronized = 0
        self.latest_ms = 0

    async def hear_market(self, feed: Any) -> None:
        """Read the market's feed."""
        async for event in feed:
            self.events += 1
            if isinstance(event, CandleUpdated):
                if event.is_closed:
                    self.candles[event.symbol].take(event)
            elif isinstance(event, MarkChanged):
                self.marks[event.symbol] = event.mark_price
                self.latest_ms = event.ts_event_ms
            elif isinstance(event, StreamLost):
                self._note_lost(event)

    async def hear(self, listening: Coroutine[Any, Any, None]) -> None:
        """Read a feed; that it ends, with whatever error, is written down."""
        try:
            await listening
            self.ended.append(f"{self.venue}: a feed ended")
        except Exception as error:
            self.ended.append(f"{self.venue}: a feed ended with {error!r}")

    async def hear_account(self, feed: Any, observe: Callable[[StreamEvent], None]) -> None:
        """Read the account's feed."""
        async for event in feed:
            self.events += 1
            self.take(event)
            observe(event)

    def take(self, event: StreamEvent) -> None:
        """Fold an event of the account."""
        if isinstance(event, FillReport):
            self.fills_told[event.symbol, event.trade_id] += 1
            self._note_fill(event)
        elif isinstance(event, PositionReport):
            self.positions[event.symbol] = event.signed_quantity
        elif isinstance(event, OrderReport):
            if event.status.is_closed:
                self.open_orders.discard(event.client_order_id)
            else:
                self.open_orders.add(event.client_order_id)
        elif isinstance(event, AccountSynchronized):
            self.synchronized += 1
            self.positions = {one.symbol: one.signed_quantity for one in event.positions}
            self.open_orders = {one.client_order_id for one in event.orders}
            for fill in event.fills:
                self._note_fill(fill)
        elif isinstance(event, StreamLost):
            self._note_lost(event)

    def _note_fill(self, fill: FillReport) -> None:
        key = (fill.symbol, fill.trade_id)
        self.fills[key] = (fill.client_order_id, fill.quantity, fill.price)

    def _note_lost(self, event: StreamLost) -> None:
        words = " ".join(word for word in event.reason.split() if not any(map(str.isdigit, word)))
        self.lost[f"{event.stream}: {words[:70]}"] += 1


def subscriptions_of(symbols: list[str]) -> list[Subscription]:
    """Return everything of all symbols; books of every third."""
    wanted = []
    for number, symbol in enumerate(symbols):
        wanted.append(Subscription(kind=StreamKind.CANDLES, symbol=symbol, timeframe=MINUTE))
        wanted += [
            Subscription(kind=kind, symbol=symbol)
            for kind in (StreamKind.TRADES, StreamKind.QUOTES, StreamKind.MARK)
        ]
        if number % 3 == 0:
            wanted.append(Subscription(kind=StreamKind.DEPTH, symbol=symbol))
    return wanted


@dataclass(slots=True, kw_only=True)
class Party:
    """One venue as the client has it."""

    ear: Ear
    trader: Trader
    witness: Witness
    adapter: BinanceVenue | BybitVenue


@asynccontextmanager
async def _adapter(
    venue: Venue,
    address: str,
    local: VirtualTime,
    rules: Mapping[str, Instrument],
    marks: Mapping[str, Decimal],
) -> AsyncIterator[BinanceVenue | BybitVenue]:
    endpoints = loopback(address)[venue.value]
    adapter: BinanceVenue | BybitVenue
    while True:
        try:
            if venue is Venue.BINANCE:
                adapter = await connect_binance(
                    endpoints,
                    DEMO,
                    instruments=lambda: rules,
                    mark_price=marks.get,
                    local=local,
                    pipe=PIPES,
                )
            else:
                adapter = connect_bybit(
                    endpoints,
                    DEMO,
                    instruments=lambda: rules,
                    mark_price=marks.get,
                    local=local,
                    pipes=PIPES,
                )
                await adapter.measure_clock()
            break
        except PerpdeskError:
            await local.sleep(5)
    try:
        yield adapter
    finally:
        await adapter.close()


async def _measure_now_and_then(adapter: BybitVenue, local: VirtualTime) -> None:
    while True:
        await local.sleep(MEASURE_CLOCK_S)
        try:
            await adapter.measure_clock()
        except PerpdeskError:
            continue


@asynccontextmanager
async def _party(
    venue: Venue,
    rules: Mapping[str, Instrument],
    plan: Plan,
    address: str,
    local: VirtualTime,
    notes: Any,
) -> AsyncIterator[Party]:
    ear = Ear(venue, rules, int(plan.hours * 60) + 1)
    async with AsyncExitStack() as stack:
        adapter = await stack.enter_async_context(_adapter(venue, address, local, rules, ear.marks))
        witness = Witness(adapter.trading, notes)
        trader = Trader(
            witness,
            rules,
            local=local,
            now_ms=adapter.clock.now_ms,
            price=ear.marks.get,
            held=lambda symbol: ear.positions.get(symbol, ZERO),
            seed=plan.seed,
        )
        market = await stack.enter_async_context(
            adapter.streams.market(subscriptions_of(list(rules)))
        )
        account = await stack.enter_async_context(adapter.streams.account())
        listening = [
            asyncio.create_task(ear.hear(ear.hear_market(market))),
            asyncio.create_task(ear.hear(ear.hear_account(account, trader.observe))),
        ]
        if isinstance(adapter, BybitVenue):
            listening.append(asyncio.create_task(_measure_now_and_then(adapter, local)))
        trader.start()
        try:
            yield Party(ear=ear, trader=trader, witness=witness, adapter=adapter)
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def sample(parties: list[Party], lag_ms: int) -> dict[str, Any]:
    """Return how the client stands now."""
    at_ms = max(party.ear.latest_ms for party in parties)
    return {
        "hour": round((at_ms - BEGIN_MS) / 3_600_000, 3) if at_ms else 0.0,
        "rss_mb": round(_resident_mb(), 2),
        "blocks_k": sys.getallocatedblocks() // 1000,
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "events": sum(party.ear.events for party in parties),
        "sent": sum(party.witness.sent for party in parties),
        "unknown": sum(party.witness.unknown for party in parties),
        "fills": sum(len(party.ear.fills) for party in parties),
        "candles": sum(
            int(record.told.sum()) for party in parties for record in party.ear.candles.values()
        ),
        "lost": sum(sum(party.ear.lost.values()) for party in parties),
        "lag_ms": lag_ms,
    }


async def soak(plan: Plan, address: str, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run the client of a plan against an address and return the verdict. tell: takes samples."""
    local = VirtualTime(plan.speed, BEGIN_MS)
    with patience(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.jsonl"
        with path.open("w", encoding="utf-8") as notes:
            async with AsyncExitStack() as stack:
                parties = [
                    await stack.enter_async_context(
                        _party(venue, rules, plan, address, local, notes)
                    )
                    for venue, rules in instruments_of(plan).items()
                ]
                await _live_through(plan, parties, tell)
                ended = await asyncio.gather(
                    *(party.trader.stop(plan.stop_within_s) for party in parties)
                )
                await _until(parties, plan.end_ms)
                notes.flush()
                told = [
                    Told(
                        venue=party.ear.venue,
                        candles={
                            symbol: (record.told, record.values, record.out_of_order)
                            for symbol, record in party.ear.candles.items()
                        },
                        positions=party.ear.positions,
                        open_orders=party.ear.open_orders,
                        fills=party.ear.fills,
                        fills_told=party.ear.fills_told,
                    )
                    for party in parties
                ]
                verdict = await judge(
                    told, address=address, notes=path, is_whole=plan.rests_at_the_end
                )
        verdict["errors"] = [each for some in ended for each in some]
        verdict["errors"] += [each for party in parties for each in party.ear.ended]
        verdict["alarms"] = sum(party.trader.alarms for party in parties)
        verdict["resyncs"] = sum(party.ear.synchronized for party in parties)
        verdict["streams_lost"] = dict(
            sum((party.ear.lost for party in parties), Counter()).most_common(12)
        )
    return verdict


async def _live_through(
    plan: Plan, parties: list[Party], tell: Callable[[dict[str, Any]], None]
) -> None:
    """Sample until trading is to stop. A sample's lag: how late the loop wakes from a sleep."""
    every_ms = max((plan.calm_ms - BEGIN_MS) // SAMPLES, 2 * MINUTE_MS)
    next_ms = BEGIN_MS + every_ms
    worst = 0.0
    while next_ms <= plan.calm_ms:
        before = time.monotonic()
        await asyncio.sleep(0.05)
        worst = max(worst, time.monotonic() - before - 0.05)
        if max(party.ear.latest_ms for party in parties) >= next_ms:
            gc.collect()
            tell(sample(parties, int(worst * 1000)))
            next_ms += every_ms
            worst = 0.0


async def _until(parties: list[Party], end_ms: int) -> None:
    while min(party.ear.latest_ms for party in parties) < end_ms:
        await asyncio.sleep(0.05)


class LogCount(logging.Handler):
    """Counts what the adapters log, in place of printing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line."""
        self.seen[f"{record.name}: {record.msg}"[:90]] += 1


def main(arguments: list[str]) -> None:
    """Run as a process of its own."""
    address, *rest = arguments
    log = LogCount()
    logging.getLogger().addHandler(log)

    def tell(row: dict[str, Any]) -> None:
        print(json.dumps({"sample": row}), flush=True)

    verdict = asyncio.run(soak(plan_of(rest), address, tell))
    verdict["logged"] = dict(log.seen.most_common(12))
    print(json.dumps({"verdict": verdict}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
