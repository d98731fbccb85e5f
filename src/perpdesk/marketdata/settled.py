"""Stretches of a series that a venue has answered, so that they need not be asked again.

For candles, mark prices and open interest: where the venue, asked twice, had no row. For funding
and trades, whose times follow no grid: everything that was answered. Kept as `_settled.json` beside
the parts; without it the same stretches are asked once more, and nothing else changes.
"""

import json
from collections.abc import Iterable
from typing import Final

from perpdesk.marketdata.atomic_files import disk_errors, exclusive, replace_durably
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.series import SeriesKey
from perpdesk.marketdata.spans import Span, union

SETTLED: Final = "_settled.json"


def read_settled(store: CandleStore, key: SeriesKey) -> list[Span]:
    """Return the settled stretches; none where nothing is known, or the file is damaged."""
    try:
        pairs = json.loads((key.folder(store.root) / SETTLED).read_bytes())
        return union(Span(int(start), int(end)) for start, end in pairs)
    except (OSError, ValueError, TypeError):
        return []


def add_settled(store: CandleStore, key: SeriesKey, spans: Iterable[Span]) -> None:
    """Settle more stretches of a stored series."""
    new = union(spans)
    if not new:
        return
    folder = key.folder(store.root)
    with disk_errors(f"storing {folder / SETTLED}"), exclusive(folder):
        known = read_settled(store, key)
        merged = union(known, new)
        if merged != known:
            replace_durably(folder / SETTLED, json.dumps(merged).encode())
