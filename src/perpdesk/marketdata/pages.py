"""Pages of rows as a venue sends them: asked for, joined, looked over, and stored as one."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import (
    HOUR_MS,
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Trades,
)
from perpdesk.domain.ports import HistorySource
from perpdesk.marketdata.backfill_plan import Wanted
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.gaps import LONGEST_FUNDING_INTERVAL_MS, funding_gaps_of
from perpdesk.marketdata.series import WriteReport
from perpdesk.marketdata.spans import Span

Page = Candles | FundingRates | OpenInterest | Trades

FUNDING_SLACK_MS: Final = LONGEST_FUNDING_INTERVAL_MS + HOUR_MS // 2


async def ask(source: HistorySource, wanted: Wanted, span: Span) -> Page:
    """Ask the venue once for the rows of a stretch of time."""
    symbol, (start_ms, end_ms) = wanted.key.symbol, span
    page: Page
    match wanted.key.kind:
        case DataKind.FUNDING:
            page = await source.funding(symbol, start_ms, end_ms)
        case DataKind.TRADES:
            page = await source.trades(symbol, start_ms, end_ms)
        case DataKind.OPEN_INTEREST:
            assert wanted.period is not None  # readings have a period
            page = await source.open_interest(symbol, wanted.period, start_ms, end_ms)
        case kind:
            assert wanted.key.timeframe is not None  # candles have a timeframe
            page = await source.candles(symbol, wanted.key.timeframe, kind, start_ms, end_ms)
    # The span ends before the candle that is still open, so this keeps unfinished ones out too.
    times = page.ts_ms
    assert len(times) == 0 or (times[0] >= start_ms and times[-1] < end_ms), (
        f"{wanted.key}: the source answered rows outside {span}"
    )
    return page


def pick(page: Page, rows: npt.NDArray[Any]) -> Page:
    """Return the rows of a page by index or mask."""
    columns: dict[str, Any] = {
        field.name: value[rows]
        for field in fields(page)
        if isinstance(value := getattr(page, field.name), np.ndarray)
    }
    return replace(page, **columns)


def join(pages: Sequence[Page]) -> Page:
    """Return one page in order of time; a row that came twice is kept once."""
    first = pages[0]
    columns: dict[str, Any] = {
        field.name: np.concatenate([getattr(page, field.name) for page in pages])
        for field in fields(first)
        if isinstance(getattr(first, field.name), np.ndarray)
    }
    both = replace(first, **columns)
    names = [both.ts_ms] if not isinstance(both, Trades) else [both.trade_id, both.ts_ms]
    order = np.lexsort(names)
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = np.any([name[order[1:]] != name[order[:-1]] for name in names], axis=0)
    return pick(both, order[is_first])


def silences(kind: DataKind, page: Page, span: Span) -> list[Span]:
    """Return where funding or trades are missing as far as one can tell without a grid."""
    if kind is DataKind.TRADES:
        return [span] if len(page) == 0 else []
    times = page.ts_ms
    if len(times) == 0:
        return [span] if span.end_ms - span.start_ms > FUNDING_SLACK_MS else []
    edges = [Span(span.start_ms, int(times[0])), Span(int(times[-1]) + 1, span.end_ms)]
    found = [edge for edge in edges if edge.end_ms - edge.start_ms > FUNDING_SLACK_MS]
    return found + [Span(gap.start_ms, gap.end_ms) for gap in funding_gaps_of(times)]


def write(store: CandleStore, wanted: Wanted, page: Page, *, source: str) -> WriteReport:
    """Merge a page into its series."""
    match page:
        case Candles():
            return store.write_candles(page, wanted.key.kind, source=source, are_pieces=True)
        case FundingRates():
            return store.write_funding(page, source=source)
        case OpenInterest():
            return store.write_open_interest(page, source=source)
        case Trades():
            return store.write_trades(page, source=source)
