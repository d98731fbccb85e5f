"""Clients that nobody here wrote trade on the emulator: python-binance and ccxt."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest
from tests.unit.emulator.builders import NOON_MS, world_of

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.emulator.binance.door import BinanceDoor
from perpdesk.emulator.server import serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK imports what websockets has deprecated
    from binance import AsyncClient, BinanceSocketManager, Client
    from binance.exceptions import BinanceAPIException
    from binance.ws.reconnecting_websocket import ReconnectingWebsocket

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
SYMBOL, UNIFIED = "BTCUSDT", "BTC/USDT:USDT"
PATIENCE_S = 10


@dataclass
class Venue_:
    world: World
    address: str


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK closes a socket only after it has waited this long for a message."""
    monkeypatch.setattr(ReconnectingWebsocket, "TIMEOUT", 0.2)


@pytest.fixture
async def venue() -> AsyncIterator[Venue_]:
    world = world_of(Venue.BINANCE, start_ms=NOON_MS + 7_000, step_ms=250)
    async with serving(world, [BinanceDoor(world)], port=0) as address:
        yield Venue_(world, address)


# python-binance, as exchanges.md 7.1 points it at a loopback venue.


@asynccontextmanager
async def raw_client(venue: Venue_) -> AsyncIterator[Any]:
    rest, ws = f"http://{venue.address}", f"ws://{venue.address}"
    urls = {
        "API_URL": rest + "/api",
        "FUTURES_URL": rest + "/fapi",
        "FUTURES_DATA_URL": rest + "/futures/data",
        "WS_FUTURES_URL": ws + "/ws-fapi/v1",
    }
    client = type("LoopClient", (AsyncClient,), urls)(DEMO_KEY, DEMO_SECRET)
    client.ws_future._url = urls["WS_FUTURES_URL"]
    try:
        yield client
    finally:
        await client.close_connection()


def sockets_of(client: Any, venue: Venue_) -> Any:
    url = f"ws://{venue.address}/"
    return type("LoopManager", (BinanceSocketManager,), {"FSTREAM_URL": url})(client)


async def heard(socket: Any, event: str, venue: Venue_, *, step_ms: int = 0) -> dict[str, Any]:
    """The next message of a kind; the world moves on while none comes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                message = await asyncio.wait_for(socket.recv(), 0.05)
            except TimeoutError:
                venue.world.advance(step_ms)
                continue
            assert message.get("e") != "error", message
            body = message.get("data", message)
            if isinstance(body, dict) and body.get("e") == event:
                return dict(body)


async def test_python_binance_reads_the_market(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        assert await client.futures_ping() == {}
        assert (await client.futures_time())["serverTime"] == venue.world.now_ms
        info = await client.futures_exchange_info()
        assert {each["symbol"] for each in info["symbols"]} == {"BTCUSDT", "ETHUSDT"}
        candles = await client.futures_klines(symbol=SYMBOL, interval="5m", limit=10)
        assert len(candles) == 10
        assert candles[-1][0] <= venue.world.now_ms <= candles[-1][6]
        book = await client.futures_order_book(symbol=SYMBOL, limit=5)
        assert Decimal(book["bids"][0][0]) < Decimal(book["asks"][0][0])
        mark = await client.futures_mark_price(symbol=SYMBOL)
        assert mark["nextFundingTime"] > venue.world.now_ms
        funding = await client.futures_funding_rate(symbol=SYMBOL)
        assert [row["fundingTime"] // 1000 for row in funding] == sorted(
            row["fundingTime"] // 1000 for row in funding
        )
        interest = await client.futures_open_interest_hist(symbol=SYMBOL, period="1h", limit=3)
        assert len(interest) == 3


async def test_python_binance_trades_limit_market_and_stops(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        price = Decimal((await client.futures_symbol_ticker(symbol=SYMBOL))["price"])
        low = str((price * Decimal("0.97")).quantize(Decimal("0.1")))
        lower = str((price * Decimal("0.96")).quantize(Decimal("0.1")))
        order = await client.futures_create_order(
            symbol=SYMBOL,
            side="BUY",
            type="LIMIT",
            timeInForce="GTC",
            quantity="0.010",
            price=low,
            newClientOrderId="desk-1",
        )
        assert order["status"] == "NEW"
        changed = await client.futures_modify_order(
            symbol=SYMBOL,
            side="BUY",
            orderId=order["orderId"],
            quantity="0.020",
            price=lower,
        )
        assert Decimal(changed["price"]) == Decimal(lower)
        assert Decimal(changed["origQty"]) == Decimal("0.02")
        asked = await client.futures_get_order(symbol=SYMBOL, origClientOrderId="desk-1")
        assert asked["orderId"] == order["orderId"]
        assert len(await client.futures_get_open_orders(symbol=SYMBOL)) == 1
        gone = await client.futures_cancel_order(symbol=SYMBOL, orderId=order["orderId"])
        assert gone["status"] == "CANCELED"
        bought = await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010", newOrderRespType="RESULT"
        )
        assert bought["status"] == "FILLED"
        stop = await client.futures_create_order(
            symbol=SYMBOL,
            side="SELL",
            type="STOP_MARKET",
            quantity="0.010",
            stopPrice=low,
            reduceOnly="true",
            clientAlgoId="desk-stop",
        )
        assert (stop["algoStatus"], stop["clientAlgoId"]) == ("NEW", "desk-stop")
        trailing = await client.futures_create_order(
            symbol=SYMBOL,
            side="SELL",
            type="TRAILING_STOP_MARKET",
            quantity="0.010",
            callbackRate="1",
            reduceOnly="true",
        )
        assert trailing["orderType"] == "TRAILING_STOP_MARKET"
        for algo_id in (stop["algoId"], trailing["algoId"]):
            ended = await client.futures_cancel_algo_order(symbol=SYMBOL, algoId=algo_id)
            assert ended["algoStatus"] == "CANCELED"
        position = (await client.futures_position_information(symbol=SYMBOL))[0]
        assert Decimal(position["positionAmt"]) == Decimal("0.01")
        fills = await client.futures_account_trades(symbol=SYMBOL)
        assert [Decimal(fill["qty"]) for fill in fills] == [Decimal("0.01")]
        balance = (await client.futures_account_balance())[0]
        assert Decimal(balance["balance"]) == 10_000 - Decimal(fills[0]["commission"])
        kinds = {row["incomeType"] for row in await client.futures_income_history()}
        assert kinds == {"COMMISSION"}


async def test_python_binance_sees_refusals_with_their_codes(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        with pytest.raises(BinanceAPIException) as unknown:
            await client.futures_get_order(symbol=SYMBOL, origClientOrderId="nobody")
        assert unknown.value.code == -2013
        assert unknown.value.status_code == 400
        with pytest.raises(BinanceAPIException) as small:
            await client.futures_create_order(
                symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.0001"
            )
        assert small.value.code == -1111


async def test_python_binance_hears_the_market(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        manager = sockets_of(client, venue)
        names = ["btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@markPrice@1s"]
        async with manager.futures_multiplex_socket(names, category="market") as socket:
            for event in ("kline", "aggTrade", "markPriceUpdate"):
                body = await heard(socket, event, venue, step_ms=1_000)
                assert body["s"] == SYMBOL
        names = ["btcusdt@bookTicker", "btcusdt@depth@100ms"]
        async with manager.futures_multiplex_socket(names, category="public") as socket:
            for event in ("bookTicker", "depthUpdate"):
                assert (await heard(socket, event, venue, step_ms=1_000))["s"] == SYMBOL


async def test_python_binance_hears_of_its_account(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        manager = sockets_of(client, venue)
        async with manager.futures_user_socket() as socket:
            await client.futures_create_order(
                symbol=SYMBOL, side="SELL", type="MARKET", quantity="0.010"
            )
            new = await heard(socket, "ORDER_TRADE_UPDATE", venue)
            assert (new["o"]["x"], new["o"]["X"]) == ("NEW", "NEW")
            account = await heard(socket, "ACCOUNT_UPDATE", venue)
            assert Decimal(account["a"]["P"][0]["pa"]) == Decimal("-0.01")
            trade = await heard(socket, "ORDER_TRADE_UPDATE", venue)
            assert (trade["o"]["x"], trade["o"]["X"]) == ("TRADE", "FILLED")


async def test_python_binance_orders_by_the_websocket_api(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        order = await client.ws_futures_create_order(
            symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010", newOrderRespType="RESULT"
        )
        assert order["status"] == "FILLED"
        position = await client.ws_futures_v2_account_position(symbol=SYMBOL)
        assert Decimal(position[0]["positionAmt"]) == Decimal("0.01")


async def test_funding_reaches_the_income(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        await client.futures_create_order(
            symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010"
        )
        venue.world.advance(5 * HOUR_MS)
        rows = await client.futures_income_history(incomeType="FUNDING_FEE")
        assert [row["incomeType"] for row in rows] == ["FUNDING_FEE"]


# ccxt, as exchanges.md 7.3 points it at a loopback venue.


def ccxt_options(venue: Venue_) -> dict[str, Any]:
    http, ws = f"http://{venue.address}", f"ws://{venue.address}"
    api: dict[str, Any] = {
        f"fapi{kind}{version}": f"{http}/fapi/v{version[-1] if version else 1}"
        for kind in ("Public", "Private")
        for version in ("", "V2", "V3")
    }
    api |= {
        "fapiData": http + "/futures/data",
        "ws": {"linear": ws + "/ws", "ws-api": {"linear": ws + "/ws-fapi/v1"}},
    }
    return {
        "apiKey": DEMO_KEY,
        "secret": DEMO_SECRET,
        "options": {
            "fetchCurrencies": False,
            "defaultType": "swap",
            "fetchMarkets": {"types": ["linear"]},
        },
        "urls": {"api": api},
    }


@asynccontextmanager
async def ccxt_client(venue: Venue_, module: Any) -> AsyncIterator[Any]:
    client = module.binanceusdm(ccxt_options(venue))
    try:
        yield client
    finally:
        await client.close()


async def test_ccxt_trades_by_rest(venue: Venue_) -> None:
    async with ccxt_client(venue, ccxt.async_support) as client:
        markets = await client.load_markets()
        assert UNIFIED in markets
        assert len(await client.fetch_ohlcv(UNIFIED, "1m", limit=20)) == 20
        ticker = await client.fetch_ticker(UNIFIED)
        low = float(client.price_to_precision(UNIFIED, ticker["last"] * 0.97))
        order = await client.create_order(UNIFIED, "limit", "buy", 0.01, low)
        edited = await client.edit_order(order["id"], UNIFIED, "limit", "buy", 0.02, low)
        assert edited["amount"] == 0.02
        assert [each["id"] for each in await client.fetch_open_orders(UNIFIED)] == [order["id"]]
        assert (await client.cancel_order(order["id"], UNIFIED))["status"] == "canceled"
        await client.create_order(UNIFIED, "market", "buy", 0.01)
        stop = await client.create_order(
            UNIFIED,
            "market",
            "sell",
            0.01,
            None,
            {"stopLossPrice": low, "reduceOnly": True, "clientOrderId": "ccxt-stop"},
        )
        assert stop["clientOrderId"] == "ccxt-stop"
        trailing = await client.create_order(
            UNIFIED, "market", "sell", 0.01, None, {"trailingPercent": 1, "reduceOnly": True}
        )
        waiting = await client.fetch_open_orders(UNIFIED, params={"stop": True})
        assert {each["id"] for each in waiting} == {stop["id"], trailing["id"]}
        await client.cancel_order(stop["id"], UNIFIED, {"stop": True})
        await client.cancel_all_orders(UNIFIED, {"stop": True})
        assert await client.fetch_open_orders(UNIFIED, params={"stop": True}) == []
        position = (await client.fetch_positions([UNIFIED]))[0]
        assert (position["side"], position["contracts"]) == ("long", 0.01)
        assert len(await client.fetch_my_trades(UNIFIED)) == 1
        assert (await client.fetch_balance())["USDT"]["total"] < 10_000
        venue.world.advance(5 * HOUR_MS)
        assert len(await client.fetch_funding_history(UNIFIED)) == 1
        assert (await client.fetch_funding_rate(UNIFIED))["fundingRate"] is not None
        assert len(await client.fetch_funding_rate_history(UNIFIED)) > 0
        await client.set_leverage(10, UNIFIED)
        await client.fetch_trades(UNIFIED, limit=5)
        await client.fetch_leverage_tiers([UNIFIED])


async def first_of(watching: Any, venue: Venue_, step_ms: int = 1_000) -> Any:
    """What a watch gives first, while the world moves on."""
    task = asyncio.ensure_future(watching)
    async with asyncio.timeout(PATIENCE_S):
        while not task.done():
            await asyncio.sleep(0.02)
            venue.world.advance(step_ms)
    return task.result()


async def test_ccxt_watches_the_market(venue: Venue_) -> None:
    async with ccxt_client(venue, ccxt.pro) as client:
        await client.load_markets()
        candles = await first_of(client.watch_ohlcv(UNIFIED, "1m"), venue)
        assert candles[-1][0] % 60_000 == 0
        trades = await first_of(client.watch_trades(UNIFIED), venue)
        assert trades[-1]["symbol"] == UNIFIED
        book = await first_of(client.watch_order_book(UNIFIED), venue)
        assert book["bids"][0][0] < book["asks"][0][0]
        ticker = await first_of(client.watch_ticker(UNIFIED), venue)
        assert ticker["symbol"] == UNIFIED


async def test_ccxt_watches_its_account(venue: Venue_) -> None:
    async with ccxt_client(venue, ccxt.pro) as client:
        await client.load_markets()
        names = ("watch_orders", "watch_my_trades", "watch_balance", "watch_positions")
        watches = [asyncio.ensure_future(getattr(client, name)()) for name in names]
        async with asyncio.timeout(PATIENCE_S):
            # Until the user stream is open nobody hears of an order.
            await asyncio.sleep(1.5)
            await client.create_order(UNIFIED, "market", "buy", 0.01)
            orders, trades, balance, positions = await asyncio.gather(*watches)
        assert orders[-1]["symbol"] == UNIFIED
        assert trades[-1]["amount"] == 0.01
        assert balance["USDT"]["total"] <= 10_000
        assert positions[-1]["contracts"] == 0.01


async def test_ccxt_orders_by_the_websocket_api(venue: Venue_) -> None:
    async with ccxt_client(venue, ccxt.pro) as client:
        await client.load_markets()
        last = (await client.fetch_ticker(UNIFIED))["last"]
        price = float(client.price_to_precision(UNIFIED, last * 0.97))
        order = await client.create_order_ws(UNIFIED, "limit", "buy", 0.01, price)
        assert order["symbol"] == UNIFIED
        edited = await client.edit_order_ws(order["id"], UNIFIED, "limit", "buy", 0.02, price)
        assert edited["amount"] == 0.02
        gone = await client.cancel_order_ws(order["id"], UNIFIED)
        assert gone["status"] == "canceled"
        assert (await client.fetch_balance_ws())["USDT"]["total"] == 10_000


async def test_the_blocking_sdk_works_in_a_thread(venue: Venue_) -> None:
    rest = f"http://{venue.address}"
    urls = {
        "API_URL": rest + "/api",
        "FUTURES_URL": rest + "/fapi",
        "FUTURES_DATA_URL": rest + "/futures/data",
    }

    def trade() -> tuple[Any, Any]:
        # The SDK takes the thread's event loop, or makes one that it never closes.
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        client = type("LoopClient", (Client,), urls)(DEMO_KEY, DEMO_SECRET)
        try:
            order = client.futures_create_order(
                symbol=SYMBOL,
                side="BUY",
                type="MARKET",
                quantity="0.010",
                newOrderRespType="RESULT",
            )
            return order, client.response.headers["X-MBX-ORDER-COUNT-1M"]
        finally:
            client.session.close()
            loop.close()

    order, counted = await asyncio.to_thread(trade)
    assert (order["status"], counted) == ("FILLED", "1")


async def test_ids_that_are_percent_encoded_on_the_wire_are_taken(venue: Venue_) -> None:
    async with raw_client(venue) as client:
        order = await client.futures_create_order(
            symbol=SYMBOL,
            side="BUY",
            type="MARKET",
            quantity="0.010",
            newClientOrderId="desk:a/b.c",
        )
        assert order["clientOrderId"] == "desk:a/b.c"
        batch = await client.futures_place_batch_order(
            batchOrders=[{"symbol": SYMBOL, "side": "SELL", "type": "MARKET", "quantity": "0.010"}]
        )
        assert batch[0]["status"] == "NEW"
