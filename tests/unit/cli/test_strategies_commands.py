import json
from pathlib import Path
from typing import Any

import pytest

from perpdesk.cli.frame import console
from perpdesk.cli.main import main
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.settings import variable_names
from perpdesk.strategies.markets import random_market

LEAKY = '''
import numpy as np
from perpdesk.strategies.base import ArrayStrategy, SignalArrays


class Leaky(ArrayStrategy):
    """Know the next close."""

    name = "leaky"

    @classmethod
    def signals(cls, candles, params):
        ahead = np.sign(np.diff(candles.close, append=candles.close[-1:]))
        return SignalArrays(side=ahead.astype(np.int8), stop_loss=candles.close * (1 - ahead / 2))
'''

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*variable_names(), "PERPDESK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(console, "width", 160)


def answer(capsys: Printed, *args: str, code: int = 0) -> Any:
    assert main(["strategies", *args, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def refusal(capsys: Printed, *args: str) -> dict[str, str]:
    assert main(["strategies", *args, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    error: dict[str, str] = json.loads(err)["error"]
    return error


def words(capsys: Printed, *args: str, code: int = 0) -> str:
    assert main(["strategies", *args]) == code
    return capsys.readouterr().out


def put(name: str, text: str) -> Path:
    path = Path("strategies") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_list_tells_the_built_ins_and_what_could_not_be_loaded(capsys: Printed) -> None:
    put("mine.py", LEAKY)
    put("broken.py", "import nonsense_of_mine")
    rows = {row["name"]: row for row in answer(capsys, "list")["strategies"]}
    assert rows["smc"]["key"] == "smc@1"
    assert rows["smc"]["origin"] == "built-in"
    assert rows["leaky"]["origin"] == "strategies/mine.py"
    assert "broken.py, line 1: ModuleNotFoundError" in rows["broken"]["error"]
    text = words(capsys, "list")
    assert "ema_trend@1" in text
    assert "not loaded" in text
    assert "broken.py, line 1: ModuleNotFoundError" in text


def test_list_reads_the_folder_that_strategies_dir_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.py").write_text(LEAKY)
    monkeypatch.setenv("STRATEGIES_DIR", str(tmp_path / "other"))
    assert "leaky" in {row["name"] for row in answer(capsys, "list")["strategies"]}


def test_show_tells_rules_parameters_and_hash(capsys: Printed) -> None:
    data = answer(capsys, "show", "ema_trend")
    assert data["key"] == "ema_trend@1"
    assert data["params"]["properties"]["fast"]["maximum"] == 500
    assert data["warmup_candles"] == 56
    assert len(data["source_hash"]) == 64
    text = words(capsys, "show", "ema_trend")
    assert "a whole number from 1 to 500" in text
    assert data["source_hash"] in text


def test_an_unknown_strategy_is_refused_with_the_nearest_name(capsys: Printed) -> None:
    error = refusal(capsys, "show", "smz")
    assert "there is no strategy 'smz'" in error["message"]
    assert "Did you mean smc?" in error["next_step"]


def test_check_passes_a_built_in(capsys: Printed) -> None:
    data = answer(capsys, "check", "ema_trend", "--param", "fast=5", "--param", "slow=12")
    assert data["passed"] is True
    (report,) = data["strategies"]
    assert report["params"]["fast"] == 5
    assert report["verdict"] == "not falsified"
    assert {check["name"] for check in report["checks"]} >= {"look_ahead", "stops", "repeatable"}
    assert "not falsified" in words(capsys, "check", "ema_trend")


def test_check_exits_2_on_a_leak_and_names_bar_and_field(capsys: Printed) -> None:
    path = put("mine.py", LEAKY)
    for target in ("leaky", str(path)):
        data = answer(capsys, "check", target, code=2)
        assert data["passed"] is False
        (report,) = data["strategies"]
        found = next(check for check in report["checks"] if check["name"] == "look_ahead")
        assert "truncation: strategy leaky@1, bar 2023-" in found["fault"]
        assert "side:" in found["fault"]
    text = words(capsys, "check", "leaky", code=2)
    assert "falsified" in text
    assert "wrong" in text


def test_an_entry_without_a_stop_breaks_the_contract_but_is_no_leak(capsys: Printed) -> None:
    data = answer(capsys, "check", "ema_trend", "--param", "stop_atr=0", code=2)
    (report,) = data["strategies"]
    assert report["verdict"] == "breaks the contract"
    assert [check["name"] for check in report["checks"] if check["fault"]] == ["stops"]


def test_check_of_a_file_that_does_not_load_is_refused(capsys: Printed) -> None:
    path = put("broken.py", "1 / 0")
    error = refusal(capsys, "check", str(path))
    assert "broken.py, line 1: ZeroDivisionError" in error["message"]
    assert "no file absent.py" in refusal(capsys, "check", "absent.py")["message"]


def test_check_on_stored_candles(tmp_path: Path, capsys: Printed) -> None:
    CandleStore(tmp_path / "data" / "candles").write_candles(random_market(3000, seed=4))
    where = ("--venue", "binance", "--symbol", "btcusdt", "--timeframe", "1h")
    data = answer(capsys, "check", "donchian_breakout", *where)
    checks = {check["name"]: check for check in data["strategies"][0]["checks"]}
    assert checks["stored_5"]["fault"] is None
    assert "binance BTCUSDT 1h, 3,000 candles" in checks["stored_1"]["promise"]
    put("mine.py", LEAKY)
    data = answer(capsys, "check", "leaky", *where, code=2)
    checks = {check["name"]: check for check in data["strategies"][0]["checks"]}
    assert "falsified" in checks["stored_1"]["fault"]


def test_check_makes_the_candles_that_are_not_stored_as_a_run_does(
    tmp_path: Path, capsys: Printed
) -> None:
    CandleStore(tmp_path / "data" / "candles").write_candles(random_market(3000, seed=4))
    where = ("--venue", "binance", "--symbol", "BTCUSDT", "--timeframe", "4h")
    data = answer(capsys, "check", "donchian_breakout", *where)
    checks = {check["name"]: check for check in data["strategies"][0]["checks"]}
    assert "binance BTCUSDT 4h, 750 candles" in checks["stored_1"]["promise"]


BAR_BY_BAR = '''
import sys
from perpdesk.strategies.base import SignalStrategy


class Mine(SignalStrategy):
    """Do something wrong at a bar."""

    name = "mine"

    @classmethod
    def warmup_candles(cls, params):
        return 2

    def generate_signal(self):
        if len(self.data) == 100:
            {at_bar_100}
'''


@pytest.mark.parametrize(
    ("at_bar_100", "expected"),
    [
        ("sys.exit(0)", "raised SystemExit in strategies/mine.py, line 17 at the bar that opened"),
        ("1 / 0", "raised ZeroDivisionError in strategies/mine.py, line 17 at the bar that opened"),
        ("return 42", "returned 42, which is not a Signal, at the bar that opened"),
    ],
)
def test_a_strategy_that_fails_breaks_the_contract_and_is_named_once(
    at_bar_100: str, expected: str, capsys: Printed
) -> None:
    put("mine.py", BAR_BY_BAR.format(at_bar_100=at_bar_100))
    (report,) = answer(capsys, "check", "mine", code=2)["strategies"]
    assert report["verdict"] == "breaks the contract"
    assert all(expected in check["fault"] for check in report["checks"] if check["fault"])
    text = words(capsys, "check", "mine", code=2)
    assert text.count(f"strategy mine@1 {expected.split()[0]}") < 4
    assert "the same as above" in text


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--param", "fast"), "--param fast is not a name and a value"),
        (("--param", "fast=0"), "parameter fast=0 of ema_trend@1 is refused"),
        (("--param", "fats=1"), "did you mean fast?"),
        (("--venue", "binance"), "stored candles need --symbol and --timeframe as well"),
        (
            ("--venue", "binance", "--symbol", "X", "--timeframe", "7m"),
            "timeframe 7m does not divide a day evenly",
        ),
    ],
)
def test_wrong_options_are_refused_with_words(
    capsys: Printed, args: tuple[str, ...], expected: str
) -> None:
    assert expected in refusal(capsys, "check", "ema_trend", *args)["message"]


def test_check_on_candles_that_are_not_stored_is_refused(capsys: Printed) -> None:
    where = ("--venue", "bybit", "--symbol", "BTCUSDT", "--timeframe", "1h")
    assert "BTCUSDT" in refusal(capsys, "check", "ema_trend", *where)["message"]


def test_a_new_strategy_is_listed_and_keeps_its_contract(capsys: Printed) -> None:
    data = answer(capsys, "new", "my_idea")
    assert data["path"] == "strategies/my_idea.py"
    assert [path.name for path in Path("strategies").iterdir()] == ["my_idea.py"]
    rows = {row["name"]: row for row in answer(capsys, "list")["strategies"]}
    assert rows["my_idea"]["error"] is None
    assert answer(capsys, "check", "my_idea")["passed"] is True


def test_a_new_strategy_goes_where_it_is_told(tmp_path: Path, capsys: Printed) -> None:
    text = words(capsys, "new", "my_idea", "--dir", "ideas/of/mine")
    assert "perpdesk strategies check ideas/of/mine/my_idea.py" in text
    assert (tmp_path / "ideas" / "of" / "mine" / "my_idea.py").is_file()


def test_new_never_replaces_what_is_there(capsys: Printed) -> None:
    path = put("my_idea.py", "# mine\n")
    assert "is there already" in refusal(capsys, "new", "my_idea")["message"]
    assert path.read_text() == "# mine\n"
    assert "there is a strategy smc already" in refusal(capsys, "new", "smc")["message"]


@pytest.mark.parametrize("name", ["My Idea", "../up", "1st", "_x", "none", "x" * 41, ""])
def test_a_name_that_cannot_be_one_is_refused(name: str, capsys: Printed) -> None:
    assert "cannot name a strategy" in refusal(capsys, "new", name)["message"]
    assert not Path("strategies").exists()
