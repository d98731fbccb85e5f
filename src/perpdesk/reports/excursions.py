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
    Bars count in full while the trade was open from their open to their close. Of a bar that it was
    entered within, the close and the adverse extreme count (up to the stop); of the bar it was left
    in, the open and the exit price, and, where a target was hit, the adverse extreme: the same
    pessimism by which fills are decided. A trip closed out with the run was open to its last
    bar's close, so all of that bar counts. A trip that is still open counts every bar to the end.
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
    end_ms = bars.timeframe.close_ms(int(bars.ts_ms[-1]))
    entry_ms = np.array([trip.entry_ts_ms for trip in trips], dtype=np.int64)
    exit_ms = np.array(
        [end_ms if trip.exit_ts_ms is None else trip.exit_ts_ms for trip in trips], dtype=np.int64
    )
    entry = np.array([float(trip.entry_price) for trip in trips])
    leave = np.array([float(t.exit_price or t.entry_price) for t in trips])
    stop = np.array([float(t.stop_loss or "nan") for t in trips])
    sign = np.array([float(trip.side.sign) for trip in trips])
    quantity = np.array([float(trip.quantity) for trip in trips])
    hit_target = np.array([trip.exit_reason is OrderPurpose.TAKE_PROFIT for trip in trips])

    first = (np.searchsorted(bars.ts_ms, entry_ms, side="right") - 1).clip(min=0)
    last = (np.searchsorted(bars.ts_ms, exit_ms, side="right") - 1).clip(min=0)
    within = (entry_ms > bars.ts_ms[first]) & (first < last)
    closed_out = np.array([trip.exit_reason is OrderPurpose.CLOSE_OUT for trip in trips])
    held_to_close = exit_ms >= bars.timeframe.close_all(bars.ts_ms[last])
    held_to_close |= closed_out & (entry_ms <= bars.ts_ms[last])
    saw_entry_bar = within | (closed_out & (entry_ms > bars.ts_ms[first]))
    # Where the bar opened beyond the target, the trade was over at once.
    hit_target &= (leave - bars.open[last]) * sign > 0

    start = np.where(within, first + 1, first)
    spans = np.column_stack((start, last)).ravel()
    # reduceat answers with the start's own bar where a span is empty: masked out by start < last.
    span_low = np.minimum.reduceat(bars.low, spans)[::2]
    span_high = np.maximum.reduceat(bars.high, spans)[::2]
    is_long = sign > 0
    adverse_first = np.where(is_long, bars.low[first], bars.high[first])
    adverse_first = np.where(is_long, np.fmax(adverse_first, stop), np.fmin(adverse_first, stop))
    adverse_last = np.where(is_long, bars.low[last], bars.high[last])
    low, high = np.minimum(entry, leave), np.maximum(entry, leave)
    for counts, lows, highs in (
        (start < last, span_low, span_high),
        (first < last, bars.open[last], bars.open[last]),
        (held_to_close, bars.low[last], bars.high[last]),
        (saw_entry_bar, bars.close[first], bars.close[first]),
        (saw_entry_bar, adverse_first, adverse_first),
        (hit_target, adverse_last, adverse_last),
    ):
        low = np.where(counts, np.minimum(low, lows), low)
        high = np.where(counts, np.maximum(high, highs), high)

    worst, best = np.where(is_long, low, high), np.where(is_long, high, low)
    # Prices are decimals told in floats: eight places are what the ledger keeps, the rest is noise.
    mae = np.round(np.minimum((worst - entry) * sign * quantity, 0.0), 8)
    mfe = np.round(np.maximum((best - entry) * sign * quantity, 0.0), 8)
    return mae, mfe
