"""Run and keep: what every door offers, be it the terminal or the API."""

import time
from dataclasses import dataclass

from perpdesk.backtest.catalog import BacktestCatalog, StoredRun
from perpdesk.backtest.runner import BacktestResult, BacktestRunner, Progress
from perpdesk.backtest.spec import RunSpec
from perpdesk.cerebro.collector import quiet_collector
from perpdesk.domain.errors import StrategyFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run, where it is kept, and how many seconds its parts took."""

    result: BacktestResult
    stored: StoredRun
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestService:
    """Runs specs and keeps what they found."""

    runner: BacktestRunner
    catalog: BacktestCatalog

    def run(
        self, spec: RunSpec, *, progress: Progress | None = None, allow_lookahead: bool = False
    ) -> FinishedRun:
        """Run, write the artifacts meanwhile, and register the run once all is written.

        Raises StrategyFailed, and keeps nothing, where the strategy looks ahead and that is not
        allowed; see `BacktestRunner.run` for what else it raises.
        """
        created_ms, began = time.time_ns() // 1_000_000, time.perf_counter()
        with self.catalog.recording() as recording, quiet_collector():
            result = self.runner.run(spec, progress=progress, curve_sink=recording.take_curve)
            ran = time.perf_counter()
            if not (result.verdict.passed or allow_lookahead):
                raise StrategyFailed(
                    f"the look-ahead test failed, the result means nothing: {result.verdict.text}",
                    next_step="Correct it, or keep the run, marked, with --allow-lookahead.",
                )
            seconds = {"run": round(ran - began, 3)}
            stored = recording.finish(result, created_ms=created_ms, seconds=seconds)
        seconds["artifacts"] = round(time.perf_counter() - ran, 3)
        return FinishedRun(result=result, stored=stored, seconds=seconds)
