"""Sets of stretches of time behave as sets of the milliseconds in them."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perpdesk.marketdata.series import PartSpan
from perpdesk.marketdata.spans import Span, by_part, inside, part_of, subtract, union

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda p: Span(*sorted(p))))


def points(some: list[Span]) -> set[int]:
    return {ms for span in some for ms in range(*span)}


@given(spans, spans)
def test_union_and_difference_are_those_of_sets(one: list[Span], other: list[Span]) -> None:
    assert points(union(one, other)) == points(one) | points(other)
    assert points(subtract(one, other)) == points(one) - points(other)
    merged = union(one, other)
    assert all(a.end_ms < b.start_ms for a, b in pairwise(merged))


@given(spans)
def test_inside_tells_the_times_that_are_covered(some: list[Span]) -> None:
    times = np.arange(45, dtype=np.int64)
    assert set(times[inside(times, some)].tolist()) == points(some)


def test_a_month_ends_where_the_next_begins() -> None:
    january, february = 1_672_531_200_000, 1_675_209_600_000
    assert part_of(january + 5, PartSpan.MONTH) == Span(january, february)
    pieces = by_part([Span(february - 10, february + 10)], PartSpan.MONTH)
    assert [part for part, _ in pieces] == [
        Span(january, february),
        Span(february, 1_677_628_800_000),
    ]
    assert [piece for _, piece in pieces] == [
        [Span(february - 10, february)],
        [Span(february, february + 10)],
    ]
