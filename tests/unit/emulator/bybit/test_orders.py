"""The life of orders as the venue tells it."""

from decimal import Decimal

import pytest
from tests.unit.emulator.builders import world_of
from tests.unit.emulator.bybit.client import Client, opened

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Venue
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.marketdata.sample import START_MS

BTC = {"symbol": "BTCUSDT"}


def code_of(answer: dict[str, object]) -> object:
    return answer["retCode"]


async def history(client: Client, link_id: str) -> dict[str, str]:
    rows = await client.rows("order/history", **BTC, orderLinkId=link_id)
    row: dict[str, str] = rows[0]
    return row


async def test_a_limit_order_rests_is_amended_and_canceled() -> None:
    async with opened() as client:
        placed = await client.order("Buy", "0.01", price=client.price(-2), orderLinkId="a1")
        order_id = placed["result"]["orderId"]
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["orderId"], row["orderStatus"]) == (order_id, "New")
        assert (row["leavesQty"], row["cumExecQty"], row["avgPrice"]) == ("0.01", "0", "")
        lower = client.price(-3)
        await client.post("order/amend", **BTC, orderId=order_id, price=lower, qty="0.02")
        (row,) = await client.rows("order/realtime", **BTC, orderLinkId="a1")
        assert (row["price"], row["qty"]) == (lower, "0.02")
        await client.post("order/cancel", **BTC, orderLinkId="a1")
        assert await client.rows("order/realtime", **BTC) == []
        row = await history(client, "a1")
        assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelByUser")


async def test_a_market_order_is_an_ioc_that_fills_at_the_best_price() -> None:
    async with opened() as client:
        book = (await client.get("market/orderbook", **BTC, limit=1))["result"]
        await client.order("Buy", "0.01", orderLinkId="m1")
        row = await history(client, "m1")
        assert (row["orderStatus"], row["timeInForce"]) == ("Filled", "IOC")
        assert row["avgPrice"] == book["a"][0][0]
        assert row["cumExecFee"] == str(
            (Decimal(row["avgPrice"]) * Decimal("0.01") * Decimal("0.00055")).normalize()
        )


async def test_a_market_order_that_cannot_fill_whole_ends_canceled_with_executed_quantity() -> None:
    async with opened() as client:
        client.world.faults.arm(Fault(kind=FaultKind.PARTIAL_FILLS, value=0.4))
        client.world.advance(1_000)
        resting = await client.order("Buy", "0.01", price=client.price(-2))
        assert code_of(resting) == 0
        client.world.advance(1_000)
        await client.order("Buy", "0.01", orderLinkId="m1")
        row = await history(client, "m1")
        assert row["orderStatus"] == "Cancelled"
        assert 0 < Decimal(row["cumExecQty"]) < Decimal("0.01")
        assert row["leavesQty"] == "0"


async def test_an_order_link_id_is_unique_for_good() -> None:
    async with opened() as client:
        assert code_of(await client.order("Buy", "0.01", orderLinkId="once")) == 0
        assert code_of(await client.order("Buy", "0.01", orderLinkId="once")) == 110072
        assert (await client.position())["size"] == "0.01"


async def test_orders_without_a_link_id_do_not_collide() -> None:
    async with opened() as client:
        for _ in range(2):
            await client.order("Buy", "0.001", price=client.price(-2))
        rows = await client.rows("order/realtime", **BTC)
        assert [row["orderLinkId"] for row in rows] == ["", ""]
        assert rows[0]["orderId"] != rows[1]["orderId"]


@pytest.mark.parametrize("link_id", ["x" * 37, "a.b", "a:b", "a/b", "ä"])
async def test_a_link_id_of_another_alphabet_is_refused(link_id: str) -> None:
    async with opened() as client:
        assert code_of(await client.order("Buy", "0.01", orderLinkId=link_id)) == 10001


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"qty": "0.0005"}, 10001),
        ({"qty": "0.0105"}, 10001),
        ({"qty": 0.01}, 10001),
        ({"qty": "ten"}, 10001),
        ({"qty": "-1"}, 10001),
        ({"side": "BUY"}, 10001),
        ({"orderType": "Stop"}, 10001),
        ({"orderType": "Limit"}, 10001),
        ({"symbol": "NOPE"}, 10001),
        ({"category": "spot"}, 10001),
        ({"timeInForce": "GTD", "orderType": "Limit", "price": "40000"}, 10001),
        ({"positionIdx": 1}, 10001),
        ({"orderType": "Limit", "price": "40000.05"}, 10001),
        ({"orderType": "Limit", "price": "80000"}, 110003),
        ({"orderType": "Limit", "price": "4000", "qty": "0.001"}, 110094),
        ({"qty": "20"}, 110007),
        ({"reduceOnly": True}, 110017),
    ],
)
async def test_an_illegal_order_is_refused_by_the_venues_code(
    changed: dict[str, object], code: int
) -> None:
    async with opened() as client:
        order = {**BTC, "side": "Buy", "orderType": "Market", "qty": "0.01", "orderLinkId": "x"}
        assert code_of(await client.post("order/create", **(order | changed))) == code
        # It left nothing behind: the id is still free.
        assert await client.rows("order/history", **BTC) == []
        assert code_of(await client.post("order/create", **order)) == 0


async def test_a_position_index_of_hedge_mode_is_told_by_name() -> None:
    async with opened() as client:
        answer = await client.order("Buy", "0.01", positionIdx=2)
        assert answer["retMsg"] == "position idx not match position mode"


async def test_a_post_only_order_that_would_take_ends_canceled() -> None:
    async with opened() as client:
        answer = await client.order(
            "Buy", "0.01", price=client.price(0.5), timeInForce="PostOnly", orderLinkId="p1"
        )
        assert code_of(answer) == 0
        row = await history(client, "p1")
        assert (row["orderStatus"], row["rejectReason"]) == (
            "Cancelled",
            "EC_PostOnlyWillTakeLiquidity",
        )


@pytest.mark.parametrize("time_in_force", ["IOC", "FOK"])
async def test_an_immediate_order_that_cannot_fill_ends_canceled(time_in_force: str) -> None:
    async with opened() as client:
        await client.order(
            "Buy", "0.01", price=client.price(-1), timeInForce=time_in_force, orderLinkId="i1"
        )
        assert (await history(client, "i1"))["orderStatus"] == "Cancelled"
        assert (await client.position())["size"] == "0"


async def until_status(client: Client, status: str) -> None:
    """Let time pass, half a day at most, until the one open order is gone or has a status."""
    for _ in range(12 * 60):
        client.world.advance(MINUTE_MS)
        rows = await client.rows("order/realtime", **BTC)
        if not rows or rows[0]["orderStatus"] == status:
            return


async def test_a_conditional_order_waits_triggers_and_fills() -> None:
    async with opened() as client, client.private("order") as socket:
        level = {"triggerPrice": client.price(0.1), "triggerDirection": 1}
        await client.order("Buy", "0.01", **level, orderLinkId="c1")
        row = await socket.row("order", orderLinkId="c1")
        assert (row["orderStatus"], row["stopOrderType"]) == ("Untriggered", "Stop")
        assert (row["triggerDirection"], row["createType"]) == (1, "CreateByStopOrder")
        await until_status(client, "Filled")
        assert (await socket.row("order", orderStatus="Triggered"))["orderLinkId"] == "c1"
        filled = await socket.row("order", orderStatus="Filled")
        assert filled["orderId"] == row["orderId"]
        assert filled["cumExecQty"] == "0.01"


async def test_a_conditional_limit_order_rests_once_it_has_triggered() -> None:
    async with opened() as client, client.private("order") as socket:
        level = {"triggerPrice": client.price(0.1), "triggerDirection": 1}
        await client.order("Buy", "0.01", price=client.price(-3), **level)
        await until_status(client, "New")
        statuses = [(await socket.row("order"))["orderStatus"] for _ in range(3)]
        assert statuses == ["Untriggered", "Triggered", "New"]


@pytest.mark.parametrize(("direction", "offset_pct", "code"), [(1, -1, 110092), (2, 1, 110093)])
async def test_a_trigger_on_the_wrong_side_is_refused(
    direction: int, offset_pct: float, code: int
) -> None:
    async with opened() as client:
        answer = await client.order(
            "Buy", "0.01", triggerPrice=client.price(offset_pct), triggerDirection=direction
        )
        assert code_of(answer) == code


async def test_a_trigger_needs_a_direction() -> None:
    async with opened() as client:
        assert code_of(await client.order("Buy", "0.01", triggerPrice=client.price(1))) == 10001


async def test_a_conditional_order_that_is_canceled_is_deactivated() -> None:
    async with opened() as client:
        stop = {"triggerPrice": client.price(-5), "triggerDirection": 2, "orderLinkId": "c1"}
        await client.order("Sell", "0.01", **stop)
        await client.post("order/cancel", **BTC, orderLinkId="c1")
        assert (await history(client, "c1"))["orderStatus"] == "Deactivated"


async def test_ten_conditional_orders_of_a_symbol_are_the_most() -> None:
    async with opened() as client:
        stop = {"triggerPrice": client.price(-5), "triggerDirection": 2}
        codes = [code_of(await client.order("Sell", "0.001", **stop)) for _ in range(11)]
        assert codes == [0] * 10 + [110009]


async def test_a_conditional_order_holds_no_margin() -> None:
    async with opened() as client:
        stop = {"triggerPrice": client.price(-5), "triggerDirection": 2}
        assert code_of(await client.order("Sell", "20", **stop)) == 0
        (wallet,) = await client.rows("account/wallet-balance", accountType="UNIFIED")
        assert wallet["coin"][0]["totalOrderIM"] == "0"


async def test_a_resting_limit_order_holds_margin() -> None:
    async with opened() as client:
        price = Decimal(client.price(-1))
        await client.order("Buy", "0.1", price=str(price))
        (wallet,) = await client.rows("account/wallet-balance", accountType="UNIFIED")
        # Order cost = Q·P/L + Q·P·t + Q·P·(1 - 1/L)·t, at ten times: reference/exchanges.md 6.3.
        value, taker = price * Decimal("0.1"), Decimal("0.00055")
        cost = value / 10 + value * taker + value * Decimal("0.9") * taker
        assert Decimal(wallet["coin"][0]["totalOrderIM"]) == pytest.approx(
            cost, abs=Decimal("1e-7")
        )


async def test_zero_quantity_with_close_on_trigger_closes_all() -> None:
    async with opened() as client:
        await client.order("Buy", "0.03")
        await client.order("Sell", "0", reduceOnly=True, closeOnTrigger=True, orderLinkId="all")
        assert (await client.position())["size"] == "0"
        assert (await history(client, "all"))["cumExecQty"] == "0.03"


async def test_a_reduce_only_order_never_turns_the_position() -> None:
    async with opened() as client:
        await client.order("Buy", "0.03")
        await client.order("Sell", "0.05", reduceOnly=True, orderLinkId="r1")
        assert (await client.position())["size"] == "0"
        row = await history(client, "r1")
        assert (row["orderStatus"], row["cumExecQty"]) == ("Cancelled", "0.03")


async def test_what_is_over_cannot_be_canceled_or_amended() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01", orderLinkId="filled")
        await client.order("Buy", "0.01", price=client.price(-1), orderLinkId="gone")
        await client.post("order/cancel", **BTC, orderLinkId="gone")
        for path in ("order/cancel", "order/amend"):
            codes = [
                code_of(await client.post(path, **BTC, orderLinkId=link_id, qty="0.02"))
                for link_id in ("filled", "gone", "never")
            ]
            assert codes == [110008, 110010, 110001]
        assert code_of(await client.post("order/cancel", **BTC)) == 10001


async def test_cancel_all_keeps_to_its_filter() -> None:
    async with opened() as client:
        stop = {"triggerPrice": client.price(-5), "triggerDirection": 2}
        await client.order("Sell", "0.001", **stop, orderLinkId="stop")
        await client.order("Buy", "0.001", price=client.price(-1), orderLinkId="limit")
        answer = await client.post("order/cancel-all", **BTC, orderFilter="Order")
        assert [row["orderLinkId"] for row in answer["result"]["list"]] == ["limit"]
        answer = await client.post("order/cancel-all", settleCoin="USDT")
        assert [row["orderLinkId"] for row in answer["result"]["list"]] == ["stop"]
        assert code_of(await client.post("order/cancel-all")) == 10001


async def test_a_batch_succeeds_and_fails_one_by_one() -> None:
    async with opened() as client:
        order = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.001"}
        good = order | {"price": client.price(-1), "orderLinkId": "b1"}
        answer = await client.post("order/create-batch", request=[good, order, good])
        assert answer["retCode"] == 0
        assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 10001, 110072]
        assert [bool(row["orderId"]) for row in answer["result"]["list"]] == [True, False, False]
        asked = [{**BTC, "orderLinkId": "b1"}, {**BTC, "orderLinkId": "b2"}]
        lower = client.price(-2)
        answer = await client.post(
            "order/amend-batch", request=[each | {"price": lower} for each in asked]
        )
        assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 110001]
        answer = await client.post("order/cancel-batch", request=asked)
        assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 110001]
        assert code_of(await client.post("order/create-batch", request=[good] * 21)) == 10001


async def test_realtime_needs_a_scope_and_shows_closed_orders_only_when_asked() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01", orderLinkId="m1")
        assert code_of(await client.get("order/realtime")) == 10001
        assert await client.rows("order/realtime", settleCoin="USDT") == []
        rows = await client.rows("order/realtime", settleCoin="USDT", openOnly=1)
        assert [row["orderLinkId"] for row in rows] == ["m1"]


async def test_history_is_paged_newest_first() -> None:
    async with opened() as client:
        for number in range(5):
            await client.order("Buy", "0.001", orderLinkId=f"h{number}")
        found, cursor = [], ""
        while True:
            answer = await client.get("order/history", **BTC, limit=2, cursor=cursor)
            found += [row["orderLinkId"] for row in answer["result"]["list"]]
            cursor = answer["result"]["nextPageCursor"]
            if not cursor:
                break
        assert found == ["h4", "h3", "h2", "h1", "h0"]


async def test_history_looks_at_seven_days_at_most_and_forgets_the_unfilled() -> None:
    async with opened() as client:
        now = client.world.now_ms
        span = {"startTime": now - 8 * 24 * HOUR_MS, "endTime": now}
        assert code_of(await client.get("order/history", **BTC, **span)) == 10001
        assert code_of(await client.get("execution/list", **BTC, **span)) == 10001


async def test_pre_check_tells_margin_before_and_after() -> None:
    async with opened() as client:
        answer = await client.post(
            "order/pre-check", **BTC, side="Buy", orderType="Market", qty="0.1"
        )
        result = answer["result"]
        assert result["preImrE4"] == 0
        # A tenth of a coin near 41,000 at ten times, of 10,000: about 4.1 %.
        assert 405 <= result["postImrE4"] <= 425
        assert await client.rows("order/realtime", **BTC, openOnly=1) == []


async def test_a_stop_can_be_refused_on_purpose() -> None:
    async with opened() as client:
        client.world.faults.arm(Fault(kind=FaultKind.STOP_REFUSED, left=1))
        stop = {"triggerPrice": client.price(-5), "triggerDirection": 2}
        codes = [code_of(await client.order("Sell", "0.001", **stop)) for _ in range(2)]
        assert codes == [110009, 0]


async def test_an_order_can_be_not_found_on_purpose_once() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01", price=client.price(-1), orderLinkId="a1")
        client.world.faults.arm(Fault(kind=FaultKind.NOT_FOUND, left=1))
        assert await client.rows("order/realtime", **BTC, orderLinkId="a1") == []
        assert len(await client.rows("order/realtime", **BTC, orderLinkId="a1")) == 1


async def test_the_journal_knows_what_was_asked_and_what_came_of_it() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01", orderLinkId="j1")
        await client.order("Buy", "0.01", orderLinkId="j1")
        noted = [
            (entry.what, entry.facts["client_id"], entry.facts.get("code"))
            for entry in client.world.journal
            if entry.what.startswith("request")
        ]
        assert noted == [("request accepted", "j1", None), ("request refused", "j1", "110072")]


async def test_a_trigger_can_be_moved_but_not_to_the_wrong_side() -> None:
    async with opened() as client:
        level = {"triggerPrice": client.price(-5), "triggerDirection": 2, "orderLinkId": "c1"}
        await client.order("Sell", "0.01", **level)
        moved = {**BTC, "orderLinkId": "c1", "triggerPrice": client.price(-4)}
        assert code_of(await client.post("order/amend", **moved)) == 0
        (row,) = await client.rows("order/realtime", **BTC)
        assert row["triggerPrice"] == moved["triggerPrice"]
        moved["triggerPrice"] = client.price(4)
        assert code_of(await client.post("order/amend", **moved)) == 110093


async def test_stops_that_come_with_an_order_can_be_amended_and_taken_off() -> None:
    async with opened() as client:
        await client.order(
            "Buy", "0.01", price=client.price(-1), stopLoss=client.price(-3), orderLinkId="a1"
        )
        high = client.price(3)
        changed = {**BTC, "orderLinkId": "a1", "takeProfit": high, "stopLoss": "0"}
        assert code_of(await client.post("order/amend", **changed)) == 0
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["takeProfit"], row["stopLoss"]) == (high, "")
        assert code_of(await client.post("order/amend", **BTC, orderLinkId="a1")) == 10001


async def test_an_amendment_that_is_not_legal_leaves_the_order_as_it_is() -> None:
    async with opened() as client:
        price = client.price(-1)
        await client.order("Buy", "0.01", price=price, orderLinkId="a1")
        for changed, code in (({"price": "40000.05"}, 10001), ({"qty": "20"}, 110007)):
            answer = await client.post("order/amend", **BTC, orderLinkId="a1", **changed)
            assert code_of(answer) == code
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["price"], row["qty"]) == (price, "0.01")


async def test_an_order_amended_through_the_market_fills_as_taker() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01", price=client.price(-1), orderLinkId="a1")
        await client.post("order/amend", **BTC, orderLinkId="a1", price=client.price(0.5))
        assert (await history(client, "a1"))["orderStatus"] == "Filled"


async def test_a_resting_order_fills_as_maker_when_the_market_comes() -> None:
    async with opened() as client:
        price = client.price(-0.1)
        await client.order("Buy", "0.01", price=price, orderLinkId="a1")
        await until_status(client, "Filled")
        (fill,) = await client.rows("execution/list", **BTC)
        assert (fill["isMaker"], fill["execPrice"], fill["feeRate"]) == (True, price, "0.0002")


async def test_one_order_can_fill_in_parts() -> None:
    async with opened() as client, client.private("order") as socket:
        await client.order("Buy", "0.01", price=client.price(-0.1), orderLinkId="a1")
        client.world.faults.arm(Fault(kind=FaultKind.PARTIAL_FILLS, value=0.4))
        (record,) = client.world.venues[Venue.BYBIT].accounts.by_id["demo"].open_orders()
        while not record.filled:
            client.world.advance(1_000)
        part = await socket.row("order", orderStatus="PartiallyFilled")
        assert Decimal(part["cumExecQty"]) + Decimal(part["leavesQty"]) == Decimal("0.01")
        await client.post("order/cancel", **BTC, orderLinkId="a1")
        row = await history(client, "a1")
        assert (row["orderStatus"], row["cumExecQty"]) == ("Cancelled", part["cumExecQty"])


async def test_hedge_mode_is_shown_but_not_traded() -> None:
    async with opened() as client:
        await client.post("position/switch-mode", coin="USDT", mode=3)
        for index in (0, 1, 2):
            assert code_of(await client.order("Buy", "0.01", positionIdx=index)) == 10001


async def test_an_order_can_be_asked_for_by_the_ids_it_has_and_by_no_others() -> None:
    async with opened() as client:
        placed = await client.order("Buy", "0.01", price=client.price(-1), orderLinkId="a1")
        order_id = placed["result"]["orderId"]
        both = {"orderId": order_id, "orderLinkId": "another"}
        assert len(await client.rows("order/realtime", **BTC, **both)) == 1
        assert await client.rows("order/realtime", **BTC, orderLinkId="a2") == []
        assert await client.rows("order/realtime", symbol="ETHUSDT", orderId=order_id) == []
        assert code_of(await client.get("order/realtime", symbol="NOPE")) == 10001
        assert code_of(await client.post("order/cancel", **BTC, orderId="nonsense")) == 110001


async def test_canceled_orders_without_a_fill_are_forgotten_after_a_day() -> None:
    async with opened(world_of(Venue.BYBIT, start_ms=START_MS + HOUR_MS)) as client:
        await client.order("Buy", "0.01", orderLinkId="filled")
        await client.order("Buy", "0.01", price=client.price(-5), orderLinkId="canceled")
        await client.post("order/cancel", **BTC, orderLinkId="canceled")
        client.world.advance(23 * HOUR_MS)
        assert len(await client.rows("order/history", **BTC)) == 2
        client.world.advance(2 * HOUR_MS)
        (row,) = await client.rows("order/history", **BTC)
        assert row["orderLinkId"] == "filled"


async def test_five_hundred_active_orders_are_the_most() -> None:
    async with opened() as client:
        order = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.001"}
        order["price"] = client.price(-1)
        for _ in range(25):
            await client.post("order/create-batch", request=[order] * 20)
        assert code_of(await client.post("order/create", **order)) == 110020
