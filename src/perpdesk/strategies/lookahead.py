"""The automatic check that a strategy does not look ahead, cheap enough for every run.

Four ways to contradict it, each on bars where it signals (and their neighbors) and on random ones:

* determinism: the same candles twice give the same signals, and the candles stay untouched;
* truncation: cutting the data off behind a bar changes no signal up to that bar;
* mutation: changing what came after a bar changes no signal up to that bar;
* recursion: leaving out what lies further back than `memory_candles` changes no signal.

The first three compare bit for bit; recursion allows prices to differ by one part in a million,
because recursive averages forget only gradually. A strategy that passes is "not falsified": the
check samples bars, and a leak on bars that it never sampled stays unseen.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.signal import Signal
from perpdesk.strategies.base import (
    ArrayStrategy,
    SignalArrays,
    SignalStrategy,
    StrategyContext,
    StrategyParams,
)
from perpdesk.strategies.observation import Difference
from perpdesk.strategies.replay import replay_of
from perpdesk.strategies.sampling import Trial, Window, scan_of, windows_of
from perpdesk.strategies.verdict import CheckResult, LookaheadFailure, LookaheadVerdict

__all__ = ["CheckResult", "LookaheadFailure", "LookaheadVerdict", "check_strategy"]

ARRAY_BUDGET_ROWS: Final = 400_000
BAR_BUDGET_ROWS: Final = 12_000
"""Rows computed in all. Backtrader takes some hundred times longer for one than a column does."""

RECURSION_TOLERANCE: Final = 1e-6


def check_strategy(
    cls: type[SignalStrategy],
    params: StrategyParams,
    candles: Candles,
    context: StrategyContext,
    *,
    seed: int,
    budget_rows: int | None = None,
    known: SignalArrays | Sequence[Signal] | None = None,
) -> LookaheadVerdict:
    """Try to falsify the strategy on a sample of bars; the same seed gives the same sample.

    budget_rows: about how many candle rows may be computed; None for a default by kind.
    known: what a run over exactly these candles signaled, if there was one: the columns of an
    ArrayStrategy, the signals of another. It tells where to look and is itself compared.
    Raises StrategyFailed where the strategy raises on untouched candles.
    """
    if not len(candles):
        return LookaheadVerdict.of([])
    arrays = issubclass(cls, ArrayStrategy)
    budget = budget_rows or (ARRAY_BUDGET_ROWS if arrays else BAR_BUDGET_ROWS)
    trial = Trial(
        key=cls.key(),
        replay=replay_of(cls, params, context),
        candles=candles,
        history=max(1, cls.memory_candles(params), cls.warmup_candles(params)),
        # Whoever rounds to ticks may land one tick away from a price that is a hair different.
        tolerance=(RECURSION_TOLERANCE, 0.0 if arrays else float(context.tick_size)),
        draw=np.random.Generator(np.random.PCG64(seed)),
    )
    scan = scan_of(trial, known, budget // 4, withheld=max(0, cls.warmup_candles(params) - 1))
    windows = list(windows_of(trial, scan, budget - budget // 4))
    return LookaheadVerdict.of(
        [
            _determinism(trial, windows),
            _future(trial, windows, "truncation"),
            _future(trial, windows, "mutation"),
            _recursion(trial, scan, windows),
        ]
    )


def _determinism(trial: Trial, windows: Sequence[Window]) -> CheckResult:
    """Run one window twice on the same candles; neither signals nor candles may change."""
    window = max(windows, key=lambda w: 0 if w.seen is None else len(w.seen.rows))
    if window.seen is None:
        return CheckResult(name="determinism", bars=0, signals=0)
    candles = trial.candles[window.start : window.end]
    before = {name: column.copy() for name, column in candles.columns()}
    again = trial.replay(candles).moved(window.start)
    failure = None
    difference = window.seen.difference(again)
    if difference is not None:
        failure = trial.failure(difference, "when the same candles were given again")
    for name, column in candles.columns():
        changed = np.flatnonzero(column != before[name])
        if len(changed) and failure is None:
            row = int(changed[0])
            written = Difference(
                row=window.start + row,
                field=f"candles.{name}",
                expected=repr(float(before[name][row])),
                got=repr(float(column[row])),
            )
            failure = trial.failure(written, "because the strategy wrote into the candles")
    return CheckResult(name="determinism", bars=1, signals=len(window.seen.rows), failure=failure)


def _future(trial: Trial, windows: Sequence[Window], name: str) -> CheckResult:
    """Cut off or change what follows a bar; what was signaled up to it may not change."""
    change = "once later bars are missing" if name == "truncation" else "once later bars differ"
    bars = signals = 0
    for window in windows:
        for cut in window.cuts:
            assert window.seen is not None
            expected = window.seen.within(window.start, cut)
            bars, signals = bars + 1, signals + len(expected.rows)
            try:
                if name == "truncation":
                    got = trial.observe(window.start, cut + 1)
                else:
                    changed = _mutated(trial, window.start, cut, window.end)
                    got = trial.replay(changed).moved(window.start).within(window.start, cut)
            except StrategyFailed as error:
                failure = trial.raised(cut, error, change)
                return CheckResult(name=name, bars=bars, signals=signals, failure=failure)
            difference = expected.difference(got)
            if difference is not None:
                failure = trial.failure(difference, f"{change} (kept up to row {cut})")
                return CheckResult(name=name, bars=bars, signals=signals, failure=failure)
    return CheckResult(name=name, bars=bars, signals=signals)


def _mutated(trial: Trial, start: int, cut: int, end: int) -> Candles:
    """Return rows start..end-1 with everything after `cut` halved or doubled, and shaken."""
    candles = trial.candles[start:end]
    factor = np.ones(len(candles))
    future = len(candles) - (cut - start + 1)
    level = 0.5 if trial.draw.integers(2) else 2.0
    factor[-future:] = level * np.exp(0.03 * trial.draw.standard_normal(future))
    return replace(
        candles,
        open=candles.open * factor,
        high=candles.high * factor,
        low=candles.low * factor,
        close=candles.close * factor,
        volume=candles.volume * factor,
    )


def _recursion(trial: Trial, scan: Window, windows: Sequence[Window]) -> CheckResult:
    """Compare windows with the same bars seen after a longer history."""
    bars = signals = 0
    relative, absolute = trial.tolerance
    detail = f"without what lies more than {trial.history} candles back; declare more in "
    detail += "memory_candles (or warmup_candles)"
    for window in windows:
        if window.error is not None:
            failure = trial.raised(window.end - 1, window.error, detail)
            return CheckResult(name="recursion", bars=bars, signals=signals, failure=failure)
        if window.seen is None or window.start == 0:
            continue
        inside = scan.start < window.start and window.end <= scan.end
        longer = scan.seen if inside else None
        if longer is None:
            longer = trial.observe(max(0, window.start - trial.history), window.end)
        expected = longer.within(window.anchor, window.end - 1)
        got = window.seen.within(window.anchor, window.end - 1)
        bars, signals = bars + window.end - window.anchor, signals + len(expected.rows)
        difference = expected.difference(got, relative=relative, absolute=absolute)
        if difference is not None:
            failure = trial.failure(difference, detail)
            return CheckResult(name="recursion", bars=bars, signals=signals, failure=failure)
    return CheckResult(name="recursion", bars=bars, signals=signals)
