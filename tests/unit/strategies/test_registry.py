import os
import sys
from enum import StrEnum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, field_validator
from tests.unit.strategies.drawing import context_of, wandering

from perpdesk.domain.errors import StrategyFailed, UsageRefused
from perpdesk.strategies.base import SignalStrategy, StrategyParams
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.registry import (
    StrategyInfo,
    StrategyRegistry,
    params_schema,
    parse_params,
    source_hash,
)
from perpdesk.strategies.replay import bar_signals, signals_of


class Style(StrEnum):
    CALM = "calm"
    WILD = "wild"


GOOD = '''
from perpdesk.strategies.base import ArrayStrategy, SignalArrays
import numpy as np

class Quiet(ArrayStrategy):
    """Never signal anything.

    Not even here.
    """
    name = "quiet"

    @classmethod
    def signals(cls, candles, params):
        return SignalArrays(side=np.zeros(len(candles), np.int8))
'''


def loaded(folder: Path, *points: EntryPoint, **files: str) -> StrategyRegistry:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return StrategyRegistry.load(folder, points=points)


def only(registry: StrategyRegistry) -> StrategyInfo:
    (info,) = registry.infos()
    return info


def refusal(registry: StrategyRegistry, reference: str) -> UsageRefused:
    with pytest.raises(UsageRefused) as caught:
        registry.get(reference)
    return caught.value


def test_the_five_built_in_strategies_are_listed_without_errors() -> None:
    infos = [info for info in StrategyRegistry.load(None).infos() if info.origin == "built-in"]
    assert {info.key: info.error for info in infos} == {
        "bollinger_reversion@1": None,
        "donchian_breakout@1": None,
        "ema_trend@1": None,
        "rsi_momentum@1": None,
        "smc@1": None,
    }
    assert all(info.description.endswith(".") for info in infos)


def test_a_strategy_is_found_by_name_and_by_key() -> None:
    registry = StrategyRegistry.load(None)
    assert registry.get("ema_trend") is EmaTrend
    assert registry.get("ema_trend@1") is EmaTrend


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    error = refusal(StrategyRegistry.load(None), "ema_tend")
    assert "there is no strategy 'ema_tend'" in error.message
    assert "Did you mean ema_trend?" in error.next_step


def test_an_unknown_version_is_refused_with_those_there_are() -> None:
    error = refusal(StrategyRegistry.load(None), "ema_trend@7")
    assert error.message == "strategy ema_trend has no version 7; there is ema_trend@1"


def test_a_users_file_is_registered_from_its_folder(tmp_path: Path) -> None:
    registry = loaded(tmp_path, mine=GOOD)
    assert only(registry) == StrategyInfo(
        name="quiet",
        version="1",
        key="quiet@1",
        origin=str(tmp_path / "mine.py"),
        description="Never signal anything.",
    )
    assert registry.get("quiet").name == "quiet"


def test_no_cache_is_written_into_the_users_folder(tmp_path: Path) -> None:
    loaded(tmp_path, mine=GOOD)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_files_that_begin_with_an_underscore_are_left_alone(tmp_path: Path) -> None:
    assert loaded(tmp_path, _draft="raise SystemExit").infos() == ()


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert StrategyRegistry.load(tmp_path / "absent", points=()).infos() == ()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageRefused, match=r"STRATEGIES_DIR .* is not a folder"):
        StrategyRegistry.load(tmp_path / "file", points=())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import math\n\nraise OSError('no net')", "line 3: OSError: no net"),
        ("import nonsense_of_mine", "line 1: ModuleNotFoundError: No module named"),
        ("def f(:\n", "line 1: SyntaxError: "),
        ("import sys\nsys.exit('bye')", "line 2: SystemExit: bye"),
        ("x = 1", "holds no strategy"),
        ("\0", "ource code"),
    ],
)
def test_a_plugin_that_fails_to_import_is_listed_with_its_error(
    tmp_path: Path, text: str, expected: str
) -> None:
    registry = loaded(tmp_path, broken=text, good=GOOD)
    broken, good = registry.infos()
    assert broken.name == "broken"
    assert broken.error is not None
    assert str(tmp_path / "broken.py") in broken.error
    assert expected in broken.error
    assert good.error is None
    assert expected in refusal(registry, "broken").message


def test_a_module_that_failed_half_way_does_not_stay(tmp_path: Path) -> None:
    loaded(tmp_path, half="import math\nraise OSError")
    assert not [name for name in sys.modules if name.startswith("perpdesk_strategy_half")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('name = "Has Spaces"', "name 'Has Spaces' is not 1 to 40 of a-z, 0-9 and _"),
        ('name = "../etc"', "name '../etc' is not"),
        ("name = 7", "name 7 is not"),
        ('name = "n"; version = ""', "version '' of n is not"),
        ('name = "n"; api_version = 2', "written for API version 2, this desk has 1"),
        ('name = "n"; Params = dict', "Params of n is not a subclass of StrategyParams"),
        ('name = "n"; timeframes = ("7m",)', "timeframes of n: timeframe 7m does not divide"),
    ],
)
def test_a_class_that_cannot_serve_is_listed_with_words(
    tmp_path: Path, line: str, expected: str
) -> None:
    info = only(loaded(tmp_path, mine=GOOD.replace('name = "quiet"', line)))
    assert info.error is not None
    assert expected in info.error


def test_a_class_without_its_function_is_refused(tmp_path: Path) -> None:
    text = "from perpdesk.strategies.base import {0}\n\nclass A({0}):\n    name = 'a'\n"
    for base, missing in (("ArrayStrategy", "signals"), ("SignalStrategy", "generate_signal")):
        info = only(loaded(tmp_path, mine=text.format(base)))
        assert info.error == f"a does not implement {missing}()"


def test_a_second_strategy_of_the_same_key_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    registry = loaded(tmp_path, a=GOOD, b=GOOD)
    first, second = registry.infos()
    assert first.error is None
    assert second.error == (
        f"quiet@1 is taken by {tmp_path / 'a.py'}; give this one another name or version"
    )


def test_of_several_versions_the_latest_is_meant(tmp_path: Path) -> None:
    ten = GOOD.replace('name = "quiet"', 'name = "quiet"; version = "10"')
    two = GOOD.replace('name = "quiet"', 'name = "quiet"; version = "2"')
    registry = loaded(tmp_path, a=ten, b=two)
    assert registry.get("quiet").version == "10"
    assert registry.get("quiet@2").version == "2"
    assert "there is quiet@10, quiet@2" in refusal(registry, "quiet@3").message


def test_packages_of_others_come_in_through_the_entry_points(tmp_path: Path) -> None:
    group = "perpdesk.strategies"
    leak = EntryPoint("honest", "tests.unit.strategies.leaks:Honest", group)
    absent = EntryPoint("absent", "not_installed:X", group)
    wrong = EntryPoint("wrong", "pathlib:Path", group)
    registry = loaded(tmp_path, leak, absent, wrong)
    infos = {info.name: info for info in registry.infos()}
    assert infos["honest"].error is None
    assert "ModuleNotFoundError" in str(infos["absent"].error)
    assert infos["wrong"].error == "pathlib:Path is no SignalStrategy"


def test_reload_follows_the_folder_and_keeps_what_did_not_change(tmp_path: Path) -> None:
    other = GOOD.replace('name = "quiet"', 'name = "other"')
    registry = loaded(tmp_path, a=GOOD, b=other)
    kept, old = registry.get("quiet"), registry.get("other")
    assert not registry.changed()

    os.utime(tmp_path / "a.py", ns=(1, 1))
    assert not registry.changed()  # touched, but with the same content

    (tmp_path / "b.py").write_text(other + "# more")
    (tmp_path / "c.py").write_text(GOOD.replace('name = "quiet"', 'name = "third"'))
    assert registry.changed()
    registry.reload()
    assert not registry.changed()
    assert registry.get("quiet") is kept
    assert registry.get("other") is not old
    assert registry.get("third").name == "third"

    (tmp_path / "c.py").unlink()
    assert registry.changed()
    registry.reload()
    assert "no strategy 'third'" in refusal(registry, "third").message


def test_source_hash_follows_the_code_that_was_loaded_and_nothing_else(tmp_path: Path) -> None:
    first = source_hash(loaded(tmp_path, a=GOOD).get("quiet"))
    (tmp_path / "sub").mkdir()
    moved = loaded(tmp_path / "sub", b=GOOD)
    assert source_hash(moved.get("quiet")) == first

    (tmp_path / "sub" / "b.py").write_text(GOOD + "\n# changed after it was loaded")
    assert source_hash(moved.get("quiet")) == first
    moved.reload()
    assert source_hash(moved.get("quiet")) != first


def test_source_hash_of_a_built_in_covers_the_modules_it_is_made_of() -> None:
    from perpdesk.strategies import sources

    assert set(sources._sources(EmaTrend.__module__)) == {
        "perpdesk.strategies.builtin.ema_trend",
        "perpdesk.strategies.builtin.entries",
        "perpdesk.strategies.indicators",
    }
    assert len(source_hash(EmaTrend)) == 64


def test_parameters_are_read_from_text() -> None:
    params = parse_params(EmaTrend, {"fast": "9", "slow": "21", "stop_atr": "0"})
    assert params == EmaTrend.Params(fast=9, slow=21, stop_atr=0.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"fast": "0"}, "parameter fast=0 of ema_trend@1 is refused: it must be a whole number "),
        ({"fast": "1.5"}, "it must be a whole number from 1 to 500"),
        ({"stop_atr": "nan"}, "it must be a number from 0.0 to 20.0"),
        ({"fasst": "9"}, "ema_trend@1 has no parameter fasst; did you mean fast? (it has: fast, "),
        ({"fast": "60"}, "parameters of ema_trend@1: fast=60 must be below slow=55"),
        ({"fast": "x", "slow": "0"}, "fast=x"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_is_allowed(
    values: dict[str, str], expected: str
) -> None:
    with pytest.raises(UsageRefused) as caught:
        parse_params(EmaTrend, values)
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_every_wrong_parameter_is_named_at_once() -> None:
    with pytest.raises(UsageRefused, match=r"fast=x.*; .*slow=0"):
        parse_params(EmaTrend, {"fast": "x", "slow": "0"})


class _Kinds(EmaTrend):
    """Has one parameter of each kind."""

    class Params(StrategyParams):
        mode: Literal["fast", "slow"] = Field("fast", description="A choice.")
        style: Style = Field(Style.CALM, description="An enumeration.")
        share: float = Field(description="Between zero and one.", gt=0, lt=1)
        most: int = Field(3, description="At most nine.", le=9)
        even: int = Field(2, description="Even.")

        @field_validator("even")
        @classmethod
        def _is_even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("it must be even")
            return value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "parameter share of ema_trend@1 is missing; it must be a number above 0 below 1"),
        (
            {"share": "1"},
            "parameter share=1 of ema_trend@1 is refused: it must be a number above",
        ),
        (
            {"share": ".5", "mode": "x"},
            "mode=x of ema_trend@1 is refused: it must be one of fast,",
        ),
        ({"share": ".5", "style": "x"}, "it must be one of calm, wild"),
        ({"share": ".5", "most": "10"}, "it must be a whole number up to 9"),
        (
            {"share": ".5", "even": "3"},
            "even=3 of ema_trend@1 is refused: it must be even",
        ),
    ],
)
def test_every_kind_of_parameter_is_explained(values: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageRefused) as caught:
        parse_params(_Kinds, values)
    assert expected in caught.value.message


def test_the_schema_carries_ranges_descriptions_and_search_hints() -> None:
    fast = params_schema(EmaTrend)["properties"]["fast"]
    assert (fast["minimum"], fast["maximum"], fast["default"]) == (1, 500, 21)
    assert fast["search"] == {"low": 5, "high": 60, "step": 1}
    assert "candles" in fast["description"]


RAISES = '''
from perpdesk.strategies.base import SignalStrategy, StrategyParams

class Raises(SignalStrategy):
    """Raise where it is told to."""
    name = "raises"

    def __init__(self):
        {init}

    def generate_signal(self):
        if len(self.data) == 40:
            {bar}
'''


@pytest.mark.parametrize(
    ("init", "bar", "expected"),
    [
        ("1 / 0", "pass", r"ZeroDivisionError in .*mine\.py, line 9: division by zero"),
        (
            "pass",
            "{}['k']",
            r"KeyError in .*mine\.py, line 13 at the bar that opened "
            r"2023-01-02T15:00:00Z \(1672671600000\): 'k'",
        ),
        (
            "pass",
            "return self.enter(PositionSide.LONG, stop_loss=1e9)",
            r"NameError in .*mine\.py, line 13",
        ),
    ],
)
def test_a_plugin_that_raises_is_named_with_file_line_and_bar(
    tmp_path: Path, init: str, bar: str, expected: str
) -> None:
    cls: type[SignalStrategy] = loaded(
        tmp_path, mine=RAISES.replace("{init}", init).replace("{bar}", bar)
    ).get("raises")
    candles = wandering(60)
    with pytest.raises(StrategyFailed, match=expected):
        bar_signals(cls, cls.Params(), context_of(candles), candles)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("stop_loss=candles.close * 2", "stop_loss .* of a LONG signal is on the wrong side"),
        ("stop_loss=candles.close * 0 - 1", "stop_loss is -1.0, not a price"),
        ("take_profits=(candles.close / 2,)", "take_profit .* of a LONG signal is on the wrong"),
        ("entry=np.ones(60, np.int8), entry_price=candles.close / 0", "entry_price is inf"),
        ("confidence=candles.close", "confidence .* is not within 0..1"),
        ("stop_loss=candles.close[1:]", r"returned stop_loss of shape \(59,\) for 60 candles"),
        ("exit_side=[0] * 60", "returned exit_side as list, not as a NumPy column"),
        ("exit_side=np.zeros(60)", "returned exit_side as float64, not as whole numbers"),
        ("take_profits=(candles.close,) * 2", "more take_profits than take_profit_fractions"),
        ("entry=np.full(60, 9, np.int8)", "IndexError .* at the bar that opened 2023-01-01T00:00"),
    ],
)
def test_columns_that_contradict_themselves_are_named_with_bar_and_field(
    tmp_path: Path, column: str, expected: str
) -> None:
    text = GOOD.replace(
        "side=np.zeros(len(candles), np.int8)", f"side=np.ones(60, np.int8), {column}"
    ).replace("return", "with np.errstate(all='ignore'): return")
    cls = loaded(tmp_path, mine=text).get("quiet")
    candles = wandering(60)
    with pytest.raises(StrategyFailed, match=expected):
        signals_of(cls, cls.Params(), context_of(candles), candles)
