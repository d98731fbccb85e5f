"""The account's stream: snapshot first, each fact once, a listen key that is looked after."""

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.venues.binance.messages import (
    T_MS,
    algo,
    algo_event,
    fill_event,
    limit_order,
    order,
    order_event,
    refusal,
)
from tests.unit.venues.binance.scripted_binance import PATIENCE_S, Reply, ScriptedBinance

from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.order import OrderStatus
from perpdesk.domain.ports import Feed
from perpdesk.domain.streams import (
    AccountSynchronized,
    FundingPaid,
    StreamEvent,
    StreamLost,
    StreamRestored,
)
from perpdesk.domain.venue_reports import BalanceReport, FillReport, OrderReport, PositionReport
from perpdesk.venues.binance import user_stream
from perpdesk.venues.binance.venue import BinanceVenue

NEW_KEY, KEEP_KEY = "POST fapi/v1/listenKey", "PUT fapi/v1/listenKey"


def at_rest(venue: ScriptedBinance) -> None:
    """Script an account in which nothing is open."""
    for path in ("openOrders", "openAlgoOrders", "income"):
        venue.on(f"GET fapi/v1/{path}", [])
    venue.on("GET fapi/v3/positionRisk", [])
    venue.on("GET fapi/v1/userTrades", [])
    venue.on("GET fapi/v3/balance", [{"asset": "USDT", "balance": "10000", "updateTime": 1}])
    venue.on(NEW_KEY, {"listenKey": "K1"}, {"listenKey": "K2"})
    venue.on(KEEP_KEY, {})


def position_event(quantity: str, ts_ms: int = T_MS, reason: str = "ORDER", **changes: Any) -> Any:
    body: dict[str, Any] = {
        "m": reason,
        "B": [{"a": "USDT", "wb": "9999.952", "cw": "9999.952", "bc": "0"}],
        "P": [
            {
                "s": "BTCUSDT",
                "pa": quantity,
                "ep": "60000",
                "up": "0",
                "mt": "cross",
                "iw": "0",
                "ps": "BOTH",
            }
        ],
    }
    return {"e": "ACCOUNT_UPDATE", "E": ts_ms + 6, "T": ts_ms, "a": body | changes}


async def until(feed: Feed, wanted: Callable[[StreamEvent], bool]) -> list[StreamEvent]:
    found: list[StreamEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        async for event in feed:
            found.append(event)
            if wanted(event):
                break
    return found


async def synchronized(feed: Feed) -> AccountSynchronized:
    event = (await until(feed, lambda event: isinstance(event, AccountSynchronized)))[-1]
    assert isinstance(event, AccountSynchronized)
    return event


async def told(venue: ScriptedBinance, feed: Feed, *messages: Any) -> list[StreamEvent]:
    """Push messages, and return what they led to; a last one tells where they end."""
    for message in messages:
        await venue.say("private", message)
    end = {"e": "MARGIN_CALL", "E": len(venue.seen), "p": [{"s": "END", "pa": "1"}]}
    await venue.say("private", end)
    return (await until(feed, lambda event: getattr(event, "symbol", "") == "END"))[:-1]


async def test_the_account_begins_with_what_rest_says(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on("GET fapi/v1/openOrders", [order()])
    venue.on("GET fapi/v1/openAlgoOrders", [algo()])
    async with binance.streams.account() as feed:
        start = await synchronized(feed)
    assert [one.client_order_id for one in start.orders] == ["desk-sl-1", "desk-1"]
    assert [one.wallet for one in start.balances] == [Decimal(10000)]
    assert venue.socket_urls == ["/private/ws?listenKey=K1"]


async def test_what_comes_before_the_snapshot_is_told_after_it(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    gate = asyncio.Event()

    async def wait_and_push() -> None:
        await venue.connected("private")
        await venue.say("private", order_event("desk-7"))
        gate.set()

    async with binance.streams.account() as feed:
        await wait_and_push()
        start = await synchronized(feed)
        assert start.orders == ()
        (report,) = await until(feed, lambda event: isinstance(event, OrderReport))
    assert isinstance(report, OrderReport)
    assert report.client_order_id == "desk-7"


async def test_a_fill_is_told_once_and_before_the_order_that_it_changes(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    part = fill_event(9001, "0.004", "PARTIALLY_FILLED")
    lite = {"e": "TRADE_LITE", "E": 1, "T": 1, "s": "BTCUSDT", "t": 9001, "l": "0.004"}
    async with binance.streams.account() as feed:
        await synchronized(feed)
        seen = await told(venue, feed, order_event(), lite, part, part, order_event())
    assert [type(event) for event in seen] == [OrderReport, FillReport, OrderReport]
    fill, report = seen[1], seen[2]
    assert isinstance(fill, FillReport)
    assert isinstance(report, OrderReport)
    assert (fill.trade_id, fill.quantity, fill.fee) == ("9001", Decimal("0.004"), Decimal("0.048"))
    assert (report.status, report.filled_quantity) == (
        OrderStatus.PARTIALLY_FILLED,
        Decimal("0.004"),
    )


async def test_a_fill_after_the_cancel_is_booked_and_the_order_stays_canceled(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    canceled = order_event(x="CANCELED", X="CANCELED")
    late = fill_event(9002, "0.004", "PARTIALLY_FILLED")
    async with binance.streams.account() as feed:
        await synchronized(feed)
        seen = await told(venue, feed, order_event(), canceled, late)
    reports = [event for event in seen if isinstance(event, OrderReport)]
    assert [one.status for one in reports] == [
        OrderStatus.ACCEPTED,
        OrderStatus.CANCELED,
        OrderStatus.CANCELED,
    ]
    assert sum(isinstance(event, FillReport) for event in seen) == 1


async def test_a_triggered_stop_keeps_our_id_through_its_fill(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    working: dict[str, Any] = {"i": 777, "S": "SELL", "o": "MARKET", "ot": "STOP_MARKET"}
    async with binance.streams.account() as feed:
        await synchronized(feed)
        seen = await told(
            venue,
            feed,
            algo_event(),
            algo_event(X="TRIGGERED", ai="777"),
            order_event("venue-made", **working),
            fill_event(5, "0.010", "FILLED", c="venue-made", **(working | {"l": "0.010"})),
            algo_event(X="FINISHED", ai="777"),
        )
    reports = [event for event in seen if isinstance(event, OrderReport)]
    assert {(one.client_order_id, one.order_id) for one in reports} == {("desk-sl-1", "2146760")}
    assert [one.status for one in reports] == [
        OrderStatus.ACCEPTED,
        OrderStatus.TRIGGERED,
        OrderStatus.FILLED,
    ]
    (fill,) = (event for event in seen if isinstance(event, FillReport))
    assert (fill.client_order_id, fill.order_id) == ("desk-sl-1", "777")


async def test_a_stop_that_fails_at_its_trigger_says_why(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    async with binance.streams.account() as feed:
        await synchronized(feed)
        (report,) = await told(venue, feed, algo_event(X="REJECTED", rm="ReduceOnly is rejected."))
    assert isinstance(report, OrderReport)
    assert (report.status, report.reason) == (OrderStatus.REJECTED, "ReduceOnly is rejected.")


async def test_positions_and_wallets_that_are_older_than_what_was_told_are_dropped(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    async with binance.streams.account() as feed:
        await synchronized(feed)
        seen = await told(
            venue, feed, position_event("0.004"), position_event("0.002", ts_ms=T_MS - 1)
        )
    assert [type(event) for event in seen] == [PositionReport, BalanceReport]
    assert isinstance(seen[0], PositionReport)
    assert seen[0].signed_quantity == Decimal("0.004")


async def test_cross_funding_names_the_amount_and_no_symbol(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    paid = position_event(
        "0", reason="FUNDING_FEE", B=[{"a": "USDT", "wb": "9", "cw": "9", "bc": "-1.5"}], P=[]
    )
    async with binance.streams.account() as feed:
        await synchronized(feed)
        seen = await told(venue, feed, paid, paid)
    assert [event for event in seen if isinstance(event, FundingPaid)] == [
        FundingPaid(symbol="", amount=Decimal("-1.5"), asset="USDT", ts_event_ms=T_MS)
    ]


async def test_a_liquidation_is_told_as_such(venue: ScriptedBinance, binance: BinanceVenue) -> None:
    at_rest(venue)
    forced = fill_event(77, "0.010", "FILLED", c="autoclose-159610762004", l="0.010")
    async with binance.streams.account() as feed:
        await synchronized(feed)
        seen = await told(venue, feed, forced)
    (fill,) = (event for event in seen if isinstance(event, FillReport))
    assert (fill.client_order_id, fill.cause.value) == ("", "LIQUIDATION")


async def test_an_event_of_a_new_kind_is_left_unread(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    async with binance.streams.account() as feed:
        await synchronized(feed)
        assert await told(venue, feed, {"e": "SOMETHING_NEW", "E": 1}) == []


async def test_a_status_that_is_not_known_ends_the_connection_and_is_named(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    async with binance.streams.account() as feed:
        await synchronized(feed)
        await venue.say("private", order_event(X="HALF_FILLED"))
        (lost,) = await until(feed, lambda event: isinstance(event, StreamLost))
    assert isinstance(lost, StreamLost)
    assert "HALF_FILLED" in lost.reason


async def test_a_fill_that_was_not_told_is_fetched(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on("GET fapi/v1/order", order(status="PARTIALLY_FILLED", executedQty="0.008"))
    async with hasty.streams.account() as feed:
        await synchronized(feed)
        await venue.say("private", order_event())
        # The first fill of 0.004 never came; the second says that 0.008 have filled.
        await venue.say("private", fill_event(9002, "0.008", "PARTIALLY_FILLED"))
        lost = (await until(feed, lambda event: isinstance(event, StreamLost)))[-1]
        await synchronized(feed)
    assert isinstance(lost, StreamLost)
    assert "22542179" in lost.reason


async def test_funding_that_was_missed_is_told_after_the_next_synchronization(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)

    settled_ms = binance.clock.now_ms() // 60_000 * 60_000

    def row(amount: str, number: int) -> dict[str, Any]:
        return {
            "symbol": "BTCUSDT",
            "incomeType": "FUNDING_FEE",
            "income": amount,
            "asset": "USDT",
            "time": settled_ms + 5_000,
            "tranId": number,
        }

    told_before = position_event(
        "0",
        ts_ms=settled_ms,
        reason="FUNDING_FEE",
        B=[{"a": "USDT", "wb": "9", "cw": "9", "bc": "-1.5"}],
        P=[],
    )
    async with binance.streams.account() as feed:
        await synchronized(feed)
        await told(venue, feed, told_before)
        recent = [row("-1.5", 1) | {"symbol": "ETHUSDT"}, row("-2.5", 2)]
        venue.on("GET fapi/v1/income", recent)
        await venue.sockets["private"][-1].close()
        seen = await until(feed, lambda event: isinstance(event, StreamRestored))
    assert [event.amount for event in seen if isinstance(event, FundingPaid)] == [Decimal("-2.5")]


# The key, and silence.


async def test_an_expired_key_is_replaced_and_the_account_synchronized_anew(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    async with binance.streams.account() as feed:
        await synchronized(feed)
        await venue.say("private", {"e": "listenKeyExpired", "E": 1, "listenKey": "K1"})
        seen = await until(feed, lambda event: isinstance(event, StreamRestored))
    assert [type(event) for event in seen] == [StreamLost, AccountSynchronized, StreamRestored]
    assert venue.socket_urls[-1] == "/private/ws?listenKey=K2"


async def test_a_key_that_cannot_be_kept_alive_is_an_error(
    venue: ScriptedBinance, hasty: BinanceVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_stream, "KEEP_ALIVE_S", 1.0)
    at_rest(venue)
    venue.on(KEEP_KEY, {}, refusal(-1125, "This listenKey does not exist."))
    async with hasty.streams.account() as feed:
        await synchronized(feed)
        (lost,) = await until(feed, lambda event: isinstance(event, StreamLost))
        await venue.connected("private", 2)
    assert isinstance(lost, StreamLost)
    assert "listen key" in lost.reason
    assert venue.calls(KEEP_KEY)[0].parameters == {"listenKey": "K1"}


async def test_a_wrong_key_ends_the_feed_with_the_refusal(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on(NEW_KEY, refusal(-2015, "Invalid API-key, IP, or permissions for action."))
    with pytest.raises(VenueRejected, match="permissions"):
        async with binance.streams.account() as feed:
            await synchronized(feed)


async def test_what_happened_while_disconnected_is_told_at_the_next_synchronization(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on("GET fapi/v1/openOrders", [order()], [])
    async with binance.streams.account() as feed:
        await synchronized(feed)
        venue.on("GET fapi/v1/algoOrder", refusal(-2013))
        venue.on(
            "GET fapi/v1/order",
            order(status="FILLED", executedQty="0.010", avgPrice="60000", updateTime=T_MS + 5),
        )
        now_ms = binance.clock.now_ms()
        trade = {
            "symbol": "BTCUSDT",
            "id": 9001,
            "orderId": 22542179,
            "side": "BUY",
            "price": "60000",
            "qty": "0.010",
            "realizedPnl": "0",
            "commission": "0.12",
            "commissionAsset": "USDT",
            "maker": True,
            "time": now_ms,
        }
        venue.on("GET fapi/v1/userTrades", [trade])
        await venue.sockets["private"][-1].close()
        start = await synchronized(feed)
        seen = await until(feed, lambda event: isinstance(event, StreamRestored))
    assert [(one.trade_id, one.client_order_id) for one in start.fills] == [("9001", "desk-1")]
    (report,) = (event for event in seen if isinstance(event, OrderReport))
    assert (report.status, report.filled_quantity) == (OrderStatus.FILLED, Decimal("0.010"))


async def test_a_stream_that_has_told_less_than_rest_knows_is_built_anew(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    at_rest(venue)
    async with hasty.streams.account() as feed:
        await synchronized(feed)
        open_now = {"symbol": "BTCUSDT", "positionAmt": "0.004", "entryPrice": "60000"}
        venue.on("GET fapi/v3/positionRisk", [open_now])
        (lost,) = await until(feed, lambda event: isinstance(event, StreamLost))
        start = await synchronized(feed)
    assert isinstance(lost, StreamLost)
    assert "differs" in lost.reason
    assert [one.signed_quantity for one in start.positions] == [Decimal("0.004")]


async def test_the_comparison_outlives_an_answer_that_it_cannot_read(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on("GET fapi/v1/openOrders", [], [order(status="A_NEW_STATUS")], [])
    async with hasty.streams.account() as feed:
        await synchronized(feed)
        await until(feed, lambda event: isinstance(event, StreamRestored))
        open_now = {"symbol": "BTCUSDT", "positionAmt": "0.004", "entryPrice": "60000"}
        venue.on("GET fapi/v3/positionRisk", [open_now])
        lost = (await until(feed, lambda event: isinstance(event, StreamLost)))[-1]
    assert isinstance(lost, StreamLost)
    assert "differs" in lost.reason


async def test_the_fill_of_a_stop_that_triggered_while_disconnected_has_our_id(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on("GET fapi/v1/openAlgoOrders", [algo()], [])
    async with binance.streams.account() as feed:
        await synchronized(feed)
        venue.on(
            "GET fapi/v1/algoOrder",
            algo(algoStatus="FINISHED", actualOrderId="777", actualQty="0.010"),
        )
        venue.on(
            "GET fapi/v1/order",
            order(
                "venue-made",
                orderId=777,
                side="SELL",
                type="MARKET",
                status="FILLED",
                executedQty="0.010",
                avgPrice="58000",
            ),
        )
        trade = {
            "symbol": "BTCUSDT",
            "id": 9001,
            "orderId": 777,
            "side": "SELL",
            "price": "58000",
            "qty": "0.010",
            "realizedPnl": "0",
            "commission": "0.12",
            "commissionAsset": "USDT",
            "maker": False,
            "time": binance.clock.now_ms(),
        }
        venue.on("GET fapi/v1/userTrades", [trade])
        await venue.sockets["private"][-1].close()
        start = await synchronized(feed)
        seen = await until(feed, lambda event: isinstance(event, StreamRestored))
    assert [(one.trade_id, one.client_order_id) for one in start.fills] == [("9001", "desk-sl-1")]
    (report,) = (event for event in seen if isinstance(event, OrderReport))
    assert (report.client_order_id, report.status) == ("desk-sl-1", OrderStatus.FILLED)


async def test_fills_of_an_order_sent_while_disconnected_are_told_though_the_ledger_lags(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    async with binance.streams.account() as feed:
        await synchronized(feed)
        venue.on(NEW_KEY, Reply(status=503, text="Service Unavailable"))
        await venue.sockets["private"][-1].close()
        await until(feed, lambda event: isinstance(event, StreamLost))
        venue.on("POST fapi/v1/order", order(status="FILLED", executedQty="0.010"))
        await binance.trading.place(limit_order())
        trade = {
            "symbol": "BTCUSDT",
            "id": 9001,
            "orderId": 22542179,
            "side": "BUY",
            "price": "60000",
            "qty": "0.010",
            "realizedPnl": "0",
            "commission": "0.12",
            "commissionAsset": "USDT",
            "maker": False,
            "time": binance.clock.now_ms(),
        }
        venue.on("GET fapi/v1/userTrades", [trade])
        venue.on(NEW_KEY, {"listenKey": "K2"})
        start = await synchronized(feed)
    assert [(one.trade_id, one.client_order_id) for one in start.fills] == [("9001", "desk-1")]


async def test_a_log_of_everything_holds_neither_listen_key_nor_signature(
    venue: ScriptedBinance, binance: BinanceVenue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    at_rest(venue)
    venue.on(NEW_KEY, {"listenKey": "the-listen-key"})
    async with binance.streams.account() as feed:
        await synchronized(feed)
    # What the scripted venue itself logs is not ours.
    ours = [one.getMessage() for one in caplog.records if one.name != "aiohttp.access"]
    assert not [one for one in ours if "the-listen-key" in one or "signature=" in one]


async def test_an_order_in_a_symbol_that_does_not_exist_does_not_hinder_the_account(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    at_rest(venue)
    venue.on("POST fapi/v1/order", refusal(-1121, "Invalid symbol."))
    venue.on("GET fapi/v1/exchangeInfo", {"symbols": []})
    with pytest.raises(VenueRejected):
        await binance.trading.place(limit_order(symbol="BTCUDST"))
    venue.on("GET fapi/v1/userTrades", refusal(-1121, "Invalid symbol."))
    async with binance.streams.account() as feed:
        start = await synchronized(feed)
    assert start.fills == ()
