"""Every known layout is read; wrong files are refused with row, field and the next step."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.unit.marketdata.rows import H1, M5, NOW_MS, START_MS, make_candles

from perpdesk.domain.candles import (
    Candles,
    DataKind,
    FundingRates,
    Timeframe,
    Trades,
    Venue,
)
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.importers import Imported, import_file, inspect_file

M1 = Timeframe.parse("1m")
T0 = START_MS


def read(path: Path, **options: Any) -> Imported:
    defaults: dict[str, Any] = {
        "venue": Venue.BINANCE,
        "symbol": "BTCUSDT",
        "timeframe": M1,
        "now_ms": NOW_MS,
    }
    if options.get("kind") in (DataKind.FUNDING, DataKind.TRADES):
        options.setdefault("timeframe", None)
    return inspect_file(path, **(defaults | options))


def candles_of(path: Path, **options: Any) -> Candles:
    rows = read(path, **options).rows
    assert isinstance(rows, Candles)
    return rows


def funding_of(path: Path, **options: Any) -> FundingRates:
    rows = read(path, kind=DataKind.FUNDING, **options).rows
    assert isinstance(rows, FundingRates)
    return rows


def trades_of(path: Path, **options: Any) -> Trades:
    rows = read(path, kind=DataKind.TRADES, **options).rows
    assert isinstance(rows, Trades)
    return rows


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


BINANCE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)


def kline(ts: int, price: float = 100.0) -> str:
    return f"{ts},{price},{price + 2},{price - 1},{price + 1},12.5,{ts + 59999},1250,7,6,600,0"


# --- layouts ---


def test_binance_futures_klines_with_header(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", BINANCE_HEADER, kline(T0), kline(T0 + 60_000, 101))
    candles = candles_of(path)
    assert candles.ts_ms.tolist() == [T0, T0 + 60_000]
    assert candles.open.tolist() == [100, 101]
    assert candles.high.tolist() == [102, 103]
    assert candles.low.tolist() == [99, 100]
    assert candles.close.tolist() == [101, 102]
    assert candles.volume.tolist() == [12.5, 12.5]


def test_binance_klines_without_header_are_known_by_their_twelve_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", kline(T0), kline(T0 + 60_000, 101))
    assert candles_of(path).close.tolist() == [101, 102]


@pytest.mark.parametrize("factor", [1, 1000, 1_000_000])
def test_binance_spot_klines_in_ms_us_and_ns_mean_the_same_times(
    tmp_path: Path, factor: int
) -> None:
    lines = [kline(ts * factor) for ts in (T0, T0 + 60_000)]
    path = write(tmp_path / "k.csv", *lines)
    assert candles_of(path, venue=Venue.BINANCE_SPOT).ts_ms.tolist() == [T0, T0 + 60_000]


def test_binance_mark_price_klines(tmp_path: Path) -> None:
    lines = [kline(T0).replace(",12.5,", ",0,"), kline(T0 + 60_000).replace(",12.5,", ",0,")]
    mark = candles_of(write(tmp_path / "k.csv", BINANCE_HEADER, *lines), kind=DataKind.MARK)
    assert mark.volume.tolist() == [0, 0]


def test_binance_funding_rates(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.csv",
        "calc_time,funding_interval_hours,last_funding_rate",
        f"{T0 + 3},8,0.00010000",
        f"{T0 + 28_800_000},8,-0.00003214",
    )
    funding = funding_of(path)
    assert funding.ts_ms.tolist() == [T0 + 3, T0 + 28_800_000]
    assert funding.rate.tolist() == [0.0001, -0.00003214]
    assert np.isnan(funding.mark_price).all()


def test_funding_with_mark_prices_keeps_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.csv",
        "symbol,fundingTime,fundingRate,markPrice",
        f"BTCUSDT,{T0},0.0001,",
        f"BTCUSDT,{T0 + 28_800_000},0.0001,16543.25",
    )
    mark = funding_of(path).mark_price
    assert np.isnan(mark[0])
    assert mark[1] == 16543.25


def test_binance_aggregated_trades_with_and_without_header(tmp_path: Path) -> None:
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    lines = [f"7,100.5,0.25,11,12,{T0},true", f"8,100.4,1.5,13,13,{T0},false"]
    for name, content in (("with.csv", [header, *lines]), ("without.csv", lines)):
        trades = trades_of(write(tmp_path / name, *content))
        assert trades.trade_id.tolist() == [7, 8]
        assert trades.price.tolist() == [100.5, 100.4]
        assert trades.quantity.tolist() == [0.25, 1.5]
        assert trades.is_buyer_maker.tolist() == [True, False]


def test_bybit_trades_in_seconds_with_uuids(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue",
        "1672531200.1234,BTCUSDT,Sell,0.01,16500.5,PlusTick,"
        "0b9a36a2-6f2c-5b42-a5a7-6e0f6a1ffb8c,165005000",
        "1672531201,BTCUSDT,Buy,0.02,16501,PlusTick,fffa36a2-6f2c-5b42-a5a7-6e0f6a1ffb8c,330",
    )
    trades = trades_of(path, venue=Venue.BYBIT)
    assert trades.ts_ms.tolist() == [T0 + 123, T0 + 1000]
    assert trades.is_buyer_maker.tolist() == [True, False]
    assert trades.trade_id.tolist() == [0x0B9A36A26F2C5B4, 0xFFFA36A26F2C5B4]


@pytest.mark.parametrize("name", ["startTime", "start_at", "timestamp", "start"])
@pytest.mark.parametrize("unit", [1, 1000])
def test_bybit_klines_in_seconds_or_milliseconds(tmp_path: Path, name: str, unit: int) -> None:
    path = write(
        tmp_path / "k.csv",
        f"{name},open,high,low,close,volume,turnover",
        f"{T0 // 1000 * unit},100,102,99,101,5,500",
        f"{(T0 + 60_000) // 1000 * unit},101,103,100,102,6,600",
    )
    assert candles_of(path, venue=Venue.BYBIT).ts_ms.tolist() == [T0, T0 + 60_000]


def test_bybit_rest_rows_newest_first_are_turned_around_and_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path / "k.csv",
        f"{T0 + 60_000},101,103,100,102,6,600",
        f"{T0},100,102,99,101,5,500",
    )
    found = read(path, venue=Venue.BYBIT)
    assert found.is_reversed
    assert isinstance(found.rows, Candles)
    assert found.rows.ts_ms.tolist() == [T0, T0 + 60_000]
    assert found.rows.volume.tolist() == [5, 6]


def freqtrade_frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "date": pd.to_datetime([T0, T0 + 3_600_000], unit="ms", utc=True),
            "open": [100.0, 101.0],
            "high": [102.0, 103.0],
            "low": [99.0, 100.0],
            "close": [101.0, 102.0],
            "volume": [5.0, 6.0],
        }
        | columns
    )


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_freqtrade_feather_of_any_resolution(tmp_path: Path, unit: str) -> None:
    frame = freqtrade_frame()
    frame["date"] = frame["date"].dt.as_unit(unit)
    path = tmp_path / "BTC_USDT_USDT-1h-futures.feather"
    frame.to_feather(path)
    candles = candles_of(path, timeframe=H1)
    assert candles.ts_ms.tolist() == [T0, T0 + 3_600_000]
    assert candles.close.tolist() == [101, 102]


def test_freqtrade_keeps_funding_rates_in_the_open_column(tmp_path: Path) -> None:
    zeros = [0.0, 0.0]
    frame = freqtrade_frame(open=[0.0001, -0.0002], high=zeros, low=zeros, close=zeros)
    path = tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather"
    frame.to_feather(path)
    assert funding_of(path).rate.tolist() == [0.0001, -0.0002]


def test_freqtrade_mark_prices(tmp_path: Path) -> None:
    path = tmp_path / "BTC_USDT_USDT-1h-mark.feather"
    freqtrade_frame(volume=[0.0, 0.0]).to_feather(path)
    assert len(candles_of(path, kind=DataKind.MARK, timeframe=H1)) == 2


def test_times_with_another_utc_offset_are_converted(tmp_path: Path) -> None:
    frame = freqtrade_frame()
    frame["date"] = frame["date"].dt.tz_convert("Asia/Tokyo")
    frame.to_parquet(tmp_path / "k.parquet")
    assert candles_of(tmp_path / "k.parquet", timeframe=H1).ts_ms[0] == T0


def test_iso_texts_with_an_offset_are_converted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "k.csv",
        "date,open,high,low,close,volume",
        "2023-01-01T03:00:00+03:00,100,102,99,101,5",
        "2023-01-01 01:00:00Z,101,103,100,102,6",
    )
    assert candles_of(path, timeframe=H1).ts_ms.tolist() == [T0, T0 + 3_600_000]


def test_metatrader_files_are_read_once_their_clock_is_given(tmp_path: Path) -> None:
    path = write(
        tmp_path / "BTCUSDT_1_2023-01-01_2023-01-31.csv",
        "2023.01.01 03:00,100,102,99,101,5",
        "2023.01.01 03:01,101,103,100,102,6",
    )
    with pytest.raises(DataRefused, match=r"row 1.*local time without its UTC offset"):
        read(path, venue=Venue.BYBIT)
    given = candles_of(path, venue=Venue.BYBIT, utc_offset_ms=3 * 3_600_000)
    assert given.ts_ms.tolist() == [T0, T0 + 60_000]


def test_our_own_parts_can_be_imported_again(tmp_path: Path) -> None:
    CandleStore(tmp_path / "a").write_candles(make_candles(10))
    part = tmp_path / "a" / "binance" / "BTCUSDT" / "5m.parquet" / "2023-01.parquet"
    assert len(candles_of(part, timeframe=M5)) == 10


def test_a_csv_in_zip_or_gzip_is_the_same_as_plain(tmp_path: Path) -> None:
    text = "\n".join([BINANCE_HEADER, kline(T0), kline(T0 + 60_000)]) + "\n"
    with zipfile.ZipFile(tmp_path / "BTCUSDT-1m-2023-01.zip", "w") as archive:
        archive.writestr("BTCUSDT-1m-2023-01.csv", text)
    with gzip.open(tmp_path / "BTCUSDT2023-01-01.csv.gz", "wt") as file:
        file.write(text)
    for name in ("BTCUSDT-1m-2023-01.zip", "BTCUSDT2023-01-01.csv.gz"):
        assert candles_of(tmp_path / name).ts_ms.tolist() == [T0, T0 + 60_000]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeff" + "\r\n".join([BINANCE_HEADER, kline(T0), kline(T0 + 60_000)]) + "\r\n"
    (tmp_path / "k.csv").write_bytes(text.encode())
    assert len(candles_of(tmp_path / "k.csv")) == 2


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_may_be_parted_by_semicolons_or_tabs(tmp_path: Path, separator: str) -> None:
    lines = [BINANCE_HEADER, kline(T0), kline(T0 + 60_000)]
    path = write(tmp_path / "k.csv", *(line.replace(",", separator) for line in lines))
    assert candles_of(path).close.tolist() == [101.0, 101.0]
    path = write(tmp_path / "k.csv", *(line.replace(",", separator) for line in lines[1:]))
    assert candles_of(path).ts_ms.tolist() == [T0, T0 + 60_000]


# --- refusals ---


def refused(path: Path, **options: Any) -> DataRefused:
    with pytest.raises(DataRefused) as caught:
        read(path, **options)
    assert str(path) in caught.value.message or path.name in caught.value.message
    assert caught.value.next_step
    return caught.value


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "is missing" in refused(tmp_path / "none.csv").message


def test_a_folder_given_as_a_file_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path).message


@pytest.mark.parametrize("name", ["k.csv", "k.parquet", "k.feather", "k.zip", "k.csv.gz"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "is empty" in refused(tmp_path / name).message


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert "no rows" in refused(write(tmp_path / "k.csv", BINANCE_HEADER)).message


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    freqtrade_frame().iloc[:0].to_parquet(tmp_path / "k.parquet")
    assert "no rows" in refused(tmp_path / "k.parquet").message


@pytest.mark.parametrize("name", ["k.parquet", "k.feather", "k.zip", "k.csv.gz"])
@pytest.mark.parametrize("kept", [0.3, 0.95])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    frame = pd.DataFrame({"ts": T0 + np.arange(5000) * 60_000})
    for column in ("open", "high", "low", "close", "volume"):
        frame[column] = np.linspace(1, 2, 5000)
    if name.endswith("parquet"):
        frame.to_parquet(path)
    elif name.endswith("feather"):
        frame.to_feather(path)
    elif name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("k.csv", frame.to_csv(index=False))
    else:
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert "is damaged or cut off" in refused(path).message


def test_a_csv_cut_off_in_the_middle_of_a_row_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text("\n".join([BINANCE_HEADER, kline(T0), f"{T0 + 60_000},101,10"]))
    assert "row 2: " in refused(path).message


@pytest.mark.parametrize("header", [True, False])
def test_a_row_with_too_few_fields_is_named(tmp_path: Path, header: bool) -> None:
    lines = [kline(T0 + 60_000 * i) for i in range(5)]
    lines[3] = "1,2,3"
    path = write(tmp_path / "k.csv", *([BINANCE_HEADER] if header else []), *lines)
    assert "row 4: " in refused(path).message


def test_unsorted_rows_are_refused_with_their_row(tmp_path: Path) -> None:
    times = [T0, T0 + 120_000, T0 + 60_000, T0 + 180_000]
    message = refused(write(tmp_path / "k.csv", *map(kline, times))).message
    assert "row 3, time = 1672531260000 (2023-01-01 00:01)" in message
    assert "not in order" in message


def test_repeated_rows_are_refused_with_their_row(tmp_path: Path) -> None:
    times = [T0, T0 + 60_000, T0 + 60_000, T0 + 120_000]
    message = refused(write(tmp_path / "k.csv", *map(kline, times))).message
    assert "row 3, time = 1672531260000" in message
    assert "appears twice" in message


def test_rows_in_no_order_are_not_taken_for_newest_first(tmp_path: Path) -> None:
    times = [T0 + 120_000, T0 + 60_000, T0 + 60_000, T0]
    assert "rows are not in order" in refused(write(tmp_path / "k.csv", *map(kline, times))).message


def test_a_row_number_in_a_reversed_file_is_that_of_the_file(tmp_path: Path) -> None:
    lines = [kline(T0 + 60_000 * i) for i in (3, 2, 1, 0)]
    lines[1] = lines[1].replace(",99.0,", ",-99.0,")
    assert "row 2, low = -99.0" in refused(write(tmp_path / "k.csv", *lines)).message


def test_a_gap_is_listed_and_not_refused(tmp_path: Path) -> None:
    times = [T0, T0 + 60_000, T0 + 300_000, T0 + 360_000]
    report = read(write(tmp_path / "k.csv", *map(kline, times))).report
    assert [(gap.start_ms, gap.end_ms, gap.missing) for gap in report.gaps] == [
        (T0 + 120_000, T0 + 300_000, 3)
    ]
    assert report.missing == 3


@pytest.mark.parametrize(
    ("field", "column", "value", "reason"),
    [
        ("open", 1, "nan", "is not a number"),
        ("high", 2, "inf", "is not a number"),
        ("close", 4, "", "is not a number"),
        ("low", 3, "-1", "is not a price above 0"),
        ("open", 1, "0", "is not a price above 0"),
        ("volume", 5, "-2", "is negative"),
        ("high", 2, "98", "is below the row's low"),
        ("open", 1, "150", "lies outside the row's low and high"),
        ("close", 4, "98.5", "lies outside the row's low and high"),
    ],
)
def test_an_impossible_value_is_refused_with_row_field_and_value(
    tmp_path: Path, field: str, column: int, value: str, reason: str
) -> None:
    lines = [kline(T0 + 60_000 * i) for i in range(4)]
    cells = lines[2].split(",")
    cells[column] = value
    lines[2] = ",".join(cells)
    message = refused(write(tmp_path / "k.csv", BINANCE_HEADER, *lines)).message
    assert f"row 3, {field} = " in message
    assert reason in message


def test_a_text_among_numbers_is_refused_with_row_field_and_value(tmp_path: Path) -> None:
    lines = [kline(T0), kline(T0 + 60_000).replace(",12.5,", ",n/a,")]
    message = refused(write(tmp_path / "k.csv", BINANCE_HEADER, *lines)).message
    assert "row 2, volume = 'n/a': is not a number" in message


@pytest.mark.parametrize("open_", ["16537,5", "16.537,50"])
def test_a_decimal_comma_is_refused_with_how_to_write_it(tmp_path: Path, open_: str) -> None:
    path = write(tmp_path / "k.csv", "ts;open;high;low;close;volume", f"{T0};{open_};2;1;1;1")
    error = refused(path)
    assert f"row 1, open = '{open_}': is not a number" in error.message
    assert error.next_step == "Write numbers as 16537.5, without any comma."


def test_what_is_no_utf_8_text_is_refused_as_that(tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_text(f"{BINANCE_HEADER}\n{kline(T0)}\n", encoding="utf-16")
    assert "is not UTF-8 text" in refused(tmp_path / "k.csv").message


def test_a_text_among_times_is_refused_with_row_field_and_value(tmp_path: Path) -> None:
    lines = [kline(T0), "soon" + kline(T0)[13:]]
    message = refused(write(tmp_path / "k.csv", BINANCE_HEADER, *lines)).message
    assert "row 2, open_time = 'soon': is not a time" in message


def test_a_wrong_timeframe_is_refused_and_the_right_one_named(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", *(kline(T0 + 300_000 * i) for i in range(5)))
    error = refused(path)
    assert "timeframe = 1m: the usual step between rows is 5m" in error.message
    assert "--timeframe 5m" in error.next_step


def test_times_beside_the_grid_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", *(kline(T0 + 60_000 * i + 30_000) for i in range(5)))
    assert "is not an open time of 1m candles in UTC" in refused(path).message


def test_future_rows_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", *(kline(T0 + 60_000 * i) for i in range(3)))
    assert len(candles_of(path, now_ms=T0 + 180_000)) == 3
    message = refused(path, now_ms=T0 + 179_999).message
    assert "row 3, time = 1672531320000 (2023-01-01 00:02): is not over yet" in message


@pytest.mark.parametrize(
    "name",
    [
        "ETHUSDT-1m-2024-01.csv",
        "ETHUSDT2024-01-01.csv",
        "ETH_USDT_USDT-1m-futures.csv",
        "ETHUSDT/1m.csv",
    ],
)
def test_a_name_that_says_another_symbol_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write(path, kline(T0), kline(T0 + 60_000))
    error = refused(path)
    assert "says ETHUSDT, not BTCUSDT" in error.message
    assert "--symbol ETHUSDT" in error.next_step


def test_a_folder_that_says_another_venue_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bybit" / "BTCUSDT" / "1m.csv"
    path.parent.mkdir(parents=True)
    write(path, kline(T0), kline(T0 + 60_000))
    assert "says bybit, not binance" in refused(path).message


def test_a_symbol_column_that_says_another_symbol_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.csv",
        "symbol,fundingTime,fundingRate",
        f"BTCUSDT,{T0},0.0001",
        f"ETHUSDT,{T0 + 28_800_000},0.0001",
    )
    message = refused(path, kind=DataKind.FUNDING).message
    assert "row 2, symbol = 'ETHUSDT': not BTCUSDT" in message


@pytest.mark.parametrize("column", ["text", "timestamp", "date"])
def test_a_local_time_without_its_offset_is_refused(tmp_path: Path, column: str) -> None:
    frame = freqtrade_frame()
    if column == "text":
        path = tmp_path / "k.csv"
        frame["date"] = ["2023-01-01 00:00:00", "2023-01-01 01:00:00"]
        frame.to_csv(path, index=False)
    else:
        path = tmp_path / "k.parquet"
        naive = frame["date"].dt.tz_localize(None)
        frame["date"] = naive.dt.date if column == "date" else naive
        frame.to_parquet(path)
    error = refused(path, timeframe=H1)
    assert "row 1, date = " in error.message
    assert "a local time without its UTC offset" in error.message
    assert "--utc-offset" in error.next_step


def test_times_in_two_units_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", kline(T0), kline((T0 + 60_000) * 1000))
    assert "row 2" in refused(path).message
    assert "the rows before are in ms" in refused(path).message


def test_a_missing_column_is_named_and_the_right_kind_suggested(tmp_path: Path) -> None:
    mark = write(tmp_path / "m.csv", "ts,open,high,low,close", f"{T0},1,1,1,1")
    assert "--kind mark" in refused(mark).next_step
    rates = write(tmp_path / "f.csv", "ts,rate", f"{T0},0.0001")
    assert "--kind funding" in refused(rates).next_step
    trades = write(tmp_path / "t.csv", "ts,id,price,qty,side", f"{T0},1,100,1,buy")
    assert "--kind trades" in refused(trades).next_step
    candles = write(tmp_path / "k.csv", BINANCE_HEADER, kline(T0))
    assert "--kind candles" in refused(candles, kind=DataKind.TRADES).next_step


def test_candles_are_not_taken_for_funding_nor_the_reverse(tmp_path: Path) -> None:
    candles = tmp_path / "k.feather"
    freqtrade_frame().to_feather(candles)
    assert "these are candles" in refused(candles, kind=DataKind.FUNDING).message
    zeros = [0.0, 0.0]
    funding = tmp_path / "f.feather"
    freqtrade_frame(open=[0.0001] * 2, high=zeros, low=zeros, close=zeros).to_feather(funding)
    assert "these are funding rates" in refused(funding, timeframe=H1).message


def test_mark_prices_are_not_taken_for_candles(tmp_path: Path) -> None:
    lines = [kline(T0 + 60_000 * i).replace(",12.5,", ",0,") for i in range(3)]
    path = write(tmp_path / "BTCUSDT-markPriceKlines-2023-01.csv", BINANCE_HEADER, *lines)
    assert "--kind mark" in refused(path).next_step


def test_a_funding_rate_in_percent_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", "ts,rate", f"{T0},0.01", f"{T0 + 28_800_000},-0.5")
    message = refused(path, kind=DataKind.FUNDING).message
    assert "row 2, rate = -0.5" in message
    assert "a rate is a fraction" in message


def test_a_repeated_trade_is_refused(tmp_path: Path) -> None:
    lines = [f"{T0},7,100,1,buy", f"{T0},8,100,1,buy", f"{T0},7,100,1,sell"]
    path = write(tmp_path / "t.csv", "ts,id,price,qty,side", *lines)
    message = refused(path, kind=DataKind.TRADES).message
    assert "row 3, trade_id = 7: appears twice" in message


def test_a_side_that_is_neither_buy_nor_sell_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "ts,id,price,qty,side", f"{T0},7,100,1,hold")
    assert "row 1, side = 'hold'" in refused(path, kind=DataKind.TRADES).message


def test_an_archive_with_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "k.zip", "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "1")
    assert "holds 2 files" in refused(tmp_path / "k.zip").message


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    assert "not known" in refused(write(tmp_path / "k.xlsx", "x")).message


def test_a_header_with_a_repeated_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", "ts,open,open,low,close,volume", f"{T0},1,1,1,1,1")
    assert "'open' appears twice" in refused(path).message


def test_a_file_without_header_and_of_unknown_shape_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "k.csv", f"{T0},1,1,1,1,1,1,1,1")
    assert "no header and 9 columns" in refused(path).message


@pytest.mark.parametrize(
    ("kind", "timeframe"),
    [(DataKind.CANDLES, None), (DataKind.MARK, None), (DataKind.FUNDING, H1)],
)
def test_a_timeframe_belongs_to_candles_and_to_nothing_else(
    tmp_path: Path, kind: DataKind, timeframe: Timeframe | None
) -> None:
    with pytest.raises(UsageRefused, match="timeframe"):
        import_file(
            tmp_path / "k.csv",
            venue=Venue.BINANCE,
            symbol="BTCUSDT",
            kind=kind,
            timeframe=timeframe,
        )


# --- recorded data ---


@pytest.mark.recorded
def test_every_recorded_series_is_imported_with_the_gaps_it_is_known_to_have(
    shared_dir: Path,
) -> None:
    holes: dict[str, list[int]] = {}
    rows = 0
    for path in sorted((shared_dir / "market").glob("*/*/*.parquet")):
        name = path.stem
        kind = {"f": DataKind.FUNDING, "t": DataKind.TRADES, "m": DataKind.MARK}.get(
            name[0], DataKind.CANDLES
        )
        has_frame = kind in (DataKind.CANDLES, DataKind.MARK)
        frame = Timeframe.parse(name.removeprefix("mark-")) if has_frame else None
        venue = Venue(path.parent.parent.name)
        found = inspect_file(
            path,
            venue=venue,
            symbol=path.parent.name,
            timeframe=frame,
            kind=kind,
            now_ms=1_790_000_000_000,
        )
        rows += len(found.rows)
        if found.report.gaps:
            holes[f"{venue}/{path.parent.name}/{name}"] = [g.missing for g in found.report.gaps]
    assert rows > 2_000_000
    assert holes == {
        "binance-spot/BTCUSDT/1h": [1],
        "binance-spot/BTCUSDT/1m": [80],
        # 2025-03-08 16:00 to 2025-04-11 04:00 at four hours: 804 h / 4 h - 1.
        "bybit/WIFUSDT/funding": [200],
    }
