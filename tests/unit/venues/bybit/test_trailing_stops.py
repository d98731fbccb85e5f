"""Trailing stops, which Bybit keeps with positions, by our own ids."""

from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.venues.bybit.rows import order_row, position_row
from tests.unit.venues.bybit.scripted_venue import (
    ScriptedVenue,
    envelope,
    listing,
)

from perpdesk.domain.errors import Denied, VenueRejected
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    Trailing,
)
from perpdesk.venues.bybit.connect import BybitVenue

D = Decimal
TRAILING = OrderRequest(
    client_order_id=ClientOrderId("trail-1"),
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.TRAILING_STOP_MARKET,
    quantity=D("2"),
    trailing=Trailing(callback_rate=D("0.01")),
    reduce_only=True,
)


@pytest.fixture
def short_position(venue: ScriptedVenue) -> ScriptedVenue:
    venue.answer("/v5/position/list", listing(position_row()))
    venue.answer("/v5/market/tickers", listing({"symbol": "BTCUSDT", "lastPrice": "60012.3"}))
    venue.answer("/v5/position/trading-stop", envelope())
    row = order_row(orderId="ts-1", orderLinkId="", stopOrderType="TrailingStop")
    venue.answer("/v5/order/realtime", listing({**row, "orderStatus": "Untriggered"}))
    return venue


async def test_trailing_stop_becomes_a_distance_of_the_position(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    report = await ruled.trading.place(TRAILING)
    assert short_position.received("/v5/position/trading-stop")[0].json == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "tpslMode": "Full",
        "positionIdx": 0,
        "trailingStop": "600.1",  # 1 % of 60,012.3 is 600.123
    }
    assert (report.client_order_id, report.order_id) == ("trail-1", "ts-1")
    assert report.type is OrderType.TRAILING_STOP_MARKET
    found = await ruled.trading.find("BTCUSDT", ClientOrderId("trail-1"))
    assert found == report


async def test_trailing_stop_that_sleeps_takes_its_distance_from_where_it_wakes(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    wake = Trailing(callback_rate=D("0.01"), activation_price=D("59000"))
    await ruled.trading.place(replace(TRAILING, trailing=wake))
    told = short_position.received("/v5/position/trading-stop")[0].json
    assert (told["trailingStop"], told["activePrice"]) == ("590", "59000")


async def test_trailing_stop_is_canceled_by_our_id(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    await ruled.trading.place(TRAILING)
    row = order_row(orderId="ts-1", orderLinkId="", stopOrderType="TrailingStop")
    living = listing({**row, "orderStatus": "Untriggered"})
    short_position.answer("/v5/order/realtime", living, listing())
    short_position.answer("/v5/order/history", listing({**row, "orderStatus": "Deactivated"}))
    report = await ruled.trading.cancel("BTCUSDT", ClientOrderId("trail-1"))
    assert (report.client_order_id, report.status) == ("trail-1", OrderStatus.CANCELED)
    assert short_position.received("/v5/position/trading-stop")[1].json["trailingStop"] == "0"


async def test_trailing_stop_whose_place_was_taken_cannot_cancel_its_successor(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    await ruled.trading.place(TRAILING)
    await ruled.trading.place(replace(TRAILING, client_order_id=ClientOrderId("trail-2")))
    before = await ruled.trading.find("BTCUSDT", ClientOrderId("trail-1"))
    assert before is not None
    assert before.status is OrderStatus.CANCELED
    with pytest.raises(VenueRejected):
        await ruled.trading.cancel("BTCUSDT", ClientOrderId("trail-1"))
    assert len(short_position.received("/v5/position/trading-stop")) == 2


async def test_trailing_stop_without_a_position_is_denied(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    short_position.answer("/v5/position/list", listing(position_row(side="", size="0")))
    with pytest.raises(Denied, match="needs an open position"):
        await ruled.trading.place(TRAILING)


async def test_trailing_stop_for_part_of_a_position_is_denied(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    with pytest.raises(Denied, match="closes the whole position"):
        await ruled.trading.place(replace(TRAILING, quantity=D("1")))


async def test_trailing_stop_that_was_refused_leaves_the_one_before_under_its_own_id(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    await ruled.trading.place(TRAILING)

    async def refuse(_: object) -> dict[str, object]:
        # The stream tells of the one that stands while the second is under way.
        row = order_row(orderId="ts-1", orderLinkId="", stopOrderType="TrailingStop")
        ruled.trading._account.report_of({**row, "orderStatus": "Untriggered"})
        return envelope(code=10001, message="params error")

    short_position.answer("/v5/position/trading-stop", refuse)
    with pytest.raises(VenueRejected):
        await ruled.trading.place(replace(TRAILING, client_order_id=ClientOrderId("trail-2")))
    found = await ruled.trading.find("BTCUSDT", ClientOrderId("trail-1"))
    assert found is not None
    assert (found.client_order_id, found.order_id) == ("trail-1", "ts-1")


async def test_trailing_stop_that_was_not_seen_yet_is_found_after_another_was_refused(
    short_position: ScriptedVenue, ruled: BybitVenue
) -> None:
    seen = short_position.replies["/v5/order/realtime"][0]
    short_position.answer("/v5/order/realtime", listing())
    await ruled.trading.place(TRAILING)
    refusal = envelope(code=10001, message="params error")
    short_position.answer("/v5/position/trading-stop", refusal)
    with pytest.raises(VenueRejected):
        await ruled.trading.place(replace(TRAILING, client_order_id=ClientOrderId("trail-2")))
    short_position.answer("/v5/order/realtime", seen)
    found = await ruled.trading.find("BTCUSDT", ClientOrderId("trail-1"))
    assert found is not None
    assert found.client_order_id == "trail-1"
