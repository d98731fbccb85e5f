from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.venues.recorded import answer, levels, messages

from perpdesk.domain.streams import Level
from perpdesk.venues.order_book import BinanceBook, BookGap, BybitBook, LocalBook

D = Decimal
NONE: tuple[Level, ...] = ()


def level(price: str, quantity: str) -> tuple[Level, ...]:
    return ((D(price), D(quantity)),)


# The rules, by hand.


def test_the_best_levels_come_first_on_both_sides() -> None:
    book = BybitBook()
    book.snapshot(7, levels([["9", "1"], ["10", "2"]]), levels([["12", "3"], ["11", "4"]]))
    assert book.top(1) == (level("10", "2"), level("11", "4"))
    assert book.top(5) == (
        levels([["10", "2"], ["9", "1"]]),
        levels([["11", "4"], ["12", "3"]]),
    )


def test_quantities_are_absolute_and_zero_deletes_a_level_known_or_not() -> None:
    book = BybitBook()
    book.snapshot(7, level("10", "2"), level("11", "4"))
    book.delta(8, level("10", "5"), levels([["11", "0"], ["99", "0"], ["12", "1"]]))
    assert book.top(9) == (level("10", "5"), level("12", "1"))


def test_a_price_with_other_digits_is_the_same_level() -> None:
    book = BybitBook()
    book.snapshot(7, level("10.0", "2"), NONE)
    book.delta(8, level("10.00", "0"), NONE)
    assert book.top(9) == (NONE, NONE)


def test_a_bybit_delta_that_skips_one_is_a_gap_and_needs_a_snapshot() -> None:
    book = BybitBook()
    book.snapshot(7, NONE, NONE)
    with pytest.raises(BookGap):
        book.delta(9, NONE, NONE)
    with pytest.raises(BookGap):
        book.delta(8, NONE, NONE)
    book.snapshot(20, level("1", "1"), NONE)
    book.delta(21, level("2", "1"), NONE)
    assert book.update_id == 21


def test_a_bybit_delta_before_any_snapshot_is_a_gap() -> None:
    with pytest.raises(BookGap):
        BybitBook().delta(8, NONE, NONE)


def test_an_update_id_of_one_starts_the_bybit_book_anew() -> None:
    book = BybitBook()
    book.snapshot(700, level("10", "2"), NONE)
    book.delta(1, level("20", "1"), NONE)
    assert book.top(9) == (level("20", "1"), NONE)
    book.delta(2, level("21", "1"), NONE)
    assert book.update_id == 2


def test_binance_differences_wait_for_the_snapshot_that_fits_between_them() -> None:
    book = BinanceBook()
    assert not book.difference(91, 95, 90, level("1", "1"), NONE)
    assert not book.difference(97, 102, 95, level("2", "1"), NONE)
    assert not book.difference(103, 104, 102, level("3", "1"), NONE)
    book.snapshot(100, level("9", "1"), NONE)
    # The first is older than the snapshot, and its level is not there.
    assert book.top(9)[0] == levels([["9", "1"], ["3", "1"], ["2", "1"]])
    assert book.difference(107, 108, 104, level("9", "0"), NONE)
    assert book.update_id == 108


def test_a_binance_snapshot_that_is_too_old_is_refused_and_a_newer_one_fits() -> None:
    book = BinanceBook()
    book.difference(103, 104, 102, NONE, NONE)
    with pytest.raises(BookGap):
        book.snapshot(99, NONE, NONE)
    book.snapshot(103, NONE, NONE)
    assert book.update_id == 104


def test_a_binance_snapshot_may_come_before_any_difference() -> None:
    book = BinanceBook()
    book.snapshot(100, NONE, NONE)
    assert not book.difference(90, 99, 89, level("1", "1"), NONE)
    assert book.difference(100, 101, 99, level("2", "1"), NONE)
    assert book.top(9)[0] == level("2", "1")


def test_a_binance_difference_that_does_not_name_the_one_before_is_a_gap() -> None:
    book = BinanceBook()
    book.snapshot(100, NONE, NONE)
    book.difference(100, 101, 99, NONE, NONE)
    with pytest.raises(BookGap):
        book.difference(105, 106, 104, level("5", "1"), NONE)
    assert not book.difference(107, 108, 106, level("6", "1"), NONE)
    book.snapshot(105, NONE, NONE)
    assert book.top(9)[0] == levels([["6", "1"], ["5", "1"]])
    assert book.difference(109, 110, 108, NONE, NONE)


def test_a_gap_among_the_buffered_binance_differences_is_found() -> None:
    book = BinanceBook()
    book.difference(100, 101, 99, NONE, NONE)
    book.difference(105, 106, 104, NONE, NONE)
    with pytest.raises(BookGap):
        book.snapshot(101, NONE, NONE)
    book.snapshot(105, NONE, NONE)
    assert book.update_id == 106


def test_a_binance_difference_that_comes_twice_changes_nothing() -> None:
    book = BinanceBook()
    book.snapshot(100, NONE, NONE)
    book.difference(100, 101, 99, level("5", "1"), NONE)
    book.difference(102, 103, 101, level("5", "2"), NONE)
    assert book.difference(100, 101, 99, level("5", "1"), NONE)
    assert book.difference(102, 103, 101, level("5", "2"), NONE)
    assert book.top(1)[0] == level("5", "2")


@given(
    changes=st.lists(
        st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=6), max_size=30
    )
)
def test_the_sorted_view_is_that_of_the_levels(changes: list[list[tuple[int, int]]]) -> None:
    book = BybitBook()
    book.snapshot(1, NONE, NONE)
    plain: dict[Decimal, Decimal] = {}
    for number, change in enumerate(changes, start=2):
        rows = tuple((D(price), D(quantity)) for price, quantity in change)
        book.delta(number, rows, rows)
        plain.update(rows)
    rest = sorted((price, quantity) for price, quantity in plain.items() if quantity)
    assert book.top(100) == (tuple(reversed(rest)), tuple(rest))


# Recorded logs.


def is_sound(book: LocalBook) -> bool:
    bids, asks = book.top(1_000_000)
    return (
        len(bids) == len(book.bids)
        and len(asks) == len(book.asks)
        and bids == tuple(sorted(bids, reverse=True))
        and asks == tuple(sorted(asks))
        and bids[0][0] < asks[0][0]
    )


State = tuple[int, tuple[tuple[Level, ...], tuple[Level, ...]]]
"""Update id, best bid and best ask."""


def take(book: BinanceBook, row: dict[str, Any]) -> bool:
    return book.difference(row["U"], row["u"], row["pu"], levels(row["b"]), levels(row["a"]))


@pytest.mark.recorded
@pytest.mark.parametrize("symbol", ["SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"])
def test_recorded_binance_books_agree_with_the_recorded_best_prices(
    shared_dir: Path, symbol: str
) -> None:
    folder = shared_dir / "fixtures" / "binance"
    found = answer(folder / "rest" / "recorded" / f"fapi_v1_depth-{symbol}-20210722.json")
    rows = [
        row
        for row in messages(folder / "ws" / "usdm-4symbols-20210722.log.gz", ": ")
        if row.get("s") == symbol
    ]
    book = BinanceBook()
    depth = [row for row in rows if row["e"] == "depthUpdate"]
    # As it is live: differences come in while the snapshot is on its way.
    taken = 0
    while depth[taken]["u"] < found["lastUpdateId"] or taken < 3:
        assert not take(book, depth[taken])
        taken += 1
    book.snapshot(found["lastUpdateId"], levels(found["bids"]), levels(found["asks"]))
    states: list[State] = []
    for row in depth[taken:]:
        assert take(book, row)
        assert is_sound(book)
        states.append((book.update_id, book.top(1)))
    assert len(states) == len(depth) - taken > 100
    assert agreeing_quotes(states, rows) >= 5


def agreeing_quotes(states: list[State], rows: list[dict[str, Any]]) -> int:
    """Return how many recorded quotes carry the id of a book state; each must equal it."""
    quotes = {row["u"]: row for row in rows if row["e"] == "bookTicker"}
    agreeing = 0
    for update_id, (bids, asks) in states:
        row = quotes.get(update_id)
        if row is not None:
            assert bids == level(row["b"], row["B"])
            assert asks == level(row["a"], row["A"])
            agreeing += 1
    return agreeing


@pytest.mark.recorded
def test_a_recorded_book_of_many_levels_agrees_with_the_recorded_best_prices(
    shared_dir: Path,
) -> None:
    path = shared_dir / "fixtures" / "binance" / "ws" / "usdm-btcusdt-20240808.log.gz"
    book = BinanceBook()
    states: list[State] = []
    quotes: list[dict[str, Any]] = []
    for row in messages(path, " "):
        if "lastUpdateId" in row:
            book.snapshot(row["lastUpdateId"], levels(row["bids"]), levels(row["asks"]))
        elif row["e"] == "depthUpdate":
            if take(book, row):
                states.append((book.update_id, book.top(1)))
        elif row["e"] == "bookTicker":
            quotes.append(row)
    assert len(states) > 6_500
    assert is_sound(book)
    assert agreeing_quotes(states, quotes) > 500


@pytest.mark.recorded
def test_the_recorded_bybit_book_follows_its_deltas_without_a_gap(shared_dir: Path) -> None:
    path = (
        shared_dir / "fixtures" / "bybit" / "ws" / "linear-xrpusdt-orderbook500-20241201.jsonl.gz"
    )
    book = BybitBook()
    deltas = 0
    for message in messages(path, ""):
        data = message["data"]
        bids, asks = levels(data["b"]), levels(data["a"])
        if message["type"] == "snapshot":
            book.snapshot(data["u"], bids, asks)
        else:
            book.delta(data["u"], bids, asks)
            deltas += 1
        assert is_sound(book)
        assert len(book.bids) == len(book.asks) == 500
    assert deltas == 49
