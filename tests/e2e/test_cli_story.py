"""A new user, the recorded data and four commands: from files to a report."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.terminal import ok, perpdesk

pytestmark = pytest.mark.recorded

PLACE = ("--venue", "binance", "--symbol", "BTCUSDT")
RUN = (
    *("backtest", "run", *PLACE, "--strategy", "smc", "--timeframe", "1h"),
    *("--start", "2023-01-01", "--end", "2024-05-01", "--leverage", "5", "--risk-pct", "1"),
)
COLUMNS = {
    "fills.csv": "ts_ms,order_id,client_order_id,symbol,side,quantity,price,liquidity,fee,"
    "realized_pnl,position_after,reason",
    "funding.csv": "ts_ms,symbol,signed_quantity,mark_price,rate,amount",
    "account_curve.csv": "ts_ms,cash,unrealized,equity,used_margin,free_margin,available,"
    "maintenance_margin",
    "trades.csv": "trade_id,symbol,side,entry_ts_ms,exit_ts_ms,quantity,entry_price,exit_price,"
    "stop_loss,take_profit,exit_reason,gross_pnl,fees,funding,slippage_cost,net_pnl,r_multiple,"
    "mae,mfe",
}


@pytest.fixture(scope="module")
def folder(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder after the three imports."""
    here = tmp_path_factory.mktemp("story")
    market = shared_dir / "market/binance/BTCUSDT"
    for name, options in (
        ("5m.parquet", ("--timeframe", "5m")),
        ("mark-1h.parquet", ("--timeframe", "1h", "--kind", "mark")),
        ("funding.parquet", ("--kind", "funding")),
    ):
        answer = perpdesk(here, "data", "import", str(market / name), *PLACE, *options)
        assert answer.code == 0, answer.err
        assert "stored" in answer.out
    return here


@pytest.fixture(scope="module")
def document(folder: Path) -> Any:
    """What the fourth command answers."""
    return ok(folder, *RUN)


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_store_lists_what_was_imported(folder: Path) -> None:
    listed = ok(folder, "data", "list")
    kinds = {(row["kind"], row["timeframe"]): row["rows"] for row in listed}
    assert kinds == {
        ("candles", "5m"): 143_899,
        ("mark", "1h"): 38_509,
        ("funding", None): 5_126,
    }


def test_the_answer_names_run_result_artifacts_and_metrics(folder: Path, document: Any) -> None:
    assert {"run_id", "result_path", "artifacts_dir", "metrics"} <= set(document)
    result = Path(document["result_path"])
    assert result.name == f"BTCUSDT_smc_1h_{document['run_id']}.json"
    assert result.parent.parent.name == "backtests"
    assert json.loads((folder / result).read_text())["run_id"] == document["run_id"]


def test_the_metrics_are_those_that_a_trader_asks_for(document: Any) -> None:
    metrics = document["metrics"]
    for name in ("trade_count", "win_rate", "profit_factor", "sharpe", "sortino", "calmar", "cagr"):
        assert name in metrics
    assert metrics["trade_count"] > 10
    assert 0 < metrics["max_drawdown"] < 1


@pytest.mark.parametrize("name", COLUMNS)
def test_the_files_have_exactly_the_columns_that_others_check_us_by(
    folder: Path, document: Any, name: str
) -> None:
    lines = (folder / document["artifacts_dir"] / name).read_text().splitlines()
    assert lines[0] == COLUMNS[name]
    assert len(lines) > 10
    odd = re.compile(r"-?[\d.]+[Ee][-+]?\d+|nan|-?inf|None|-0")
    assert [line for line in lines if any(map(odd.fullmatch, line.split(",")))] == []


def test_the_curve_has_a_row_for_every_hour_and_holds_its_identities(
    folder: Path, document: Any
) -> None:
    rows = table(folder / document["artifacts_dir"], "account_curve.csv")
    # 486 days from 2023-01-01 to 2024-05-01.
    assert len(rows) == 486 * 24
    assert int(rows[0]["ts_ms"]) == 1_672_531_200_000 + 3_600_000 - 1
    assert int(rows[-1]["ts_ms"]) == 1_714_521_600_000 - 1
    for row in rows[::97]:
        atoms = {name: int(text.replace(".", "")) for name, text in row.items() if name != "ts_ms"}
        assert atoms["equity"] == atoms["cash"] + atoms["unrealized"]
        assert atoms["free_margin"] == atoms["equity"] - atoms["used_margin"]
        assert atoms["available"] == max(0, atoms["free_margin"])


def test_cash_is_explained_by_fills_and_funding_to_the_last_digit(
    folder: Path, document: Any
) -> None:
    artifacts = folder / document["artifacts_dir"]

    def atoms(text: str) -> int:
        whole, _, part = text.partition(".")
        return int(whole + part.ljust(8, "0"))

    fills, funding = table(artifacts, "fills.csv"), table(artifacts, "funding.csv")
    cash = 10_000 * 10**8
    cash += sum(atoms(row["realized_pnl"]) - atoms(row["fee"]) for row in fills)
    cash += sum(atoms(row["amount"]) for row in funding)
    assert cash == atoms(table(artifacts, "account_curve.csv")[-1]["cash"])
    assert fills[-1]["position_after"] == "0"
    assert {row["liquidity"] for row in fills} == {"MAKER", "TAKER"}


def test_the_manifest_says_what_the_run_rests_on(folder: Path, document: Any) -> None:
    path = folder / document["artifacts_dir"] / "run_manifest.json"
    manifest = json.loads(path.read_text())
    assert {
        *("spec", "versions", "git_revision", "data", "rules", "fee_schedule", "fill_model"),
        *("coverage", "seed", "lookahead"),
    } <= set(manifest)
    assert manifest["coverage"]["BTCUSDT"]["mark"] == 1.0
    assert manifest["coverage"]["BTCUSDT"]["funding_holes"] == 0
    assert len(manifest["data"]) == 3
    assert all(len(source["content_hash"]) >= 32 for source in manifest["data"])


def test_every_event_is_one_line_of_json_in_order(folder: Path, document: Any) -> None:
    path = folder / document["artifacts_dir"] / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    filled = [event for event in events if event["event"] == "OrderFilled"]
    assert len(filled) == len(table(path.parent, "fills.csv"))


def test_the_report_is_one_file_that_needs_no_network(folder: Path, document: Any) -> None:
    page = (folder / document["artifacts_dir"] / "tearsheet.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    for outside in ('src="http', 'href="http', "@import", "url(http", "fetch(", "cdn."):
        assert outside not in page
    assert document["run_id"] in page


def test_the_run_can_be_listed_shown_exported_and_deleted(folder: Path, document: Any) -> None:
    run_id = document["run_id"]
    assert [row["run_id"] for row in ok(folder, "backtest", "list")] == [run_id]
    assert ok(folder, "backtest", "show", "latest")["metrics"] == document["metrics"]
    ok(folder, "backtest", "export", run_id, "--to", "mine.zip")
    assert (folder / "mine.zip").stat().st_size > 10_000
    again = ok(folder, *RUN, "--leverage", "3")
    compared = ok(folder, "backtest", "compare", run_id, again["run_id"])
    assert compared["spec"] == {"leverage": ["5", "3"]}
    assert ok(folder, "backtest", "delete", again["run_id"], "--yes") == {
        "deleted": [again["run_id"]]
    }
    assert [row["run_id"] for row in ok(folder, "backtest", "list")] == [run_id]
