"""Where the look-ahead check looks: stretches of candles, and the bars at which to cut them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.signal import Signal
from perpdesk.strategies.base import SignalArrays
from perpdesk.strategies.failures import iso
from perpdesk.strategies.observation import Difference, Observation, rows_of
from perpdesk.strategies.replay import Replay
from perpdesk.strategies.verdict import LookaheadFailure

HORIZON: Final = 64
"""Half the bars of a window that come after its first full one, and can be cut off or changed."""

_MAX_WINDOWS: Final = 20
_CUTS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """A strategy before the court. history: bars that must fix a signal, its own included."""

    key: str
    replay: Replay
    candles: Candles
    history: int
    tolerance: tuple[float, float]
    draw: np.random.Generator

    def observe(self, start: int, end: int) -> Observation:
        """Return what is signaled when only rows start..end-1 exist, by row of all candles."""
        return self.replay(self.candles[start:end]).moved(start)

    def failure(self, difference: Difference, detail: str) -> LookaheadFailure:
        """Name the strategy, the bar and the field of a difference."""
        opened = int(self.candles.ts_ms[difference.row])
        return LookaheadFailure(
            strategy=self.key,
            bar_open_ms=opened,
            bar_open=iso(opened),
            field=difference.field,
            detail=f"{difference.expected} became {difference.got} {detail}",
        )

    def raised(self, row: int, error: StrategyFailed, detail: str) -> LookaheadFailure:
        """Name the strategy and the bar where it raised though it did not before."""
        opened = int(self.candles.ts_ms[row])
        return LookaheadFailure(
            strategy=self.key,
            bar_open_ms=opened,
            bar_open=iso(opened),
            field="signals",
            detail=f"it raised {detail}: {error.message}",
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Rows start..end-1 and what was signaled there; `error` where the strategy raised instead.

    anchor: the first row that has all the history it may need.
    """

    start: int
    end: int
    anchor: int
    seen: Observation | None
    error: StrategyFailed | None
    cuts: tuple[int, ...]


def scan_of(
    trial: Trial, known: SignalArrays | Sequence[Signal] | None, rows: int, *, withheld: int
) -> Window:
    """Return the longest stretch whose signals are known or can be afforded: where to look."""
    count = len(trial.candles)
    if isinstance(known, SignalArrays):
        start, end, seen = 0, count, Observation.of_arrays(known, withheld=withheld)
    elif known is not None:
        start, end = 0, count
        seen = Observation.of_signals(rows_of(known, trial.candles))
    else:
        length = min(count, max(rows, 2 * trial.history))
        start = int(trial.draw.integers(0, count - length + 1))
        end = start + length
        seen = trial.observe(start, end)
    return Window(
        start=start, end=end, anchor=start + trial.history - 1, seen=seen, error=None, cuts=()
    )


def windows_of(trial: Trial, scan: Window, budget: int) -> Iterator[Window]:
    """Yield windows whose first full bar is a signal (three in four) or a random bar.

    The first window begins where the data begins, and short data is always taken from there.
    """
    count, history = len(trial.candles), trial.history
    length = history + 2 * HORIZON
    # Per window: the reference, its cuts, the same cuts mutated, and one run without history.
    number = max(1, min(_MAX_WINDOWS, budget // (length * (2 * _CUTS + 2))))
    if count <= length:
        yield _window(trial, 0, count, 0, number * _CUTS)
        return
    yield _window(trial, 0, length, 0, _CUTS)
    assert scan.seen is not None
    signals = scan.seen.rows[np.searchsorted(scan.seen.rows, history) :]
    wanted = min(len(signals), 3 * number // 4)
    anchors = trial.draw.choice(signals, wanted, replace=False) if wanted else signals[:0]
    others = trial.draw.integers(history, count, number - wanted)
    for anchor in np.concatenate([anchors, others]).tolist()[: number - 1]:
        start = anchor - history + 1
        yield _window(trial, start, min(count, start + length), anchor, _CUTS)


def _window(trial: Trial, start: int, end: int, anchor: int, cuts: int) -> Window:
    seen, error = None, None
    try:
        seen = trial.observe(start, end)
    except StrategyFailed as failed:
        error = failed
    chosen: tuple[int, ...] = ()
    if seen is not None:
        chosen = _cuts(trial, seen, min(end - 1, start + trial.history - 1), end - 1, anchor, cuts)
    return Window(start=start, end=end, anchor=anchor, seen=seen, error=error, cuts=chosen)


def _cuts(
    trial: Trial, seen: Observation, first: int, last: int, anchor: int, number: int
) -> tuple[int, ...]:
    """Choose last rows to keep: the anchor, bars with signals, a neighbor of one, a random bar."""
    if last <= first:
        return ()
    signals = seen.within(first, last - 1).rows
    chosen = {anchor} if first <= anchor < last else set()
    if len(signals):
        picked = trial.draw.choice(signals, min(len(signals), number - 2), replace=False)
        chosen.update(picked.tolist())
        chosen.add(int(np.clip(picked[0] + trial.draw.choice([-1, 1]), first, last - 1)))
    while len(chosen) < min(number, last - first):
        chosen.add(int(trial.draw.integers(first, last)))
    return tuple(sorted(chosen))
