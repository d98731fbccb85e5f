"""Rows out of files that others wrote. What comes back has passed the integrity gate.

A row number in an error counts data rows from 1; a header line is not counted.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perpdesk.domain.candles import (
    DAY_MS,
    MINUTE_MS,
    Candles,
    DataKind,
    FundingRates,
    OpenInterest,
    Timeframe,
    Times,
    Trades,
    Values,
    Venue,
)
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.archive_layouts import Layout, is_funding_in_candles, recognize
from perpdesk.marketdata.integrity import (
    IntegrityReport,
    Origin,
    check_candles,
    check_funding,
    check_open_interest,
    check_trades,
    require_sound,
    step_text,
)
from perpdesk.marketdata.series import SeriesKey, timeframe_of
from perpdesk.marketdata.table_files import TableFile, read_table
from perpdesk.marketdata.times import as_whole_numbers, utc_ms

Rows = Candles | FundingRates | OpenInterest | Trades

QUOTES: Final = "USDT|USDC|BUSD|FDUSD"
SYMBOL_IN_NAME: Final = re.compile(
    rf"^(?P<base>[A-Z0-9]{{2,20}}?)[_/]?(?P<quote>{QUOTES})(_(?:{QUOTES}))?(?=[-_.:]|\d{{4}}-|$)"
)
"""BTCUSDT-1m-2024-01.csv, BTCUSDT2020-03-25.csv.gz, BTC_USDT_USDT-1h-futures.feather, BTCUSDT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One file's rows and what the gate said of them."""

    path: Path
    rows: Rows
    report: IntegrityReport
    is_reversed: bool


def import_file(
    path: Path,
    *,
    venue: Venue,
    symbol: str,
    timeframe: Timeframe | None = None,
    kind: DataKind = DataKind.CANDLES,
    now_ms: int | None = None,
    utc_offset_ms: int | None = None,
) -> Rows:
    """Return the rows of a file; see `inspect_file`."""
    return inspect_file(
        path,
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        kind=kind,
        now_ms=now_ms,
        utc_offset_ms=utc_offset_ms,
    ).rows


def inspect_file(
    path: Path,
    *,
    venue: Venue,
    symbol: str,
    timeframe: Timeframe | None = None,
    kind: DataKind = DataKind.CANDLES,
    now_ms: int | None = None,
    utc_offset_ms: int | None = None,
) -> Imported:
    """Read one file, recognize its layout and pass it through the gate.

    A file that is strictly newest first is turned around. now_ms: rows of the future are refused.
    Raises DataRefused naming file, row, field, value and the next step.
    """
    SeriesKey(venue=venue, symbol=symbol, kind=kind, timeframe=timeframe)
    _require_same_name(path, venue=venue, symbol=symbol)
    file = read_table(path)
    layout = recognize(file.table.column_names, kind, path=str(path), has_header=file.has_header)
    if file.table.num_rows == 0:
        raise DataRefused(f"{path} holds no rows", next_step="Get the file again.")
    _require_same_symbol(file, layout, symbol)
    ts_ms = utc_ms(
        file.table.column(layout.columns["ts_ms"]),
        path=str(path),
        field=layout.columns["ts_ms"],
        utc_offset_ms=utc_offset_ms,
    )
    is_reversed = len(ts_ms) > 1 and bool(np.all(np.diff(ts_ms) < 0))
    reader = _Reader(file, layout, is_reversed)
    origin = Origin(path=path, is_reversed=is_reversed)
    ts_ms = reader.in_order(ts_ms)
    rows: Rows
    if kind is DataKind.FUNDING:
        rows = _funding(reader, ts_ms, venue, symbol)
        report = check_funding(rows, origin=origin, now_ms=now_ms)
    elif kind is DataKind.OPEN_INTEREST:
        rows = _open_interest(reader, ts_ms, venue, symbol)
        report = check_open_interest(rows, origin=origin, now_ms=now_ms)
    elif kind is DataKind.TRADES:
        rows = _trades(reader, ts_ms, venue, symbol)
        report = check_trades(rows, origin=origin, now_ms=now_ms)
    else:
        assert timeframe is not None  # SeriesKey has seen to it
        rows = _candles(reader, ts_ms, venue, symbol, timeframe, kind)
        report = check_candles(rows, kind=kind, origin=origin, now_ms=now_ms)
    require_sound(report)
    return Imported(path=path, rows=rows, report=report, is_reversed=is_reversed)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Columns of one file by our field names, oldest row first."""

    file: TableFile
    layout: Layout
    is_reversed: bool

    def in_order(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(values[::-1]) if self.is_reversed else values

    def column(self, field: str) -> pa.ChunkedArray:
        return self.file.table.column(self.layout.columns[field])

    def values(self, field: str) -> Values:
        """Return a column as float64; an empty cell is NaN, other text is refused."""
        column = self.column(field)
        if not _is_text(column.type):
            return self.in_order(np.asarray(column.to_numpy(), np.float64))
        trimmed = pc.utf8_trim_whitespace(column)
        filled = pc.if_else(pc.equal(trimmed, ""), "nan", trimmed)
        try:
            return self.in_order(np.asarray(filled.cast(pa.float64()).to_numpy(), np.float64))
        except pa.ArrowInvalid:
            raise self._not_a_number(field, filled.to_pylist()) from None

    def whole_numbers(self, field: str) -> Times:
        """Return a column of ids as int64; a UUID is named by its first 60 bits."""
        column = self.column(field)
        if pa.types.is_integer(column.type):
            return self.in_order(np.asarray(column.to_numpy(), np.int64))
        if (numbers := as_whole_numbers(column)) is not None:
            return self.in_order(numbers)
        texts = [str(text) for text in column.to_pylist()]
        try:
            ids = [
                int(text.replace("-", "")[:15], 16) if "-" in text else int(text) for text in texts
            ]
        except ValueError:
            raise self._not_a_number(field, texts) from None
        return self.in_order(np.array(ids, np.int64))

    def is_sell(self) -> npt.NDArray[np.bool_]:
        """Return where the taker sold, from `is_buyer_maker` or from the taker's side."""
        column = self.column("side")
        if pa.types.is_boolean(column.type):
            return self.in_order(np.asarray(column.to_numpy(), np.bool_))
        words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
        is_sell = pc.is_in(words, pa.array(["true", "sell", "1"]))
        is_known = pc.or_(is_sell, pc.is_in(words, pa.array(["false", "buy", "0"])))
        unknown = pc.index(is_known, pa.scalar(False)).as_py()
        if unknown >= 0:
            raise DataRefused(
                f"{self.file.path}: row {unknown + 1:,}, {self.layout.columns['side']} = "
                f"{column[unknown].as_py()!r}: is neither buy nor sell",
                next_step="Get the file again.",
            )
        return self.in_order(np.asarray(is_sell.to_numpy(), np.bool_))

    def _not_a_number(self, field: str, texts: list[str]) -> DataRefused:
        for row, text in enumerate(texts, 1):
            try:
                float(text)
            except ValueError:
                return DataRefused(
                    f"{self.file.path}: row {row:,}, {self.layout.columns[field]} = {text!r}: "
                    "is not a number",
                    next_step="Write numbers as 16537.5, without any comma."
                    if "," in text
                    else "Correct or remove the row, or get the file again.",
                )
        return DataRefused(
            f"{self.file.path}: column {self.layout.columns[field]} cannot be read as numbers",
            next_step="Get the file again.",
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _candles(
    reader: _Reader,
    ts_ms: Times,
    venue: Venue,
    symbol: str,
    timeframe: Timeframe,
    kind: DataKind,
) -> Candles:
    prices = {name: reader.values(name) for name in ("open", "high", "low", "close")}
    is_mark = kind is DataKind.MARK
    volume = np.zeros(len(ts_ms)) if is_mark else reader.values("volume")
    if not is_mark and not volume.any() and "mark" in str(reader.file.path).lower():
        raise DataRefused(
            f"{reader.file.path}: the name says mark prices, and every volume is 0",
            next_step="Import it with --kind mark.",
        )
    if not prices["high"].any() and prices["open"].any():
        raise DataRefused(
            f"{reader.file.path}: row 1, high = 0: these are funding rates in candle form",
            next_step="Import it with --kind funding.",
        )
    return Candles(
        venue=venue, symbol=symbol, timeframe=timeframe, ts_ms=ts_ms, volume=volume, **prices
    )


def _funding(reader: _Reader, ts_ms: Times, venue: Venue, symbol: str) -> FundingRates:
    if is_funding_in_candles(reader.layout):
        by_name = {name.lower(): name for name in reader.file.table.column_names}
        close = reader.file.table.column(by_name["close"]).to_numpy()
        if np.any(np.abs(np.asarray(close, np.float64)) > 1):
            raise DataRefused(
                f"{reader.file.path}: these are candles, not funding rates",
                next_step="Import it with --kind candles or --kind mark.",
            )
    has_mark = "mark_price" in reader.layout.columns
    mark = reader.values("mark_price") if has_mark else np.full(len(ts_ms), np.nan)
    return FundingRates(
        venue=venue, symbol=symbol, ts_ms=ts_ms, rate=reader.values("rate"), mark_price=mark
    )


def _open_interest(reader: _Reader, ts_ms: Times, venue: Venue, symbol: str) -> OpenInterest:
    """Return the readings; their period is the smallest step between them, 5m for a single one."""
    steps = np.diff(ts_ms)
    usual_ms = int(steps[steps > 0].min(initial=DAY_MS)) if len(steps) else 5 * MINUTE_MS
    try:
        period = timeframe_of(usual_ms)
    except (UsageRefused, AssertionError):
        raise DataRefused(
            f"{reader.file.path}: readings {step_text(usual_ms)} apart lie on no period's grid",
            next_step="Give a file with readings every 5m, 15m, 30m, 1h, 4h or 1d.",
        ) from None
    return OpenInterest(
        venue=venue,
        symbol=symbol,
        timeframe=period,
        ts_ms=ts_ms,
        open_interest=reader.values("open_interest"),
    )


def _trades(reader: _Reader, ts_ms: Times, venue: Venue, symbol: str) -> Trades:
    return Trades(
        venue=venue,
        symbol=symbol,
        ts_ms=ts_ms,
        trade_id=reader.whole_numbers("trade_id"),
        price=reader.values("price"),
        quantity=reader.values("quantity"),
        is_buyer_maker=reader.is_sell(),
    )


def _require_same_symbol(file: TableFile, layout: Layout, symbol: str) -> None:
    """Refuse a file whose own symbol column names another symbol."""
    if layout.symbol_column is None:
        return
    for row, name in enumerate(file.table.column(layout.symbol_column).to_pylist(), 1):
        if _plain_symbol(str(name)) != symbol:
            raise DataRefused(
                f"{file.path}: row {row:,}, {layout.symbol_column} = {name!r}: not {symbol}",
                next_step=f"Import it with --symbol {_plain_symbol(str(name))}, or give the file "
                f"of {symbol}.",
            )


def _plain_symbol(name: str) -> str:
    """Return BTCUSDT for BTC/USDT:USDT, BTC_USDT and BTCUSDT alike."""
    match = SYMBOL_IN_NAME.match(name.upper())
    return f"{match['base']}{match['quote']}" if match else name


def _require_same_name(path: Path, *, venue: Venue, symbol: str) -> None:
    """Refuse a file whose name or folders clearly name another symbol or venue."""
    absolute = path.absolute()
    parent = absolute.parent
    match = SYMBOL_IN_NAME.match(absolute.name) or re.fullmatch(SYMBOL_IN_NAME, parent.name)
    if match is not None and f"{match['base']}{match['quote']}" != symbol:
        named = f"{match['base']}{match['quote']}"
        raise DataRefused(
            f"{path}: the name says {named}, not {symbol}",
            next_step=f"Import it with --symbol {named}, or give the file of {symbol}.",
        )
    if match is not None and parent.parent.name in set(Venue) - {venue}:
        raise DataRefused(
            f"{path}: the folder says {parent.parent.name}, not {venue}",
            next_step=f"Import it with --venue {parent.parent.name}, or move the file.",
        )
