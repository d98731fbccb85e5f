"""The door on loopback."""

from collections.abc import AsyncIterator

import pytest
from tests.unit.emulator.binance.loopback import Loopback, door_open


@pytest.fixture
async def door() -> AsyncIterator[Loopback]:
    async with door_open() as opened:
        yield opened
