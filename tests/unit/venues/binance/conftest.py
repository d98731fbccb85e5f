"""A scripted Binance and the adapter connected to it."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.venues.binance.scripted_binance import CREDENTIALS, ScriptedBinance

from perpdesk.venues.binance.venue import BinanceVenue, connect
from perpdesk.venues.clock import SystemTime
from perpdesk.venues.pipe import PipeSettings


@pytest.fixture
async def venue() -> AsyncIterator[ScriptedBinance]:
    scripted = ScriptedBinance()
    await scripted.start(SystemTime().now_ms)
    yield scripted
    await scripted.stop()


@pytest.fixture
async def binance(venue: ScriptedBinance) -> AsyncIterator[BinanceVenue]:
    adapter = await connect(
        venue.endpoints,
        CREDENTIALS,
        pipe=PipeSettings(backoff_s=0.01, backoff_max_s=0.02, jitter=lambda: 1.0),
    )
    yield adapter
    await adapter.close()
