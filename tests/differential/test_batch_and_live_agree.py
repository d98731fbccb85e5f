"""One truth, two ways: recorded candles in bulk, and the same candles one by one from a queue."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from tests.unit.cerebro.builders import (
    H1,
    M5,
    D,
    Restless,
    Trial,
    fills,
    marks_of,
    naive_run,
    random_trial,
    story,
)
from tests.unit.simulation.market import instrument_of

from perpdesk.cerebro.engine import run_queue
from perpdesk.cerebro.execution import ExecutionBars, execution_bars
from perpdesk.cerebro.feeds import ClosedCandle
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Candles, DataKind, Venue
from perpdesk.domain.signal import PositionSide, Signal
from perpdesk.marketdata.importers import import_file
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.slippage import FixedSlippage
from perpdesk.strategies.base import ArrayStrategy, SignalStrategy, StrategyParams
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.builtin.smc import SmartMoneyConcepts
from perpdesk.trading.sizing import PercentRisk


def closed_candles(
    candles: Candles, execution: ExecutionBars, first: int
) -> Iterator[ClosedCandle]:
    """Yield strategy candles from row `first` on, each with what closed since the one before."""
    closes = candles.timeframe.close_all(candles.ts_ms)
    ends = np.searchsorted(execution.close_ms, closes, side="right")
    begin = 0 if not first else int(ends[first - 1])
    for row in range(first, len(candles)):
        yield ClosedCandle(
            ts_ms=int(candles.ts_ms[row]),
            execution=tuple(execution.bar(index) for index in range(begin, int(ends[row]))),
            **{name: float(column[row]) for name, column in candles.columns()},
        )
        begin = int(ends[row])


def live_run(trial: Trial, *, threaded: bool = True) -> SimulationHost:
    """Feed the trial's candles through a queue, from a thread as a session would."""
    host = trial.host()
    (symbol,) = trial.candles
    candles, execution = trial.candles[symbol], trial.execution[symbol]
    warm = int(np.searchsorted(candles.timeframe.close_all(candles.ts_ms), trial.start_ms, "right"))
    source: Queue[ClosedCandle | None] = Queue(maxsize=16 if threaded else 0)

    def send() -> None:
        for candle in closed_candles(candles, execution, warm):
            source.put(candle)
        source.put(None)

    sender = threading.Thread(target=send)
    sender.start()
    run_queue(host, trial.plans(), {symbol: candles[:warm]}, {symbol: source})
    sender.join()
    host.finish()
    return host


def assert_same(trial: Trial) -> SimulationHost:
    batch, live = trial.run(), live_run(trial)
    assert live.desk.pending.records == batch.desk.pending.records
    assert story(live.events) == story(batch.events)
    assert live.exchange.ledger.entries == batch.exchange.ledger.entries
    assert live.trace.cash == batch.trace.cash
    return batch


@pytest.mark.parametrize("seed", range(6))
def test_random_markets_give_equal_signals_events_and_ledgers(seed: int) -> None:
    host = assert_same(random_trial(seed + 500))
    assert host.desk.pending.records


@pytest.mark.parametrize("seed", range(3))
def test_the_warm_up_is_not_acted_on_in_either(seed: int) -> None:
    trial = random_trial(seed + 600)
    (symbol,) = trial.candles
    candles, execution = trial.candles[symbol], trial.execution[symbol]
    trial.start_ms = int(candles.ts_ms[150])
    inside = slice(int(np.searchsorted(execution.ts_ms, trial.start_ms)), None)
    fine = candles_of_bars(execution, inside, candles)
    trial.execution = {symbol: execution_bars(fine, mark=marks_of(fine, seed), funding=None)}
    trial.parameters = Restless.Params(seed=seed, often=0.9)
    host = assert_same(trial)
    assert min(one.signal.ts_ms for one in host.desk.pending.records.values()) > trial.start_ms


def candles_of_bars(execution: ExecutionBars, rows: slice, like: Candles) -> Candles:
    columns = {
        name: getattr(execution.last, name)[rows] / 1e8 for name in ("open", "high", "low", "close")
    }
    return Candles(
        venue=like.venue,
        symbol=like.symbol,
        timeframe=M5,
        ts_ms=execution.ts_ms[rows],
        volume=execution.volume[rows],
        **columns,
    )


class Averages(SignalStrategy):
    """Backtrader's own indicators, bar by bar: cross over with a stop and a target."""

    name = "averages"

    class Params(StrategyParams):
        """Periods in candles."""

        fast: int = 5
        slow: int = 20

    def __init__(self) -> None:
        """Build the indicators."""
        fast = bt.indicators.EMA(self.data.close, period=self.parameters.fast)
        slow = bt.indicators.SMA(self.data.close, period=self.parameters.slow)
        self.cross = bt.indicators.CrossOver(fast, slow)
        self.range = bt.indicators.ATR(self.data, period=14)

    def generate_signal(self) -> Signal | None:
        """Enter in the direction of the crossing."""
        if not self.cross[0]:
            return None
        sign = 1 if self.cross[0] > 0 else -1
        close, away = self.data.close[0], 2 * self.range[0]
        return self.enter(
            PositionSide.LONG if sign > 0 else PositionSide.SHORT,
            stop_loss=close - sign * away,
            take_profits=[(close + sign * 3.2 * away, 1.0)],
        )


@pytest.fixture(scope="session")
def recorded(shared_dir: Path) -> tuple[Candles, Candles, Candles, Any]:
    """BTCUSDT: 1h candles, the 5m bars below them, mark and funding, six weeks of 2023."""
    folder = shared_dir / "market/binance/BTCUSDT"
    start, end = 1_677_628_800_000, 1_681_257_600_000  # 2023-03-01 to 2023-04-12

    def load(name: str, kind: DataKind, timeframe: str | None) -> Any:
        rows: Any = import_file(
            folder / name,
            venue=Venue.BINANCE,
            symbol="BTCUSDT",
            timeframe=None if timeframe is None else H1.parse(timeframe),
            kind=kind,
        )
        return rows.between(start, end)

    return (
        load("1h.parquet", DataKind.CANDLES, "1h"),
        load("5m.parquet", DataKind.CANDLES, "5m"),
        load("mark-1h.parquet", DataKind.MARK, "1h"),
        load("funding.parquet", DataKind.FUNDING, None),
    )


@pytest.mark.recorded
@pytest.mark.parametrize("strategy", [EmaTrend, SmartMoneyConcepts, Averages, Restless])
def test_recorded_candles_give_equal_signals_events_and_ledgers(
    strategy: type[SignalStrategy], recorded: tuple[Candles, Candles, Candles, Any]
) -> None:
    candles, fine, mark, funding = recorded
    parameters: Any = strategy.Params()
    warm = 200
    start_ms = int(candles.ts_ms[warm])
    instrument = replace(instrument_of(Venue.BINANCE), max_market_quantity=D(500))
    trial = Trial(
        candles={"BTCUSDT": candles},
        execution={
            "BTCUSDT": execution_bars(
                fine.between(start_ms, int(fine.ts_ms[-1]) + 1), mark=mark, funding=funding
            )
        },
        strategy=strategy,
        parameters=parameters,
        settings=ExchangeSettings(
            initial_capital=D(10_000), leverage=D(5), slippage=FixedSlippage(D(2))
        ),
        sizing=PercentRisk(D(1)),
        start_ms=start_ms,
        instruments={"BTCUSDT": instrument},
        delay_ms=7 * 60_000 if strategy is EmaTrend else 0,
    )
    if issubclass(strategy, ArrayStrategy):
        # Live, an array strategy computes its rows anew at every candle: fewer will do.
        trial.candles = {"BTCUSDT": candles[:700]}
    host = assert_same(trial)
    assert len(fills(host)) >= 4


@pytest.mark.recorded
@pytest.mark.parametrize("strategy", [EmaTrend, SmartMoneyConcepts, Restless])
@pytest.mark.parametrize("margin_mode", list(MarginMode))
def test_recorded_bars_that_are_skipped_change_nothing(
    strategy: type[SignalStrategy],
    margin_mode: MarginMode,
    recorded: tuple[Candles, Candles, Candles, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candles, fine, mark, funding = recorded
    parameters: Any = strategy.Params()
    trial = Trial(
        candles={"BTCUSDT": candles},
        execution={"BTCUSDT": execution_bars(fine, mark=mark, funding=funding)},
        strategy=strategy,
        parameters=parameters,
        settings=ExchangeSettings(
            initial_capital=D(10_000),
            leverage=D(40),
            margin_mode=margin_mode,
            slippage=FixedSlippage(D(2)),
            max_volume_share=D("0.001"),
        ),
        sizing=PercentRisk(D(4)),
    )
    naive, _ = naive_run(trial, monkeypatch)
    quick = trial.run()
    assert story(quick.events) == story(naive.events)
    assert quick.exchange.ledger.entries == naive.exchange.ledger.entries
    assert len(fills(quick)) > 10
