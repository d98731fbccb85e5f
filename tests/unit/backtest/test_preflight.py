"""Before a run: which series are chosen, what is noted, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.cerebro.builders import H1, M1, M5, M15, T0, candles_of, flat, funding_of, walk

from perpdesk.backtest.preflight import Preflight, RunData
from perpdesk.backtest.spec import read_spec
from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Candles, DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.candle_store import CandleStore

DAY = 24 * HOUR_MS


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


def days(count: int, timeframe: Timeframe, *, start_ms: int = T0, **others: Any) -> Candles:
    return flat(
        count * DAY // timeframe.duration_ms, timeframe=timeframe, start_ms=start_ms, **others
    )


def settle(store: CandleStore, *hours: int, symbol: str = "BTCUSDT") -> None:
    rows = [(T0 + hour * HOUR_MS, 0.0001) for hour in hours]
    store.write_funding(funding_of(*rows, symbol=symbol))


def checked(store: CandleStore, *, warmup: int = 0, memory: int = 0, **fields: Any) -> RunData:
    values = {
        "venue": "binance",
        "symbols": "BTCUSDT",
        "strategy": "any",
        "timeframe": "1h",
        "allow_gaps": True,
    }
    spec = read_spec(values | fields, origin="")
    return Preflight(store, spec, warmup_candles=warmup, memory_candles=memory).run()


def refused(store: CandleStore, **fields: Any) -> DataRefused:
    with pytest.raises(DataRefused) as caught:
        checked(store, **fields)
    return caught.value


# Candles.


def test_the_finest_series_that_covers_the_range_is_executed_on(store: CandleStore) -> None:
    store.write_candles(days(4, H1))
    store.write_candles(days(2, M5))
    assert checked(store, end=T0 + 2 * DAY).execution_timeframe == M5
    assert checked(store, end=T0 + 3 * DAY).execution_timeframe == H1
    assert checked(store, end=T0 + DAY, execution_timeframe="1h").execution_timeframe == H1


def test_a_longer_run_on_coarser_bars_is_offered_where_no_dates_are_given(
    store: CandleStore,
) -> None:
    store.write_candles(days(4, M5))
    store.write_candles(days(1, M1, start_ms=T0 + 2 * DAY))
    data = checked(store)
    assert data.execution_timeframe == M1
    assert (data.start_ms, data.end_ms) == (T0 + 2 * DAY, T0 + 3 * DAY)
    assert (
        "executed on 1m, stored from 2023-11-17 00:00 to 2023-11-18 00:00; 5m would cover "
        "2023-11-15 00:00 to 2023-11-19 00:00: choose with --execution-timeframe 5m"
    ) in data.notes
    dated = checked(store, start=T0 + 2 * DAY, end=T0 + 3 * DAY)
    chosen = checked(store, execution_timeframe="1m")
    for other in (dated, chosen):
        assert not any("would cover" in note for note in other.notes)


def test_strategy_candles_are_made_of_the_execution_candles(store: CandleStore) -> None:
    fine = walk(1, 12 * 24)
    store.write_candles(fine)
    data = checked(store).symbols["BTCUSDT"]
    assert len(data.candles) == 24
    assert data.candles.open.tolist() == fine.open[::12].tolist()
    assert data.candles.close.tolist() == fine.close[11::12].tolist()
    assert data.candles.high[3] == fine.high[36:48].max()
    assert data.candles.volume[5] == pytest.approx(fine.volume[60:72].sum())
    assert data.execution.close_ms[-1] == data.candles.ts_ms[-1] + HOUR_MS


def test_without_dates_the_range_is_whole_strategy_candles(store: CandleStore) -> None:
    # Stored from 00:10 to 05:55: whole hours are those from 01:00 to 05:00.
    candles = flat(69, start_ms=T0 + 10 * MINUTE_MS)
    store.write_candles(candles)
    data = checked(store)
    assert (data.start_ms - T0, data.end_ms - T0) == (HOUR_MS, 5 * HOUR_MS)
    assert int(data.symbols["BTCUSDT"].execution.ts_ms[0]) == data.start_ms


def test_several_symbols_run_where_all_have_data(store: CandleStore) -> None:
    store.write_candles(days(4, M5))
    store.write_candles(days(2, M5, start_ms=T0 + DAY, symbol="ETHUSDT"))
    data = checked(store, symbols=["BTCUSDT", "ETHUSDT"])
    assert (data.start_ms - T0, data.end_ms - T0) == (DAY, 3 * DAY)
    error = refused(store, symbols=["BTCUSDT", "ETHUSDT"], start=T0)
    assert "BTCUSDT, ETHUSDT cover 2023-11-15 00:00 to the end" in error.message
    assert "5m from 2023-11-16 00:00 to 2023-11-18 00:00" in error.message


def test_symbols_without_a_timeframe_in_common_are_refused(store: CandleStore) -> None:
    store.write_candles(days(2, M5))
    store.write_candles(days(2, M15, symbol="ETHUSDT"))
    error = refused(store, symbols=["BTCUSDT", "ETHUSDT"])
    assert "nothing that all symbols have in common" in error.message


def test_the_warm_up_lies_before_the_start_and_is_never_executed_on(store: CandleStore) -> None:
    store.write_candles(days(2, M5))
    data = checked(store, start=T0 + DAY, warmup=5).symbols["BTCUSDT"]
    assert int(data.candles.ts_ms[0]) == T0 + DAY - 5 * HOUR_MS
    assert int(data.execution.ts_ms[0]) == T0 + DAY


def test_a_warm_up_that_is_not_there_is_noted(store: CandleStore) -> None:
    store.write_candles(days(2, M5))
    notes = checked(store, start=T0 + 2 * HOUR_MS, warmup=5).notes
    assert (
        "BTCUSDT: 2 of the 5 candles that the strategy warms up on lie before the start; its "
        "signals are withheld until all have closed"
    ) in notes
    assert not any("fix a signal" in note for note in notes)
    assert not any("warms" in note for note in checked(store, start=T0 + DAY, warmup=5).notes)


def test_a_memory_longer_than_the_warm_up_is_loaded_and_noted_by_itself(store: CandleStore) -> None:
    store.write_candles(days(2, M5))
    data = checked(store, start=T0 + 10 * HOUR_MS, warmup=5, memory=20)
    assert len(data.symbols["BTCUSDT"].candles.between(0, data.start_ms)) == 10
    assert (
        "BTCUSDT: 10 of the 20 candles that fix a signal lie before the start; the first ones "
        "differ a little from those of a longer history"
    ) in data.remarks
    assert not any("withheld" in note for note in data.notes)
    enough = checked(store, start=T0 + DAY, warmup=5, memory=20)
    assert not any("fix a signal" in note for note in enough.notes)


def test_what_changes_the_result_is_told_apart_from_what_stands_in(store: CandleStore) -> None:
    rows = [(100.0, 100.0, 100.0, 100.0)] * 286
    store.write_candles(candles_of(rows, skip=[30, 31]), source="synthetic seed=7")
    data = checked(store, warmup=5)
    for words in ("not recorded", "missing in 1 gap", "no funding of BTCUSDT"):
        assert any(words in note for note in data.warnings)
    for words in ("no mark price", "warms up"):
        assert any(words in note for note in data.remarks)
    assert data.notes == data.warnings + data.remarks


def test_a_hole_in_the_candles_is_noted_with_its_times(store: CandleStore) -> None:
    rows = [(100.0, 100.0, 100.0, 100.0)] * 286
    store.write_candles(candles_of(rows, skip=[30, 31]))
    notes = checked(store).notes
    assert any(
        "2 execution candles are missing in 1 gap" in note and "2023-11-15 02:30" in note
        for note in notes
    )


@pytest.mark.parametrize(("name", "late"), [("start", 20), ("end", 44)])
def test_dates_inside_a_candle_are_refused_with_the_nearest_before(
    store: CandleStore, name: str, late: int
) -> None:
    store.write_candles(days(2, M5))
    error = refused(store, **{name: T0 + 9 * HOUR_MS + late * MINUTE_MS})
    assert f"the {name} 2023-11-15 09:{late} lies within a 1h candle" in error.message
    assert error.next_step == "Move it to 2023-11-15 09:00."


def test_another_venue_s_candles_are_not_taken(store: CandleStore) -> None:
    store.write_candles(days(1, M5, venue=Venue.BYBIT))
    error = refused(store)
    assert "no candles of BTCUSDT on binance are stored" in error.message
    assert "--venue binance --symbol BTCUSDT" in error.next_step


def test_a_symbol_that_is_written_otherwise_brings_a_hint(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    assert refused(store, symbols="btcusdt").next_step.startswith("Did you mean BTCUSDT?")
    assert refused(store, symbols="DOGEUSDC").next_step.startswith("Import some")


def test_a_range_too_short_for_one_candle_is_refused_in_words(store: CandleStore) -> None:
    store.write_candles(days(3, M5))
    error = refused(store, timeframe="1w")
    assert "of BTCUSDT hold no whole 1w candle: 5m from 2023-11-15 00:00" in error.message


# Mark.


def mark_of(timeframe: Timeframe, count: int, price: float) -> Candles:
    return flat(count, price, timeframe=timeframe)


def last_mark(data: RunData) -> float:
    return int(data.symbols["BTCUSDT"].execution.mark.close[-1]) / 1e8


def test_marks_of_the_execution_timeframe_come_first(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    for timeframe, price in ((M1, 101.0), (M5, 102.0), (H1, 103.0)):
        store.write_candles(mark_of(timeframe, DAY // timeframe.duration_ms, price), DataKind.MARK)
    data = checked(store)
    assert last_mark(data) == 102.0
    assert not any("mark price" in note for note in data.notes)


def test_then_finer_marks_made_coarser(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    marks = walk(2, 24 * 60, timeframe=M1)
    store.write_candles(marks, DataKind.MARK)
    store.write_candles(mark_of(H1, 24, 103.0), DataKind.MARK)
    data = checked(store)
    assert last_mark(data) == marks.close[-1]
    high = data.symbols["BTCUSDT"].execution.mark.high[7] / 1e8
    assert high == marks.high[35:40].max()


def test_then_the_finest_coarser_marks_with_a_note(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    store.write_candles(mark_of(H1, 24, 103.0), DataKind.MARK)
    store.write_candles(mark_of(Timeframe.parse("8h"), 3, 109.0), DataKind.MARK)
    data = checked(store)
    assert last_mark(data) == 103.0
    assert any("mark price is known per 1h" in note for note in data.notes)


def test_marks_that_neither_fit_nor_bound_are_none(store: CandleStore) -> None:
    # 3 minutes do not make 5, and do not hold them either.
    store.write_candles(days(1, M5))
    three = Timeframe.parse("3m")
    store.write_candles(mark_of(three, DAY // three.duration_ms, 103.0), DataKind.MARK)
    data = checked(store)
    assert last_mark(data) == 100.0
    assert any("no mark price is stored" in note for note in data.notes)


def test_marks_that_cover_a_part_are_noted_with_their_share(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    store.write_candles(mark_of(M5, 144, 103.0), DataKind.MARK)
    data = checked(store)
    assert any("mark price covers 50.00% of the range" in note for note in data.notes)


def test_marks_of_another_time_are_none(store: CandleStore) -> None:
    store.write_candles(days(2, M5, start_ms=T0 + 90 * DAY))
    store.write_candles(mark_of(H1, 24, 103.0), DataKind.MARK)
    assert any("no mark price is stored" in note for note in checked(store).notes)


# Funding.


def test_settlements_every_eight_hours_are_whole(store: CandleStore) -> None:
    store.write_candles(days(4, M5))
    settle(store, *range(0, 97, 8))
    data = checked(store, allow_gaps=False)
    assert data.symbols["BTCUSDT"].funding_rows == 12
    assert data.symbols["BTCUSDT"].funding_gap_count == 0
    assert not any("funding" in note for note in data.notes)


def test_funding_that_begins_late_or_ends_early_is_a_hole(store: CandleStore) -> None:
    store.write_candles(days(4, M5))
    settle(store, *range(16, 73, 8))
    message = refused(store, allow_gaps=False).message
    assert "2023-11-15 00:00 to 2023-11-15 16:00" in message
    assert "2023-11-18 00:00 to 2023-11-19 00:00" in message
    inside = {"start": T0 + 16 * HOUR_MS, "end": T0 + 72 * HOUR_MS}
    assert checked(store, allow_gaps=False, **inside).symbols["BTCUSDT"].funding_gap_count == 0


def test_a_hole_outside_the_range_does_not_matter(store: CandleStore) -> None:
    store.write_candles(days(6, M5))
    settle(store, *(hour for hour in range(0, 145, 8) if not 60 < hour < 100))
    assert "holes" in refused(store, allow_gaps=False).message
    early = checked(store, allow_gaps=False, end=T0 + 2 * DAY)
    assert early.symbols["BTCUSDT"].funding_rows == 6


def test_no_funding_at_all_is_refused_with_the_command_that_brings_it(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    error = refused(store, allow_gaps=False)
    assert "no funding of BTCUSDT is stored" in error.message
    assert "perpdesk data import FILE --venue binance --symbol BTCUSDT --kind" in error.next_step
    assert any("nothing is charged or paid there" in note for note in checked(store).notes)


def test_spot_has_none_and_says_so(store: CandleStore) -> None:
    store.write_candles(days(1, M5, venue=Venue.BINANCE_SPOT))
    data = checked(store, venue="binance-spot", allow_gaps=False)
    assert any("spot has no funding" in note for note in data.notes)


# Provenance.


def test_every_series_that_was_used_is_named_with_its_hash(store: CandleStore) -> None:
    store.write_candles(days(1, M5))
    store.write_candles(mark_of(H1, 24, 103.0), DataKind.MARK)
    settle(store, *range(0, 25, 8))
    sources = checked(store).sources
    assert [(one.kind, one.timeframe) for one in sources] == [
        ("candles", "5m"),
        ("mark", "1h"),
        ("funding", ""),
    ]
    assert len({one.content_hash for one in sources}) == 3
    assert [one.rows for one in sources] == [288, 24, 4]


def test_generated_candles_are_the_first_note(store: CandleStore) -> None:
    store.write_candles(days(1, M5), source="synthetic seed=7")
    assert checked(store).notes[0].startswith("the market is not recorded: synthetic")


def test_the_range_is_half_open(store: CandleStore) -> None:
    store.write_candles(days(2, M5))
    data = checked(store, start=T0 + HOUR_MS, end=T0 + DAY).symbols["BTCUSDT"]
    assert int(data.execution.ts_ms[0]) == T0 + HOUR_MS
    assert int(data.execution.close_ms[-1]) == T0 + DAY
    assert np.all(np.diff(data.candles.ts_ms) == HOUR_MS)
