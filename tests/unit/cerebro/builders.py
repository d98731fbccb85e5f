"""Small markets, strategies that do what they are told, and a driver that skips nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from pydantic import Field
from tests.unit.simulation.market import instrument_of

from perpdesk.cerebro.engine import StrategyPlan, run_batch
from perpdesk.cerebro.execution import ExecutionBars, execution_bars
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.account import AccountState, MarginMode
from perpdesk.domain.candles import Candles, FundingRates, Timeframe, Venue
from perpdesk.domain.events import Event, OrderFilled
from perpdesk.domain.numbers import amount_of
from perpdesk.marketdata.aggregation import aggregate
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.slippage import FixedSlippage
from perpdesk.strategies.base import (
    ArrayStrategy,
    SignalArrays,
    SignalStrategy,
    StrategyContext,
    StrategyParams,
)
from perpdesk.trading.desk import DeskSettings
from perpdesk.trading.pending import ConfirmAfter
from perpdesk.trading.risk import RiskLimits
from perpdesk.trading.sizing import FixedQuantity, PercentRisk, Sizing

D = Decimal
M1, M5, M15, H1 = (Timeframe.parse(name) for name in ("1m", "5m", "15m", "1h"))
T0 = 1_700_006_400_000
"""2023-11-15T00:00Z."""


def candles_of(
    rows: Sequence[Sequence[float]],
    *,
    timeframe: Timeframe = M5,
    symbol: str = "BTCUSDT",
    venue: Venue = Venue.BINANCE,
    start_ms: int = T0,
    skip: Sequence[int] = (),
    volume: float = 1000.0,
) -> Candles:
    """Return candles from (open, high, low, close) rows; places in `skip` are left out (a gap)."""
    places = [place for place in range(len(rows) + len(skip)) if place not in skip]
    table = np.array(rows, np.float64).reshape(-1, 4)
    return Candles(
        venue=venue,
        symbol=symbol,
        timeframe=timeframe,
        ts_ms=np.array([start_ms + place * timeframe.duration_ms for place in places], np.int64),
        open=table[:, 0].copy(),
        high=table[:, 1].copy(),
        low=table[:, 2].copy(),
        close=table[:, 3].copy(),
        volume=np.full(len(places), volume),
    )


def flat(count: int, price: float = 100.0, **others: Any) -> Candles:
    """Return candles that do not move."""
    return candles_of([(price, price, price, price)] * count, **others)


def walk(
    seed: int,
    count: int,
    *,
    price: float = 100.0,
    scale: float = 0.004,
    gaps: int = 0,
    **others: Any,
) -> Candles:
    """Return a seeded random walk on a tick of 0.1, with `gaps` bars missing here and there."""
    random = np.random.default_rng(seed)
    skip = sorted(random.choice(np.arange(1, count), size=gaps, replace=False).tolist())
    size = count - gaps
    closes = price * np.exp(np.cumsum(random.normal(0, scale, size)))
    opens = np.concatenate(([price], closes[:-1])) * np.exp(random.normal(0, scale / 5, size))
    up, down = (np.abs(random.normal(0, scale / 2, size)) for _ in range(2))
    highs, lows = np.maximum(opens, closes) * (1 + up), np.minimum(opens, closes) * (1 - down)
    rows = np.round(np.column_stack([opens, highs, lows, closes]), 1)
    volume = np.round(random.gamma(2.0, 20.0, size) * (random.random(size) > 0.05), 3)
    made = candles_of(rows.tolist(), skip=skip, **others)
    made.volume[:] = volume
    return made


def marks_of(candles: Candles, seed: int, *, scale: float = 0.001) -> Candles:
    """Return mark candles beside `candles`: a little off, with eight decimals."""
    random = np.random.default_rng(seed)
    factor = 1 + random.normal(0, scale, len(candles))
    columns = {
        name: np.round(getattr(candles, name) * factor, 8)
        for name in ("open", "high", "low", "close")
    }
    return Candles(
        venue=candles.venue,
        symbol=candles.symbol,
        timeframe=candles.timeframe,
        ts_ms=candles.ts_ms,
        volume=np.zeros(len(candles)),
        **columns,
    )


def funding_of(
    *rows: tuple[int, float], symbol: str = "BTCUSDT", mark: float = float("nan")
) -> FundingRates:
    """Return settlements from (time, rate)."""
    return FundingRates(
        venue=Venue.BINANCE,
        symbol=symbol,
        ts_ms=np.array([ts_ms for ts_ms, _ in rows], np.int64),
        rate=np.array([rate for _, rate in rows]),
        mark_price=np.full(len(rows), mark),
    )


class Told(ArrayStrategy):
    """Do on each bar what the plan says: (bar, side) enters at market, with stop and targets."""

    name = "told"

    class Params(StrategyParams):
        """entries: bar → (side, stop, target). limits, stops: bar → entry price. exits: side."""

        entries: dict[int, tuple[int, float | None, float | None]] = Field(default_factory=dict)
        exits: dict[int, int] = Field(default_factory=dict)
        limits: dict[int, float] = Field(default_factory=dict)
        stops: dict[int, float] = Field(default_factory=dict)

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        """Put the plan into columns."""
        size = len(candles)
        side, closing, entry = (np.zeros(size, np.int8) for _ in range(3))
        price, stop, target = (np.full(size, np.nan) for _ in range(3))
        for bar, (sign, stop_price, target_price) in params.entries.items():
            if bar < size:
                side[bar] = sign
                stop[bar] = np.nan if stop_price is None else stop_price
                target[bar] = np.nan if target_price is None else target_price
        for kind, prices in ((1, params.limits), (2, params.stops)):
            for bar, at in prices.items():
                if bar < size:
                    entry[bar], price[bar] = kind, at
        for bar, sign in params.exits.items():
            if bar < size:
                closing[bar] = sign
        return SignalArrays(
            side=side,
            exit_side=closing,
            entry=entry,
            entry_price=price,
            stop_loss=stop,
            take_profits=(target,),
        )


class Restless(ArrayStrategy):
    """Ask for something random every few bars: all entry types, two targets, exits."""

    name = "restless"

    class Params(StrategyParams):
        """seed: of what is asked. often: share of bars that ask."""

        seed: int = 0
        often: float = 0.2

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        """Draw every row from the seed; rows do not depend on how many follow."""
        size = len(candles)
        side, closing, entry = (np.zeros(size, np.int8) for _ in range(3))
        price, stop, first, last = (np.full(size, np.nan) for _ in range(4))
        for row in range(size):
            random = np.random.default_rng((params.seed, int(candles.ts_ms[row]) // 60_000))
            if random.random() > params.often:
                continue
            sign = 1 if random.random() < 0.5 else -1
            if random.random() < 0.25:
                closing[row] = sign
                continue
            side[row], close = sign, float(candles.close[row])
            kind = int(random.integers(0, 3))
            away = close * float(random.uniform(0.001, 0.01))
            at = close + (0, -sign * 0.3 * away, sign * 0.3 * away)[kind]
            if kind:
                entry[row], price[row] = kind, at
            stop[row] = at - sign * away
            first[row], last[row] = at + sign * away, at + 3 * sign * away
        return SignalArrays(
            side=side,
            exit_side=closing,
            entry=entry,
            entry_price=price,
            stop_loss=stop,
            take_profits=(first, last),
            take_profit_fractions=(0.4, 0.6),
        )


@dataclass
class Trial:
    """One run's ingredients, with easy defaults."""

    candles: dict[str, Candles]
    execution: dict[str, ExecutionBars]
    strategy: type[SignalStrategy] = Told
    parameters: StrategyParams = field(default_factory=lambda: Told.Params())
    settings: ExchangeSettings = field(
        default_factory=lambda: ExchangeSettings(initial_capital=D(10_000), leverage=D(5))
    )
    sizing: Sizing = field(default_factory=lambda: FixedQuantity(D(1)))
    min_risk_reward: Decimal = Decimal(0)
    delay_ms: int = 0
    start_ms: int = 0
    venue: Venue = Venue.BINANCE
    instruments: dict[str, Any] | None = None

    def host(self) -> SimulationHost:
        """Return a fresh account under a fresh desk."""
        instruments = self.instruments or {
            symbol: instrument_of(self.venue, symbol) for symbol in self.candles
        }
        desk = DeskSettings(
            name="t",
            sizing=self.sizing,
            limits=RiskLimits(min_risk_reward=self.min_risk_reward),
        )
        exchange = Exchange(instruments, self.settings)
        return SimulationHost(exchange, instruments, desk, ConfirmAfter(self.delay_ms))

    def plans(self, strategy: type[SignalStrategy] | None = None) -> list[StrategyPlan]:
        """Return the same strategy on every symbol."""
        return [
            StrategyPlan(
                strategy=strategy or self.strategy,
                parameters=self.parameters,
                context=StrategyContext(
                    venue=self.venue,
                    symbol=symbol,
                    timeframe=candles.timeframe,
                    tick_size=D("0.1"),
                ),
            )
            for symbol, candles in self.candles.items()
        ]

    def run(self, strategy: type[SignalStrategy] | None = None) -> SimulationHost:
        """Run through Cerebro and return the host, everything closed."""
        host = self.host()
        run_batch(host, self.plans(strategy), self.candles, self.execution, start_ms=self.start_ms)
        host.finish()
        return host


def trial_of(
    candles: Candles,
    *,
    mark: Candles | None = None,
    funding: FundingRates | None = None,
    timeframe: Timeframe | None = None,
    **others: Any,
) -> Trial:
    """Return a trial of one symbol whose strategy bars are made of its execution bars."""
    bars = candles if timeframe is None else aggregate(candles, timeframe)
    return Trial(
        candles={candles.symbol: bars},
        execution={candles.symbol: execution_bars(candles, mark=mark, funding=funding)},
        **others,
    )


def told(
    entries: Mapping[int, tuple[int, float | None, float | None]] | None = None, **others: Any
) -> StrategyParams:
    """Return the parameters of `Told`."""
    return Told.Params(entries=dict(entries or {}), **others)


class NaiveDriver:
    """Processes every bar, one by one, in the order in which time and symbols come."""

    accounts: dict[int, AccountState]

    def __init__(self, host: SimulationHost, bars: Sequence[ExecutionBars]) -> None:
        self.host = host
        self.next_ms = 0
        self.accounts = {}
        self.bars = bars
        self.places = sorted({int(ts_ms) for each in bars for ts_ms in each.ts_ms})
        self.done = 0

    def advance(self, close_ms: int) -> None:
        """Process every bar that closes by then."""
        while self.done < len(self.places):
            rows = [
                (each, index)
                for each in self.bars
                for index in np.flatnonzero(each.ts_ms == self.places[self.done]).tolist()
            ]
            if int(rows[0][0].close_ms[rows[0][1]]) > close_ms:
                break
            self.done += 1
            if self.host.exchange.stopped is None:
                self.host.on_bars([each.bar(index) for each, index in rows])
                continue
            for each, index in rows:
                self.host.exchange.skip_to(
                    each.symbol,
                    int(each.close_ms[index]),
                    last_price=amount_of(int(each.last.close[index])),
                    mark_price=amount_of(int(each.mark.close[index])),
                )
        self.accounts[close_ms] = self.host.exchange.account()

    def synchronise(self, close_ms: int) -> None:
        """Nothing was skipped."""


def naive_run(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> tuple[SimulationHost, NaiveDriver]:
    """Run the trial with the driver that skips nothing."""
    made: list[NaiveDriver] = []

    def build(host: SimulationHost, bars: Sequence[ExecutionBars]) -> NaiveDriver:
        made.append(NaiveDriver(host, bars))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr("perpdesk.cerebro.engine.BatchDriver", build)
        host = trial.run()
    return host, made[0]


def fills(host: SimulationHost) -> list[OrderFilled]:
    """Return every fill."""
    return [event for event in host.events if isinstance(event, OrderFilled)]


def story(events: Sequence[Event]) -> list[str]:
    """Return events as text, which is what an assertion can show."""
    return [repr(event) for event in events]


def settings_of(seed: int) -> ExchangeSettings:
    """Return one of several accounts and fill models."""
    random = np.random.default_rng(seed)
    return ExchangeSettings(
        initial_capital=D(int(random.choice([200, 2_000, 10_000]))),
        leverage=D(int(random.choice([1, 5, 20, 50]))),
        margin_mode=(MarginMode.ISOLATED, MarginMode.CROSS)[int(random.integers(2))],
        slippage=FixedSlippage(D(2)),
        max_volume_share=(None, D("0.1"))[int(random.integers(2))],
    )


def random_trial(seed: int, *, symbols: int = 1, venue: Venue = Venue.BINANCE) -> Trial:
    """Return a lively market of one or more symbols, with everything that a run can meet."""
    random = np.random.default_rng(seed)
    candles, execution = {}, {}
    for place, symbol in enumerate(("BTCUSDT", "ETHUSDT", "SOLUSDT")[:symbols]):
        fine = walk(
            seed * 10 + place,
            12 * 60,
            scale=float(random.choice([0.001, 0.004, 0.02])),
            gaps=int(random.choice([0, 9])),
            symbol=symbol,
        )
        mark = marks_of(fine, seed * 10 + place)
        hours = [(T0 + hour * 3_600_000 + 5, float(random.normal(0, 0.002))) for hour in range(60)]
        candles[symbol] = aggregate(fine, M15)
        execution[symbol] = execution_bars(
            fine,
            mark=(mark, aggregate(mark, H1), None)[int(random.integers(3))],
            funding=funding_of(*hours, symbol=symbol),
        )
    sizing: Sizing = PercentRisk(D(int(random.choice([1, 20]))))
    return Trial(
        candles=candles,
        execution=execution,
        strategy=Restless,
        parameters=Restless.Params(seed=seed, often=float(random.choice([0.05, 0.3, 0.9]))),
        settings=settings_of(seed),
        sizing=sizing,
        delay_ms=int(random.choice([0, 7, 20])) * 60_000,
        venue=venue,
    )
