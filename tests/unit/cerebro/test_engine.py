"""What a run through Cerebro does, bar by bar, on markets small enough to follow by hand."""

from dataclasses import replace
from typing import Any

import backtrader as bt
import pytest
from tests.unit.cerebro.builders import (
    M5,
    M15,
    T0,
    D,
    Restless,
    Told,
    candles_of,
    fills,
    flat,
    funding_of,
    random_trial,
    story,
    told,
    trial_of,
    walk,
)

from perpdesk.cerebro.engine import DeskCerebro
from perpdesk.domain.candles import HOUR_MS, MINUTE_MS
from perpdesk.domain.errors import DataRefused, StrategyFailed, UsageRefused
from perpdesk.domain.events import (
    AccountStopped,
    FundingSettled,
    OrderAccepted,
    OrderExpired,
    StopCause,
)
from perpdesk.domain.order import OrderPurpose
from perpdesk.domain.signal import PositionSide, Signal, SignalKind, SignalState
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.strategies.base import SignalStrategy
from perpdesk.trading.sizing import FixedNotional, FixedQuantity, PercentRisk

Row = tuple[float, float, float, float]


def rising(count: int) -> list[Row]:
    """Bar n opens at 100 + n, closes half above it: no two prices of the series are the same."""
    return [(100.0 + n, 100.9 + n, 99.9 + n, 100.5 + n) for n in range(count)]


# When things happen.


def test_a_market_entry_fills_at_the_open_of_the_next_execution_bar() -> None:
    candles = candles_of(rising(9))
    host = trial_of(candles, timeframe=M15, parameters=told({0: (1, 50, 500)})).run()
    first = fills(host)[0]
    # The bar of 15 minutes closes with the third of 5, at 102.5; the fourth opens at 103.
    assert (first.ts_ms, first.price) == (T0 + 15 * MINUTE_MS, D(103))


def test_the_fill_does_not_know_the_close_of_the_signals_bar() -> None:
    rows = rising(9)
    rows[2] = (102.0, 140.0, 99.0, 140.0)
    candles = candles_of(rows)
    host = trial_of(candles, timeframe=M15, parameters=told({0: (1, 50, 500)})).run()
    assert fills(host)[0].price == D(103)


def test_a_signal_of_the_last_bar_finds_no_bar_to_fill_in() -> None:
    candles = flat(6)
    host = trial_of(candles, parameters=told({5: (1, 90, 150)})).run()
    assert fills(host) == []
    assert [type(event).__name__ for event in host.events] == ["OrderAccepted", "OrderCanceled"]


def test_the_stop_works_on_the_bar_of_the_entry() -> None:
    rows: list[Row] = [(100, 100, 100, 100), (100, 100.5, 97, 99), (99, 99, 99, 99)]
    host = trial_of(candles_of(rows), parameters=told({0: (1, 98, 500)})).run()
    entry, stop = fills(host)
    assert (entry.purpose, entry.price, entry.ts_ms) == (OrderPurpose.ENTRY, D(100), T0 + 300_000)
    assert (stop.purpose, stop.price) == (OrderPurpose.STOP_LOSS, D(98))
    assert T0 + 300_000 < stop.ts_ms < T0 + 600_000


def test_the_target_works_on_the_bar_of_the_entry() -> None:
    rows: list[Row] = [(100, 100, 100, 100), (100, 103, 99, 102), (99, 99, 99, 99)]
    host = trial_of(candles_of(rows), parameters=told({0: (1, 98, 102.5)})).run()
    _, target = fills(host)
    assert (target.purpose, target.price) == (OrderPurpose.TAKE_PROFIT, D("102.5"))


def test_where_the_entry_bar_touches_both_the_stop_is_hit() -> None:
    rows: list[Row] = [(100, 100, 100, 100), (100, 110, 97, 109), (99, 99, 99, 99)]
    host = trial_of(candles_of(rows), parameters=told({0: (1, 98, 102.5)})).run()
    assert [fill.purpose for fill in fills(host)] == [OrderPurpose.ENTRY, OrderPurpose.STOP_LOSS]


def test_execution_bars_decide_inside_a_strategy_bar() -> None:
    # One bar of 15 minutes touches both: its second third reaches the target, its last the stop.
    rows: list[Row] = [(100, 100, 100, 100)] * 3
    rows += [(100, 100, 100, 100), (100, 104, 100, 103), (103, 103, 95, 96)]
    candles = candles_of(rows + [(96, 96, 96, 96)] * 3)
    plan = told({0: (1, 98, 102.5)})
    fine = trial_of(candles, timeframe=M15, parameters=plan).run()
    assert [fill.purpose for fill in fills(fine)][1] is OrderPurpose.TAKE_PROFIT


def test_a_flip_closes_and_enters_at_the_same_open() -> None:
    host = trial_of(
        candles_of(rising(6)), parameters=told({0: (1, 50, 500), 2: (-1, 500, 50)})
    ).run()
    found = [(fill.purpose, fill.price, fill.position_after) for fill in fills(host)]
    assert found[:3] == [
        (OrderPurpose.ENTRY, D(101), D(1)),
        (OrderPurpose.EXIT, D(103), D(0)),
        (OrderPurpose.ENTRY, D(103), D(-1)),
    ]


def test_an_exit_signal_closes_at_the_next_open() -> None:
    host = trial_of(candles_of(rising(6)), parameters=told({0: (1, 50, 500)}, exits={2: 1})).run()
    _, leave = fills(host)
    assert (leave.purpose, leave.ts_ms, leave.price) == (
        OrderPurpose.EXIT,
        T0 + 15 * MINUTE_MS,
        D(103),
    )


def test_a_confirmation_after_seven_minutes_fills_at_the_first_open_after_them() -> None:
    host = trial_of(
        candles_of(rising(9)), parameters=told({0: (1, 50, 500)}), delay_ms=7 * MINUTE_MS
    ).run()
    # The bar closes at 5 minutes; 12 minutes is inside a bar; the next opens at 15.
    accepted = next(event for event in host.events if isinstance(event, OrderAccepted))
    assert accepted.ts_ms == T0 + 15 * MINUTE_MS
    assert (fills(host)[0].ts_ms, fills(host)[0].price) == (T0 + 15 * MINUTE_MS, D(103))


def test_a_limit_entry_expires_when_the_next_strategy_bar_closes() -> None:
    candles = flat(12)
    host = trial_of(
        candles, timeframe=M15, parameters=told({0: (1, 50, 500)}, limits={0: 90})
    ).run()
    expired = next(event for event in host.events if isinstance(event, OrderExpired))
    assert expired.ts_ms == T0 + 30 * MINUTE_MS
    assert fills(host) == []


def test_a_limit_entry_can_still_fill_in_the_last_execution_bar_before_it_expires() -> None:
    rows: list[Row] = [*[(100, 100, 100, 100)] * 5, (100, 100, 80, 100)]
    candles = candles_of(rows + [(100, 100, 100, 100)] * 3)
    host = trial_of(
        candles, timeframe=M15, parameters=told({0: (1, 50, 500)}, limits={0: 90})
    ).run()
    assert fills(host)[0].price == 90


def test_a_limit_renewed_every_bar_is_not_starved_by_the_one_it_replaces() -> None:
    # 9 000 of 10 000 at 1x: there is no room for two, and never two are wanted.
    plan = told({bar: (1, 50, 500) for bar in range(4)}, limits=dict.fromkeys(range(4), 90.0))
    host = trial_of(
        flat(6),
        parameters=plan,
        sizing=FixedNotional(D(9_000)),
        settings=ExchangeSettings(initial_capital=D(10_000)),
    ).run()
    sizes = [event.quantity for event in host.events if isinstance(event, OrderAccepted)]
    assert sizes == [D(100)] * 4


def test_a_signal_before_a_hole_in_the_bars_is_ordered_at_its_own_time() -> None:
    # The last two thirds of the first bar of 15 minutes are missing.
    candles = candles_of(rising(7), skip=[1, 2])
    host = trial_of(candles, timeframe=M15, parameters=told({0: (1, 50, 500)})).run()
    accepted = next(event for event in host.events if isinstance(event, OrderAccepted))
    assert accepted.ts_ms == T0 + 15 * MINUTE_MS
    assert fills(host)[0].price == D(101)


def test_percent_risk_sizes_by_the_equity_of_the_moment() -> None:
    rows: list[Row] = [(100, 100, 100, 100), (100, 100, 100, 100), (110, 110, 110, 110)]
    candles = candles_of(rows + [(110, 110, 110, 110)] * 3)
    host = trial_of(
        candles,
        parameters=told({0: (1, 90, 500), 2: (-1, 120, 50)}),
        sizing=PercentRisk(D(1)),
    ).run()
    entry, close, turn = fills(host)[:3]
    # 1 % of 10 000 over 10 is 10. It gained 100 less the fee of 0.5: 1 % of 10 099.5 over 10.
    assert (entry.quantity, close.quantity, turn.quantity) == (D(10), D(10), D("10.099"))


# Warm-up.


def test_signals_of_the_warm_up_are_not_acted_on() -> None:
    candles = candles_of(rising(9))
    trial = trial_of(candles, parameters=told({1: (1, 50, 500), 2: (1, 51, 500), 4: (1, 52, 500)}))
    trial.start_ms = T0 + 15 * MINUTE_MS
    host = trial.run()
    assert next(fill.ts_ms for fill in fills(host)) == T0 + 25 * MINUTE_MS
    assert len(host.desk.pending.records) == 1


# Two loops.


class Stock(Restless):
    """The same strategy, with a `next` of its own: Backtrader's own loop has to run it."""

    def next(self) -> None:
        super().next()


@pytest.mark.parametrize("seed", range(8))
def test_backtraders_loop_and_the_short_cut_give_equal_events(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = random_trial(seed)
    short = trial.run()
    loops: list[int] = []
    stock = bt.Cerebro._runonce

    def noted(self: Any, strategies: Any) -> None:
        loops.append(len(strategies))
        stock(self, strategies)

    monkeypatch.setattr(bt.Cerebro, "_runonce", noted)
    long = trial.run(Stock)
    assert loops == [1]
    assert story(long.events) == story(short.events)
    assert long.desk.pending.records == short.desk.pending.records


@pytest.mark.parametrize("extra", ["analyzer", "indicator", "writer"])
def test_anything_that_watches_brings_backtraders_own_loop(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(Told):
        def __init__(self) -> None:
            if extra == "indicator":
                self.average = bt.indicators.SMA(self.data.close, period=2)

    add = DeskCerebro.adddata

    def with_extra(self: Any, feed: Any, name: str) -> None:
        add(self, feed, name=name)
        if extra == "analyzer":
            self.addanalyzer(bt.analyzers.TimeReturn)
        elif extra == "writer":
            self.addwriter(bt.WriterFile, out="/dev/null")

    trial = trial_of(candles_of(rising(9)), parameters=told({2: (1, 50, 500), 5: (-1, 500, 50)}))
    plain = trial.run()
    monkeypatch.setattr(DeskCerebro, "adddata", with_extra)
    assert story(trial.run(Watched).events) == story(plain.events)


# The end of an account.


def blown(**others: Any) -> Any:
    """A long of 20x that falls by half: it is liquidated, and nothing is left to trade with."""
    rows: list[Row] = [*[(100, 100, 100, 100)] * 3, (100, 100, 40, 50), *[(50, 50, 50, 50)] * 8]
    return trial_of(
        candles_of(rows),
        parameters=told({0: (1, None, None), 5: (1, 49, 60), 6: (-1, 51, 40)}),
        sizing=FixedQuantity(D(1)),
        settings=ExchangeSettings(initial_capital=D("5.2"), leverage=D(20)),
        **others,
    )


def test_an_account_that_cannot_trade_on_stops_and_takes_no_more_signals() -> None:
    host = blown().run()
    assert isinstance(host.events[-1], AccountStopped)
    assert host.events[-1].cause is StopCause.INSUFFICIENT_FREE_MARGIN
    assert len(host.desk.pending.records) == 1
    assert host.desk.refusals == []


def test_a_stopped_account_ends_both_loops_alike() -> None:
    class Slow(Told):
        def next(self) -> None:
            super().next()

    short, long = blown().run(), blown().run(Slow)
    assert story(short.events) == story(long.events)
    assert short.desk.pending.records == long.desk.pending.records


# Backtrader's own way.


class Bars(SignalStrategy):
    """Note what Backtrader shows on every bar."""

    name = "bars"
    seen: list[dict[str, Any]]

    def __init__(self) -> None:
        self.average = bt.indicators.SMA(self.data.close, period=3)
        self.before = self.data.close(-1)
        type(self).seen = []

    def generate_signal(self) -> Signal | None:
        data = self.data
        type(self).seen.append(
            {
                "length": (len(self), len(data), len(data.close)),
                "open": data.open[0],
                "high": data.high[0],
                "low": data.low[0],
                "close": data.close[0],
                "volume": data.volume[0],
                "ago": (data.close[-1], data.close[-2]),
                "line": self.before[0],
                "several": list(data.close.get(size=3)),
                "average": self.average[0],
                "moment": bt.num2date(data.datetime[0]).isoformat(),
                "position": (self.position.size, self.position.price),
                "value": self.broker.getvalue(),
            }
        )
        return None


def test_a_plain_strategy_with_indicators_sees_the_right_bars() -> None:
    candles = walk(3, 40)
    trial_of(candles, strategy=Bars, parameters=Bars.Params()).run()
    assert len(Bars.seen) == 38
    for row, seen in enumerate(Bars.seen, 2):
        closes = candles.close
        assert seen["length"] == (row + 1, row + 1, row + 1)
        for name, column in candles.columns():
            assert seen[name] == column[row]
        assert seen["ago"] == (closes[row - 1], closes[row - 2])
        assert seen["line"] == closes[row - 1]
        assert seen["several"] == closes[row - 2 : row + 1].tolist()
        assert seen["average"] == pytest.approx(closes[row - 2 : row + 1].mean(), rel=1e-12)
        expected = bt.num2date(719_163 + int(candles.ts_ms[row]) / 86_400_000).isoformat()
        assert seen["moment"] == expected
    assert Bars.seen[0]["moment"] == "2023-11-15T00:10:00"


def test_a_strategy_reads_its_position_and_equity_from_the_account() -> None:
    class Holder(Bars):
        def generate_signal(self) -> Signal | None:
            super().generate_signal()
            if len(self) == 3:
                return self.enter(PositionSide.LONG, stop_loss=50, take_profits=[(500, 1)])
            return None

    trial_of(candles_of(rising(7)), strategy=Holder, parameters=Bars.Params()).run()
    # Entered at 103, the open of the fourth bar, which closes at 103.5; the fee is 103 · 0.0005.
    fourth = Holder.seen[1]
    assert fourth["position"] == (1.0, 103.0)
    assert fourth["value"] == pytest.approx(10_000 + 0.5 - 0.0515)


@pytest.mark.parametrize("call", ["buy", "sell", "order_target_percent"])
def test_a_strategy_that_orders_by_itself_is_refused(call: str) -> None:
    class Rebel(Bars):
        def generate_signal(self) -> Signal | None:
            arguments = {"target": 0.5} if "target" in call else {"size": 1}
            getattr(self, call)(**arguments)
            return None

    with pytest.raises((StrategyFailed, UsageRefused), match="order"):
        trial_of(flat(9), strategy=Rebel, parameters=Bars.Params()).run()


@pytest.mark.parametrize("call", ["buy", "submit", "cancel", "sell"])
def test_the_broker_takes_no_orders_either(call: str) -> None:
    class Rebel(Bars):
        def generate_signal(self) -> Signal | None:
            getattr(self.broker, call)(None)
            return None

    with pytest.raises(UsageRefused, match="strategies do not send orders"):
        trial_of(flat(9), strategy=Rebel, parameters=Bars.Params()).run()


# Plugins that fail.


def test_an_error_in_a_bar_names_strategy_file_line_and_bar() -> None:
    class Breaks(Bars):
        def generate_signal(self) -> Signal | None:
            return None if len(self) < 5 else dict[str, Signal]()["missing"]

    with pytest.raises(StrategyFailed) as caught:
        trial_of(flat(9), strategy=Breaks, parameters=Bars.Params()).run()
    assert "strategy bars@1 raised KeyError in" in caught.value.message
    assert "test_engine.py, line" in caught.value.message
    assert "at the bar that opened 2023-11-15T00:20:00Z" in caught.value.message


def test_an_indicator_longer_than_the_data_is_told_in_words() -> None:
    class Long(Bars):
        def __init__(self) -> None:
            self.average = bt.indicators.EMA(self.data.close, period=50)

    with pytest.raises(DataRefused, match=r"bars@1 needs 50 candles .* BTCUSDT 5m has 9"):
        trial_of(flat(9), strategy=Long, parameters=Bars.Params()).run()


@pytest.mark.parametrize("answer", ["LONG", {"side": 1}, 1, True])
def test_an_answer_that_is_no_signal_is_refused(answer: Any) -> None:
    class Odd(Bars):
        def generate_signal(self) -> Any:
            return answer

    with pytest.raises(StrategyFailed, match=r"bars@1.*not a Signal"):
        trial_of(flat(9), strategy=Odd, parameters=Bars.Params()).run()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"symbol": "ETHUSDT"}, "symbol ETHUSDT"), ({"ts_ms": T0 + HOUR_MS}, "ts_ms")],
)
def test_a_signal_of_another_symbol_or_time_is_refused(change: dict[str, Any], words: str) -> None:
    class Odd(Bars):
        def generate_signal(self) -> Any:
            return replace(self.exit(PositionSide.LONG), **change)

    with pytest.raises(StrategyFailed, match=words):
        trial_of(flat(9), strategy=Odd, parameters=Bars.Params()).run()


# Funding on the way.


def test_funding_is_charged_on_what_is_open_when_it_settles() -> None:
    settled = funding_of((T0 + 10 * MINUTE_MS, 0.001), (T0 + 20 * MINUTE_MS + 3, 0.001), mark=200.0)
    host = trial_of(
        flat(9), funding=settled, parameters=told({1: (1, 50, 500), 4: (-1, 500, 50)})
    ).run()
    amounts = [
        (event.ts_ms, event.signed_quantity, event.amount)
        for event in host.events
        if isinstance(event, FundingSettled)
    ]
    # Filled at the open of 00:10 and settled at 00:10; 1 · 200 · 0.001 each; a long pays.
    assert amounts == [
        (T0 + 10 * MINUTE_MS, D(1), D("-0.2")),
        (T0 + 20 * MINUTE_MS + 3, D(1), D("-0.2")),
    ]


def test_exits_of_the_strategy_are_confirmed_without_waiting() -> None:
    host = trial_of(
        candles_of(rising(9)),
        parameters=told({0: (1, 50, 500)}, exits={4: 1}),
        delay_ms=7 * MINUTE_MS,
    ).run()
    leave = [
        one for one in host.desk.pending.records.values() if one.signal.kind is SignalKind.EXIT
    ]
    assert [one.state for one in leave] == [SignalState.CONFIRMED]
    assert fills(host)[-1].ts_ms == T0 + 25 * MINUTE_MS


def test_strategy_bars_equal_execution_bars_where_there_is_only_one_series() -> None:
    same = trial_of(candles_of(rising(9)), parameters=told({0: (1, 50, 500)}))
    also = trial_of(candles_of(rising(9)), timeframe=M5, parameters=told({0: (1, 50, 500)}))
    assert story(same.run().events) == story(also.run().events)
