"""The account's feed over a real socket: a snapshot first, fills before orders, nothing twice."""

import logging
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from tests.unit.venues.bybit.reading import read, read_until
from tests.unit.venues.bybit.rows import execution_row, order_row, position_row
from tests.unit.venues.bybit.scripted_venue import (
    ScriptedVenue,
    connected,
    envelope,
    listing,
)

from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.order import OrderStatus
from perpdesk.domain.streams import (
    AccountSynchronized,
    FundingPaid,
    StreamLost,
    StreamRestored,
)
from perpdesk.domain.venue_reports import BalanceReport, FillReport, OrderReport, PositionReport
from perpdesk.venues.bybit import account_stream
from perpdesk.venues.bybit.connect import BybitVenue


def told(topic: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"topic": topic, "id": "1", "creationTime": 5_000, "data": list(rows)}


@pytest.fixture
def account(venue: ScriptedVenue) -> ScriptedVenue:
    coin = {"coin": "USDT", "walletBalance": "1000", "totalPositionIM": "10", "totalOrderIM": "5"}
    coin |= {"locked": "1", "bonus": "0"}
    venue.answer("/v5/account/info", envelope({"marginMode": "ISOLATED_MARGIN"}))
    venue.answer("/v5/account/wallet-balance", listing({"coin": [coin]}))
    venue.answer("/v5/order/realtime", listing(order_row()))
    venue.answer("/v5/position/list", listing())
    venue.answer("/v5/order/history", listing())
    venue.answer("/v5/execution/list", listing())
    return venue


async def test_account_begins_with_what_rest_says(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    async with bybit.streams.account() as feed:
        (event,) = await read(feed)
    assert isinstance(event, AccountSynchronized)
    assert [order.client_order_id for order in event.orders] == ["desk-1"]
    assert event.balances == (
        BalanceReport(
            asset="USDT",
            wallet=Decimal(1000),
            available=Decimal(984),
            ts_event_ms=event.balances[0].ts_event_ms,
        ),
    )
    assert account.topics == ["order", "execution", "position", "wallet"]
    assert account.signatures
    assert all(account.signatures)


async def test_canceled_order_waits_for_the_fills_it_speaks_of(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    canceled = order_row(orderStatus="Cancelled", cumExecQty="0.4", updatedTime="1002")
    async with bybit.streams.account() as feed:
        await read(feed)
        await account.push(told("order", canceled), told("execution", execution_row("t-1")))
        fill, order = await read(feed, 2)
    assert isinstance(fill, FillReport)
    assert (fill.trade_id, fill.fee) == ("t-1", Decimal("0.022"))
    assert isinstance(order, OrderReport)
    assert (order.status, order.filled_quantity) == (OrderStatus.CANCELED, Decimal("0.4"))


async def test_duplicates_and_older_reports_change_nothing(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    partly = order_row(orderStatus="PartiallyFilled", cumExecQty="0.4", updatedTime="1001")
    async with bybit.streams.account() as feed:
        await read(feed)
        fill = told("execution", execution_row("t-1"))
        await account.push(fill, fill, told("order", partly), told("order", partly))
        await account.push(told("order", order_row()))
        amended = order_row(**partly | {"price": "101", "updatedTime": "1005"})
        await account.push(told("order", amended))
        events = await read(feed, 3)
    assert [type(event) for event in events] == [FillReport, OrderReport, OrderReport]
    assert isinstance(events[2], OrderReport)
    assert events[2].price == Decimal(101)


async def test_fills_that_the_stream_lost_are_fetched(
    account: ScriptedVenue, bybit: BybitVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_stream, "LOOK_S", 0.01)
    monkeypatch.setattr(account_stream, "FILLS_WITHIN_S", 0.03)
    async with bybit.streams.account() as feed:
        await read(feed)
        account.answer("/v5/execution/list", listing(execution_row("t-9", execQty="1")))
        filled = order_row(orderStatus="Filled", cumExecQty="1", updatedTime="1009")
        await account.push(told("order", filled))
        fill, order = await read(feed, 2)
    assert isinstance(fill, FillReport)
    assert fill.trade_id == "t-9"
    assert isinstance(order, OrderReport)
    assert order.status is OrderStatus.FILLED


async def test_stream_that_keeps_a_fill_to_itself_is_thrown_away(
    account: ScriptedVenue, bybit: BybitVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_stream, "LOOK_S", 0.01)
    monkeypatch.setattr(account_stream, "COMPARE_S", 0.05)
    async with bybit.streams.account() as feed:
        await read(feed)
        account.answer("/v5/execution/list", listing(execution_row("t-1")))
        lost, after = await read(feed, 2)
    assert isinstance(lost, StreamLost)
    assert "t-1 did not come" in lost.reason
    assert isinstance(after, AccountSynchronized)


async def test_what_happened_during_an_outage_comes_with_the_next_snapshot(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    async with bybit.streams.account() as feed:
        await read(feed)
        account.answer("/v5/order/realtime", listing())
        account.answer("/v5/execution/list", listing(execution_row("t-1", execQty="1")))
        await account.cut()
        events = await read_until(feed, StreamRestored)
        await account.push(told("execution", execution_row("t-1", execQty="1")))
        await account.push(told("position", position_row()))
        (after,) = await read(feed)
    assert [type(event) for event in events] == [StreamLost, AccountSynchronized, StreamRestored]
    assert isinstance(events[1], AccountSynchronized)
    assert [fill.trade_id for fill in events[1].fills] == ["t-1"]
    assert isinstance(after, PositionReport), "the fill of the snapshot must not come again"


async def test_funding_wallet_and_position_are_told(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    funding = execution_row("f-1", execType="Funding", execFee="-0.5")
    wallet = {"coin": [{"coin": "USDT", "walletBalance": "1000.5"}]}
    other = order_row(category="spot", orderId="s-1", orderStatus="Whatever")
    async with bybit.streams.account() as feed:
        await read(feed)
        await account.push(told("order", other), told("execution", funding, funding))
        await account.push(told("wallet", wallet), told("position", position_row()))
        paid, balance, position = await read(feed, 3)
    assert paid == FundingPaid(
        symbol="BTCUSDT", amount=Decimal("0.5"), asset="USDT", ts_event_ms=1001
    )
    assert isinstance(balance, BalanceReport)
    assert balance.wallet == Decimal("1000.5")
    assert isinstance(position, PositionReport)
    assert (position.signed_quantity, position.entry_price) == (Decimal(-2), Decimal(101))


async def test_account_without_a_key_is_refused(venue: ScriptedVenue) -> None:
    async with connected(venue, credentials=None) as public:
        with pytest.raises(VenueRejected, match="needs an API key"):
            async with public.streams.account():
                pass


@pytest.mark.parametrize("words", ["API key is invalid.", "Your api key has expired."])
async def test_refused_key_ends_the_account_feed_with_the_refusal(
    venue: ScriptedVenue, bybit: BybitVenue, words: str
) -> None:
    venue.auth_reply = {"success": False, "ret_msg": words, "op": "auth"}
    async with bybit.streams.account() as feed:
        with pytest.raises(VenueRejected, match=words):
            await read(feed, 9)


@pytest.mark.parametrize("words", ["Params Error: expires has passed", "Request expired"])
async def test_a_greeting_that_came_too_late_is_said_again(
    account: ScriptedVenue, bybit: BybitVenue, words: str
) -> None:
    # A stalled machine or a clock that is off: the key may be as good as before.
    welcome = account.auth_reply
    account.auth_reply = {"success": False, "ret_msg": words, "op": "auth"}
    async with bybit.streams.account() as feed:
        (lost,) = await read(feed)
        account.auth_reply = welcome
        events = await read_until(feed, StreamRestored)
    assert isinstance(lost, StreamLost)
    assert isinstance(events[0], AccountSynchronized)


async def test_positions_and_wallets_that_are_older_than_what_was_told_are_dropped(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    now_ms = bybit.clock.now_ms() + 60_000

    def wallet(amount: str, at_ms: int) -> dict[str, Any]:
        row = {"coin": [{"coin": "USDT", "walletBalance": amount}]}
        return told("wallet", row) | {"creationTime": at_ms}

    def position(size: str, at_ms: int) -> dict[str, Any]:
        return told("position", position_row(size=size, updatedTime=str(at_ms)))

    async with bybit.streams.account() as feed:
        await read(feed)
        await account.push(position("2", now_ms), position("3", now_ms - 1), wallet("9", now_ms))
        await account.push(wallet("8", now_ms - 1), position("4", now_ms + 1))
        first, balance, second = await read(feed, 3)
    assert isinstance(first, PositionReport)
    assert isinstance(balance, BalanceReport)
    assert isinstance(second, PositionReport)
    assert (first.signed_quantity, second.signed_quantity) == (Decimal(-2), Decimal(-4))
    assert balance.wallet == Decimal(9)


async def test_a_refusal_that_may_pass_does_not_end_the_account_feed(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    async with bybit.streams.account() as feed:
        await read(feed)
        fine = account.replies["/v5/order/realtime"][0]
        account.answer("/v5/order/realtime", lambda _: web.Response(status=404), fine)
        await account.cut()
        events = await read_until(feed, StreamRestored)
    assert isinstance(events[-2], AccountSynchronized)


async def test_a_comparison_that_is_refused_does_not_end_the_account_feed(
    account: ScriptedVenue, bybit: BybitVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_stream, "LOOK_S", 0.01)
    monkeypatch.setattr(account_stream, "COMPARE_S", 0.05)
    async with bybit.streams.account() as feed:
        await read(feed)
        account.answer("/v5/execution/list", lambda _: web.Response(status=404), listing())
        await read_until(feed, StreamRestored)
        account.answer("/v5/execution/list", listing(execution_row("t-1")))
        lost = (await read_until(feed, StreamLost))[-1]
    assert isinstance(lost, StreamLost)
    assert "t-1 did not come" in lost.reason


async def test_what_became_of_an_order_during_an_outage_is_told(
    account: ScriptedVenue, bybit: BybitVenue
) -> None:
    async with bybit.streams.account() as feed:
        await read(feed)
        account.answer("/v5/order/realtime", listing())
        canceled = order_row(orderStatus="Cancelled", updatedTime="1005")
        account.answer("/v5/order/history", listing(canceled))
        await account.cut()
        events = await read_until(feed, StreamRestored)
    (report,) = (event for event in events if isinstance(event, OrderReport))
    assert (report.client_order_id, report.status) == ("desk-1", OrderStatus.CANCELED)


async def test_a_log_of_everything_holds_no_secret(
    account: ScriptedVenue, bybit: BybitVenue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with bybit.streams.account() as feed:
        await read(feed)
    signed = [
        one.headers["X-BAPI-SIGN"] for one in account.requests if "X-BAPI-SIGN" in one.headers
    ]
    assert signed
    assert not [one for one in (*signed, "demo-secret") if one in caplog.text]
