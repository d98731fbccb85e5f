from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Venue
from perpdesk.emulator.accounts import ApiKey
from perpdesk.emulator.faults import Fault, FaultKind

KEY = "/fapi/v1/listenKey"


def events(messages: list[Any]) -> list[str]:
    return [each["e"] for each in messages]


async def test_asking_again_gives_the_same_key_and_a_longer_life(door: Loopback) -> None:
    first = await door.listen_key()
    door.world.advance(50 * MINUTE_MS)
    assert await door.listen_key() == first
    door.world.advance(50 * MINUTE_MS)
    assert (await door.send("PUT", KEY)).body == {"listenKey": first}


async def test_a_key_that_nobody_keeps_alive_dies_with_a_word_and_then_silence(
    door: Loopback,
) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        door.world.advance(HOUR_MS - 1_000)
        assert await heard.all() == []
        door.world.advance(1_000)
        (told,) = await heard.all()
        assert (told["e"], told["listenKey"]) == ("listenKeyExpired", key)
        await door.market_order("BUY")
        assert await heard.all() == []
    answer = await door.send("PUT", KEY)
    assert (answer.status, answer.body["code"]) == (400, -1125)
    assert await door.listen_key() != key


async def test_a_key_lives_an_hour_of_the_wall_where_time_runs_faster(door: Loopback) -> None:
    key = await door.listen_key()
    door.world.clock.speed = 60.0
    door.world.advance(5 * HOUR_MS)
    assert (await door.send("PUT", KEY)).body == {"listenKey": key}


async def test_an_unknown_key_is_not_let_in(door: Loopback) -> None:
    for path in ("/private/ws?listenKey=nobody", "/private/ws/nobody", "/private/ws"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with door.socket(path):
                pass
        assert refused.value.status == 400


async def test_a_deleted_key_is_silent(door: Loopback) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        assert (await door.send("DELETE", KEY)).body == {}
        await door.market_order("BUY")
        assert await heard.all() == []


async def test_a_key_can_be_killed_on_purpose(door: Loopback) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        door.world.faults.arm(Fault(kind=FaultKind.LISTEN_KEY_EXPIRY, left=1))
        door.world.advance(1_000)
        assert events(await heard.all()) == ["listenKeyExpired"]


async def test_an_order_that_fills_is_told_in_its_steps(door: Loopback) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        await door.market_order("BUY")
        messages = await heard.all()
    assert events(messages) == [
        "ORDER_TRADE_UPDATE",
        "TRADE_LITE",
        "ACCOUNT_UPDATE",
        "ORDER_TRADE_UPDATE",
    ]
    new, lite, account, trade = messages
    assert (new["o"]["x"], new["o"]["z"], new["o"]["t"]) == ("NEW", "0.000", 0)
    assert (trade["o"]["x"], trade["o"]["X"], trade["o"]["z"]) == ("TRADE", "FILLED", "0.010")
    assert lite["t"] == trade["o"]["t"]
    assert account["a"]["m"] == "ORDER"
    fee = Decimal(trade["o"]["n"])
    assert Decimal(account["a"]["B"][0]["wb"]) == 10_000 - fee
    assert account["a"]["P"][0]["pa"] == "0.010"


async def test_a_resting_order_changes_no_account(door: Loopback) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        order = await door.order(price=str(door.price - 500))
        await door.ok("DELETE", "/fapi/v1/order", symbol=SYMBOL, orderId=order["orderId"])
        messages = await heard.all()
    assert [(each["e"], each["o"]["X"]) for each in messages] == [
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ORDER_TRADE_UPDATE", "CANCELED"),
    ]


async def test_only_the_events_that_were_asked_for_come(door: Loopback) -> None:
    key = await door.listen_key()
    path = f"/private/stream?listenKey={key}&events=ACCOUNT_UPDATE/TRADE_LITE"
    async with door.socket(path) as heard:
        await door.market_order("BUY")
        door.world.advance(HOUR_MS)
        messages = await heard.all()
    assert events([each["data"] for each in messages]) == ["TRADE_LITE", "ACCOUNT_UPDATE"]
    assert {each["stream"] for each in messages} == {key}


async def test_funding_names_the_balance_and_in_isolated_margin_the_position(
    door: Loopback,
) -> None:
    await door.ok("POST", "/fapi/v1/marginType", symbol="ETHUSDT", marginType="ISOLATED")
    await door.market_order("BUY")
    await door.ok(
        "POST", "/fapi/v1/order", symbol="ETHUSDT", side="SELL", type="MARKET", quantity="0.100"
    )
    door.world.advance(4 * HOUR_MS - MINUTE_MS)
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        door.world.advance(30 * MINUTE_MS)
        messages = await heard.all()
    assert [(each["a"]["m"], len(each["a"]["P"])) for each in messages] == [
        ("FUNDING_FEE", 0),
        ("FUNDING_FEE", 1),
    ]
    rows = await door.ok("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")
    assert [row["income"] for row in rows] == [each["a"]["B"][0]["bc"] for each in messages]


async def test_a_liquidation_is_told_to_the_account_and_to_everybody(door: Loopback) -> None:
    await door.market_order("BUY", "1.000")
    key = await door.listen_key()
    private, market = f"/private/ws?listenKey={key}", "/market/ws/btcusdt@forceOrder"
    async with door.socket(private) as heard, door.socket(market) as public:
        door.account.force_liquidation(SYMBOL, now_ms=door.world.now_ms)
        door.world.advance(1_000)
        messages, told = await heard.all(), await public.all()
    orders = [each["o"] for each in messages if each["e"] == "ORDER_TRADE_UPDATE"]
    assert [each["x"] for each in orders] == ["NEW", "CALCULATED"]
    assert all(each["c"].startswith("autoclose-") for each in orders)
    assert (orders[0]["o"], orders[0]["f"]) == ("LIMIT", "IOC")
    assert (told[0]["e"], told[0]["o"]["S"], told[0]["o"]["z"]) == ("forceOrder", "SELL", "1.000")
    rows = await door.ok("GET", "/fapi/v1/income")
    kinds = [row["incomeType"] for row in rows]
    assert kinds == ["COMMISSION", "REALIZED_PNL", "INSURANCE_CLEAR"]
    forced = await door.ok("GET", "/fapi/v1/forceOrders")
    assert [row["clientOrderId"][:10] for row in forced] == ["autoclose-"]


async def test_settings_and_money_from_outside_are_told(door: Loopback) -> None:
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        await door.ok("POST", "/fapi/v1/leverage", symbol=SYMBOL, leverage=7)
        door.account.deposit(Decimal(50), now_ms=door.world.now_ms)
        door.world.advance(1_000)
        config, money = await heard.all()
    assert (config["e"], config["ac"]) == ("ACCOUNT_CONFIG_UPDATE", {"s": SYMBOL, "l": 7})
    assert (money["a"]["m"], money["a"]["B"][0]["bc"]) == ("DEPOSIT", "50.00000000")


async def test_an_account_that_is_opened_later_is_heard_too(door: Loopback) -> None:
    late = ApiKey(key="late", secret="s")
    door.world.open_account(Venue.BINANCE, "late", Decimal(5_000), late)
    door.world.advance(1_000)
    door.key, door.secret = "late", "s"
    key = await door.listen_key()
    async with door.socket(f"/private/ws?listenKey={key}") as heard:
        await door.market_order("SELL")
        assert "ACCOUNT_UPDATE" in events(await heard.all())
