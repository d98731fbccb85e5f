"""The account by REST: nothing missing, nothing twice, settings read and set."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.venues.binance.messages import order, refusal
from tests.unit.venues.binance.scripted_binance import ScriptedBinance

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import DAY_MS
from perpdesk.domain.errors import Denied, VenueRejected
from perpdesk.domain.venue_reports import AccountSettings, PositionMode
from perpdesk.venues.binance.venue import BinanceVenue

TRADES, INCOME = "GET fapi/v1/userTrades", "GET fapi/v1/income"


def trade(number: int, ts_ms: int, order_id: int = 22542179) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "id": number,
        "orderId": order_id,
        "side": "BUY",
        "price": "60000",
        "qty": "0.001",
        "realizedPnl": "0",
        "commission": "0.012",
        "commissionAsset": "USDT",
        "maker": True,
        "time": ts_ms,
    }


async def test_flat_rows_are_no_positions(venue: ScriptedBinance, binance: BinanceVenue) -> None:
    flat = {"symbol": "ETHUSDT", "positionAmt": "0.000", "entryPrice": "0.0"}
    short = {"symbol": "BTCUSDT", "positionAmt": "-0.004", "entryPrice": "60000.0"}
    venue.on("GET fapi/v3/positionRisk", [flat, short])
    (found,) = await binance.trading.positions()
    assert (found.symbol, found.signed_quantity) == ("BTCUSDT", Decimal("-0.004"))


async def test_fills_are_paged_by_id_once_the_first_is_found(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    now_ms = binance.clock.now_ms()
    since_ms = now_ms - 10 * DAY_MS
    first = [trade(number, now_ms - 2 * DAY_MS) for number in range(1, 1001)]
    rest = [trade(number, now_ms - DAY_MS) for number in range(1001, 1004)]
    venue.on(TRADES, [], first, rest)
    venue.on("GET fapi/v1/order", order("desk-1"))
    fills = await binance.trading.fills("BTCUSDT", since_ms)
    assert [fill.trade_id for fill in fills] == [str(number) for number in range(1, 1004)]
    assert {fill.client_order_id for fill in fills} == {"desk-1"}
    asked = [seen.parameters for seen in venue.calls(TRADES)]
    assert int(asked[1]["startTime"]) - int(asked[0]["startTime"]) == 7 * DAY_MS
    assert asked[2]["fromId"] == "1001"
    assert len(venue.calls("GET fapi/v1/order")) == 1


async def test_a_fill_keeps_its_name_though_its_order_is_not_found_at_once(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    now_ms = hasty.clock.now_ms()
    venue.on(TRADES, [trade(1, now_ms)], [])
    venue.on("GET fapi/v1/order", refusal(-2013), order("desk-1"))
    (fill,) = await hasty.trading.fills("BTCUSDT", now_ms - 1_000)
    assert fill.client_order_id == "desk-1"


async def test_a_fill_of_an_order_that_binance_has_forgotten_has_no_name(
    venue: ScriptedBinance, hasty: BinanceVenue
) -> None:
    now_ms = hasty.clock.now_ms()
    venue.on(TRADES, [trade(1, now_ms)], [])
    venue.on("GET fapi/v1/order", refusal(-2013))
    (fill,) = await hasty.trading.fills("BTCUSDT", now_ms - 1_000)
    assert fill.client_order_id == ""


async def test_a_fill_of_the_venues_own_order_carries_no_client_id(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(TRADES, [trade(1, binance.clock.now_ms())])
    venue.on("GET fapi/v1/order", order("autoclose-1596107620040000020"))
    (fill,) = await binance.trading.fills("BTCUSDT", binance.clock.now_ms() - 1000)
    assert (fill.client_order_id, fill.cause.value) == ("", "LIQUIDATION")


async def test_income_pages_overlap_at_a_millisecond_and_repeat_nothing(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    now_ms = binance.clock.now_ms()

    def row(number: int, ts_ms: int) -> dict[str, Any]:
        return {
            "symbol": "BTCUSDT",
            "incomeType": "FUNDING_FEE",
            "income": "-0.1",
            "asset": "USDT",
            "info": "",
            "time": ts_ms,
            "tranId": number,
            "tradeId": "",
        }

    first = [row(number, now_ms - 5000 + number) for number in range(1000)]
    venue.on(INCOME, first, [first[-1], row(1000, now_ms - 4001)])
    found = await binance.trading.income(now_ms - DAY_MS)
    assert len(found) == 1001
    assert venue.calls(INCOME)[1].parameters["startTime"] == str(first[-1]["time"])


async def test_settings_are_read_never_assumed(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "GET fapi/v1/symbolConfig",
        [{"symbol": "BTCUSDT", "marginType": "ISOLATED", "leverage": 21}],
    )
    venue.on("GET fapi/v1/positionSide/dual", {"dualSidePosition": True})
    assert await binance.trading.settings("BTCUSDT") == AccountSettings(
        symbol="BTCUSDT",
        leverage=Decimal(21),
        margin_mode=MarginMode.ISOLATED,
        position_mode=PositionMode.HEDGE,
    )


async def test_what_is_so_already_counts_as_set(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("POST fapi/v1/marginType", refusal(-4046, "No need to change margin type."))
    venue.on("POST fapi/v1/positionSide/dual", refusal(-4059, "No need to change."))
    await binance.trading.set_margin_mode("BTCUSDT", MarginMode.CROSS)
    await binance.trading.set_position_mode(PositionMode.ONE_WAY)
    assert venue.calls("POST fapi/v1/marginType")[0].parameters["marginType"] == "CROSSED"
    (seen,) = venue.calls("POST fapi/v1/positionSide/dual")
    assert seen.parameters["dualSidePosition"] == "false"


async def test_a_setting_that_positions_forbid_is_refused(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on("POST fapi/v1/marginType", refusal(-4048))
    with pytest.raises(VenueRejected, match="open position"):
        await binance.trading.set_margin_mode("BTCUSDT", MarginMode.CROSS)


async def test_a_broken_leverage_is_denied_before_it_is_sent(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    with pytest.raises(Denied, match=r"2\.5"):
        await binance.trading.set_leverage("BTCUSDT", Decimal("2.5"))
    assert not venue.calls("POST fapi/v1/leverage")


async def test_permissions_that_are_not_named_are_not_given(
    venue: ScriptedBinance, binance: BinanceVenue
) -> None:
    venue.on(
        "GET sapi/v1/account/apiRestrictions",
        {"enableReading": True, "enableFutures": True, "ipRestrict": False},
    )
    found = await binance.trading.permissions()
    assert (found.can_read, found.can_trade, found.can_withdraw) == (True, True, False)
    assert not found.ip_restricted
