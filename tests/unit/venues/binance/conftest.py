"""A scripted Binance and the adapter connected to it."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.venues.binance.hasty_time import HastyTime
from tests.unit.venues.binance.scripted_binance import CREDENTIALS, ScriptedBinance

from perpdesk.venues.binance.venue import BinanceVenue, connect
from perpdesk.venues.clock import SystemTime


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedBinance]:
    scripted = ScriptedBinance()
    await scripted.start(SystemTime().now_ms)
    yield scripted
    await scripted.stop()


@pytest.fixture
async def binance(venue: ScriptedBinance) -> AsyncIterator[BinanceVenue]:
    adapter = await connect(venue.endpoints, CREDENTIALS)
    yield adapter
    await adapter.close()


@pytest.fixture
async def hasty(venue: ScriptedBinance) -> AsyncIterator[BinanceVenue]:
    """The adapter on a clock that runs fast, for whatever waits."""
    local = HastyTime()
    venue.now_ms = local.now_ms
    adapter = await connect(venue.endpoints, CREDENTIALS, local=local)
    yield adapter
    await adapter.close()
