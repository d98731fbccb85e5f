"""Recorded answers of both exchanges become dated documents of ours."""

import json
from pathlib import Path
from typing import Any

import pytest

from perpdesk.domain.errors import DataRefused
from perpdesk.marketdata.exchange_answers import read_answer
from perpdesk.marketdata.instrument_records import day_ms, observation_of


def saved(tmp_path: Path, answer: Any) -> Path:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer))
    return path


def bracket(number: int, floor: int, cap: int, rate: float, leverage: int) -> dict[str, Any]:
    return {
        "bracket": number,
        "initialLeverage": leverage,
        "notionalCap": cap,
        "notionalFloor": floor,
        "maintMarginRatio": rate,
        "cum": 0.0 if number == 1 else 50.0,
    }


BRACKETS = [bracket(1, 0, 50_000, 0.004, 125), bracket(2, 50_000, 600_000, 0.005, 100)]


def test_leverage_brackets_as_received(tmp_path: Path) -> None:
    path = saved(tmp_path, [{"symbol": "BTCUSDT", "brackets": BRACKETS}])
    document = read_answer(path, day_ms("2024-10-24"))
    assert (document["venue"], document["observed"]) == ("binance", "2024-10-24")
    assert document["tiers"]["BTCUSDT"] == [
        {
            "floor": "0",
            "cap": "50000",
            "max_leverage": "125",
            "maintenance_rate": "0.004",
            "deduction": "0",
        },
        {
            "floor": "50000",
            "cap": "600000",
            "max_leverage": "100",
            "maintenance_rate": "0.005",
            "deduction": "50",
        },
    ]


def test_leverage_brackets_as_ccxt_wraps_them_without_delivery_contracts(tmp_path: Path) -> None:
    rows = [{"tier": 1.0, "info": one} for one in BRACKETS]
    path = saved(tmp_path, {"BTC/USDT:USDT": rows, "BTC/USDT:USDT-241227": rows})
    document = read_answer(path, day_ms("2024-10-24"))
    assert list(document["tiers"]) == ["BTCUSDT"]
    assert document["tiers"]["BTCUSDT"][1]["deduction"] == "50"


@pytest.mark.parametrize("unit", [1, 100])
def test_a_risk_limit_in_fractions_and_in_percent_means_the_same(tmp_path: Path, unit: int) -> None:
    rows = [
        ("2000000", 0.005, 0.01, "100.00"),
        ("2600000", 0.0056, 0.0111, "90.00"),
        ("3200000", 0.0063, 0.0125, "80.00"),
    ]
    listed = [
        {
            "id": number,
            "symbol": "BTCUSDT",
            "riskLimitValue": cap,
            "maintenanceMargin": str(round(rate * unit, 6)),
            "initialMargin": str(round(initial * unit, 6)),
            "maxLeverage": leverage,
        }
        for number, (cap, rate, initial, leverage) in enumerate(rows, 1)
    ]
    answer = {"retCode": 0, "time": day_ms("2026-08-05"), "result": {"list": listed[::-1]}}
    tiers = read_answer(saved(tmp_path, answer))["tiers"]["BTCUSDT"]
    assert [tier["maintenance_rate"] for tier in tiers] == ["0.005", "0.0056", "0.0063"]
    assert [tier["deduction"] for tier in tiers] == ["0", "1200", "3020"]


def test_an_answer_without_a_date_asks_for_one(tmp_path: Path) -> None:
    path = saved(tmp_path, [{"symbol": "BTCUSDT", "brackets": BRACKETS}])
    with pytest.raises(DataRefused, match="does not say when it was recorded") as refused:
        read_answer(path)
    assert "--observed" in refused.value.next_step


@pytest.mark.parametrize("answer", [{}, [], {"retCode": 0, "result": {"list": []}}, [1], "text"])
def test_an_answer_about_something_else_is_refused(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(DataRefused, match="no answer about instruments"):
        read_answer(saved(tmp_path, answer), 0)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text("<html>")
    with pytest.raises(DataRefused, match="cannot be read as JSON"):
        read_answer(path)
    with pytest.raises(DataRefused, match="cannot be read as JSON"):
        read_answer(tmp_path / "none.json")


def test_a_field_that_is_missing_is_named(tmp_path: Path) -> None:
    broken = [{"symbol": "BTCUSDT", "brackets": [{"bracket": 1}]}]
    with pytest.raises(DataRefused, match="KeyError: 'notionalFloor'"):
        read_answer(saved(tmp_path, broken), 0)


def test_an_answer_about_inverse_contracts_is_refused(tmp_path: Path) -> None:
    inverse = {"symbol": "BTCUSD", "contractType": "InversePerpetual", "lotSizeFilter": {}}
    answer = {"retCode": 0, "time": 0, "result": {"list": [inverse]}}
    with pytest.raises(DataRefused, match="no linear perpetual"):
        read_answer(saved(tmp_path, answer))


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("name", "observed", "venue", "kind", "count"),
    [
        ("binance/rest/recorded/fapi_v1_exchangeInfo-1.json", "2025-08-07", "binance", "rules", 25),
        (
            "binance/rest/recorded/fapi_v1_exchangeInfo-20210721.json",
            "2021-07-21",
            "binance",
            "rules",
            # 122 symbols, less two delivery contracts and one that was not yet trading
            119,
        ),
        ("bybit/docs/market_instrument-1.json", "2025-01-02", "bybit", "rules", 1),
        (
            "bybit/examples/rest/ExchangeData-GetLinearInverseSymbols.json",
            "2024-02-06",
            "bybit",
            "rules",
            1,
        ),
        (
            "bybit/rest/recorded-legacy-v2/public_linear_risk-limit-1.json",
            "2023-08-16",
            "bybit",
            "tiers",
            1,
        ),
        ("bybit/docs/account_fee-rate-1.json", "2023-02-14", "bybit", "fees", 1),
    ],
)
def test_recorded_answers_are_read_with_their_own_date(
    shared_dir: Path, name: str, observed: str, venue: str, kind: str, count: int
) -> None:
    document = read_answer(shared_dir / "fixtures" / name)
    assert (document["venue"], document["observed"]) == (venue, observed)
    assert len(document[kind]) == count
    observation_of(document)


@pytest.mark.recorded
def test_the_recorded_brackets_of_every_symbol_are_read(shared_dir: Path) -> None:
    path = shared_dir / "fixtures" / "binance/rest/leverage-brackets-20241024.json"
    document = read_answer(path, day_ms("2024-10-24"))
    assert len(document["tiers"]) > 300
    observation_of(document)
