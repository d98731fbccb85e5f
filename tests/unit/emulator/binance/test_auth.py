import asyncio
from decimal import Decimal

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback, door_open
from tests.unit.emulator.builders import NOON_MS, world_of

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import ApiKey
from perpdesk.emulator.binance.auth import Gate, sign, split_signature
from perpdesk.emulator.binance.calls import Params
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.faults import Fault, FaultKind

# The documentation's own example: exchanges.md 2.1.
SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
SIGNED = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
    "&recvWindow=5000&timestamp=1591702613943"
)
SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def test_the_documented_example_is_signed_as_documented() -> None:
    assert sign(SECRET, SIGNED) == SIGNATURE
    Gate.check_signature(SECRET, SIGNED, SIGNATURE)
    Gate.check_signature(SECRET, SIGNED, SIGNATURE.upper())


def test_another_order_of_the_parameters_is_another_signature() -> None:
    moved = "side=BUY&" + SIGNED.replace("side=BUY&", "")
    with pytest.raises(ApiError) as refused:
        Gate.check_signature(SECRET, moved, SIGNATURE)
    assert refused.value.code == -1022


def test_query_and_body_are_signed_together_without_a_separator() -> None:
    query, body = "symbol=BTCUSDT&side=BUY", "quantity=1&timestamp=1"
    assert split_signature(query, f"{body}&signature=ab") == (query + body, "ab")
    assert split_signature(f"{query}&signature=ab", body) == (query + body, "ab")


def test_a_signature_that_is_not_last_is_none() -> None:
    with pytest.raises(ApiError) as refused:
        split_signature("symbol=BTCUSDT&signature=ab&side=BUY", "")
    assert refused.value.code == -1102


def test_the_text_may_be_signed_before_it_is_percent_encoded() -> None:
    plain = "newClientOrderId=a:b/c&timestamp=1"
    Gate.check_signature(SECRET, "newClientOrderId=a%3Ab%2Fc&timestamp=1", sign(SECRET, plain))


async def test_a_call_without_a_key_is_refused(door: Loopback) -> None:
    door.key = ""
    answer = await door.ask("GET", "/fapi/v3/account")
    assert (answer.status, answer.body["code"]) == (401, -2014)


async def test_an_unknown_key_is_refused(door: Loopback) -> None:
    door.key = "nobody"
    answer = await door.ask("GET", "/fapi/v3/account")
    assert (answer.status, answer.body["code"]) == (401, -2015)


async def test_a_wrong_secret_is_refused(door: Loopback) -> None:
    door.secret = "wrong"
    answer = await door.ask("GET", "/fapi/v3/account")
    assert (answer.status, answer.body["code"]) == (400, -1022)


async def test_a_signed_call_needs_a_timestamp_and_a_signature(door: Loopback) -> None:
    unsigned = await door.send("GET", "/fapi/v3/account", "timestamp=1")
    assert unsigned.body["code"] == -1102
    text = "recvWindow=5000"
    timeless = await door.send(
        "GET", "/fapi/v3/account", f"{text}&signature={sign(door.secret, text)}"
    )
    assert timeless.body == {
        "code": -1102,
        "msg": "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.",
    }


async def test_keys_expire_are_bound_to_addresses_and_may_only_read(door: Loopback) -> None:
    keys = door.world.venues[Venue.BINANCE].accounts
    keys.add(door.account, ApiKey(key="old", secret="s", expires_ms=NOON_MS))
    keys.add(door.account, ApiKey(key="far", secret="s", allowed_ips=frozenset({"10.0.0.1"})))
    keys.add(door.account, ApiKey(key="reader", secret="s", can_trade=False))
    door.secret = "s"
    for name in ("old", "far"):
        door.key = name
        assert await door.code("GET", "/fapi/v3/balance") == -2015
    door.key = "reader"
    assert (await door.ok("GET", "/fapi/v3/balance"))[0]["balance"] == "10000.00000000"
    assert await door.code("POST", "/fapi/v1/leverage", symbol=SYMBOL, leverage=5) == -2015


async def test_permissions_of_a_key_can_be_read(door: Loopback) -> None:
    keys = door.world.venues[Venue.BINANCE].accounts
    keys.add(
        door.account, ApiKey(key="rich", secret="s", can_withdraw=True, expires_ms=NOON_MS * 2)
    )
    door.key, door.secret = "rich", "s"
    told = await door.ok("GET", "/sapi/v1/account/apiRestrictions")
    assert told["enableWithdrawals"] is True
    assert told["enableFutures"] is True
    assert told["ipRestrict"] is False
    assert told["tradingAuthorityExpirationTime"] == NOON_MS * 2


# The clock: accepted iff timestamp < now + 1000 and now - timestamp <= recvWindow.


@pytest.mark.parametrize(
    ("age_ms", "window_ms", "accepted"),
    [
        (0, None, True),
        (5_000, None, True),
        (5_001, None, False),
        (-999, None, True),
        (-1_000, None, False),
        (20_000, 20_000, True),
        (20_001, 20_000, False),
    ],
)
def test_the_window_of_a_timestamp(age_ms: int, window_ms: int | None, accepted: bool) -> None:
    gate = Gate(world_of(Venue.BINANCE), wall=lambda: 0.0)
    values = {"timestamp": str(NOON_MS - age_ms)}
    if window_ms is not None:
        values["recvWindow"] = str(window_ms)
    if accepted:
        gate.check_time(Params(values))
        return
    with pytest.raises(ApiError) as refused:
        gate.check_time(Params(values))
    assert refused.value.code == -1021


def test_a_window_beyond_a_minute_is_no_window() -> None:
    gate = Gate(world_of(Venue.BINANCE))
    with pytest.raises(ApiError) as refused:
        gate.check_time(Params({"timestamp": str(NOON_MS), "recvWindow": "60001"}))
    assert refused.value.code == -1130


def test_the_clients_own_clock_is_accepted_too() -> None:
    gate = Gate(world_of(Venue.BINANCE), wall=lambda: 1_800_000_000.0)
    gate.check_time(Params({"timestamp": "1799999999000"}))


def test_an_offset_once_measured_holds_while_virtual_time_runs_ahead() -> None:
    wall = [1_800_000_000.0]
    world = world_of(Venue.BINANCE)
    gate = Gate(world, wall=lambda: wall[0])
    offset_ms = gate.tell_time() - 1_800_000_000_000
    world.advance(600_000)
    wall[0] += 10.0
    gate.check_time(Params({"timestamp": str(1_800_000_010_000 + offset_ms)}))


def test_a_clock_that_is_off_moves_what_is_told_and_what_is_accepted() -> None:
    wall = [1_800_000_000.0]
    world = world_of(Venue.BINANCE)
    gate = Gate(world, wall=lambda: wall[0])
    before = gate.tell_time()
    world.faults.arm(Fault(kind=FaultKind.CLOCK_SKEW, value=-30_000))
    with pytest.raises(ApiError):
        gate.check_time(Params({"timestamp": str(before)}))
    now = gate.tell_time()
    assert now == before - 30_000
    gate.check_time(Params({"timestamp": str(now)}))


async def test_forms_and_queries_mix_and_the_query_wins(door: Loopback) -> None:
    query = f"symbol={SYMBOL}&timestamp={door.world.now_ms}"
    body = "symbol=NOBODY&leverage=7"
    signature = sign(door.secret, query + body)
    url = f"http://{door.address}/fapi/v1/leverage?{query}"
    async with door.session.post(
        url,
        data=f"{body}&signature={signature}",
        headers={
            "X-MBX-APIKEY": door.key,
            "Content-Type": "application/x-www-form-urlencoded",
        },
    ) as response:
        assert (await response.json())["leverage"] == 7
    assert door.account.exchange.symbols[SYMBOL].leverage == Decimal(7)


async def test_time_is_virtual() -> None:
    async with door_open(speed=0) as door:
        door.world.advance(90_000)
        assert await door.public("/fapi/v1/time") == {"serverTime": NOON_MS + 90_000}
        assert await door.public("/api/v3/time") == {"serverTime": NOON_MS + 90_000}


async def test_a_client_that_measured_once_goes_on_while_time_runs_at_sixty_times() -> None:
    async with door_open(speed=60.0) as door:
        told = (await door.public("/fapi/v1/time"))["serverTime"]
        await asyncio.sleep(0.15)  # nine virtual seconds: more than the window
        now = (await door.public("/fapi/v1/time"))["serverTime"]
        assert now - told > 5_000
        assert (await door.ask("GET", "/fapi/v3/balance", timestamp=told)).status == 200


def test_the_time_told_never_runs_away_from_the_market() -> None:
    # A world that is played too fast for its machine falls behind its clock.
    world = world_of(Venue.BINANCE, speed=0.0)
    world.clock.move_to(NOON_MS + 60_000)
    assert Gate(world).tell_time() == NOON_MS
