"""Download, heal and sync: which ranges of which series they want, and what they refuse."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.marketdata.fake_source import FakeHistory
from tests.unit.marketdata.rows import (
    H1,
    M5,
    START_MS,
    make_candles,
    make_funding,
    make_open_interest,
    make_trades,
)
from tests.unit.marketdata.test_reference import NOW_MS, FakeReference, exchange_info

from perpdesk.domain.candles import DAY_MS, HOUR_MS, DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused, VenueRejected, VenueUnavailable
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.history import History
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.patience import Patience
from perpdesk.marketdata.reference import ReferenceKeeper

DAYS = 35
END_MS = START_MS + DAYS * DAY_MS
BTC = (Venue.BINANCE, "BTCUSDT")


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


@pytest.fixture
def source() -> FakeHistory:
    count = 24 * DAYS
    rows: dict[tuple[DataKind, str], Any] = {}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        mark = make_candles(count, timeframe=H1, symbol=symbol, volume=np.zeros(count))
        rows[DataKind.CANDLES, symbol] = make_candles(count, timeframe=H1, symbol=symbol)
        rows[DataKind.MARK, symbol] = mark
        rows[DataKind.FUNDING, symbol] = make_funding(
            [8.0 * n for n in range(3 * DAYS)], symbol=symbol
        )
        rows[DataKind.OPEN_INTEREST, symbol] = make_open_interest(
            count, timeframe=H1, symbol=symbol
        )
    rows[DataKind.TRADES, "BTCUSDT"] = make_trades(500, start_ms=END_MS - 5 * HOUR_MS)
    return FakeHistory(now=END_MS, rows=rows, listed={"BTCUSDT": START_MS, "ETHUSDT": START_MS})


def history(store: CandleStore, source: FakeHistory, **others: Any) -> History:
    async def no_wait(_: float) -> None:
        pass

    patience = Patience(attempts=2, sleep=no_wait, jitter=lambda: 0.0)
    return History(store, source, source, patience=patience, **others)


async def downloaded(store: CandleStore, source: FakeHistory, *kinds: DataKind) -> Any:
    return await history(store, source).download(
        ["BTCUSDT", "ETHUSDT"],
        timeframe=H1,
        kinds=[DataKind.CANDLES, *kinds],
        since_ms=START_MS - 100 * DAY_MS,
    )


async def test_a_download_brings_every_kind_of_every_symbol_from_its_listing_on(
    store: CandleStore, source: FakeHistory
) -> None:
    kinds = (DataKind.MARK, DataKind.FUNDING, DataKind.OPEN_INTEREST)
    await downloaded(store, source, *kinds)
    listed = {str(one.key): one.rows for one in store.series()}
    assert listed == {
        f"binance {symbol}{name}": rows
        for symbol in ("BTCUSDT", "ETHUSDT")
        for name, rows in (
            (" 1h", 840),
            (" 1h mark", 840),
            (" funding", 105),
            # The reading of the last full hour is there when the hour is over.
            (" open_interest", 840),
        )
    }
    assert min(start for _, _, start, _ in source.asked) == START_MS


async def test_a_range_may_end_before_now(store: CandleStore, source: FakeHistory) -> None:
    (report,) = await history(store, source).download(
        ["BTCUSDT"],
        timeframe=Timeframe.parse("60m"),
        kinds=[DataKind.CANDLES],
        since_ms=START_MS,
        until_ms=START_MS + DAY_MS,
    )
    assert (str(report.key), report.rows_added) == ("binance BTCUSDT 1h", 24)


async def test_a_symbol_with_a_typo_is_refused_before_anything_is_downloaded(
    store: CandleStore, source: FakeHistory
) -> None:
    with pytest.raises(VenueRejected, match="binance has no perpetual BTCUSD") as refused:
        await history(store, source).download(
            ["ETHUSDT", "BTCUSD"], timeframe=H1, kinds=[DataKind.CANDLES], since_ms=START_MS
        )
    assert refused.value.next_step.startswith("Did you mean BTCUSDT")
    assert refused.value.code == "-1121"
    assert source.asked == []


async def test_a_venue_that_is_away_is_told_even_before_the_first_window(
    store: CandleStore, source: FakeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(symbol: str) -> int:
        raise VenueUnavailable("connection refused")

    monkeypatch.setattr(source, "first_ms", away)
    with pytest.raises(VenueUnavailable, match="does not answer: connection refused; nothing"):
        await downloaded(store, source)


@pytest.mark.parametrize(
    ("since_ms", "until_ms", "words"),
    [
        (START_MS + 1, START_MS + 1, "is not before the end"),
        (START_MS - 9, START_MS - 1, "BTCUSDT was listed on binance on 2023-01-01 00:00"),
    ],
)
async def test_a_range_without_time_in_it_is_refused(
    store: CandleStore, source: FakeHistory, since_ms: int, until_ms: int, words: str
) -> None:
    with pytest.raises(UsageRefused, match=words):
        await history(store, source).download(
            ["BTCUSDT"],
            timeframe=H1,
            kinds=[DataKind.CANDLES],
            since_ms=since_ms,
            until_ms=until_ms,
        )


async def test_open_interest_goes_on_in_the_period_that_is_stored(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_open_interest(make_open_interest(3, timeframe=H1))
    await history(store, source).download(
        ["BTCUSDT"], timeframe=M5, kinds=[DataKind.OPEN_INTEREST], since_ms=START_MS
    )
    assert store.open_interest(*BTC).timeframe == H1
    assert len(store.open_interest(*BTC)) == 840


# Sync and heal.


async def test_sync_goes_on_from_the_last_row_of_every_series(
    store: CandleStore, source: FakeHistory
) -> None:
    kinds = (DataKind.MARK, DataKind.FUNDING, DataKind.OPEN_INTEREST)
    source.now = END_MS - 10 * DAY_MS
    await downloaded(store, source, *kinds)
    await history(store, source).download(
        ["BTCUSDT"], timeframe=H1, kinds=[DataKind.TRADES], since_ms=END_MS - 12 * DAY_MS
    )
    source.now = END_MS
    reports = await history(store, source).sync()
    assert {one.rows_added for one in reports if one.key.timeframe == H1} == {240}
    assert {one.rows_added for one in reports if one.key.kind is DataKind.FUNDING} == {30}
    assert [one.rows for one in store.series() if one.key.timeframe == H1] == [840] * 4
    source.asked.clear()
    await history(store, source).sync(["BTCUSDT"])
    assert {(kind, symbol) for kind, symbol, _, _ in source.asked} <= {
        # Their last hour may still be incomplete at the venue.
        (DataKind.FUNDING, "BTCUSDT")
    }


async def test_sync_of_trades_takes_those_of_the_last_stored_millisecond_too(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_trades(make_trades(3, start_ms=END_MS - 5 * HOUR_MS))
    await history(store, source).sync()
    assert len(store.trades(*BTC)) == 500


async def test_heal_refetches_exactly_the_holes_and_the_damaged_parts(
    store: CandleStore, source: FakeHistory
) -> None:
    await downloaded(store, source)
    part = store.root / "binance/ETHUSDT/1h.parquet/2023-02.parquet"
    part.write_bytes(part.read_bytes()[:-5])
    store.delete(*BTC, DataKind.CANDLES, H1)
    whole = source.rows[DataKind.CANDLES, "BTCUSDT"]
    store.write_candles(whole[:100])
    store.write_candles(whole[103:200])
    source.asked.clear()
    await history(store, source).heal()
    february = START_MS + 31 * DAY_MS
    assert sorted(source.asked) == [
        (DataKind.CANDLES, "BTCUSDT", START_MS + 100 * HOUR_MS, START_MS + 103 * HOUR_MS),
        (DataKind.CANDLES, "ETHUSDT", february, END_MS),
    ]
    assert len(store.candles(*BTC, H1)) == 200
    assert len(store.candles(Venue.BINANCE, "ETHUSDT", H1)) == 840


async def test_series_of_another_source_are_left_alone_and_told(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_candles(make_candles(24, timeframe=H1), source="synthetic seed=7")
    one = history(store, source)
    assert await one.sync() == ()
    assert [(skip.series, skip.reason) for skip in one.skipped] == [
        ("binance BTCUSDT 1h", "it is synthetic seed=7 data, not recorded")
    ]


async def test_a_symbol_that_is_not_traded_any_more_stops_no_sync(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_candles(make_candles(24, timeframe=H1, symbol="LUNAUSDT"))
    store.write_candles(make_candles(24, timeframe=H1))
    one = history(store, source)
    reports = await one.sync()
    assert [str(report.key) for report in reports] == ["binance BTCUSDT 1h"]
    assert one.skipped[0].reason == "LUNAUSDT is not traded there any more"


async def test_a_symbol_of_which_nothing_is_stored_is_refused_with_the_nearest(
    store: CandleStore, source: FakeHistory
) -> None:
    store.write_candles(make_candles(24, timeframe=H1))
    with pytest.raises(DataRefused, match="nothing of BTCUSD is stored of binance") as refused:
        await history(store, source).heal(["BTCUSD"])
    assert refused.value.next_step == "Did you mean BTCUSDT?"
    with pytest.raises(DataRefused) as refused:
        await history(store, source).sync(["XRPUSDT"])
    assert "perpdesk data download XRPUSDT --venue binance" in refused.value.next_step


async def test_rules_are_kept_in_step_with_what_is_downloaded_and_asked_for_once_an_hour(
    store: CandleStore, source: FakeHistory, tmp_path: Path
) -> None:
    said = FakeReference({"exchangeInfo": exchange_info("0.20", ["BTCUSDT", "ETHUSDT"])})
    now = [NOW_MS]
    keeper = ReferenceKeeper(tmp_path, said, now_ms=lambda: now[0])
    one = history(store, source, rules=keeper)
    wanted: dict[str, Any] = {"timeframe": H1, "kinds": [DataKind.CANDLES], "since_ms": START_MS}
    await one.download(["BTCUSDT", "ETHUSDT"], **wanted)
    assert said.asked == [("BTCUSDT", "ETHUSDT")]
    book = InstrumentBook.load(tmp_path)
    assert book.as_of(Venue.BINANCE, "ETHUSDT", NOW_MS).tick_size == Decimal("0.20")
    now[0] += 59 * 60_000
    await one.sync()
    assert len(said.asked) == 1
    now[0] += 2 * 60_000
    await one.sync()
    assert said.asked[1:] == [("BTCUSDT", "ETHUSDT")]


async def test_a_start_that_has_not_come_yet_is_refused(
    store: CandleStore, source: FakeHistory
) -> None:
    with pytest.raises(UsageRefused, match="has not come yet"):
        await history(store, source).download(
            ["BTCUSDT"], timeframe=H1, kinds=[DataKind.CANDLES], since_ms=END_MS + DAY_MS
        )
    assert store.series() == []
