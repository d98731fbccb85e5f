"""Stretches of time, half-open: start_ms <= time < end_ms. Sets of them are sorted and disjoint."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Times
from perpdesk.marketdata.series import PartSpan


class Span(NamedTuple):
    """A stretch of time, half-open."""

    start_ms: int
    end_ms: int


def union(*several: Iterable[Span]) -> list[Span]:
    """Return the stretches that any of the sets covers."""
    merged: list[Span] = []
    for span in sorted(one for spans in several for one in spans if one.end_ms > one.start_ms):
        if merged and span.start_ms <= merged[-1].end_ms:
            merged[-1] = Span(merged[-1].start_ms, max(merged[-1].end_ms, span.end_ms))
        else:
            merged.append(span)
    return merged


def subtract(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return what of the spans is not covered by the others."""
    left = union(spans)
    for other in union(others):
        left = [
            piece
            for span in left
            for piece in (
                Span(span.start_ms, min(span.end_ms, other.start_ms)),
                Span(max(span.start_ms, other.end_ms), span.end_ms),
            )
            if piece.end_ms > piece.start_ms
        ]
    return left


def inside(times: Times, spans: Iterable[Span]) -> npt.NDArray[np.bool_]:
    """Tell for each time whether one of the spans covers it. Shape (n,) in, (n,) out."""
    merged = union(spans)
    starts = np.array([span.start_ms for span in merged], np.int64)
    ends = np.array([span.end_ms for span in merged], np.int64)
    before = np.searchsorted(starts, times, side="right")
    found = before > 0
    found[found] = times[found] < ends[before[found] - 1]
    return np.asarray(found, np.bool_)


def part_of(ts_ms: int, length: PartSpan) -> Span:
    """Return the day, month or year that holds a time."""
    period = np.datetime64(ts_ms, "ms").astype(f"datetime64[{length.value}]")
    edges = np.array([period, period + 1]).astype("datetime64[ms]").astype(np.int64)
    return Span(int(edges[0]), int(edges[1]))


def by_part(spans: Iterable[Span], length: PartSpan) -> list[tuple[Span, list[Span]]]:
    """Return the parts that the spans touch, ascending, each with its pieces of the spans."""
    found: dict[Span, list[Span]] = {}
    for span in union(spans):
        start_ms = span.start_ms
        while start_ms < span.end_ms:
            part = part_of(start_ms, length)
            end_ms = min(span.end_ms, part.end_ms)
            found.setdefault(part, []).append(Span(start_ms, end_ms))
            start_ms = end_ms
    return sorted(found.items())
