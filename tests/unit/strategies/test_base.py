"""The two base classes: how signals are built, withheld, served and refused."""

from decimal import Decimal
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from pydantic import Field, ValidationError
from tests.unit.strategies.drawing import closes, context_of, wandering

from perpdesk.domain.candles import Candles
from perpdesk.domain.errors import StrategyFailed
from perpdesk.domain.signal import EntryType, PositionSide, Signal, SignalKind
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, SignalStrategy, StrategyParams
from perpdesk.strategies.builtin.bollinger_reversion import BollingerReversion
from perpdesk.strategies.builtin.donchian_breakout import DonchianBreakout
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.builtin.rsi_momentum import RsiMomentum
from perpdesk.strategies.builtin.smc import SmartMoneyConcepts
from perpdesk.strategies.failures import guarded
from perpdesk.strategies.replay import bar_signals, signals_of

BUILT_IN = [EmaTrend, RsiMomentum, BollingerReversion, DonchianBreakout, SmartMoneyConcepts]


def asked(generate: Any, candles: Candles) -> list[tuple[int, Signal]]:
    """Run a bar strategy whose `generate_signal` is the given function."""
    cls = type(
        "Asked",
        (SignalStrategy,),
        {"name": "asked", "generate_signal": generate, "Params": Lengths},
    )
    return bar_signals(cls, Lengths(), context_of(candles), candles)


class Lengths(StrategyParams):
    length: int = Field(3, ge=1, le=9, description="Some length.")


@pytest.mark.parametrize("cls", BUILT_IN, ids=lambda cls: cls.name)
def test_an_array_strategy_served_bar_by_bar_signals_what_its_columns_say(
    cls: type[ArrayStrategy],
) -> None:
    candles = wandering(1200, seed=11)
    params, context = cls.Params(), context_of(candles)
    whole = signals_of(cls, params, context, candles)
    assert len(whole) > 5
    assert bar_signals(cls, params, context, candles) == whole


class _Growing(bt.feed.DataBase):
    """A feed whose candles grow bar by bar, as those of a live feed do."""

    params = (("source", None),)

    @property
    def candles(self) -> Candles:
        grown: Candles = self.p.source[: len(self)]
        return grown

    def start(self) -> None:
        super().start()
        self._at = 0

    def islive(self) -> bool:
        return True

    def _load(self) -> bool:
        if self._at == len(self.p.source):
            return False
        self.lines.datetime[0] = 738_000.0 + self._at
        for name, column in self.p.source.columns():
            getattr(self.lines, name)[0] = column[self._at]
        self._at += 1
        return True


@pytest.mark.parametrize("cls", [EmaTrend, SmartMoneyConcepts], ids=lambda cls: cls.name)
def test_candles_that_arrive_one_by_one_give_the_same_signals(cls: type[ArrayStrategy]) -> None:
    candles = wandering(400, seed=12)
    params, context = cls.Params(), context_of(candles)
    found: list[Signal] = []
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(_Growing(source=candles))
    cerebro.addstrategy(cls, parameters=params, context=context, sink=found.append)
    cerebro.run()
    assert found == [signal for _, signal in signals_of(cls, params, context, candles)]
    assert found


def test_signals_within_the_warm_up_are_withheld() -> None:
    class Always(ArrayStrategy):
        name = "always"

        @classmethod
        def warmup_candles(cls, params: Any) -> int:
            return 4

        @classmethod
        def signals(cls, candles: Candles, params: Any) -> SignalArrays:
            return SignalArrays(side=np.ones(len(candles), np.int8))

    candles = closes([10] * 6)
    for run in (bar_signals, signals_of):
        found = run(Always, Always.Params(), context_of(candles), candles)
        assert [row for row, _ in found] == [3, 4, 5]


def test_an_entry_carries_its_bar_close_strategy_and_parameters() -> None:
    candles = closes([100, 101])
    _, (row, signal) = asked(lambda self: self.enter(PositionSide.LONG, stop_loss=90), candles)
    assert row == 1
    assert signal.ts_ms == int(candles.ts_ms[1]) + 3_600_000
    assert (signal.venue, signal.symbol) == (candles.venue, "BTCUSDT")
    assert signal.strategy == "asked@1"
    assert signal.params_hash == Lengths().content_hash()
    assert signal.reference_price == Decimal("101.0")


def test_prices_go_to_the_tick_grid_so_that_the_ratio_does_not_fall() -> None:
    targets = [(109.11, 0.5), (112.0, 0.5)]
    ((_, signal),) = asked(
        lambda self: self.enter(PositionSide.LONG, stop_loss=96.98, take_profits=targets),
        closes([100]),
    )
    assert signal.stop_loss == Decimal("97.0")
    assert [target.price for target in signal.take_profits] == [Decimal("109.2"), Decimal("112.0")]
    ((_, signal),) = asked(
        lambda self: self.enter(PositionSide.SHORT, stop_loss=103.02, take_profits=[(90.99, 1)]),
        closes([100]),
    )
    assert signal.stop_loss == Decimal("103.0")
    assert signal.take_profits[0].price == Decimal("90.9")


def test_a_stop_closer_than_a_tick_stays_on_its_side() -> None:
    ((_, signal),) = asked(
        lambda self: self.enter(PositionSide.LONG, stop_loss=99.99), closes([100])
    )
    assert signal.stop_loss == Decimal("99.9")


def test_limit_and_stop_entries_carry_their_price() -> None:
    ((_, signal),) = asked(
        lambda self: self.enter(
            PositionSide.LONG, entry=EntryType.LIMIT, entry_price=98.07, stop_loss=95
        ),
        closes([100]),
    )
    assert signal.entry is EntryType.LIMIT
    assert signal.entry_price == Decimal("98.0")
    assert signal.expected_entry == Decimal("98.0")


def test_an_exit_names_the_side_that_it_closes() -> None:
    ((_, signal),) = asked(lambda self: self.exit(PositionSide.SHORT, reason="done"), closes([100]))
    assert signal.kind is SignalKind.EXIT
    assert signal.side is PositionSide.SHORT
    assert signal.reason == "done"


@pytest.mark.parametrize("call", ["buy", "sell"])
def test_a_strategy_cannot_send_orders(call: str) -> None:
    with pytest.raises(StrategyFailed, match=rf"asked@1 called {call}\(\), but strategies cannot"):
        asked(lambda self: getattr(self, call)(), closes([100]))


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (float("nan"), "stop_loss is nan, not a price"),
        (-1.0, "stop_loss is -1.0, not a price"),
        (120.0, "stop_loss 120 of a LONG signal is on the wrong side of the entry 100"),
    ],
)
def test_an_entry_that_contradicts_itself_names_strategy_bar_and_field(
    price: float, words: str
) -> None:
    with pytest.raises(StrategyFailed) as caught:
        asked(lambda self: self.enter(PositionSide.LONG, stop_loss=price), closes([100]))
    assert words in caught.value.message
    assert (
        "strategy asked@1 on BTCUSDT 1h, at the bar that closed 2023-01-01T01:00:00Z"
        in caught.value.message
    )


def test_parameters_are_frozen_closed_and_finite() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Lengths().length = 4  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Lengths(width=3)  # type: ignore[call-arg]
    assert Lengths(length=4).content_hash() == Lengths(length=4).content_hash()
    assert Lengths(length=4).content_hash() != Lengths().content_hash()


def test_guarded_code_blames_the_strategy_and_lets_our_own_errors_pass() -> None:
    blamed = pytest.raises(StrategyFailed, match=r"ema_trend@1 raised ZeroDivisionError .*1970-01")
    with blamed, guarded(EmaTrend, lambda: 0):
        _ = 1 / 0
    with pytest.raises(StrategyFailed, match=r"^mine$"), guarded(EmaTrend):
        raise StrategyFailed("mine")


@pytest.mark.parametrize(
    ("side", "wished", "stop", "entry", "kept"),
    [
        # Rounding would put both on 98.0: the entry keeps its place, the stop moves a tick away.
        (PositionSide.LONG, 98.07, 97.95, "98.0", "97.9"),
        (PositionSide.SHORT, 98.03, 98.15, "98.1", "98.2"),
        # The stop lies between the wished entry and its place on the grid.
        (PositionSide.LONG, 98.07, 98.02, "98.0", "97.9"),
        (PositionSide.SHORT, 98.03, 98.08, "98.1", "98.2"),
    ],
)
def test_a_stop_never_lands_on_the_limit_that_rounding_moved_towards_it(
    side: PositionSide, wished: float, stop: float, entry: str, kept: str
) -> None:
    ((_, signal),) = asked(
        lambda self: self.enter(side, entry=EntryType.LIMIT, entry_price=wished, stop_loss=stop),
        closes([100]),
    )
    assert (signal.entry_price, signal.stop_loss) == (Decimal(entry), Decimal(kept))
