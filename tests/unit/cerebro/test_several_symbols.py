"""Several symbols on one account do not disturb one another where margin is plenty."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.cerebro.builders import (
    M15,
    T0,
    D,
    Restless,
    Trial,
    fills,
    flat,
    marks_of,
    random_trial,
    told,
    walk,
)

from perpdesk.cerebro.execution import execution_bars
from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import MINUTE_MS
from perpdesk.domain.events import OrderFilled
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.trading.sizing import FixedQuantity


def roomy(seed: int, symbols: int) -> Trial:
    """A market of several symbols, and more capital than they can ever use."""
    trial = random_trial(seed, symbols=symbols)
    trial.settings = ExchangeSettings(
        initial_capital=D(10**8), leverage=D(5), margin_mode=MarginMode.ISOLATED
    )
    trial.sizing = FixedQuantity(D("1.5"))
    trial.parameters = Restless.Params(seed=seed, often=0.4)
    return trial


def deeds(found: list[OrderFilled], symbol: str) -> list[Any]:
    return [
        (fill.ts_ms, fill.side, fill.quantity, fill.price, fill.fee, fill.realized_pnl)
        for fill in found
        if fill.symbol == symbol
    ]


@pytest.mark.parametrize("seed", range(4))
def test_each_symbol_trades_as_if_it_were_alone(seed: int) -> None:
    together = roomy(seed + 700, 3)
    # One symbol has a hole of several strategy bars, so that only the others move there.
    (hole,) = [name for name in together.candles if name == "ETHUSDT"]
    bars = together.candles[hole]
    keep = [row for row in range(len(bars)) if not 40 <= row < 55]
    columns: dict[str, Any] = {name: column[keep] for name, column in bars.columns()}
    together.candles[hole] = replace(bars, ts_ms=bars.ts_ms[keep], **columns)
    found = fills(together.run())
    for symbol in together.candles:
        alone = replace(
            together,
            candles={symbol: together.candles[symbol]},
            execution={symbol: together.execution[symbol]},
        )
        assert deeds(fills(alone.run()), symbol) == deeds(found, symbol)
        assert deeds(found, symbol)


def test_a_signal_of_one_symbol_is_not_repeated_when_only_another_moves() -> None:
    # BTCUSDT stands still from 00:15 on, while ETHUSDT goes on.
    btc, eth = flat(1, timeframe=M15), flat(6, timeframe=M15, symbol="ETHUSDT")
    trial = Trial(
        candles={"BTCUSDT": btc, "ETHUSDT": eth},
        execution={
            name: execution_bars(candles, mark=None, funding=None)
            for name, candles in (("BTCUSDT", flat(6, timeframe=M15)), ("ETHUSDT", eth))
        },
        parameters=told({0: (1, 50, 500)}),
    )
    host = trial.run()
    asked = [one.signal.symbol for one in host.desk.pending.records.values()]
    assert asked == ["BTCUSDT", "ETHUSDT"]


def test_two_signals_of_one_bar_are_both_filled_at_the_next_open() -> None:
    eth = walk(9, 6, symbol="ETHUSDT")
    trial = Trial(
        candles={"BTCUSDT": flat(6), "ETHUSDT": eth},
        execution={
            "BTCUSDT": execution_bars(flat(6), mark=None, funding=None),
            "ETHUSDT": execution_bars(eth, mark=marks_of(eth, 1), funding=None),
        },
        parameters=told({2: (1, 50, 500)}),
    )
    entries = fills(trial.run())[:2]
    assert [(one.symbol, one.ts_ms) for one in entries] == [
        ("BTCUSDT", T0 + 15 * MINUTE_MS),
        ("ETHUSDT", T0 + 15 * MINUTE_MS),
    ]
    assert float(entries[1].price) == eth.open[3]


def two(sizing: Decimal, later: int) -> Trial:
    """Two symbols at 100 with 100 of capital at 1x; ETHUSDT asks `later` bars after BTCUSDT."""
    names = ("BTCUSDT", "ETHUSDT")
    trial = Trial(
        candles={name: flat(8, symbol=name) for name in names},
        execution={
            name: execution_bars(flat(8, symbol=name), mark=None, funding=None) for name in names
        },
        parameters=told({1: (1, 50, 500)}),
        sizing=FixedQuantity(sizing),
        settings=ExchangeSettings(initial_capital=D(100)),
    )
    keep = slice(later, None)
    trial.candles["ETHUSDT"] = trial.candles["ETHUSDT"][keep]
    return trial


@pytest.mark.parametrize("later", [0, 2])
def test_margin_that_one_symbol_binds_is_not_there_for_the_other(later: int) -> None:
    host = two(D("0.6"), later).run()
    assert host.desk.refusals == []
    first, second = fills(host)[:2]
    assert (first.symbol, first.quantity) == ("BTCUSDT", D("0.6"))
    # 60 and a fee of 0.03 are bound or about to be: 39.97 / 1.002 / 1.005 / 100.
    assert (second.symbol, second.quantity) == ("ETHUSDT", D("0.396"))


def test_where_nothing_is_left_the_later_signal_is_denied_and_says_so() -> None:
    host = two(D("0.99"), 0).run()
    states = [one.state.value for one in host.desk.pending.records.values()]
    assert states == ["CONFIRMED", "DENIED"]
    (denied,) = [one.reason for one in host.desk.pending.records.values() if one.reason]
    assert "smallest legal order of 0.05" in denied
