"""The gate names row, field and value, and tells gaps and oddities apart from errors."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.marketdata.rows import (
    H1,
    M5,
    START_MS,
    make_candles,
    make_funding,
    make_trades,
)

from perpdesk.domain.candles import DataKind, Timeframe
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.integrity import (
    Origin,
    check_candles,
    check_funding,
    check_trades,
    require_sound,
    step_text,
)


def test_sound_candles_pass_with_their_range() -> None:
    report = require_sound(check_candles(make_candles(10)))
    assert (report.rows, report.first_ts_ms) == (10, START_MS)
    assert report.last_ts_ms == START_MS + 9 * 300_000
    assert (report.gaps, report.warnings, report.problems) == ((), (), ())


def test_no_rows_at_all_are_refused() -> None:
    for report in (
        check_candles(make_candles(0)),
        check_funding(make_funding([])),
        check_trades(make_trades(0)),
    ):
        with pytest.raises(DataRefused, match="it holds no rows"):
            require_sound(report)


def test_several_problems_are_told_together_with_how_many_rows_they_have() -> None:
    candles = make_candles(5, open=[np.nan] * 5, volume=[-1.0, 1, 1, -1, 1])
    with pytest.raises(DataRefused) as refused:
        require_sound(check_candles(candles, origin=Origin(path=Path("a.csv"))))
    assert refused.value.message == (
        "a.csv: row 1, open = nan: is not a number (5 such rows); "
        "row 1, volume = -1.0: is negative (2 such rows)"
    )


def test_a_flat_bar_without_trades_is_sound() -> None:
    flat = [100.0] * 3
    candles = make_candles(3, open=flat, high=flat, low=flat, close=flat, volume=[0.0, 5, 0])
    assert check_candles(candles).problems == ()


def test_a_gap_does_not_hide_the_usual_step() -> None:
    times = START_MS + np.array([0, 1, 2, 50, 51, 52]) * 300_000
    report = check_candles(make_candles(6, ts_ms=times))
    assert report.problems == ()
    assert [gap.missing for gap in report.gaps] == [47]


@pytest.mark.parametrize(("name", "suggested"), [("1m", "5m"), ("1h", "5m"), ("1M", "5m")])
def test_the_wrong_timeframe_is_refused(name: str, suggested: str) -> None:
    wrong = make_candles(20, timeframe=M5)
    declared = Timeframe.parse(name)
    candles = make_candles(20, timeframe=declared, ts_ms=wrong.ts_ms)
    with pytest.raises(DataRefused) as refused:
        require_sound(check_candles(candles))
    if declared.is_month:
        assert "is not an open time of 1M candles" in refused.value.message
    else:
        assert f"the usual step between rows is {suggested}" in refused.value.message


def test_weeks_that_do_not_open_on_monday_are_refused() -> None:
    sunday = int(np.datetime64("2023-01-01", "ms").astype(np.int64))
    week = Timeframe.parse("1w")
    candles = make_candles(5, timeframe=week, start_ms=sunday)
    with pytest.raises(DataRefused, match="is not an open time of 1w candles"):
        require_sound(check_candles(candles))
    monday = make_candles(5, timeframe=week, start_ms=sunday + 86_400_000)
    assert check_candles(monday).problems == ()


def test_months_open_on_the_first() -> None:
    opens = np.array(["2023-01", "2023-02", "2023-03"], "datetime64[M]")
    times = opens.astype("datetime64[ms]").astype(np.int64)
    month = Timeframe.parse("1M")
    assert check_candles(make_candles(3, timeframe=month, ts_ms=times)).problems == ()


def test_a_bar_is_of_the_past_only_once_it_is_closed() -> None:
    candles = make_candles(2, timeframe=H1)
    closed_ms = START_MS + 2 * 3_600_000
    assert check_candles(candles, now_ms=closed_ms).problems == ()
    assert len(check_candles(candles, now_ms=closed_ms - 1).problems) == 1
    assert check_candles(candles).problems == ()


def test_future_settlements_and_trades_are_refused() -> None:
    assert check_funding(make_funding([0, 8]), now_ms=START_MS).problems[0].row == 2
    assert check_trades(make_trades(4), now_ms=START_MS).problems[0].row == 3


def test_an_absurd_jump_is_a_note_and_not_an_error() -> None:
    candles = make_candles(
        3,
        open=[100.0, 300, 301],
        high=[101.0, 301, 302],
        low=[99.0, 299, 300],
        close=[100.0, 300, 301],
    )
    report = check_candles(candles)
    assert report.problems == ()
    assert report.warnings == (
        "1 bars open more than 2 times above or below the close before; the first at "
        "2023-01-01 00:05",
    )


def test_a_jump_over_a_gap_is_no_news() -> None:
    times = START_MS + np.array([0, 1, 2, 500]) * 300_000
    prices = [100.0, 100, 100, 300]
    candles = make_candles(4, ts_ms=times, open=prices, high=prices, low=prices, close=prices)
    assert check_candles(candles).warnings == ()


def test_candles_without_any_volume_are_suspected_to_be_mark_prices() -> None:
    silent = make_candles(10, volume=np.zeros(10))
    assert "--kind mark" in check_candles(silent).warnings[0]
    assert check_candles(silent, kind=DataKind.MARK).warnings == ()


def test_a_funding_mark_price_may_be_missing_but_not_wrong() -> None:
    funding = make_funding([0, 8, 16])
    assert check_funding(funding).problems == ()
    funding.mark_price[1] = -5
    (problem,) = check_funding(funding).problems
    assert (problem.row, problem.field, problem.value) == (2, "mark_price", "-5.0")


def test_one_settlement_given_twice_some_milliseconds_apart_is_refused() -> None:
    funding = make_funding([0, 8, 8.0001, 16])
    (problem,) = check_funding(funding).problems
    assert (problem.row, problem.field) == (3, "time")
    assert "one settlement, twice" in problem.message


@pytest.mark.parametrize(
    ("field", "value"), [("price", 0.0), ("price", np.nan), ("quantity", -1.0)]
)
def test_a_trade_without_price_or_quantity_is_refused(field: str, value: float) -> None:
    trades = make_trades(4)
    getattr(trades, field)[2] = value
    (problem,) = check_trades(trades).problems
    assert (problem.row, problem.field) == (3, field)


def test_trades_may_share_a_time_but_not_go_backwards() -> None:
    trades = make_trades(4)
    assert check_trades(trades).problems == ()
    trades.ts_ms[3] = START_MS - 1
    assert check_trades(trades).problems[0].row == 4


@pytest.mark.parametrize(
    ("step_ms", "text"),
    [(60_000, "1m"), (14_400_000, "4h"), (86_400_000, "1d"), (604_800_000, "1w"), (1500, "1.5s")],
)
def test_a_step_is_named_like_a_timeframe(step_ms: int, text: str) -> None:
    assert step_text(step_ms) == text
