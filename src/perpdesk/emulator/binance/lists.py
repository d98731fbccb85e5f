"""Lists in requests and answers: windows of time, pages, JSON lists."""

from typing import Final, TypeVar

import orjson

from perpdesk.domain.candles import DAY_MS
from perpdesk.emulator.binance.calls import Call, Params
from perpdesk.emulator.binance.errors import ApiError

LONGEST_SPAN_MS: Final = 7 * DAY_MS
_Item = TypeVar("_Item")


def span_of(call: Call) -> tuple[int, int]:
    """Return the window asked for: seven days at most, the last seven where none is given."""
    start_ms, end_ms = call.params.integer("startTime"), call.params.integer("endTime")
    if start_ms is None:
        end_ms = call.now_ms if end_ms is None else end_ms
        return end_ms - LONGEST_SPAN_MS, end_ms
    end_ms = start_ms + LONGEST_SPAN_MS if end_ms is None else end_ms
    if end_ms - start_ms > LONGEST_SPAN_MS:
        raise ApiError(-4166, text="Search window is restricted to recent 7 days only.")
    return start_ms, end_ms


def cut_to(rows: list[_Item], call: Call, *, oldest: bool) -> list[_Item]:
    """Return as many rows as wanted: from the oldest where a start was given, else the latest."""
    limit = call.params.limit(500, 1000)
    from_start = oldest or call.params.optional("startTime") is not None
    return rows[:limit] if from_start else rows[-limit:]


def as_text(value: object) -> str:
    """Return a JSON value as a form would carry it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def list_of(params: Params, name: str) -> list[object]:
    """Return a JSON list; its name is read in any case, as the venue does."""
    text = params.optional(name) or params.optional(name.lower())
    if text is None:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ApiError(-1130, name) from None
    if not isinstance(found, list):
        raise ApiError(-1130, name)
    return found
