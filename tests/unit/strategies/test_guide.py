"""The strategy author's guide runs as it is printed."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from perpdesk.strategies.builtin.bollinger_reversion import BollingerReversion
from perpdesk.strategies.builtin.donchian_breakout import DonchianBreakout
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.builtin.rsi_momentum import RsiMomentum
from perpdesk.strategies.builtin.smc import SmartMoneyConcepts
from perpdesk.strategies.contract import run_contract

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "strategies.md"


@pytest.fixture
def guide(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names that the guide's Python blocks define, run in their order."""
    module = ModuleType("the_guide")
    monkeypatch.setitem(sys.modules, "the_guide", module)
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), flags=re.M | re.S)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), module.__dict__)
    return module.__dict__


@pytest.mark.parametrize("name", ["Highs", "Crossover"])
def test_the_strategies_of_the_guide_keep_the_contract(guide: dict[str, Any], name: str) -> None:
    cls = guide[name]
    faults = [result for result in run_contract(cls, cls.Params()) if result.fault is not None]
    assert faults == []


def test_the_contract_of_the_guide_is_one_that_pytest_would_collect(guide: dict[str, Any]) -> None:
    suite = guide["TestHighs"]()
    names = [name for name in dir(suite) if name.startswith("test_")]
    assert len(names) == 8
    for name in names:
        getattr(suite, name)()


@pytest.mark.parametrize(
    "cls", [EmaTrend, RsiMomentum, BollingerReversion, DonchianBreakout, SmartMoneyConcepts]
)
def test_the_guide_names_every_parameter_of_a_built_in_with_its_default(cls: Any) -> None:
    text = GUIDE.read_text()
    rules = re.sub(r"\s+", " ", text[text.index("## The built-ins") :])
    for name, field in cls.Params.model_fields.items():
        if name == "atr_period":  # the guide says "ATR"
            continue
        default = {True: "on", False: "off"}.get(field.default, f"{field.default:g}")
        if name in ("reward_risk", "rsi_period", "trend_period"):
            assert re.search(rf"`{name}` \(?(default )?{default}", rules), name
        else:
            assert f"`{name}` ({default})" in rules, name
