"""Rules 9 to 11: margin, liquidation, and when an account is finished."""

from decimal import Decimal

import pytest
from tests.unit.simulation.market import one_tier
from tests.unit.simulation.trial import BTC, BUY, SELL, Trial, of_type, only

from perpdesk.domain.account import LedgerKind, MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    AccountStopped,
    AddIsolatedMargin,
    CloseOut,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    PositionLiquidated,
    StopCause,
)
from perpdesk.domain.numbers import round_amount
from perpdesk.domain.order import OrderPurpose, OrderType, Side
from perpdesk.domain.signal import PositionSide
from perpdesk.simulation.margin import fee_to_close
from perpdesk.simulation.slippage import SquareRootImpact

D = Decimal
ETH = "ETHUSDT"
BINANCE, BYBIT = Venue.BINANCE, Venue.BYBIT
CROSS, ISOLATED = MarginMode.CROSS, MarginMode.ISOLATED


def opened(
    venue: Venue, side: Side, quantity: str = "1", *, price: str = "10000", **more: object
) -> Trial:
    """Return a trial that holds `quantity` from `price`."""
    trial = Trial(venue, **more)  # type: ignore[arg-type]
    trial.submit("entry", side, quantity)
    trial.flat(price)
    assert trial.held() == side.sign * D(quantity)
    return trial


def test_the_account_at_mark() -> None:
    trial = opened(BINANCE, BUY)
    trial.flat(10000, mark=(10100, 10100, 10100, 10100))
    account = trial.exchange.account()
    # 10,000 - fee 5; profit 100; 10,100 / 10; 10,100 x 0.004
    assert account.cash == D(9995)
    assert account.unrealized == D(100)
    assert account.used_margin == D(1010)
    assert account.maintenance_margin == D("40.4")
    assert account.equity == D(10095)
    assert account.free_margin == account.available == D(9085)


def test_bybit_holds_the_fee_to_close_at_bankruptcy_in_both_margins() -> None:
    trial = opened(BYBIT, BUY)
    account = trial.exchange.account()
    # 10,000 x (1 - 1/10) x 0.00055 = 4.95
    assert account.used_margin == D("1004.95")
    assert account.maintenance_margin == D("44.95")


def test_margin_follows_the_tier_of_the_value_at_mark() -> None:
    trial = opened(BINANCE, BUY, "10", cash="100000", leverage="100")
    # 100,000 is in the second tier: 500 - 50.
    assert trial.exchange.account().maintenance_margin == D(450)
    trial.flat(10000, mark=(26000, 26000, 26000, 26000))
    # 260,000 allows 50x: 5,200; and keeps 2,600 - 1,300.
    account = trial.exchange.account()
    assert (account.used_margin, account.maintenance_margin) == (D(5200), D(1300))


def test_a_value_at_a_cap_belongs_to_the_lower_tier() -> None:
    trial = opened(BINANCE, BUY, "5", cash="100000")
    assert trial.exchange.account().maintenance_margin == D(200)


@pytest.mark.parametrize(
    ("venue", "side", "price"),
    [
        # Binance: (1,000 - s x 10,000) / (0.004 - s)
        (BINANCE, BUY, "9036.14457831"),
        (BINANCE, SELL, "10956.17529881"),
        # Bybit: (10,000 -+ 1,000) / (1 -+ 0.004)
        (BYBIT, BUY, "9036.14457831"),
        (BYBIT, SELL, "10956.17529881"),
    ],
)
def test_an_isolated_position_is_liquidated_where_its_margin_is_what_it_must_keep(
    venue: Venue, side: Side, price: str
) -> None:
    found = opened(venue, side).exchange.liquidation_price(BTC)
    assert found is not None
    assert abs(found - D(price)) < D("1e-8")


def test_binance_liquidates_at_mark_and_charges_its_clearance_fee() -> None:
    trial = opened(BINANCE, BUY)
    events = trial.bar((10000, 10000, 9000, 9500))
    fill, liquidated = only(events, OrderFilled), only(events, PositionLiquidated)
    assert fill.purpose is OrderPurpose.LIQUIDATION
    assert fill.price == liquidated.price == D("9036.14457831")
    # Of the 1,000 - 963.85542169 = 36.14457831 left, the fee would be 1.25 % of 9,036: all of it.
    assert (fill.realized_pnl, fill.fee) == (D("-963.85542169"), D("36.14457831"))
    assert trial.cash == 10000 - 5 - 1000
    kinds = [entry.kind for entry in trial.exchange.ledger.entries[-2:]]
    assert kinds == [LedgerKind.REALIZED_PNL, LedgerKind.LIQUIDATION_FEE]


def test_a_clearance_fee_smaller_than_what_is_left_returns_the_rest() -> None:
    # Keep 10 % and charge 1.25 %: liquidated at (10,000 - 5,000) / 0.9 = 5,555.55555556 down.
    trial = opened(BINANCE, BUY, leverage="2", instrument={"tiers": (one_tier(rate=D("0.1")),)})
    fill = only(trial.bar((10000, 10000, 5000, 5200)), OrderFilled)
    assert fill.price == D("5555.55555555")
    assert fill.fee == D("69.44444444")
    assert trial.cash == 9995 + fill.realized_pnl - fill.fee > 9995 - 5000


def test_bybit_takes_over_at_the_bankruptcy_price() -> None:
    trial = opened(BYBIT, BUY)
    events = trial.bar((10000, 10000, 9030, 9500))
    fill, liquidated = only(events, OrderFilled), only(events, PositionLiquidated)
    assert fill.price == D(9000)
    # 9,000 x 0.00055, which had been reserved; the fund closes at mark and keeps the difference.
    assert (fill.realized_pnl, fill.fee) == (D(-1000), D("4.95"))
    assert liquidated.mark_price == D("9036.14457831")
    assert liquidated.insurance_fund == D("36.14457831")
    assert trial.cash == D(10000) - D("5.5") - 1000 - D("4.95")


@pytest.mark.parametrize("venue", [BINANCE, BYBIT])
@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_gap_beyond_bankruptcy_costs_the_margin_and_no_more(venue: Venue, side: Side) -> None:
    trial = opened(venue, side)
    before = trial.cash
    price = 10000 - side.sign * 5000
    events = trial.flat(price)
    fill = only(events, OrderFilled)
    assert fill.price == 10000 - side.sign * 1000
    # On Bybit the fee to close was reserved beside the margin.
    reserved = fill.price * D("0.00055") if venue is BYBIT else 0
    assert before - trial.cash == 1000 + reserved
    assert only(events, PositionLiquidated).insurance_fund == -4000


@pytest.mark.parametrize("side", [BUY, SELL])
def test_added_margin_on_bybit_is_lost_to_the_last_atom_and_no_further(side: Side) -> None:
    trial = opened(BYBIT, side)
    trial.command(AddIsolatedMargin(symbol=BTC, amount=D("123.45678901")))
    before = trial.cash
    most = trial.exchange.accounting.margin_to_lose(trial.exchange.symbols[BTC])
    trial.flat(10000 - side.sign * 5000)
    assert trial.held() == 0
    assert 0 <= most - (before - trial.cash) <= D("0.0000001")


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_takeover_in_cross_margin_leaves_nothing_but_dust(side: Side) -> None:
    trial = opened(BYBIT, side, "0.777", cash="1500", margin_mode=CROSS)
    fill = only(trial.flat(10000 - side.sign * 4000), OrderFilled)
    # The taker fee is paid in full, and has its place within the bankruptcy price.
    assert fill.fee == round_amount(fill.quantity * fill.price * D("0.00055"))
    assert 0 <= trial.cash < D("0.0000001")


def test_a_mark_that_moves_alone_liquidates() -> None:
    trial = opened(BINANCE, BUY)
    only(trial.flat(10000, mark=(10000, 10000, 9000, 9990)), PositionLiquidated)


def test_a_short_is_liquidated_by_a_mark_that_rises_while_last_price_falls() -> None:
    trial = opened(BINANCE, SELL)
    events = trial.bar((10000, 10000, 9900, 9950), mark=(10000, 11000, 9900, 9950))
    only(events, PositionLiquidated)


def test_a_stop_before_the_liquidation_price_saves_the_margin() -> None:
    trial = opened(BINANCE, BUY)
    trial.submit("s", SELL, kind=OrderType.STOP_MARKET, trigger="9100", reduce_only=True)
    events = trial.bar((10000, 10000, 9000, 9500))
    assert only(events, OrderFilled).price == D(9100)
    assert of_type(events, PositionLiquidated) == []


def test_a_liquidation_cancels_the_orders_of_the_symbol() -> None:
    trial = opened(BINANCE, BUY)
    trial.submit("x", BUY, kind=OrderType.LIMIT, price="9950", quantity="0.01")
    trial.submit("s", SELL, kind=OrderType.STOP_MARKET, trigger="8000", reduce_only=True)
    events = trial.flat(9000)
    # The limit order had filled at this very open.
    assert only(events, OrderCanceled).client_order_id == "s"
    assert trial.held() == 0


LOW_FEE = {"liquidation_fee_rate": D("0.001")}


def test_the_liquidation_price_is_of_the_tier_it_lies_in() -> None:
    trial = opened(BINANCE, BUY, "25", cash="100000", leverage="100")
    # 25 x 10,000 = 250,000 is in the second tier: (2,500 + 50 - 250,000) / (25 x 0.005 - 25)
    price = trial.exchange.liquidation_price(BTC)
    assert price is not None
    assert price.quantize(D("0.001")) == D("9947.739")
    trial = opened(BINANCE, SELL, "25", cash="100000", leverage="100")
    # A short grows into the third: (2,500 + 1,300 + 250,000) / (25 x 0.01 + 25) = 10,051.485
    price = trial.exchange.liquidation_price(BTC)
    assert price is not None
    assert price.quantize(D("0.001")) == D("10051.485")


def test_a_large_position_steps_down_to_the_tier_below_and_is_cured() -> None:
    trial = opened(BINANCE, BUY, "27", cash="100000", leverage="50", instrument=LOW_FEE)
    # 27 in the third tier (D 1,300): (5,400 + 1,300 - 270,000) / (27 x 0.01 - 27) = 9,850.355...
    events = trial.bar((10000, 10000, 9850, 9900))
    liquidated = only(events, PositionLiquidated)
    # 27 x 9,850.35540591 is 15,959.59596 above the cap of 250,000: 1.621 at that mark.
    assert liquidated.closed_quantity == D("1.621")
    assert trial.held() == D("25.379")
    margin = trial.exchange.position(BTC).isolated_margin
    fill = trial.fills()[-1]
    # What it lost and the fee came out of its own margin.
    assert margin == 5400 + fill.realized_pnl - fill.fee


def test_without_tier_steps_the_whole_position_goes_at_once() -> None:
    trial = opened(BINANCE, BUY, "27", cash="100000", leverage="50", tier_step_down=False)
    events = trial.bar((10000, 10000, 9850, 9900))
    assert only(events, PositionLiquidated).closed_quantity == 27


def test_a_price_that_falls_on_after_a_step_liquidates_further_in_the_same_bar() -> None:
    trial = opened(BINANCE, BUY, "27", cash="100000", leverage="50", instrument=LOW_FEE)
    steps = of_type(trial.bar((10000, 10000, 9000, 9900)), PositionLiquidated)
    assert steps[0].mark_price > steps[1].mark_price > 9000
    assert trial.held() == 0
    # The whole of it never costs more than the margin, beside the fee to open of 135.
    assert trial.cash >= 100000 - 135 - 5400


def test_a_clearance_fee_that_eats_the_margin_takes_the_position_down_with_it() -> None:
    # After the first step 1,160 are left of the 1,200 that the tier below keeps.
    trial = opened(BINANCE, BUY, "27", cash="100000", leverage="50")
    steps = of_type(trial.bar((10000, 10000, 9850, 9900)), PositionLiquidated)
    assert len(steps) > 1
    assert trial.held() == 0
    assert trial.cash == 100000 - 135 - 5400


def test_a_cross_position_may_use_the_whole_account() -> None:
    trial = opened(BINANCE, BUY, cash="2000", margin_mode=CROSS)
    # (1,995 - 10,000) / (0.004 - 1)
    price = trial.exchange.liquidation_price(BTC)
    assert price is not None
    assert price.quantize(D("0.00000001")) == D("8037.14859438")
    assert trial.exchange.position(BTC).isolated_margin == 0


def two_symbols(**more: object) -> Trial:
    trial = Trial(symbols=(BTC, ETH), cash="2000", margin_mode=CROSS, **more)  # type: ignore[arg-type]
    for name, symbol in (("a", BTC), ("b", ETH)):
        trial.submit(name, BUY, "0.5", symbol=symbol)
        trial.flat(10000, symbol=symbol)
    return trial


def test_cross_positions_share_profit_and_loss() -> None:
    trial = two_symbols()
    before = trial.exchange.liquidation_price(BTC)
    trial.flat(9800, symbol=ETH)
    after = trial.exchange.liquidation_price(BTC)
    assert before is not None
    assert after is not None
    # 100 lost on the other symbol, 0.4 less to keep there, over 0.5 x 0.996.
    assert (after - before).quantize(D("0.0001")) == (D("99.6") / D("0.498")).quantize(D("0.0001"))


def test_a_cross_position_that_shares_is_never_quiet() -> None:
    trial = two_symbols()
    assert trial.exchange.guard(BTC) is None


def test_a_cross_liquidation_cancels_all_cross_orders() -> None:
    trial = two_symbols()
    trial.submit("x", BUY, "0.01", kind=OrderType.LIMIT, price="9700", symbol=ETH)
    events = trial.flat(6000)
    assert only(events, OrderCanceled).client_order_id == "x"
    assert trial.held(BTC) == 0
    assert trial.held(ETH) == D("0.5")


def test_an_account_that_has_lost_everything_is_blown() -> None:
    trial = opened(BINANCE, BUY, cash="1006", margin_mode=CROSS)
    events = trial.flat(5000)
    stopped = only(events, AccountStopped)
    assert stopped.cause is StopCause.ACCOUNT_BLOWN
    assert trial.cash == stopped.equity == 0


def test_an_account_too_small_for_the_smallest_order_is_stopped() -> None:
    trial = opened(BINANCE, BUY, "0.1", cash="100.6")
    # Isolated margin 100 is lost, 0.1 is left; the smallest order binds 10 / 10 and a fee.
    stopped = only(trial.flat(5000), AccountStopped)
    assert stopped.cause is StopCause.INSUFFICIENT_FREE_MARGIN
    assert stopped.free_margin == D("0.1")


def test_a_symbol_that_is_still_affordable_keeps_the_account_alive() -> None:
    trial = Trial(symbols=(BTC, ETH), cash="102.6")
    trial.flat(10, symbol=ETH)
    trial.submit("a", BUY, "0.1")
    trial.flat(10000)
    # 2.1 is left: the smallest order costs 1.005 at 10,000, and 0.5025 at 10.
    assert of_type(trial.flat(5000), AccountStopped) == []


def test_a_stopped_account_takes_no_orders() -> None:
    trial = opened(BINANCE, BUY, "0.1", cash="100.6")
    trial.flat(5000)
    assert trial.exchange.stopped is StopCause.INSUFFICIENT_FREE_MARGIN
    assert "stopped" in only(trial.submit("b", BUY, "0.001"), OrderRejected).reason
    assert trial.flat(5000) == []


def test_closing_out_cancels_orders_and_closes_at_the_last_price() -> None:
    trial = opened(BINANCE, BUY, slippage=SquareRootImpact(D(0), D(10)))
    trial.submit("x", SELL, kind=OrderType.LIMIT, price="11000")
    trial.bar((10000, 10100, 9900, 10050), volume="5")
    events = trial.command(CloseOut())
    only(events, OrderCanceled)
    only(events, OrderAccepted)
    fill = only(events, OrderFilled)
    # A whole bar's impact of 10 bps: 10,050 - 10.05, to the tick below.
    assert (fill.price, fill.purpose) == (D("10039.9"), OrderPurpose.CLOSE_OUT)
    assert trial.exchange.account().used_margin == 0


def test_reducing_releases_the_margin_of_what_was_closed() -> None:
    trial = opened(BINANCE, BUY)
    trial.submit("b", SELL, "0.4")
    trial.flat(10000)
    position = trial.exchange.position(BTC)
    assert (position.isolated_margin, position.average_entry_price) == (D(600), D(10000))


def test_crossing_zero_opens_anew_at_the_price_of_the_cross() -> None:
    trial = opened(BINANCE, BUY)
    trial.submit("b", SELL, "3")
    trial.flat(10100)
    position = trial.exchange.position(BTC)
    assert (position.signed_quantity, position.average_entry_price) == (D(-2), D(10100))
    assert trial.fills("b")[0].realized_pnl == D(100)


def test_a_fee_to_close_that_ends_in_a_half_is_rounded_up() -> None:
    # 4,848.545 x (1 + 1/22) x 0.00055 = 2.787913375, a half of an atom that 1/22 must not blur.
    fee = fee_to_close(PositionSide.SHORT, D("4848.545"), D(22), D("0.00055"))
    assert round_amount(fee) == D("2.78791338")
