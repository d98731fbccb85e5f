"""Download, heal, sync and fetched instruments as a user runs them, over a venue in memory."""

import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.marketdata.fake_source import FakeHistory
from tests.unit.marketdata.rows import H1, START_MS, make_candles, make_funding
from tests.unit.marketdata.test_reference import FakeReference, exchange_info

from perpdesk import bootstrap
from perpdesk.cli.main import main
from perpdesk.domain.candles import DAY_MS, DataKind, Venue
from perpdesk.domain.errors import VenueUnavailable
from perpdesk.marketdata.history import History
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.reference import ReferenceKeeper
from perpdesk.settings import Settings, load_settings, variable_names
from perpdesk.venues.endpoints import Leg

Run = Callable[..., Any]
DAYS = 10


@pytest.fixture
def source() -> FakeHistory:
    count = 24 * DAYS
    return FakeHistory(
        now=START_MS + DAYS * DAY_MS,
        rows={
            (DataKind.CANDLES, "BTCUSDT"): make_candles(count, timeframe=H1),
            (DataKind.FUNDING, "BTCUSDT"): make_funding([8.0 * n for n in range(3 * DAYS)]),
        },
        listed={"BTCUSDT": START_MS},
    )


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: FakeHistory) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in variable_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    async def no_wait(_: float) -> None:
        pass

    @asynccontextmanager
    async def history(settings: Settings, venue: Venue, **others: Any) -> AsyncIterator[History]:
        assert venue is Venue.BINANCE
        patience = Patience(attempts=2, sleep=no_wait)
        store = bootstrap.candle_store(settings.data_dir)
        yield History(store, source, source, patience=patience, **others)

    monkeypatch.setattr(bootstrap, "history", history)
    return tmp_path / "data"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*args: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


ASKED = ("download", "BTCUSDT", "--venue", "binance", "--timeframe", "1h", "--since", "2023-01-01")


def test_a_download_tells_what_came_in_and_how_much_was_there(run: Run) -> None:
    code, out, _ = run(*ASKED)
    assert code == 0
    assert out.split() == [
        *("series", "new", "rows", "had", "holes", "requests"),
        *("binance", "BTCUSDT", "1h", "240", "0", "0", "3"),
    ]
    document = json.loads(run(*ASKED, "--with", "funding", "--json")[1])
    assert [(one["series"], one["rows_added"]) for one in document["series"]] == [
        ("binance BTCUSDT 1h", 0),
        ("binance BTCUSDT funding", 30),
    ]
    assert run("list", "--json")[0] == 0


def test_a_hole_of_the_venue_is_told(run: Run, source: FakeHistory) -> None:
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    source.rows[DataKind.CANDLES, "BTCUSDT"] = whole[:100]
    out = run(*ASKED)[1]
    assert (
        "binance BTCUSDT 1h: the venue has nothing from 2023-01-05 04:00 to 2023-01-11 00:00 "
        "(140 missing)"
    ) in out


@pytest.mark.parametrize(
    ("args", "words", "step"),
    [
        (("BTCUSD",), "binance has no perpetual BTCUSD", "Did you mean BTCUSDT?"),
        (("BTCUSDT", "--with", "marks"), "--with marks: no such kind", "mark, funding, oi"),
        (("BTCUSDT", "--timeframe", "7m"), "7m does not divide a day", "next:"),
        (("BTCUSDT", "--until", "2022-01-01"), "is not before the end", "--since"),
        (("BTCUSDT", "--until", "soon"), "--until: 'soon' is not a date", ""),
        (("BTCUSDT", "--until", "2023-01-02T08:00"), "has no time zone", ""),
        (("BTCUSDT", "--venue", "binance-spot"), "binance-spot is not downloaded from", "import"),
        (("../BTCUSDT",), "../BTCUSDT", ""),
    ],
)
def test_a_wrong_request_exits_2_in_one_paragraph_and_stores_nothing(
    run: Run, data_dir: Path, args: tuple[str, ...], words: str, step: str
) -> None:
    code, out, err = run("download", *args, "--since", "2023-01-01")
    assert (code, out) == (2, "")
    flat = " ".join(err.split())
    assert words in flat
    assert step in flat
    assert "Traceback" not in err
    assert not data_dir.exists()


def test_a_download_without_a_beginning_says_what_is_missing(run: Run) -> None:
    code, _, err = run("download", "BTCUSDT")
    assert code == 2
    assert "--since" in err


def test_a_venue_that_stays_away_exits_1_with_what_is_kept(run: Run, source: FakeHistory) -> None:
    source.failing = lambda number: number >= 1
    code, out, err = run(*ASKED, "--json")
    assert (code, out) == (1, "")
    error = json.loads(err)["error"]
    assert error["kind"] == "VenueUnavailable"
    assert "the 100 rows that came in are stored" in error["message"]
    assert "it goes on where it stopped" in error["next_step"]


def test_ctrl_c_exits_130_and_says_what_is_kept(
    run: Run, source: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = source._answer

    async def pressed(*args: Any) -> Any:
        if len(source.asked) == 2:
            signal.raise_signal(signal.SIGINT)
        return await answer(*args)

    monkeypatch.setattr(source, "_answer", pressed)
    source.stop_at = 2
    code, out, err = run(*ASKED)
    assert (code, out) == (130, "")
    assert "200 rows are stored; the same command goes on from there" in err
    assert "error: interrupted" in err
    source.stop_at = None
    monkeypatch.setattr(source, "_answer", answer)
    (done,) = json.loads(run(*ASKED, "--json")[1])["series"]
    assert (done["rows_before"], done["rows_added"]) == (200, 40)


def test_sync_and_heal_go_on_from_what_is_stored(
    run: Run, source: FakeHistory, data_dir: Path
) -> None:
    assert "Nothing is stored yet" in run("sync")[1]
    source.now = START_MS + 5 * DAY_MS
    run(*ASKED)
    source.now = START_MS + DAYS * DAY_MS
    (synced,) = json.loads(run("sync", "btcusdt", "--json")[1])["series"]
    assert synced["rows_added"] == 120
    (part,) = data_dir.rglob("2023-01.parquet")
    part.write_bytes(part.read_bytes()[:-5])
    assert run("check")[0] == 1
    (healed,) = json.loads(run("heal", "--venue", "binance", "--json")[1])["series"]
    assert (healed["rows_added"], healed["is_damaged"]) == (240, False)
    assert run("check")[0] == 0
    assert run("sync", "NONEUSDT")[0] == 2


def test_damage_that_the_venue_cannot_mend_exits_1(
    run: Run, source: FakeHistory, data_dir: Path
) -> None:
    run(*ASKED)
    (part,) = data_dir.rglob("2023-01.parquet")
    part.write_bytes(part.read_bytes()[:-5])
    source.rows[DataKind.CANDLES, "BTCUSDT"] = make_candles(0, timeframe=H1)
    code, out, _ = run("heal")
    assert code == 1
    assert "a damaged part stays" in out


def test_series_that_are_not_ours_to_touch_are_told(run: Run) -> None:
    run("sample", "--days", "2")
    out = run("sync")[1]
    assert "left alone: binance BTCUSDT 5m: it is synthetic seed=7 data, not recorded" in out


def test_instruments_are_fetched_and_kept(
    run: Run, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FakeReference({"exchangeInfo": exchange_info()})

    @asynccontextmanager
    async def keeper(settings: Settings, venue: Venue) -> AsyncIterator[ReferenceKeeper]:
        yield ReferenceKeeper(settings.data_dir, source)

    monkeypatch.setattr(bootstrap, "reference_keeper", keeper)
    code, out, _ = run("instruments", "--venue", "binance", "--fetch")
    assert code == 0
    assert "binance: rules of 2 changed, 0 unchanged" in out
    document = json.loads(run("instruments", "BLZUSDT", "--fetch", "--json")[1])
    assert (document["changed"], document["unchanged"], document["path"]) == ({}, 2, None)
    shown = json.loads(run("instruments", "BLZUSDT", "--json")[1])
    assert shown["tick_size"] == "0.2"


# Where the venues are, and with which key.


def test_an_override_moves_a_venue_and_the_other_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERPDESK_BYBIT_REST_URL", "http://127.0.0.1:18080")
    monkeypatch.setenv("PERPDESK_BINANCE_WS_URL", "ws://127.0.0.1:18080")
    settings = load_settings()
    bybit = bootstrap.endpoints(settings, Venue.BYBIT, Leg.DATA_LIVE)
    assert (bybit.rest, bybit.stream) == ("http://127.0.0.1:18080", "wss://stream.bybit.com")
    binance = bootstrap.endpoints(settings, Venue.BINANCE, Leg.TRADE_LIVE)
    assert binance.rest == "https://fapi.binance.com"
    assert binance.private_stream == "ws://127.0.0.1:18080"
    assert binance.order_entry == "ws://127.0.0.1:18080/ws-fapi/v1"


def test_the_plain_override_is_that_of_the_chosen_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXCHANGE", "bybit")
    monkeypatch.setenv("REST_URL", "http://one:1")
    settings = load_settings()
    assert bootstrap.endpoints(settings, Venue.BYBIT, Leg.DATA_LIVE).rest == "http://one:1"
    own = bootstrap.endpoints(settings, Venue.BINANCE, Leg.DATA_LIVE)
    assert own.rest == "https://fapi.binance.com"
    monkeypatch.setenv("PERPDESK_BYBIT_REST_URL", "http://two:2")
    settings = load_settings()
    assert bootstrap.endpoints(settings, Venue.BYBIT, Leg.DATA_LIVE).rest == "http://two:2"


@pytest.mark.parametrize("leg", list(Leg))
def test_a_leg_has_its_own_key_or_none(leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"BYBIT_{leg.value.replace('-', '_').upper()}"
    monkeypatch.setenv(f"{name}_KEY", "public")
    monkeypatch.setenv(f"{name}_SECRET", "hush")
    settings = load_settings()
    for other in Leg:
        key = bootstrap.credentials(settings, Venue.BYBIT, other)
        assert (key is not None) == (other is leg)
        assert bootstrap.credentials(settings, Venue.BINANCE, other) is None
    found = bootstrap.credentials(settings, Venue.BYBIT, leg)
    assert found is not None
    assert (found.key, found.secret.get_secret_value()) == ("public", "hush")


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("", "recorded"),
        ("https://fapi.binance.com", "recorded"),
        ("http://127.0.0.1:18080", "emulator"),
        ("http://localhost:9", "emulator"),
        ("https://demo-fapi.binance.com", "from demo-fapi.binance.com"),
    ],
)
async def test_rows_of_another_host_are_not_called_recorded(
    url: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPDESK_BINANCE_REST_URL", url)
    assert await bootstrap.source_label(load_settings(), Venue.BINANCE) == label
    assert await bootstrap.source_label(load_settings(), Venue.BYBIT) == "recorded"


async def test_a_host_that_is_not_there_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("PERPDESK_BINANCE_REST_URL", "http://127.0.0.1:9")
    with pytest.raises(VenueUnavailable):
        async with bootstrap.reference_keeper(load_settings(tmp_path / "none"), Venue.BINANCE):
            pass
