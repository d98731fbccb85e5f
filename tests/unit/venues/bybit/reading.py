"""Reading a feed with a deadline, so that a missing event fails instead of hanging."""

import asyncio

from perpdesk.domain.ports import Feed
from perpdesk.domain.streams import StreamEvent


async def read(feed: Feed, count: int = 1) -> list[StreamEvent]:
    found: list[StreamEvent] = []
    async with asyncio.timeout(5):
        async for event in feed:
            found.append(event)
            if len(found) == count:
                break
    return found


async def read_until(feed: Feed, kind: type[StreamEvent]) -> list[StreamEvent]:
    found: list[StreamEvent] = []
    async with asyncio.timeout(5):
        async for event in feed:
            found.append(event)
            if isinstance(event, kind):
                break
    return found
