"""Answers and messages have the fields and JSON types of the recorded and documented examples."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS

pytestmark = pytest.mark.recorded

# Fields of trailing stops on /order, which since December 2025 are conditional orders; answers of
# that time carried them for every example.
OLD = {"activatePrice", "priceRate"}
# exchanges.md 3.2: v3 lacks what v2 also has; the example was recorded for both.
V2_ONLY = {"leverage", "maxNotionalValue", "marginType", "isAutoAddMargin"}
# Which fields may be missing, and why, by example.
MISSING: Mapping[str, set[str]] = {
    "Trading-PlaceOrder": OLD,
    "Trading-CancelOrder": OLD,
    "Trading-GetOrder": OLD,
    "Trading-GetOpenOrder": OLD,
    "Trading-GetOpenOrders": OLD,
    "Trading-GetOrders": OLD,
    "Trading-GetPositions": V2_ONLY,
    # A bracket's coefficient is told only where a user has one of their own.
    "Account-GetBrackets": {"notionalCoef"},
}


def kind_of(value: Any) -> str:
    """The JSON type; whole and broken numbers are one."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "string", list: "list", dict: "object", type(None): "null"}[type(value)]


def check(example: Any, ours: Any, missing: set[str], where: str = "") -> None:
    """Ours has all that the example has, in the same types; the first of a list stands for all."""
    assert kind_of(ours) == kind_of(example), f"{where}: {ours!r} is not like {example!r}"
    if isinstance(example, dict):
        for name, value in example.items():
            if name in missing or value is None:
                continue
            assert name in ours, f"{where}.{name} is missing"
            check(value, ours[name], missing, f"{where}.{name}")
    elif isinstance(example, list) and example:
        assert ours, f"{where} is empty"
        if isinstance(example[0], list) and kind_of(example[0][0]) == "number":
            # A candle: each column has its own type.
            assert len(ours[0]) == len(example[0])
            for column, (theirs, mine) in enumerate(zip(example[0], ours[0], strict=True)):
                check(theirs, mine, missing, f"{where}[{column}]")
        else:
            check(example[0], ours[0], missing, f"{where}[0]")


def example_of(shared_dir: Path, name: str) -> dict[str, Any]:
    path = shared_dir / "fixtures" / "binance" / "examples" / "rest" / f"{name}.json"
    return dict(json.loads(path.read_text()))


SYMBOL_IS: dict[str, object] = {"symbol": SYMBOL}
CANDLES: dict[str, object] = {"interval": "1m", "limit": 2}
PUBLIC: list[tuple[str, dict[str, object]]] = [
    ("ExchangeData-GetAggregatedTradeHistory", SYMBOL_IS),
    ("ExchangeData-GetAssetIndexes", {}),
    ("ExchangeData-GetBookPrice", SYMBOL_IS),
    ("ExchangeData-GetContinuousContractKlines", {"pair": SYMBOL, **CANDLES}),
    ("ExchangeData-GetFundingRates", SYMBOL_IS),
    ("ExchangeData-GetIndexPriceConstituents", SYMBOL_IS),
    ("ExchangeData-GetIndexPriceKlines", {"pair": SYMBOL, **CANDLES}),
    ("ExchangeData-GetInsuranceFundBalances", {}),
    ("ExchangeData-GetKlines", {**SYMBOL_IS, **CANDLES}),
    ("ExchangeData-GetMarkPrice", SYMBOL_IS),
    ("ExchangeData-GetMarkPriceKlines", {**SYMBOL_IS, **CANDLES}),
    ("ExchangeData-GetOpenInterest", SYMBOL_IS),
    ("ExchangeData-GetOrderBook", SYMBOL_IS),
    ("ExchangeData-GetPremiumIndexKlines", {**SYMBOL_IS, **CANDLES}),
    ("ExchangeData-GetPrice", SYMBOL_IS),
    ("ExchangeData-GetRecentTrades", SYMBOL_IS),
    ("ExchangeData-GetServerTime", {}),
    ("ExchangeData-GetTicker", SYMBOL_IS),
    ("ExchangeData-GetTradeHistory", SYMBOL_IS),
]


@pytest.mark.parametrize(("name", "params"), PUBLIC)
async def test_public_answers(
    door: Loopback, shared_dir: Path, name: str, params: dict[str, object]
) -> None:
    example = example_of(shared_dir, name)
    if "Continuous" in name:
        params = params | {"contractType": "PERPETUAL"}
    ours = await door.public(example["path"], **params)
    check(example["response"], ours, MISSING.get(name, set()), name)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("fapi_v1_aggTrades-1", SYMBOL_IS),
        ("fapi_v1_depth-1", SYMBOL_IS),
        ("fapi_v1_exchangeInfo-1", {}),
        ("fapi_v1_fundingRate-1", SYMBOL_IS),
        ("fapi_v1_klines-1", {**SYMBOL_IS, **CANDLES}),
        ("fapi_v1_openInterest-1", SYMBOL_IS),
        ("fapi_v1_premiumIndex-1", SYMBOL_IS),
        ("fapi_v1_ticker_24hr-3", {}),
        ("fapi_v1_ticker_bookTicker-1", {}),
        ("fapi_v1_ticker_price-1", SYMBOL_IS),
        ("fapi_v1_time-1", {}),
        ("fapi_v1_trades-1", SYMBOL_IS),
        ("futures_data_openInterestHist-1", {**SYMBOL_IS, "period": "1h"}),
    ],
)
async def test_recorded_answers(
    door: Loopback, shared_dir: Path, name: str, params: dict[str, object]
) -> None:
    folder = shared_dir / "fixtures" / "binance" / "rest" / "recorded"
    recorded = json.loads((folder / f"{name}.json").read_text())
    check(recorded["response"], await door.public(recorded["path"], **params), set(), name)


async def test_an_unknown_symbol_is_refused_as_recorded(door: Loopback, shared_dir: Path) -> None:
    folder = shared_dir / "fixtures" / "binance" / "rest" / "recorded"
    recorded = json.loads((folder / "fapi_v1_ticker_24hr-1-error.json").read_text())
    answer = await door.send("GET", recorded["path"], "symbol=BTCUSD_201225")
    assert answer.body == recorded["response"]


async def busy(door: Loopback) -> None:
    """A position, a resting order, a waiting stop, some income, moved margin."""
    await door.ok("POST", "/fapi/v1/marginType", symbol=SYMBOL, marginType="ISOLATED")
    await door.market_order("BUY", "0.020")
    await door.market_order("SELL")
    await door.order(price=str(door.price - 3000), newClientOrderId="resting")
    await door.ok("POST", "/fapi/v1/algoOrder", **stop_of(door, "waiting"))
    await door.ok("POST", "/fapi/v1/positionMargin", symbol=SYMBOL, amount="5.5", type=1)
    door.world.advance(MINUTE_MS)


def stop_of(door: Loopback, client_id: str) -> dict[str, object]:
    return {
        "algoType": "CONDITIONAL",
        "symbol": SYMBOL,
        "side": "SELL",
        "type": "STOP",
        "quantity": "0.010",
        "triggerPrice": str(door.price - 3000),
        "price": str(door.price - 3100),
        "clientAlgoId": client_id,
    }


RESTING: dict[str, object] = {"symbol": SYMBOL, "origClientOrderId": "resting"}
SIGNED: list[tuple[str, dict[str, object]]] = [
    ("Account-ChangeInitialLeverage", {"symbol": "ETHUSDT", "leverage": 21}),
    ("Account-ChangeMarginType", {"symbol": "ETHUSDT", "marginType": "ISOLATED"}),
    ("Account-GetAccountConfiguration", {}),
    ("Account-GetAccountInfo", {}),
    ("Account-GetAccountInfoV3", {}),
    ("Account-GetBalances", {}),
    ("Account-GetBnbBurnStatus", {}),
    ("Account-GetBrackets", {}),
    ("Account-GetIncomeHistory", {}),
    ("Account-GetMarginChangeHistory", SYMBOL_IS),
    ("Account-GetMultiAssetsMode", {}),
    ("Account-GetOrderRateLimit", {}),
    ("Account-GetPositionInformation", SYMBOL_IS),
    ("Account-GetSymbolConfiguration", {}),
    ("Account-GetUserCommissionRate", SYMBOL_IS),
    ("Account-ModifyPositionMargin", {**SYMBOL_IS, "amount": "1.5", "type": 1}),
    ("Trading-CancelAllConditionalOrders", SYMBOL_IS),
    ("Trading-CancelAllOrders", SYMBOL_IS),
    ("Trading-CancelAllOrdersAfterTimeout", {**SYMBOL_IS, "countdownTime": 100_000}),
    ("Trading-CancelConditionalOrder", {"clientAlgoId": "waiting"}),
    ("Trading-CancelOrder", RESTING),
    ("Trading-GetConditionalOrder", {"clientAlgoId": "waiting"}),
    ("Trading-GetConditionalOrders", SYMBOL_IS),
    ("Trading-GetOpenConditionalOrders", {}),
    ("Trading-GetOpenOrder", RESTING),
    ("Trading-GetOpenOrders", {}),
    ("Trading-GetOrder", RESTING),
    ("Trading-GetOrders", SYMBOL_IS),
    ("Trading-GetPositions", {}),
    ("Trading-GetUserTrades", SYMBOL_IS),
]


@pytest.mark.parametrize(("name", "params"), SIGNED)
async def test_signed_answers(
    door: Loopback, shared_dir: Path, name: str, params: dict[str, object]
) -> None:
    await busy(door)
    example = example_of(shared_dir, name)
    ours = await door.ok(example["method"], example["path"], **params)
    check(example["response"], ours, MISSING.get(name, set()), name)


async def test_answers_to_orders(door: Loopback, shared_dir: Path) -> None:
    await busy(door)
    placed = await door.order(price=str(door.price - 3000), newClientOrderId="new")
    check(example_of(shared_dir, "Trading-PlaceOrder")["response"], placed, OLD)
    changed = await door.ok(
        "PUT",
        "/fapi/v1/order",
        **RESTING,
        side="BUY",
        quantity="0.020",
        price=str(door.price - 3000),
    )
    check(example_of(shared_dir, "Trading-EditOrder")["response"], changed, set())
    algo = await door.ok("POST", "/fapi/v1/algoOrder", **stop_of(door, "another"))
    check(example_of(shared_dir, "Trading-PlaceConditionalOrder")["response"], algo, set())
    await door.market_order("BUY", "0.500")
    door.account.force_liquidation(SYMBOL, now_ms=door.world.now_ms)
    forced = await door.ok("GET", "/fapi/v1/forceOrders")
    check(example_of(shared_dir, "Trading-GetForcedOrders")["response"], forced, set())


def stream_example(shared_dir: Path, name: str) -> Any:
    path = shared_dir / "fixtures" / "binance" / "examples" / "ws" / f"{name}.json"
    messages = json.loads(path.read_text())["exchange_of_messages"]
    return messages[-1]["msg"]["data"]


@pytest.mark.parametrize(
    ("name", "route", "stream"),
    [
        ("AggTrades", "market", "btcusdt@aggTrade"),
        ("Book", "public", "btcusdt@depth@100ms"),
        ("BookTicker", "public", "btcusdt@bookTicker"),
        ("ContKlines", "market", "btcusdt_perpetual@continuousKline_1m"),
        ("Klines", "market", "btcusdt@kline_1m"),
        ("MarkPrice", "market", "btcusdt@markPrice@1s"),
        ("MiniTicker", "market", "btcusdt@miniTicker"),
        ("PartialBook", "public", "btcusdt@depth5@100ms"),
        ("Ticker", "market", "btcusdt@ticker"),
    ],
)
async def test_market_messages(
    door: Loopback, shared_dir: Path, name: str, route: str, stream: str
) -> None:
    async with door.socket(f"/{route}/stream?streams={stream}") as heard:
        door.world.advance(30_000)
        messages = await heard.all()
    assert messages[-1]["stream"] == stream
    check(stream_example(shared_dir, name), messages[-1]["data"], set(), name)


async def test_user_messages(door: Loopback, shared_dir: Path) -> None:
    key = await door.listen_key()
    paths = (f"/private/ws?listenKey={key}", "/market/ws/btcusdt@forceOrder")
    async with door.socket(paths[0]) as heard, door.socket(paths[1]) as public:
        await busy(door)
        trailing = stop_of(door, "t") | {"type": "TRAILING_STOP_MARKET", "callbackRate": "0.1"}
        for name in ("price", "triggerPrice"):
            del trailing[name]
        await door.ok("POST", "/fapi/v1/algoOrder", **trailing)
        await door.ok("POST", "/fapi/v1/leverage", symbol="ETHUSDT", leverage=7)
        door.world.advance(HOUR_MS // 2)
        await door.market_order("BUY", "0.500")
        door.account.force_liquidation(SYMBOL, now_ms=door.world.now_ms)
        door.world.advance(1_000)
        messages, told = await heard.all(), await public.all()
    latest = {each["e"]: each for each in messages}
    trailed = [
        each
        for each in messages
        if each["e"] == "ORDER_TRADE_UPDATE" and each["o"]["ot"] == "TRAILING_STOP_MARKET"
    ]
    for name, message in (
        ("OrderUpdate", trailed[-1]),
        ("AlgoOrderUpdate", latest["ALGO_UPDATE"]),
        ("Leverage", latest["ACCOUNT_CONFIG_UPDATE"]),
        ("TradeUpdate", latest["TRADE_LITE"]),
        ("Liquidations", told[-1]),
    ):
        check(stream_example(shared_dir, name), message, set(), name)
    account = stream_example(shared_dir, "AccountUpdate")
    traded = next(each for each in messages if each["e"] == "ACCOUNT_UPDATE" and each["a"]["P"])
    check(account, traded, set(), "AccountUpdate")


async def test_recorded_stream_messages(door: Loopback, shared_dir: Path) -> None:
    """The same of messages that the venue itself has sent, in their order of fields too."""
    path = shared_dir / "fixtures" / "binance" / "ws" / "usdm-btcusdt-20240808.log.gz"
    recorded: dict[str, Any] = {}
    with gzip.open(path, "rt") as lines:
        for line in lines:
            message = json.loads(line.partition(" ")[2])
            if "stream" in message:
                recorded.setdefault(message["data"]["e"], message["data"])
            if len(recorded) == 3:
                break
    async with door.socket("/public/stream") as heard:
        await heard.ask("SUBSCRIBE", "btcusdt@depth", "btcusdt@trade", "btcusdt@bookTicker")
        door.world.advance(30_000)
        ours = {each["data"]["e"]: each["data"] for each in await heard.all()}
    assert set(recorded) == {"depthUpdate", "trade", "bookTicker"}
    for event, message in recorded.items():
        check(message, ours[event], set(), event)
        assert list(ours[event]) == list(message)
