"""Positions: their stops, settings, funding, liquidation, and what they have brought."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.emulator.bybit.client import Client, opened

from perpdesk.domain.candles import HOUR_MS, MINUTE_MS, Venue

BTC = {"symbol": "BTCUSDT"}
D = Decimal


async def stop(client: Client, **params: Any) -> int:
    answer = await client.post("position/trading-stop", **BTC, positionIdx=0, **params)
    code: int = answer["retCode"]
    return code


async def stops(client: Client) -> dict[str, str]:
    rows = await client.rows("order/realtime", **BTC, orderFilter="tpslOrder")
    return {row["stopOrderType"]: row["triggerPrice"] for row in rows}


async def log(client: Client, **params: Any) -> list[Any]:
    return await client.rows("account/transaction-log", **params)


async def test_a_flat_symbol_has_a_row_by_symbol_and_none_by_coin() -> None:
    async with opened() as client:
        row = await client.position()
        assert (row["side"], row["size"]) == ("", "0")
        assert await client.rows("position/list", settleCoin="USDT") == []
        assert (await client.get("position/list"))["retCode"] == 10001


async def test_a_position_tells_margins_at_mark() -> None:
    async with opened() as client:
        await client.order("Buy", "0.1")
        row = await client.position()
        mark, entry = D(row["markPrice"]), D(row["avgPrice"])
        # Fee to close = Q·E·(1 - 1/L)·t: reference/exchanges.md 6.3; first tier, ten times.
        close = D("0.1") * entry * D("0.9") * D("0.00055")
        value = D("0.1") * mark
        assert D(row["positionIM"]) == pytest.approx(value / 10 + close, abs=D("1e-7"))
        assert D(row["positionMM"]) == pytest.approx(value * D("0.005") + close, abs=D("1e-7"))
        assert D(row["unrealisedPnl"]) == pytest.approx(D("0.1") * (mark - entry), abs=D("1e-7"))
        fee = D("0.1") * entry * D("0.00055")
        # (entry·qty - realised) / (qty - qty·0.00055): reference/exchanges.md 3b.2.
        expected = (entry * D("0.1") + fee) / (D("0.1") - D("0.1") * D("0.00055"))
        assert D(row["breakEvenPrice"]) == pytest.approx(expected, abs=D("1e-6"))


async def test_stops_of_a_position_are_set_changed_and_taken_off() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        high, low, lower = client.price(3), client.price(-3), client.price(-4)
        assert await stop(client, takeProfit=high, stopLoss=low) == 0
        assert await stops(client) == {"TakeProfit": high, "StopLoss": low}
        assert await stop(client, takeProfit=high, stopLoss=low) == 34040
        assert await stop(client, stopLoss=lower) == 0
        assert await stops(client) == {"TakeProfit": high, "StopLoss": lower}
        row = await client.position()
        assert (row["takeProfit"], row["stopLoss"]) == (high, lower)
        assert await stop(client, takeProfit="0") == 0
        assert await stops(client) == {"StopLoss": lower}
        assert await stop(client, takeProfit="0") == 34040


async def test_the_stop_of_a_position_may_watch_mark_instead() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        low = client.price(-3)
        assert await stop(client, stopLoss=low) == 0
        assert await stop(client, stopLoss=low, slTriggerBy="MarkPrice") == 0
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["triggerBy"], row["triggerPrice"]) == ("MarkPrice", low)


@pytest.mark.parametrize(("name", "offset_pct"), [("takeProfit", -1), ("stopLoss", 1)])
async def test_a_stop_on_the_wrong_side_is_refused(name: str, offset_pct: float) -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        assert await stop(client, **{name: client.price(offset_pct)}) == 10001
        assert await stops(client) == {}


async def test_a_flat_symbol_takes_no_stop() -> None:
    async with opened() as client:
        assert await stop(client, stopLoss="1000") == 10001


async def test_stops_that_come_with_an_order_are_set_when_it_fills() -> None:
    async with opened() as client:
        high, low = client.price(3), client.price(-3)
        await client.order("Buy", "0.01", takeProfit=high, stopLoss=low)
        assert await stops(client) == {"TakeProfit": high, "StopLoss": low}
        wrong = await client.order("Buy", "0.01", takeProfit=low)
        assert wrong["retCode"] == 10001


async def test_closing_the_position_takes_its_stops_along() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        await stop(client, takeProfit=client.price(3), stopLoss=client.price(-3))
        await client.order("Sell", "0.01", reduceOnly=True)
        assert await stops(client) == {}
        rows = await client.rows("order/history", **BTC, orderFilter="tpslOrder")
        assert {row["orderStatus"] for row in rows} == {"Deactivated"}
        assert {row["cancelType"] for row in rows} == {"CancelByTpSlTsClear"}


async def test_a_stop_loss_closes_the_position() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        await stop(client, stopLoss=client.price(-0.1), takeProfit=client.price(0.1))
        for _ in range(12 * 60):
            client.world.advance(MINUTE_MS)
            if (await client.position())["size"] == "0":
                break
        fills = await client.rows("execution/list", **BTC, execType="Trade")
        assert fills[0]["stopOrderType"] in ("StopLoss", "TakeProfit")
        assert fills[0]["createType"] in ("CreateByStopLoss", "CreateByTakeProfit")
        assert fills[0]["closedSize"] == "0.01"


async def test_a_trailing_stop_follows_at_a_distance_and_closes() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        assert await stop(client, trailingStop="60") == 0
        assert await stop(client, trailingStop="60") == 34040
        assert (await client.position())["trailingStop"] == "60"
        begun = D((await client.rows("market/tickers", **BTC))[0]["lastPrice"])
        for _ in range(12 * 60):
            client.world.advance(MINUTE_MS)
            if (await client.position())["size"] == "0":
                break
        (fill, _) = await client.rows("execution/list", **BTC, execType="Trade")
        assert fill["stopOrderType"] == "TrailingStop"
        rows = await client.rows(
            "market/kline",
            **BTC,
            interval="1",
            start=client.world.now_ms - 720 * MINUTE_MS,
            end=client.world.now_ms,
            limit=720,
        )
        assert D(fill["execPrice"]) <= max(D(row[2]) for row in rows) - D("55")
        assert D(fill["execPrice"]) >= begun - D("120")


async def test_a_trailing_stop_sleeps_until_its_activation_price() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        wake = client.price(1)
        assert await stop(client, trailingStop="50", activePrice=wake) == 0
        assert await stop(client, trailingStop="50", activePrice=client.price(-1)) == 10001
        assert (await client.position())["trailingStop"] == "50"


async def test_a_partial_stop_closes_a_part() -> None:
    async with opened() as client:
        await client.order("Buy", "0.02")
        asked = {"tpslMode": "Partial", "takeProfit": client.price(2), "tpSize": "0.01"}
        assert await stop(client, **asked) == 0
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["stopOrderType"], row["qty"]) == ("PartialTakeProfit", "0.01")


async def test_leverage_is_set_once() -> None:
    async with opened() as client:

        async def put(buy: str, sell: str) -> int:
            answer = await client.post(
                "position/set-leverage", **BTC, buyLeverage=buy, sellLeverage=sell
            )
            code: int = answer["retCode"]
            return code

        assert [await put("5", "5"), await put("5", "5")] == [0, 110043]
        assert (await client.position())["leverage"] == "5"
        assert await put("5", "6") == 10001
        assert await put("500", "500") == 110013


async def test_position_mode_is_switched_only_when_flat_and_readable() -> None:
    async with opened() as client:

        async def switch(mode: int) -> int:
            answer = await client.post("position/switch-mode", coin="USDT", mode=mode)
            code: int = answer["retCode"]
            return code

        assert await switch(0) == 110025
        await client.order("Buy", "0.01")
        assert await switch(3) == 110024
        await client.order("Sell", "0.01", reduceOnly=True)
        await client.order("Buy", "0.01", price=client.price(-1))
        assert await switch(3) == 110028
        await client.post("order/cancel-all", **BTC)
        assert await switch(3) == 0
        rows = await client.rows("position/list", **BTC)
        assert [row["positionIdx"] for row in rows] == [1, 2]
        assert (await client.order("Buy", "0.01"))["retCode"] == 10001


async def test_margin_mode_is_the_accounts() -> None:
    async with opened() as client:

        async def put(mode: str) -> int:
            answer = await client.post("account/set-margin-mode", setMarginMode=mode)
            code: int = answer["retCode"]
            return code

        assert await put("REGULAR_MARGIN") == 110026
        assert await put("ISOLATED_MARGIN") == 0
        assert (await client.get("account/info"))["result"]["marginMode"] == "ISOLATED_MARGIN"
        assert await put("PORTFOLIO_MARGIN") == 3400045
        await client.order("Buy", "0.01")
        assert await put("REGULAR_MARGIN") == 3400045


async def test_an_isolated_wallet_leaves_what_the_whole_account_means_empty() -> None:
    async with opened() as client:
        await client.post("account/set-margin-mode", setMarginMode="ISOLATED_MARGIN")
        await client.order("Buy", "0.1")
        (wallet,) = await client.rows("account/wallet-balance", accountType="UNIFIED")
        assert wallet["accountIMRate"] == wallet["totalAvailableBalance"] == ""
        coin = wallet["coin"][0]
        free = D(coin["walletBalance"]) - D(coin["totalPositionIM"]) - D(coin["totalOrderIM"])
        account = client.world.venues[Venue.BYBIT].accounts.by_id["demo"]
        assert free == account.exchange.accounting.free_for_orders()
        added = await client.post("position/add-margin", **BTC, margin="50")
        assert D(added["result"]["positionValue"]) > 0
        switched = await client.post("position/set-auto-add-margin", **BTC, autoAddMargin=1)
        assert switched["retCode"] == 0
        assert (await client.position())["autoAddMargin"] == 1


async def test_funding_has_opposite_signs_in_executions_and_log() -> None:
    async with opened() as client:
        await client.order("Buy", "0.1")
        client.world.advance(4 * HOUR_MS + 1_000)
        (execution,) = await client.rows("execution/list", **BTC, execType="Funding")
        (row,) = await log(client, type="SETTLEMENT")
        rate = D(execution["feeRate"])
        paid = (D("0.1") * D(execution["execPrice"]) * rate).quantize(D("1e-8"))
        assert paid > 0
        assert D(execution["execFee"]) == pytest.approx(paid, abs=D("1e-8"))
        assert D(row["funding"]) == D(row["change"]) == -D(execution["execFee"])
        assert (row["cashFlow"], row["fee"]) == ("0", "0")


async def test_the_log_adds_up_to_the_wallet() -> None:
    async with opened() as client:
        await client.order("Buy", "0.1")
        client.world.advance(5 * HOUR_MS)
        await client.order("Sell", "0.15")
        await client.order("Buy", "0.05")
        await client.post(
            "account/demo-apply-money", utaDemoApplyMoney=[{"coin": "USDT", "amountStr": "25"}]
        )
        rows = await log(client)
        (wallet,) = await client.rows("account/wallet-balance", accountType="UNIFIED")
        cash = D("10000")
        for row in reversed(rows):
            parts = D(row["cashFlow"]) + D(row["funding"] or "0") - D(row["fee"])
            assert parts == D(row["change"])
            cash += D(row["change"])
            assert cash == D(row["cashBalance"])
        assert cash == D(wallet["coin"][0]["walletBalance"])
        assert rows[0]["type"] == "TRANSFER_IN"


async def test_closed_pnl_holds_the_fees_of_both_ends_and_funding() -> None:
    async with opened() as client:
        await client.order("Buy", "0.1")
        client.world.advance(5 * HOUR_MS)
        await client.order("Sell", "0.04", reduceOnly=True)
        await client.order("Sell", "0.06", reduceOnly=True)
        rows = await client.rows("position/closed-pnl", **BTC)
        assert [row["closedSize"] for row in rows] == ["0.06", "0.04"]
        assert {row["side"] for row in rows} == {"Sell"}
        # What was closed in parts is, together, all that the account has lost or won.
        (wallet,) = await client.rows("account/wallet-balance", accountType="UNIFIED")
        total = sum(D(row["closedPnl"]) for row in rows)
        assert total == pytest.approx(D(wallet["totalWalletBalance"]) - 10_000, abs=D("1e-7"))
        position = await client.position()
        assert D(position["cumRealisedPnl"]) == pytest.approx(total, abs=D("1e-7"))
        first = await client.rows("execution/list", **BTC, execType="Trade")
        entry = D(first[-1]["execPrice"])
        assert D(rows[0]["avgEntryPrice"]) == pytest.approx(entry, abs=D("1e-7"))


async def test_a_liquidation_is_a_bust_trade_of_the_venues_own_order() -> None:
    async with opened() as client:
        await client.order("Buy", "2")
        async with client.socket("public/linear") as public, client.private("order") as private:
            await public.subscribe("allLiquidation.BTCUSDT")
            account = client.world.venues[Venue.BYBIT].accounts.by_id["demo"]
            account.force_liquidation("BTCUSDT", now_ms=client.world.now_ms)
            told = await public.hear()
            assert (told["data"][0]["S"], told["data"][0]["v"]) == ("Buy", "2")
            row = await private.row("order", orderStatus="Filled")
            assert (row["createType"], row["side"]) == ("CreateByLiq", "Sell")
            assert row["orderLinkId"] == ""
        (fill,) = await client.rows("execution/list", **BTC, execType="BustTrade")
        assert fill["orderId"] == row["orderId"]
        assert (await log(client))[0]["type"] == "LIQUIDATION"


async def test_demo_money_is_usdt_and_bounded() -> None:
    async with opened() as client:
        for asked in ({"coin": "BTC", "amountStr": "1"}, {"coin": "USDT", "amountStr": "x"}):
            answer = await client.post("account/demo-apply-money", utaDemoApplyMoney=[asked])
            assert answer["retCode"] == 10001


async def test_a_stop_that_comes_too_late_closes_at_once() -> None:
    async with opened() as client:
        # The market has passed the level before the order fills: below the stop of a long.
        price = client.price(-0.2)
        await client.order("Buy", "0.01", price=price, stopLoss=str(float(price) - 0.5))
        for _ in range(12 * 60):
            client.world.advance(MINUTE_MS)
            if not await client.rows("order/realtime", **BTC):
                break
        assert (await client.position())["size"] == "0"
        closed, _ = await client.rows("execution/list", **BTC)
        assert closed["createType"] == "CreateByStopLoss"


async def test_a_trailing_stop_shows_where_it_stands_and_can_be_replaced() -> None:
    async with opened() as client:
        await client.order("Sell", "0.01")
        assert await stop(client, trailingStop="500", tpslMode="Full") == 0
        client.world.advance(1_000)
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["stopOrderType"], row["side"]) == ("TrailingStop", "Buy")
        (ticker,) = await client.rows("market/tickers", **BTC)
        assert D(row["triggerPrice"]) == pytest.approx(D(ticker["lastPrice"]) + 500, abs=D("20"))
        assert await stop(client, trailingStop="700") == 0
        (row,) = await client.rows("order/realtime", **BTC)
        assert (await client.position())["trailingStop"] == "700"
        assert await stop(client, trailingStop="0") == 0
        assert await client.rows("order/realtime", **BTC) == []


async def test_a_partial_stop_may_rest_at_a_price_and_twenty_are_the_most() -> None:
    async with opened() as client:
        await client.order("Buy", "0.03")
        asked = {"tpslMode": "Partial", "stopLoss": client.price(-2), "slSize": "0.001"}
        limit = client.price(-3)
        assert await stop(client, **asked, slLimitPrice=limit) == 0
        (row,) = await client.rows("order/realtime", **BTC)
        assert (row["orderType"], row["price"]) == ("Limit", limit)
        codes = [await stop(client, **asked) for _ in range(20)]
        assert codes == [0] * 19 + [110061]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("position/trading-stop", {"tpslMode": "Half", "stopLoss": "1"}),
        ("position/trading-stop", {"stopLoss": "1000", "slTriggerBy": "Moon"}),
        ("position/switch-mode", {"mode": 1}),
        ("position/add-margin", {}),
        ("position/set-auto-add-margin", {"autoAddMargin": 2}),
        ("position/set-auto-add-margin", {"autoAddMargin": 1}),
        ("account/set-margin-mode", {"setMarginMode": "MARGIN"}),
    ],
)
async def test_wrong_settings_are_refused(path: str, params: dict[str, Any]) -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        assert (await client.post(path, **BTC, **params))["retCode"] == 10001


async def test_margin_cannot_be_added_to_a_cross_position() -> None:
    async with opened() as client:
        await client.order("Buy", "0.01")
        answer = await client.post("position/add-margin", **BTC, margin="10")
        assert answer["retCode"] == 110024


async def test_other_categories_hold_nothing() -> None:
    async with opened() as client:
        answer = await client.get("position/list", category="inverse")
        assert (answer["retCode"], answer["result"]["list"]) == (0, [])
        answer = await client.get("position/list", category="spot")
        assert answer["retCode"] == 10001


async def test_the_journal_knows_every_change_that_was_asked_for() -> None:
    async with opened() as client:
        setting = {**BTC, "buyLeverage": "5", "sellLeverage": "5"}
        for _ in range(2):
            await client.post("position/set-leverage", **setting)
        await client.get("position/list", **BTC)
        noted = [
            (entry.what, entry.facts["path"], entry.facts.get("code"))
            for entry in client.world.journal
            if entry.what.startswith("request")
        ]
        path = "/v5/position/set-leverage"
        assert noted == [("request accepted", path, None), ("request refused", path, "110043")]
