"""Rules 1 and 2: market orders fill at the next open, limit orders at their price or better."""

from decimal import Decimal

import pytest
from tests.unit.simulation.trial import BUY, SELL, Trial, of_type, only

from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    CancelOrder,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
)
from perpdesk.domain.order import ClientOrderId, Liquidity, OrderType, Side, TimeInForce
from perpdesk.simulation.settings import LimitFill
from perpdesk.simulation.slippage import FixedSlippage, SquareRootImpact

D = Decimal
LIMIT = OrderType.LIMIT


def test_a_market_order_fills_at_the_next_open() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("a", BUY)
    assert trial.fills() == []
    fill = only(trial.bar((10010, 10050, 9990, 10020)), OrderFilled)
    assert (fill.price, fill.ts_ms, fill.liquidity) == (D(10010), 60_000, Liquidity.TAKER)


@pytest.mark.parametrize(
    ("side", "price", "cost"),
    # 2 bps of 10,010 are 2.002, on to the next tick against us: 2.1 and 2.1.
    [(BUY, "10012.1", "2.1"), (SELL, "10007.9", "2.1")],
)
def test_slippage_worsens_a_market_order_to_the_next_tick(
    side: Side, price: str, cost: str
) -> None:
    trial = Trial(slippage=FixedSlippage(D(2)))
    trial.submit("a", side)
    fill = only(trial.flat(10010), OrderFilled)
    assert (fill.price, fill.slippage_cost) == (D(price), D(cost))


def test_impact_grows_with_the_square_root_of_the_share_of_volume() -> None:
    trial = Trial(slippage=SquareRootImpact(D(1), D(40)))
    trial.submit("a", BUY)
    # Half spread 1 bp + 40 bps x sqrt(1 / 4) = 21 bps of 10,000.
    assert only(trial.flat(10000, volume="4"), OrderFilled).price == D(10021)


@pytest.mark.parametrize(
    ("side", "low", "high", "model", "fills"),
    [
        (BUY, "9950", "10000", LimitFill.THROUGH, False),
        (BUY, "9949.9", "10000", LimitFill.THROUGH, True),
        (BUY, "9950", "10000", LimitFill.TOUCH, True),
        (BUY, "9950.1", "10000", LimitFill.TOUCH, False),
        (SELL, "10000", "10050", LimitFill.THROUGH, False),
        (SELL, "10000", "10050.1", LimitFill.THROUGH, True),
        (SELL, "10000", "10050", LimitFill.TOUCH, True),
    ],
)
def test_a_resting_limit_order_fills_once_the_market_trades_at_it(
    side: Side, low: str, high: str, model: LimitFill, fills: bool
) -> None:
    trial = Trial(limit_fill=model)
    price = "9950" if side == BUY else "10050"
    trial.submit("a", side, kind=LIMIT, price=price)
    trial.flat(10000)
    events = trial.bar((10000, high, low, 10000))
    assert [fill.price for fill in of_type(events, OrderFilled)] == [D(price)] * fills


def test_a_limit_order_that_rested_before_the_bar_fills_as_maker() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9950")
    trial.flat(10000)
    fill = only(trial.bar((10000, 10000, 9900, 9990)), OrderFilled)
    # 9,950 x 0.0002
    assert (fill.liquidity, fill.fee) == (Liquidity.MAKER, D("1.99"))


def test_a_limit_order_met_in_its_first_bar_pays_as_taker() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9950")
    fill = only(trial.bar((10000, 10000, 9900, 9990)), OrderFilled)
    # 9,950 x 0.0005
    assert (fill.price, fill.liquidity, fill.fee) == (D(9950), Liquidity.TAKER, D("4.975"))


def test_a_post_only_order_met_in_its_first_bar_is_a_maker() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9950", time_in_force=TimeInForce.GTX)
    fill = only(trial.bar((10000, 10000, 9900, 9990)), OrderFilled)
    assert (fill.price, fill.liquidity) == (D(9950), Liquidity.MAKER)


def test_a_post_only_order_that_would_take_expires() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="10000", time_in_force=TimeInForce.GTX)
    assert only(trial.flat(10000), OrderExpired).client_order_id == "a"
    assert trial.fills() == []


def test_a_resting_limit_order_fills_at_a_better_open() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9950")
    trial.flat(10000)
    assert only(trial.flat(9900), OrderFilled).price == D(9900)


def test_a_marketable_limit_order_takes_at_the_open_but_never_beyond_its_limit() -> None:
    trial = Trial(slippage=FixedSlippage(D(50)))
    trial.submit("a", BUY, kind=LIMIT, price="10020")
    fill = only(trial.flat(10000), OrderFilled)
    # 50 bps would be 10,050.
    assert (fill.price, fill.liquidity) == (D(10020), Liquidity.TAKER)


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
def test_an_immediate_order_that_meets_nothing_expires(time_in_force: TimeInForce) -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9950", time_in_force=time_in_force)
    only(trial.bar((10000, 10000, 9900, 9990)), OrderExpired)
    assert trial.held() == 0


def test_a_good_till_date_order_ends_exactly_at_its_time() -> None:
    trial = Trial()
    trial.submit(
        "a", BUY, kind=LIMIT, price="9950", time_in_force=TimeInForce.GTD, expire_ms=120_000
    )
    trial.flat(10000)
    # The bar that ends at its time may still fill it; the one that begins there may not.
    assert trial.flat(10000) == []
    only(trial.bar((9900, 9900, 9900, 9900)), OrderExpired)


def test_an_order_that_expires_within_a_bar_fills_at_its_open_or_not_at_all() -> None:
    trial = Trial()
    trial.submit(
        "a", BUY, kind=LIMIT, price="9950", time_in_force=TimeInForce.GTD, expire_ms=90_000
    )
    trial.flat(10000)
    assert trial.bar((10000, 10000, 9900, 9990)) == []
    only(trial.flat(9990), OrderExpired)


def test_a_limit_order_holds_margin_while_it_rests_and_gives_it_back() -> None:
    trial = Trial(cash="1000")
    # 0.9 x 9,950 / 10 + fee 4.4775 = 899.9775
    trial.submit("a", BUY, "0.9", kind=LIMIT, price="9950")
    assert trial.exchange.accounting.free_for_orders() == D("100.0225")
    trial.flat(10000)
    assert only(trial.submit("b", BUY, "0.9", kind=LIMIT, price="9950"), OrderRejected).code
    trial.command(cancel("a"))
    assert trial.exchange.accounting.free_for_orders() == D(1000)


def test_a_limit_order_in_both_directions_needs_no_margin_for_what_it_closes() -> None:
    trial = Trial(cash="1010")
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.submit("b", SELL, kind=LIMIT, price="10100")
    trial.flat(10000)
    only(trial.bar((10000, 10200, 10000, 10200)), OrderFilled)
    assert trial.held() == 0


def test_a_limit_order_whose_position_has_gone_is_asked_again_when_it_fills() -> None:
    trial = Trial(cash="1010")
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.submit("b", SELL, kind=LIMIT, price="10100")
    trial.submit("c", SELL)
    trial.flat(10000)
    # 1,010 - fees of 5 + 5 = 1,000 is short of the 1,010 + 5.05 that a short of 1 needs.
    assert only(trial.bar((10000, 10200, 10000, 10200)), OrderRejected).code == "-2019"
    assert trial.held() == 0


def test_an_order_that_is_filled_in_part_and_cannot_go_on_is_canceled() -> None:
    trial = Trial(cash="1010", max_volume_share=D("0.5"))
    trial.submit("a", BUY, "1.1")
    assert only(trial.flat(10000, volume="1"), OrderFilled).quantity == D("0.5")
    # 510 less the fee of 2.5: 0.5 more binds 500 + 2.5 at 10,000, but 550 at 11,000.
    only(trial.flat(11000, volume="1"), OrderCanceled)
    assert trial.held() == D("0.5")


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_a_full_account_may_turn_its_position(venue: Venue) -> None:
    trial = Trial(venue, cash="1030")
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.submit("b", SELL, "2")
    trial.flat(10000)
    assert trial.held() == D(-1)


def cancel(client_order_id: str) -> CancelOrder:
    return CancelOrder(client_order_id=ClientOrderId(client_order_id))
