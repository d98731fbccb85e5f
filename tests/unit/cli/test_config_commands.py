import json
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from perpdesk.cli.main import main
from perpdesk.settings import variable_names


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*variable_names(), "PERPDESK_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")


def test_show_tells_every_setting_and_its_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".env").write_text("EXCHANGE=bybit\n")
    monkeypatch.setenv("SIMULATION_SLIPPAGE", "3.5")
    assert main(["config", "show", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert list(rows) == variable_names()
    assert (rows["EXCHANGE"]["value"], rows["EXCHANGE"]["source"]) == ("bybit", ".env")
    assert rows["SIMULATION_SLIPPAGE"]["value"] == "3.5"
    assert rows["SIMULATION_SLIPPAGE"]["source"] == "environment"
    assert rows["TRADING_MODE"]["source"] == "default"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_show_never_prints_a_secret(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:hush")
    for leg in ("BINANCE_TRADE_LIVE", "BYBIT_DATA_DEMO"):
        monkeypatch.setenv(f"{leg}_KEY", "hush-key")
        monkeypatch.setenv(f"{leg}_SECRET", "hush-secret")
    assert main(["config", "show", *options]) == 0
    out, err = capsys.readouterr()
    assert "TELEGRAM_BOT_TOKEN" in out
    assert "BYBIT_DATA_DEMO_SECRET" in out
    assert "hush" not in out + err


def test_show_draws_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show"]) == 0
    out = capsys.readouterr().out
    assert "SIMULATION_INITIAL_CAPITAL" in out
    assert "false" in out


def test_check_passes_in_an_empty_folder_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "check"]) == 0
    assert "will be created" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_check_refuses_a_data_dir_that_is_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("")
    monkeypatch.setenv("DATA_DIR", "taken")
    assert main(["config", "check", "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is False
    refused = [check for check in result["checks"] if not check["ok"]]
    assert {check["name"] for check in refused} == {"DATA_DIR", "DB_PATH"}
    assert all(check["next_step"] for check in refused)


def test_check_refuses_a_folder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*, dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert main(["config", "check"]) == 2
    out = capsys.readouterr().out
    assert "cannot be written: Permission denied" in out
    assert "next: Give yourself the right" in out


def test_check_refuses_a_disk_that_is_nearly_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 10**6, 10**6))
    assert main(["config", "check"]) == 2
    assert "0.0 GB free" in capsys.readouterr().out


def test_check_explains_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADING_MODE", "live")
    assert main(["config", "check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "TRADING_APPROVED=true" in err
