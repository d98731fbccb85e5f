"""`perpdesk backtest …` from the inside: what the commands answer, keep and refuse."""

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from perpdesk.cli.frame import console
from perpdesk.cli.main import main
from perpdesk.settings import variable_names

Printed = pytest.CaptureFixture[str]
BASE = ("--symbol", "BTCUSDT", "--strategy", "ema_trend", "--timeframe", "1h")


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic market of a month, made once."""
    folder = tmp_path_factory.mktemp("market")
    assert main(["data", "sample", "--days", "30", "--into", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path: Path, market: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with that market in it."""
    monkeypatch.chdir(tmp_path)
    for name in (*variable_names(), "PERPDESK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(console, "width", 160)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/candles").symlink_to(market / "candles")
    return tmp_path


def answer(capsys: Printed, *args: str) -> Any:
    capsys.readouterr()
    assert main(["backtest", *args, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refusal(capsys: Printed, *args: str) -> str:
    capsys.readouterr()
    assert main(["backtest", *args, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error = json.loads(err)["error"]
    assert set(error) == {"kind", "message", "next_step"}
    assert error["next_step"]
    return f"{error['message']} → {error['next_step']}"


def words(capsys: Printed, *args: str) -> str:
    capsys.readouterr()
    assert main(["backtest", *args]) == 0
    return capsys.readouterr().out


def stored_spec(document: Any) -> Any:
    return json.loads(Path(document["result_path"]).read_text())["manifest"]["spec"]


# Running.


def test_a_run_answers_with_where_everything_is(capsys: Printed) -> None:
    document = answer(capsys, "run", *BASE)
    assert {"run_id", "result_path", "artifacts_dir", "metrics"} <= set(document)
    result = Path(document["result_path"])
    assert result.name == f"BTCUSDT_ema_trend_1h_{document['run_id']}.json"
    assert result.parent.parent == Path("data/backtests")
    assert sorted(path.name for path in Path(document["artifacts_dir"]).iterdir()) == [
        "account_curve.csv",
        "equity.csv",
        "events.jsonl",
        "fills.csv",
        "funding.csv",
        "run_manifest.json",
        "signals.csv",
        "tearsheet.html",
        "trades.csv",
    ]
    assert document["metrics"]["trade_count"] == len(json.loads(result.read_text())["trades"])


def test_a_run_for_people_shows_the_summary_its_notes_and_the_report(capsys: Printed) -> None:
    text = words(capsys, "run", *BASE)
    assert "Net profit" in text
    assert "not falsified" in text
    assert "note: the market is not recorded" in text
    assert "tearsheet.html" in text


def test_options_reach_the_spec(capsys: Printed) -> None:
    document = answer(
        capsys,
        "run",
        *BASE,
        *("--param", "fast=8", "--param", "slow=30", "--leverage", "5", "--margin-mode", "cross"),
        *("--notional", "500", "--min-risk-reward", "0", "--capital", "777", "--seed", "3"),
        *("--slippage-bps", "7", "--limit-fill", "touch", "--max-volume-share", "none"),
        *("--confirm-delay-ms", "60000", "--start", "2024-01-05", "--end", "2024-01-20"),
        *("--commission", "0.0003", "--execution-timeframe", "5m", "--allow-gaps"),
    )
    spec = stored_spec(document)
    assert spec["params"] == {"fast": "8", "slow": "30"}
    assert (spec["leverage"], spec["margin_mode"]) == ("5", "cross")
    assert spec["sizing"] == {"rule": "notional", "value": "500"}
    assert (spec["min_risk_reward"], spec["initial_capital"], spec["seed"]) == ("0", "777", 3)
    assert spec["slippage"]["bps"] == "7"
    assert (spec["limit_fill"], spec["max_volume_share"]) == ("touch", None)
    assert (spec["confirm_delay_ms"], spec["allow_gaps"]) == (60_000, True)
    assert spec["fees"]["commission"] == "0.0003"
    assert (spec["start"], spec["end"]) == (1_704_412_800_000, 1_705_708_800_000)


def test_settings_fill_in_where_neither_file_nor_option_speaks(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATION_INITIAL_CAPITAL", "5000")
    monkeypatch.setenv("SIMULATION_COMMISSION", "0.001")
    monkeypatch.setenv("SIMULATION_SLIPPAGE", "9")
    spec = stored_spec(answer(capsys, "run", *BASE))
    assert spec["initial_capital"] == "5000"
    assert spec["fees"]["commission"] == "0.001"
    assert spec["slippage"]["bps"] == "9"
    assert stored_spec(answer(capsys, "run", *BASE, "--capital", "1"))["initial_capital"] == "1"


def test_a_tier_that_is_asked_for_wins_over_the_commission_of_the_settings(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATION_COMMISSION", "0.001")
    fees = stored_spec(answer(capsys, "run", *BASE, "--vip-tier", "VIP3"))["fees"]
    assert fees == {"vip_tier": "VIP3", "commission": None}


def test_several_symbols_share_one_account(capsys: Printed) -> None:
    document = answer(capsys, "run", *BASE, "--symbol", "ethusdt")
    assert Path(document["result_path"]).name.startswith("BTCUSDT+ETHUSDT_ema_trend_1h_")
    with Path(document["artifacts_dir"], "fills.csv").open() as file:
        fills = list(csv.DictReader(file))
    assert {row["symbol"] for row in fills} == {"BTCUSDT", "ETHUSDT"}
    times = [int(row["ts_ms"]) for row in fills]
    assert times == sorted(times)


# Spec files.

SPEC = """
strategy: ema_trend
symbols: [BTCUSDT]
timeframe: 1h
leverage: 3
params: {fast: 8, slow: 30}
sizing: {rule: notional, value: 250}
windows:
  hygiene: {start: 2024-01-03, end: 2024-01-10}
  test: {start: 2024-01-10T00:00:00Z, end: 2024-01-20}
window: hygiene
"""


@pytest.fixture
def spec(place: Path) -> str:
    path = place / "run.yaml"
    path.write_text(SPEC)
    return str(path)


def span(document: Any) -> tuple[str, str]:
    manifest = json.loads(Path(document["result_path"]).read_text())["manifest"]
    days = {1_704_240_000_000: "3", 1_704_844_800_000: "10", 1_705_708_800_000: "20"}
    start, end = manifest["range"].values()
    return days.get(start, str(start)), days.get(end, str(end))


def test_a_file_alone_is_enough_and_its_window_is_the_range(capsys: Printed, spec: str) -> None:
    document = answer(capsys, "run", "--spec", spec)
    assert span(document) == ("3", "10")
    found = stored_spec(document)
    assert (found["leverage"], found["params"]) == ("3", {"fast": 8, "slow": 30})


def test_another_window_is_chosen_by_name(capsys: Printed, spec: str) -> None:
    assert span(answer(capsys, "run", "--spec", spec, "--window", "test")) == ("10", "20")


def test_options_win_over_the_file_and_parameters_are_merged(capsys: Printed, spec: str) -> None:
    document = answer(
        capsys, "run", "--spec", spec, "--leverage", "7", "--param", "fast=9", "--risk-pct", "2"
    )
    found = stored_spec(document)
    assert (found["leverage"], found["params"]) == ("7", {"fast": "9", "slow": 30})
    assert found["sizing"] == {"rule": "risk_pct", "value": "2"}


def test_a_date_on_the_command_line_keeps_the_other_end_of_the_window(
    capsys: Printed, spec: str
) -> None:
    assert span(answer(capsys, "run", "--spec", spec, "--end", "2024-01-20")) == ("3", "20")
    unknown = Path(spec).read_text().replace("window: hygiene", "window: nope")
    Path(spec).write_text(unknown)
    text = refusal(capsys, "run", "--spec", spec, "--end", "2024-01-20")
    assert "there is no window 'nope'" in text


def test_a_file_may_name_one_symbol_and_an_option_another(capsys: Printed, spec: str) -> None:
    Path(spec).write_text(SPEC.replace("symbols: [BTCUSDT]", "symbol: BTCUSDT"))
    assert stored_spec(answer(capsys, "run", "--spec", spec))["symbols"] == ["BTCUSDT"]
    other = answer(capsys, "run", "--spec", spec, "--symbol", "ETHUSDT")
    assert stored_spec(other)["symbols"] == ["ETHUSDT"]


def test_a_timeframe_has_one_name_wherever_it_shows(capsys: Printed) -> None:
    document = answer(capsys, "run", *BASE[:-1], "60m", "--execution-timeframe", "5m")
    assert "_1h_" in Path(document["result_path"]).name
    assert stored_spec(document)["timeframe"] == "1h"
    assert answer(capsys, "show", "latest")["manifest"]["timeframe"] == "1h"


def test_dates_on_the_command_line_replace_the_window_of_the_file(
    capsys: Printed, spec: str
) -> None:
    options = ("--start", "2024-01-10", "--end", "2024-01-20")
    assert span(answer(capsys, "run", "--spec", spec, *options)) == ("10", "20")
    text = refusal(capsys, "run", "--spec", spec, "--window", "test", "--start", "2024-01-10")
    assert "--window and --start exclude each other" in text


def test_a_floor_of_one_strategy_wins_over_the_general_one_but_not_over_the_option(
    capsys: Printed, spec: str
) -> None:
    with Path(spec).open("a") as file:
        file.write("min_risk_reward_by_strategy: {ema_trend: 900, smc: 2}\n")
    denied = answer(capsys, "run", "--spec", spec)
    assert set(denied["signals"]["entries"]) == {"DENIED"}
    assert answer(capsys, "show", "latest")["manifest"]["min_risk_reward"] == "900"
    assert (
        "CONFIRMED"
        in (answer(capsys, "run", "--spec", spec, "--min-risk-reward", "1")["signals"]["entries"])
    )
    assert answer(capsys, "show", "latest")["manifest"]["min_risk_reward"] == "1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("window: nope", "there is no window 'nope'; the spec has none"),
        ("leverag: 3", "there is no field leverag; did you mean leverage?"),
        ("sizing: {rul: notional}", "there is no field sizing.rul; did you mean rule?"),
        ("windows: {a: {begin: 1}}", "no field windows.a.begin; there are start, end"),
        ("start: 2024-01-05 08:00:00", "start: 2024-01-05 08:00:00 has no time zone"),
        ("leverage: [1]", "leverage [1] is refused"),
        ("min_risk_reward_by_strategy: {smc: -1}", "min_risk_reward_by_strategy.smc -1 is refused"),
        ("- a\n- b", "holds no mapping of fields to values"),
        ("start: 2023-13-01", "start: '2023-13-01' is not a date"),
        ("a: [", "is not YAML"),
        ("seed: !!int x", "is not YAML"),
        ("", "holds no mapping of fields to values"),
    ],
)
def test_a_wrong_file_is_refused_naming_file_and_field(
    capsys: Printed, place: Path, text: str, expected: str
) -> None:
    path = place / "wrong.yaml"
    path.write_text(text)
    found = refusal(capsys, "run", *BASE, "--spec", str(path))
    assert expected in found
    assert "wrong.yaml" in found


@pytest.mark.parametrize("path", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused(capsys: Printed, path: str) -> None:
    assert "spec file" in refusal(capsys, "run", *BASE, "--spec", path)


# Refusals: more through the process itself in tests/e2e/test_bad_input.py.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--leverage", "500"), "--leverage 500 is refused: it must be less than or equal to 200"),
        (("--capital", "nan"), "--capital nan is refused: it must be a finite number"),
        (("--quantity", "0"), "--quantity 0 is refused: it must be greater than 0"),
        (("--risk-pct", "101"), "risk_pct is percent of equity and cannot exceed 100"),
        (("--risk-pct", "1", "--notional", "5"), "--risk-pct and --notional exclude each other"),
        (("--param", "fast"), "--param 'fast' is not name=value"),
        (
            ("--symbol", "btcusdt,ETHUSDT"),
            "several symbols at once → Repeat --symbol: --symbol BTCUSDT --symbol ETHUSDT.",
        ),
        (("--commission", "0.5"), "--commission 0.5 is refused"),
        (("--venue", "kraken"), "--venue kraken is refused: it must be 'binance', 'bybit' or"),
        (("--leverage", "126"), "leverage 126 is above the 125x that BTCUSDT allows"),
        (("--vip-tier", "VIP99"), "no fees are known for VIP99"),
        (("--execution-timeframe", "1m"), "cannot make 1h candles executed on 1m"),
        (
            ("--start", "2023-01-01"),
            "cover 2023-01-01 00:00 to the end; stored: 5m from 2024-01-01",
        ),
        (("--end", "2025-01-01"), "cover the beginning to 2025-01-01 00:00; stored: 5m from"),
        (("--start", "2024-01-05T00:30Z"), "lies within a 1h candle → Move it to 2024-01-05 00:00"),
    ],
)
def test_wrong_options_are_named_with_the_way_out(
    capsys: Printed, place: Path, options: tuple[str, ...], expected: str
) -> None:
    assert expected in refusal(capsys, "run", *BASE, *options)
    assert not (place / "data/artifacts").exists()
    assert not (place / "data/backtests").exists()


def test_what_is_missing_is_named(capsys: Printed) -> None:
    assert "--symbol, --timeframe are missing" in refusal(capsys, "run", "--strategy", "smc")


ONLY_4H = '''
import numpy as np
from perpdesk.strategies.base import ArrayStrategy, SignalArrays


class Slow(ArrayStrategy):
    """Mean four hours and nothing else."""

    name = "slow"
    timeframes = ("4h",)

    @classmethod
    def signals(cls, candles, params):
        return SignalArrays(side=np.zeros(len(candles), np.int8))
'''


def test_a_strategy_runs_only_on_the_timeframes_it_is_meant_for(
    capsys: Printed, place: Path
) -> None:
    (place / "strategies").mkdir()
    (place / "strategies/slow.py").write_text(ONLY_4H)
    options = ("--symbol", "BTCUSDT", "--strategy", "slow", "--timeframe")
    text = refusal(capsys, "run", *options, "1h")
    assert "slow@1 is meant for 4h candles, not for 1h → Run it with --timeframe 4h" in text
    assert (
        "the strategy gave no signal in this range"
        in (answer(capsys, "run", *options, "4h")["notes"])
    )


# List, show, compare, export, delete.


def test_list_shows_the_latest_first_and_says_when_there_is_none(capsys: Printed) -> None:
    assert answer(capsys, "list") == []
    assert "No runs yet" in words(capsys, "list")
    first = answer(capsys, "run", *BASE)
    second = answer(capsys, "run", *BASE, "--leverage", "2")
    rows = answer(capsys, "list")
    assert [row["run_id"] for row in rows] == [second["run_id"], first["run_id"]]
    assert rows[0]["total_return"] == second["metrics"]["total_return"]
    assert second["run_id"] in words(capsys, "list")


def test_run_ids_are_whole_even_in_a_narrow_terminal(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = answer(capsys, "run", *BASE)["run_id"]
    monkeypatch.setattr(console, "width", 80)
    assert run_id in words(capsys, "list")


def test_the_list_fits_eighty_columns_and_cuts_nothing(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = answer(capsys, "run", *BASE, "--symbol", "ETHUSDT", "--start", "2024-01-05")
    monkeypatch.setattr(console, "width", 80)
    text = words(capsys, "list")
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert f"{run['metrics']['total_return']:+.2%}" in text
    assert "2024-01-05" in text
    assert " 26 " in text  # days to 2024-01-31
    assert run["run_id"] in text
    for name in ("BTCUSDT", "ETHUSDT"):
        assert name in text


def test_the_list_can_be_narrowed_by_strategy_symbol_and_number(capsys: Printed) -> None:
    first = answer(capsys, "run", *BASE)["run_id"]
    second = answer(capsys, "run", *BASE, "--symbol", "ETHUSDT")["run_id"]

    def listed(*options: str) -> list[str]:
        return [row["run_id"] for row in answer(capsys, "list", *options)]

    assert listed("--strategy", "ema_trend") == listed("--strategy", "ema_trend@1")
    assert listed("--strategy", "smc") == listed("--strategy", "ema") == []
    assert listed("--symbol", "ethusdt") == [second]
    assert listed("--limit", "1") == [second]
    assert listed("--symbol", "BTCUSDT", "--limit", "5") == [second, first]
    assert "No run is like that" in words(capsys, "list", "--strategy", "smc")


def test_runs_before_the_latest_can_be_named_by_their_distance(capsys: Printed) -> None:
    ids = [answer(capsys, "run", *BASE, "--leverage", str(n))["run_id"] for n in (1, 2, 3)]
    assert answer(capsys, "show", "latest~0")["run_id"] == ids[2]
    assert answer(capsys, "show", "latest~2")["run_id"] == ids[0]
    assert answer(capsys, "compare", "latest~1", "latest")["runs"] == ids[1:]
    assert "there is no latest~3; 3 runs are stored" in refusal(capsys, "show", "latest~3")
    assert "no run begins with 'latest~x'" in refusal(capsys, "show", "latest~x")


def test_show_words_every_metric_as_the_report_does(capsys: Printed) -> None:
    metrics = answer(capsys, "run", *BASE)["metrics"]
    text = words(capsys, "show", "latest")
    rows = {
        cells[0].strip(): cells[1].strip()
        for line in text.splitlines()
        if len(cells := line.strip("│┃ ").split("│")) == 2
    }
    assert rows["Total return"] == f"{metrics['total_return']:+.2%}".replace("%", " %")
    assert rows["Max drawdown"] == f"-{metrics['max_drawdown']:.2%}".replace("%", " %")
    assert rows["Trades"] == str(metrics["trade_count"])
    assert rows["Trading fees"] == f"{metrics['costs']['fees']:,.2f}"
    assert "total_return" not in text


def test_a_run_from_before_a_metric_was_known_is_shown_without_it(capsys: Printed) -> None:
    run = answer(capsys, "run", *BASE)
    path = Path(run["result_path"])
    document = json.loads(path.read_text())
    del document["metrics"]["ulcer_index"], document["manifest"]["warnings"]
    path.write_text(json.dumps(document))
    text = words(capsys, "show", "latest")
    (line,) = [line for line in text.splitlines() if "Ulcer index" in line]
    assert "–" in line
    assert "Max drawdown" in text
    assert text.count("note:") == len(document["manifest"]["notes"])


def test_the_terminal_counts_remarks_and_tells_in_full_what_changed_the_result(
    capsys: Printed,
) -> None:
    ran = words(capsys, "run", *BASE)
    notes = answer(capsys, "show", "latest")["manifest"]["notes"]
    warnings = answer(capsys, "show", "latest")["manifest"]["warnings"]
    more = f"… and {len(notes) - len(warnings)} more remarks on what stands in for what"
    for text in (ran, words(capsys, "show", "latest")):
        for note in warnings:
            assert f"note: {note}" in text
        assert more in text
        assert text.count("note:") == len(warnings) > 0


def test_compare_shows_times_as_people_read_them(capsys: Printed) -> None:
    answer(capsys, "run", *BASE, "--start", "2024-01-05")
    answer(capsys, "run", *BASE, "--start", "2024-01-06T08:00Z")
    text = words(capsys, "compare", "latest~1", "latest")
    assert "2024-01-05 00:00" in text
    assert "2024-01-06 08:00" in text
    assert "Max drawdown" in text


def test_a_run_is_found_by_the_beginning_of_its_id_or_as_the_latest(capsys: Printed) -> None:
    run_id = answer(capsys, "run", *BASE)["run_id"]
    assert answer(capsys, "show", run_id[:5])["run_id"] == run_id
    shown = answer(capsys, "show", "latest")
    assert shown["manifest"]["strategy"]["params"]["fast"] == 21
    text = words(capsys, "show", "latest")
    assert f"run {run_id}: ema_trend@1" in text
    assert "parameter fast = 21" in text


@pytest.mark.parametrize("command", ["show", "delete", "compare"])
def test_where_there_are_no_runs_every_command_says_so(capsys: Printed, command: str) -> None:
    assert "there are no runs in" in refusal(capsys, command, "latest")


def test_wrong_ids_are_refused(capsys: Printed) -> None:
    first = answer(capsys, "run", *BASE)["run_id"]
    assert "no run begins with 'zzz'" in refusal(capsys, "show", "zzz")
    assert "no run begins with ''" in refusal(capsys, "delete", "")
    assert "at least two different runs" in refusal(capsys, "compare", first, "latest")
    begun = {first[0]}
    for number in range(2, 19):  # of seventeen ids two begin with the same hex digit
        digit = answer(capsys, "run", *BASE, "--leverage", str(number))["run_id"][0]
        if digit in begun:
            break
        begun.add(digit)
    assert f"several runs begin with '{digit}'" in refusal(capsys, "show", digit)


def test_compare_shows_metrics_and_only_what_differs(capsys: Printed) -> None:
    low = answer(capsys, "run", *BASE, "--param", "fast=8")
    high = answer(capsys, "run", *BASE, "--param", "fast=13", "--leverage", "4")
    found = answer(capsys, "compare", low["run_id"], high["run_id"])
    assert found["runs"] == [low["run_id"], high["run_id"]]
    assert found["spec"] == {"params.fast": ["8", "13"], "leverage": ["1", "4"]}
    assert found["metrics"]["net_pnl"] == [
        low["metrics"]["net_pnl"],
        high["metrics"]["net_pnl"],
    ]
    assert "params.fast" in words(capsys, "compare", low["run_id"], high["run_id"])


def test_export_copies_result_and_artifacts_into_a_folder_or_a_zip(
    capsys: Printed, place: Path
) -> None:
    run_id = answer(capsys, "run", *BASE)["run_id"]
    assert answer(capsys, "export", run_id, "--to", "out")["exported_to"] == "out"
    inside = {path.name for path in Path("out").iterdir()}
    assert {"result.json", "fills.csv", "tearsheet.html"} <= inside
    words(capsys, "export", "latest", "--to", "out.zip")
    assert set(zipfile.ZipFile("out.zip").namelist()) >= inside
    assert [path.name for path in place.iterdir() if "partial" in path.name] == []


def test_export_refuses_a_place_that_is_taken_and_makes_folders_on_the_way(
    capsys: Printed,
) -> None:
    run_id = answer(capsys, "run", *BASE)["run_id"]
    assert "data exists already" in refusal(capsys, "export", run_id, "--to", "data")
    answer(capsys, "export", run_id, "--to", "deep/down/out")
    assert Path("deep/down/out/result.json").exists()


def test_delete_removes_result_and_artifacts_and_nothing_else(capsys: Printed) -> None:
    gone = answer(capsys, "run", *BASE)
    kept = answer(capsys, "run", *BASE, "--leverage", "2")
    assert answer(capsys, "delete", gone["run_id"], gone["run_id"], "--yes") == {
        "deleted": [gone["run_id"]]
    }
    assert not Path(gone["result_path"]).exists()
    assert not Path(gone["artifacts_dir"]).exists()
    assert [row["run_id"] for row in answer(capsys, "list")] == [kept["run_id"]]
    assert Path("data/candles").exists()


def test_delete_all_removes_every_run_and_nothing_else(capsys: Printed, place: Path) -> None:
    for leverage in ("1", "2"):
        answer(capsys, "run", *BASE, "--leverage", leverage)
    assert len(answer(capsys, "delete", "--all", "--yes")["deleted"]) == 2
    assert answer(capsys, "list") == []
    assert list((place / "data/backtests").iterdir()) == []
    assert list((place / "data/artifacts").iterdir()) == []
    assert Path("data/candles").exists()
    assert answer(capsys, "delete", "--all") == {"deleted": []}


def test_delete_wants_names_or_all_and_a_yes(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = answer(capsys, "run", *BASE)["run_id"]
    assert "name the runs to delete, or give --all" in refusal(capsys, "delete")
    assert "name the runs to delete, or give --all" in refusal(capsys, "delete", run_id, "--all")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody answers the question
    assert main(["backtest", "delete", run_id]) == 2
    assert len(answer(capsys, "list")) == 1
    assert "deleted 1 run" in words(capsys, "delete", run_id, "--yes")


def test_delete_for_scripts_wants_a_yes_in_the_command(capsys: Printed) -> None:
    run_id = answer(capsys, "run", *BASE)["run_id"]
    for named in (run_id, "--all"):
        assert "Give --yes" in refusal(capsys, "delete", named)
    assert len(answer(capsys, "list")) == 1
    assert answer(capsys, "delete", run_id, "--yes") == {"deleted": [run_id]}


def test_delete_asks_at_a_terminal_and_heeds_the_answer(
    capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    run_id = answer(capsys, "run", *BASE)["run_id"]
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["backtest", "delete", run_id]) != 0
    assert len(answer(capsys, "list")) == 1
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert "deleted 1 run" in words(capsys, "delete", run_id)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"schema_version": 99}', '{"schema_version": 1}']
)
def test_a_result_that_cannot_be_read_hides_no_other_and_can_be_deleted(
    capsys: Printed, content: str
) -> None:
    good = answer(capsys, "run", *BASE)
    bad = answer(capsys, "run", *BASE, "--leverage", "2")
    Path(bad["result_path"]).write_text(content)
    rows = {row["run_id"]: row for row in answer(capsys, "list")}
    assert rows[good["run_id"]]["trade_count"] == good["metrics"]["trade_count"]
    assert "cannot be read" in rows[bad["run_id"]]["error"]
    assert "cannot be read" in words(capsys, "list")
    for command in (("show",), ("compare", good["run_id"])):
        text = refusal(capsys, *command, bad["run_id"])
        assert f"{bad['run_id']}.json cannot be read" in text
        assert f"perpdesk backtest delete {bad['run_id']}" in text
    answer(capsys, "delete", bad["run_id"], "--yes")
    assert [row["run_id"] for row in answer(capsys, "list")] == [good["run_id"]]


def test_files_that_are_no_results_are_not_listed(capsys: Printed) -> None:
    run = answer(capsys, "run", *BASE)
    folder = Path(run["result_path"]).parent
    for name in (".BTCUSDT_x_1h_0123456789ab.json.partial", "notes.json", "x_01234.json"):
        (folder / name).write_text("{}")
    assert [row["run_id"] for row in answer(capsys, "list")] == [run["run_id"]]


def test_export_of_a_run_whose_artifacts_are_gone_is_refused(capsys: Printed) -> None:
    run = answer(capsys, "run", *BASE)
    shutil.rmtree(run["artifacts_dir"])
    assert "artifacts" in refusal(capsys, "export", run["run_id"], "--to", "out")
    assert not Path("out").exists()
