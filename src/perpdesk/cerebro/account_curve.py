"""The account at the end of every strategy bar, drawn from the trace of a run."""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import AccountTrace
from perpdesk.domain.account import AccountCurve
from perpdesk.domain.candles import Times
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, atoms_of
from perpdesk.simulation.margin import rules_of
from perpdesk.simulation.span_curve import PositionSpan, spans_curve


def account_curve(
    trace: AccountTrace,
    close_ms: Times,
    *,
    instruments: Mapping[str, Instrument],
    execution: Mapping[str, ExecutionBars],
    leverage: Mapping[str, Decimal],
) -> AccountCurve:
    """Return the account at each of `close_ms`, ascending close times of strategy bars.

    Between two entries of the trace only the mark moves, so a row is the position held by then at
    the close of the last execution bar.
    """
    rows = len(close_ms)
    totals = [np.zeros(rows, np.int64) for _ in range(3)]
    for symbol, instrument in instruments.items():
        spans = _position_spans(trace, symbol, instrument, close_ms)
        marks = _marks_at(execution[symbol], close_ms)
        columns = spans_curve(instrument, spans, marks_e8=marks, leverage=leverage[symbol])
        for total, column in zip(totals, columns, strict=True):
            total += column
    unrealized, used, maintenance = totals
    return AccountCurve(
        ts_ms=close_ms - 1,
        cash=_cash_at(trace, close_ms),
        unrealized=unrealized,
        used_margin=used,
        maintenance_margin=maintenance,
    )


def _marks_at(bars: ExecutionBars, close_ms: Times) -> Times:
    """Return the mark at the close of the last execution bar by each time."""
    last = np.searchsorted(bars.close_ms, close_ms, side="right") - 1
    marks: Times = bars.mark.close[np.maximum(last, 0)]
    return marks


def _cash_at(trace: AccountTrace, close_ms: Times) -> Times:
    atoms = np.array([atoms_of(cash) for cash in trace.cash], np.int64)
    last = np.searchsorted(np.array(trace.cash_ms, np.int64), close_ms, side="right") - 1
    cash: Times = atoms[last]
    return cash


def _position_spans(
    trace: AccountTrace, symbol: str, instrument: Instrument, close_ms: Times
) -> list[PositionSpan]:
    """Return what was held over the rows, without spans too short to hold one."""
    times = trace.position_ms[symbol]
    needs_fees = rules_of(instrument.venue).reserves_close_fee
    starts = np.searchsorted(close_ms, np.array(times, np.int64)).tolist()
    ends = [*starts[1:], len(close_ms)]
    fees = instrument.fees
    first = starts[0] if starts else len(close_ms)
    spans = [PositionSpan(rows=first, signed_quantity=ZERO, entry_value=ZERO, taker_rate=ZERO)]
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if end > start:
            quantity, value = trace.positions[symbol][place]
            spans.append(
                PositionSpan(
                    rows=end - start,
                    signed_quantity=quantity,
                    entry_value=value,
                    taker_rate=fees.at(times[place] - 1).taker if needs_fees else ZERO,
                )
            )
    return spans
