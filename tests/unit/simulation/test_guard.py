"""The guard names the prices between which a bar changes nothing but the mark."""

from decimal import Decimal

import pytest
from tests.unit.simulation.trial import BTC, BUY, SELL, Trial

from perpdesk.domain.account import MarginMode
from perpdesk.domain.order import OrderType, TimeInForce, Trailing, WorkingPrice
from perpdesk.simulation.guard import Guard
from perpdesk.simulation.settings import ExchangeSettings, LimitFill
from perpdesk.simulation.slippage import FixedSlippage, NoSlippage, SquareRootImpact

D = Decimal


def guard(trial: Trial) -> Guard:
    found = trial.exchange.guard(BTC)
    assert found is not None
    return found


def test_nothing_can_happen_to_an_account_without_orders_and_positions() -> None:
    assert guard(Trial()) == Guard(None, None, None, None, None)


def test_an_order_that_has_not_rested_must_see_the_next_bar() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=OrderType.LIMIT, price="9900")
    assert trial.exchange.guard(BTC) is None


@pytest.mark.parametrize(
    ("model", "low"), [(LimitFill.THROUGH, "9899.9"), (LimitFill.TOUCH, "9900")]
)
def test_a_resting_order_bounds_last_price(model: LimitFill, low: str) -> None:
    trial = Trial(limit_fill=model)
    trial.submit(
        "a",
        BUY,
        kind=OrderType.LIMIT,
        price="9900",
        time_in_force=TimeInForce.GTD,
        expire_ms=900_000,
    )
    trial.flat(10000)
    assert guard(trial) == Guard(D(low), None, None, None, 900_000)


def test_a_position_bounds_the_mark_by_its_liquidation_price() -> None:
    trial = Trial()
    trial.submit("a", SELL)
    trial.flat(10000)
    assert guard(trial).mark_high == trial.exchange.liquidation_price(BTC)


def test_stops_bound_the_price_that_they_watch() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("a", BUY, kind=OrderType.STOP_MARKET, trigger="10100")
    trial.submit(
        "b",
        SELL,
        kind=OrderType.STOP_MARKET,
        trigger="9900",
        working_price=WorkingPrice.MARK,
    )
    trial.flat(10000)
    assert guard(trial) == Guard(None, D(10100), D(9900), None, None)


def test_a_trailing_stop_bounds_both_sides() -> None:
    trial = Trial()
    trial.flat(10000)
    trail = Trailing(callback_rate=D("0.01"))
    trial.submit("a", SELL, kind=OrderType.TRAILING_STOP_MARKET, trailing=trail)
    trial.flat(10000)
    assert guard(trial) == Guard(D(9900), D(10000), None, None, None)


def test_a_sleeping_trailing_stop_waits_for_its_activation_price() -> None:
    trial = Trial()
    trial.flat(10000)
    trail = Trailing(callback_rate=D("0.01"), activation_price=D(10200))
    trial.submit("a", SELL, kind=OrderType.TRAILING_STOP_MARKET, trailing=trail)
    trial.flat(10000)
    assert guard(trial) == Guard(None, D(10200), None, None, None)


def test_skipping_moves_prices_and_time() -> None:
    trial = Trial(margin_mode=MarginMode.CROSS)
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.exchange.skip_to(BTC, 180_000, last_price=D(10010), mark_price=D(10020))
    assert trial.exchange.now_ms == 180_000
    assert trial.exchange.account().unrealized == 20


def test_the_fill_model_is_told_in_words() -> None:
    told = ExchangeSettings(
        initial_capital=D(1), max_volume_share=D("0.10"), tier_step_down=False
    ).describe()
    assert told["volume"] == "at most 0.1 of a bar's volume"
    assert told["market_orders"] == "next execution open, slippage none"
    assert told["liquidation"] == "whole position at once"
    assert NoSlippage().describe() == "none"
    assert FixedSlippage(D("2.50")).describe() == "fixed 2.5 bps"
    assert "sqrt(share of volume)" in SquareRootImpact(D(1), D(30)).describe()
