"""Both adapters, the emulator and the store together, each in a process of its own."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.terminal import PERPDESK, environment, ok, perpdesk

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


@contextmanager
def emulator(folder: Path, *options: str, only: bool = False) -> Iterator[dict[str, Any]]:
    """Run an emulator; yield what it says of itself.

    It plays a made market with three days of history, or only what the options say.
    """
    made = () if only else ("--synthetic", "7", "--history", "3", "--symbols", "BTCUSDT,ETHUSDT")
    process = subprocess.Popen(
        [*PERPDESK, "emulator", "run", "--port", "0", "--json", *made, *options],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield json.loads(_first_document(process))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def _first_document(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith("}"):
            return text
    raise AssertionError(process.stderr.read() if process.stderr else "no word of the emulator")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with emulator(tmp_path_factory.mktemp("emulator")) as world:
        yield world


def hosts(world: dict[str, Any], **others: str) -> dict[str, str]:
    names = ("PERPDESK_BINANCE_REST_URL", "PERPDESK_BYBIT_REST_URL")
    return {**dict.fromkeys(names, world["rest"]), **others}


def since(world: dict[str, Any], hours: int) -> tuple[str, int]:
    start_ms = (world["now_ms"] // HOUR_MS - hours) * HOUR_MS
    return f"{datetime.fromtimestamp(start_ms / 1000, UTC):%Y-%m-%dT%H:%MZ}", start_ms


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_every_kind_is_downloaded_whole_and_goes_on(
    tmp_path: Path, calm: dict[str, Any], venue: str
) -> None:
    text, start_ms = since(calm, 40)
    words = ("data", "download", "BTCUSDT", "ETHUSDT", "--venue", venue, "--timeframe", "1m")
    env = hosts(calm)
    asked = (*words, "--since", text, "--with", "mark,funding,oi")
    ok(tmp_path, *asked, env=env)
    listed = {one["series"]: one for one in ok(tmp_path, "data", "list")}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for kind in ("", " mark"):
            one = listed[f"{venue} {symbol} 1m{kind}"]
            assert (one["first_ts_ms"], one["gaps"]) == (start_ms, 0)
            assert one["rows"] == (one["last_ts_ms"] - start_ms) // MINUTE_MS + 1
            assert one["rows"] >= 40 * 60
        assert listed[f"{venue} {symbol} funding"]["rows"] in (4, 5, 6)
        assert listed[f"{venue} {symbol} open_interest"]["rows"] >= 40 * 12 - 1
    assert {one["source"] for one in listed.values()} == {f"emulator, {calm['market']}"}
    assert calm["market"].startswith("seed 7 from 20")
    checked = ok(tmp_path, "data", "check")
    assert [one["series"] for one in checked["series"] if one["damage"] or one["gaps"]] == []
    synced = ok(tmp_path, "data", "sync", env=env)
    assert all(one["rows_added"] < 60 for one in synced["series"])


def test_a_stormy_venue_gives_the_same_candles_in_the_end(tmp_path: Path) -> None:
    with emulator(tmp_path, "--bad-weather", "20") as world:
        text, start_ms = since(world, 48)
        words = ("data", "download", "BTCUSDT", "--venue", "binance", "--since", text)
        for _ in range(5):
            answer = perpdesk(tmp_path, *words, "--json", env=hosts(world))
            assert answer.code in (0, 1), answer.err
            assert "Traceback" not in answer.err
            if answer.code == 0:
                break
        (one,) = ok(tmp_path, "data", "list")
    assert (answer.code, one["gaps"], one["first_ts_ms"]) == (0, 0, start_ms)
    assert one["rows"] >= 48 * 60


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_rules_tiers_and_fees_are_fetched_with_a_key(
    tmp_path: Path, calm: dict[str, Any], venue: str
) -> None:
    leg = f"{venue.upper()}_DATA_LIVE"
    key = {f"{leg}_KEY": calm["key"], f"{leg}_SECRET": calm["secret"]}
    asked = ("data", "instruments", "BTCUSDT", "--venue", venue, "--fetch")
    fetched = ok(tmp_path, *asked, env=hosts(calm, **key))
    assert fetched["changed"]["fees"] == ["ACCOUNT:BTCUSDT"]
    again = ok(tmp_path, *asked, env=hosts(calm, **key))
    assert (again["changed"], again["path"]) == ({}, None)
    shown = ok(tmp_path, "data", "instruments", "BTCUSDT", "--venue", venue, "--vip", "ACCOUNT")
    assert "rules observed" not in shown["note"]


def test_a_wrong_key_is_told(tmp_path: Path, calm: dict[str, Any]) -> None:
    key = {"BINANCE_DATA_LIVE_KEY": "wrong", "BINANCE_DATA_LIVE_SECRET": "hush"}
    asked = ("data", "instruments", "BTCUSDT", "--venue", "binance", "--fetch")
    answer = perpdesk(tmp_path, *asked, env=hosts(calm, **key))
    assert answer.code == 2, answer.err
    assert "hush" not in answer.err
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err
