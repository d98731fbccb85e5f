"""The data commands as a user runs them: their output, their JSON, their exit codes."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.unit.marketdata.rows import START_MS

from perpdesk.cli.frame import console
from perpdesk.cli.main import main

Run = Callable[..., Any]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command and return (exit code, stdout, stderr)."""

    def command(*args: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def run_json(run: Run) -> Run:
    """Run one command with --json and return its one document."""

    def command(*args: object) -> Any:
        code, out, err = run(*args, "--json")
        assert code == 0, err
        return json.loads(out)

    return command


def kline_file(
    path: Path, count: int = 24, step_ms: int = 300_000, start_ms: int = START_MS
) -> Path:
    rows = range(count)
    frame = pd.DataFrame(
        {
            "ts": [start_ms + row * 300_000 for row in rows],
            "open": [100.0 + row for row in rows],
            "high": [102.0 + row for row in rows],
            "low": [99.0 + row for row in rows],
            "close": [101.0 + row for row in rows],
            "volume": [5.0] * count,
        }
    )
    frame.to_csv(path, index=False)
    return path


FIVE = ("--venue", "binance", "--symbol", "BTCUSDT", "--timeframe", "5m")


WIDE = "SELECT * FROM candles ORDER BY ts_ms LIMIT 1"


@pytest.mark.parametrize("at_a_terminal", [False, True])
def test_no_value_of_a_query_is_cut_where_the_table_is_too_wide(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_terminal: bool
) -> None:
    run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    monkeypatch.setattr(console, "width", 80)
    monkeypatch.setattr(console, "_force_terminal", at_a_terminal)
    out = run("sql", WIDE)[1]
    assert "…" not in out
    assert "2023-01-01 00:00:00" in out
    assert ("row 1" in out) is at_a_terminal
    if at_a_terminal:
        assert max(map(len, out.splitlines())) <= 80


def test_the_list_fits_80_columns_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    run("sample", "--days", "2", "--seed", "7")
    monkeypatch.setattr(console, "width", 80)
    out = run("list")[1]
    assert "…" not in out
    assert "synthetic seed=7" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_terminal_without_unicode_is_no_failure(data_dir: Path) -> None:
    env = {**os.environ, "DATA_DIR": str(data_dir), "PYTHONIOENCODING": "ascii"}
    asked = [sys.executable, "-m", "perpdesk", "data", "sql", "SELECT 'caf\u00e9 \u2026' AS word"]
    done = subprocess.run(asked, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf? ?" in done.stdout


def test_times_of_a_query_carry_their_zone_in_json(run: Run, run_json: Run, tmp_path: Path) -> None:
    run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    (row,) = run_json("sql", WIDE)
    assert row["time"] == "2023-01-01T00:00:00+00:00"


def test_a_sample_of_the_future_is_refused(run: Run, data_dir: Path) -> None:
    code, _, err = run("sample", "--start", "2250-01-01")
    assert code == 2
    assert "120 days from 2250-01-01 are not over yet" in err
    assert not data_dir.exists()


def test_funding_is_not_resampled(run: Run) -> None:
    where = ("--venue", "binance", "--symbol", "BTCUSDT", "--timeframe", "1h")
    code, _, err = run("resample", *where, "--kind", "funding")
    assert code == 2
    assert "funding is not made of candles" in err


def test_prices_of_another_market_are_refused_and_nothing_is_stored(
    run: Run, run_json: Run, tmp_path: Path
) -> None:
    run_json("import", kline_file(tmp_path / "k.csv", 48), *FIVE)
    other = pd.read_csv(tmp_path / "k.csv")
    other[["open", "high", "low", "close"]] *= 0.0625
    other.to_csv(tmp_path / "other.csv", index=False)
    code, _, err = run("import", tmp_path / "other.csv", *FIVE, "--kind", "mark")
    assert code == 2
    assert "not the prices of BTCUSDT: at 48 times they are 0.0625 times those stored" in err
    assert "perpdesk data delete --venue binance --symbol BTCUSDT --timeframe 5m" in err
    assert run("import", tmp_path / "other.csv", *FIVE)[0] == 2
    assert [one["series"] for one in run_json("list")] == ["binance BTCUSDT 5m"]
    # Mark prices some percent away are those of the same market.
    other[["open", "high", "low", "close"]] *= 1.1 / 0.0625
    other.to_csv(tmp_path / "other.csv", index=False)
    assert run("import", tmp_path / "other.csv", *FIVE, "--kind", "mark")[0] == 0


def test_a_damaged_series_is_repaired_by_importing_again(
    run: Run, run_json: Run, tmp_path: Path, data_dir: Path
) -> None:
    path = kline_file(tmp_path / "k.csv", 48)
    run_json("import", path, *FIVE)
    (part,) = data_dir.rglob("2023-01.parquet")
    part.write_bytes(part.read_bytes()[:-9] + b"different")
    assert run("check")[0] == 1
    run_json("import", path, *FIVE)
    assert run("check")[0] == 0


def test_import_then_list_then_check(run: Run, run_json: Run, tmp_path: Path) -> None:
    path = kline_file(tmp_path / "k.csv")
    code, out, _ = run("import", path, *FIVE)
    assert code == 0
    assert "binance BTCUSDT 5m: 24 rows from k.csv" in out
    (series,) = run_json("list")
    assert (series["series"], series["rows"]) == ("binance BTCUSDT 5m", 24)
    assert (series["venue"], series["symbol"], series["timeframe"]) == ("binance", "BTCUSDT", "5m")
    assert "binance BTCUSDT 5m" in run("list")[1]
    checked = run_json("check")
    assert checked["sound"] is True
    assert "binance BTCUSDT 5m: sound, 24 rows" in run("check", "--symbol", "btcusdt")[1]


def test_import_reports_what_was_added_replaced_and_left(run_json: Run, tmp_path: Path) -> None:
    path = kline_file(tmp_path / "k.csv", count=10)
    run_json("import", path, *FIVE)
    longer = kline_file(tmp_path / "longer.csv", count=15)
    report = run_json("import", longer, *FIVE)["files"][0]
    assert (report["added"], report["replaced"], report["unchanged"]) == (5, 0, 10)
    assert report["rows_stored"] == 15


def test_a_folder_of_files_is_imported_as_one_series(
    run_json: Run, tmp_path: Path, data_dir: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    kline_file(folder / "BTCUSDT-5m-a.csv", count=10)
    kline_file(folder / "BTCUSDT-5m-b.csv", count=10, start_ms=START_MS + 10 * 300_000)
    (folder / "notes.txt").write_text("not data")
    document = run_json("import", folder, *FIVE)
    assert [file["rows_stored"] for file in document["files"]] == [10, 20]


def test_every_kind_is_imported(run_json: Run, tmp_path: Path) -> None:
    base = ("--venue", "bybit", "--symbol", "BTCUSDT")
    trades = tmp_path / "t.csv"
    trades.write_text(f"ts,id,price,qty,side\n{START_MS},1,100,0.5,buy\n{START_MS},2,99,1,sell\n")
    rates = tmp_path / "f.csv"
    rates.write_text(f"ts,rate\n{START_MS},0.0001\n{START_MS + 28_800_000},-0.0002\n")
    marks = kline_file(tmp_path / "m.csv")
    run_json("import", trades, *base, "--kind", "trades")
    run_json("import", rates, *base, "--kind", "funding")
    run_json("import", marks, *base, "--kind", "mark", "--timeframe", "5m")
    found = {(one["kind"], one["rows"], one["timeframe"]) for one in run_json("list")}
    assert found == {("trades", 2, None), ("funding", 2, None), ("mark", 24, "5m")}
    assert run_json("check")["sound"] is True


def test_nothing_is_stored_where_one_of_several_files_is_refused(
    run: Run, tmp_path: Path, data_dir: Path
) -> None:
    good = kline_file(tmp_path / "good.csv")
    bad = kline_file(tmp_path / "bad.csv")
    bad.write_text(bad.read_text().replace("99.0", "-99.0"))
    code, out, err = run("import", good, bad, *FIVE)
    assert (code, out) == (2, "")
    assert "bad.csv: row 1, low = -99.0: is not a price above 0" in " ".join(err.split())
    assert not data_dir.exists() or not list(data_dir.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("none.csv", *FIVE), "none.csv is missing"),
        (("k.csv", "--venue", "binance", "--symbol", "BTCUSDT"), "needs a timeframe"),
        (("k.csv", *FIVE[:4], "--timeframe", "7m"), "does not divide a day"),
        (("k.csv", *FIVE[:4], "--timeframe", "soon"), "is not a timeframe"),
        (("k.csv", *FIVE[:4], "--timeframe", "1h"), "the usual step between rows is 5m"),
        (("k.csv", "--venue", "ftx", *FIVE[2:]), "ftx"),
        (("k.csv", *FIVE, "--utc-offset", "CET"), "is not a UTC offset"),
        (("k.csv", *FIVE, "--kind", "funding"), "has no timeframe"),
        (("empty", *FIVE), "holds no Parquet, CSV or Feather file"),
    ],
)
def test_a_wrong_import_exits_2_with_one_paragraph_and_the_next_step(
    run: Run, tmp_path: Path, data_dir: Path, args: tuple[str, ...], words: str
) -> None:
    kline_file(tmp_path / "k.csv")
    (tmp_path / "empty").mkdir()
    code, out, err = run("import", *args)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert "next:" in err
    assert "Traceback" not in err
    assert not data_dir.exists() or not list(data_dir.rglob("*.parquet"))


def test_a_refusal_is_one_json_document_on_stderr(run: Run) -> None:
    code, out, err = run("import", "none.csv", *FIVE, "--json")
    assert (code, out) == (2, "")
    error = json.loads(err)["error"]
    assert (error["kind"], error["message"]) == ("DataRefused", "none.csv is missing")


def test_check_exits_1_where_a_part_is_damaged(run: Run, tmp_path: Path, data_dir: Path) -> None:
    run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    part = next(data_dir.rglob("2023-01.parquet"))
    part.write_bytes(part.read_bytes()[:-5])
    code, out, _ = run("check")
    assert code == 1
    assert "damaged" in out
    assert "next: Import the data of that time again" in out
    code, out, _ = run("check", "--json")
    assert code == 1
    assert json.loads(out)["sound"] is False


def test_check_of_something_that_is_not_stored_is_refused(run: Run) -> None:
    assert run("check")[0] == 0
    code, _, err = run("check", "--symbol", "NONEUSDT")
    assert code == 2
    assert "no stored series fits" in err


def test_gaps_are_shown_after_an_import_and_in_a_check(run: Run, tmp_path: Path) -> None:
    path = kline_file(tmp_path / "k.csv")
    lines = path.read_text().splitlines()
    del lines[5:8]
    path.write_text("\n".join(lines) + "\n")
    _, out, _ = run("import", path, *FIVE)
    assert "gap: 2023-01-01 00:20 to 2023-01-01 00:35 (3 missing)" in out
    code, out, _ = run("check")
    assert code == 0
    assert "To fill a gap, import a file that holds its rows" in out


def test_resample_makes_longer_candles_once(run: Run, run_json: Run, tmp_path: Path) -> None:
    run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    to_1h = ("--venue", "binance", "--symbol", "btcusdt", "--timeframe", "1h")
    made = run_json("resample", *to_1h)
    assert (made["made_of"], made["rows"]) == ("binance BTCUSDT 5m", 2)
    code, _, err = run("resample", *to_1h)
    assert code == 2
    assert "--replace" in err
    assert run("resample", *to_1h, "--replace", "--from", "5m")[0] == 0
    code, _, err = run("resample", "--venue", "bybit", "--symbol", "BTCUSDT", "--timeframe", "1h")
    assert code == 2
    assert "no shorter candles" in err


def test_sql_answers_as_table_and_as_json(run: Run, run_json: Run, tmp_path: Path) -> None:
    run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    query = "SELECT symbol, count(*) AS n, min(time) AS first FROM candles GROUP BY symbol"
    assert run_json("sql", query) == [
        {"symbol": "BTCUSDT", "n": 24, "first": "2023-01-01T00:00:00+00:00"}
    ]
    assert "BTCUSDT" in run("sql", query)[1]
    assert "The first 2 rows are shown" in run("sql", "SELECT * FROM candles", "--rows", "2")[1]
    code, _, err = run("sql", "DROP VIEW candles")
    assert code == 2
    assert "only one SELECT" in err


def test_sample_fills_a_folder_of_its_own_or_the_data_folder(
    run: Run, run_json: Run, tmp_path: Path, data_dir: Path
) -> None:
    apart = run_json("sample", "--into", tmp_path / "apart", "--days", "2", "--timeframe", "15m")
    assert apart["source"] == "synthetic seed=7"
    assert not data_dir.exists()
    assert run("sample", "--days", "2")[0] == 0
    assert {one["source"] for one in run_json("list")} == {"synthetic seed=7"}
    assert "synthetic" in run("list")[1]
    code, _, err = run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    assert code == 2
    assert "cannot be mixed" in err
    assert run("sample", "--start", "soon")[0] == 2


def test_delete_asks_unless_told_not_to(
    run: Run, run_json: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("import", kline_file(tmp_path / "k.csv"), *FIVE)
    for answer in ("", "n\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run("delete", *FIVE)[0] == 2
    assert len(run_json("list")) == 1
    assert run_json("delete", *FIVE, "--yes") == {"deleted": "binance BTCUSDT 5m", "rows": 24}
    assert run_json("list") == []
    assert run("delete", *FIVE, "--yes")[0] == 2


def test_instruments_are_listed_and_shown_as_of_a_date(run: Run, run_json: Run) -> None:
    assert "BTCUSDT" in run_json("instruments", "--venue", "bybit")["symbols"]
    one = run_json("instruments", "btcusdt", "--at", "2025-09-01", "--vip", "VIP1")
    assert (one["symbol"], one["tick_size"], one["rates"]["taker"]) == ("BTCUSDT", "0.1", "0.0004")
    code, out, _ = run("instruments", "BTCUSDT", "--at", "2020-03-12")
    assert code == 0
    assert "note: rules observed on 2021-07-21 stand in for 2020-03-12" in out
    assert "BTCUSDT" in run("instruments")[1]
    assert run("instruments", "NONEUSDT")[0] == 2
    assert run("instruments", "BTCUSDT", "--at", "yesterday")[0] == 2


def test_recorded_answers_are_imported(run: Run, run_json: Run, tmp_path: Path) -> None:
    brackets = [
        {
            "bracket": 1,
            "initialLeverage": 20,
            "notionalCap": 5000,
            "notionalFloor": 0,
            "maintMarginRatio": 0.02,
            "cum": 0,
        }
    ]
    path = tmp_path / "answer.json"
    path.write_text(json.dumps([{"symbol": "BTCUSDT", "brackets": brackets}]))
    assert run("import-instruments", path)[0] == 2
    stored = run_json("import-instruments", path, "--observed", "2026-10-01")
    assert (stored["venue"], stored["tiers"]) == ("binance", 1)
    assert run("import-instruments", path, "--observed", "2026-10-01")[0] == 0
    one = run_json("instruments", "BTCUSDT", "--at", "2026-10-02")
    assert one["tiers"][0]["max_leverage"] == "20"


def test_an_empty_list_says_how_to_begin(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert "perpdesk data sample" in out


@pytest.mark.recorded
def test_the_recorded_btcusdt_files_are_imported_as_a_new_user_would(
    run_json: Run, shared_dir: Path
) -> None:
    folder = shared_dir / "market" / "binance" / "BTCUSDT"
    base = ("--venue", "binance", "--symbol", "BTCUSDT")
    run_json("import", folder / "5m.parquet", *base, "--timeframe", "5m")
    run_json("import", folder / "mark-1h.parquet", *base, "--timeframe", "1h", "--kind", "mark")
    run_json("import", folder / "funding.parquet", *base, "--kind", "funding")
    found = {(one["kind"], one["rows"], one["gaps"]) for one in run_json("list")}
    assert found == {("candles", 143_899, 0), ("mark", 38_509, 0), ("funding", 5_126, 0)}
    assert run_json("check")["sound"] is True
