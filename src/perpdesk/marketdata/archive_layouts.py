"""Known table layouts: which column means what, by header or, without one, by shape.

Sources, read 2026-11-20: the notes of Binance's public archive (data.binance.vision), which writes
spot times in microseconds since 2025; Bybit's public archive (public.bybit.com); freqtrade's
Feather files. Bybit's `kline_for_metatrader4` has no header and a local clock: it needs an offset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from perpdesk.domain.candles import DataKind
from perpdesk.domain.errors import DataRefused

FIELDS: Final[Mapping[DataKind, tuple[str, ...]]] = {
    DataKind.CANDLES: ("ts_ms", "open", "high", "low", "close", "volume"),
    DataKind.MARK: ("ts_ms", "open", "high", "low", "close"),
    DataKind.FUNDING: ("ts_ms", "rate"),
    DataKind.TRADES: ("ts_ms", "price", "quantity", "trade_id", "side"),
    DataKind.OPEN_INTEREST: ("ts_ms", "open_interest"),
}
OPTIONAL: Final[Mapping[DataKind, tuple[str, ...]]] = {
    DataKind.CANDLES: (),
    DataKind.MARK: (),
    DataKind.FUNDING: ("mark_price",),
    DataKind.TRADES: (),
    DataKind.OPEN_INTEREST: (),
}

TIME_NAMES: Final = (
    "ts_ms",
    "ts",
    "open_time",
    "opentime",
    "starttime",
    "start_time",
    "start_at",
    "start",
    "timestamp",
    "date",
    "datetime",
    "time",
)
"""Header names of an open time, lower case, the most telling first."""

OPEN_INTEREST_NAMES: Final = (
    "open_interest",
    "openinterest",
    "sum_open_interest",
    "sumopeninterest",
)
"""In base currency; the columns of its value in quote currency are left alone."""

ALIASES: Final[Mapping[DataKind, Mapping[str, tuple[str, ...]]]] = {
    DataKind.CANDLES: {
        "ts_ms": TIME_NAMES,
        "open": ("open", "openprice", "open_price"),
        "high": ("high", "highprice", "high_price"),
        "low": ("low", "lowprice", "low_price"),
        "close": ("close", "closeprice", "close_price"),
        "volume": ("volume", "vol"),
    },
    DataKind.FUNDING: {
        "ts_ms": ("calc_time", "fundingtime", "fundingratetimestamp", "funding_time", *TIME_NAMES),
        "rate": ("rate", "last_funding_rate", "fundingrate", "funding_rate"),
        "mark_price": ("mark_price", "markprice", "mark"),
    },
    DataKind.TRADES: {
        "ts_ms": ("transact_time", *TIME_NAMES),
        "price": ("price",),
        "quantity": ("quantity", "qty", "size"),
        "trade_id": ("trade_id", "agg_trade_id", "id", "trdmatchid"),
        "side": ("is_buyer_maker", "isbuyermaker", "side"),
    },
    DataKind.OPEN_INTEREST: {
        # Binance's archive of metrics, both venues' own answers, and our own columns.
        "ts_ms": ("create_time", *TIME_NAMES),
        "open_interest": OPEN_INTEREST_NAMES,
    },
}

SHAPES: Final[Mapping[DataKind, Mapping[int, Mapping[str, int]]]] = {
    DataKind.CANDLES: {
        # Binance klines; Bybit v5 klines (with turnover); Bybit's MetaTrader files.
        count: {"ts_ms": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}
        for count in (12, 7, 6)
    },
    DataKind.FUNDING: {
        3: {"ts_ms": 0, "rate": 2},
        2: {"ts_ms": 0, "rate": 1},
    },
    DataKind.TRADES: {
        # aggTrades of futures (7) and spot (8, with is_best_match); trades of futures (6).
        8: {"trade_id": 0, "price": 1, "quantity": 2, "ts_ms": 5, "side": 6},
        7: {"trade_id": 0, "price": 1, "quantity": 2, "ts_ms": 5, "side": 6},
        6: {"trade_id": 0, "price": 1, "quantity": 2, "ts_ms": 4, "side": 5},
    },
    DataKind.OPEN_INTEREST: {2: {"ts_ms": 0, "open_interest": 1}},
}
"""Files without a header, by their number of columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which column of a file holds which of our fields, by column name."""

    columns: Mapping[str, str]
    symbol_column: str | None = None


def recognize(names: Sequence[str], kind: DataKind, *, path: str, has_header: bool) -> Layout:
    """Return the layout of a table; raises DataRefused naming the column that is missing.

    names: the column names; for a file without a header, names of our own, in order.
    """
    if not has_header:
        return _by_shape(names, kind, path)
    by_lower = {name.strip().lower(): name for name in names}
    aliases = ALIASES[DataKind.CANDLES if kind is DataKind.MARK else kind]
    found: dict[str, str] = {}
    for field in (*FIELDS[kind], *OPTIONAL[kind]):
        match = next((by_lower[alias] for alias in aliases[field] if alias in by_lower), None)
        if match is not None:
            found[field] = match
    if kind is DataKind.FUNDING and "rate" not in found and _has_candles(by_lower):
        # freqtrade keeps funding as candles: the rate is in `open`.
        found["rate"] = by_lower["open"]
    missing = [field for field in FIELDS[kind] if field not in found]
    if missing:
        raise DataRefused(
            f"{path}: no column for {missing[0]}; it has {', '.join(names)}",
            next_step=_advice(by_lower, kind, missing[0]),
        )
    return Layout(columns=found, symbol_column=by_lower.get("symbol"))


def is_funding_in_candles(layout: Layout) -> bool:
    """Tell whether a funding rate was found in the `open` column of a candle table."""
    return layout.columns.get("rate", "").strip().lower() == "open"


def _has_candles(by_lower: Mapping[str, str]) -> bool:
    return all(name in by_lower for name in ("open", "high", "low", "close"))


def _by_shape(names: Sequence[str], kind: DataKind, path: str) -> Layout:
    shapes = SHAPES[DataKind.CANDLES if kind is DataKind.MARK else kind]
    shape = shapes.get(len(names))
    if shape is None:
        known = ", ".join(str(count) for count in sorted(shapes))
        raise DataRefused(
            f"{path}: it has no header and {len(names)} columns; {kind} files without a header "
            f"have {known}",
            next_step="Add a header line that names the columns, then import it again.",
        )
    wanted = FIELDS[kind]
    return Layout(
        columns={field: names[index] for field, index in shape.items() if field in wanted}
    )


def _advice(by_lower: Mapping[str, str], kind: DataKind, missing: str) -> str:
    if kind is DataKind.CANDLES and missing == "volume":
        return "If these are mark prices, import them with --kind mark."
    if kind is not DataKind.FUNDING and ("rate" in by_lower or "last_funding_rate" in by_lower):
        return "If these are funding rates, import them with --kind funding."
    if kind is not DataKind.OPEN_INTEREST and set(OPEN_INTEREST_NAMES) & set(by_lower):
        return "If these are readings of open interest, import them with --kind open_interest."
    if kind is not DataKind.TRADES and "price" in by_lower:
        return "If these are trades, import them with --kind trades."
    if kind in (DataKind.FUNDING, DataKind.TRADES) and _has_candles(by_lower):
        return "If these are candles, import them with --kind candles or --kind mark."
    return "Name the columns as in docs/data.md, then import the file again."
