"""The account: every page of it, in words that add up."""

from decimal import Decimal

import pytest
from tests.unit.venues.bybit.rows import execution_row, order_row, position_row
from tests.unit.venues.bybit.scripted_venue import (
    ScriptedVenue,
    envelope,
    listing,
)

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import DAY_MS
from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.order import (
    OrderType,
)
from perpdesk.domain.venue_reports import FillCause, IncomeKind, PositionMode
from perpdesk.venues.bybit.connect import BybitVenue

D = Decimal


async def test_open_orders_come_from_every_page(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    stop = order_row(
        orderId="o-2",
        orderType="Market",
        side="Sell",
        stopOrderType="Stop",
        triggerDirection=2,
        triggerPrice="90",
        orderStatus="Untriggered",
        timeInForce="IOC",
    )
    venue.answer("/v5/order/realtime", listing(order_row(), nextPageCursor="p%3D2"), listing(stop))
    first, second = await bybit.trading.open_orders()
    assert (first.type, second.type) == (OrderType.LIMIT, OrderType.STOP_MARKET)
    assert second.trigger_price == D(90)
    assert venue.requests[1].query["cursor"] == "p=2"
    assert all(venue.signatures)


async def test_fills_older_than_a_week_come_by_windows(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    bust = execution_row("t-1", execType="BustTrade", orderLinkId="", execTime="5")
    funding = execution_row("f-1", execType="Funding")
    venue.answer("/v5/execution/list", listing(execution_row("t-2", execTime="9"), bust, funding))
    since_ms = bybit.clock.now_ms() - 10 * DAY_MS
    fills = await bybit.trading.fills("BTCUSDT", since_ms)
    assert [(one.trade_id, one.cause) for one in fills] == [
        ("t-1", FillCause.LIQUIDATION),
        ("t-2", FillCause.ORDER),
    ]
    spans = [
        int(one.query["endTime"]) - int(one.query["startTime"])
        for one in venue.received("/v5/execution/list")
    ]
    assert len(spans) == 2
    assert spans[0] == 7 * DAY_MS - 1


async def test_income_splits_a_trade_into_profit_and_fee(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    row = {"id": "1", "symbol": "BTCUSDT", "type": "TRADE", "currency": "USDT", "tradeId": "t-1"}
    row |= {"transactionTime": "5", "cashFlow": "12.5", "fee": "0.5", "funding": "", "change": "12"}
    venue.answer("/v5/account/transaction-log", listing(row))
    reports = await bybit.trading.income(bybit.clock.now_ms() - 1_000)
    assert [(one.kind, one.amount) for one in reports] == [
        (IncomeKind.REALIZED_PNL, D("12.5")),
        (IncomeKind.FEE, D("-0.5")),
    ]


async def test_cross_margin_tells_what_the_account_has_free(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/account/info", envelope({"marginMode": "REGULAR_MARGIN"}))
    coins = [{"coin": "USDT", "walletBalance": "50"}, {"coin": "BTC", "walletBalance": "1"}]
    account = {"totalAvailableBalance": "70", "coin": coins}
    venue.answer("/v5/account/wallet-balance", listing(account))
    usdt, btc = await bybit.trading.balances()
    assert (usdt.wallet, usdt.available) == (D(50), D(70))
    assert (btc.wallet, btc.available) == (D(1), None)


async def test_settings_are_read_and_not_assumed(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/account/info", envelope({"marginMode": "ISOLATED_MARGIN"}))
    flat = position_row(side="", size="0", leverage="25")
    venue.answer("/v5/position/list", listing(flat), listing({**flat, "positionIdx": 1}))
    found = await bybit.trading.settings("BTCUSDT")
    assert (found.leverage, found.margin_mode) == (D(25), MarginMode.ISOLATED)
    assert found.position_mode is PositionMode.ONE_WAY
    assert (await bybit.trading.settings("BTCUSDT")).position_mode is PositionMode.HEDGE


async def test_hedged_position_is_refused_in_words(venue: ScriptedVenue, bybit: BybitVenue) -> None:
    venue.answer("/v5/account/info", envelope({"marginMode": "ISOLATED_MARGIN"}))
    venue.answer("/v5/position/list", listing(position_row(positionIdx=2)))
    with pytest.raises(VenueRejected, match="hedge mode"):
        await bybit.trading.positions()


async def test_portfolio_margin_is_refused_in_words(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/account/info", envelope({"marginMode": "PORTFOLIO_MARGIN"}))
    with pytest.raises(VenueRejected, match="portfolio margin"):
        await bybit.trading.balances()


async def test_settings_that_are_so_already_are_success(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    venue.answer("/v5/position/set-leverage", envelope(code=110043, message="not modified"))
    venue.answer("/v5/position/switch-mode", envelope(code=110025, message="not modified"))
    venue.answer("/v5/account/set-margin-mode", envelope(code=110026, message="not modified"))
    await bybit.trading.set_leverage("BTCUSDT", D("10.00"))
    await bybit.trading.set_position_mode(PositionMode.ONE_WAY)
    await bybit.trading.set_margin_mode("BTCUSDT", MarginMode.CROSS)
    leverage, mode, margin = (request.json for request in venue.requests)
    assert (leverage["buyLeverage"], leverage["sellLeverage"]) == ("10", "10")
    assert (mode["coin"], mode["mode"]) == ("USDT", 0)
    assert margin == {"setMarginMode": "REGULAR_MARGIN"}


async def test_refused_margin_mode_tells_bybits_reasons(
    venue: ScriptedVenue, bybit: BybitVenue
) -> None:
    reasons = {"reasons": [{"reasonCode": "1", "reasonMsg": "You have open positions"}]}
    venue.answer("/v5/account/set-margin-mode", envelope(reasons, code=3400045, message="failed"))
    with pytest.raises(VenueRejected, match="You have open positions"):
        await bybit.trading.set_margin_mode("BTCUSDT", MarginMode.CROSS)


@pytest.mark.parametrize(
    ("read_only", "wallet", "expected"),
    [
        (0, ["AccountTransfer", "Withdraw"], (True, True, True)),
        (0, ["AccountTransfer"], (True, False, True)),
        (0, [], (True, False, False)),
        (1, ["Withdraw"], (False, False, False)),
    ],
)
async def test_key_may_do_what_bybit_says(
    venue: ScriptedVenue,
    bybit: BybitVenue,
    read_only: int,
    wallet: list[str],
    expected: tuple[bool, bool, bool],
) -> None:
    granted = {"ContractTrade": ["Order", "Position"], "Wallet": wallet}
    key = {"readOnly": read_only, "permissions": granted, "ips": ["*"]}
    key["expiredAt"] = "2026-12-01T00:00:00Z"
    venue.answer("/v5/user/query-api", envelope(key))
    found = await bybit.trading.permissions()
    assert (found.can_trade, found.can_withdraw, found.can_transfer) == expected
    assert not found.ip_restricted
    assert found.expires_ms == 1796083200000
