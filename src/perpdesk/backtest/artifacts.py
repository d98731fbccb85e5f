"""The files of a run: written beside their place, moved into it whole, or not at all."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from perpdesk.backtest.durable import settle
from perpdesk.backtest.runner import BacktestResult
from perpdesk.backtest.sheet import tearsheet_data
from perpdesk.backtest.signals import signal_lines
from perpdesk.domain.events import Event, FundingSettled, OrderFilled
from perpdesk.domain.numbers import plain
from perpdesk.marketdata.atomic_files import sync_folder
from perpdesk.reports.round_trip import TRADE_COLUMNS, RoundTrip
from perpdesk.reports.tearsheet import render_tearsheet

FILL_COLUMNS: Final = (
    "ts_ms",
    "order_id",
    "client_order_id",
    "symbol",
    "side",
    "quantity",
    "price",
    "liquidity",
    "fee",
    "realized_pnl",
    "position_after",
    "reason",
)
FUNDING_COLUMNS: Final = ("ts_ms", "symbol", "signed_quantity", "mark_price", "rate", "amount")
EQUITY_COLUMNS: Final = ("ts_ms", "equity", "drawdown")

_BUFFER: Final = 1 << 20
_DAY_MS: Final = 86_400_000
_EVENTS: Final = 4096
_EXPONENT: Final = re.compile(rb'"(-?\d+(?:\.\d+)?E[+-]\d+)"')
"""A Decimal that is very small, or round, as `str` writes it."""


def write_artifacts(
    result: BacktestResult,
    folder: Path,
    *,
    manifest: Mapping[str, Any],
    trades: Sequence[Mapping[str, object]],
    run_id: str,
    created_ms: int,
) -> None:
    """Write every artifact of a run but its account curve into `folder`, which exists.

    manifest: of `run_manifest`. trades: of `trade_rows`.
    """
    rows = (list(row.values()) for row in trades)
    _write_csv(folder / "trades.csv", TRADE_COLUMNS, rows)
    _write(folder / "fills.csv", map(str.encode, _fill_lines(result.events)))
    _write(folder / "signals.csv", map(str.encode, signal_lines(result.signal_records)))
    _write_csv(folder / "funding.csv", FUNDING_COLUMNS, _funding_rows(result.events))
    _write_csv(folder / "equity.csv", EQUITY_COLUMNS, _equity_rows(result))
    _write(folder / "events.jsonl", _event_lines(result.events))
    stamped = {"run_id": run_id, "created_ms": created_ms, **manifest}
    _write(folder / "run_manifest.json", [json_text(stamped)])
    sheet = render_tearsheet(tearsheet_data(result, manifest, run_id=run_id))
    _write(folder / "tearsheet.html", [sheet.encode()])


def json_text(value: object) -> bytes:
    """Return JSON for people to read: decimals as plain strings, NaN and infinity as null."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=_json_form, option=options)


def _json_form(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    raise TypeError(f"no JSON form is known for {type(value).__name__}")


# Rows.


def trade_rows(trips: Sequence[RoundTrip]) -> list[dict[str, object]]:
    """Return the trades as trades.csv and the result hold them: decimals as plain strings."""
    return [{name: _plain_value(getattr(trip, name)) for name in TRADE_COLUMNS} for trip in trips]


def _plain_value(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    return value.value if isinstance(value, Enum) else value


def _fill_lines(events: Sequence[Event]) -> Iterator[str]:
    """Yield fills.csv line by line; no field can hold a comma or a quote."""
    yield ",".join(FILL_COLUMNS) + "\n"
    fills = [event for event in events if isinstance(event, OrderFilled)]
    # Within a bar they come by stage and symbol; a reader wants time.
    fills.sort(key=lambda fill: fill.ts_ms)
    for fill in fills:
        yield (
            f"{fill.ts_ms},{fill.order_id},{fill.client_order_id},{fill.symbol},{fill.side},"
            f"{plain(fill.quantity)},{plain(fill.price)},{fill.liquidity},{plain(fill.fee)},"
            f"{plain(fill.realized_pnl)},{plain(fill.position_after)},{fill.purpose}\n"
        )


def _funding_rows(events: Sequence[Event]) -> Iterator[list[object]]:
    settled = [event for event in events if isinstance(event, FundingSettled)]
    settled.sort(key=lambda event: event.ts_ms)
    for event in settled:
        yield [_plain_value(getattr(event, name)) for name in FUNDING_COLUMNS]


def _equity_rows(result: BacktestResult) -> Iterator[list[str]]:
    """Yield the equity at every 00:00 UTC and at the end, with its depth below the highest."""
    curve, equity = result.curve, result.curve.equity
    first, last = int(curve.ts_ms[0]), int(curve.ts_ms[-1]) + 1
    moments = np.arange(-(-first // _DAY_MS) * _DAY_MS, last, _DAY_MS, dtype=np.int64)
    moments = np.unique(np.append(moments, last))
    rows = np.searchsorted(curve.ts_ms, moments) - 1
    held = moments[rows >= 0], equity[rows[rows >= 0]]
    highest = float(result.spec.initial_capital.scaleb(8))
    for moment, atoms in zip(*(column.tolist() for column in held), strict=True):
        highest = max(highest, atoms)
        depth = 1.0 - atoms / highest
        yield [str(moment), plain(Decimal(atoms).scaleb(-8)), repr(round(depth, 12))]


def _event_lines(events: Sequence[Event]) -> Iterator[bytes]:
    """Yield one JSON object per line, in blocks: the event's name, then its fields."""
    heads = {kind: b'{"event":"%s",' % kind.__name__.encode() for kind in set(map(type, events))}
    encode = msgspec.json.Encoder().encode
    for start in range(0, len(events), _EVENTS):
        block = events[start : start + _EVENTS]
        lines = [heads[type(event)] + encode(event)[1:] for event in block]
        for place, line in enumerate(lines):
            if b"E-" in line or b"E+" in line:
                lines[place] = _EXPONENT.sub(_plain_digits, line)
        yield b"\n".join([*lines, b""])


def _plain_digits(quoted: re.Match[bytes]) -> bytes:
    return b'"%s"' % format(Decimal(quoted[1].decode()), "f").encode()


# Writing.


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="", buffering=_BUFFER) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        settle(file)


def _write(path: Path, content: Iterable[bytes]) -> None:
    with path.open("wb", buffering=_BUFFER) as file:
        file.writelines(content)
        settle(file)


def write_json_atomically(path: Path, value: object) -> None:
    """Write a JSON file beside its place and move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.partial")
    try:
        _write(staging, [json_text(value)])
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
