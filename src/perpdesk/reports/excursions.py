"""Excursions: how far a trade went against its owner, and how far for him, while it was open."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Candles
from perpdesk.domain.order import OrderPurpose
from perpdesk.reports.round_trip import RoundTrip

Floats = npt.NDArray[np.float64]


def with_excursions(trips: Sequence[RoundTrip], bars: Mapping[str, Candles]) -> list[RoundTrip]:
    """Return the trips with `mae` and `mfe`, in quote, for the whole quantity at the entry price.

    bars: candles by symbol, the finer the truer; a trip whose symbol is missing stays as it is.
    Bars from the one of the entry up to the one of the exit count in full. The bar of the exit
    counts its open and the exit price alone (what came after is not the trade's), and, where a
    target was hit, also its adverse extreme: the same pessimism by which fills are decided. A trip
    that is still open counts every bar to the end.
    """
    measured = list(trips)
    rows_of: dict[str, list[int]] = {}
    for row, trip in enumerate(measured):
        rows_of.setdefault(trip.symbol, []).append(row)
    for symbol, rows in rows_of.items():
        candles = bars.get(symbol)
        if candles is None or not len(candles):
            continue
        mae, mfe = _excursions([measured[row] for row in rows], candles)
        for row, worst, best in zip(rows, mae.tolist(), mfe.tolist(), strict=True):
            measured[row] = replace(measured[row], mae=worst, mfe=best)
    return measured


def _excursions(trips: Sequence[RoundTrip], bars: Candles) -> tuple[Floats, Floats]:
    last_ms = int(bars.timeframe.close_ms(int(bars.ts_ms[-1]))) - 1
    entry_ms = np.array([trip.entry_ts_ms for trip in trips], dtype=np.int64)
    exit_ms = np.array(
        [last_ms if trip.exit_ts_ms is None else trip.exit_ts_ms for trip in trips], dtype=np.int64
    )
    entry = np.array([float(trip.entry_price) for trip in trips])
    leave = np.array(
        [float(t.entry_price if t.exit_price is None else t.exit_price) for t in trips]
    )
    sign = np.array([float(trip.side.sign) for trip in trips])
    quantity = np.array([float(trip.quantity) for trip in trips])
    hit_target = np.array([trip.exit_reason is OrderPurpose.TAKE_PROFIT for trip in trips])

    first = np.searchsorted(bars.ts_ms, entry_ms, side="right") - 1
    last = np.searchsorted(bars.ts_ms, exit_ms, side="right") - 1
    first, last = first.clip(min=0), last.clip(min=0)
    exit_close = bars.timeframe.close_all(bars.ts_ms[last])
    whole = exit_ms >= exit_close - 1  # left with the bar's close: all of it was lived through
    before = first < last

    low, high = np.minimum(entry, leave), np.maximum(entry, leave)
    spans = np.column_stack((first, last)).ravel()
    # reduceat answers with the start's own bar where a span is empty: masked out by `before`.
    span_low = np.minimum.reduceat(bars.low, spans)[::2]
    span_high = np.maximum.reduceat(bars.high, spans)[::2]
    long = sign > 0
    exit_low, exit_high, exit_open = bars.low[last], bars.high[last], bars.open[last]
    hit_target &= (leave - exit_open) * sign > 0  # else the bar opened beyond it and was left there
    for seen, lows, highs in (
        (before, span_low, span_high),
        (before, exit_open, exit_open),
        (whole, exit_low, exit_high),
        (hit_target & long, exit_low, low),
        (hit_target & ~long, high, exit_high),
    ):
        low = np.where(seen, np.minimum(low, lows), low)
        high = np.where(seen, np.maximum(high, highs), high)

    worst, best = np.where(long, low, high), np.where(long, high, low)
    mae = np.minimum((worst - entry) * sign * quantity, 0.0)
    mfe = np.maximum((best - entry) * sign * quantity, 0.0)
    return mae, mfe
