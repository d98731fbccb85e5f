"""Rule 4: where a bar hides the order of its prices, the adverse one came first; brackets."""

from decimal import Decimal

import pytest
from tests.unit.simulation.trial import (
    BUY,
    SELL,
    Trial,
    of_type,
    only,
    request_of,
    stop_loss,
    target,
)

from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    AmendOrder,
    CancelOrder,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
)
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderPurpose,
    OrderRequest,
    OrderType,
    TimeInForce,
)
from perpdesk.simulation.state import WorkingOrder

D = Decimal
STOP, LIMIT = OrderType.STOP_MARKET, OrderType.LIMIT


def bracket(trial: Trial, entry: OrderRequest, stop: str, goal: str) -> None:
    """Place an entry of 1 with a stop and one target."""
    out, name = entry.side.opposite, entry.client_order_id
    trial.bracket(entry, stop_loss(name, out, stop), target(name, out, goal))


def purposes(trial: Trial) -> list[OrderPurpose]:
    return [fill.purpose for fill in trial.fills()]


ENTRY, LOSS, GAIN = OrderPurpose.ENTRY, OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT


def test_a_bar_that_touches_stop_and_target_hits_the_stop() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY), "9900", "10100")
    trial.flat(10000)
    trial.bar((10000, 10200, 9800, 10150))
    assert purposes(trial) == [ENTRY, LOSS]
    assert trial.fills()[1].price == D(9900)


def test_the_same_holds_for_a_short() -> None:
    trial = Trial()
    bracket(trial, request_of("e", SELL), "10100", "9900")
    trial.flat(10000)
    trial.bar((10000, 10200, 9800, 9850))
    assert purposes(trial) == [ENTRY, LOSS]
    assert trial.fills()[1].price == D(10100)


def test_a_market_entry_may_reach_its_target_in_its_own_bar() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY), "9900", "10100")
    trial.bar((10000, 10200, 9950, 10150))
    assert purposes(trial) == [ENTRY, GAIN]
    # A target born within the bar has not rested before it.
    assert trial.fills()[1].liquidity is Liquidity.TAKER


def test_a_market_entry_meets_its_stop_in_its_own_bar_first() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY), "9900", "10100")
    trial.bar((10000, 10200, 9850, 10150))
    assert purposes(trial) == [ENTRY, LOSS]


def test_a_limit_entry_cannot_reach_its_target_in_its_own_bar() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY, kind=LIMIT, price="9950"), "9800", "10050")
    trial.flat(10000)
    # Whether 10,100 came before or after the fill at 9,950, nobody knows.
    trial.bar((10000, 10100, 9900, 10060))
    assert purposes(trial) == [ENTRY]
    trial.bar((10000, 10100, 9990, 10060))
    assert purposes(trial) == [ENTRY, GAIN]
    assert trial.fills()[1].liquidity is Liquidity.MAKER


def test_a_limit_entry_meets_its_stop_in_its_own_bar() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY, kind=LIMIT, price="9950"), "9900", "10050")
    trial.flat(10000)
    trial.bar((10000, 10100, 9850, 10060))
    assert purposes(trial) == [ENTRY, LOSS]


def test_a_stop_entry_may_reach_its_target_in_its_own_bar() -> None:
    trial = Trial()
    trial.flat(10000)
    bracket(trial, request_of("e", BUY, kind=STOP, trigger="10050"), "9900", "10150")
    trial.bar((10000, 10200, 9950, 10100))
    assert purposes(trial) == [ENTRY, GAIN]


def test_a_stop_entry_whose_bar_reaches_its_stop_too_is_stopped() -> None:
    trial = Trial()
    trial.flat(10000)
    bracket(trial, request_of("e", BUY, kind=STOP, trigger="10050"), "9900", "10150")
    trial.bar((10000, 10200, 9850, 10100))
    assert purposes(trial) == [ENTRY, LOSS]


def test_a_stop_limit_entry_that_fills_from_the_book_is_a_limit_entry() -> None:
    trial = Trial()
    trial.flat(10000)
    entry = request_of("e", BUY, kind=OrderType.STOP_LIMIT, trigger="10050", price="10060")
    bracket(trial, entry, "9900", "10150")
    trial.flat(10100)
    trial.bar((10100, 10200, 10000, 10170))
    assert purposes(trial) == [ENTRY]


def test_an_entry_that_gaps_beyond_its_stop_is_stopped_at_the_same_open() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY, kind=LIMIT, price="9950"), "9900", "10100")
    trial.flat(10000)
    trial.bar((9800, 9850, 9790, 9840))
    assert [(fill.price, fill.ts_ms) for fill in trial.fills()] == [
        (D(9800), 60_000),
        (D(9800), 60_000),
    ]


def test_a_target_that_wakes_beyond_its_price_meets_the_market_where_it_stands() -> None:
    trial = Trial()
    trial.flat(10000)
    # A short from 9,950 whose "target" to buy lies above: it takes at 9,950, not at 9,990.
    bracket(trial, request_of("e", SELL, kind=STOP, trigger="9950"), "10100", "9990")
    trial.bar((10000, 10000, 9900, 9920))
    assert [fill.price for fill in trial.fills()] == [D(9950), D(9950)]


def test_legs_sleep_until_the_entry_fills() -> None:
    trial = Trial()
    events = trial.bracket(
        request_of("e", BUY, kind=LIMIT, price="9950"), stop_loss("e", SELL, "9900")
    )
    assert only(events, OrderAccepted).request.client_order_id == "e"
    assert trial.bar((10000, 10000, 9960, 10000)) == []


def test_canceling_an_entry_that_never_filled_takes_its_legs_with_it() -> None:
    trial = Trial()
    trial.bracket(request_of("e", BUY, kind=LIMIT, price="9950"), stop_loss("e", SELL, "9900"))
    trial.command(CancelOrder(client_order_id=ClientOrderId("e")))
    state = trial.exchange.symbols["BTCUSDT"]
    assert (state.orders, state.legs) == ({}, {})
    assert trial.bar((10000, 10000, 9000, 10000)) == []


@pytest.mark.parametrize("venue", [Venue.BINANCE, Venue.BYBIT])
def test_legs_grow_with_a_partly_filled_entry(venue: Venue) -> None:
    trial = Trial(venue, max_volume_share=D("0.1"))
    trial.bracket(
        request_of("e", BUY, "0.9"),
        stop_loss("e", SELL, "9900", "0.9"),
        target("e", SELL, "10100", "0.4", "near"),
        target("e", SELL, "10200", "0.5", "far"),
    )
    trial.flat(10000, volume="3")
    sizes = {name: order.quantity for name, order in working(trial).items() if name != "e"}
    # A third has filled; a third of 0.4 is 0.133..., cut to the step.
    assert sizes == {"e-stop": D("0.3"), "e-near": D("0.133"), "e-far": D("0.166")}
    events = trial.flat(10000, volume="100")
    assert {event.client_order_id: event.quantity for event in of_type(events, OrderAmended)} == {
        "e-stop": D("0.9"),
        "e-near": D("0.4"),
        "e-far": D("0.5"),
    }


def working(trial: Trial) -> dict[str, WorkingOrder]:
    return {str(name): order for name, order in trial.exchange.symbols["BTCUSDT"].orders.items()}


def test_a_partly_filled_entry_that_is_canceled_keeps_the_legs_of_its_fill() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.bracket(request_of("e", BUY, "0.9"), stop_loss("e", SELL, "9900", "0.9"))
    trial.flat(10000, volume="3")
    trial.command(CancelOrder(client_order_id=ClientOrderId("e")))
    trial.flat(9850, volume="100")
    assert [fill.quantity for fill in trial.fills()] == [D("0.3"), D("0.3")]


def test_a_leg_that_closes_a_partly_filled_entry_cancels_the_rest_of_it() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.bracket(
        request_of("e", BUY, "0.9", kind=LIMIT, price="10000"),
        target("e", SELL, "10100", "0.9"),
    )
    trial.flat(10000, volume="3")
    events = trial.bar((10050, 10200, 10050, 10150), volume="100")
    assert only(events, OrderFilled).quantity == D("0.3")
    assert only(events, OrderCanceled).client_order_id == "e"
    assert working(trial) == {}


def test_a_leg_that_has_ended_does_not_come_back_when_the_entry_fills_on() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.bracket(
        request_of("e", BUY, "0.9"),
        stop_loss("e", SELL, "9900", "0.9"),
        target("e", SELL, "10100", "0.9"),
    )
    trial.flat(10000, volume="3")
    trial.command(CancelOrder(client_order_id=ClientOrderId("e-target")))
    events = trial.flat(10000, volume="100")
    assert of_type(events, OrderAccepted) == []
    assert set(working(trial)) == {"e-stop"}


def test_legs_of_an_amended_entry_keep_their_proportion() -> None:
    trial = Trial()
    entry = request_of("e", BUY, "1", kind=LIMIT, price="9950")
    trial.bracket(entry, stop_loss("e", SELL, "9900"))
    trial.command(AmendOrder(client_order_id=ClientOrderId("e"), quantity=D("0.6")))
    trial.flat(10000)
    trial.bar((10000, 10000, 9940, 9945))
    assert working(trial)["e-stop"].quantity == D("0.6")


def test_two_targets_share_one_stop() -> None:
    trial = Trial()
    trial.bracket(
        request_of("e", BUY, "1"),
        stop_loss("e", SELL, "9900"),
        target("e", SELL, "10100", "0.5", "near"),
        target("e", SELL, "10200", "0.5", "far"),
    )
    trial.flat(10000)
    trial.bar((10000, 10150, 9950, 10140))
    assert trial.held() == D("0.5")
    # What the near target took is no longer there to stop: the stop closes the other half.
    events = trial.flat(9850)
    assert only(events, OrderFilled).quantity == D("0.5")
    assert trial.held() == 0
    assert working(trial) == {}


def test_one_cancels_other() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("up", BUY, kind=STOP, trigger="10100", oco_id="pair")
    trial.submit("down", SELL, kind=STOP, trigger="9900", oco_id="pair")
    events = trial.bar((10000, 10150, 9950, 10140))
    assert only(events, OrderFilled).client_order_id == "up"
    assert only(events, OrderCanceled).client_order_id == "down"


def test_a_turned_position_leaves_no_old_stop_behind() -> None:
    trial = Trial()
    bracket(trial, request_of("e", BUY), "9900", "10100")
    trial.flat(10000)
    trial.submit("turn", SELL, "2")
    events = trial.flat(10000)
    assert {event.client_order_id for event in of_type(events, OrderCanceled)} == {
        "e-stop",
        "e-target",
    }
    assert trial.held() == -1


def test_reduce_only_orders_share_what_is_open() -> None:
    trial = Trial()
    trial.submit("e", BUY)
    trial.flat(10000)
    trial.submit("a", SELL, "0.7", reduce_only=True)
    trial.submit("b", SELL, "0.7", reduce_only=True)
    events = trial.flat(10000)
    assert [fill.quantity for fill in of_type(events, OrderFilled)] == [D("0.7"), D("0.3")]
    assert only(events, OrderCanceled).client_order_id == "b"


def test_a_volume_share_limits_what_fills_and_the_rest_stays() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.submit("a", BUY, "1")
    assert only(trial.flat(10000, volume="4.567"), OrderFilled).quantity == D("0.456")
    assert only(trial.flat(10010, volume="100"), OrderFilled).quantity == D("0.544")


def test_orders_share_one_bars_volume_by_priority() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.submit("a", BUY, "0.3")
    trial.submit("b", BUY, "0.3")
    events = trial.flat(10000, volume="4")
    assert [fill.quantity for fill in of_type(events, OrderFilled)] == [D("0.3"), D("0.1")]


def test_an_immediate_order_keeps_what_it_got_and_expires() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.submit("a", BUY, "1", kind=LIMIT, price="10010", time_in_force=TimeInForce.IOC)
    events = trial.flat(10000, volume="4")
    assert only(events, OrderFilled).quantity == D("0.4")
    assert only(events, OrderExpired).client_order_id == "a"


def test_a_fill_or_kill_order_fills_whole_or_not_at_all() -> None:
    trial = Trial(max_volume_share=D("0.1"))
    trial.submit("a", BUY, "0.401", kind=LIMIT, price="10010", time_in_force=TimeInForce.FOK)
    trial.submit("b", BUY, "0.4", kind=LIMIT, price="10010", time_in_force=TimeInForce.FOK)
    events = trial.flat(10000, volume="4")
    assert only(events, OrderExpired).client_order_id == "a"
    assert only(events, OrderFilled).quantity == D("0.4")
