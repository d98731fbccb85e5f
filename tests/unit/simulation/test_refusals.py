"""Rule 6: an illegal order is refused in the venue's own terms, with the nearest legal one."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.simulation.trial import (
    BTC,
    BUY,
    SELL,
    Trial,
    of_type,
    only,
    request_of,
    stop_loss,
)

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    AddIsolatedMargin,
    AmendOrder,
    CancelAllOrders,
    CancelOrder,
    CommandRejected,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    SetLeverage,
    SetMarginMode,
)
from perpdesk.domain.order import ClientOrderId, OrderType, TimeInForce

D = Decimal
LIMIT, STOP, TRAIL = OrderType.LIMIT, OrderType.STOP_MARKET, OrderType.TRAILING_STOP_MARKET
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "step": ({"quantity": "0.0015"}, "-4023", "10001", "nearest below is 0.001"),
    "zero": ({"quantity": "0"}, "-4003", "10001", "not positive"),
    "negative": ({"quantity": "-1"}, "-4003", "10001", "not positive"),
    "none": ({"quantity": None}, "-4003", "10001", "not positive"),
    "market size": ({"quantity": "200.001"}, "-4005", "10001", "maximum 200"),
    "limit size": (
        {"quantity": "1000.001", "kind": LIMIT, "price": "10000"},
        "-4005",
        "10001",
        "maximum 1000",
    ),
    "tick": ({"kind": LIMIT, "price": "9999.96"}, "-4014", "10001", "nearest is 10000"),
    "no price": ({"kind": LIMIT}, "-1102", "10001", "needs a price"),
    "no trigger": ({"kind": STOP}, "-1102", "10001", "needs a trigger price"),
    "no callback": ({"kind": TRAIL}, "-1102", "10001", "callback rate"),
    "no expiry": (
        {"kind": LIMIT, "price": "9900", "time_in_force": TimeInForce.GTD},
        "-1102",
        "10001",
        "the time at which it expires",
    ),
    # 5 % around the mark of 10,000.
    "band": ({"kind": LIMIT, "price": "10500.1"}, "-4016", "110003", "beyond 10500"),
    "reached": ({"kind": STOP, "trigger": "10000"}, "-2021", "110092", "already reached"),
    "nothing to reduce": ({"reduce_only": True}, "-2022", "110017", "no position"),
    # 12 x 10,000 / 10 and a fee of 60 (66 and 59.4 on Bybit) are beyond 10,000.
    "margin": (
        {"quantity": "12", "kind": LIMIT, "price": "10000"},
        "-2019",
        "110007",
        "the largest affordable quantity is 9.",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_an_illegal_order_is_refused_in_the_venues_terms(venue: Venue, name: str) -> None:
    order, binance, bybit, words = CASES[name]
    trial = Trial(venue)
    trial.flat(10000)
    refused = only(trial.submit("a", BUY, **order), OrderRejected)
    assert refused.code == (binance if venue is Venue.BINANCE else bybit)
    assert words in refused.reason
    assert trial.flat(10000) == []


@pytest.mark.parametrize(("venue", "code"), [(Venue.BINANCE, "-4164"), (Venue.BYBIT, "110094")])
def test_a_notional_below_the_minimum_names_the_smallest_quantity(venue: Venue, code: str) -> None:
    trial = Trial(venue)
    trial.flat(1000)
    refused = only(trial.submit("a", BUY, "0.004"), OrderRejected)
    assert refused.code == code
    assert "smallest legal quantity is 0.005" in refused.reason


def test_a_minimum_quantity_is_named() -> None:
    trial = Trial(instrument={"min_quantity": D("0.01")})
    refused = only(trial.submit("a", BUY, "0.009"), OrderRejected)
    assert (refused.code, "minimum 0.01" in refused.reason) == ("-4004", True)


def test_reduce_only_orders_may_be_small() -> None:
    trial = Trial()
    trial.submit("a", BUY, "0.006")
    trial.flat(1000)
    trial.submit("b", SELL, "0.004", reduce_only=True)
    assert only(trial.flat(1000), OrderFilled).quantity == D("0.004")


def test_an_order_before_the_first_bar_is_held_to_the_grid_all_the_same() -> None:
    trial = Trial()
    assert only(trial.submit("a", BUY, "0.0015"), OrderRejected).code == "-4023"
    only(trial.submit("b", BUY, "0.001"), OrderAccepted)


def test_an_order_that_may_not_open_at_this_leverage_names_the_largest_position() -> None:
    trial = Trial(cash="100000", leverage="100")
    trial.submit("a", BUY, "26")
    # 260,000 lies in the tier of 50x; 100x ends at 250,000.
    refused = only(trial.flat(10000), OrderRejected)
    assert refused.code == "-2027"
    assert "the largest at this leverage is 250000" in refused.reason


def test_no_position_is_larger_than_the_last_tier() -> None:
    trial = Trial(cash="100000000", leverage="1", instrument={"max_market_quantity": D(10000)})
    trial.submit("a", BUY, "1000.001")
    refused = only(trial.flat(10000), OrderRejected)
    assert refused.code == "-2027"
    assert "is 10000000" in refused.reason


def test_a_market_order_without_margin_is_refused_when_it_trades() -> None:
    trial = Trial(cash="1000")
    trial.submit("a", BUY, "1")
    refused = only(trial.flat(10000), OrderRejected)
    # 1,000 of margin and 5 of fee; 1,000 / 1,005 of it is affordable.
    assert refused.code == "-2019"
    assert "needs 1005 " in refused.reason
    assert "quantity is 0.995" in refused.reason


def test_an_id_is_never_taken_twice() -> None:
    trial = Trial()
    trial.submit("a", BUY, "0.001")
    trial.flat(10000)
    assert only(trial.submit("a", BUY, "0.001"), OrderRejected).code == "-4116"
    twin = stop_loss("e", SELL, "9900")
    events = trial.bracket(request_of("e", BUY), twin, twin)
    assert only(events, OrderRejected).code == "-4116"


def test_a_bracket_is_refused_whole() -> None:
    trial = Trial()
    trial.flat(10000)
    bad = stop_loss("e", SELL, "9900.05")
    assert only(trial.bracket(request_of("e", BUY), bad), OrderRejected).client_order_id == "e"
    stranger = stop_loss("other", SELL, "9900")
    assert only(trial.bracket(request_of("f", BUY), stranger), OrderRejected).code == "-2011"
    endless = request_of(
        "g-leg", SELL, None, kind=STOP, trigger="9900", close_position=True, parent_id="g"
    )
    assert only(trial.bracket(request_of("g", BUY), endless), OrderRejected).code == "-4003"
    assert trial.flat(10000) == []


def test_an_unknown_symbol_is_refused() -> None:
    trial = Trial()
    refused = only(trial.submit("a", BUY, symbol="DOGEUSDT"), OrderRejected)
    assert refused.code == "-1121"
    assert BTC in refused.reason
    change = SetLeverage(symbol="DOGEUSDT", leverage=D(5))
    assert only(trial.command(change), CommandRejected).code == "-1121"


def amend(**changes: str) -> AmendOrder:
    numbers = {name: D(text) for name, text in changes.items()}
    return AmendOrder(client_order_id=ClientOrderId("a"), **numbers)


def test_an_amended_price_counts_from_the_next_bar_and_has_not_rested() -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9900")
    trial.flat(10000)
    assert only(trial.command(amend(price="9950")), OrderAmended).price == D(9950)
    # The first bar after the change is its first chance: 9,950 x 0.0005.
    assert only(trial.bar((10000, 10000, 9940, 10000)), OrderFilled).fee == D("4.975")


def test_an_amended_order_holds_the_margin_of_its_new_size() -> None:
    trial = Trial(cash="1100")
    trial.submit("a", BUY, "1", kind=LIMIT, price="9900")
    trial.flat(10000)
    trial.command(amend(quantity="0.5"))
    # 495 and a fee of 2.475.
    assert trial.exchange.accounting.free_for_orders() == D("602.525")
    assert only(trial.command(amend(quantity="2")), CommandRejected).code == "-2019"
    assert trial.exchange.accounting.free_for_orders() == D("602.525")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": "0"}, "-4003"),
        ({"quantity": "-1"}, "-4003"),
        ({"quantity": "0.0015"}, "-4023"),
        ({"price": "9900.05"}, "-4014"),
        ({"price": "20000"}, "-4016"),
        ({"trigger_price": "9900"}, "-1102"),
    ],
)
def test_an_illegal_change_leaves_the_order_as_it_is(changes: dict[str, str], code: str) -> None:
    trial = Trial()
    trial.submit("a", BUY, kind=LIMIT, price="9900")
    trial.flat(10000)
    assert only(trial.command(amend(**changes)), CommandRejected).code == code
    assert only(trial.flat(9890), OrderFilled).quantity == 1


def test_a_trigger_cannot_be_moved_to_where_the_market_is() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("a", BUY, kind=STOP, trigger="10100")
    assert only(trial.command(amend(trigger_price="9990")), CommandRejected).code == "-2021"
    only(trial.command(amend(trigger_price="10050")), OrderAmended)
    assert only(trial.bar((10000, 10060, 10000, 10000)), OrderFilled).price == D(10050)


def test_an_order_that_closes_the_position_has_a_trigger_but_no_size() -> None:
    trial = Trial()
    trial.submit("e", BUY)
    trial.flat(10000)
    trial.submit("a", SELL, None, kind=STOP, trigger="9900", close_position=True)
    assert only(trial.command(amend(quantity="1")), CommandRejected).code == "-4003"
    only(trial.command(amend(trigger_price="9950")), OrderAmended)
    assert only(trial.bar((10000, 10000, 9940, 9990)), OrderFilled).price == D(9950)


def test_what_is_not_open_can_neither_be_canceled_nor_amended() -> None:
    trial = Trial()
    gone = CancelOrder(client_order_id=ClientOrderId("a"))
    assert only(trial.command(gone), CommandRejected).code == "-2011"
    assert only(trial.command(amend(price="1")), CommandRejected).code == "-2011"


def test_canceling_all_orders_of_one_symbol_leaves_the_others() -> None:
    trial = Trial(symbols=(BTC, "ETHUSDT"))
    trial.submit("a", BUY, kind=LIMIT, price="9900", quantity="0.1")
    trial.submit("b", BUY, kind=LIMIT, price="9900", quantity="0.1", symbol="ETHUSDT")
    events = trial.command(CancelAllOrders(symbol=BTC))
    assert only(events, OrderCanceled).client_order_id == "a"
    assert only(trial.command(CancelAllOrders()), OrderCanceled).client_order_id == "b"


def test_leverage_is_held_to_the_tier_of_what_is_open() -> None:
    trial = Trial(margin_mode=MarginMode.CROSS)
    only(trial.command(SetLeverage(symbol=BTC, leverage=D(125))), LeverageChanged)
    assert (
        only(trial.command(SetLeverage(symbol=BTC, leverage=D(126))), CommandRejected).code
        == "-2027"
    )
    only(trial.command(SetLeverage(symbol=BTC, leverage=D(50))), LeverageChanged)
    trial.submit("a", BUY, "30")
    trial.flat(10000)
    # 300,000 allows 50x at most.
    assert (
        only(trial.command(SetLeverage(symbol=BTC, leverage=D(51))), CommandRejected).code
        == "-2027"
    )


def test_leverage_cannot_be_lowered_beyond_what_the_account_can_bear() -> None:
    trial = Trial(cash="1000", margin_mode=MarginMode.CROSS, leverage="20")
    trial.submit("a", BUY, "1")
    trial.flat(10000)
    change = SetLeverage(symbol=BTC, leverage=D(5))
    assert only(trial.command(change), CommandRejected).code == "-2019"
    assert trial.exchange.account().used_margin == 500


def test_an_isolated_position_keeps_its_leverage() -> None:
    trial = Trial()
    trial.submit("a", BUY)
    trial.flat(10000)
    only(trial.command(SetLeverage(symbol=BTC, leverage=D(5))), CommandRejected)


def test_lower_leverage_binds_more_for_resting_orders() -> None:
    trial = Trial(cash="1100")
    trial.submit("a", BUY, "1", kind=LIMIT, price="9900")
    trial.command(SetLeverage(symbol=BTC, leverage=D(20)))
    # 495 and a fee of 4.95.
    assert trial.exchange.accounting.free_for_orders() == D("600.05")
    assert (
        only(trial.command(SetLeverage(symbol=BTC, leverage=D(5))), CommandRejected).code == "-2019"
    )
    assert trial.exchange.accounting.free_for_orders() == D("600.05")


def test_the_margin_mode_is_the_symbols_on_binance_and_the_accounts_on_bybit() -> None:
    for venue, changed in ((Venue.BINANCE, 1), (Venue.BYBIT, 2)):
        trial = Trial(venue, symbols=(BTC, "ETHUSDT"))
        change = SetMarginMode(symbol=BTC, margin_mode=MarginMode.CROSS)
        assert len(of_type(trial.command(change), MarginModeChanged)) == changed
    trial.submit("a", BUY, "0.1", symbol="ETHUSDT")
    assert only(trial.command(change), CommandRejected).code == "110024"


def test_margin_can_be_added_to_an_isolated_position_and_taken_back() -> None:
    trial = Trial()
    trial.submit("a", BUY)
    trial.flat(10000)
    move = AddIsolatedMargin
    added = only(trial.command(move(symbol=BTC, amount=D(500))), IsolatedMarginChanged)
    assert (added.isolated_margin, trial.cash) == (D(1500), D(9995))
    # 10,000 - fee 5 - 1,500
    assert (
        "only 8495 may be added and 500 taken back"
        in only(trial.command(move(symbol=BTC, amount=D("8495.01"))), CommandRejected).reason
    )
    trial.flat(9900)
    # The open loss of 100 has to stay covered.
    only(trial.command(move(symbol=BTC, amount=D(-401))), CommandRejected)
    only(trial.command(move(symbol=BTC, amount=D(-400))), IsolatedMarginChanged)


def test_there_must_be_an_isolated_position_to_add_margin_to() -> None:
    trial = Trial(margin_mode=MarginMode.CROSS)
    trial.submit("a", BUY)
    trial.flat(10000)
    only(trial.command(AddIsolatedMargin(symbol=BTC, amount=D(1))), CommandRejected)
