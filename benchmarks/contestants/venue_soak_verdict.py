"""What a soak is judged by: what the client was told, held against what the emulator did."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import numpy.typing as npt

from benchmarks.contestants.venue_soak_world import BEGIN_MS
from perpdesk.domain.candles import MINUTE_MS, Venue

SHOWN: Final = 5
ACTS_SHOWN: Final = 4
PAGE: Final = 1_000

CandleColumns = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the client of one venue was told. candles: how often, values, out of order."""

    venue: Venue
    candles: Mapping[str, CandleColumns]
    positions: Mapping[str, Decimal]
    open_orders: set[str]
    fills: Mapping[tuple[str, str], tuple[str, Decimal, Decimal]]
    fills_told: Counter[tuple[str, str]]


async def judge(told: list[Told], *, address: str, notes: Path, is_whole: bool) -> dict[str, Any]:
    """Return every broken promise in words, and how much was looked at.

    is_whole: whether there was time for every question to be answered.
    """
    problems: defaultdict[str, list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    # A body may end in the middle on purpose, so the judge asks in fine weather only.
    async with aiohttp.ClientSession(f"http://{address}") as session:
        journal = await _journal(session)
        state = await _json(session, "/emulator", {})
        for one in told:
            rows = [row for row in journal if row["venue"] == one.venue.value]
            await _judge_candles(session, one, problems, counts)
            _judge_fills(one, rows, problems, counts)
            _judge_holdings(one, rows, problems)
            _judge_orders(one, rows, notes, problems, counts)
    counts["still asked for"] = len(problems["still asked for"])
    if not is_whole or not problems["still asked for"]:
        del problems["still asked for"]
    return {
        "problems": {name: found[:SHOWN] for name, found in problems.items()},
        "problem_counts": {name: len(found) for name, found in problems.items()},
        "looked_at": dict(counts),
        "struck": state["struck"],
    }


async def _json(session: aiohttp.ClientSession, path: str, query: Mapping[str, Any]) -> Any:
    async with session.get(path, params={key: str(one) for key, one in query.items()}) as answer:
        return await answer.json()


async def _journal(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while True:
        after = entries[-1]["seq"] if entries else 0
        page = await _json(session, "/emulator/journal", {"after": after, "limit": 20_000})
        if not page["entries"]:
            return entries
        entries += page["entries"]


# Candles.


async def _judge_candles(
    session: aiohttp.ClientSession,
    told: Told,
    problems: defaultdict[str, list[str]],
    counts: Counter[str],
) -> None:
    for symbol, (often, values, out_of_order) in told.candles.items():
        name = f"{told.venue.value} {symbol}"
        found = np.flatnonzero(often)
        if not len(found):
            problems["lost candles"].append(f"{name}: none was told")
            continue
        first, last = int(found[0]), int(found[-1])
        counts["candles"] += len(found)
        for row in np.flatnonzero(often[first : last + 1] == 0) + first:
            problems["lost candles"].append(f"{name} minute {row}")
        for row in np.flatnonzero(often > 1):
            problems["candles told twice"].append(f"{name} minute {row}: {often[row]} times")
        if out_of_order:
            problems["candles out of order"].append(f"{name}: {out_of_order}")
        true = await _history(session, told.venue, symbol, first, last)
        for row in found:
            if not np.array_equal(true.get(int(row), ()), values[row]):
                problems["candles unlike history"].append(
                    f"{name} minute {row}: told {values[row].tolist()}, "
                    f"is {list(true.get(int(row), ()))}"
                )


async def _history(
    session: aiohttp.ClientSession, venue: Venue, symbol: str, first: int, last: int
) -> dict[int, tuple[float, ...]]:
    """Return what REST says of the minutes, by another client than the one that is judged."""
    rows: dict[int, tuple[float, ...]] = {}
    for start in range(first, last + 1, PAGE):
        begin_ms = BEGIN_MS + start * MINUTE_MS
        end_ms = BEGIN_MS + min(start + PAGE, last + 1) * MINUTE_MS - 1
        span = {"symbol": symbol, "limit": PAGE}
        if venue is Venue.BINANCE:
            query = {**span, "interval": "1m", "startTime": begin_ms, "endTime": end_ms}
            found = await _json(session, "/fapi/v1/klines", query)
        else:
            query = {**span, "category": "linear", "interval": "1", "start": begin_ms}
            answer = await _json(session, "/v5/market/kline", {**query, "end": end_ms})
            found = answer["result"]["list"]
        for row in found:
            minute = (int(row[0]) - BEGIN_MS) // MINUTE_MS
            rows[minute] = tuple(float(each) for each in row[1:6])
    return rows


# The account.


def _judge_fills(
    told: Told,
    rows: list[dict[str, Any]],
    problems: defaultdict[str, list[str]],
    counts: Counter[str],
) -> None:
    name = told.venue.value
    true = Counter(
        (row["symbol"], row["client_id"], Decimal(row["fill_quantity"]), Decimal(row["fill_price"]))
        for row in rows
        if row["what"] == "OrderFilled"
    )
    known = Counter((symbol, *facts) for (symbol, _), facts in told.fills.items())
    counts["fills"] += sum(true.values())
    for lost in (true - known).elements():
        problems["lost fills"].append(f"{name} {lost}")
    for invented in (known - true).elements():
        problems["fills that never were"].append(f"{name} {invented}")
    for key, often in told.fills_told.items():
        if often > 1:
            problems["fills told twice"].append(f"{name} {key}: {often} times")


def _judge_holdings(
    told: Told, rows: list[dict[str, Any]], problems: defaultdict[str, list[str]]
) -> None:
    held: defaultdict[str, Decimal] = defaultdict(Decimal)
    open_ids: set[str] = set()
    for row in rows:
        if row["what"] == "OrderFilled":
            sign = 1 if row["side"] == "BUY" else -1
            held[row["symbol"]] += sign * Decimal(row["fill_quantity"])
        if "status" in row:
            if row["status"] in ("ACCEPTED", "TRIGGERED", "PARTIALLY_FILLED"):
                open_ids.add(row["client_id"])
            else:
                open_ids.discard(row["client_id"])
    known = {symbol: quantity for symbol, quantity in told.positions.items() if quantity}
    true = {symbol: quantity for symbol, quantity in held.items() if quantity}
    if known != true:
        problems["positions differ"].append(f"{told.venue.value}: told {known}, is {true}")
    if told.open_orders != open_ids:
        problems["open orders differ"].append(
            f"{told.venue.value}: told {sorted(told.open_orders)}, is {sorted(open_ids)}"
        )


# Orders.


def _judge_orders(
    told: Told,
    rows: list[dict[str, Any]],
    notes: Path,
    problems: defaultdict[str, list[str]],
    counts: Counter[str],
) -> None:
    name = told.venue.value
    accepted = Counter(row["client_id"] for row in rows if row["what"] == "OrderAccepted")
    for order_id, often in accepted.items():
        if often > 1:
            problems["accepted twice"].append(f"{name} {order_id}: {often} times")
    stories: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
    with notes.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["venue"] == name:
                stories[row["id"]].append((row["act"], row["result"], row["words"]))
    for order_id in accepted.keys() - stories.keys():
        problems["orders nobody sent"].append(f"{name} {order_id}")
    for order_id, story in stories.items():
        counts["orders"] += any(act == "place" for act, _, _ in story)
        for kind in ("unknown", "unavailable", "abandoned", "rejected", "denied"):
            counts[f"placing {kind}"] += sum(result == kind for _, result, _ in story)
        problem = _problem_of(story, accepted[order_id] > 0)
        if problem is not None:
            end = story[-ACTS_SHOWN:]
            problems[problem].append(f"{name} {order_id}: {end}, accepted {accepted[order_id]}")


def _problem_of(story: list[tuple[str, str, str]], was_accepted: bool) -> str | None:
    """Return what is wrong with what became of an order, None where all is well."""
    placings = [(result, words) for act, result, words in story if act == "place"]
    if not placings:
        return None
    if any(result not in ("unavailable", "denied") for result, _ in placings[:-1]):
        return "sent again"
    result, words = placings[-1]
    if result == "reported":
        refused = words in ("REJECTED", "EXPIRED", "CANCELED")
        return None if was_accepted or refused else "reported, but not accepted"
    if result in ("unavailable", "denied", "rejected"):
        return f"{result}, but accepted" if was_accepted else None
    verdicts = [result for act, result, _ in story if act == "resolve"]
    if result == "unknown" and not verdicts:
        return "left unknown"
    if result == "unknown" and not {"found", "never"} & set(verdicts):
        return "still asked for"
    if result == "unknown" and ("found" in verdicts) != was_accepted:
        return "resolved wrongly"
    return None
