"""Published worked examples, read from the case file; every expected value with its tolerance."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perpdesk.reports import drawdown as dd
from perpdesk.reports import statistics as st

CASES_PATH = Path(
    os.environ.get("VALIDATION_CASES")
    or Path(__file__).parents[2] / "../shared/reference/validation-cases.json"
)

Case = dict[str, Any]
Computed = dict[str, float | None]


def _load() -> dict[str, Any]:
    if not CASES_PATH.is_file():
        return {"series": {}, "cases": []}
    loaded: dict[str, Any] = json.loads(CASES_PATH.read_text(encoding="utf-8"))
    return loaded


DOCUMENT = _load()


def _number(text: str | float) -> float:
    """Read 0.4, "0.035/12" or "2/sqrt(12)" as the case file writes them."""
    if not isinstance(text, str):
        return float(text)
    above, _, below = text.partition("/")
    below = below or "1"
    if below.startswith("sqrt("):
        return float(above) / math.sqrt(float(below[5:-1]))
    return float(above) / float(below)


def _returns(inputs: Case) -> st.Returns:
    return np.array(DOCUMENT["series"][inputs["series"]], dtype=np.float64)


def _years(returns: st.Returns, inputs: Case) -> float:
    return len(returns) / float(inputs["periods_per_year"])


def _annual(returns: st.Returns, inputs: Case) -> float:
    annual = st.annual_return(st.growth_of(returns), years=_years(returns, inputs))
    assert annual is not None
    return annual


def _drawdown_measures(inputs: Case) -> Computed:
    returns = _returns(inputs)
    depths = dd.drawdown_depths(dd.wealth_of(returns), start=1.0)
    ulcer = dd.ulcer_index(depths)
    assert ulcer is not None
    minimum = float(inputs["mar_for_downside"])
    return {
        "downside_deviation": st.downside_deviation(returns, minimum=minimum),
        "downside_potential": st.downside_potential(returns, minimum=minimum),
        "pain_index": dd.pain_index(depths),
        "martin_ratio": _annual(returns, inputs) / ulcer,
    }


def _performance(inputs: Case) -> Computed:
    returns = _returns(inputs)
    fall = dd.max_drawdown(dd.wealth_of(returns), start=1.0)
    assert fall is not None
    kelly = st.kelly_of_returns(
        returns, risk_free=_number(inputs["risk_free_per_period_for_kelly"])
    )
    assert kelly is not None
    risk_free = _number(inputs["risk_free_per_period_for_sharpe"])
    return {
        "sharpe_per_period": st.sharpe_ratio(returns, risk_free=risk_free, periods_per_year=1),
        "sortino_per_period_mar0": st.sortino_ratio(returns, periods_per_year=1),
        "annual_return_geometric": _annual(returns, inputs),
        "annual_return_arithmetic": float(np.mean(returns)) * inputs["periods_per_year"],
        "max_drawdown": fall.depth,
        "calmar": _annual(returns, inputs) / fall.depth,
        "downside_deviation_mar0": st.downside_deviation(returns),
        "half_kelly": kelly / 2,
    }


def _tail_risk(inputs: Case) -> Computed:
    returns, p = _returns(inputs), float(inputs["p"])
    cornish_fisher, fell_back = st.var_cornish_fisher(returns, confidence=p)
    assert not fell_back
    return {
        "var_gaussian": st.var_gaussian(returns, confidence=p),
        "var_cornish_fisher": cornish_fisher,
        "var_historical": st.var_historical(returns, confidence=p),
        "es_gaussian": st.es_gaussian(returns, confidence=p),
        "es_historical": st.es_historical(returns, confidence=p),
    }


def _psr_2012(inputs: Case, *, months_per_year: int = 12) -> Computed:
    sharpe, benchmark = _number(inputs["sr"]), _number(inputs["benchmark"])
    form = {"skewness": inputs["skew"], "kurtosis": inputs.get("kurt", inputs.get("kurt_used"))}
    track = st.min_track_record_2012(
        sharpe, benchmark=benchmark, confidence=inputs.get("confidence", 0.95), **form
    )
    return {
        "psr": st.psr_2012(sharpe, n=inputs["n"], benchmark=benchmark, **form),
        "sr_standard_error": st.sharpe_standard_error(sharpe, periods=inputs["n"] - 1, **form),
        "min_track_record_periods": track,
        "min_track_record_years": None if track is None else track / months_per_year,
    }


def _psr_2025(inputs: Case) -> Computed:
    sharpe, benchmark, n = _number(inputs["sr"]), _number(inputs["benchmark"]), inputs["n"]
    form = {"skewness": inputs["skew"], "kurtosis": inputs["kurt"]}
    confidence = 1 - inputs["alpha"]
    return {
        "se_at_observed_sr": st.sharpe_standard_error(sharpe, periods=n, **form),
        "se_gaussian": st.sharpe_standard_error(sharpe, periods=n, skewness=0.0, kurtosis=3.0),
        "psr": st.psr_2025(sharpe, n=n, benchmark=benchmark, **form),
        "min_track_record_periods": st.min_track_record_2025(
            sharpe, benchmark=benchmark, confidence=confidence, **form
        ),
    }


def _kelly(inputs: Case) -> Computed:
    return {
        "fraction": st.kelly_of_bet(
            win_probability=inputs["win_probability"], net_odds=inputs["net_odds"]
        )
    }


COMPUTE: dict[str, Callable[[Case], Computed]] = {
    "drawdown and downside measures": _drawdown_measures,
    "Sharpe, Sortino, annual return, drawdown, Calmar, Kelly": _performance,
    "VaR and expected shortfall, three methods": _tail_risk,
    "probabilistic Sharpe ratio and minimum track record": _psr_2012,
    "probabilistic Sharpe ratio, kurtosis term switched off": _psr_2012,
    "probabilistic Sharpe ratio, variance taken under the null": _psr_2025,
    "Kelly fraction": _kelly,
}
"""By topic, so that a file of further cases runs through the same code."""

TOLERANCE_OF = {
    "psr": "psr_abs",
    "sr_standard_error": "se_abs",
    "min_track_record_years": "years_abs",
}


def _expectations() -> list[Any]:
    """List (case id, inputs, name, expected, tolerance); cases of other subjects are left out."""
    found = []
    for case in DOCUMENT["cases"]:
        if case["topic"] not in COMPUTE:
            continue
        many = isinstance(case["inputs"], list)
        inputs = case["inputs"] if many else [case["inputs"]]
        expected = case["expected"] if many else [case["expected"]]
        for row, (given, values) in enumerate(zip(inputs, expected, strict=True)):
            for name, value in values.items():
                tolerance = case["tolerance"]
                allowed = tolerance.get("abs", tolerance.get(TOLERANCE_OF.get(name, "")))
                label = f"{case['id']}-{row}-{name}"
                found.append(pytest.param(case["topic"], given, name, value, allowed, id=label))
    return found


EXPECTATIONS = _expectations()


@pytest.mark.skipif(not EXPECTATIONS, reason=f"no case file at {CASES_PATH}")
@pytest.mark.parametrize(("topic", "inputs", "name", "expected", "tolerance"), EXPECTATIONS)
def test_a_published_value_is_reproduced_within_its_tolerance(
    topic: str, inputs: Case, name: str, expected: float, tolerance: float
) -> None:
    assert COMPUTE[topic](inputs)[name] == pytest.approx(expected, abs=tolerance, rel=0)


@pytest.mark.skipif("VALIDATION_CASES" in os.environ, reason="another case file was named")
@pytest.mark.skipif(not EXPECTATIONS, reason=f"no case file at {CASES_PATH}")
def test_the_file_has_a_case_for_every_topic_of_this_room() -> None:
    assert {case["topic"] for case in DOCUMENT["cases"]} >= set(COMPUTE)
