"""Bybit's adapter, connected to a scripted venue."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from tests.unit.simulation.market import instrument_of
from tests.unit.venues.bybit.scripted_venue import ScriptedVenue, connected, envelope, running

from perpdesk.domain.candles import Venue
from perpdesk.venues.bybit.connect import BybitVenue
from perpdesk.venues.clock import SystemTime


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedVenue]:
    async with running(ScriptedVenue()) as scripted:
        scripted.answer(
            "/v5/market/time",
            lambda _: envelope({"timeNano": str(SystemTime().now_ms() * 1_000_000)}),
        )
        yield scripted


@pytest.fixture
async def bybit(venue: ScriptedVenue) -> AsyncIterator[BybitVenue]:
    async with connected(venue) as found:
        yield found


@pytest.fixture
async def ruled(venue: ScriptedVenue) -> AsyncIterator[BybitVenue]:
    """The venue with instruments known (tick 0.1, step 0.001) and a mark of 60,000."""
    known = {"BTCUSDT": instrument_of(Venue.BYBIT)}
    async with connected(
        venue, instruments=lambda: known, mark_price=lambda symbol: Decimal(60_000)
    ) as found:
        yield found


class HastyTime(SystemTime):
    """Time that jumps where it should be waited for."""

    def __init__(self) -> None:
        self.skipped_ms = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(self.skipped_ms)

    def monotonic_ms(self) -> float:
        return super().monotonic_ms() + self.skipped_ms

    async def sleep(self, seconds: float) -> None:
        self.skipped_ms += seconds * 1000
        await asyncio.sleep(0)


@pytest.fixture
async def hasty(venue: ScriptedVenue) -> AsyncIterator[BybitVenue]:
    """The venue for one who does not wait."""
    async with connected(venue, local=HastyTime()) as found:
        yield found
