"""Who is let in: signatures, stamps, keys."""

import time

import pytest
from tests.unit.emulator.builders import NOON_MS, world_of
from tests.unit.emulator.bybit.client import Client, opened, sign

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import ApiKey
from perpdesk.emulator.bybit.auth import Gate, signature
from perpdesk.emulator.bybit.errors import BybitError
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.emulator.world import World


def wall_ms() -> int:
    return int(time.time() * 1000)


async def wallet(client: Client, **how: object) -> int:
    params = {"accountType": "UNIFIED"}
    answer = await client.send("GET", "account/wallet-balance", params, **how)  # type: ignore[arg-type]
    code: int = answer["retCode"]
    return code


def add_key(world: World, key: ApiKey) -> None:
    accounts = world.venues[Venue.BYBIT].accounts
    accounts.add(accounts.by_id["demo"], key)


def test_the_signature_is_hmac_sha256_in_hex() -> None:
    # RFC 4231, test case 2.
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature("Jefe", "what do ya want for nothing?") == expected


async def test_a_signed_request_is_answered_and_a_tampered_one_is_not() -> None:
    async with opened() as client:
        assert await wallet(client) == 0
        assert await wallet(client, tampered=True) == 10004


async def test_a_body_is_signed_byte_for_byte() -> None:
    async with opened() as client:
        stamp = str(wall_ms())
        body = '{"category":  "linear",\n"symbol":"BTCUSDT","buyLeverage":"3","sellLeverage":"3"}'
        for signed, code in ((body, 0), (body.replace(" ", ""), 10004)):
            headers = {
                "X-BAPI-API-KEY": client.key,
                "X-BAPI-TIMESTAMP": stamp,
                "X-BAPI-RECV-WINDOW": "5000",
                "X-BAPI-SIGN": sign(client.secret, f"{stamp}{client.key}5000{signed}"),
            }
            url = f"http://{client.address}/v5/position/set-leverage"
            async with client.session.post(url, data=body, headers=headers) as response:
                assert (await response.json())["retCode"] == code


@pytest.mark.parametrize(
    ("ahead_ms", "code"), [(-4_500, 0), (-6_000, 10002), (700, 0), (1_500, 10002)]
)
async def test_a_stamp_must_lie_within_the_window(ahead_ms: int, code: int) -> None:
    async with opened(world_of(Venue.BYBIT, speed=1.0)) as client:
        assert await wallet(client, stamp=wall_ms() + ahead_ms) == code
        assert await wallet(client, stamp=client.world.now_ms + ahead_ms) == code


async def test_a_wider_window_takes_an_older_stamp() -> None:
    async with opened() as client:
        assert await wallet(client, stamp=wall_ms() - 6_000, window="10000") == 0


@pytest.mark.parametrize(("skew_ms", "code"), [(2_500, 0), (-2_500, 10002), (8_000, 10002)])
async def test_a_skewed_clock_shifts_what_is_told_and_what_is_accepted(
    skew_ms: int, code: int
) -> None:
    async with opened() as client:
        client.world.faults.arm(Fault(kind=FaultKind.CLOCK_SKEW, value=skew_ms))
        told = await client.get("market/time")
        assert int(told["result"]["timeNano"]) // 1_000_000 == NOON_MS + skew_ms
        assert told["time"] == NOON_MS + skew_ms
        assert await wallet(client, stamp=wall_ms()) == code
        assert await wallet(client, stamp=wall_ms() + skew_ms - 100) == 0


async def test_a_stamp_of_virtual_time_never_goes_stale_in_a_world_that_runs_fast() -> None:
    async with opened(world_of(Venue.BYBIT, speed=600.0)) as client:
        assert await wallet(client, stamp=NOON_MS) == 0
        client.world.advance(600_000)
        assert await wallet(client, stamp=NOON_MS) == 0


async def test_an_unknown_key_is_refused() -> None:
    async with opened() as client:
        client.key = "nobody"
        assert await wallet(client) == 10003


async def test_an_unsigned_request_is_refused() -> None:
    async with opened() as client:
        url = f"http://{client.address}/v5/account/wallet-balance?accountType=UNIFIED"
        async with client.session.get(url) as response:
            assert response.status == 200
            assert (await response.json())["retCode"] == 10003


async def test_a_key_that_reads_may_not_trade() -> None:
    world = world_of(Venue.BYBIT)
    add_key(world, ApiKey(key="reader", secret="s", can_trade=False))
    async with opened(world) as client:
        client.key, client.secret = "reader", "s"
        assert await wallet(client) == 0
        assert (await client.order("Buy", "0.01"))["retCode"] == 10005
        assert (await client.get("user/query-api"))["result"]["readOnly"] == 1


async def test_a_key_that_is_bound_to_an_address_is_refused_from_another() -> None:
    world = world_of(Venue.BYBIT)
    add_key(world, ApiKey(key="bound", secret="s", allowed_ips=frozenset({"10.1.2.3"})))
    add_key(world, ApiKey(key="here", secret="s", allowed_ips=frozenset({"127.0.0.1"})))
    async with opened(world) as client:
        client.secret = "s"
        client.key = "bound"
        assert await wallet(client) == 10010
        client.key = "here"
        assert await wallet(client) == 0


async def test_a_key_expires_in_virtual_time() -> None:
    world = world_of(Venue.BYBIT)
    add_key(world, ApiKey(key="short", secret="s", expires_ms=NOON_MS + 1_000))
    async with opened(world) as client:
        client.key, client.secret = "short", "s"
        assert await wallet(client) == 0
        world.advance(1_000)
        assert await wallet(client) == 33004


def test_what_a_socket_signs_must_not_have_expired() -> None:
    gate = Gate(world_of(Venue.BYBIT, speed=1.0))
    late = wall_ms() - 1
    with pytest.raises(BybitError, match="expires"):
        gate.of_socket("demo-key", late, sign("demo-secret", f"GET/realtime{late}"), "")
    ahead = wall_ms() + 1_000
    key, _ = gate.of_socket("demo-key", ahead, sign("demo-secret", f"GET/realtime{ahead}"), "")
    assert key.key == "demo-key"
