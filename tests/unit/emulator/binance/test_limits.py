import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback, door_open

from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.limits import TOLERATED, Limits


def test_weight_counts_by_address_and_minute() -> None:
    wall = [60.0]
    limits = Limits(100, wall=lambda: wall[0])
    limits.charge("a", 40)
    limits.charge("a", 2)
    limits.charge("b", 1)
    assert (limits.weight_of("a"), limits.weight_of("b")) == (42, 1)
    wall[0] = 120.0
    assert limits.weight_of("a") == 0


def test_above_the_limit_a_client_waits_for_the_next_minute_and_is_banned_if_it_does_not() -> None:
    wall = [100.0]
    limits = Limits(10, wall=lambda: wall[0])
    limits.charge("a", 10)
    for _ in range(TOLERATED):
        with pytest.raises(ApiError) as slow:
            limits.charge("a", 1)
        assert (slow.value.code, slow.value.status) == (-1003, 429)
        assert slow.value.headers == {"Retry-After": "20"}
    with pytest.raises(ApiError) as banned:
        limits.charge("a", 1)
    assert (banned.value.code, banned.value.status) == (-1003, 418)
    wall[0] += 119.0
    with pytest.raises(ApiError) as still:
        limits.charge("a", 1)
    assert still.value.status == 418
    wall[0] += 1.0
    limits.charge("a", 1)


def test_a_ban_for_weight_ends_by_the_clock_that_the_venue_shows() -> None:
    limits = Limits(10, wall=lambda: 100.0, venue_ms=lambda: 7_000)
    for _ in range(TOLERATED + 1):
        with pytest.raises(ApiError) as banned:
            limits.charge("a", 11)
    assert "banned until 127000. " in str(banned.value.body())


def test_orders_count_by_account_in_ten_seconds_and_a_minute() -> None:
    wall = [1000.0]
    limits = Limits(wall=lambda: wall[0])
    limits.count_orders("demo", 1, 1)
    limits.count_orders("demo", 5, 1)
    assert limits.orders_of("demo") == (6, 2)
    wall[0] += 10.0
    assert limits.orders_of("demo") == (0, 2)
    wall[0] += 50.0
    assert limits.orders_of("demo") == (0, 0)


def test_the_301st_order_in_ten_seconds_is_one_too_many() -> None:
    limits = Limits(wall=lambda: 1000.0)
    for _ in range(300):
        limits.count_orders("demo", 1, 1)
    with pytest.raises(ApiError) as refused:
        limits.count_orders("demo", 1, 1)
    assert (refused.value.code, refused.value.status) == (-1015, 429)


# Weights of exchanges.md 3.1 to 3.3.
WEIGHTS = [
    ("/fapi/v1/time", {}, 1),
    ("/fapi/v1/exchangeInfo", {}, 1),
    ("/fapi/v1/klines", {"interval": "1m", "limit": 99}, 1),
    ("/fapi/v1/klines", {"interval": "1m", "limit": 100}, 2),
    ("/fapi/v1/klines", {"interval": "1m"}, 5),
    ("/fapi/v1/klines", {"interval": "1m", "limit": 1000}, 5),
    ("/fapi/v1/klines", {"interval": "1m", "limit": 1001}, 10),
    ("/fapi/v1/depth", {"limit": 50}, 2),
    ("/fapi/v1/depth", {"limit": 100}, 5),
    ("/fapi/v1/depth", {"limit": 500}, 10),
    ("/fapi/v1/depth", {"limit": 1000}, 20),
    ("/fapi/v1/aggTrades", {}, 20),
    ("/fapi/v1/trades", {}, 5),
    ("/fapi/v1/premiumIndex", {}, 1),
    ("/fapi/v1/ticker/24hr", {}, 1),
]


@pytest.mark.parametrize(("path", "params", "weight"), WEIGHTS)
async def test_the_header_tells_the_weight(
    door: Loopback, path: str, params: dict[str, object], weight: int
) -> None:
    query = "&".join(f"{name}={value}" for name, value in {"symbol": SYMBOL, **params}.items())
    answer = await door.send("GET", path, query)
    assert answer.status == 200
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


@pytest.mark.parametrize(
    ("path", "weight"),
    [
        ("/fapi/v1/premiumIndex", 10),
        ("/fapi/v1/ticker/24hr", 40),
        ("/fapi/v1/ticker/price", 2),
        ("/fapi/v1/ticker/bookTicker", 5),
    ],
)
async def test_all_symbols_at_once_weigh_more(door: Loopback, path: str, weight: int) -> None:
    answer = await door.send("GET", path)
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


async def test_an_order_weighs_nothing_and_counts_as_one(door: Loopback) -> None:
    answer = await door.ask(
        "POST", "/fapi/v1/order", symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.010"
    )
    assert answer.status == 200
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "0"
    assert answer.headers["X-MBX-ORDER-COUNT-10S"] == "1"
    assert answer.headers["X-MBX-ORDER-COUNT-1M"] == "1"


async def test_429_then_418_on_the_wire() -> None:
    async with door_open(weight_limit=10) as door:
        for _ in range(10):
            assert (await door.send("GET", "/fapi/v1/ping")).status == 200
        answers = [await door.send("GET", "/fapi/v1/ping") for _ in range(TOLERATED + 1)]
        assert [each.status for each in answers] == [429] * TOLERATED + [418]
        assert all(int(each.headers["Retry-After"]) >= 1 for each in answers)
        assert all(each.body["code"] == -1003 for each in answers)
