"""Bybit's adapter, connected to a scripted venue."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.venues.bybit.scripted_venue import ScriptedVenue, connected, envelope, running

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
