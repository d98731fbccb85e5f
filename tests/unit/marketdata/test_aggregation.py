"""Longer candles agree with pandas, with the exchanges' own, and with the calendar."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.marketdata.rows import H1, M5, START_MS, make_candles

from perpdesk.domain.candles import Candles, Timeframe, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.aggregation import aggregate, aggregate_counted, can_aggregate
from perpdesk.marketdata.importers import import_file

HOUR_MS = 3_600_000
D1 = Timeframe.parse("1d")


def test_a_bar_takes_first_open_highest_high_lowest_low_last_close_and_all_volume() -> None:
    lower = make_candles(
        12,
        high=[110, 111, 112, 150, 114, 115, 116, 117, 118, 119, 120, 121],
        low=[99, 98, 97, 96, 50, 94, 93, 92, 91, 90, 89, 88],
    )
    hour = aggregate(lower, H1)
    assert hour.timeframe == H1
    assert hour.ts_ms.tolist() == [START_MS]
    assert (hour.open[0], hour.high[0], hour.low[0]) == (100, 150, 50)
    assert hour.close[0] == 112
    assert hour.volume[0] == sum(range(10, 22))


def test_a_period_that_is_not_over_is_left_out() -> None:
    assert len(aggregate(make_candles(24 + 11), H1)) == 2
    assert len(aggregate(make_candles(24 + 12), H1)) == 3


def test_a_period_that_began_before_the_data_is_left_out() -> None:
    late = make_candles(35, start_ms=START_MS + 300_000)
    assert aggregate(late, H1).ts_ms.tolist() == [START_MS + HOUR_MS, START_MS + 2 * HOUR_MS]


def test_a_hole_inside_a_period_is_counted_and_a_period_without_bars_is_not_invented() -> None:
    whole = make_candles(12 * 6)
    kept = np.r_[0:5, 8:14, 36:72]
    columns: dict[str, Any] = {name: values[kept] for name, values in whole.columns()}
    holed = make_candles(len(kept), ts_ms=whole.ts_ms[kept], **columns)
    found = aggregate_counted(holed, H1)
    hours = (found.candles.ts_ms - START_MS) // HOUR_MS
    assert hours.tolist() == [0, 1, 3, 4, 5]
    assert (found.incomplete_bars, found.missing_lower_bars) == (2, 3 + 10)


def test_weeks_open_on_monday_and_months_on_the_first() -> None:
    days = make_candles(100, timeframe=D1)
    weeks = aggregate(days, Timeframe.parse("1w"))
    months = aggregate(days, Timeframe.parse("1M"))
    # 2023-01-01 was a Sunday: its week began before the data.
    assert weeks.ts_ms[0] == START_MS + 24 * HOUR_MS
    assert set(np.diff(weeks.ts_ms)) == {7 * 24 * HOUR_MS}
    named = months.ts_ms.astype("datetime64[ms]").astype("datetime64[D]").astype(str)
    assert named.tolist() == ["2023-01-01", "2023-02-01", "2023-03-01"]
    assert months.volume[1] == days.volume[31:59].sum()


@given(
    first=st.integers(0, 300),
    count=st.integers(13, 400),
    name=st.sampled_from(["15m", "30m", "1h", "2h", "4h"]),
    holes=st.sets(st.integers(0, 400), max_size=40),
)
def test_any_series_agrees_with_pandas(first: int, count: int, name: str, holes: set[int]) -> None:
    random = np.random.default_rng(first * 1000 + count)
    kept = np.array([row for row in range(count) if row not in holes])
    if len(kept) == 0:
        return
    prices = random.uniform(50, 150, (4, count)).round(2)[:, kept]
    lower = make_candles(
        len(kept),
        ts_ms=START_MS + (first + kept) * 300_000,
        open=prices[0],
        high=prices.max(axis=0),
        low=prices.min(axis=0),
        close=prices[3],
        volume=random.uniform(0, 9, count)[kept],
    )
    longer = Timeframe.parse(name)
    frame = pd.DataFrame(dict(lower.columns()), index=pd.to_datetime(lower.ts_ms, unit="ms"))
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    oracle = frame.resample(f"{longer.duration_ms // 60_000}min").agg(rule).dropna()
    opens = oracle.index.astype("datetime64[ms]").astype(np.int64)
    last_ms = int(lower.ts_ms[-1]) + 300_000
    oracle = oracle[(opens >= lower.ts_ms[0]) & (opens + longer.duration_ms <= last_ms)]
    try:
        made = aggregate(lower, longer)
    except DataRefused:
        assert len(oracle) == 0
        return
    assert len(made) == len(oracle)
    for column, values in made.columns():
        np.testing.assert_allclose(values, oracle[column].to_numpy(), rtol=1e-12)


def test_data_shorter_than_one_period_is_refused() -> None:
    with pytest.raises(DataRefused, match="holds no whole 1d candle"):
        aggregate(make_candles(20), D1)


@pytest.mark.parametrize(
    ("lower", "longer", "fits"),
    [
        ("1m", "5m", True),
        ("5m", "5m", True),
        ("2h", "3h", False),
        ("1h", "5m", False),
        ("1d", "1w", True),
        ("1h", "1M", True),
        ("3d", "1w", False),
        ("1w", "1M", False),
        ("1M", "1M", True),
        ("15m", "20m", False),
    ],
)
def test_only_whole_lower_bars_make_a_longer_one(lower: str, longer: str, fits: bool) -> None:
    assert can_aggregate(Timeframe.parse(lower), Timeframe.parse(longer)) is fits


def test_a_timeframe_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageRefused, match="2h candles cannot be made of 3h candles"):
        aggregate(make_candles(20, timeframe=Timeframe.parse("3h")), Timeframe.parse("2h"))


def test_the_same_timeframe_gives_the_same_candles() -> None:
    candles = make_candles(5)
    assert aggregate(candles, M5) is candles


def load(shared_dir: Path, venue: Venue, name: str) -> Candles:
    path = shared_dir / "market" / venue / "BTCUSDT" / f"{name}.parquet"
    frame = Timeframe.parse(name)
    rows = import_file(path, venue=venue, symbol="BTCUSDT", timeframe=frame)
    assert isinstance(rows, Candles)
    return rows


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("venue", "lower", "longer", "odd_prices", "odd_volumes"),
    [
        # One 15m bar and a bar or two of volume were restated by the exchange.
        (Venue.BINANCE, "5m", "15m", 1, 2),
        (Venue.BINANCE, "5m", "1h", 0, 2),
        (Venue.BYBIT, "5m", "4h", 0, 0),
        (Venue.BINANCE_SPOT, "1m", "1h", 0, 2),
        (Venue.BINANCE_SPOT, "1h", "1d", 0, 2),
    ],
)
def test_aggregated_candles_agree_with_those_the_exchange_made(
    shared_dir: Path, venue: Venue, lower: str, longer: str, odd_prices: int, odd_volumes: int
) -> None:
    made = aggregate(load(shared_dir, venue, lower), Timeframe.parse(longer))
    theirs = load(shared_dir, venue, longer)
    _, ours, other = np.intersect1d(made.ts_ms, theirs.ts_ms, return_indices=True)
    assert len(ours) >= min(len(made), len(theirs)) - 2
    differing = np.zeros(len(ours), np.bool_)
    for name in ("open", "high", "low", "close"):
        differing |= getattr(made, name)[ours] != getattr(theirs, name)[other]
    assert np.count_nonzero(differing) <= odd_prices
    ratio = made.volume[ours] / np.maximum(theirs.volume[other], 1e-9)
    assert np.count_nonzero(np.abs(ratio - 1) > 1e-9) <= odd_volumes
