"""Recorded answers of the exchanges about instruments, turned into our own dated documents.

Known: Binance exchangeInfo, fundingInfo, leverageBracket (as received, or as ccxt wraps it) and
commissionRate;
Bybit v5 instruments-info, risk-limit and fee-rate, and the older public/linear/risk-limit.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.domain.instrument import MarginTier, with_deductions
from perpdesk.domain.numbers import ONE, ZERO, plain
from perpdesk.marketdata.instrument_records import day_text

Document = dict[str, Any]

DEFAULT_FUNDING_INTERVAL_MS: Final = 8 * HOUR_MS
"""At Binance, where fundingInfo does not say otherwise."""

ACCOUNT: Final = "ACCOUNT"
"""Name of the fee schedule that an account's own answer gives."""


def read_answer(path: Path, observed_ms: int | None = None) -> Document:
    """Return a recorded answer as one of our documents.

    observed_ms: when it was recorded; the time inside the answer stands in where it has one. Raises
    DataRefused where the file is not an answer that we know, or has no date.
    """
    try:
        raw = json.loads(path.read_bytes(), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise DataRefused(
            f"{path} cannot be read as JSON ({error})",
            next_step="Record the exchange's answer again, and save it unchanged.",
        ) from error
    answer = raw["response"] if isinstance(raw, dict) and "response" in raw else raw
    return document_of(answer, observed_ms, origin=str(path), source=path.name)


def document_of(answer: Any, observed_ms: int | None, *, origin: str, source: str) -> Document:
    """Return an answer as one of our documents; see `read_answer`.

    origin: what an error calls the answer. source: what the document says of where it comes from.
    """
    convert, own_ms = _recognize(answer)
    if convert is None:
        raise DataRefused(
            f"{origin} is no answer about instruments that is known here",
            next_step="Give an answer of exchangeInfo, fundingInfo, leverageBracket, "
            "instruments-info, risk-limit, commissionRate or fee-rate.",
        )
    moment_ms = observed_ms if observed_ms is not None else own_ms
    if moment_ms is None:
        raise DataRefused(
            f"{origin} does not say when it was recorded",
            next_step="Say it: --observed 2024-10-24.",
        )
    try:
        document = convert(answer)
    except (KeyError, TypeError, ValueError, InvalidOperation, StopIteration) as error:
        raise DataRefused(
            f"{origin}: a field is missing or malformed ({type(error).__name__}: {error})",
            next_step="Record the exchange's answer again, and save it unchanged.",
        ) from error
    observed = day_text(moment_ms)
    for periods in document.get("fees", {}).values():
        for period in periods:
            period["valid_from"] = observed
    return {"venue": document.pop("venue"), "observed": observed, "source": source, **document}


def _recognize(answer: Any) -> tuple[Callable[[Any], Document] | None, int | None]:
    """Return the converter of an answer and the time it carries, if any."""
    if isinstance(answer, dict):
        if "symbols" in answer and "serverTime" in answer:
            return _exchange_info, int(answer["serverTime"])
        if "brackets" in answer:
            return lambda one: _leverage_brackets([one]), None
        if "takerCommissionRate" in answer:
            return _commission_rate, None
        if isinstance(answer.get("result"), list) and "ret_code" in answer:
            now = answer.get("time_now")
            return _legacy_risk_limit, int(Decimal(now) * 1000) if now else None
        if isinstance(answer.get("result"), dict):
            row = _first_row(answer["result"].get("list"))
            for field, convert in (
                ("lotSizeFilter", _instruments_info),
                ("riskLimitValue", _risk_limit),
                ("takerFeeRate", _fee_rate),
            ):
                if field in row:
                    return convert, int(answer["time"]) if "time" in answer else None
        values = list(answer.values())
        if values and "info" in _first_row(values[0]):
            return _wrapped_brackets, None
    if "brackets" in _first_row(answer):
        return _leverage_brackets, None
    if "fundingIntervalHours" in _first_row(answer):
        return _funding_info, None
    return None, None


def _first_row(rows: Any) -> Mapping[str, Any]:
    """Return the first row of a list of objects, an empty one where it is none."""
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}


def _text(value: Any) -> str:
    """Return a number of an answer as plain digits."""
    return plain(Decimal(str(value)))


def _tier_rows(tiers: Iterable[MarginTier]) -> list[dict[str, str]]:
    names = ("floor", "cap", "max_leverage", "maintenance_rate", "deduction")
    return [{name: plain(getattr(tier, name)) for name in names} for tier in tiers]


def _exchange_info(answer: Mapping[str, Any]) -> Document:
    rules: dict[str, Any] = {}
    for symbol in answer["symbols"]:
        if symbol.get("contractType") != "PERPETUAL":
            continue
        filters = {one["filterType"]: one for one in symbol["filters"]}
        lot, market = filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
        rules[symbol["symbol"]] = {
            "base": symbol["baseAsset"],
            "quote": symbol["quoteAsset"],
            "tick_size": _text(filters["PRICE_FILTER"]["tickSize"]),
            "step_size": _text(lot["stepSize"]),
            "min_quantity": _text(lot["minQty"]),
            "min_notional": _text(filters["MIN_NOTIONAL"]["notional"]),
            "max_limit_quantity": _text(lot["maxQty"]),
            "max_market_quantity": _text(market["maxQty"]),
            "price_band_rate": plain(Decimal(filters["PERCENT_PRICE"]["multiplierUp"]) - ONE),
            "liquidation_fee_rate": _text(symbol["liquidationFee"]),
            "funding_interval_ms": DEFAULT_FUNDING_INTERVAL_MS,
        }
    return {"venue": Venue.BINANCE.value, "rules": rules}


def _funding_info(answer: Iterable[Mapping[str, Any]]) -> Document:
    """Read the funding intervals that Binance lists: those of symbols that differ from 8 hours."""
    intervals = {one["symbol"]: int(one["fundingIntervalHours"]) * HOUR_MS for one in answer}
    return {"venue": Venue.BINANCE.value, "funding_intervals": intervals}


def _leverage_brackets(answer: Iterable[Mapping[str, Any]]) -> Document:
    tiers = {one["symbol"]: _tier_rows(map(_bracket, one["brackets"])) for one in answer}
    return {"venue": Venue.BINANCE.value, "tiers": tiers}


def _wrapped_brackets(answer: Mapping[str, list[Mapping[str, Any]]]) -> Document:
    """Read brackets by ccxt's symbols; delivery contracts (with a date behind) are left out."""
    tiers: dict[str, Any] = {}
    for name, rows in answer.items():
        base, _, rest = name.partition("/")
        quote, _, settle = rest.partition(":")
        if settle == quote:
            tiers[base + quote] = _tier_rows(_bracket(row["info"]) for row in rows)
    return {"venue": Venue.BINANCE.value, "tiers": tiers}


def _bracket(row: Mapping[str, Any]) -> MarginTier:
    return MarginTier(
        floor=Decimal(str(row["notionalFloor"])),
        cap=Decimal(str(row["notionalCap"])),
        max_leverage=Decimal(str(row["initialLeverage"])),
        maintenance_rate=Decimal(str(row["maintMarginRatio"])),
        deduction=Decimal(str(row["cum"])),
    )


def _instruments_info(answer: Mapping[str, Any]) -> Document:
    rules: dict[str, Any] = {}
    for one in answer["result"]["list"]:
        if one.get("contractType") != "LinearPerpetual":
            continue
        lot = one["lotSizeFilter"]
        band = one.get("riskParameters", {}).get("priceLimitRatioX") or "0.05"
        rules[one["symbol"]] = {
            "base": one["baseCoin"],
            "quote": one["quoteCoin"],
            "tick_size": _text(one["priceFilter"]["tickSize"]),
            "step_size": _text(lot["qtyStep"]),
            "min_quantity": _text(lot["minOrderQty"]),
            "min_notional": _text(lot.get("minNotionalValue") or "5"),
            "max_limit_quantity": _text(lot["maxOrderQty"]),
            "max_market_quantity": _text(lot.get("maxMktOrderQty") or lot["maxOrderQty"]),
            "price_band_rate": _text(band),
            # Bybit takes a position over at its bankruptcy price instead of charging a fee.
            "liquidation_fee_rate": "0",
            "funding_interval_ms": int(one["fundingInterval"]) * MINUTE_MS,
        }
    if not rules:
        raise ValueError("it holds no linear perpetual contract")
    return {"venue": Venue.BYBIT.value, "rules": rules}


def _risk_limit(answer: Mapping[str, Any]) -> Document:
    rows = [
        {
            "symbol": row["symbol"],
            "cap": Decimal(row["riskLimitValue"]),
            "leverage": Decimal(row["maxLeverage"]),
            "initial": Decimal(row["initialMargin"]),
            "maintenance": Decimal(row["maintenanceMargin"]),
        }
        for row in answer["result"]["list"]
    ]
    return {"venue": Venue.BYBIT.value, "tiers": _bybit_tiers(rows)}


def _legacy_risk_limit(answer: Mapping[str, Any]) -> Document:
    rows = [
        {
            "symbol": row["symbol"],
            "cap": Decimal(row["limit"]),
            "leverage": Decimal(row["max_leverage"]),
            "initial": Decimal(row["starting_margin"]),
            "maintenance": Decimal(row["maintain_margin"]),
        }
        for row in answer["result"]
    ]
    return {"venue": Venue.BYBIT.value, "tiers": _bybit_tiers(rows)}


def _bybit_tiers(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return tiers by symbol, with the deductions that make the maintenance margin continuous.

    The answers give rates as fractions; older documentation shows percent. Initial rate times
    leverage tells which: it is 1 for fractions, 100 for percent.
    """
    by_symbol: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_symbol[row["symbol"]].append(row)
    result: dict[str, Any] = {}
    for symbol, found in by_symbol.items():
        floor, tiers = ZERO, []
        for row in sorted(found, key=lambda row: row["cap"]):
            unit = Decimal(100) if row["initial"] * row["leverage"] > 10 else ONE
            tiers.append(
                MarginTier(
                    floor=floor,
                    cap=row["cap"],
                    max_leverage=row["leverage"].quantize(Decimal("0.01"), ROUND_DOWN),
                    maintenance_rate=row["maintenance"] / unit,
                    deduction=ZERO,
                )
            )
            floor = row["cap"]
        result[symbol] = _tier_rows(with_deductions(tiers))
    return result


def _commission_rate(answer: Mapping[str, Any]) -> Document:
    maker, taker = answer["makerCommissionRate"], answer["takerCommissionRate"]
    return {"venue": Venue.BINANCE.value, "fees": _account_fees(answer["symbol"], maker, taker)}


def _fee_rate(answer: Mapping[str, Any]) -> Document:
    fees: dict[str, Any] = {}
    for row in answer["result"]["list"]:
        fees |= _account_fees(row["symbol"], row["makerFeeRate"], row["takerFeeRate"])
    return {"venue": Venue.BYBIT.value, "fees": fees}


def _account_fees(symbol: str, maker: Any, taker: Any) -> dict[str, Any]:
    return {f"{ACCOUNT}:{symbol}": [{"maker": _text(maker), "taker": _text(taker)}]}
