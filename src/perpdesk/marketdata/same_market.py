"""Whether new candles are of the market that is stored under the same name.

A file that does not say its symbol can be imported as any. Where candles or mark prices of the
symbol are stored already, their prices say what the file's name does not.
"""

from typing import Final

import numpy as np

from perpdesk.domain.candles import Candles, DataKind, Timeframe
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.importers import Imported
from perpdesk.marketdata.series import SeriesKey

LEAST_COMMON: Final = 24
"""Fewer opens in common decide nothing: within one day last and mark price can part widely."""

FACTOR: Final = 1.5
"""Half of the opens may differ by less; another symbol's differ by more at nearly all."""


def require_same_market(store: CandleStore, found: Imported) -> None:
    """Raise DataRefused where the opens are far from those stored of the symbol at the same times.

    The stored series of the longest timeframe that shares enough open times is asked.
    """
    rows = found.rows
    if not isinstance(rows, Candles) or len(rows) < LEAST_COMMON:
        return
    for key in _comparable(store, rows):
        try:
            known = _opens(store, key, rows)
        except DataRefused:
            continue  # damaged; importing anew is how it is repaired
        _, ours, theirs = np.intersect1d(
            rows.ts_ms, known.ts_ms, assume_unique=True, return_indices=True
        )
        if len(ours) < LEAST_COMMON:
            continue
        ratio = float(np.median(rows.open[ours] / known.open[theirs]))
        if not 1 / FACTOR < ratio < FACTOR:
            source = store.stored(key).source
            raise DataRefused(
                f"{found.path}: these are not the prices of {rows.symbol}: at {len(ours):,} times "
                f"they are {ratio:.4g} times those stored as {key} ({source})",
                next_step="Give the symbol that they are of. Where the stored ones are wrong, "
                f"delete them first: {key.delete_command()}",
            )
        return


def _comparable(store: CandleStore, rows: Candles) -> list[SeriesKey]:
    keys = [
        SeriesKey(venue=rows.venue, symbol=rows.symbol, kind=kind, timeframe=timeframe)
        for kind in (DataKind.CANDLES, DataKind.MARK)
        for timeframe in store.timeframes(rows.venue, rows.symbol, kind)
    ]
    return sorted(keys, key=lambda key: -_of(key).duration_ms)


def _of(key: SeriesKey) -> Timeframe:
    assert key.timeframe is not None  # candles and mark prices have one
    return key.timeframe


def _opens(store: CandleStore, key: SeriesKey, rows: Candles) -> Candles:
    read = store.mark_candles if key.kind is DataKind.MARK else store.candles
    start_ms, end_ms = int(rows.ts_ms[0]), int(rows.ts_ms[-1]) + 1
    return read(key.venue, key.symbol, _of(key), start_ms, end_ms)
