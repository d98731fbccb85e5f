"""Every built-in keeps the contract; strategies that break it are told what they break."""

from typing import Any

import numpy as np
import pytest
from pydantic import Field
from tests.unit.strategies import leaks

from perpdesk.domain.candles import Candles
from perpdesk.strategies.base import ArrayStrategy, SignalArrays, SignalStrategy, StrategyParams
from perpdesk.strategies.builtin.bollinger_reversion import BollingerReversion
from perpdesk.strategies.builtin.donchian_breakout import DonchianBreakout
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.builtin.rsi_momentum import RsiMomentum
from perpdesk.strategies.builtin.smc import SmartMoneyConcepts
from perpdesk.strategies.contract import StrategyContract, run_contract


class TestEmaTrend(StrategyContract):
    strategy = EmaTrend


class TestEmaTrendOfOtherLengths(StrategyContract):
    strategy = EmaTrend
    params = EmaTrend.Params(fast=2, slow=5, stop_atr=0.5)


class TestRsiMomentum(StrategyContract):
    strategy = RsiMomentum


class TestBollingerReversion(StrategyContract):
    strategy = BollingerReversion


class TestDonchianBreakout(StrategyContract):
    strategy = DonchianBreakout


class TestSmartMoneyConcepts(StrategyContract):
    strategy = SmartMoneyConcepts


class TestSmartMoneyConceptsWithEveryConfirmation(StrategyContract):
    strategy = SmartMoneyConcepts
    params = SmartMoneyConcepts.Params(
        swing_length=2, require_gap=True, require_sweep=True, require_turn=True
    )


class TestBarByBar(StrategyContract):
    strategy = leaks.BarByBar


class _Good(ArrayStrategy):
    name = "good"

    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        rising = candles.close > candles.open
        return SignalArrays(side=rising.astype(np.int8), stop_loss=candles.close / 2)


class _BadName(_Good):
    name = "Bad Name"


class _Undescribed(_Good):
    class Params(StrategyParams):
        length: int = 3


class _Demanding(_Good):
    class Params(StrategyParams):
        length: int = Field(3, description="Some length.")
        level: float = Field(description="Some level.")


class _NoStop(_Good):
    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        return SignalArrays(side=np.ones(len(candles), np.int8))


class _WrongStop(_Good):
    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        side = np.where(candles.close > candles.open, 1, -1).astype(np.int8)
        return SignalArrays(side=side, stop_loss=candles.close / 2)


class _NeedsCandles(_Good):
    @classmethod
    def signals(cls, candles: Candles, params: Any) -> SignalArrays:
        _ = candles.close[0]
        return super().signals(candles, params)


class _Early(SignalStrategy):
    name = "early"

    @classmethod
    def warmup_candles(cls, params: Any) -> int:
        return 10

    def generate_signal(self) -> None:
        return None

    def next(self) -> None:
        from perpdesk.domain.signal import PositionSide

        self.p.sink(self.enter(PositionSide.LONG, stop_loss=self.data.close[0] / 2))


def faults(cls: type[SignalStrategy], **params: object) -> dict[str, str]:
    results = run_contract(cls, cls.Params(**params))
    return {result.name: result.fault for result in results if result.fault is not None}


def test_a_good_strategy_has_no_faults() -> None:
    assert faults(_Good) == {}


@pytest.mark.parametrize(
    ("cls", "check", "words"),
    [
        (_BadName, "identity", "name 'Bad Name' is not"),
        (_Undescribed, "schema", "parameter length has no description"),
        (_NoStop, "stops", "the entry has no stop_loss"),
        (_WrongStop, "stops", "on the wrong side"),
        (_NeedsCandles, "difficult_markets", "no candle: strategy good@1 raised IndexError in"),
        (_Early, "warmup", "signals within the warm-up of 10 candles"),
        (leaks.FutureShift, "look_ahead", "truncation: strategy future_shift@1, bar 2023-"),
        (leaks.ShortMemory, "look_ahead", "recursion: strategy short_memory@1"),
        (leaks.Fickle, "repeatable", "a second run over the same candles gave other signals"),
    ],
    ids=lambda item: getattr(item, "name", None) if isinstance(item, type) else None,
)
def test_a_breach_is_named(cls: type[SignalStrategy], check: str, words: str) -> None:
    assert words in faults(cls)[check]


def test_a_parameter_without_a_default_is_a_breach() -> None:
    assert faults(_Demanding, level=1.0)["schema"] == "parameters without a default: level"
