"""Orders of both namespaces: what is sent, what is understood, what is never sent twice."""

import json
from decimal import Decimal

import pytest
from tests.unit.simulation.market import instrument_of
from tests.unit.venues.binance.messages import T_MS, algo, limit_order, order, refusal, stop_order
from tests.unit.venues.binance.scripted_binance import CREDENTIALS, Reply, ScriptedBinance

from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import Denied, OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    TimeInForce,
    Trailing,
    WorkingPrice,
)
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.binance.requests import algo_parameters, check_form, order_parameters
from perpdesk.venues.binance.venue import BinanceVenue, connect

ORDER, ALGO = "fapi/v1/order", "fapi/v1/algoOrder"
ONE = ClientOrderId("desk-1")
STOP = ClientOrderId("desk-sl-1")


# What is sent.


def test_a_limit_order_carries_price_size_and_time_in_force() -> None:
    assert order_parameters(limit_order(time_in_force=TimeInForce.GTX, reduce_only=True)) == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "newClientOrderId": "desk-1",
        "newOrderRespType": "RESULT",
        "quantity": "0.01",
        "reduceOnly": "true",
        "timeInForce": "GTX",
        "price": "60000",
    }


def test_a_market_order_carries_neither_price_nor_time_in_force() -> None:
    sent = order_parameters(limit_order(type=OrderType.MARKET, price=None))
    assert not {"price", "timeInForce", "reduceOnly"} & sent.keys()


def test_a_stop_that_closes_the_position_carries_neither_size_nor_reduce_only() -> None:
    sent = algo_parameters(
        stop_order(quantity=None, close_position=True, working_price=WorkingPrice.MARK)
    )
    assert sent == {
        "algoType": "CONDITIONAL",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "STOP_MARKET",
        "clientAlgoId": "desk-sl-1",
        "workingType": "MARK_PRICE",
        "closePosition": "true",
        "triggerPrice": "58000",
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(OrderType.STOP_LIMIT, "STOP"), (OrderType.TAKE_PROFIT_LIMIT, "TAKE_PROFIT")],
)
def test_conditional_limit_orders_have_binances_names(ours: OrderType, theirs: str) -> None:
    sent = algo_parameters(stop_order(type=ours, price=Decimal("57900")))
    assert (sent["type"], sent["price"], sent["timeInForce"]) == (theirs, "57900", "GTC")


def test_a_trailing_stop_carries_its_callback_in_percent() -> None:
    trailing = Trailing(callback_rate=Decimal("0.015"), activation_price=Decimal("61000"))
    sent = algo_parameters(
        stop_order(type=OrderType.TRAILING_STOP_MARKET, trigger_price=None, trailing=trailing)
    )
    assert (sent["callbackRate"], sent["activatePrice"]) == ("1.5", "61000")
    assert "triggerPrice" not in sent


def test_a_gtd_order_carries_the_time_it_expires() -> None:
    sent = order_parameters(limit_order(time_in_force=TimeInForce.GTD, expire_ms=T_MS))
    assert (sent["timeInForce"], sent["goodTillDate"]) == ("GTD", str(T_MS))


@pytest.mark.parametrize(
    "request_",
    [
        limit_order(time_in_force=TimeInForce.GTD, expire_ms=T_MS + 599_999),
        stop_order(time_in_force=TimeInForce.GTD, expire_ms=T_MS + 3_600_000),
        limit_order("x" * 37),
        limit_order("a b"),
        limit_order(close_position=True, quantity=None),
        stop_order(close_position=True),
        stop_order(
            type=OrderType.TRAILING_STOP_MARKET, trailing=Trailing(callback_rate=Decimal("0.3"))
        ),
    ],
)
def test_what_binance_cannot_express_is_denied_with_a_next_step(request_: OrderRequest) -> None:
    with pytest.raises(Denied) as caught:
        check_form(request_, now_ms=T_MS)
    assert caught.value.next_step


# Placing.


async def test_a_conditional_order_goes_to_the_algo_service_under_our_id(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"POST {ALGO}", algo())
    report = await binance.trading.place(stop_order())
    (seen,) = venue.calls(f"POST {ALGO}")
    assert seen.parameters["clientAlgoId"] == "desk-sl-1"
    assert (report.status, report.order_id) == (OrderStatus.ACCEPTED, "2146760")
    assert report.trigger_price == Decimal(58000)


async def test_a_duplicate_id_of_the_same_open_order_is_that_order(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"POST {ORDER}", refusal(-4116))
    venue.on(f"GET {ORDER}", order())
    assert (await binance.trading.place(limit_order())).order_id == "22542179"


async def test_a_duplicate_id_of_another_order_is_refused(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"POST {ORDER}", refusal(-4116))
    venue.on(f"GET {ORDER}", order(side="SELL"))
    with pytest.raises(VenueRejected):
        await binance.trading.place(limit_order())


async def test_an_order_off_the_tick_is_denied_and_not_sent(venue: ScriptedBinance) -> None:
    rules = {"BTCUSDT": instrument_of(Venue.BINANCE)}
    adapter = await connect(
        venue.endpoints,
        CREDENTIALS,
        instruments=lambda: rules,
        mark_price=lambda _: Decimal(60000),
    )
    with pytest.raises(Denied, match="nearest"):
        await adapter.trading.place(limit_order(price=Decimal("60000.0001")))
    await adapter.close()
    assert not venue.calls(f"POST {ORDER}")


async def test_a_batch_sends_five_a_request_and_conditional_orders_apart(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "POST fapi/v1/batchOrders",
        lambda sent: [order(each["newClientOrderId"]) for each in json.loads(sent["batchOrders"])],
    )
    venue.on(f"POST {ALGO}", algo())
    wanted = [limit_order(f"desk-{i}") for i in range(6)]
    fates = await binance.trading.place_batch([*wanted[:3], stop_order(), *wanted[3:]])
    names = [fate.client_order_id for fate in fates if isinstance(fate, OrderReport)]
    assert names == ["desk-0", "desk-1", "desk-2", "desk-sl-1", "desk-3", "desk-4", "desk-5"]
    sizes = [
        len(json.loads(seen.parameters["batchOrders"]))
        for seen in venue.calls("POST fapi/v1/batchOrders")
    ]
    assert sorted(sizes) == [1, 5]


async def test_each_order_of_a_batch_has_its_own_fate(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "POST fapi/v1/batchOrders",
        [order("desk-0"), {"code": -2019, "msg": "no"}, {"code": -1007, "msg": "timeout"}],
    )
    found = await binance.trading.place_batch([limit_order(f"desk-{i}") for i in range(3)])
    assert [type(one) for one in found] == [OrderReport, VenueRejected, OutcomeUnknown]


async def test_a_batch_that_was_cut_leaves_every_order_unknown(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("POST fapi/v1/batchOrders", Reply(cut="before"))
    found = await binance.trading.place_batch([limit_order(f"desk-{i}") for i in range(2)])
    assert [type(one) for one in found] == [OutcomeUnknown, OutcomeUnknown]
    assert len(venue.calls("POST fapi/v1/batchOrders")) == 1


# Changing.


async def test_an_amendment_sends_both_size_and_price(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"GET {ALGO}", refusal(-2013))
    venue.on(f"GET {ORDER}", order())
    venue.on(f"PUT {ORDER}", order(price="59000.0"))
    change = AmendOrder(client_order_id=ONE, price=Decimal(59000))
    report = await binance.trading.amend("BTCUSDT", change)
    sent = venue.calls(f"PUT {ORDER}")[0].parameters
    assert (sent["quantity"], sent["price"], sent["side"]) == ("0.01", "59000", "BUY")
    assert sent["origClientOrderId"] == "desk-1"
    assert report.price == Decimal(59000)


async def test_an_amendment_that_changes_nothing_is_success(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"GET {ORDER}", order())
    venue.on(f"PUT {ORDER}", refusal(-5027))
    change = AmendOrder(client_order_id=ONE, price=Decimal(60000))
    assert (await binance.trading.amend("BTCUSDT", change)).price == Decimal(60000)


async def test_a_conditional_order_is_not_amended(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"GET {ORDER}", refusal(-2013))
    venue.on(f"GET {ALGO}", algo())
    change = AmendOrder(client_order_id=STOP, trigger_price=Decimal(59000))
    with pytest.raises(VenueRejected, match="not a resting limit order") as caught:
        await binance.trading.amend("BTCUSDT", change)
    assert "cancel" in caught.value.next_step


async def test_a_cancel_of_an_unknown_id_asks_both_services(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"DELETE {ORDER}", refusal(-2011))
    venue.on(f"DELETE {ALGO}", algo(algoStatus="CANCELED"))
    report = await binance.trading.cancel("BTCUSDT", STOP)
    assert report.status is OrderStatus.CANCELED


async def test_a_cancel_of_our_own_stop_asks_the_algo_service_alone(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"POST {ALGO}", algo())
    venue.on(f"DELETE {ALGO}", {"algoId": 2146760, "code": "200", "msg": "success"})
    venue.on(f"GET {ALGO}", algo(algoStatus="CANCELED"))
    await binance.trading.place(stop_order())
    report = await binance.trading.cancel("BTCUSDT", STOP)
    assert report.status is OrderStatus.CANCELED
    assert not venue.calls(f"DELETE {ORDER}")


async def test_a_triggered_stop_limit_is_canceled_as_the_order_it_became(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    triggered = algo(algoStatus="TRIGGERED", actualOrderId="777", orderType="STOP")
    venue.on(f"DELETE {ALGO}", refusal(-2011))
    venue.on(f"GET {ALGO}", triggered)
    venue.on(f"GET {ORDER}", order("desk-sl-1", orderId=777, side="SELL"))
    venue.on(
        f"DELETE {ORDER}",
        refusal(-2011),
        order("desk-sl-1", orderId=777, side="SELL", status="CANCELED"),
    )
    report = await binance.trading.cancel("BTCUSDT", STOP)
    assert (report.status, report.working_order_id) == (OrderStatus.CANCELED, "777")
    assert report.order_id == "2146760"


async def test_canceling_what_is_not_open_is_refused_in_words(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    for path in (ORDER, ALGO):
        venue.on(f"DELETE {path}", refusal(-2011))
        venue.on(f"GET {path}", refusal(-2013))
    with pytest.raises(VenueRejected, match="not open"):
        await binance.trading.cancel("BTCUSDT", ONE)


async def test_cancel_all_reaches_the_algo_service_even_if_the_first_fails(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("DELETE fapi/v1/allOpenOrders", Reply(cut="before"))
    venue.on("DELETE fapi/v1/algoOpenOrders", {"code": 200, "msg": "done"})
    with pytest.raises(OutcomeUnknown):
        await binance.trading.cancel_all("BTCUSDT")
    assert len(venue.calls("DELETE fapi/v1/algoOpenOrders")) == 1


# Asking.


async def test_a_triggered_stop_is_found_with_what_it_has_filled(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"GET {ALGO}", algo(algoStatus="TRIGGERED", actualOrderId="777"))
    venue.on(
        f"GET {ORDER}",
        order(
            "anything",
            orderId=777,
            side="SELL",
            type="MARKET",
            status="PARTIALLY_FILLED",
            executedQty="0.004",
            avgPrice="57990.0",
        ),
    )
    report = await binance.trading.find("BTCUSDT", STOP)
    assert report is not None
    assert (report.client_order_id, report.order_id) == ("desk-sl-1", "2146760")
    assert (report.status, report.type) == (OrderStatus.PARTIALLY_FILLED, OrderType.STOP_MARKET)
    assert (report.filled_quantity, report.average_price) == (Decimal("0.004"), Decimal(57990))
    assert venue.calls(f"GET {ORDER}")[0].parameters["orderId"] == "777"


async def test_an_order_in_neither_namespace_is_not_found(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"GET {ORDER}", refusal(-2013))
    venue.on(f"GET {ALGO}", refusal(-2013))
    assert await binance.trading.find("BTCUSDT", ONE) is None


async def test_an_order_sent_long_ago_that_two_readings_miss_never_arrived(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    venue.on(f"GET {ORDER}", refusal(-2013))
    venue.on(f"GET {ALGO}", refusal(-2013))
    long_ago = hasty.clock.now_ms() - 60_000
    found = await hasty.trading.resolve("BTCUSDT", ONE, sent_ms=long_ago)
    assert found == NeverArrived(client_order_id=ONE)
    assert len(venue.calls(f"GET {ORDER}")) >= 2


async def test_open_orders_of_both_namespaces_come_each_once(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "GET fapi/v1/openAlgoOrders",
        [algo(), algo("desk-tp", algoId=5, algoStatus="TRIGGERED", actualOrderId="777")],
    )
    venue.on("GET fapi/v1/openOrders", [order(), order("desk-tp", orderId=777, side="SELL")])
    found = await binance.trading.open_orders()
    assert [(one.client_order_id, one.order_id, one.status) for one in found] == [
        ("desk-sl-1", "2146760", OrderStatus.ACCEPTED),
        ("desk-tp", "5", OrderStatus.TRIGGERED),
        ("desk-1", "22542179", OrderStatus.ACCEPTED),
    ]


@pytest.mark.parametrize("reading", [refusal(-2013), refusal(-1003, status=429), refusal(-2015)])
async def test_a_duplicate_id_whose_order_cannot_be_read_is_unknown_and_never_refused(
    venue: ScriptedBinance, binance: BinanceVenue, reading: Reply
) -> None:
    venue.on(f"POST {ORDER}", refusal(-4116))
    venue.on(f"GET {ORDER}", reading)
    with pytest.raises(OutcomeUnknown):
        await binance.trading.place(limit_order())


async def test_an_order_that_waited_before_it_was_sent_is_not_given_up_too_early(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    called_ms = hasty.clock.now_ms()
    hasty.budget.retry_after(30)
    venue.on(f"POST {ORDER}", Reply(cut="before"))
    with pytest.raises(OutcomeUnknown):
        await hasty.trading.place(limit_order())
    signed_ms = int(venue.calls(f"POST {ORDER}")[0].parameters["timestamp"])
    assert signed_ms > called_ms + 25_000
    venue.on(f"GET {ORDER}", refusal(-2013))
    found = await hasty.trading.resolve("BTCUSDT", ONE, sent_ms=called_ms)
    assert found == NeverArrived(client_order_id=ONE)
    assert hasty.clock.now_ms() > signed_ms + 7_000


async def test_cancel_all_reaches_an_order_that_triggered_meanwhile(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("DELETE fapi/v1/allOpenOrders", {"code": 200, "msg": "done"})
    venue.on("DELETE fapi/v1/algoOpenOrders", {"code": 200, "msg": "done"})
    await binance.trading.cancel_all("BTCUSDT")
    last = [one.path for one in venue.seen if one.method == "DELETE"][-1]
    assert last == "fapi/v1/allOpenOrders"


async def test_a_duplicate_id_in_a_batch_is_the_order_that_has_it(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    duplicate = {"code": -4116, "msg": "clientOrderId is duplicated."}
    venue.on("POST fapi/v1/batchOrders", [order("desk-1"), duplicate, duplicate])
    venue.on(f"GET {ORDER}", order("desk-2"), refusal(-2013))
    fates = await binance.trading.place_batch([limit_order(f"desk-{i}") for i in (1, 2, 3)])
    first, second, third = fates
    assert isinstance(first, OrderReport)
    assert isinstance(second, OrderReport)
    assert second.client_order_id == "desk-2"
    assert isinstance(third, OutcomeUnknown)


async def test_a_canceled_conditional_order_that_cannot_be_read_is_unknown(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(f"POST {ALGO}", algo())
    await binance.trading.place(stop_order())
    venue.on(f"DELETE {ALGO}", {"algoId": 1, "clientAlgoId": STOP, "code": "200", "msg": "success"})
    venue.on(f"GET {ALGO}", refusal(-1007, status=408))
    with pytest.raises(OutcomeUnknown):
        await binance.trading.cancel("BTCUSDT", STOP)


async def test_a_stop_that_has_just_ended_is_not_told_before_the_order_that_it_became(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    now_ms = binance.clock.now_ms()
    venue.on(f"GET {ALGO}", algo(algoStatus="FINISHED", actualOrderId="777", updateTime=now_ms))
    venue.on(f"GET {ORDER}", refusal(-2013))
    with pytest.raises(VenueUnavailable):
        await binance.trading.find("BTCUSDT", STOP)


async def test_a_stop_whose_order_binance_has_forgotten_is_told_by_its_own_word(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    long_ago = binance.clock.now_ms() - 4 * 86_400_000
    venue.on(f"GET {ALGO}", algo(algoStatus="FINISHED", actualOrderId="777", updateTime=long_ago))
    venue.on(f"GET {ORDER}", refusal(-2013))
    found = await binance.trading.find("BTCUSDT", STOP)
    assert found is not None
    assert found.status is OrderStatus.CANCELED
