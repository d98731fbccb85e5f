"""What becomes of a request whose answer is odd: final, try later, or unknown; never sent again."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from tests.unit.venues.bybit.scripted_venue import (
    KEY,
    NOW_MS,
    Request,
    ScriptedVenue,
    connected,
    envelope,
    listing,
)

from perpdesk.domain.errors import Denied, OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from perpdesk.venues.bybit.connect import BybitVenue, connect
from perpdesk.venues.bybit.transport import Timeouts
from perpdesk.venues.clock import SystemTime
from perpdesk.venues.endpoints import Credentials, loopback

CREATE = "/v5/order/create"
ENTRY = OrderRequest(
    client_order_id=ClientOrderId("desk-1"),
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.LIMIT,
    quantity=Decimal("0.010"),
    price=Decimal("60000"),
)


def acknowledgement(order_id: str = "o-1") -> dict[str, Any]:
    return envelope({"orderId": order_id, "orderLinkId": "desk-1"})


async def test_request_is_signed_over_exactly_what_is_sent(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(CREATE, acknowledgement())
    venue.answer("/v5/position/list", listing())
    venue.answer("/v5/account/info", envelope({"marginMode": "ISOLATED_MARGIN"}))
    report = await bybit.trading.place(ENTRY)
    await bybit.trading.positions()
    assert (report.status, report.order_id) == (OrderStatus.SUBMITTED, "o-1")
    assert venue.signatures == [True, True, True]
    assert venue.received(CREATE)[0].json == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "qty": "0.01",
        "price": "60000",
        "timeInForce": "GTC",
        "positionIdx": 0,
        "orderLinkId": "desk-1",
    }


async def test_timestamp_follows_the_venue_and_not_this_machine(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    ahead_ms = 3_600_000
    venue.answer(
        "/v5/market/time",
        lambda _: envelope({"timeNano": str((SystemTime().now_ms() + ahead_ms) * 1_000_000)}),
    )
    venue.answer(CREATE, acknowledgement())
    await bybit.measure_clock()
    await bybit.trading.place(ENTRY)
    signed_ms = int(venue.received(CREATE)[0].headers["X-BAPI-TIMESTAMP"])
    assert ahead_ms - 1_200 < signed_ms - SystemTime().now_ms() < ahead_ms


async def test_refused_clock_is_measured_and_the_same_order_signed_anew_once(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(CREATE, envelope(code=10002, message="clock"), acknowledgement())
    report = await bybit.trading.place(ENTRY)
    first, second = venue.received(CREATE)
    assert report.status is OrderStatus.SUBMITTED
    assert first.body == second.body
    assert first.headers["X-BAPI-RECV-WINDOW"] == second.headers["X-BAPI-RECV-WINDOW"] == "5000"
    assert len(venue.received("/v5/market/time")) == 5


async def test_clock_refused_twice_is_unavailable_and_nothing_more_is_sent(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(CREATE, envelope(code=10002, message="clock"))
    with pytest.raises(VenueUnavailable, match="10002"):
        await bybit.trading.place(ENTRY)
    assert len(venue.received(CREATE)) == 2


async def hang_up(request: Request) -> web.StreamResponse:
    await asyncio.sleep(1.6)
    return web.json_response(acknowledgement())


def cut_short(_: Request) -> web.StreamResponse:
    return web.Response(
        body=b'{"retCode":0,"retMsg":"OK","result":{"orde', content_type="application/json"
    )


@pytest.mark.parametrize(
    "reply",
    [
        envelope(code=10000, message="Server Timeout"),
        envelope(code=10014, message="Invalid duplicate request."),
        envelope(code=10016, message="Server error."),
        envelope(code=10019, message="restarting"),
        envelope(code=987654, message="a code that nobody documented"),
        lambda _: web.Response(status=503, text="Service Unavailable"),
        lambda _: web.Response(status=500, text="<html>oops</html>"),
        lambda _: web.Response(text="<!DOCTYPE html><p>maintenance", content_type="text/html"),
        lambda _: web.Response(text="[]"),
        cut_short,
        hang_up,
    ],
)
async def test_unclear_answer_to_an_order_is_unknown_and_it_is_sent_once(
    venue: ScriptedVenue, bybit: BybitVenue, reply: Any
) -> None:
    venue.answer(CREATE, reply)
    with pytest.raises(OutcomeUnknown):
        await bybit.trading.place(ENTRY)
    assert len(venue.received(CREATE)) == 1


async def test_connection_cut_after_sending_is_unknown(venue: ScriptedVenue) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    venue.port = server.sockets[0].getsockname()[1]
    async with connected(venue) as bybit:
        with pytest.raises(OutcomeUnknown, match="broke during order/create"):
            await bybit.trading.place(ENTRY)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "reply",
    [
        envelope(code=10000, message="Server Timeout"),
        lambda _: web.Response(status=503, text="Service Unavailable"),
        lambda _: web.Response(text="<html>maintenance</html>", content_type="text/html"),
        cut_short,
        hang_up,
    ],
)
async def test_unclear_answer_to_a_question_is_unavailable(
    venue: ScriptedVenue, bybit: BybitVenue, reply: Any
) -> None:
    venue.answer("/v5/order/realtime", reply)
    with pytest.raises(VenueUnavailable):
        await bybit.trading.find("BTCUSDT", ClientOrderId("desk-1"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (10003, "not valid here"),
        (10004, "signature is wrong"),
        (10005, "may not do this"),
        (10010, "not allowed from this address"),
        (33004, "has expired"),
        (110007, "available balance is too small"),
        (110094, "below the minimum"),
        (110132, "Product not available"),
    ],
)
async def test_documented_refusal_is_final_and_in_words(
    venue: ScriptedVenue, bybit: BybitVenue, code: int, words: str
) -> None:
    venue.answer(CREATE, envelope(code=code, message="Product not available in your region"))
    with pytest.raises(VenueRejected, match=words) as caught:
        await bybit.trading.place(ENTRY)
    assert caught.value.code == str(code)


@pytest.mark.parametrize(("status", "advice"), [(401, "key"), (404, "address")])
async def test_http_status_that_no_order_engine_gives_is_final(
    venue: ScriptedVenue, bybit: BybitVenue, status: int, advice: str
) -> None:
    venue.answer(CREATE, lambda _: web.Response(status=status, text="no"))
    with pytest.raises(VenueRejected) as caught:
        await bybit.trading.place(ENTRY)
    assert (caught.value.code, advice in caught.value.next_step) == (str(status), True)


async def test_address_without_a_scheme_is_told_in_words(venue: ScriptedVenue) -> None:
    plain = loopback(f"127.0.0.1:{venue.port}")["bybit"]
    bybit = connect(replace(plain, rest=f"127.0.0.1:{venue.port}"), KEY)
    with pytest.raises(VenueUnavailable, match="no address that can be called"):
        await bybit.history.now_ms()
    await bybit.close()


async def test_rate_limit_holds_every_call_until_the_venue_says(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    reset_ms = SystemTime().now_ms() + 250
    refusal = web.json_response(
        envelope(code=10006, message="Too many visits"),
        headers={"X-Bapi-Limit-Reset-Timestamp": str(reset_ms)},
    )
    venue.answer(CREATE, refusal, acknowledgement())
    with pytest.raises(VenueUnavailable, match="10006"):
        await bybit.trading.place(ENTRY)
    await bybit.trading.place(ENTRY)
    assert SystemTime().now_ms() >= reset_ms - 5


async def test_reset_time_in_the_past_does_not_stop_us(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    refusal = web.json_response(
        envelope(code=10006, message="Too many visits"),
        headers={"X-Bapi-Limit-Reset-Timestamp": "1"},
    )
    venue.answer(CREATE, refusal, acknowledgement())
    with pytest.raises(VenueUnavailable):
        await bybit.trading.place(ENTRY)
    assert (await bybit.trading.place(ENTRY)).status is OrderStatus.SUBMITTED


async def test_forbidden_stops_all_traffic_for_ten_minutes(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(CREATE, lambda _: web.Response(status=403, text="access too frequent"))
    with pytest.raises(VenueUnavailable, match="403"):
        await bybit.trading.place(ENTRY)
    with pytest.raises(VenueUnavailable, match="no call is made"):
        await bybit.trading.cancel_all("BTCUSDT")
    assert len(venue.requests) == 1


async def test_headers_of_the_venue_fill_the_budget(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    answer = web.json_response(
        acknowledgement(), headers={"X-Bapi-Limit": "10", "X-Bapi-Limit-Status": "6"}
    )
    venue.answer(CREATE, answer)
    await bybit.trading.place(ENTRY)
    assert bybit.budget.used_ratio()["orders"] == pytest.approx(0.4)


async def test_unreachable_host_is_unavailable_since_nothing_was_sent() -> None:
    bybit = connect(loopback("127.0.0.1:1")["bybit"], KEY)
    with pytest.raises(VenueUnavailable, match="cannot be reached"):
        await bybit.trading.place(ENTRY)
    await bybit.close()


async def test_tls_to_a_plain_port_is_refused_in_words(venue: ScriptedVenue) -> None:
    plain = loopback(f"127.0.0.1:{venue.port}")["bybit"]
    bybit = connect(replace(plain, rest=plain.rest.replace("http:", "https:")), KEY)
    with pytest.raises(VenueUnavailable, match="TLS"):
        await bybit.trading.place(ENTRY)
    await bybit.close()


async def test_wrong_address_is_told_from_an_api(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/market/time", lambda _: web.Response(text="<html><h1>Welcome"))
    with pytest.raises(VenueUnavailable, match="a web page"):
        await bybit.history.now_ms()


async def test_call_that_needs_a_key_says_so_without_one(venue: ScriptedVenue) -> None:
    async with connected(venue, credentials=None) as public:
        with pytest.raises(VenueRejected, match="needs an API key"):
            await public.trading.balances()
    assert venue.requests == []


async def test_two_keys_at_two_addresses_do_not_mix(venue: ScriptedVenue) -> None:
    other = Credentials(key="other", secret=KEY.secret)
    venue.answer(CREATE, acknowledgement())
    async with connected(venue) as one, connected(venue, credentials=other) as two:
        await one.trading.place(ENTRY)
        await two.trading.place(ENTRY)
    keys = [request.headers["X-BAPI-API-KEY"] for request in venue.received(CREATE)]
    assert keys == ["demo-key", "other"]


async def test_gtd_is_denied_before_anything_is_sent(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    order = replace(ENTRY, time_in_force=TimeInForce.GTD, expire_ms=NOW_MS)
    with pytest.raises(Denied, match="no orders that expire"):
        await bybit.trading.place(order)
    assert venue.requests == []


async def test_a_time_that_cannot_be_read_does_not_end_the_measuring_for_ever(
    venue: ScriptedVenue, hasty: BybitVenue
) -> None:
    good = list(venue.replies["/v5/market/time"])
    venue.answer("/v5/account/info", envelope({"marginMode": "ISOLATED_MARGIN"}))
    venue.answer("/v5/position/list", listing())
    await hasty.measure_clock()
    venue.answer("/v5/market/time", envelope({}))
    for replies in ([envelope({})], good):
        venue.answer("/v5/market/time", *replies)
        asked = len(venue.received("/v5/market/time"))
        await hasty.clock.local.sleep(301)
        await hasty.trading.positions()
        async with asyncio.timeout(5):
            while len(venue.received("/v5/market/time")) == asked:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


async def test_an_unreadable_time_is_unavailable(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer(CREATE, envelope(code=10002, message="clock"))
    venue.answer("/v5/market/time", envelope({}))
    with pytest.raises(VenueUnavailable):
        await bybit.trading.place(ENTRY)


async def test_a_clock_refused_where_it_is_told_does_not_wait_for_itself(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/market/time", envelope(code=10002, message="clock"))
    async with asyncio.timeout(2):
        with pytest.raises(VenueUnavailable):
            await bybit.measure_clock()


async def test_a_redirect_is_not_followed_with_an_order(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(CREATE, lambda _: web.Response(status=307, headers={"Location": "/elsewhere"}))
    venue.answer("/elsewhere", acknowledgement())
    with pytest.raises(OutcomeUnknown):
        await bybit.trading.place(ENTRY)
    assert not venue.received("/elsewhere")


async def test_a_stop_does_not_wait_behind_questions_that_hang(venue: ScriptedVenue) -> None:
    async def hang(_: Request) -> dict[str, Any]:
        await asyncio.sleep(1.5)
        return listing()

    venue.answer("/v5/execution/list", hang)
    venue.answer(CREATE, acknowledgement())
    slow = Timeouts(connect_s=1.0, read_s=5.0, total_s=5.0)
    async with connected(venue, timeouts=slow) as bybit:
        now_ms = bybit.clock.now_ms()
        asking = [
            asyncio.create_task(bybit.trading.fills("BTCUSDT", now_ms - 1_000)) for _ in range(12)
        ]
        async with asyncio.timeout(2):
            while len(venue.received("/v5/execution/list")) < 8:
                await asyncio.sleep(0.01)
        async with asyncio.timeout(0.7):
            await bybit.trading.place(replace(ENTRY, reduce_only=True))
        await asyncio.gather(*asking)


async def test_a_session_does_not_show_its_secret(bybit: BybitVenue) -> None:
    session = bybit.transport._session()
    assert "demo-secret" not in repr(session)


async def test_closing_does_not_wait_for_an_answer_that_drips() -> None:
    gone = asyncio.Event()
    drips: list[asyncio.Task[None] | None] = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        drips.append(asyncio.current_task())
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not gone.is_set():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.transport.abort()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bybit = connect(
        loopback(f"127.0.0.1:{port}")["bybit"],
        KEY,
        timeouts=Timeouts(connect_s=1.0, read_s=0.5, total_s=0.3),
    )
    with pytest.raises(VenueUnavailable):
        await bybit.trading.balances()
    async with asyncio.timeout(2):
        await bybit.close()
    gone.set()
    server.close()
    await asyncio.gather(*(each for each in drips if each is not None))
