"""`perpdesk venues` and `perpdesk emulator` as people run them, each in a process of its own."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.terminal import Answer, ok, perpdesk
from tests.e2e.test_download_from_emulator import emulator

VENUES = ("binance", "bybit")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with emulator(tmp_path_factory.mktemp("emulator")) as found:
        yield found


def pointed(world: dict[str, Any], venue: str, **others: str) -> dict[str, str]:
    name = venue.upper()
    return {
        f"PERPDESK_{name}_REST_URL": world["rest"],
        f"PERPDESK_{name}_WS_URL": world["websocket"],
        f"{name}_TRADE_DEMO_KEY": world["key"],
        f"{name}_TRADE_DEMO_SECRET": world["secret"],
        **others,
    }


def check(folder: Path, env: dict[str, str], venue: str, leg: str = "trade-demo") -> Answer:
    return perpdesk(folder, "venues", "check", "--venue", venue, "--leg", leg, env=env)


@pytest.mark.parametrize("venue", VENUES)
def test_a_key_is_checked_and_the_account_shown(
    tmp_path: Path, world: dict[str, Any], venue: str
) -> None:
    found = ok(
        *(tmp_path, "venues", "check", "--venue", venue, "--leg", "trade-demo"),
        env=pointed(world, venue),
    )
    assert abs(found["clock_offset_ms"]) < 500
    assert not found["clock_has_drifted"]
    assert found["symbols"] == 2
    assert (found["key"]["can_trade"], found["key"]["can_withdraw"]) == (True, False)
    assert [one["code"] for one in found["key"]["warnings"]] == ["key_without_ip_list"]
    assert [(one["asset"], float(one["wallet"])) for one in found["balances"]] == [("USDT", 10_000)]
    said = check(tmp_path, pointed(world, venue), venue)
    assert "key       may read, trade" in said.out


@pytest.mark.parametrize("venue", VENUES)
def test_without_a_key_public_data_is_all_there_is(
    tmp_path: Path, world: dict[str, Any], venue: str
) -> None:
    said = check(tmp_path, pointed(world, venue), venue, leg="data-live")
    assert said.code == 0
    assert "none is set for this leg" in said.out


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("wrong", ["KEY", "SECRET"])
def test_a_wrong_key_is_told_from_a_wrong_secret(
    tmp_path: Path, world: dict[str, Any], venue: str, wrong: str
) -> None:
    env = pointed(world, venue, **{f"{venue.upper()}_TRADE_DEMO_{wrong}": "x"})
    said = check(tmp_path, env, venue)
    assert said.code == 2
    words = "key" if wrong == "KEY" else "signature"
    assert words in said.err.splitlines()[0]
    assert said.err.splitlines()[1].startswith(" next: Check")


@pytest.mark.parametrize("venue", VENUES)
def test_streams_are_watched_a_line_an_event(
    tmp_path: Path, world: dict[str, Any], venue: str
) -> None:
    said = perpdesk(
        *(tmp_path, "venues", "watch", "BTCUSDT", "--venue", venue, "--seconds", "7", "--lines"),
        env=pointed(world, venue),
    )
    assert said.code == 0, said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    assert {one["symbol"] for one in events if "symbol" in one} == {"BTCUSDT"}
    assert {"CandleUpdated", "MarkChanged"} <= {one["event"] for one in events}


@pytest.mark.parametrize("venue", VENUES)
def test_a_symbol_with_a_typo_is_refused_with_the_nearest(
    tmp_path: Path, world: dict[str, Any], venue: str
) -> None:
    said = perpdesk(
        *(tmp_path, "venues", "watch", "BTCUSDTT", "--venue", venue), env=pointed(world, venue)
    )
    assert said.code == 2
    assert "Did you mean BTCUSDT" in said.err


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    ("host", "words"),
    [("http://127.0.0.1:9", "cannot be reached"), ("http://no.such.invalid", "cannot be reached")],
)
def test_a_host_that_is_not_there_is_named(
    tmp_path: Path, world: dict[str, Any], venue: str, host: str, words: str
) -> None:
    env = pointed(world, venue) | {f"PERPDESK_{venue.upper()}_REST_URL": host}
    said = check(tmp_path, env, venue, leg="data-live")
    assert said.code == 1
    first, second = said.err.strip().splitlines()
    assert words in first
    assert host.removeprefix("http://") in first
    assert "HTTPConnection" not in first
    assert second.startswith(" next: Check the network")


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("kind", ["REST", "WS"])
def test_requests_and_streams_of_two_worlds_are_refused(
    tmp_path: Path, world: dict[str, Any], venue: str, kind: str
) -> None:
    env = pointed(world, venue)
    del env[f"PERPDESK_{venue.upper()}_{kind}_URL"]
    said = check(tmp_path, env, venue)
    assert said.code == 2
    assert f"Set PERPDESK_{venue.upper()}_{kind}_URL as well, or neither" in said.err


# The emulator.


def test_the_emulator_refuses_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = perpdesk(tmp_path, "emulator", "run", "--port", port, "--history", "1")
    assert said.code == 2
    assert port in said.err
    assert "--port" in said.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--venue", "kraken"), "'kraken' is no venue"),
        (("--replay", "nowhere"), "holds no candles"),
        (("--replay", ".", "--synthetic", "1"), "either replayed or made"),
        (("--start", "yesterday"), "'yesterday' is no date"),
        (("--start", "2024-01-01T12:00"), "no time zone"),
        (("--symbols", "BTCUSD"), "BTCUSD"),
    ],
)
def test_the_emulator_says_what_it_cannot_play(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    said = perpdesk(tmp_path, "emulator", "run", "--port", "0", *options)
    assert said.code == 2
    assert said.out == ""
    assert words in said.err
    assert " next: " in said.err


def test_stored_candles_are_replayed(tmp_path: Path) -> None:
    ok(tmp_path, "data", "sample", "--days", "3", "--timeframe", "15m")
    options = ("--replay", "data", "--venue", "binance", "--symbols", "BTCUSDT")
    with emulator(tmp_path, *options, only=True) as world:
        assert world["venues"] == {"binance": ["BTCUSDT"]}
        # A day after the first candle, 2024-01-01.
        assert world["now_ms"] == 1_704_153_600_000
        replayed = tmp_path / "again"
        replayed.mkdir()
        words = ("data", "download", "BTCUSDT", "--venue", "binance", "--since", "2024-01-01")
        ok(replayed, *words, "--timeframe", "15m", env=pointed(world, "binance"))
    query = (
        "select open, high, low, close, volume from candles where symbol = 'BTCUSDT' and "
        "ts_ms < 1704153600000 order by ts_ms"
    )
    first = ok(tmp_path, "data", "sql", query)
    second = ok(replayed, "data", "sql", query)
    assert len(first) == 96
    for recorded, fetched in zip(first, second, strict=True):
        assert fetched.pop("volume") == pytest.approx(recorded.pop("volume"))
        assert fetched == recorded
