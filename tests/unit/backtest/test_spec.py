"""Specs: times, defaults, hashes and what they build."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT
from tests.unit.trading.builders import D

from perpdesk.backtest.spec import RunSpec, load_spec_values, parse_moment, read_spec
from perpdesk.domain.errors import UsageRefused
from perpdesk.simulation.slippage import FixedSlippage, NoSlippage, SquareRootImpact
from perpdesk.trading.sizing import FixedNotional, FixedQuantity, PercentRisk

LEAST = {"venue": "binance", "symbols": "BTCUSDT", "strategy": "smc", "timeframe": "1h"}
JANUARY_2 = 1_704_153_600_000


def spec(**fields: Any) -> RunSpec:
    return read_spec(LEAST | fields, origin="")


def problem(**fields: Any) -> str:
    with pytest.raises(UsageRefused) as caught:
        spec(**fields)
    return caught.value.message


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-02",
        " 2024-01-02 ",
        "2024-01-02T00:00Z",
        "2024-01-02T09:00+09:00",
        "2024-01-01 20:00:00-04:00",
        JANUARY_2,
        str(JANUARY_2),
        date(2024, 1, 2),
        datetime(2024, 1, 2, tzinfo=UTC),
    ],
)
def test_a_moment_may_be_written_in_many_ways(value: object) -> None:
    assert parse_moment(value) == JANUARY_2


@pytest.mark.parametrize("value", ["2024-01-02T00:00", "2024-01-02 08:00:00", datetime(2024, 1, 2)])
def test_a_time_of_day_without_a_zone_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        parse_moment(value)


@pytest.mark.parametrize("value", ["now", "2024-13-01", "20240102", "1704153600", True, 1.5, ""])
def test_what_is_no_moment_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"not a (date|time)|no time zone"):
        parse_moment(value)


def test_the_defaults_are_those_that_the_help_promises() -> None:
    least = spec()
    assert (least.min_risk_reward, least.leverage) == (D(3), D(1))
    assert least.initial_capital == 10_000
    assert least.sizing.build() == PercentRisk(D(1))
    assert least.slippage.build() == FixedSlippage(D(2))
    assert (least.max_volume_share, least.allow_gaps) == (D("0.25"), False)


def test_every_way_to_size_and_to_slip_can_be_asked_for() -> None:
    assert spec(sizing={"rule": "notional", "value": 5}).sizing.build() == FixedNotional(D(5))
    assert spec(sizing={"rule": "quantity", "value": 5}).sizing.build() == FixedQuantity(D(5))
    assert spec(slippage={"model": "none"}).slippage.build() == NoSlippage()
    assert spec(slippage={"bps": 0}).slippage.build() == NoSlippage()
    impact = {"model": "impact", "half_spread_bps": 3, "impact_bps": 4}
    assert spec(slippage=impact).slippage.build() == SquareRootImpact(D(3), D(4))


def test_the_hash_tells_specs_apart_by_what_decides_their_numbers() -> None:
    assert spec().content_hash() == spec().content_hash()
    others: list[dict[str, Any]] = [
        {"leverage": 2},
        {"params": {"a": 1}},
        {"seed": 1},
        {"fees": {"vip_tier": "VIP1"}},
    ]
    hashes = {spec(**other).content_hash() for other in others} | {spec().content_hash()}
    assert len(hashes) == 5


def test_equal_numbers_written_otherwise_have_equal_meaning() -> None:
    assert spec(leverage="5").leverage == spec(leverage=5).leverage
    assert spec(timeframe="60m").timeframe == "1h"
    assert spec(execution_timeframe="60m").content_hash() == (
        spec(execution_timeframe="1h").content_hash()
    )


def test_a_spec_survives_its_own_json() -> None:
    whole = spec(start="2024-01-02", windows={"test": {"end": "2024-01-03"}}, params={"a": 1.5})
    assert RunSpec.model_validate_json(whole.model_dump_json()) == whole


def test_every_wrong_field_is_named_at_once() -> None:
    text = problem(leverage=0, initial_capital="nan", fees={"commission": 1})
    for words in ("leverage 0 is refused", "initial_capital nan", "fees.commission 1 is refused"):
        assert words in text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"symbols": []}, "symbols"),
        ({"symbols": ["A", "A"]}, "a symbol is named twice"),
        ({"window": "x", "windows": {"y": {}}}, "no window 'x'; the spec has y"),
        ({"start": "2024-01-02", "end": "2024-01-02"}, "is not before the end"),
        (
            {"windows": {"w": {"start": "2024-01-03", "end": "2024-01-02"}}, "window": "w"},
            "the start 2024-01-03T00:00Z is not before the end 2024-01-02T00:00Z",
        ),
        ({"sizing": {"rule": "risk_pct", "value": 101}}, "cannot exceed 100"),
        ({"timeframe": "1y"}, "'1y' is not a timeframe"),
        ({"strategi": "x"}, "no field strategi; did you mean strategy?"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], expected: str) -> None:
    assert expected in problem(**fields)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageRefused, match="strategy is missing; timeframe is missing"):
        read_spec({"venue": "binance", "symbols": "A"}, origin="")


def test_yaml_dates_times_and_lists_are_read_as_they_look(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "venue: bybit\nsymbols: [A, B]\nstrategy: smc\ntimeframe: 1h\nstart: 2024-01-02\n"
        "end: 2024-01-03T00:00:00Z\nleverage: 2.5\n"
    )
    read = read_spec(load_spec_values(path), origin=str(path))
    assert read.symbols == ("A", "B")
    assert read.range_ms == (JANUARY_2, JANUARY_2 + 86_400_000)
    assert read.leverage == D("2.5")


def test_an_impossible_date_stays_text_so_that_its_field_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("windows: {late: {end: 2023-02-30}}\nstart: 2023-13-01\n")
    with pytest.raises(UsageRefused) as caught:
        read_spec(LEAST | load_spec_values(path), origin=str(path))
    text = caught.value.message
    assert str(path) in text
    assert "start: '2023-13-01' is not a date" in text
    assert "windows.late.end: '2023-02-30' is not a date" in text


def test_one_symbol_may_be_called_by_its_singular(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("symbol: BTCUSDT\n")
    assert load_spec_values(path) == {"symbols": "BTCUSDT"}
    path.write_text("symbol: BTCUSDT\nsymbols: [ETHUSDT]\n")
    with pytest.raises(UsageRefused, match="no field symbol; did you mean symbols"):
        read_spec({**LEAST, **load_spec_values(path)}, origin="")


def test_the_documented_spec_is_valid_and_names_every_field() -> None:
    page = (ROOT / "docs/runs.md").read_text()
    text = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    values = yaml.safe_load(text)
    read = read_spec(values, origin="docs/runs.md")
    assert set(values) == set(RunSpec.model_fields)
    assert read.range_ms[1] == parse_moment("2023-09-01")
