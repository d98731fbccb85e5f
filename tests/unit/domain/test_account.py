"""Positions and accounts by their definitions."""

from decimal import Decimal

import numpy as np

from perpdesk.domain.account import AccountCurve, AccountState, Position
from perpdesk.domain.signal import PositionSide

D = Decimal


def state(cash: str, unrealized: str, used: str) -> AccountState:
    return AccountState(
        ts_ms=0,
        cash=D(cash),
        unrealized=D(unrealized),
        used_margin=D(used),
        maintenance_margin=D(0),
    )


def test_free_margin_is_equity_less_used_margin() -> None:
    account = state("100", "-10", "30")
    assert (account.equity, account.free_margin, account.available) == (D(90), D(60), D(60))


def test_nothing_is_available_under_water() -> None:
    account = state("100", "-90", "30")
    assert (account.free_margin, account.available) == (D(-20), D(0))


def test_a_short_has_a_positive_entry_price() -> None:
    position = Position(symbol="A", signed_quantity=D(-2), entry_value=D(-210))
    assert (position.side, position.average_entry_price) == (PositionSide.SHORT, D(105))
    assert position.is_open


def test_a_flat_position_has_no_side_and_no_price() -> None:
    position = Position(symbol="A")
    assert position.side is None
    assert position.average_entry_price is None
    assert not position.is_open


def test_a_curve_follows_the_same_definitions() -> None:
    columns = [np.array(rows, np.int64) for rows in ([1, 2], [100, 100], [-10, -90], [30, 30])]
    curve = AccountCurve(
        ts_ms=columns[0],
        cash=columns[1],
        unrealized=columns[2],
        used_margin=columns[3],
        maintenance_margin=columns[3],
    )
    assert len(curve) == 2
    assert curve.equity.tolist() == [90, 10]
    assert curve.free_margin.tolist() == [60, -20]
    assert curve.available.tolist() == [60, 0]
