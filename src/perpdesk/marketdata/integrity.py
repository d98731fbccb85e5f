"""The gate that every row passes before it is stored: what is wrong, where, and what to do next.

A row number counts data rows from 1; a header line is not counted. Gaps are listed, never an error
here, and never filled.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import (
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Times,
    Trades,
)
from perpdesk.marketdata.gaps import (
    SAME_SETTLEMENT_MS,
    Gap,
    bar_numbers,
    funding_gaps,
    gaps,
    utc_text,
)
from perpdesk.marketdata.integrity_report import (
    IntegrityReport,
    Origin,
    Problem,
    empty_report,
    first_problem,
    require_sound,
)

__all__ = [
    "Gap",
    "IntegrityReport",
    "Origin",
    "Problem",
    "check_candles",
    "check_funding",
    "check_open_interest",
    "check_trades",
    "funding_gaps",
    "gaps",
    "require_sound",
]

JUMP_FACTOR: Final = 2.0
"""An open this many times above or below the previous close is worth a look."""

HIGHEST_FUNDING_RATE: Final = 0.1
"""No venue lets one settlement exceed a few percent: more means the rate is in percent."""


def check_candles(
    candles: Candles,
    *,
    kind: DataKind = DataKind.CANDLES,
    origin: Origin | None = None,
    now_ms: int | None = None,
    are_pieces: bool = False,
) -> IntegrityReport:
    """Check last or mark price candles. now_ms: rows that close later are refused, if given.

    are_pieces: the timeframe is known to be right, so single rows far apart do not speak against
    it, as they do in a file.
    """
    origin = origin or Origin()
    if len(candles) == 0:
        return empty_report(origin)
    problems = list(_time_problems(candles.ts_ms, origin, strictly=True))
    if not problems:
        problems.extend(
            _grid_problems(candles.ts_ms, candles.timeframe, origin, are_pieces=are_pieces)
        )
        if now_ms is not None:
            closes = candles.timeframe.close_all(candles.ts_ms)
            problems.extend(_future_problem(candles.ts_ms, closes > now_ms, now_ms, origin))
    problems.extend(_price_problems(candles, origin))
    return IntegrityReport(
        origin=str(origin),
        rows=len(candles),
        first_ts_ms=int(candles.ts_ms[0]),
        last_ts_ms=int(candles.ts_ms[-1]),
        gaps=() if problems else tuple(gaps(candles.ts_ms, candles.timeframe)),
        warnings=() if problems else tuple(_candle_warnings(candles, kind)),
        problems=tuple(problems),
    )


def check_funding(
    funding: FundingRates, *, origin: Origin | None = None, now_ms: int | None = None
) -> IntegrityReport:
    """Check recorded settlements; a missing mark price (NaN) is allowed."""
    origin = origin or Origin()
    if len(funding) == 0:
        return empty_report(origin)
    problems = list(_time_problems(funding.ts_ms, origin, strictly=True))
    if now_ms is not None:
        problems.extend(_future_problem(funding.ts_ms, funding.ts_ms > now_ms, now_ms, origin))
    if not problems:
        near = np.concatenate(([False], np.diff(funding.ts_ms) < SAME_SETTLEMENT_MS))
        message = "is within a minute of the row before: one settlement, twice"
        problems.extend(first_problem("time", funding.ts_ms, near, message, origin))
    rate, mark = funding.rate, funding.mark_price
    problems.extend(first_problem("rate", rate, ~np.isfinite(rate), "is not a number", origin))
    problems.extend(
        first_problem(
            "rate",
            rate,
            np.abs(rate) > HIGHEST_FUNDING_RATE,
            "is beyond any venue's limit; a rate is a fraction (0.0001 means 0.01 %)",
            origin,
        )
    )
    bad_mark = np.isinf(mark) | (mark <= 0)
    problems.extend(first_problem("mark_price", mark, bad_mark, "is not a price above 0", origin))
    return IntegrityReport(
        origin=str(origin),
        rows=len(funding),
        first_ts_ms=int(funding.ts_ms[0]),
        last_ts_ms=int(funding.ts_ms[-1]),
        gaps=() if problems else tuple(funding_gaps(funding)),
        warnings=(),
        problems=tuple(problems),
    )


def check_open_interest(
    readings: OpenInterest, *, origin: Origin | None = None, now_ms: int | None = None
) -> IntegrityReport:
    """Check readings of open interest on the grid of their period."""
    origin = origin or Origin()
    if len(readings) == 0:
        return empty_report(origin)
    ts_ms, values = readings.ts_ms, readings.open_interest
    problems = list(_time_problems(ts_ms, origin, strictly=True))
    if not problems:
        problems.extend(_grid_problems(ts_ms, readings.timeframe, origin, are_pieces=True))
    if now_ms is not None:
        problems.extend(_future_problem(ts_ms, ts_ms > now_ms, now_ms, origin))
    bad = ~(np.isfinite(values) & (values >= 0))
    message = "is not a number, 0 or above"
    problems.extend(first_problem("open_interest", values, bad, message, origin))
    return IntegrityReport(
        origin=str(origin),
        rows=len(readings),
        first_ts_ms=int(ts_ms[0]),
        last_ts_ms=int(ts_ms[-1]),
        gaps=() if problems else tuple(gaps(ts_ms, readings.timeframe)),
        warnings=(),
        problems=tuple(problems),
    )


def check_trades(
    trades: Trades, *, origin: Origin | None = None, now_ms: int | None = None
) -> IntegrityReport:
    """Check recorded trades; several may share one time, none may share time and id."""
    origin = origin or Origin()
    if len(trades) == 0:
        return empty_report(origin)
    problems = list(_time_problems(trades.ts_ms, origin, strictly=False))
    if now_ms is not None:
        problems.extend(_future_problem(trades.ts_ms, trades.ts_ms > now_ms, now_ms, origin))
    order = np.lexsort((trades.trade_id, trades.ts_ms))
    ids, times = trades.trade_id[order], trades.ts_ms[order]
    again = np.zeros(len(trades), np.bool_)
    again[order[1:]] = (ids[1:] == ids[:-1]) & (times[1:] == times[:-1])
    problems.extend(first_problem("trade_id", trades.trade_id, again, "appears twice", origin))
    for name in ("price", "quantity"):
        values = getattr(trades, name)
        bad = ~(np.isfinite(values) & (values > 0))
        problems.extend(first_problem(name, values, bad, "is not a number above 0", origin))
    return IntegrityReport(
        origin=str(origin),
        rows=len(trades),
        first_ts_ms=int(trades.ts_ms[0]),
        last_ts_ms=int(trades.ts_ms[-1]),
        gaps=(),
        warnings=(),
        problems=tuple(problems),
    )


def _time_problems(ts_ms: Times, origin: Origin, *, strictly: bool) -> Iterator[Problem]:
    steps = np.diff(ts_ms)
    backwards = np.concatenate(([False], steps < 0))
    if backwards.any():
        index = int(np.argmax(backwards))
        before, here = int(ts_ms[index - 1]), int(ts_ms[index])
        yield from first_problem(
            "time",
            ts_ms,
            backwards,
            f"is earlier than the row before ({utc_text(before)}): rows are not in order",
            origin,
            next_step="Sort the file by time, oldest first, then import it again.",
            value=f"{here} ({utc_text(here)})",
        )
    again = np.concatenate(([False], steps == 0))
    if strictly and again.any():
        here = int(ts_ms[np.argmax(again)])
        yield from first_problem(
            "time",
            ts_ms,
            again,
            "appears twice",
            origin,
            next_step="Remove the repeated rows, then import the file again.",
            value=f"{here} ({utc_text(here)})",
        )


def _grid_problems(
    ts_ms: Times, timeframe: Timeframe, origin: Origin, *, are_pieces: bool
) -> Iterator[Problem]:
    """Yield the wrong timeframe, or else the first time that lies beside the grid."""
    if len(ts_ms) > 1 and not timeframe.is_month and not are_pieces:
        waits, counts = np.unique(np.diff(ts_ms), return_counts=True)
        usual_ms = int(waits[np.argmax(counts)])
        if usual_ms != timeframe.duration_ms:
            yield Problem(
                row=None,
                field="timeframe",
                value=timeframe.name,
                message=f"the usual step between rows is {step_text(usual_ms)}",
                next_step=f"Give --timeframe {step_text(usual_ms)}, or another file.",
            )
            return
    floors = timeframe.floor_all(ts_ms)
    beside = floors != ts_ms
    if beside.any():
        here = int(ts_ms[np.argmax(beside)])
        yield from first_problem(
            "time",
            ts_ms,
            beside,
            f"is not an open time of {timeframe.name} candles in UTC",
            origin,
            next_step="Convert the times to UTC open times, then import the file again.",
            value=f"{here} ({utc_text(here)})",
        )


def _future_problem(
    ts_ms: Times, is_later: npt.NDArray[np.bool_], now_ms: int, origin: Origin
) -> Iterator[Problem]:
    if not is_later.any():
        return
    here = int(ts_ms[np.argmax(is_later)])
    yield from first_problem(
        "time",
        ts_ms,
        is_later,
        f"is not over yet; the clock says {utc_text(now_ms)}",
        origin,
        next_step="Remove unfinished and future rows, and check this computer's clock.",
        value=f"{here} ({utc_text(here)})",
    )


def _price_problems(candles: Candles, origin: Origin) -> Iterator[Problem]:
    for name, values in candles.columns():
        yield from first_problem(name, values, ~np.isfinite(values), "is not a number", origin)
        if name == "volume":
            yield from first_problem(name, values, values < 0, "is negative", origin)
        else:
            yield from first_problem(name, values, values <= 0, "is not a price above 0", origin)
    yield from first_problem(
        "high", candles.high, candles.high < candles.low, "is below the row's low", origin
    )
    for name in ("open", "close"):
        values = getattr(candles, name)
        outside = ((values > candles.high) | (values < candles.low)) & (candles.high >= candles.low)
        yield from first_problem(
            name, values, outside, "lies outside the row's low and high", origin
        )


def _candle_warnings(candles: Candles, kind: DataKind) -> Iterator[str]:
    apart = np.diff(bar_numbers(candles.ts_ms, candles.timeframe)) == 1
    ratio = candles.open[1:] / candles.close[:-1]
    jumps = np.flatnonzero(((ratio > JUMP_FACTOR) | (ratio < 1 / JUMP_FACTOR)) & apart)
    if len(jumps) > 0:
        first = int(jumps[0]) + 1
        yield (
            f"{len(jumps):,} bars open more than {JUMP_FACTOR:g} times above or below the close "
            f"before; the first at {utc_text(int(candles.ts_ms[first]))}"
        )
    if kind is DataKind.CANDLES and len(candles) >= 10 and not candles.volume.any():
        yield "every volume is 0: if these are mark prices, import them with --kind mark"


def step_text(step_ms: int) -> str:
    """Return a length of time as a timeframe name: 300000 gives 5m."""
    for unit_ms, unit in ((604_800_000, "w"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m")):
        if step_ms >= unit_ms and step_ms % unit_ms == 0:
            return f"{step_ms // unit_ms}{unit}"
    return f"{step_ms / 1000:g}s"
