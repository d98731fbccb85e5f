"""The shapes that all messages share: envelopes, numbers as strings, ids, pages."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import orjson

from perpdesk.domain.numbers import plain
from perpdesk.domain.order import Side
from perpdesk.emulator.bybit.errors import parameter
from perpdesk.emulator.records import OrderRecord

_Row = TypeVar("_Row")
_ORDER: Final = "0b17e000-0000-4000-8000-"
_EXECUTION: Final = "0b17e000-0000-5000-8000-"
NO_CLIENT_ID: Final = "~"
"""Begins the id of an order whose client gave none; no client can send it."""


def envelope(
    result: object, *, now_ms: int, code: int = 0, words: str = "OK", ext: object = None
) -> dict[str, Any]:
    """Return the body of an answer."""
    return {
        "retCode": code,
        "retMsg": words,
        "result": result,
        "retExtInfo": {} if ext is None else ext,
        "time": now_ms,
    }


def encoded(value: object) -> str:
    """Return JSON text."""
    return orjson.dumps(value).decode()


def number(value: Decimal) -> str:
    """Return a number as the venue writes it."""
    return plain(value)


def amount(value: Decimal) -> str:
    """Return an amount of quote with the digits that the venue books."""
    return plain(round(value, 8))


def side_word(side: Side) -> str:
    """Return Buy or Sell."""
    return "Buy" if side is Side.BUY else "Sell"


# Ids: the last group carries the number under which the emulator's journal knows it.


def order_id_of(number_: int) -> str:
    """Return the venue's id of an order."""
    return f"{_ORDER}{number_:012d}"


def execution_id_of(number_: int) -> str:
    """Return the venue's id of an execution."""
    return f"{_EXECUTION}{number_:012d}"


def order_number(text: str) -> int | None:
    """Return the number of an order id; None where it is none of ours."""
    tail = text.removeprefix(_ORDER)
    return int(tail) if tail != text and tail.isdecimal() else None


def link_id_of(record: OrderRecord) -> str:
    """Return the orderLinkId: empty where no client gave one, or the venue itself ordered."""
    unnamed = record.is_forced or record.client_id.startswith(NO_CLIENT_ID)
    return "" if unnamed else record.client_id


# Pages.


def whole(params: Mapping[str, Any], name: str, default: int | None = None) -> int | None:
    """Return an integer parameter. Raises BybitError where it is none."""
    value = params.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise parameter(f"{name} is not a number") from None


def limit_of(params: Mapping[str, Any], default: int, most: int) -> int:
    """Return how many rows are wanted; the venue cuts what is above its maximum."""
    limit = whole(params, "limit", default) or default
    if limit < 1:
        raise parameter("limit must be positive")
    return min(limit, most)


def page(rows: Sequence[_Row], params: Mapping[str, Any], limit: int) -> tuple[list[_Row], str]:
    """Return one page and the cursor of the next, "" where there is none.

    The cursor is percent-encoded already, as the venue's are; clients send it back so, or encoded
    once more.
    """
    start = _place(str(params.get("cursor") or ""))
    found = list(rows[start : start + limit])
    end = start + len(found)
    return found, f"{end}%3A{limit}%2C{end}%3A{limit}" if end < len(rows) else ""


def _place(cursor: str) -> int:
    text = unquote(unquote(cursor))
    head = text.partition(":")[0]
    if not text:
        return 0
    if not head.isdecimal():
        raise parameter("cursor is invalid")
    return int(head)
