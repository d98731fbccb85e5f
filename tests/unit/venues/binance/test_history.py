"""Recorded data by REST: windows, order, and nothing that is not closed yet."""

from typing import Any

import pytest
from tests.unit.venues.binance.scripted_binance import ScriptedBinance

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, DataKind, Timeframe
from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.ports import HistorySource, ReferenceSource, Streams, TradingVenue
from perpdesk.venues.binance.venue import BinanceVenue, connect

MINUTE = Timeframe.parse("1m")
BEGIN_MS = 1_700_000_040_000
KLINES, MARKS = "GET fapi/v1/klines", "GET fapi/v1/markPriceKlines"


def row(open_ms: int, close: str = "100.5") -> list[Any]:
    return [open_ms, "100", "101", "99", close, "7", open_ms + MINUTE_MS - 1, "0", 1, "0", "0", "0"]


async def test_every_port_is_implemented(binance: BinanceVenue) -> None:
    ports: tuple[ReferenceSource, HistorySource, TradingVenue, Streams] = (
        binance.reference,
        binance.history,
        binance.trading,
        binance.streams,
    )
    assert len(ports) == 4


async def test_a_window_of_candles_is_one_request_and_comes_sorted(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(KLINES, [row(BEGIN_MS + MINUTE_MS), row(BEGIN_MS), row(BEGIN_MS + 2 * MINUTE_MS)])
    end_ms = BEGIN_MS + 2 * MINUTE_MS
    candles = await binance.history.candles("BTCUSDT", MINUTE, DataKind.CANDLES, BEGIN_MS, end_ms)
    assert candles.ts_ms.tolist() == [BEGIN_MS, BEGIN_MS + MINUTE_MS]
    assert (candles.high[0], candles.volume[0]) == (101.0, 7.0)
    (seen,) = venue.calls(KLINES)
    assert seen.parameters == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": str(BEGIN_MS),
        "endTime": str(end_ms - 1),
        "limit": "2",
    }
    assert not seen.is_signed


async def test_a_candle_that_is_not_closed_by_the_venues_clock_is_left_out(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    now_ms = binance.clock.now_ms()
    current = MINUTE.floor(now_ms)
    venue.on(KLINES, [row(current - MINUTE_MS), row(current)])
    candles = await binance.history.candles(
        "BTCUSDT", MINUTE, DataKind.CANDLES, current - MINUTE_MS, current + MINUTE_MS
    )
    assert candles.ts_ms.tolist() in ([current - MINUTE_MS], [current - MINUTE_MS, current])
    assert len(candles) == 1 or binance.clock.now_ms() >= current + MINUTE_MS


async def test_a_candle_that_closed_since_our_clock_was_measured_is_not_withheld(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    current = MINUTE.floor(binance.clock.now_ms())
    venue.lead_ms = HOUR_MS
    venue.on(KLINES, [row(current)])
    candles = await binance.history.candles(
        "BTCUSDT", MINUTE, DataKind.CANDLES, current, current + MINUTE_MS
    )
    assert candles.ts_ms.tolist() == [current]


async def test_mark_candles_are_asked_of_their_own_path(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(MARKS, [row(BEGIN_MS)])
    candles = await binance.history.candles(
        "BTCUSDT", MINUTE, DataKind.MARK, BEGIN_MS, BEGIN_MS + MINUTE_MS
    )
    assert candles.close.tolist() == [100.5]


async def test_a_longer_window_is_read_page_by_page(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        KLINES,
        lambda sent: [
            row(open_ms)
            for open_ms in range(int(sent["startTime"]), int(sent["endTime"]) + 1, MINUTE_MS)
        ],
    )
    count = 2 * binance.history.page_rows(DataKind.CANDLES) + 3
    candles = await binance.history.candles(
        "BTCUSDT", MINUTE, DataKind.CANDLES, BEGIN_MS, BEGIN_MS + count * MINUTE_MS
    )
    assert len(candles) == count
    assert [seen.parameters["limit"] for seen in venue.calls(KLINES)] == ["499", "499", "3"]


async def test_an_empty_window_is_no_candles(venue: ScriptedBinance, binance: BinanceVenue) -> None:
    venue.on(KLINES, [])
    candles = await binance.history.candles(
        "BTCUSDT", MINUTE, DataKind.CANDLES, BEGIN_MS, BEGIN_MS + MINUTE_MS
    )
    assert len(candles) == 0
    assert candles.open.dtype == "float64"


async def test_a_timeframe_that_binance_has_not_is_refused_before_it_is_sent(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    with pytest.raises(UsageRefused, match="10m"):
        await binance.history.candles(
            "BTCUSDT", Timeframe.parse("10m"), DataKind.CANDLES, BEGIN_MS, BEGIN_MS + HOUR_MS
        )
    assert not venue.calls(KLINES)


async def test_the_first_candle_dates_a_symbol(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(KLINES, [row(BEGIN_MS)])
    assert await binance.history.first_ms("BTCUSDT") == BEGIN_MS
    assert venue.calls(KLINES)[0].parameters["startTime"] == "0"


async def test_funding_is_paged_and_keeps_its_times(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    def funding(number: int) -> dict[str, Any]:
        return {
            "symbol": "BTCUSDT",
            "fundingTime": BEGIN_MS + number * HOUR_MS + 3,
            "fundingRate": "0.0001",
            "markPrice": "60000" if number else "",
        }

    venue.on(
        "GET fapi/v1/fundingRate", [funding(number) for number in range(1000)], [funding(1000)]
    )
    rates = await binance.history.funding("BTCUSDT", BEGIN_MS, BEGIN_MS + 2000 * HOUR_MS)
    assert len(rates) == 1001
    assert rates.ts_ms[0] == BEGIN_MS + 3
    assert rates.mark_price[0] != rates.mark_price[0]
    assert rates.mark_price[1] == 60000.0


async def test_open_interest_is_in_base_currency(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "GET futures/data/openInterestHist",
        [{"symbol": "X", "sumOpenInterest": "20403.637", "timestamp": str(BEGIN_MS)}],
    )
    found = await binance.history.open_interest(
        "BTCUSDT", Timeframe.parse("5m"), BEGIN_MS, BEGIN_MS + HOUR_MS
    )
    assert (found.ts_ms.tolist(), found.open_interest.tolist()) == ([BEGIN_MS], [20403.637])


async def test_trades_of_a_long_window_are_led_on_by_their_ids(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    def trade(number: int, ts_ms: int) -> dict[str, Any]:
        return {"a": number, "p": "1.5", "q": "2", "f": 1, "l": 1, "T": ts_ms, "m": True}

    first = [trade(number, BEGIN_MS + number) for number in range(1000)]
    second = [trade(1000, BEGIN_MS + 2 * HOUR_MS), trade(1001, BEGIN_MS + 9 * HOUR_MS)]
    venue.on("GET fapi/v1/aggTrades", first, second)
    found = await binance.history.trades("BTCUSDT", BEGIN_MS, BEGIN_MS + 3 * HOUR_MS)
    assert found.trade_id.tolist() == list(range(1001))
    windowed, by_id = (seen.parameters for seen in venue.calls("GET fapi/v1/aggTrades"))
    assert int(windowed["endTime"]) - int(windowed["startTime"]) < HOUR_MS
    assert by_id["fromId"] == "1000"
    assert "startTime" not in by_id


# Reference.


EXCHANGE_INFO = {
    "serverTime": 1,
    "symbols": [
        {
            "symbol": name,
            "contractType": kind,
            "status": status,
            "quoteAsset": quote,
            "marginAsset": quote,
        }
        for name, kind, status, quote in (
            ("BTCUSDT", "PERPETUAL", "TRADING", "USDT"),
            ("OLDUSDT", "PERPETUAL", "SETTLING", "USDT"),
            ("BTCUSDC", "PERPETUAL", "TRADING", "USDC"),
            ("BTCUSDT_261225", "CURRENT_QUARTER", "TRADING", "USDT"),
        )
    ],
}


def script_reference(venue: ScriptedBinance) -> None:
    venue.on("GET fapi/v1/exchangeInfo", EXCHANGE_INFO)
    venue.on("GET fapi/v1/fundingInfo", [])
    venue.on("GET fapi/v1/leverageBracket", [{"symbol": "BTCUSDT", "brackets": []}])
    venue.on("GET fapi/v1/commissionRate", {"symbol": "BTCUSDT", "takerCommissionRate": "0.0005"})


async def test_only_linear_usdt_perpetuals_that_trade_are_symbols(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    script_reference(venue)
    assert await binance.reference.symbols() == ("BTCUSDT",)


async def test_reference_answers_are_handed_on_as_received(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    script_reference(venue)
    answers = await binance.reference.reference(["BTCUSDT"])
    assert [one.name for one in answers] == [
        "exchangeInfo",
        "fundingInfo",
        "leverageBracket",
        "commissionRate",
    ]
    assert answers[0].answer == EXCHANGE_INFO


async def test_without_a_key_there_are_rules_but_no_tiers(venue: ScriptedBinance) -> None:
    script_reference(venue)
    adapter = await connect(venue.endpoints, None)
    answers = await adapter.reference.reference(["BTCUSDT"])
    await adapter.close()
    assert [one.name for one in answers] == ["exchangeInfo", "fundingInfo"]


async def test_reference_of_a_misspelled_symbol_suggests_the_nearest(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    script_reference(venue)
    with pytest.raises(VenueRejected) as caught:
        await binance.reference.reference(["BTCUSTD"])
    assert "BTCUSDT" in caught.value.next_step
