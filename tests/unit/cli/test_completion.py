"""The Tab key: what a shell is offered, as a shell asks for it."""

from pathlib import Path

import pytest

from perpdesk.cli.main import main
from perpdesk.settings import variable_names

Printed = pytest.CaptureFixture[str]
RUN = ("run", "--symbol", "BTCUSDT", "--strategy", "ema_trend", "--timeframe", "1h", "--json")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (*variable_names(), "PERPDESK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> "Offers":
    return Offers(monkeypatch, capsys)


class Offers:
    """Asks as bash does: the whole line, and which of its words is not finished."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *line: str) -> list[str]:
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setenv("_PERPDESK_COMPLETE", "complete_bash")
            patch.setenv("COMP_WORDS", " ".join(("perpdesk", *line)))
            patch.setenv("COMP_CWORD", str(len(line)))
            with pytest.raises(SystemExit):
                main([])
        return self._capsys.readouterr().out.split()


def test_strategies_are_offered_wherever_one_is_named(offered: Offers) -> None:
    assert offered("backtest", "run", "--strategy", "ema") == ["ema_trend"]
    assert "smc" in offered("backtest", "list", "--strategy", "s")
    assert offered("strategies", "show", "ema") == ["ema_trend"]


def test_a_strategy_that_prints_or_is_broken_does_not_disturb(offered: Offers, place: Path) -> None:
    (place / "strategies").mkdir()
    (place / "strategies/loud.py").write_text("print('ema_loud')")
    (place / "strategies/broken.py").write_text("1 / 0")
    assert offered("backtest", "run", "--strategy", "ema") == ["ema_trend"]


def test_stored_symbols_and_runs_are_offered(offered: Offers, capsys: Printed) -> None:
    assert offered("backtest", "show", "l") == []
    assert main(["data", "sample", "--days", "5", "--into", "data"]) == 0
    assert offered("backtest", "run", "--symbol", "BTC") == ["BTCUSDT"]
    assert main(["backtest", *RUN]) == 0
    (result,) = Path("data/backtests").glob("*/*.json")
    run_id = result.stem.rpartition("_")[2]
    assert offered("backtest", "show", run_id[:3]) == [run_id]
    for command in ("compare", "export", "delete"):
        assert offered("backtest", command, "la") == ["latest"]


def test_settings_that_are_wrong_offer_nothing(
    offered: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATION_INITIAL_CAPITAL", "much")
    assert offered("backtest", "run", "--strategy", "e") == []
