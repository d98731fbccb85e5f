"""Rule 3: stops, stop-limits, take-profit orders and trailing stops."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.simulation.trial import BUY, SELL, Trial, of_type, only

from perpdesk.domain.events import OrderExpired, OrderFilled, OrderRejected, OrderTriggered
from perpdesk.domain.order import Liquidity, OrderType, Side, TimeInForce, Trailing, WorkingPrice
from perpdesk.simulation.slippage import FixedSlippage

D = Decimal
STOP, STOP_LIMIT = OrderType.STOP_MARKET, OrderType.STOP_LIMIT
TAKE, TAKE_LIMIT = OrderType.TAKE_PROFIT_MARKET, OrderType.TAKE_PROFIT_LIMIT


def long_trial(**settings: Any) -> Trial:
    """Return a trial that is long 1 from 10,000."""
    trial = Trial(**settings)
    trial.submit("entry", BUY)
    trial.flat(10000)
    assert trial.held() == 1
    return trial


def test_a_stop_fills_at_its_trigger_plus_slippage_as_taker() -> None:
    trial = long_trial(slippage=FixedSlippage(D(10)))
    trial.submit("s", SELL, kind=STOP, trigger="9900", reduce_only=True)
    events = trial.bar((10000, 10000, 9850, 9990))
    assert only(events, OrderTriggered).trigger_price == D(9900)
    fill = only(events, OrderFilled)
    # 10 bps of 9,900 are 9.9.
    assert (fill.price, fill.liquidity) == (D("9890.1"), Liquidity.TAKER)


def test_a_gap_through_a_stop_fills_at_the_open() -> None:
    trial = long_trial()
    trial.submit("s", SELL, kind=STOP, trigger="9900", reduce_only=True)
    fill = only(trial.bar((9800, 9950, 9700, 9900)), OrderFilled)
    assert (fill.price, fill.ts_ms) == (D(9800), 60_000)


def test_a_stop_on_last_price_ignores_the_mark() -> None:
    trial = long_trial()
    trial.submit("s", SELL, kind=STOP, trigger="9900", reduce_only=True)
    assert trial.bar((10000, 10000, 9950, 9990), mark=(10000, 10000, 9800, 9990)) == []


def test_a_stop_on_mark_triggers_by_mark_and_fills_where_last_price_traded() -> None:
    trial = long_trial()
    trial.submit(
        "s", SELL, kind=STOP, trigger="9900", reduce_only=True, working_price=WorkingPrice.MARK
    )
    assert trial.bar((10000, 10000, 9800, 9990), mark=(10000, 10000, 9901, 9990)) == []
    fill = only(trial.bar((10000, 10000, 9950, 9990), mark=(10000, 10000, 9850, 9990)), OrderFilled)
    # Last price never came below 9,950, so the fill is the worst that it offered.
    assert fill.price == D(9950)


def test_a_stop_on_mark_is_reached_where_last_price_stands_still() -> None:
    trial = Trial()
    trial.submit("e", SELL)
    trial.flat(10000)
    trial.submit("s", BUY, kind=STOP, trigger="10100", working_price=WorkingPrice.MARK)
    trial.flat(10000)
    # The open is the high of last price, so only the mark moves up.
    fill = only(trial.bar((10000, 10000, 9900, 9950), mark=(10000, 10150, 9900, 9950)), OrderFilled)
    assert fill.price == D(10000)


def test_a_stop_entry_opens_when_the_market_rises_to_it() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("s", BUY, kind=STOP, trigger="10100")
    assert trial.bar((10000, 10099.9, 9900, 10000)) == []
    assert only(trial.bar((10000, 10200, 9900, 10000)), OrderFilled).price == D(10100)


def test_a_stop_limit_takes_at_its_trigger_when_that_is_within_its_limit() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("s", BUY, kind=STOP_LIMIT, trigger="10100", price="10110")
    fill = only(trial.bar((10000, 10200, 9990, 10150)), OrderFilled)
    assert (fill.price, fill.liquidity) == (D(10100), Liquidity.TAKER)


def test_a_stop_limit_that_gaps_beyond_its_limit_rests_there() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("s", BUY, kind=STOP_LIMIT, trigger="10100", price="10110")
    events = trial.bar((10200, 10300, 10150, 10250))
    only(events, OrderTriggered)
    assert of_type(events, OrderFilled) == []
    # 10,110 / 10 and the fee of 5.055 are held from now on.
    assert trial.exchange.accounting.free_for_orders() == 10000 - D("1016.055")
    fill = only(trial.bar((10250, 10250, 10100, 10150)), OrderFilled)
    assert (fill.price, fill.liquidity) == (D(10110), Liquidity.MAKER)


def test_a_stop_limit_that_waited_long_is_still_a_taker_when_it_triggers() -> None:
    trial = Trial(slippage=FixedSlippage(D(10)))
    trial.flat(10000)
    trial.submit("s", BUY, kind=STOP_LIMIT, trigger="10100", price="10300")
    trial.flat(10000)
    trial.flat(10000)
    fill = only(trial.flat(10200), OrderFilled)
    # 10 bps of 10,200 are 10.2.
    assert (fill.price, fill.liquidity) == (D("10210.2"), Liquidity.TAKER)


def test_a_post_only_stop_limit_never_takes() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit(
        "s", BUY, kind=STOP_LIMIT, trigger="10100", price="10300", time_in_force=TimeInForce.GTX
    )
    events = trial.bar((10000, 10200, 9990, 10150))
    only(events, OrderTriggered)
    only(events, OrderExpired)
    assert trial.held() == 0


def test_a_stop_limit_without_margin_is_refused_when_it_triggers() -> None:
    trial = Trial(cash="500")
    trial.flat(10000)
    trial.submit("s", BUY, kind=STOP_LIMIT, trigger="10100", price="10110")
    assert only(trial.flat(10200), OrderRejected).code == "-2019"


def test_a_take_profit_order_waits_for_the_favourable_price() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TAKE, trigger="10100", reduce_only=True)
    assert trial.bar((10000, 10099.9, 9900, 10000)) == []
    fill = only(trial.bar((10000, 10200, 9950, 10000)), OrderFilled)
    assert (fill.price, fill.liquidity) == (D(10100), Liquidity.TAKER)


def test_a_take_profit_limit_order_never_fills_below_its_limit() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TAKE_LIMIT, trigger="10100", price="10120", reduce_only=True)
    events = trial.bar((10000, 10110, 9950, 10000))
    only(events, OrderTriggered)
    assert trial.held() == 1
    assert only(trial.bar((10000, 10200, 9950, 10000)), OrderFilled).price == D(10120)


def trailing(rate: str, wake: str | None = None) -> Trailing:
    return Trailing(callback_rate=D(rate), activation_price=None if wake is None else D(wake))


TRAIL = OrderType.TRAILING_STOP_MARKET


def test_a_trailing_stop_follows_the_best_price_by_its_callback() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TRAIL, trailing=trailing("0.01"), reduce_only=True)
    assert trial.bar((10000, 10500, 10000, 10500)) == []
    # 1 % below 10,500 is 10,395.
    assert trial.bar((10500, 10500, 10395.1, 10400)) == []
    assert only(trial.bar((10400, 10450, 10300, 10350)), OrderFilled).price == D(10395)


def test_a_trailing_level_lies_on_the_tick_that_triggers_later() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TRAIL, trailing=trailing("0.003"), reduce_only=True)
    # The first price it sees is the open; 0.3 % below 10,000.5 is 9,970.4985.
    assert only(trial.bar((10000.5, 10000.5, 9900, 9950)), OrderTriggered).trigger_price == D(
        "9970.4"
    )


def test_a_trailing_stop_meets_the_adverse_extreme_before_it_follows() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TRAIL, trailing=trailing("0.01"), reduce_only=True)
    # The low comes first: 1 % below the open of 10,000, not below the high of 11,000.
    assert only(trial.bar((10000, 11000, 9850, 10900)), OrderFilled).price == D(9900)


def test_a_trailing_stop_may_follow_up_and_trigger_within_one_bar() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TRAIL, trailing=trailing("0.01"), reduce_only=True)
    # Low 9,950 does not reach 9,900; the high lifts the level to 10,890; the close lies below.
    assert only(trial.bar((10000, 11000, 9950, 10800)), OrderFilled).price == D(10890)


def test_a_trailing_stop_sleeps_until_its_activation_price() -> None:
    trial = long_trial()
    trial.submit("t", SELL, kind=TRAIL, trailing=trailing("0.01", "10200"), reduce_only=True)
    assert trial.bar((10000, 10199.9, 9500, 10000)) == []
    assert trial.bar((10000, 10300, 10000, 10250)) == []
    assert only(trial.bar((10250, 10250, 10150, 10200)), OrderFilled).price == D(10197)


def test_a_trailing_buy_stop_follows_the_market_down() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("t", BUY, kind=TRAIL, trailing=trailing("0.01"))
    assert trial.bar((10000, 10000, 9500, 9500)) == []
    assert only(trial.bar((9500, 9700, 9500, 9600)), OrderFilled).price == D(9595)


@pytest.mark.parametrize(
    ("side", "wake"), [(SELL, "9999"), (SELL, "10000"), (BUY, "10000"), (BUY, "10001")]
)
def test_a_trailing_stop_cannot_wait_for_a_price_that_is_here_already(
    side: Side, wake: str
) -> None:
    trial = Trial()
    trial.flat(10000)
    events = trial.submit("t", side, kind=TRAIL, trailing=trailing("0.01", wake))
    assert only(events, OrderRejected).code == "-2021"


@pytest.mark.parametrize("rate", ["0", "1", "-0.01", "1.5"])
def test_a_callback_rate_must_lie_between_0_and_1(rate: str) -> None:
    trial = Trial()
    events = trial.submit("t", SELL, kind=TRAIL, trailing=trailing(rate))
    assert "callback rate" in only(events, OrderRejected).reason


def test_a_stop_that_closes_the_position_learns_its_size_when_it_executes() -> None:
    trial = long_trial()
    trial.submit("s", SELL, None, kind=STOP, trigger="9900", close_position=True)
    trial.submit("more", BUY, "0.5")
    trial.flat(10000)
    fill = only(trial.flat(9850), OrderFilled)
    assert fill.quantity == D("1.5")
    assert fill.leaves_quantity == trial.held() == 0
