"""Skipping quiet bars changes nothing: a driver that skips none gives the same events."""

from collections.abc import Sequence

import pytest
from tests.unit.cerebro.builders import fills, naive_run, random_trial, story

from perpdesk.cerebro.driver import BatchDriver
from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.account import AccountState
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import BarClosed, CommandRejected

_SEEDS = range(12)


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
@pytest.mark.parametrize("seed", _SEEDS)
def test_skipping_quiet_bars_gives_the_events_of_every_bar(
    seed: int, venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = random_trial(seed, venue=venue)
    naive, _ = naive_run(trial, monkeypatch)
    quick = trial.run()
    assert story(quick.events) == story(naive.events)
    assert quick.exchange.ledger.entries == naive.exchange.ledger.entries
    assert quick.desk.pending.records == naive.desk.pending.records


@pytest.mark.parametrize("symbols", [2, 3])
@pytest.mark.parametrize("seed", _SEEDS)
def test_several_symbols_on_one_account_interleave_as_if_nothing_was_skipped(
    seed: int, symbols: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = random_trial(seed + 100, symbols=symbols)
    naive, _ = naive_run(trial, monkeypatch)
    quick = trial.run()
    assert story(quick.events) == story(naive.events)
    assert quick.desk.pending.records == naive.desk.pending.records


class Counting(BatchDriver):
    """Counts the bars that are processed, and looks at the account after every strategy bar."""

    processed = 0

    def __init__(self, host: SimulationHost, bars: Sequence[ExecutionBars]) -> None:
        super().__init__(host, bars)
        self.accounts: dict[int, AccountState] = {}
        process = host.on_bars

        def counted(bars: Sequence[BarClosed]) -> None:
            type(self).processed += len(bars)
            process(bars)

        host.on_bars = counted  # type: ignore[method-assign]

    def advance(self, close_ms: int) -> None:
        super().advance(close_ms)
        self.synchronise(close_ms)
        self.accounts[close_ms] = self.host.exchange.account()


def test_the_random_markets_trade_and_many_bars_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perpdesk.cerebro.engine.BatchDriver", Counting)
    traded = bars = 0
    for seed in _SEEDS:
        trial = random_trial(seed)
        traded += len(fills(trial.run()))
        bars += sum(len(each) for each in trial.execution.values())
    assert traded > 200
    assert 0 < Counting.processed < 0.7 * bars


@pytest.mark.parametrize("seed", range(4))
def test_the_account_between_bars_is_that_of_a_run_that_skips_none(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Counting] = []

    def build(host: SimulationHost, bars: Sequence[ExecutionBars]) -> Counting:
        made.append(Counting(host, bars))
        return made[-1]

    trial = random_trial(seed + 200, symbols=2)
    _, naive = naive_run(trial, monkeypatch)
    monkeypatch.setattr("perpdesk.cerebro.engine.BatchDriver", build)
    trial.run()
    seen = made[0].accounts
    assert len(seen) > 10
    assert seen == {close_ms: naive.accounts[close_ms] for close_ms in seen}


@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_the_desk_never_cancels_what_is_not_open_nor_reduces_what_is_not_held(
    seed: int, symbols: int
) -> None:
    host = random_trial(seed + 800, symbols=symbols).run()
    assert [event for event in host.events if isinstance(event, CommandRejected)] == []
    assert [one for one in host.desk.refusals if "reduce" in one.reason] == []
    assert host.desk.pending.records
    assert all(not entries for entries in host.desk.entries.values())
    assert all(not held for held in host.desk.positions.values())


@pytest.mark.parametrize("horizon", [1, 7])
@pytest.mark.parametrize("symbols", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_it_does_not_matter_how_far_the_driver_looks_at_once(
    seed: int, symbols: int, horizon: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = random_trial(seed + 900, symbols=symbols)
    naive, _ = naive_run(trial, monkeypatch)
    monkeypatch.setattr("perpdesk.cerebro.driver._HORIZON", horizon)
    quick = trial.run()
    assert story(quick.events) == story(naive.events)
    assert quick.desk.pending.records == naive.desk.pending.records
