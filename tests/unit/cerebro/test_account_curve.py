"""The curve is what the account was: equal to asking the exchange after every bar."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from tests.unit.cerebro.builders import (
    T0,
    D,
    Trial,
    flat,
    funding_of,
    naive_run,
    random_trial,
    told,
    trial_of,
)
from tests.unit.simulation.market import instrument_of

from perpdesk.cerebro.account_curve import CurveDrawer
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.account import AccountCurve
from perpdesk.domain.candles import MINUTE_MS, Times, Venue
from perpdesk.domain.events import FundingSettled, OrderFilled
from perpdesk.domain.instrument import FeePeriod, FeeRates, FeeSchedule
from perpdesk.domain.numbers import amount_of, atoms_of
from perpdesk.simulation.settings import ExchangeSettings


def drawer_of(trial: Trial, host: SimulationHost) -> CurveDrawer:
    return CurveDrawer(
        host.trace,
        instruments=host.desk.instruments,
        execution=trial.execution,
        leverage={name: state.leverage for name, state in host.exchange.symbols.items()},
    )


def closes_of(trial: Trial) -> Times:
    closes = [each.timeframe.close_all(each.ts_ms) for each in trial.candles.values()]
    return np.unique(np.concatenate(closes))


def curve_of(trial: Trial, host: SimulationHost) -> AccountCurve:
    return drawer_of(trial, host).draw(closes_of(trial))


def rows_of(curve: AccountCurve) -> dict[int, tuple[Decimal, ...]]:
    columns = (curve.cash, curve.unrealized, curve.used_margin, curve.maintenance_margin)
    return {
        int(ts_ms) + 1: tuple(amount_of(int(column[row])) for column in columns)
        for row, ts_ms in enumerate(curve.ts_ms)
    }


def assert_same_accounts(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> int:
    """Compare every row but the last, which holds the close-out; return how many."""
    _, naive = naive_run(trial, monkeypatch)
    quick = trial.run()
    drawn = rows_of(curve_of(trial, quick))
    seen = {
        close_ms: (each.cash, each.unrealized, each.used_margin, each.maintenance_margin)
        for close_ms, each in naive.accounts.items()
    }
    last_ms = max(seen)
    compared = {close_ms: row for close_ms, row in seen.items() if close_ms < last_ms}
    assert {close_ms: drawn[close_ms] for close_ms in compared} == compared
    return len(compared)


@pytest.mark.parametrize("symbols", [1, 2])
@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
@pytest.mark.parametrize("seed", range(6))
def test_every_row_is_what_the_exchange_said_at_that_bar(
    seed: int, venue: Venue, symbols: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = random_trial(seed + 300, venue=venue, symbols=symbols)
    assert assert_same_accounts(trial, monkeypatch) > 10


def test_the_reserved_fee_is_that_of_the_last_fill_though_fees_have_changed_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Filled under the old schedule; funding settles under the new one, which leaves the reserve.
    rates = FeeRates(maker=D("0.0002"), taker=D("0.002"))
    instrument = instrument_of(Venue.BYBIT)
    periods = (
        *instrument.fees.periods,
        FeePeriod(valid_from_ms=T0 + 20 * MINUTE_MS, rates=rates),
    )
    instrument = replace(instrument, fees=FeeSchedule(name="two", periods=periods))
    trial = trial_of(
        flat(12),
        funding=funding_of((T0 + 30 * MINUTE_MS, 0.001)),
        parameters=told({0: (1, 50, 500)}),
        venue=Venue.BYBIT,
        instruments={"BTCUSDT": instrument},
        settings=ExchangeSettings(initial_capital=D(10_000), leverage=D(5)),
    )
    assert assert_same_accounts(trial, monkeypatch) == 11


@pytest.mark.parametrize("seed", range(4))
def test_a_row_holds_exactly_the_events_up_to_its_time(seed: int) -> None:
    trial = random_trial(seed + 400)
    host = trial.run()
    curve = curve_of(trial, host)
    changes = [
        (event.ts_ms, atoms_of(event.realized_pnl - event.fee))
        if isinstance(event, OrderFilled)
        else (event.ts_ms, atoms_of(event.amount))
        for event in host.events
        if isinstance(event, OrderFilled | FundingSettled)
    ]
    assert changes
    first = atoms_of(trial.settings.initial_capital)
    for ts_ms, cash in zip(curve.ts_ms.tolist(), curve.cash.tolist(), strict=True):
        assert cash == first + sum(change for when, change in changes if when <= ts_ms)


def test_the_last_row_holds_the_close_out() -> None:
    trial = trial_of(flat(6), parameters=told({0: (1, 50, 500)}))
    host = trial.run()
    curve = curve_of(trial, host)
    # Bought and sold 1 at 100: two fees of 100 · 0.0005.
    assert amount_of(int(curve.cash[-1])) == D("9999.9")
    assert [int(curve.unrealized[-1]), int(curve.used_margin[-1])] == [0, 0]
    assert host.events[-1].ts_ms == int(curve.ts_ms[-1]) == T0 + 30 * MINUTE_MS - 1


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize("seed", [500, 501])
def test_a_curve_drawn_in_parts_is_the_curve_drawn_at_once(seed: int, size: int) -> None:
    # With parts as short as one row, many begin before the first trade and within a position.
    trial = random_trial(seed, symbols=2)
    host = trial.run()
    drawer, closes = drawer_of(trial, host), closes_of(trial)
    parts = [drawer.draw(closes[at : at + size]) for at in range(0, len(closes), size)]
    whole = rows_of(drawer.draw(closes))
    assert {ts_ms: row for part in parts for ts_ms, row in rows_of(part).items()} == whole


def test_a_part_before_anything_happened_is_flat() -> None:
    trial = trial_of(flat(6))
    host = trial.host()
    part = drawer_of(trial, host).draw(closes_of(trial)[:3])
    assert rows_of(part)[T0 + 5 * MINUTE_MS] == (D(10_000), D(0), D(0), D(0))
