"""Answers that come in pages, and spans of time that come in windows."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from perpdesk.domain.candles import DAY_MS
from perpdesk.venues.bybit.calls import Call
from perpdesk.venues.bybit.fields import Message, rows
from perpdesk.venues.bybit.transport import Transport
from perpdesk.venues.rate_limit import Lane

WINDOW_MS: Final = 7 * DAY_MS
"""The longest span of one request for executions, orders and transactions."""


async def all_pages(
    transport: Transport, call: Call, parameters: Mapping[str, Any], *, lane: Lane
) -> dict[str, Any]:
    """Return the envelope of the first page with the rows of every page in its list."""
    answer = await transport.call(call, parameters, lane=lane)
    merged = dict(answer.body)
    found = list(rows(answer.result))
    cursor, seen = answer.result.get("nextPageCursor"), set()
    # An empty page, or a cursor that comes again, ends it too: some endpoints always give one.
    while cursor and cursor not in seen and rows(answer.result):
        seen.add(cursor)
        answer = await transport.call(call, {**parameters, "cursor": cursor}, lane=lane)
        found += rows(answer.result)
        cursor = answer.result.get("nextPageCursor")
    merged["result"] = {**answer.result, "list": found, "nextPageCursor": ""}
    return merged


async def all_windows(
    transport: Transport,
    call: Call,
    parameters: Mapping[str, Any],
    *,
    since_ms: int,
    until_ms: int,
    lane: Lane,
) -> list[Message]:
    """Return the rows of a span of any length, window by window, in the order received."""
    found: list[Message] = []
    for start_ms, end_ms in windows(since_ms, until_ms):
        window = {**parameters, "startTime": start_ms, "endTime": end_ms}
        found += rows((await all_pages(transport, call, window, lane=lane))["result"])
    return found


def windows(since_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """Yield spans of at most seven days that cover since_ms to until_ms, both included."""
    start_ms = since_ms
    while start_ms <= until_ms:
        end_ms = min(start_ms + WINDOW_MS - 1, until_ms)
        yield start_ms, end_ms
        start_ms = end_ms + 1
