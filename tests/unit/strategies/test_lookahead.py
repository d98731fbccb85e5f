from pathlib import Path

import pytest
from tests.unit.strategies import leaks
from tests.unit.strategies.drawing import context_of, recorded, wandering

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import StrategyFailed
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, SignalStrategy
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.lookahead import LookaheadVerdict, check_strategy
from perpdesk.strategies.replay import bar_signals


def verdict_of(
    cls: type[SignalStrategy], candles: Candles, *, seed: int = 1, known: bool = False
) -> LookaheadVerdict:
    params = cls.Params()
    context = context_of(candles)
    ran = None
    if known and issubclass(cls, ArrayStrategy):
        ran = cls.signals(candles, params)
    return check_strategy(cls, params, candles, context, seed=seed, known=ran)


def failing(verdict: LookaheadVerdict) -> set[str]:
    return {check.name for check in verdict.checks if check.failure is not None}


LEAKS = [
    leaks.FutureShift,
    leaks.FutureFilter,
    leaks.FutureStop,
    leaks.UnclosedHigher,
    leaks.WholeSeriesNormalized,
    leaks.CentredWindow,
    leaks.NegativeIndex,
    leaks.OneInAHundred,
    leaks.PeeksAhead,
    leaks.PeeksAtColumns,
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cls", LEAKS, ids=lambda cls: cls.name)
def test_a_planted_leak_is_falsified_by_name(cls: type[SignalStrategy], seed: int) -> None:
    verdict = verdict_of(cls, wandering(3000, seed=seed), seed=seed)
    assert failing(verdict) & {"truncation", "mutation"}
    assert not verdict.passed
    assert f"strategy {cls.name}@1, bar 2023-" in verdict.text


OF_COLUMNS = [cls for cls in LEAKS if issubclass(cls, ArrayStrategy)]
CASES = [(cls, rows) for cls in OF_COLUMNS for rows in (80, 400, 60_000)]
CASES.remove((leaks.OneInAHundred, 80))  # none of its bars may lie in eighty


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("cls", "rows"), CASES, ids=str)
def test_a_leak_is_falsified_on_short_and_on_long_data(
    cls: type[SignalStrategy], rows: int, known: bool
) -> None:
    assert not verdict_of(cls, wandering(rows, seed=3), known=known).passed


@pytest.mark.parametrize("seed", range(30))
def test_a_leak_on_one_bar_in_a_hundred_is_found_whatever_the_seed(seed: int) -> None:
    verdict = verdict_of(leaks.OneInAHundred, wandering(20_000, seed=5), seed=seed, known=True)
    assert not verdict.passed


def test_a_failure_names_strategy_bar_and_field() -> None:
    verdict = verdict_of(leaks.FutureStop, wandering(3000))
    failure = next(check.failure for check in verdict.checks if check.failure is not None)
    assert failure.strategy == "future_stop@1"
    assert failure.field == "stop_loss"
    assert failure.bar_open_ms % 3_600_000 == 0
    assert str(failure.bar_open_ms) in failure.bar_open
    assert "became" in failure.detail
    assert "later bars" in failure.detail


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "cls", [leaks.Honest, leaks.EnoughMemory, leaks.BarByBar], ids=lambda cls: cls.name
)
@pytest.mark.parametrize("rows", [30, 300, 3000])
def test_an_honest_strategy_is_not_falsified(
    cls: type[SignalStrategy], rows: int, seed: int
) -> None:
    verdict = verdict_of(cls, wandering(rows, seed=seed), seed=seed)
    assert verdict.passed, verdict.text
    assert verdict.text.startswith("not falsified")


def test_what_was_signaled_by_a_run_bar_by_bar_may_be_handed_over() -> None:
    candles = wandering(2000)
    params, context = leaks.BarByBar.Params(), context_of(candles)
    ran = [signal for _, signal in bar_signals(leaks.BarByBar, params, context, candles)]
    verdict = check_strategy(leaks.BarByBar, params, candles, context, seed=1, known=ran)
    assert verdict.passed, verdict.text
    wrong = check_strategy(leaks.BarByBar, params, candles, context, seed=1, known=ran[::2])
    assert failing(wrong) == {"recursion"}


def test_a_warmup_that_is_too_short_fails_the_recursion_check_with_words() -> None:
    verdict = verdict_of(leaks.ShortMemory, wandering(3000))
    assert failing(verdict) == {"recursion"}
    assert "declare more in memory_candles" in verdict.text
    assert "more than 25 candles back" in verdict.text


def test_a_strategy_that_changes_its_mind_fails_the_determinism_check() -> None:
    assert "determinism" in failing(verdict_of(leaks.Fickle, wandering(2000)))


def test_a_strategy_that_writes_into_the_candles_is_found() -> None:
    verdict = verdict_of(leaks.Scribbler, wandering(2000))
    assert "determinism" in failing(verdict)
    assert "candles.volume" in verdict.text
    assert "wrote into the candles" in verdict.text


def test_raising_once_the_future_is_missing_is_a_leak_too() -> None:
    candles = wandering(2000)
    leaks.END_MS = int(candles.ts_ms[-1])
    verdict = verdict_of(leaks.RaisesWithoutFuture, candles)
    assert "truncation" in failing(verdict)
    assert "it raised once later bars are missing" in verdict.text
    assert "IndexError" in verdict.text


def test_a_strategy_that_raises_anyway_is_a_failed_strategy_not_a_verdict() -> None:
    class Broken(leaks.Honest):
        name = "broken"

        @classmethod
        def view(cls, candles: Candles) -> object:  # type: ignore[override]
            return candles.nonsense  # type: ignore[attr-defined]

    with pytest.raises(StrategyFailed, match=r"strategy broken@1 raised AttributeError in .*line"):
        verdict_of(Broken, wandering(300))


def test_silence_passes_and_says_that_nothing_was_compared() -> None:
    verdict = verdict_of(leaks.Honest, wandering(10))
    assert verdict.passed
    assert verdict_of(leaks.Honest, wandering(10)[:0]).text == verdict.text
    assert verdict.text == "not falsified, for it gave no signal to compare"


def test_the_same_seed_gives_the_same_verdict() -> None:
    candles = wandering(3000)
    assert verdict_of(leaks.Honest, candles, seed=9) == verdict_of(leaks.Honest, candles, seed=9)


def test_the_candles_are_left_as_they_were() -> None:
    candles = wandering(2000)
    before = candles.close.copy(), candles.volume.copy()
    verdict_of(leaks.Honest, candles)
    assert (candles.close == before[0]).all()
    assert (candles.volume == before[1]).all()


@pytest.mark.recorded
@pytest.mark.parametrize("stop_atr", [0.0, 2.0])
def test_a_million_minutes_are_judged_by_computing_a_third_of_them(
    shared_dir: Path, stop_atr: float
) -> None:
    computed: list[int] = []

    class Counted(EmaTrend):
        @classmethod
        def signals(cls, candles: Candles, params: EmaTrend.Params) -> SignalArrays:
            computed.append(len(candles))
            return super().signals(candles, params)

    minutes = recorded(shared_dir, "binance-spot", "BTCUSDT", "1m")
    params = EmaTrend.Params(fast=9, slow=21, stop_atr=stop_atr)
    known = EmaTrend.signals(minutes, params)
    verdict = check_strategy(Counted, params, minutes, context_of(minutes), seed=1, known=known)
    assert verdict.text == "not falsified"
    assert sum(computed) < len(minutes) / 3
    assert len(computed) < 300  # each call costs some 0.1 ms, however few its rows
