from decimal import Decimal

import pytest
from tests.unit.emulator.binance.loopback import SYMBOL, Loopback
from tests.unit.emulator.builders import NOON_MS

from perpdesk.domain.candles import DAY_MS, HOUR_MS, MINUTE_MS
from perpdesk.emulator.faults import Fault, FaultKind
from perpdesk.marketdata.sample import START_MS

KLINES = "/fapi/v1/klines"


async def test_candles_come_oldest_first_with_the_open_one_last(door: Loopback) -> None:
    door.world.advance(30_000)
    rows = await door.public(KLINES, symbol=SYMBOL, interval="1m", limit=3)
    assert [row[0] for row in rows] == [NOON_MS + step * MINUTE_MS for step in (-2, -1, 0)]
    assert rows[-1][6] == NOON_MS + MINUTE_MS - 1


async def test_candles_page_forward_without_gap_or_double(door: Loopback) -> None:
    found, start_ms = [], START_MS
    while True:
        rows = await door.public(
            KLINES, symbol=SYMBOL, interval="1m", startTime=start_ms, limit=1500
        )
        found += [row[0] for row in rows]
        if len(rows) < 1500:
            break
        start_ms = rows[-1][0] + 1
    assert found == list(range(START_MS, NOON_MS, MINUTE_MS))


async def test_candles_between_two_times_include_both_ends(door: Loopback) -> None:
    rows = await door.public(
        KLINES,
        symbol=SYMBOL,
        interval="5m",
        startTime=NOON_MS - 15 * MINUTE_MS,
        endTime=NOON_MS - 5 * MINUTE_MS,
    )
    assert [row[0] - NOON_MS for row in rows] == [-15 * MINUTE_MS, -10 * MINUTE_MS, -5 * MINUTE_MS]


async def test_a_start_between_candles_begins_with_the_next(door: Loopback) -> None:
    rows = await door.public(
        KLINES, symbol=SYMBOL, interval="5m", startTime=NOON_MS - 6 * MINUTE_MS, limit=1
    )
    assert rows[0][0] == NOON_MS - 5 * MINUTE_MS


async def test_an_hour_is_made_of_its_minutes(door: Loopback) -> None:
    span = {"symbol": SYMBOL, "startTime": NOON_MS - HOUR_MS, "endTime": NOON_MS - 1}
    (hour,) = await door.public(KLINES, interval="1h", **span)
    minutes = await door.public(KLINES, interval="1m", **span)
    assert hour[1] == minutes[0][1]
    assert Decimal(hour[2]) == max(Decimal(row[2]) for row in minutes)
    assert Decimal(hour[3]) == min(Decimal(row[3]) for row in minutes)
    assert hour[4] == minutes[-1][4]
    assert Decimal(hour[5]) == sum(Decimal(row[5]) for row in minutes)
    assert hour[8] == sum(row[8] for row in minutes)


async def test_mark_index_premium_and_continuous_candles_share_the_times(door: Loopback) -> None:
    span = {"interval": "1h", "limit": 5}
    last = await door.public(KLINES, symbol=SYMBOL, **span)
    mark = await door.public("/fapi/v1/markPriceKlines", symbol=SYMBOL, **span)
    index = await door.public("/fapi/v1/indexPriceKlines", pair=SYMBOL, **span)
    premium = await door.public("/fapi/v1/premiumIndexKlines", symbol=SYMBOL, **span)
    continuous = await door.public(
        "/fapi/v1/continuousKlines", pair=SYMBOL, contractType="PERPETUAL", **span
    )
    assert continuous == last
    assert index == mark
    times = [row[0] for row in last]
    assert [row[0] for row in mark] == [row[0] for row in premium] == times


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"symbol": "NOUSDT", "interval": "1m"}, -1121),
        ({"symbol": SYMBOL, "interval": "7m"}, -1120),
        ({"symbol": SYMBOL}, -1102),
        ({"interval": "1m"}, -1102),
        ({"symbol": SYMBOL, "interval": "1m", "limit": 1501}, -1130),
        ({"symbol": SYMBOL, "interval": "1m", "startTime": "soon"}, -1102),
    ],
)
async def test_a_wrong_question_has_its_code(
    door: Loopback, params: dict[str, object], code: int
) -> None:
    query = "&".join(f"{name}={value}" for name, value in params.items())
    answer = await door.send("GET", KLINES, query)
    assert (answer.status, answer.body["code"]) == (400, code)


async def test_an_unknown_path_is_not_found(door: Loopback) -> None:
    for path in ("/fapi/v1/nothing", "/fapi/v9/account", "/sapi/v1/nothing", "/api/v3/account"):
        answer = await door.send("GET", path)
        assert answer.status == 404
        assert answer.body == {"code": -5000, "msg": f"Path {path}, Method GET is invalid"}


async def test_aggregated_trades_page_by_id_and_by_an_hour_at_most(door: Loopback) -> None:
    path = "/fapi/v1/aggTrades"
    first = await door.public(path, symbol=SYMBOL, startTime=NOON_MS - HOUR_MS, limit=5)
    more = await door.public(path, symbol=SYMBOL, fromId=first[-1]["a"] + 1, limit=5)
    assert more[0]["a"] > first[-1]["a"]
    assert more[0]["T"] >= first[-1]["T"]
    answer = await door.send(
        "GET", path, f"symbol={SYMBOL}&startTime={NOON_MS - HOUR_MS - 1}&endTime={NOON_MS}"
    )
    assert answer.body["code"] == -1127


async def test_funding_is_ascending_and_only_near_its_time(door: Loopback) -> None:
    rows = await door.public("/fapi/v1/fundingRate", symbol=SYMBOL)
    times = [row["fundingTime"] for row in rows]
    assert times == sorted(times)
    assert [round(each / MINUTE_MS) * MINUTE_MS % (8 * HOUR_MS) for each in times] == [0] * len(
        times
    )
    assert len(times) >= 4
    later = await door.public(
        "/fapi/v1/fundingRate", symbol=SYMBOL, startTime=NOON_MS - DAY_MS, limit=1
    )
    assert len(later) == 1


async def test_funding_windows_go_by_the_time_that_is_written_down(door: Loopback) -> None:
    first = (await door.public("/fapi/v1/fundingRate", symbol=SYMBOL))[0]
    written_ms = first["fundingTime"]
    for start_ms, end_ms, found in (
        (written_ms, written_ms, [first]),
        (written_ms + 1, written_ms + MINUTE_MS, []),
        (written_ms - MINUTE_MS, written_ms - 1, []),
    ):
        rows = await door.public(
            "/fapi/v1/fundingRate", symbol=SYMBOL, startTime=start_ms, endTime=end_ms
        )
        assert rows == found


async def test_open_interest_history_lies_on_its_grid(door: Loopback) -> None:
    rows = await door.public("/futures/data/openInterestHist", symbol=SYMBOL, period="1h", limit=4)
    assert [row["timestamp"] for row in rows] == [NOON_MS - step * HOUR_MS for step in (3, 2, 1, 0)]


async def test_exchange_info_tells_the_rules(door: Loopback) -> None:
    info = await door.public("/fapi/v1/exchangeInfo")
    btc = next(row for row in info["symbols"] if row["symbol"] == SYMBOL)
    filters = {each["filterType"]: each for each in btc["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert filters["LOT_SIZE"]["stepSize"] == "0.001"
    assert filters["MIN_NOTIONAL"]["notional"] == "100"
    assert btc["pricePrecision"] == 2
    assert "STOP_MARKET" in btc["orderTypes"]
    assert "GTD" in btc["timeInForce"]
    assert {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1} | {
        "limit": 2400
    } in info["rateLimits"]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (FaultKind.RATE_LIMIT, 429, -1003),
        (FaultKind.BAN, 418, -1003),
        (FaultKind.UNKNOWN, 503, -1000),
        (FaultKind.SERVER_ERROR, 500, -1001),
        (FaultKind.MAINTENANCE, 503, -1000),
    ],
)
async def test_trouble_looks_as_the_venues(
    door: Loopback, kind: FaultKind, status: int, code: int
) -> None:
    door.world.faults.arm(Fault(kind=kind, left=1, value=2))
    answer = await door.send("GET", "/fapi/v1/ping")
    assert (answer.status, answer.body["code"]) == (status, code)
    if status in (418, 429):
        assert answer.headers["Retry-After"] == "2"


async def test_a_ban_ends_by_the_clock_that_the_venue_shows(door: Loopback) -> None:
    door.world.faults.arm(Fault(kind=FaultKind.BAN, left=1, value=2))
    answer = await door.send("GET", "/fapi/v1/ping")
    assert f"banned until {NOON_MS + 2_000}. " in answer.body["msg"]
