"""The public endpoints: what order rows come in, how pages are turned, what is refused."""

import pytest
from tests.unit.emulator.builders import NOON_MS
from tests.unit.emulator.bybit.client import opened

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS
from perpdesk.emulator.bybit.errors import BybitError
from perpdesk.emulator.bybit.messages import page

BTC = {"symbol": "BTCUSDT"}


async def test_candles_come_newest_first_with_the_unfinished_one() -> None:
    async with opened() as client:
        client.world.advance(90_000)
        rows = await client.rows("market/kline", **BTC, interval="1", limit=3)
        times = [int(row[0]) for row in rows]
        assert times == [NOON_MS + MINUTE_MS, NOON_MS, NOON_MS - MINUTE_MS]
        assert [len(row) for row in rows] == [7, 7, 7]


@pytest.mark.parametrize(
    "path", ["mark-price-kline", "index-price-kline", "premium-index-price-kline"]
)
async def test_candles_without_volume_have_five_fields(path: str) -> None:
    async with opened() as client:
        rows = await client.rows(f"market/{path}", **BTC, interval="60", limit=5)
        assert [len(row) for row in rows] == [5] * 5
        assert [int(row[0]) for row in rows] == sorted((int(row[0]) for row in rows), reverse=True)


async def test_from_a_start_candles_go_forward_and_to_an_end_backward() -> None:
    async with opened() as client:
        start = NOON_MS - 10 * HOUR_MS
        rows = await client.rows("market/kline", **BTC, interval="60", start=start, limit=3)
        assert [int(row[0]) for row in rows] == [start + n * HOUR_MS for n in (2, 1, 0)]
        rows = await client.rows(
            "market/kline", **BTC, interval="60", start=start, end=NOON_MS - HOUR_MS, limit=2
        )
        assert [int(row[0]) for row in rows] == [NOON_MS - n * HOUR_MS for n in (1, 2)]


async def test_minutes_add_up_to_the_hour() -> None:
    async with opened() as client:
        minutes = await client.rows(
            "market/kline", **BTC, interval="1", start=NOON_MS - HOUR_MS, end=NOON_MS - 1
        )
        (hour,) = await client.rows(
            "market/kline", **BTC, interval="60", start=NOON_MS - HOUR_MS, end=NOON_MS - 1
        )
        assert len(minutes) == 60
        assert float(hour[2]) == max(float(row[2]) for row in minutes)
        assert float(hour[3]) == min(float(row[3]) for row in minutes)
        assert (hour[1], hour[4]) == (minutes[-1][1], minutes[0][4])
        assert float(hour[5]) == pytest.approx(sum(float(row[5]) for row in minutes))


async def test_funding_history_comes_newest_first_and_needs_an_end_for_its_start() -> None:
    async with opened() as client:
        rows = await client.rows("market/funding/history", **BTC)
        times = [int(row["fundingRateTimestamp"]) for row in rows]
        assert times == [NOON_MS - n * HOUR_MS for n in (4, 12, 20, 28)]
        alone = await client.get("market/funding/history", **BTC, startTime=times[-1])
        assert alone["retCode"] == 10001
        both = await client.rows(
            "market/funding/history", **BTC, startTime=times[-1], endTime=times[-2]
        )
        assert [int(row["fundingRateTimestamp"]) for row in both] == times[-2:]


async def test_open_interest_is_paged_by_a_cursor_that_may_come_back_encoded_once_more() -> None:
    async with opened() as client:
        whole = await client.rows("market/open-interest", **BTC, intervalTime="1h", limit=6)
        ask = {**BTC, "intervalTime": "1h", "limit": 3}
        first = (await client.get("market/open-interest", **ask))["result"]
        cursor = first["nextPageCursor"]
        for sent in (cursor, cursor.replace("%", "%25")):
            second = await client.rows("market/open-interest", **ask, cursor=sent)
            assert first["list"] + second == whole


async def test_instruments_are_paged() -> None:
    async with opened() as client:
        first = (await client.get("market/instruments-info", limit=1))["result"]
        cursor = first["nextPageCursor"]
        second = (await client.get("market/instruments-info", limit=1, cursor=cursor))["result"]
        symbols = [page["list"][0]["symbol"] for page in (first, second)]
        assert symbols == ["BTCUSDT", "ETHUSDT"]
        assert second["nextPageCursor"] == ""


async def test_the_funding_interval_is_told_in_minutes() -> None:
    async with opened() as client:
        (rules,) = await client.rows("market/instruments-info", **BTC)
        assert rules["fundingInterval"] == 480
        assert rules["lotSizeFilter"]["qtyStep"] == "0.001"


async def test_the_lowest_risk_limit_has_no_deduction() -> None:
    async with opened() as client:
        first, second, *_ = await client.rows("market/risk-limit", **BTC)
        assert (first["isLowestRisk"], first["mmDeduction"]) == (1, "")
        # The caps and rates of a public capture of 2026-08-05: reference/exchanges.md 6.3.
        assert second["isLowestRisk"] == 0
        assert float(second["mmDeduction"]) == pytest.approx(
            float(first["riskLimitValue"])
            * (float(second["maintenanceMargin"]) - float(first["maintenanceMargin"]))
        )


@pytest.mark.parametrize("category", ["spot", "inverse", "option", ""])
async def test_other_categories_are_refused_in_words(category: str) -> None:
    async with opened() as client:
        answer = await client.get("market/tickers", category=category)
        assert answer["retCode"] == 10001
        assert "linear" in answer["retMsg"]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("market/kline", {"symbol": "NOPE", "interval": "1"}),
        ("market/kline", {"symbol": "BTCUSDT", "interval": "7"}),
        ("market/kline", {"symbol": "BTCUSDT", "interval": "1", "limit": "many"}),
        ("market/open-interest", {"symbol": "BTCUSDT", "intervalTime": "2h"}),
        ("market/instruments-info", {"cursor": "xyz"}),
    ],
)
async def test_wrong_parameters_are_refused(path: str, params: dict[str, str]) -> None:
    async with opened() as client:
        assert (await client.get(path, **params))["retCode"] == 10001


async def test_the_ticker_agrees_with_the_book_and_the_candles() -> None:
    async with opened() as client:
        client.world.advance(30_000)
        (ticker,) = await client.rows("market/tickers", **BTC)
        book = (await client.get("market/orderbook", **BTC, limit=1))["result"]
        assert book["b"] == [[ticker["bid1Price"], ticker["bid1Size"]]]
        assert book["a"] == [[ticker["ask1Price"], ticker["ask1Size"]]]
        day = await client.rows(
            "market/kline",
            **BTC,
            interval="1",
            limit=1000,
            start=NOON_MS - 1000 * MINUTE_MS,
            end=NOON_MS,
        )
        assert ticker["lastPrice"] == day[0][4]
        assert float(ticker["highPrice24h"]) >= max(float(row[2]) for row in day)


async def test_trades_come_newest_first_and_make_the_candle() -> None:
    async with opened() as client:
        client.world.advance(MINUTE_MS)
        trades = await client.rows("market/recent-trade", **BTC, limit=12)
        assert [int(row["time"]) for row in trades] == sorted(
            (int(row["time"]) for row in trades), reverse=True
        )
        minute = (await client.rows("market/kline", **BTC, interval="1", limit=1))[0]
        assert int(minute[0]) == NOON_MS
        assert float(minute[5]) == pytest.approx(sum(float(row["size"]) for row in trades))


async def test_price_limits_lie_on_both_sides_of_the_mark() -> None:
    async with opened() as client:
        limits = (await client.get("market/price-limit", **BTC))["result"]
        (ticker,) = await client.rows("market/tickers", **BTC)
        mark = float(ticker["markPrice"])
        assert float(limits["sellLmt"]) < mark < float(limits["buyLmt"])


async def test_insurance_is_told_by_coin() -> None:
    async with opened() as client:
        assert [row["coin"] for row in await client.rows("market/insurance")] == ["USDT"]


def test_fifteen_symbols_make_a_page_and_the_rest_the_next() -> None:
    rows = list(range(20))
    first, cursor = page(rows, {}, 15)
    assert (first, cursor) == (rows[:15], "15%3A15%2C15%3A15")
    assert page(rows, {"cursor": cursor}, 15) == (rows[15:], "")
    with pytest.raises(BybitError, match="cursor"):
        page(rows, {"cursor": "abc"}, 15)
