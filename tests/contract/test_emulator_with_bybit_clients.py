"""The emulated Bybit as two independent clients see it: the venue's own SDK, and ccxt."""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ccxt
import ccxt.async_support
import ccxt.pro
import pybit._websocket_stream as pybit_stream
import pybit._websocket_trading as pybit_trading
import pybit.unified_trading as unified_trading
import pytest
from pybit.exceptions import InvalidRequestError
from tests.unit.emulator.builders import world_of

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.emulator.bybit.door import BybitDoor
from perpdesk.emulator.bybit.rates import Limits
from perpdesk.emulator.server import serving
from perpdesk.emulator.world import DEMO_KEY, DEMO_SECRET, World

SYMBOL, PAIR = "BTCUSDT", "BTC/USDT:USDT"
CALM = Limits(order=500, query=500, setting=500, slow=500, log=500)


@pytest.fixture
def world() -> World:
    return world_of(Venue.BYBIT, speed=20.0, step_ms=250)


@pytest.fixture
async def address(world: World) -> AsyncIterator[str]:
    async with serving(world, [BybitDoor(world, CALM)], port=0) as found:
        yield found


def last_price(world: World) -> float:
    return float(world.venues[Venue.BYBIT].markets[SYMBOL].last_price)


# pybit.


def http_of(address: str) -> Any:
    http = unified_trading.HTTP(api_key=DEMO_KEY, api_secret=DEMO_SECRET, retry_codes={99999})
    http.endpoint = f"http://{address}"
    return http


@pytest.fixture
def pybit_sockets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point pybit's sockets here, and hold one lock from subscribing to the acknowledgement."""
    ws = f"ws://{address}/v5"
    monkeypatch.setattr(unified_trading, "PUBLIC_WSS", ws + "/public/{CHANNEL_TYPE}")
    monkeypatch.setattr(unified_trading, "PRIVATE_WSS", ws + "/private")
    monkeypatch.setattr(pybit_trading, "TRADE_WSS", ws + "/trade")
    manager, lock = pybit_stream._V5WebSocketManager, threading.RLock()
    for name in ("subscribe", "_handle_incoming_message"):
        original = getattr(manager, name)

        def locked(self: Any, *args: Any, _f: Any = original, **named: Any) -> Any:
            with lock:
                return _f(self, *args, **named)

        monkeypatch.setattr(manager, name, locked)


@contextmanager
def closing(*sockets: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for socket in sockets:
            socket.handle_error = False
            socket.exit()
            socket.wst.join(timeout=3)


def next_row(heard: "queue.Queue[Any]", **fields: str) -> dict[str, Any]:
    """Return the next row with these fields, within a few seconds."""
    deadline = time.monotonic() + 8
    while True:
        message = heard.get(timeout=max(0.01, deadline - time.monotonic()))
        rows = message["data"] if isinstance(message["data"], list) else [message["data"]]
        for row in rows:
            if all(row.get(name) == value for name, value in fields.items()):
                found: dict[str, Any] = row
                return found


async def test_pybit_reads_the_market(address: str, world: World) -> None:
    def work() -> None:
        http = http_of(address)
        rules = http.get_instruments_info(category="linear", symbol=SYMBOL)["result"]["list"][0]
        assert rules["priceFilter"]["tickSize"] == "0.1"
        candles = http.get_kline(category="linear", symbol=SYMBOL, interval=5, limit=10)
        times = [int(row[0]) for row in candles["result"]["list"]]
        assert len(times) == 10
        assert times == sorted(times, reverse=True)
        assert http.get_mark_price_kline(category="linear", symbol=SYMBOL, interval=60, limit=3)
        assert http.get_index_price_kline(category="linear", symbol=SYMBOL, interval="D", limit=3)
        assert http.get_tickers(category="linear", symbol=SYMBOL)["result"]["list"]
        assert len(http.get_orderbook(category="linear", symbol=SYMBOL)["result"]["b"]) == 25
        assert http.get_funding_rate_history(category="linear", symbol=SYMBOL)["result"]["list"]
        assert http.get_open_interest(category="linear", symbol=SYMBOL, intervalTime="1h")
        assert http.get_risk_limit(category="linear", symbol=SYMBOL)["result"]["list"]
        assert http.get_public_trade_history(category="linear", symbol=SYMBOL, limit=5)
        assert abs(int(http.get_server_time()["time"]) - world.now_ms) < HOUR_MS
        http.client.close()

    await asyncio.to_thread(work)


async def test_pybit_trades_over_rest(address: str, world: World) -> None:
    def work() -> None:
        http = http_of(address)
        low = str(round(last_price(world) * 0.95))
        order = {"category": "linear", "symbol": SYMBOL, "side": "Buy", "qty": "0.01"}
        http.place_order(**order, orderType="Limit", price=low, orderLinkId="rest-1")
        rows = http.get_open_orders(category="linear", symbol=SYMBOL)["result"]["list"]
        assert [row["orderLinkId"] for row in rows] == ["rest-1"]
        lower = str(round(last_price(world) * 0.94))
        http.amend_order(category="linear", symbol=SYMBOL, orderLinkId="rest-1", price=lower)
        http.cancel_order(category="linear", symbol=SYMBOL, orderLinkId="rest-1")
        http.place_order(**order, orderType="Market", orderLinkId="rest-2")
        stop = str(round(last_price(world) * 0.9))
        http.place_order(
            **(order | {"side": "Sell"}),
            orderType="Market",
            orderLinkId="rest-3",
            triggerPrice=stop,
            triggerDirection=2,
            triggerBy="MarkPrice",
            reduceOnly=True,
        )
        http.set_trading_stop(
            category="linear", symbol=SYMBOL, positionIdx=0, tpslMode="Full", trailingStop="900"
        )
        position = http.get_positions(category="linear", symbol=SYMBOL)["result"]["list"][0]
        assert (position["size"], position["trailingStop"]) == ("0.01", "900")
        fills = http.get_executions(category="linear", symbol=SYMBOL)["result"]["list"]
        assert [row["orderLinkId"] for row in fills] == ["rest-2"]
        wallet = http.get_wallet_balance(accountType="UNIFIED", coin="USDT")["result"]["list"][0]
        assert float(wallet["coin"][0]["walletBalance"]) < 10_000
        assert http.get_fee_rates(category="linear", symbol=SYMBOL)["result"]["list"]
        assert http.get_transaction_log(category="linear")["result"]["list"]
        with pytest.raises(InvalidRequestError, match="110072"):
            http.place_order(**order, orderType="Market", orderLinkId="rest-2")
        http.client.close()

    await asyncio.to_thread(work)


@pytest.mark.usefixtures("pybit_sockets")
async def test_pybit_hears_the_market() -> None:
    def work() -> None:
        heard: dict[str, queue.Queue[Any]] = {
            name: queue.Queue() for name in ("kline", "trade", "book", "ticker")
        }
        stream = unified_trading.WebSocket(testnet=False, channel_type="linear")
        with closing(stream):
            stream.kline_stream(1, SYMBOL, heard["kline"].put)
            stream.trade_stream(SYMBOL, heard["trade"].put)
            stream.orderbook_stream(50, SYMBOL, heard["book"].put)
            stream.ticker_stream(SYMBOL, heard["ticker"].put)
            assert next_row(heard["kline"], interval="1")["open"]
            assert next_row(heard["kline"], confirm=True)["close"]  # type: ignore[arg-type]
            assert next_row(heard["trade"], s=SYMBOL)["p"]
            for _ in range(5):
                book = next_row(heard["book"], s=SYMBOL)
                assert len(book["b"]) == len(book["a"]) == 50
                best = max(float(price) for price, _ in book["b"])
                assert best < min(float(price) for price, _ in book["a"])
            assert next_row(heard["ticker"], symbol=SYMBOL)["markPrice"]

    await asyncio.to_thread(work)


@pytest.mark.usefixtures("pybit_sockets")
async def test_pybit_hears_what_it_trades(world: World) -> None:
    def work() -> None:
        names = ("order", "execution", "position", "wallet", "answer")
        heard: dict[str, queue.Queue[Any]] = {name: queue.Queue() for name in names}
        keys = {"api_key": DEMO_KEY, "api_secret": DEMO_SECRET, "testnet": False}
        private = unified_trading.WebSocket(channel_type="private", private_auth_expire=5, **keys)
        trade = unified_trading.WebSocketTrading(**keys, private_auth_expire=5)
        with closing(private, trade):
            private.execution_stream(heard["execution"].put)
            private.position_stream(heard["position"].put)
            private.wallet_stream(heard["wallet"].put)
            private.order_stream(heard["order"].put)
            order = {"category": "linear", "symbol": SYMBOL, "side": "Buy", "qty": "0.01"}
            answer = heard["answer"].put
            low = str(round(last_price(world) * 0.95))
            # Nothing is told of what happened before the venue took the last subscription.
            for attempt in range(50):
                probe = f"probe-{attempt}"
                trade.place_order(
                    lambda _: None, **order, orderType="Limit", price=low, orderLinkId=probe
                )
                with suppress(queue.Empty):
                    heard["order"].get(timeout=0.2)
                    break
            trade.place_order(answer, **order, orderType="Limit", price=low, orderLinkId="ws-1")
            assert heard["answer"].get(timeout=5)["data"]["orderLinkId"] == "ws-1"
            assert next_row(heard["order"], orderLinkId="ws-1", orderStatus="New")
            trade.amend_order(
                answer, category="linear", symbol=SYMBOL, orderLinkId="ws-1", qty="0.02"
            )
            assert next_row(heard["order"], orderLinkId="ws-1", qty="0.02")
            trade.cancel_order(answer, category="linear", symbol=SYMBOL, orderLinkId="ws-1")
            assert next_row(heard["order"], orderLinkId="ws-1", orderStatus="Cancelled")
            trade.place_order(answer, **order, orderType="Market", orderLinkId="ws-2")
            assert next_row(heard["execution"], orderLinkId="ws-2")["execQty"] == "0.01"
            assert next_row(heard["order"], orderLinkId="ws-2", orderStatus="Filled")
            assert next_row(heard["position"], size="0.01")["side"] == "Buy"
            assert next_row(heard["wallet"])["coin"][0]["coin"] == "USDT"

    await asyncio.to_thread(work)


# ccxt.


def ccxt_settings(address: str) -> dict[str, Any]:
    http, ws = f"http://{address}", f"ws://{address}"
    private = f"{ws}/v5/private"
    return {
        "apiKey": DEMO_KEY,
        "secret": DEMO_SECRET,
        "has": {"fetchCurrencies": False},
        "enableRateLimit": False,
        "options": {
            "defaultType": "swap",
            "fetchMarkets": {"types": ["linear"]},
            "enableUnifiedMargin": False,
            "enableUnifiedAccount": True,
        },
        "urls": {
            "api": {
                **dict.fromkeys(("spot", "futures", "v2", "public", "private"), http),
                "ws": {
                    "public": {
                        "linear": f"{ws}/v5/public/linear",
                        "spot": f"{ws}/v5/public/spot",
                    },
                    "private": {
                        "spot": {"unified": private},
                        "contract": private,
                        "usdc": private,
                        "trade": f"{ws}/v5/trade",
                    },
                },
            }
        },
    }


async def test_ccxt_trades_synchronously(address: str, world: World) -> None:
    def work() -> None:
        exchange = ccxt.bybit(ccxt_settings(address))
        markets = exchange.load_markets()
        assert markets[PAIR]["precision"] == {"amount": 0.001, "price": 0.1} | {
            name: value
            for name, value in markets[PAIR]["precision"].items()
            if name not in ("amount", "price")
        }
        candles = exchange.fetch_ohlcv(PAIR, "5m", limit=10)
        assert [row[0] for row in candles] == sorted(row[0] for row in candles)
        since = world.now_ms - 3 * HOUR_MS
        assert exchange.fetch_ohlcv(PAIR, "1m", since=since, limit=5)[0][0] >= since
        placed = exchange.create_order(PAIR, "limit", "buy", 0.01, last_price(world) * 0.95)
        assert [order["id"] for order in exchange.fetch_open_orders(PAIR)] == [placed["id"]]
        exchange.cancel_order(placed["id"], PAIR)
        exchange.create_order(PAIR, "market", "buy", 0.01)
        assert exchange.fetch_positions([PAIR])[0]["contracts"] == 0.01
        exchange.session.close()

    await asyncio.to_thread(work)


async def test_ccxt_trades_and_reads_its_account(address: str, world: World) -> None:
    exchange = ccxt.async_support.bybit(ccxt_settings(address))
    try:
        await exchange.load_markets()
        price = last_price(world)
        limit = await exchange.create_order(
            PAIR, "limit", "buy", 0.01, price * 0.95, {"clientOrderId": "ccxt-1"}
        )
        await exchange.edit_order(limit["id"], PAIR, "limit", "buy", 0.02, price * 0.94)
        found = await exchange.fetch_open_order(limit["id"], PAIR)
        assert (found["clientOrderId"], found["amount"]) == ("ccxt-1", 0.02)
        await exchange.cancel_order(limit["id"], PAIR)
        (canceled,) = await exchange.fetch_canceled_orders(PAIR)
        assert (canceled["id"], canceled["status"]) == (limit["id"], "canceled")
        await exchange.create_order(PAIR, "market", "buy", 0.01)
        stop = {"triggerPrice": price * 0.9, "triggerDirection": "descending", "reduceOnly": True}
        stopped = await exchange.create_order(PAIR, "market", "sell", 0.01, None, stop)
        trailing = {"trailingAmount": 900.0, "reduceOnly": True}
        await exchange.create_order(PAIR, "market", "sell", 0.01, None, trailing)
        waiting = await exchange.fetch_open_orders(PAIR, params={"trigger": True})
        assert stopped["id"] in [order["id"] for order in waiting]
        (position,) = await exchange.fetch_positions([PAIR])
        assert (position["contracts"], position["side"]) == (0.01, "long")
        (fill,) = await exchange.fetch_my_trades(PAIR)
        assert fill["fee"]["cost"] == pytest.approx(fill["cost"] * 0.00055, abs=1e-6)
        balance = await exchange.fetch_balance()
        assert balance["USDT"]["total"] == pytest.approx(10_000, abs=50)
        assert await exchange.fetch_funding_rate_history(PAIR)
        assert (await exchange.fetch_funding_rate(PAIR))["fundingRate"] is not None
        assert (await exchange.fetch_ticker(PAIR))["last"]
        assert (await exchange.fetch_order_book(PAIR))["bids"]
        assert (await exchange.fetch_trading_fee(PAIR))["taker"] == 0.00055
        await exchange.set_leverage(5, PAIR)
        assert (await exchange.fetch_leverage(PAIR))["longLeverage"] == 5
        await exchange.cancel_all_orders(PAIR)
        assert await exchange.fetch_open_orders(PAIR) == []
    finally:
        await exchange.close()


async def test_ccxt_receives_funding(address: str, world: World) -> None:
    exchange = ccxt.async_support.bybit(ccxt_settings(address))
    try:
        await exchange.load_markets()
        await exchange.create_order(PAIR, "market", "buy", 0.01)
        world.set_speed(0)
        world.advance(5 * HOUR_MS)
        (payment,) = await exchange.fetch_funding_history(PAIR)
        assert payment["amount"] != 0
    finally:
        await exchange.close()


async def test_ccxt_watches_the_market(address: str) -> None:
    exchange = ccxt.pro.bybit(ccxt_settings(address))
    try:
        await exchange.load_markets()
        candles, trades, ticker = await asyncio.wait_for(
            asyncio.gather(
                exchange.watch_ohlcv(PAIR, "1m"),
                exchange.watch_trades(PAIR),
                exchange.watch_ticker(PAIR),
            ),
            10,
        )
        assert candles[-1][4] > 0
        assert trades[-1]["symbol"] == PAIR
        assert ticker["last"] > 0
        for _ in range(4):
            book = await asyncio.wait_for(exchange.watch_order_book(PAIR, 50), 10)
            assert book["bids"][0][0] < book["asks"][0][0]
    finally:
        await exchange.close()


async def test_ccxt_watches_its_account(address: str, world: World) -> None:
    exchange = ccxt.pro.bybit(ccxt_settings(address))
    try:
        await exchange.load_markets()
        assert await exchange.watch_positions([PAIR]) == []
        watched = asyncio.gather(
            exchange.watch_orders(PAIR),
            exchange.watch_my_trades(PAIR),
            exchange.watch_balance(),
            exchange.watch_positions([PAIR]),
        )
        await asyncio.sleep(1.0)
        await exchange.create_order(PAIR, "market", "buy", 0.01)
        orders, trades, balance, positions = await asyncio.wait_for(watched, 10)
        assert orders[-1]["symbol"] == PAIR
        assert trades[-1]["amount"] == 0.01
        assert balance["USDT"]["total"] > 9_000
        assert positions[-1]["contracts"] == 0.01
    finally:
        await exchange.close()


async def test_ccxt_orders_over_its_trade_socket(address: str, world: World) -> None:
    exchange = ccxt.pro.bybit(ccxt_settings(address))
    try:
        await exchange.load_markets()
        price = last_price(world) * 0.95
        placed = await exchange.create_order_ws(PAIR, "limit", "buy", 0.01, price)
        await exchange.edit_order_ws(placed["id"], PAIR, "limit", "buy", 0.02, price)
        await exchange.cancel_order_ws(placed["id"], PAIR)
        assert await exchange.fetch_open_orders(PAIR) == []
    finally:
        await exchange.close()
