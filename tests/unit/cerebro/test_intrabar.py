"""Equity within the bars, worked by hand."""

from decimal import Decimal

import numpy as np
import pytest

from perpdesk.cerebro.execution import ExecutionBars, PriceColumns
from perpdesk.cerebro.host import AccountTrace
from perpdesk.cerebro.intrabar import intrabar_equity

D = Decimal
MINUTE_MS = 60_000


def bars_of(symbol: str, *rows: tuple[int, int, int, int]) -> ExecutionBars:
    """Return one-minute bars from 0 on; last and mark are the same."""
    atoms = np.array(rows, np.int64).T * 100_000_000
    prices = PriceColumns(open=atoms[0], high=atoms[1], low=atoms[2], close=atoms[3])
    opens = np.arange(len(rows), dtype=np.int64) * MINUTE_MS
    return ExecutionBars(
        symbol=symbol,
        ts_ms=opens,
        close_ms=opens + MINUTE_MS,
        last=prices,
        mark=prices,
        volume=np.ones(len(rows)),
        funding={},
        funding_bars=[],
        mark_coverage=1.0,
    )


def trace_of(symbols: list[str]) -> AccountTrace:
    """Return a trace that begins with 1,000 of cash."""
    trace = AccountTrace(symbols)
    trace.record_cash(0, D(1000))
    return trace


def test_a_long_position_is_valued_at_the_low_of_the_bars_that_it_was_held_through() -> None:
    trace = trace_of(["BTCUSDT"])
    # Bought 2 at 100 within the first bar, sold at 95 within the third: 10 lost.
    trace.record_position("BTCUSDT", MINUTE_MS, D(2), D(200), D(0))
    trace.record_position("BTCUSDT", 3 * MINUTE_MS, D(0), D(0), D(0))
    trace.record_cash(3 * MINUTE_MS, D(990))
    bars = bars_of("BTCUSDT", (100, 101, 80, 100), (100, 110, 90, 105), (105, 106, 50, 95))
    ((close, low),) = intrabar_equity(trace, {"BTCUSDT": bars})
    assert close.tolist() == [1000, 1010, 990]
    # Only the second bar was held through: 1000 + 2 x (90 - 100).
    assert low.tolist() == [1000, 980, 990]


def test_a_short_position_is_valued_at_the_high() -> None:
    trace = trace_of(["BTCUSDT"])
    trace.record_position("BTCUSDT", MINUTE_MS, D(-1), D(-100), D(0))
    bars = bars_of("BTCUSDT", (100, 100, 100, 100), (100, 130, 90, 95))
    ((close, low),) = intrabar_equity(trace, {"BTCUSDT": bars})
    assert close.tolist() == [1000, 1005]
    assert low.tolist() == [1000, 970]


def test_extremes_of_several_symbols_are_not_added_up() -> None:
    trace = trace_of(["BTCUSDT", "ETHUSDT"])
    for symbol in ("BTCUSDT", "ETHUSDT"):
        trace.record_position(symbol, MINUTE_MS, D(1), D(100), D(0))
    execution = {
        "BTCUSDT": bars_of("BTCUSDT", (100, 100, 100, 100), (100, 100, 70, 100)),
        "ETHUSDT": bars_of("ETHUSDT", (100, 100, 100, 100), (100, 100, 80, 110)),
    }
    ((close, low),) = intrabar_equity(trace, execution)
    assert close.tolist() == [1000, 1010]
    # BTC alone takes 30 from the close, ETH alone 30: the worse of the two, not 60.
    assert low.tolist() == [1000, 980]


def test_blocks_follow_one_another_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = trace_of(["BTCUSDT"])
    trace.record_position("BTCUSDT", 2 * MINUTE_MS, D(1), D(100), D(0))
    bars = bars_of("BTCUSDT", *[(100, 105, 95 - place, 101) for place in range(5)])
    ((close, low),) = intrabar_equity(trace, {"BTCUSDT": bars})
    monkeypatch.setattr("perpdesk.cerebro.intrabar._BLOCK", 2)
    blocks = list(intrabar_equity(trace, {"BTCUSDT": bars}))
    assert len(blocks) == 3
    assert np.concatenate([block[0] for block in blocks]).tolist() == close.tolist()
    assert np.concatenate([block[1] for block in blocks]).tolist() == low.tolist()
