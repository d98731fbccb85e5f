"""One run, from spec to measured result. Nothing here touches the disk but the candle store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from perpdesk.backtest.notes import (
    remarks_on_instruments,
    warnings_on_signals,
    warnings_on_stop,
    warnings_on_trades,
    warnings_on_verdict,
)
from perpdesk.backtest.preflight import Preflight, RunData
from perpdesk.backtest.signals import SignalSummary, signal_summary
from perpdesk.backtest.spec import RunSpec
from perpdesk.backtest.verification import verify_run
from perpdesk.cerebro.account_curve import CurveDrawer, CurveRecorder, CurveSink
from perpdesk.cerebro.engine import StrategyPlan, run_batch
from perpdesk.cerebro.host import SimulationHost
from perpdesk.cerebro.intrabar import intrabar_equity
from perpdesk.domain.account import AccountCurve, LedgerEntry
from perpdesk.domain.candles import Candles, Timeframe, Times
from perpdesk.domain.errors import UsageRefused
from perpdesk.domain.events import AccountStopped, Event
from perpdesk.domain.instrument import FeeSchedule, Instrument
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.reports.drawdown import intrabar_drawdown
from perpdesk.reports.excursions import with_excursions
from perpdesk.reports.metrics import Metrics, compute_metrics
from perpdesk.reports.round_trip import RoundTrip
from perpdesk.reports.trades import round_trips
from perpdesk.simulation.exchange import Exchange
from perpdesk.strategies.base import SignalStrategy, StrategyContext, StrategyParams
from perpdesk.strategies.lookahead import check_strategy
from perpdesk.strategies.parameters import parse_params
from perpdesk.strategies.registry import StrategyRegistry
from perpdesk.strategies.sources import source_hash
from perpdesk.strategies.verdict import LookaheadVerdict
from perpdesk.trading.pending import SignalRecord

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestResult:
    """Everything a run found.

    candles: strategy bars of the range by symbol. signal_records: every signal, in order. stopped:
    why the account could trade no more. verdict: what the look-ahead checks found.
    """

    spec: RunSpec
    data: RunData
    strategy: type[SignalStrategy]
    parameters: StrategyParams
    strategy_source_hash: str
    instruments: dict[str, Instrument]
    events: list[Event]
    ledger: list[LedgerEntry]
    curve: AccountCurve
    trips: list[RoundTrip]
    metrics: Metrics
    signals: SignalSummary
    signal_records: list[SignalRecord]
    verdict: LookaheadVerdict
    candles: dict[str, Candles]
    stopped: AccountStopped | None
    warnings: tuple[str, ...]
    remarks: tuple[str, ...]
    fill_model: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what to read first: what changed the result, then what stands in for what."""
        return self.warnings + self.remarks


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestRunner:
    """Runs specs over one store."""

    store: CandleStore
    instruments: InstrumentBook
    strategies: StrategyRegistry

    def run(
        self,
        spec: RunSpec,
        *,
        progress: Progress | None = None,
        curve_sink: CurveSink | None = None,
    ) -> BacktestResult:
        """Check, run, measure and verify.

        progress: told bars done and bars in all. curve_sink: takes the account curve in parts,
        while the run goes on.

        Raises UsageRefused, DataRefused or StrategyFailed before or during the run, and
        InvariantBroken where the run contradicts its own arithmetic.
        """
        strategy = self.strategies.get(spec.strategy)
        for named in spec.min_risk_reward_by_strategy:
            self.strategies.get(named)  # refuses a name that is none
        _require_timeframe(strategy, spec)
        parameters = parse_params(strategy, spec.params)
        data = Preflight(
            self.store,
            spec,
            warmup_candles=strategy.warmup_candles(parameters),
            memory_candles=strategy.memory_candles(parameters),
        ).run()
        instruments = self._instruments(spec, data)
        plans = [
            StrategyPlan(
                strategy=strategy,
                parameters=parameters,
                context=StrategyContext(
                    venue=spec.venue,
                    symbol=symbol,
                    timeframe=data.timeframe,
                    tick_size=instrument.tick_size,
                ),
            )
            for symbol, instrument in instruments.items()
        ]
        exchange = Exchange(instruments, spec.exchange_settings())
        host = SimulationHost(exchange, instruments, spec.desk_settings(), spec.policy())
        execution = {symbol: each.execution for symbol, each in data.symbols.items()}
        candles = {
            symbol: each.candles.between(data.start_ms, data.end_ms)
            for symbol, each in data.symbols.items()
        }
        drawer = CurveDrawer(
            host.trace,
            instruments=instruments,
            execution=execution,
            leverage={symbol: exchange.symbols[symbol].leverage for symbol in instruments},
        )
        recorder = CurveRecorder(drawer, _close_times(candles), curve_sink)

        def watch(done: int, total: int, now_ms: int) -> None:
            recorder.advance(now_ms)
            if progress is not None:
                progress(done, total)

        run_batch(
            host,
            plans,
            {symbol: each.candles for symbol, each in data.symbols.items()},
            execution,
            start_ms=data.start_ms,
            watch=watch,
        )
        host.finish()
        curve = recorder.finish()
        return self._measure(spec, data, host, plans, instruments, candles, curve)

    def _instruments(self, spec: RunSpec, data: RunData) -> dict[str, Instrument]:
        """Return the instruments as of the start, with the spec's fees."""
        found = {}
        for symbol in spec.symbols:
            instrument = self.instruments.as_of(
                spec.venue, symbol, data.start_ms, vip_tier=spec.fees.vip_tier
            )
            if spec.fees.commission is not None:
                rate = spec.fees.commission
                instrument = replace(instrument, fees=FeeSchedule.flat(maker=rate, taker=rate))
            most = instrument.tiers[0].max_leverage
            if spec.leverage > most:
                raise UsageRefused(
                    f"leverage {spec.leverage} is above the {most}x that {symbol} allows",
                    next_step=f"Choose a leverage of at most {most}.",
                )
            found[symbol] = instrument
        return found

    def _measure(
        self,
        spec: RunSpec,
        data: RunData,
        host: SimulationHost,
        plans: list[StrategyPlan],
        instruments: dict[str, Instrument],
        candles: dict[str, Candles],
        curve: AccountCurve,
    ) -> BacktestResult:
        execution = {symbol: each.execution for symbol, each in data.symbols.items()}
        verify_run(host, curve, instruments, execution)
        trips = with_excursions(
            round_trips(host.events),
            {symbol: each.execution_candles for symbol, each in data.symbols.items()},
        )
        metrics = compute_metrics(
            curve,
            trips,
            initial_capital=spec.initial_capital,
            benchmark=list(candles.values()),
            max_drawdown_intrabar=intrabar_drawdown(
                intrabar_equity(host.trace, execution), start=float(spec.initial_capital)
            ),
        )
        records = list(host.desk.pending.records.values())
        strategy, parameters = plans[0].strategy, plans[0].parameters
        verdict = _verdict(plans, data, spec.seed)
        stopped = [event for event in host.events if isinstance(event, AccountStopped)]
        return BacktestResult(
            spec=spec,
            data=data,
            strategy=strategy,
            parameters=parameters,
            strategy_source_hash=source_hash(strategy),
            instruments=instruments,
            events=host.events,
            ledger=host.exchange.ledger.entries,
            curve=curve,
            trips=trips,
            metrics=metrics,
            signals=signal_summary(records, host.desk.refusals),
            signal_records=records,
            verdict=verdict,
            candles=candles,
            stopped=stopped[0] if stopped else None,
            warnings=(
                *warnings_on_stop(stopped),
                *data.warnings,
                *warnings_on_signals(records, host.desk.refusals),
                *warnings_on_trades(trips),
                *warnings_on_verdict(verdict),
            ),
            remarks=(*data.remarks, *remarks_on_instruments(instruments)),
            fill_model=host.exchange.settings.describe(),
        )


def _require_timeframe(strategy: type[SignalStrategy], spec: RunSpec) -> None:
    meant = [Timeframe.parse(name) for name in strategy.timeframes]
    if meant and Timeframe.parse(spec.timeframe) not in meant:
        names = " or ".join(each.name for each in meant)
        raise UsageRefused(
            f"strategy {strategy.key()} is meant for {names} candles, not for {spec.timeframe}",
            next_step=f"Run it with --timeframe {meant[0].name}.",
        )


def _close_times(candles: Mapping[str, Candles]) -> Times:
    """Return the close times of all strategy bars, ascending and unique."""
    times = [each.timeframe.close_all(each.ts_ms) for each in candles.values()]
    return times[0] if len(times) == 1 else np.unique(np.concatenate(times))


def _verdict(plans: list[StrategyPlan], data: RunData, seed: int) -> LookaheadVerdict:
    """Try to falsify the strategy on every symbol; the first contradiction speaks for all."""
    verdict: LookaheadVerdict | None = None
    for plan in plans:
        verdict = check_strategy(
            plan.strategy,
            plan.parameters,
            data.symbols[plan.context.symbol].candles,
            plan.context,
            seed=seed,
        )
        if not verdict.passed:
            break
    assert verdict is not None
    return verdict
