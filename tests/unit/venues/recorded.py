"""Recorded websocket logs and REST answers, read into levels."""

import gzip
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from perpdesk.domain.streams import Level


def levels(rows: Sequence[Sequence[str]]) -> tuple[Level, ...]:
    return tuple((Decimal(price), Decimal(quantity)) for price, quantity in rows)


def messages(path: Path, separator: str) -> Iterator[dict[str, Any]]:
    """Yield what follows the receive time of each line; lines that are no message are left out."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            text = line.partition(separator)[2] if separator else line
            if text.startswith("{"):
                message = json.loads(text)
                yield message.get("data", message) if separator else message


def answer(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())["response"]
    assert isinstance(found, dict)
    return found
