"""SQL reads the store and nothing else, and writes nowhere."""

from pathlib import Path

import pytest
from tests.unit.marketdata.rows import H1, START_MS, make_candles, make_funding, make_trades

from perpdesk.domain.candles import DataKind, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.query import run_sql


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    store = CandleStore(tmp_path / "it's data" / "candles")
    store.write_candles(make_candles(10))
    store.write_candles(make_candles(5, timeframe=H1))
    store.write_candles(make_candles(5, symbol="ETHUSDT", venue=Venue.BYBIT))
    store.write_candles(make_candles(3, base=7), DataKind.MARK)
    store.write_funding(make_funding([0, 8]))
    store.write_trades(make_trades(4))
    return store


def test_candles_of_all_series_are_one_view(store: CandleStore) -> None:
    found = run_sql(
        store,
        "SELECT venue, symbol, timeframe, count(*), min(ts_ms), max(close) FROM candles "
        "GROUP BY ALL ORDER BY ALL",
    )
    assert found.rows == (
        ("binance", "BTCUSDT", "1h", 5, START_MS, 105.0),
        ("binance", "BTCUSDT", "5m", 10, START_MS, 110.0),
        ("bybit", "ETHUSDT", "5m", 5, START_MS, 105.0),
    )


def test_mark_prices_funding_and_trades_have_views_of_their_own(store: CandleStore) -> None:
    assert run_sql(store, "SELECT max(open) FROM mark").rows == ((9.0,),)
    assert run_sql(store, "SELECT count(*), sum(rate) FROM funding").rows == ((2, 0.0002),)
    assert run_sql(store, "SELECT sum(quantity) FROM trades WHERE is_buyer_maker").rows == ((1.0,),)


def test_time_is_utc(store: CandleStore) -> None:
    sql = "SELECT strftime(min(time), '%Y-%m-%d %H:%M') FROM candles"
    assert run_sql(store, sql).rows == (("2023-01-01 00:00",),)


def test_the_list_of_series_is_a_table(store: CandleStore) -> None:
    found = run_sql(store, "SELECT kind, sum(rows) FROM series GROUP BY kind ORDER BY kind")
    assert found.rows == (("candles", 20), ("funding", 2), ("mark", 3), ("trades", 4))


def test_an_empty_store_has_empty_views_with_all_columns(tmp_path: Path) -> None:
    for view in ("candles", "mark", "funding", "trades", "series"):
        found = run_sql(CandleStore(tmp_path), f"SELECT * FROM {view}")
        assert found.rows == ()
        assert "venue" in found.columns


def test_long_answers_are_cut_where_asked_and_say_so(store: CandleStore) -> None:
    cut = run_sql(store, "SELECT * FROM candles", max_rows=3)
    assert (len(cut.rows), cut.is_cut) == (3, True)
    assert not run_sql(store, "SELECT * FROM funding", max_rows=2).is_cut


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW candles",
        "DELETE FROM series",
        "COPY candles TO 'out.csv'",
        "EXPLAIN ANALYZE COPY candles TO 'out.csv'",
        "ATTACH 'other.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "PRAGMA threads = 1",
        "CREATE TABLE x AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW candles",
        "",
        "-- nothing",
    ],
)
def test_anything_but_one_select_is_refused(store: CandleStore, sql: str) -> None:
    with pytest.raises(UsageRefused, match="only one SELECT"):
        run_sql(store, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    ],
)
def test_nothing_outside_the_store_can_be_read(store: CandleStore, sql: str) -> None:
    with pytest.raises((UsageRefused, DataRefused)):
        run_sql(store, sql)


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT nothing FROM candles", "SELECT * FROM nowhere"])
def test_wrong_sql_is_refused_in_one_line(store: CandleStore, sql: str) -> None:
    with pytest.raises(UsageRefused, match="the query failed") as refused:
        run_sql(store, sql)
    assert "\n" not in refused.value.message
    assert "Views: candles" in refused.value.next_step


def test_a_query_leaves_no_file_behind(store: CandleStore) -> None:
    before = sorted(store.root.rglob("*"))
    run_sql(store, "SELECT * FROM candles ORDER BY close")
    assert sorted(store.root.rglob("*")) == before


def test_a_missing_part_is_told_with_the_way_to_repair_it(store: CandleStore) -> None:
    (store.root / "binance/BTCUSDT/5m.parquet/2023-01.parquet").unlink()
    with pytest.raises(DataRefused, match="cannot be read") as refused:
        run_sql(store, "SELECT sum(close) FROM candles")
    assert "perpdesk data check" in refused.value.next_step
