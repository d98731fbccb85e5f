"""No built-in strategy looks ahead, on drawn and on recorded markets."""

from pathlib import Path

import pytest
from tests.unit.strategies.drawing import context_of, recorded, wandering

from perpdesk.domain.signal import SignalKind
from perpdesk.strategies.base import ArrayStrategy
from perpdesk.strategies.builtin.bollinger_reversion import BollingerReversion
from perpdesk.strategies.builtin.donchian_breakout import DonchianBreakout
from perpdesk.strategies.builtin.ema_trend import EmaTrend
from perpdesk.strategies.builtin.rsi_momentum import RsiMomentum
from perpdesk.strategies.builtin.smc import SmartMoneyConcepts
from perpdesk.strategies.lookahead import check_strategy
from perpdesk.strategies.replay import signals_of

BUILT_IN = [EmaTrend, RsiMomentum, BollingerReversion, DonchianBreakout, SmartMoneyConcepts]
BY_NAME = pytest.mark.parametrize("cls", BUILT_IN, ids=lambda cls: cls.name)

RECORDED = [
    ("binance", "BTCUSDT", "5m"),
    ("binance", "ETHUSDT", "1h"),
    ("bybit", "SOLUSDT", "4h"),
]


@BY_NAME
@pytest.mark.parametrize("seed", range(6))
def test_a_built_in_is_not_falsified_on_a_random_market(
    cls: type[ArrayStrategy], seed: int
) -> None:
    candles = wandering(8000, seed=seed)
    params = cls.Params()
    known = cls.signals(candles, params)
    verdict = check_strategy(cls, params, candles, context_of(candles), seed=seed, known=known)
    assert verdict.text == "not falsified"


@pytest.mark.recorded
@BY_NAME
@pytest.mark.parametrize(("venue", "symbol", "timeframe"), RECORDED)
def test_a_built_in_is_not_falsified_on_recorded_candles(
    shared_dir: Path, cls: type[ArrayStrategy], venue: str, symbol: str, timeframe: str
) -> None:
    candles = recorded(shared_dir, venue, symbol, timeframe)
    params = cls.Params()
    for seed in range(3):
        verdict = check_strategy(
            cls, params, candles, context_of(candles, tick_size="0.001"), seed=seed
        )
        assert verdict.text == "not falsified"


@pytest.mark.recorded
@BY_NAME
def test_a_built_in_signals_now_and_then_and_never_below_three_to_one(
    shared_dir: Path, cls: type[ArrayStrategy]
) -> None:
    hours = recorded(shared_dir, "binance", "BTCUSDT", "1h")
    hours = hours.between(1_672_531_200_000, 1_714_521_600_000)  # 2023-01-01 to 2024-05-01
    signals = [signal for _, signal in signals_of(cls, cls.Params(), context_of(hours), hours)]
    entries = [signal for signal in signals if signal.kind is SignalKind.ENTRY]
    assert 30 <= len(entries) <= 800
    assert all(signal.risk_reward is not None and signal.risk_reward >= 3 for signal in entries)
    assert all(signal.reason for signal in signals)
    longs = sum(signal.side.sign > 0 for signal in entries)
    assert 0.3 < longs / len(entries) < 0.7
