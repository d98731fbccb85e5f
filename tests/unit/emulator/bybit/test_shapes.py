"""Every answer and message has the fields of the documented example, with the same JSON types."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.emulator.bybit.client import Client, Socket, opened

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS

pytestmark = pytest.mark.recorded

BTC = {"symbol": "BTCUSDT"}
KLINE = BTC | {"interval": "60", "limit": "3"}
OPEN_WORLDS = ("cumFeeDetail", "header")
"""Objects whose keys are names of coins, or depend on the way of asking."""

READS: dict[str, tuple[str, dict[str, str]]] = {
    "docs/market_time-1": ("market/time", {}),
    "docs/market_instrument-1": ("market/instruments-info", BTC),
    "docs/market_kline-1": ("market/kline", KLINE),
    "docs/market_mark-kline-1": ("market/mark-price-kline", KLINE),
    "docs/market_index-kline-1": ("market/index-price-kline", KLINE),
    "docs/market_premium-index-kline-1": ("market/premium-index-price-kline", KLINE),
    "docs/market_orderbook-1": ("market/orderbook", BTC),
    "docs/market_tickers-1": ("market/tickers", BTC),
    "docs/market_recent-trade-1": ("market/recent-trade", BTC),
    "docs/market_history-fund-rate-1": ("market/funding/history", BTC),
    "docs/market_open-interest-1": ("market/open-interest", BTC | {"intervalTime": "1h"}),
    "docs/market_risk-limit-1": ("market/risk-limit", BTC),
    "docs/market_order-price-limit-1": ("market/price-limit", BTC),
    "docs/account_wallet-balance-1": ("account/wallet-balance", {"accountType": "UNIFIED"}),
    "docs/account_account-info-1": ("account/info", {}),
    "docs/account_fee-rate-1": ("account/fee-rate", BTC),
    "docs/account_transaction-log-1": ("account/transaction-log", {}),
    "docs/order_open-order-1": ("order/realtime", BTC),
    "docs/order_order-list-1": ("order/history", BTC),
    "docs/order_execution-1": ("execution/list", BTC),
    "docs/position_position-1": ("position/list", BTC),
    "docs/position_close-pnl-1": ("position/closed-pnl", BTC),
    "examples/rest/ExchangeData-GetInsurance": ("market/insurance", {}),
}


def example(shared_dir: Path, name: str) -> Any:
    found = json.loads((shared_dir / "fixtures" / "bybit" / f"{name}.json").read_text())
    return found.get("response", found) if isinstance(found, dict) else found


def check(expected: Any, found: Any, at: str) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict), at
        for name, value in expected.items():
            assert name in found, f"{at}.{name} is missing"
            if name not in OPEN_WORLDS:
                check(value, found[name], f"{at}.{name}")
    elif isinstance(expected, list):
        assert isinstance(found, list), at
        if expected:
            assert found, f"{at} is empty"
            check(expected[0], found[0], f"{at}[0]")
    elif expected is not None:
        assert type(found) is type(expected), f"{at}: {found!r} instead of {expected!r}"


async def have_a_past(client: Client) -> None:
    """Leave a trace everywhere: a position, fills, funding, a closed trade, a resting order."""
    await client.order("Buy", "0.02", takeProfit=client.price(9), stopLoss=client.price(-9))
    client.world.advance(4 * HOUR_MS + MINUTE_MS)
    await client.order("Sell", "0.01", reduceOnly=True)
    await client.order("Buy", "0.01", price=client.price(-2))
    assert (await client.position())["size"] == "0.01"


@pytest.mark.parametrize("name", sorted(READS))
async def test_an_answer_has_the_documented_shape(shared_dir: Path, name: str) -> None:
    path, params = READS[name]
    async with opened() as client:
        await have_a_past(client)
        check(example(shared_dir, name), await client.get(path, **params), name)


async def test_answers_of_orders_have_the_documented_shape(shared_dir: Path) -> None:
    async with opened() as client:
        order = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01"}
        order["price"] = client.price(-2)

        async def compare(name: str, path: str, **params: Any) -> None:
            check(example(shared_dir, f"docs/{name}"), await client.post(path, **params), name)

        await compare("order_create-order-1", "order/create", **order, orderLinkId="a")
        await compare("order_amend-order-1", "order/amend", **BTC, orderLinkId="a", qty="0.02")
        await compare("order_cancel-order-1", "order/cancel", **BTC, orderLinkId="a")
        await compare("order_batch-place-1", "order/create-batch", request=[order, order])
        await compare("order_cancel-all-1", "order/cancel-all", **BTC)
        named = [{**BTC, "orderLinkId": "a"}]
        await compare("order_batch-cancel-1", "order/cancel-batch", request=named)
        await compare("order_dcp-1", "order/disconnected-cancel-all", timeWindow=10)
        check(
            example(shared_dir, "examples/rest/Trading-EditMultipleOrders"),
            await client.post("order/amend-batch", request=named),
            "amend-batch",
        )
        check(
            example(shared_dir, "examples/rest/Trading-PreCheckOrder"),
            await client.post("order/pre-check", **order),
            "pre-check",
        )


async def test_answers_of_positions_have_the_documented_shape(shared_dir: Path) -> None:
    async with opened() as client:

        async def compare(name: str, path: str, **params: Any) -> None:
            check(example(shared_dir, f"docs/{name}"), await client.post(path, **params), name)

        leverage = {"buyLeverage": "5", "sellLeverage": "5"}
        await compare("position_leverage-1", "position/set-leverage", **BTC, **leverage)
        await compare("position_position-mode-1", "position/switch-mode", **BTC, mode=3)
        await client.post("position/switch-mode", **BTC, mode=0)
        await client.post("account/set-margin-mode", setMarginMode="ISOLATED_MARGIN")
        await compare(
            "position_auto-add-margin-1", "position/set-auto-add-margin", **BTC, autoAddMargin=1
        )
        await client.order("Buy", "0.01")
        refused = await client.post("account/set-margin-mode", setMarginMode="REGULAR_MARGIN")
        check(example(shared_dir, "docs/account_set-margin-mode-1"), refused, "margin mode")
        await compare("position_manual-add-margin-1", "position/add-margin", **BTC, margin="10")
        await compare(
            "position_trading-stop-1",
            "position/trading-stop",
            **BTC,
            positionIdx=0,
            stopLoss=client.price(-2),
        )


async def of_topic(socket: Socket, topic: str, kind: str | None = None) -> dict[str, Any]:
    return await socket.hear_until(
        lambda message: message.get("topic") == topic and kind in (None, message.get("type"))
    )


PUBLIC = {
    "websocket_public_kline-1": ("kline.5.BTCUSDT", "snapshot"),
    "websocket_public_trade-1": ("publicTrade.BTCUSDT", "snapshot"),
    "websocket_public_ticker-1": ("tickers.BTCUSDT", "snapshot"),
    "websocket_public_orderbook-1": ("orderbook.50.BTCUSDT", "snapshot"),
    "websocket_public_orderbook-2": ("orderbook.50.BTCUSDT", "delta"),
    "websocket_public_order-price-limit-1": ("priceLimit.BTCUSDT", None),
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
async def test_a_public_message_has_the_documented_shape(shared_dir: Path, name: str) -> None:
    topic, kind = PUBLIC[name]
    async with opened() as client, client.socket("public/linear") as socket:
        await socket.subscribe(topic)
        client.world.advance(20_000)
        check(example(shared_dir, f"docs/{name}"), await of_topic(socket, topic, kind), name)


PRIVATE = {
    "websocket_private_order-1": "order",
    "websocket_private_execution-1": "execution",
    "websocket_private_fast-execution-1": "execution.fast",
    "websocket_private_position-1": "position",
    "websocket_private_wallet-1": "wallet",
}


@pytest.mark.parametrize("name", sorted(PRIVATE))
async def test_a_private_message_has_the_documented_shape(shared_dir: Path, name: str) -> None:
    topic = PRIVATE[name]
    async with opened() as client, client.private(topic) as socket:
        await client.order("Buy", "0.01")
        expected = example(shared_dir, f"docs/{name}")
        # What regions add to the fees: a list in the example of the stream, a text elsewhere.
        expected["data"][0].pop("extraFees", None)
        check(expected, await of_topic(socket, topic), name)


async def test_a_liquidation_has_the_documented_shape(shared_dir: Path) -> None:
    async with opened() as client, client.socket("public/linear") as socket:
        topic = "allLiquidation.BTCUSDT"
        await socket.subscribe(topic)
        await client.order("Buy", "2")
        body = {"venue": "bybit", "account": "demo", **BTC}
        url = f"http://{client.address}/emulator/liquidate"
        async with client.session.post(url, json=body) as response:
            assert response.status == 200
        name = "docs/websocket_public_all-liquidation-1"
        check(example(shared_dir, name), await of_topic(socket, topic), name)


async def test_the_trade_socket_answers_in_the_documented_shape(shared_dir: Path) -> None:
    async with opened() as client, client.private(path="trade") as socket:
        auth = example(shared_dir, "docs/websocket_trade_guideline-1")
        check(auth, socket.heard[0], "auth")
        for name, op in (
            ("docs/websocket_trade_guideline-3", "order.create"),
            ("docs/websocket_trade_guideline-5", "order.create-batch"),
        ):
            order = {"category": "linear", **BTC, "side": "Buy", "orderType": "Market", "qty": "1"}
            batch = {"category": "linear", "request": [order]}
            await socket.say(
                {
                    "reqId": op,
                    "header": {"X-BAPI-TIMESTAMP": str(int(time.time() * 1000))},
                    "op": op,
                    "args": [batch if op.endswith("batch") else order],
                }
            )
            answer, expected = await socket.hear(), example(shared_dir, name)
            check(expected, answer, name)
            check(expected["header"], answer["header"], f"{name}.header")
        await socket.say({"op": "ping"})
        pong = example(shared_dir, "docs/websocket_trade_guideline-7")
        check(pong, await socket.hear(), "pong")
