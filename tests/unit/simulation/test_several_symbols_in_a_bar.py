"""Bars of several symbols over one stretch of time: stage by stage, whatever their order."""

from decimal import Decimal

import pytest
from tests.unit.simulation.trial import BTC, BUY, SELL, Trial, of_type, request_of, target

from perpdesk.domain.account import MarginMode
from perpdesk.domain.events import FundingSettled, OrderRejected, PositionLiquidated

D = Decimal
ETH = "ETHUSDT"
BOTH = [(BTC, ETH), (ETH, BTC)]


def holding_btc(symbols: tuple[str, ...], cash: str = "3000") -> Trial:
    """Return a cross account that is long one BTC from 10,000 at 10x."""
    trial = Trial(cash=cash, symbols=symbols, margin_mode=MarginMode.CROSS)
    trial.submit("btc", BUY)
    trial.together({BTC: (10000,) * 4, ETH: (1000,) * 4})
    assert trial.held() == 1
    return trial


@pytest.mark.parametrize("symbols", BOTH)
def test_an_entry_at_the_open_does_not_know_where_another_symbol_closed(
    symbols: tuple[str, ...],
) -> None:
    trial = holding_btc(symbols)
    trial.submit("eth", BUY, "18", symbol=ETH)
    # At the open: 3000 - fee 5 - 1000 of margin = 1995 free, and 18,000 / 10 + fee 9 = 1809 is
    # needed. At the close of the same bar only 2995 - 1000 - 900 = 1095 would be free.
    prices = {BTC: (10000, 10000, 9000, 9000), ETH: (1000,) * 4}
    events = trial.together({symbol: prices[symbol] for symbol in symbols})
    assert not of_type(events, OrderRejected)
    assert trial.held(ETH) == 18


@pytest.mark.parametrize("symbols", BOTH)
def test_events_of_one_stretch_come_in_order_of_time(symbols: tuple[str, ...]) -> None:
    trial = Trial(symbols=symbols)
    trial.bracket(request_of("btc", BUY), target("btc", SELL, "10100"))
    trial.together({BTC: (10000,) * 4, ETH: (1000,) * 4})
    trial.submit("eth", SELL, symbol=ETH)
    prices = {BTC: (10000, 10200, 9900, 10000), ETH: (1000, 1010, 990, 1000)}
    events = trial.together({symbol: prices[symbol] for symbol in symbols})
    times = [event.ts_ms for event in events]
    assert len(set(times)) == 2
    assert times == sorted(times)


@pytest.mark.parametrize("symbols", BOTH)
def test_funding_settles_in_order_of_time_across_symbols(symbols: tuple[str, ...]) -> None:
    trial = holding_btc(symbols)
    trial.submit("eth", BUY, symbol=ETH)
    events = trial.together(
        {symbol: (10000,) * 4 if symbol == BTC else (1000,) * 4 for symbol in symbols},
        funding={BTC: (2000, "0.0001", "10000"), ETH: (1000, "0.0001", "1000")},
    )
    assert [event.symbol for event in of_type(events, FundingSettled)] == [ETH, BTC]


def test_a_mark_path_liquidates_at_its_own_price_wherever_last_price_stands() -> None:
    trial = Trial(leverage="10")
    trial.submit("entry", BUY)
    trial.flat(10000)
    # (1000 - 10,000) / (0.004 - 1) = 9036.1445783…, between the mark's open and its low; last price
    # opens beyond it already, which is not what liquidation looks at.
    assert trial.exchange.liquidation_price(BTC) == D(9000) / D("0.996")
    events = trial.bar((9000, 9000, 8990, 8995), mark=(9100, 9100, 9030, 9050))
    (liquidated,) = of_type(events, PositionLiquidated)
    assert liquidated.mark_price == D("9036.14457831")
