"""One request: its errors by what the caller must do, its budget, its clock."""

import asyncio
import traceback

import pytest
from tests.unit.venues.binance.messages import limit_order, order, refusal
from tests.unit.venues.binance.scripted_binance import CREDENTIALS, Reply, ScriptedBinance

from perpdesk.domain.errors import (
    OutcomeUnknown,
    UsageRefused,
    VenueRejected,
    VenueUnavailable,
)
from perpdesk.venues.binance.rest import spot_address
from perpdesk.venues.binance.venue import BinanceVenue, connect
from perpdesk.venues.endpoints import BINANCE, Endpoints, Leg

ORDER = "POST fapi/v1/order"


async def test_an_order_is_signed_within_our_window_and_keeps_our_id(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(ORDER, order("desk-1"))
    report = await binance.trading.place(limit_order("desk-1"))
    (seen,) = venue.calls(ORDER)
    assert seen.is_signed
    assert seen.parameters["recvWindow"] == "5000"
    assert seen.parameters["newClientOrderId"] == "desk-1"
    assert seen.headers["X-MBX-APIKEY"] == "key"
    assert report.client_order_id == "desk-1"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(cut="before"),
        Reply(body=order(), cut="within"),
        Reply(text="<html>bad gateway</html>", status=502),
        Reply(text='{"orderId": 22', status=200),
        Reply(text="<html>hello</html>", status=200),
        Reply(body={"unexpected": 1}),
        Reply(body=order(status="A_NEW_STATUS")),
        refusal(-1006, "execution status unknown", status=500),
        refusal(-1007, "timeout", status=408),
        refusal(-1000, "Unknown error, please check your request or try again later.", status=503),
        refusal(-9999, "a code of tomorrow"),
    ],
)
async def test_an_order_whose_fate_is_unclear_is_unknown_and_never_sent_again(
    venue: ScriptedBinance, binance: BinanceVenue, reply: Reply
) -> None:
    venue.on(ORDER, reply)
    with pytest.raises(OutcomeUnknown):
        await binance.trading.place(limit_order())
    assert len(venue.calls(ORDER)) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(cut="before"),
        Reply(body=[], cut="within"),
        Reply(text="<html>bad gateway</html>", status=502),
        Reply(text="[{", status=200),
        Reply(body={"unexpected": 1}),
        refusal(-1007, "timeout", status=408),
    ],
)
async def test_a_reading_that_failed_is_to_be_tried_again(
    venue: ScriptedBinance, binance: BinanceVenue, reply: Reply
) -> None:
    venue.on("GET fapi/v3/positionRisk", reply)
    with pytest.raises(VenueUnavailable):
        await binance.trading.positions()


@pytest.mark.parametrize("code", [-2019, -4164, -1111, -1102, -2015, -2014, -1022, -4061, -5022])
async def test_a_code_that_means_not_accepted_is_final(
    venue: ScriptedBinance, binance: BinanceVenue, code: int
) -> None:
    venue.on(ORDER, refusal(code, "said so"))
    with pytest.raises(VenueRejected) as caught:
        await binance.trading.place(limit_order())
    assert caught.value.code == str(code)
    assert caught.value.next_step


@pytest.mark.parametrize("code", [-1008, -1015])
async def test_an_order_refused_for_load_was_not_accepted(
    venue: ScriptedBinance, binance: BinanceVenue, code: int
) -> None:
    venue.on(ORDER, refusal(code, "Request throttled.", status=503))
    with pytest.raises(VenueUnavailable):
        await binance.trading.place(limit_order())


async def test_service_unavailable_is_no_unknown_outcome(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(ORDER, Reply(text="Service Unavailable.", status=503))
    with pytest.raises(VenueUnavailable):
        await binance.trading.place(limit_order())


async def test_a_clock_refusal_is_measured_signed_anew_and_sent_once_more_with_the_same_id(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.lead_ms = 60_000
    venue.on(ORDER, refusal(-1021), order("desk-1"))
    await binance.trading.place(limit_order("desk-1"))
    first, second = venue.calls(ORDER)
    moved_ms = int(second.parameters["timestamp"]) - int(first.parameters["timestamp"])
    assert 59_000 < moved_ms < 65_000
    assert first.parameters["newClientOrderId"] == second.parameters["newClientOrderId"]
    assert binance.clock.has_drifted


async def test_a_second_clock_refusal_is_not_tried_again(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(ORDER, refusal(-1021))
    with pytest.raises(VenueUnavailable):
        await binance.trading.place(limit_order())
    assert len(venue.calls(ORDER)) == 2


async def test_headers_of_every_answer_feed_the_budget(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "GET fapi/v3/positionRisk",
        Reply(body=[], headers={"X-MBX-USED-WEIGHT-1M": "1200", "X-MBX-ORDER-COUNT-10S": "30"}),
    )
    await binance.trading.positions()
    assert binance.budget.used_ratio()["weight"] == pytest.approx(0.5)
    assert binance.budget.used_ratio()["orders-10s"] == pytest.approx(0.1)


@pytest.mark.parametrize("status", [418, 403])
async def test_a_ban_stops_every_call(
    venue: ScriptedBinance, binance: BinanceVenue, status: int
) -> None:
    reply = Reply(text="<html>banned</html>", status=status, headers={"Retry-After": "120"})
    venue.on("GET fapi/v3/positionRisk", reply)
    with pytest.raises(VenueUnavailable):
        await binance.trading.positions()
    before = len(venue.seen)
    with pytest.raises(VenueUnavailable, match="no call is made"):
        await binance.trading.positions()
    assert len(venue.seen) == before


async def test_retry_after_holds_the_next_call_as_long_as_asked(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    slow = Reply(body={"code": -1003, "msg": "x"}, status=429, headers={"Retry-After": "0.05"})
    venue.on("GET fapi/v3/positionRisk", slow, [])
    with pytest.raises(VenueUnavailable):
        await binance.trading.positions()
    began = binance.clock.local.monotonic_ms()
    await binance.trading.positions()
    assert binance.clock.local.monotonic_ms() - began >= 40


async def test_an_unknown_symbol_is_answered_with_the_nearest(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("GET fapi/v1/klines", refusal(-1121, "Invalid symbol."))
    venue.on(
        "GET fapi/v1/exchangeInfo", {"symbols": [{"symbol": "BTCUSDT"}, {"symbol": "XRPUSDT"}]}
    )
    with pytest.raises(VenueRejected) as caught:
        await binance.history.first_ms("BTCUSD")
    assert "BTCUSDT" in caught.value.next_step


async def test_without_a_key_a_signed_call_is_refused_before_it_is_sent(
    venue: ScriptedBinance,
) -> None:
    adapter = await connect(venue.endpoints, None)
    with pytest.raises(VenueRejected, match="needs an API key"):
        await adapter.trading.positions()
    await adapter.close()
    assert not venue.calls("GET fapi/v3/positionRisk")


async def test_a_host_that_does_not_answer_is_named() -> None:
    nowhere = Endpoints(
        rest="http://127.0.0.1:1", stream="ws://127.0.0.1:1", private_stream="", order_entry=""
    )
    with pytest.raises(VenueUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        await connect(nowhere, CREDENTIALS)


async def test_a_host_without_tls_is_named(venue: ScriptedBinance) -> None:
    wrong = Endpoints(
        rest=venue.endpoints.rest.replace("http:", "https:"),
        stream="",
        private_stream="",
        order_entry="",
    )
    with pytest.raises(VenueUnavailable, match="TLS"):
        await connect(wrong, CREDENTIALS)


@pytest.mark.parametrize("address", ["fapi.binance.com", "ftp://x", "http://x/", "https://"])
async def test_a_bad_address_is_refused_before_anything_is_sent(address: str) -> None:
    bad = Endpoints(rest=address, stream="", private_stream="", order_entry="")
    with pytest.raises(UsageRefused):
        await connect(bad, CREDENTIALS)


async def test_a_web_page_in_place_of_json_says_what_to_check(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("GET fapi/v1/exchangeInfo", Reply(text="<html>a captive portal</html>"))
    with pytest.raises(VenueUnavailable, match="a web page instead of JSON"):
        await binance.reference.symbols()


def test_key_permissions_are_asked_of_the_spot_host() -> None:
    assert spot_address(BINANCE[Leg.TRADE_LIVE].rest) == "https://api.binance.com"
    assert spot_address("http://127.0.0.1:18080") == "http://127.0.0.1:18080"


async def test_a_time_that_cannot_be_read_does_not_end_the_measuring_for_ever(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    venue.on("GET fapi/v1/openOrders", [])
    venue.on("GET fapi/v1/openAlgoOrders", [])
    venue.on("GET fapi/v1/time", {})
    await hasty.clock.local.sleep(301)
    await hasty.trading.open_orders()
    await venue.until_called("GET fapi/v1/time")
    await hasty.clock.local.sleep(30)
    venue.on("GET fapi/v1/time", lambda _: {"serverTime": hasty.clock.local.now_ms()})
    asked = len(venue.calls("GET fapi/v1/time"))
    await hasty.trading.open_orders()
    await venue.until_called("GET fapi/v1/time", asked + 5)


async def test_an_unreadable_time_is_unavailable(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(ORDER, refusal(-1021))
    venue.on("GET fapi/v1/time", {})
    with pytest.raises(VenueUnavailable):
        await binance.trading.place(limit_order())


async def test_a_redirect_is_not_followed_with_an_order(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    away = f"{venue.endpoints.rest}/elsewhere"
    venue.on(ORDER, Reply(status=307, headers={"Location": away}))
    venue.on("POST elsewhere", order())
    with pytest.raises(OutcomeUnknown):
        await binance.trading.place(limit_order())
    assert not venue.calls("POST elsewhere")


async def test_an_answer_that_is_no_http_does_not_put_the_signature_into_words() -> None:
    babbles: list[asyncio.Task[None] | None] = []

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        babbles.append(asyncio.current_task())
        request = await reader.readuntil(b"\r\n\r\n")
        body = b'{"serverTime": 1790000000000}'
        if b"/time" in request:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        else:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    adapter = await connect(
        Endpoints(rest=host, stream="ws://x", private_stream="ws://x", order_entry=""), CREDENTIALS
    )
    with pytest.raises(VenueUnavailable) as caught:
        await adapter.trading.positions()
    told = "".join(traceback.format_exception(caught.value))
    await adapter.close()
    server.close()
    await asyncio.gather(*(each for each in babbles if each is not None))
    assert "signature=" not in told


@pytest.mark.parametrize(
    "page",
    ["<html><body><h1>503 Service Unavailable</h1></body></html>", "upstream connect error"],
)
async def test_a_page_of_a_gateway_is_not_binances_word_that_nothing_was_done(
    venue: ScriptedBinance, binance: BinanceVenue, page: str
) -> None:
    venue.on(ORDER, Reply(status=503, text=page))
    with pytest.raises(OutcomeUnknown):
        await binance.trading.place(limit_order())
