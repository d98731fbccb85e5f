"""Feeds: what Backtrader's lines show is what the columns hold."""

from queue import Queue
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from tests.unit.cerebro.builders import H1, T0, candles_of, flat, walk

from perpdesk.cerebro.feeds import CandleFeed, ClosedCandle, QueueFeed
from perpdesk.domain.candles import Candles, Timeframe

NAMES = ("open", "high", "low", "close", "volume")


def loaded(candles: Candles) -> Any:
    # Backtrader takes parameters as keywords that no signature shows.
    make: Any = CandleFeed
    feed = make(candles=candles)
    feed.preload()
    return feed


def test_every_line_equals_its_column_bar_by_bar() -> None:
    candles = walk(1, 50, gaps=5)
    feed = loaded(candles)
    for row in range(50 - 5):
        assert len(feed) == row
        feed.advance()
        assert [getattr(feed, name)[0] for name in NAMES] == [
            column[row] for _, column in candles.columns()
        ]
        assert len(feed) == len(feed.close) == row + 1
    assert feed.buflen() == 45


def test_bars_before_are_reached_by_negative_places() -> None:
    candles = walk(2, 20)
    feed = loaded(candles)
    feed.advance(size=10)
    assert [feed.close[-ago] for ago in range(10)] == candles.close[9::-1].tolist()
    assert list(feed.high.get(size=4)) == candles.high[6:10].tolist()
    assert list(feed.high.get(ago=-1, size=4)) == candles.high[5:9].tolist()


def test_datetimes_are_the_open_times_in_utc() -> None:
    feed = loaded(flat(3, timeframe=H1))
    feed.advance(size=2)
    assert feed.datetime.datetime(0).isoformat() == "2023-11-15T01:00:00"
    assert feed.datetime.date(-1).isoformat() == "2023-11-15"


def test_peeking_tells_the_next_time_and_infinity_after_the_last() -> None:
    candles = flat(2)
    feed = loaded(candles)
    assert bt.num2date(feed.advance_peek()).isoformat() == "2023-11-15T00:00:00"
    feed.advance(size=2)
    assert feed.advance_peek() == float("inf")
    feed.home()
    assert len(feed) == 0


def test_the_columns_themselves_are_not_copied_nor_changed() -> None:
    candles = walk(3, 30)
    before = candles.close.copy()
    feed = loaded(candles)
    assert np.shares_memory(np.asarray(feed.close.array), candles.close)
    feed.advance(size=30)
    assert np.array_equal(candles.close, before)


# The live feed.


def closed(candles: Candles, row: int) -> ClosedCandle:
    return ClosedCandle(
        ts_ms=int(candles.ts_ms[row]),
        execution=(),
        **{name: float(column[row]) for name, column in candles.columns()},
    )


def live(source: "Queue[ClosedCandle | None]", history: Candles, **others: Any) -> Any:
    make: Any = QueueFeed
    feed = make(source=source, history=history, **others)
    bt.Cerebro().adddata(feed)
    feed._start()
    return feed


def test_a_live_feed_delivers_its_history_and_then_the_queue_and_then_ends() -> None:
    candles = walk(4, 12)
    source: Queue[ClosedCandle | None] = Queue()
    for row in range(9, 12):
        source.put(closed(candles, row))
    source.put(None)
    feed = live(source, candles[:9])
    seen = []
    while feed.next():
        seen.append([getattr(feed, name)[0] for name in NAMES])
        # What a strategy sees is never longer than what was delivered.
        assert len(feed.candles) >= len(feed)
    assert seen == [[column[row] for _, column in candles.columns()] for row in range(12)]
    assert np.array_equal(feed.candles.ts_ms, candles.ts_ms)
    assert feed.history_close_ms == T0 + 9 * 300_000


def test_a_live_feed_says_that_nothing_is_there_yet() -> None:
    source: Queue[ClosedCandle | None] = Queue()
    feed = live(source, flat(1), qcheck=0.0)
    assert feed.islive()
    assert feed.haslivedata()
    assert feed.next()
    assert not feed.haslivedata()
    feed._qcheck = 0.001
    assert feed.next() is None


@pytest.mark.parametrize("history", [0, 700])
def test_a_live_feed_grows_beyond_the_room_it_began_with(history: int) -> None:
    candles = walk(5, 2600, timeframe=Timeframe.parse("1m"))
    source: Queue[ClosedCandle | None] = Queue()
    for row in range(history, 2600):
        source.put(closed(candles, row))
    source.put(None)
    feed = live(source, candles[:history])
    while feed.next():
        pass
    for name, column in candles.columns():
        assert np.array_equal(getattr(feed.candles, name), column)


def test_a_live_feed_without_history_has_no_warm_up_to_hold_back() -> None:
    assert live(Queue(), candles_of([])).history_close_ms == 0
