"""History and reference data: whole, ascending, closed; and words for what is wrong."""

import math
from typing import Any

import pytest
from tests.unit.venues.bybit.scripted_venue import (
    NOW_MS,
    Request,
    ScriptedVenue,
    connected,
    envelope,
    listing,
)

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, DataKind, Timeframe, Venue
from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.ports import HistorySource, ReferenceSource
from perpdesk.venues.bybit.connect import BybitVenue
from perpdesk.venues.bybit.market_wire import trade_number

ONE = Timeframe.parse("1m")
START = ONE.floor(NOW_MS) - 10 * MINUTE_MS
INSTRUMENTS = "/v5/market/instruments-info"


def instrument(symbol: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"symbol": symbol, "contractType": "LinearPerpetual"}
    row |= {"settleCoin": "USDT", "status": "Trading", "launchTime": "1585526400000"}
    return row | changes


def kline(ts_ms: int) -> list[str]:
    return [str(ts_ms), "1", "4", "0.5", "2", "9", "18"]


def test_they_are_the_ports(bybit: BybitVenue) -> None:
    history: HistorySource = bybit.history
    reference: ReferenceSource = bybit.reference
    assert history.venue is reference.venue is Venue.BYBIT


async def test_candles_ascend_and_the_unfinished_one_is_left_out(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    open_ms = ONE.floor(NOW_MS)
    rows = [kline(open_ms - step * MINUTE_MS) for step in range(3)]  # newest first
    venue.answer("/v5/market/kline", listing(*rows))
    found = await bybit.history.candles(
        "BTCUSDT", ONE, DataKind.CANDLES, START, open_ms + MINUTE_MS
    )
    assert [int(ts) for ts in found.ts_ms] == [open_ms - 2 * MINUTE_MS, open_ms - MINUTE_MS]
    assert (found.open[0], found.high[0], found.low[0], found.close[0], found.volume[0]) == (
        1.0,
        4.0,
        0.5,
        2.0,
        9.0,
    )
    query = venue.requests[0].query
    assert (query["interval"], query["limit"]) == ("1", "1000")
    assert int(query["end"]) == open_ms + MINUTE_MS - 1


async def test_mark_candles_have_no_volume(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/market/mark-price-kline", listing(kline(START)[:5]))
    found = await bybit.history.candles("BTCUSDT", ONE, DataKind.MARK, START, START + MINUTE_MS)
    assert list(found.volume) == [0.0]


async def test_window_without_candles_is_empty(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/market/kline", listing())
    found = await bybit.history.candles("BTCUSDT", ONE, DataKind.CANDLES, START, NOW_MS)
    assert len(found) == len(found.volume) == 0


async def test_timeframe_that_bybit_does_not_know_is_refused(bybit: BybitVenue) -> None:
    with pytest.raises(UsageRefused, match="no candles of 8h"):
        await bybit.history.candles("BTCUSDT", Timeframe.parse("8h"), DataKind.CANDLES, 0, 1)


async def test_funding_is_read_back_page_by_page(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    times = [START + n * HOUR_MS for n in range(250)]

    def page(request: Request) -> dict[str, Any]:
        low, high = int(request.query["startTime"]), int(request.query["endTime"])
        inside = sorted((ts for ts in times if low <= ts <= high), reverse=True)[:200]
        return listing(
            *({"fundingRateTimestamp": str(ts), "fundingRate": "0.0001"} for ts in inside)
        )

    venue.answer("/v5/market/funding/history", page)
    found = await bybit.history.funding("BTCUSDT", START, times[-1] + 1)
    assert [int(ts) for ts in found.ts_ms] == times
    assert math.isnan(found.mark_price[0])
    assert len(venue.requests) == 2


async def test_open_interest_comes_from_every_page(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    first = listing({"timestamp": str(START + HOUR_MS), "openInterest": "7"}, nextPageCursor="c")
    second = listing({"timestamp": str(START), "openInterest": "5"})
    venue.answer("/v5/market/open-interest", first, second)
    hour = Timeframe.parse("1h")
    found = await bybit.history.open_interest("BTCUSDT", hour, START, START + 2 * HOUR_MS)
    assert list(found.open_interest) == [5.0, 7.0]
    assert venue.requests[0].query["intervalTime"] == "1h"


async def test_trades_go_as_far_back_as_bybit_keeps_them(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    common = {"symbol": "BTCUSDT", "price": "100", "size": "1"}
    venue.answer(
        "/v5/market/recent-trade",
        listing(
            {
                **common,
                "execId": "a5b0c1d2-0000-4000-8000-02",
                "side": "Buy",
                "time": "9",
            },
            {**common, "execId": "17", "side": "Sell", "time": "8"},
            {**common, "execId": "16", "side": "Sell", "time": "3"},
        ),
    )
    found = await bybit.history.trades("BTCUSDT", 5, 10)
    assert [int(ts) for ts in found.ts_ms] == [8, 9]
    assert list(found.is_buyer_maker) == [True, False]
    assert int(found.trade_id[0]) == 17


def test_trade_numbers_of_uuids_are_positive_and_stay_the_same() -> None:
    name = "20f43950-d8dd-5b31-9112-a178eb6023af"
    assert 0 < trade_number(name) < 2**63
    assert trade_number(name) == trade_number(name) != trade_number(name.replace("2", "3"))


async def test_listing_time_of_an_unknown_symbol_names_the_nearest(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(INSTRUMENTS, listing(instrument("BTCUSDT"), instrument("ETHUSDT")))
    assert await bybit.history.first_ms("BTCUSDT") == 1585526400000
    with pytest.raises(VenueRejected) as caught:
        await bybit.history.first_ms("BTCUSD")
    assert caught.value.next_step == "Did you mean BTCUSDT?"


async def test_refused_symbol_names_the_nearest(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/market/kline", envelope(code=10001, message="Not supported symbols"))
    venue.answer(INSTRUMENTS, listing(instrument("BTCUSDT")))
    with pytest.raises(VenueRejected) as caught:
        await bybit.history.candles("BTCUSTD", ONE, DataKind.CANDLES, START, NOW_MS)
    assert caught.value.next_step == "Did you mean BTCUSDT?"


async def test_symbols_are_those_that_trade_in_usdt(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(
        INSTRUMENTS,
        listing(
            instrument("ETHUSDT"),
            instrument("BIOUSDT", status="PreLaunch"),
            instrument("BTCPERP", settleCoin="USDC"),
            nextPageCursor="next",
        ),
        listing(instrument("BTC-27MAR26", contractType="LinearFutures"), instrument("BTCUSDT")),
    )
    assert await bybit.reference.symbols() == ("BTCUSDT", "ETHUSDT")


async def test_reference_hands_on_bybits_own_words_for_the_symbols(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    both = [instrument("BTCUSDT", futureField="kept"), instrument("ETHUSDT")]
    venue.answer(INSTRUMENTS, listing(*both))
    tier = {"symbol": "BTCUSDT", "riskLimitValue": "2000000"}
    venue.answer("/v5/market/risk-limit", listing(tier))
    fees = [{"symbol": one, "takerFeeRate": "0.0005"} for one in ("BTCUSDT", "ETHUSDT")]
    venue.answer("/v5/account/fee-rate", listing(*fees))
    answers = await bybit.reference.reference(["BTCUSDT"])
    assert [one.name for one in answers] == ["instruments-info", "risk-limit", "fee-rate"]
    assert all(one.observed_ms == NOW_MS for one in answers)
    told: list[Any] = [one.answer for one in answers]
    assert told[0]["result"]["list"] == [both[0]]
    assert told[0]["retCode"] == 0
    assert told[1]["result"]["list"] == [tier]
    assert told[2]["result"]["list"] == [fees[0]]


async def test_without_a_key_there_are_no_fee_rates(venue: ScriptedVenue) -> None:
    venue.answer(INSTRUMENTS, listing(instrument("BTCUSDT")))
    venue.answer("/v5/market/risk-limit", listing())
    async with connected(venue, credentials=None) as public:
        answers = await public.reference.reference(["BTCUSDT"])
    assert [one.name for one in answers] == ["instruments-info", "risk-limit"]


async def test_reference_of_a_typo_names_the_nearest(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer(INSTRUMENTS, listing(instrument("BTCUSDT")))
    with pytest.raises(VenueRejected) as caught:
        await bybit.reference.reference(["BTCUSDTT"])
    assert caught.value.next_step == "Did you mean BTCUSDT?"
