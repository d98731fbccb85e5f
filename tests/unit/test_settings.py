from decimal import Decimal
from pathlib import Path

import pytest

from perpdesk.domain.errors import UsageRefused
from perpdesk.settings import Source, TradingMode, load_settings, sources, variable_names


@pytest.fixture(autouse=True)
def _clean_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder with none of our variables set."""
    monkeypatch.chdir(tmp_path)
    for name in variable_names():
        monkeypatch.delenv(name, raising=False)


def write_env_file(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def test_the_defaults_simulate_with_play_money() -> None:
    settings = load_settings()
    assert settings.trading_mode is TradingMode.SIMULATION
    assert settings.trading_approved is False
    assert settings.data_dir == Path("data")
    assert settings.database_path == Path("data/app.db")
    assert settings.simulation_initial_capital == Decimal(10_000)
    assert settings.simulation_commission is None
    assert settings.telegram_enabled is False


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write_env_file("DATA_DIR=from-file\nEXCHANGE=bybit\n")
    monkeypatch.setenv("DATA_DIR", "from-environment")
    settings = load_settings()
    assert settings.data_dir == Path("from-environment")
    assert settings.exchange == "bybit"
    found = sources()
    assert found["DATA_DIR"] is Source.ENVIRONMENT
    assert found["EXCHANGE"] is Source.ENV_FILE
    assert found["WS_URL"] is Source.DEFAULT


def test_an_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write_env_file("SIMULATION_COMMISSION=\n")
    monkeypatch.setenv("SIMULATION_SLIPPAGE", "")
    settings = load_settings()
    assert settings.simulation_commission is None
    assert settings.simulation_slippage == Decimal(2)
    assert sources()["SIMULATION_SLIPPAGE"] is Source.DEFAULT


def test_numbers_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATION_COMMISSION", "0.0004")
    assert load_settings().simulation_commission == Decimal("0.0004")


def test_the_database_can_lie_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PATH", "~/desk.db")
    assert load_settings().database_path == Path.home() / "desk.db"


def test_live_trading_needs_an_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_MODE", "live")
    with pytest.raises(UsageRefused, match="real money and needs TRADING_APPROVED=true"):
        load_settings()
    monkeypatch.setenv("TRADING_APPROVED", "true")
    assert load_settings().trading_mode is TradingMode.LIVE


def test_telegram_needs_its_token_and_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_ENABLED", "true")
    with pytest.raises(UsageRefused, match="TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID"):
        load_settings()
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:abc")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "-1001234567890")
    assert load_settings().telegram_enabled


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRADING_MODE", "paper", "TRADING_MODE=paper (from environment)"),
        ("EXCHANGE", "ftx", "EXCHANGE=ftx"),
        ("SIMULATION_INITIAL_CAPITAL", "0", "SIMULATION_INITIAL_CAPITAL=0"),
        ("SIMULATION_INITIAL_CAPITAL", "NaN", "SIMULATION_INITIAL_CAPITAL=NaN"),
        ("SIMULATION_INITIAL_CAPITAL", "ten", "SIMULATION_INITIAL_CAPITAL=ten"),
        ("SIMULATION_COMMISSION", "0.04", "0.0004 means 0.04 %"),
        ("SIMULATION_SLIPPAGE", "-1", "in bps"),
        ("REST_URL", "ftp://host", "starts with https:// or http://"),
        ("WS_URL", "https://host", "starts with wss:// or ws://"),
        ("PERPDESK_BYBIT_WS_URL", "https://host", "starts with wss:// or ws://"),
        ("PERPDESK_BINANCE_REST_URL", "host:18080", "starts with https:// or http://"),
        ("PERPDESK_BINANCE_REST_URL", "http://host:99999", "PERPDESK_BINANCE_REST_URL"),
        ("PERPDESK_BINANCE_REST_URL", "http://host/?a=b", "must not carry a question mark"),
        ("TELEGRAM_CHAT_ID", "me", "TELEGRAM_CHAT_ID=me"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageRefused) as refused:
        load_settings()
    assert words in refused.value.message
    assert "config check" in refused.value.next_step


def test_the_address_of_each_venue_can_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPDESK_BYBIT_REST_URL", "http://127.0.0.1:18080/")
    monkeypatch.setenv("PERPDESK_BINANCE_WS_URL", "ws://emulator:18080")
    settings = load_settings()
    assert settings.perpdesk_bybit_rest_url == "http://127.0.0.1:18080"
    assert settings.perpdesk_binance_ws_url == "ws://emulator:18080"
    assert settings.perpdesk_binance_rest_url is None


@pytest.mark.parametrize("leg", ["TRADE_LIVE", "TRADE_DEMO", "DATA_LIVE", "DATA_DEMO"])
@pytest.mark.parametrize("venue", ["BINANCE", "BYBIT"])
def test_a_key_needs_its_secret_and_no_other_leg_is_given_it(
    venue: str, leg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = f"{venue}_{leg}_KEY", f"{venue}_{leg}_SECRET"
    monkeypatch.setenv(key, "public-part")
    with pytest.raises(UsageRefused, match=f"{key} is set, {secret} is not") as refused:
        load_settings()
    assert "public-part" not in refused.value.message
    monkeypatch.setenv(secret, "hush")
    settings = load_settings()
    given = {n for n in type(settings).model_fields if getattr(settings, n) is not None}
    legs = {name for name in given if name.endswith(("_key", "_secret"))}
    assert legs == {key.lower(), secret.lower()}
    assert "hush" not in repr(settings)
    monkeypatch.delenv(key)
    with pytest.raises(UsageRefused, match=f"{secret} is set, {key} is not"):
        load_settings()


def test_a_password_in_an_address_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REST_URL", "https://user:hush@host")
    with pytest.raises(UsageRefused) as refused:
        load_settings()
    assert "must not carry" in refused.value.message
    assert "hush" not in refused.value.message


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("SIMULATION_SLIPAGE=3", "SIMULATION_SLIPPAGE"),
        ("DATADIR=x", "DATA_DIR"),
        ("PERPDESK_COLOUR=red", ""),
    ],
)
def test_an_unknown_name_of_ours_in_the_file_is_refused(line: str, suggestion: str) -> None:
    write_env_file(line + "\n")
    with pytest.raises(UsageRefused, match=line.split("=")[0]) as refused:
        load_settings()
    assert ("Did you mean" in refused.value.next_step) == bool(suggestion)
    assert suggestion in refused.value.next_step


def test_a_foreign_name_in_the_file_is_left_alone() -> None:
    write_env_file("COMPOSE_PROJECT_NAME=desk\n# a comment\n\n")
    load_settings()


def test_a_line_that_cannot_be_read_is_named() -> None:
    write_env_file("EXCHANGE=bybit\nthis is no setting\n")
    with pytest.raises(UsageRefused, match="line 2"):
        load_settings()


def test_a_file_that_is_no_text_is_refused() -> None:
    Path(".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageRefused, match="UTF-8"):
        load_settings()
