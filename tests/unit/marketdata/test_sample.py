"""The synthetic market is repeatable, looks like a market, and never passes for a real one."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.unit.marketdata.rows import H1, M5

from perpdesk.domain.candles import Candles, DataKind, Timeframe, Values, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.integrity import check_candles, check_funding
from perpdesk.marketdata.sample import (
    CHARACTERS,
    START_MS,
    SyntheticSeries,
    generate_market,
    write_sample,
)

MARKET = generate_market(7)


def returns_of(candles: Candles) -> Values:
    return np.asarray(np.diff(np.log(candles.close)))


def digest(market: dict[str, SyntheticSeries]) -> str:
    found = hashlib.sha256()
    for series in market.values():
        for candles in (series.candles, series.mark):
            for _, values in candles.columns():
                found.update(values.tobytes())
        found.update(series.funding.rate.tobytes())
    return found.hexdigest()


def test_the_same_seed_gives_the_same_market_in_another_process() -> None:
    program = "from tests.unit.marketdata.test_sample import MARKET, digest; print(digest(MARKET))"
    environment = dict(os.environ, PYTHONHASHSEED="5", TZ="Asia/Tokyo")
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=root
    )
    assert done.stdout.strip() == digest(MARKET), done.stderr


def test_another_seed_gives_another_market() -> None:
    assert digest(generate_market(8, days=5)) != digest(generate_market(7, days=5))


def test_a_symbol_does_not_depend_on_which_others_are_made_beside_it() -> None:
    alone = generate_market(7, symbols=["SOLUSDT"], days=5)["SOLUSDT"]
    together = generate_market(7, days=5)["SOLUSDT"]
    assert alone.candles.close.tolist() == together.candles.close.tolist()


@pytest.mark.parametrize("symbol", list(CHARACTERS))
def test_every_series_passes_the_gate_without_gaps(symbol: str) -> None:
    series = MARKET[symbol]
    for candles, kind in ((series.candles, DataKind.CANDLES), (series.mark, DataKind.MARK)):
        report = check_candles(candles, kind=kind)
        assert (report.problems, report.gaps) == ((), ())
    report = check_funding(series.funding)
    assert (report.problems, report.gaps) == ((), ())
    assert (len(series.candles), len(series.mark), len(series.funding)) == (34_560, 2_880, 360)


@pytest.mark.parametrize("symbol", list(CHARACTERS))
def test_prices_lie_on_the_tick_grid_and_quantities_on_the_step_grid(symbol: str) -> None:
    character, candles = CHARACTERS[symbol], MARKET[symbol].candles
    for values, grid in ((candles.close, character.tick), (candles.volume, character.step)):
        assert np.allclose(values / grid, np.rint(values / grid), atol=1e-6)


@pytest.mark.parametrize("symbol", list(CHARACTERS))
def test_volatility_clusters_tails_are_fat_and_volume_follows(symbol: str) -> None:
    candles = MARKET[symbol].candles
    moves = returns_of(candles)
    size = np.abs(moves)
    kurtosis = float(((moves - moves.mean()) ** 4).mean() / moves.var() ** 2)
    assert kurtosis > 6
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.08
    assert np.corrcoef(size, candles.volume[1:])[0, 1] > 0.3
    assert abs(np.corrcoef(moves[1:], moves[:-1])[0, 1]) < 0.05


def test_symbols_move_together_but_not_in_lockstep() -> None:
    moves = [returns_of(series.candles) for series in MARKET.values()]
    correlations = np.asarray(np.corrcoef(moves))[np.triu_indices(3, 1)]
    assert (correlations > 0.4).all()
    assert (correlations < 0.95).all()


def test_there_are_jumps() -> None:
    size = np.abs(returns_of(MARKET["BTCUSDT"].candles))
    assert size.max() > 15 * np.median(size)


def test_the_mark_price_differs_from_last_and_stays_near_it() -> None:
    series = MARKET["ETHUSDT"]
    last = series.candles.close[11::12]
    basis = last / series.mark.close - 1
    assert 0.0001 < np.abs(basis).mean() < 0.001
    assert np.abs(basis).max() < 0.01


def test_funding_settles_every_eight_hours_and_varies_around_the_base_rate() -> None:
    funding = MARKET["BTCUSDT"].funding
    assert funding.ts_ms[0] == START_MS + 8 * 3_600_000
    assert set(np.diff(funding.ts_ms)) == {8 * 3_600_000}
    assert 0 < np.median(funding.rate) < 0.0002
    assert len(set(funding.rate.tolist())) > 20
    assert (funding.rate < 0).any()


@pytest.mark.parametrize("name", ["1m", "15m", "1h"])
def test_other_timeframes_have_the_same_daily_volatility(name: str) -> None:
    candles = generate_market(3, days=60, timeframe=Timeframe.parse(name))["BTCUSDT"].candles
    per_day = 86_400_000 // candles.timeframe.duration_ms
    daily = float(returns_of(candles).std() * np.sqrt(per_day))
    assert 0.015 < daily < 0.05


def test_a_sample_is_stored_as_synthetic_and_can_be_written_again(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    market = generate_market(7, days=3)
    write_sample(store, 7, market)
    again = write_sample(store, 7, market)
    assert sum(report.parts_written for report in again) == 0
    assert {one.source for one in store.series()} == {"synthetic seed=7"}
    assert len(store.series()) == 9


def test_a_sample_is_refused_whole_where_one_recorded_series_is_in_its_way(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    market = generate_market(7, days=3)
    store.write_candles(market["SOLUSDT"].mark, DataKind.MARK)
    with pytest.raises(DataRefused, match="binance SOLUSDT 1h mark is stored as recorded data"):
        write_sample(store, 7, market)
    assert len(store.series()) == 1


def test_recorded_rows_are_refused_over_a_sample(tmp_path: Path) -> None:
    store = CandleStore(tmp_path)
    market = generate_market(7, days=3)
    write_sample(store, 7, market)
    with pytest.raises(DataRefused, match="it cannot be mixed with recorded data"):
        store.write_candles(market["BTCUSDT"].candles)
    assert len(store.candles(Venue.BINANCE, "BTCUSDT", M5)) == 864
    assert len(store.mark_candles(Venue.BINANCE, "BTCUSDT", H1)) == 72


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(UsageRefused, match="no synthetic PEPEUSDT"):
        generate_market(7, symbols=["PEPEUSDT"])
    for options in ({"days": 0}, {"start_ms": START_MS + 1}, {"timeframe": Timeframe.parse("1d")}):
        with pytest.raises(UsageRefused, match="begins at midnight UTC"):
            generate_market(7, **options)
