"""Work that a callback starts and that must not outlive the stream it belongs to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from perpdesk.venues.feed import BoundedFeed


class Background:
    """Tasks that are started from callbacks. failed: told of an error that none of them caught."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background; it ends with the stream at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(f"{type(error).__name__}: {error}")

    async def cancel(self) -> None:
        """Stop everything and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def feeding(
    feed: BoundedFeed, work: Iterable[Coroutine[Any, Any, None]]
) -> AsyncIterator[BoundedFeed]:
    """Run what fills a feed while it is read; an error of any ends the feed with it."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in work]

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            feed.close(error)

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield feed
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        feed.close()
