"""Every recorded or documented v5 message that the Bybit adapter may receive is understood.

Each file of the fixtures is either read here, by the function that reads it in the adapter, or
named as out of scope with the reason. A new file is in neither list, and fails.
"""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Timeframe
from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.order import Liquidity, OrderStatus, OrderType, Side, TimeInForce
from perpdesk.domain.streams import FundingPaid, MarkChanged
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderReport,
    PositionReport,
)
from perpdesk.venues.bybit import codes, fields, ledger_wire, market_wire, wire
from perpdesk.venues.order_book import BybitBook

pytestmark = pytest.mark.recorded

Reader = Callable[[dict[str, Any]], list[Any]]
MINUTE = Timeframe.parse("1m")
EVER = 2**62


def orders(answer: dict[str, Any]) -> list[OrderReport]:
    return [wire.order_report(row) for row in _rows(answer)]


def fills(answer: dict[str, Any]) -> list[FillReport]:
    return [wire.fill_report(row) for row in _rows(answer)]


def positions(answer: dict[str, Any]) -> list[PositionReport]:
    return [wire.position_report(row, MarginMode.ISOLATED) for row in _rows(answer)]


def wallet(answer: dict[str, Any]) -> list[BalanceReport]:
    return [
        report
        for account in _rows(answer)
        for report in wire.balance_reports(account, margin_mode=MarginMode.ISOLATED, ts_event_ms=1)
    ]


def income(answer: dict[str, Any]) -> list[IncomeReport]:
    return [report for row in _rows(answer) for report in ledger_wire.income_reports(row)]


def candles(answer: dict[str, Any]) -> list[int]:
    found = market_wire.candles_of(answer, "BTCUSDT", MINUTE, start_ms=0, end_ms=EVER)
    return [int(ts) for ts in found.ts_ms]


def funding(answer: dict[str, Any]) -> list[int]:
    return [int(ts) for ts in market_wire.funding_of(_rows(answer), "ETHPERP").ts_ms]


def open_interest(answer: dict[str, Any]) -> list[int]:
    return [int(ts) for ts in market_wire.open_interest_of(_rows(answer), "BTCUSD", MINUTE).ts_ms]


def recent_trades(answer: dict[str, Any]) -> list[Any]:
    return list(market_wire.recent_trades(answer, 0))


def acknowledged(answer: dict[str, Any]) -> list[str]:
    return [fields.text(answer["result"], "orderId")]


def batch(answer: dict[str, Any]) -> list[Any]:
    verdicts = fields.rows(answer["retExtInfo"])
    assert len(verdicts) == len(fields.rows(answer["result"]))
    return [int(one["code"]) for one in verdicts]


def envelope(answer: dict[str, Any]) -> list[Any]:
    assert answer["retCode"] == 0
    return [answer["result"]]


def named_rows(answer: dict[str, Any]) -> list[Any]:
    """Reference answers are handed on as they are; the adapter itself reads their symbols."""
    return [fields.text(row, "symbol") for row in _rows(answer)]


def margin_mode(answer: dict[str, Any]) -> list[MarginMode]:
    return [fields.word(fields.MARGIN_MODES, answer["result"], "marginMode")]


def refusal(answer: dict[str, Any]) -> list[Any]:
    error = codes.error_of(answer["retCode"], answer["retMsg"], changes=True, asked="a call")
    assert isinstance(error, VenueRejected)
    return [error]


def server_time(answer: dict[str, Any]) -> list[int]:
    return [int(answer["result"]["timeNano"]) // 1_000_000]


def tickers(answer: dict[str, Any]) -> list[Any]:
    assert all(fields.number(row, "lastPrice") for row in _rows(answer))
    return [
        market_wire.mark_changed(row, ts_event_ms=answer["time"], ts_init_ms=0)
        for row in _rows(answer)
    ]


def topic(message: dict[str, Any]) -> list[Any]:
    """Read a topic's message as the streams do."""
    if "op" in message:
        assert message.get("success", True) is True
        return [message]
    name = message["topic"].partition(".")[0]
    match name:
        case "order":
            return [wire.order_report(row) for row in message["data"]]
        case "execution":
            return [wire.fill_report(row) for row in message["data"]]
        case "position":
            return [wire.position_report(row) for row in message["data"]]
        case "wallet":
            return wallet({"result": {"list": message["data"]}})
        case "kline":
            return list(market_wire.candle_updates(message, 0))
        case "publicTrade":
            return list(market_wire.trades_occurred(message, 0))
        case "tickers":
            ticker = market_wire.merged_ticker({}, message)
            return [market_wire.mark_changed(ticker, ts_event_ms=message["ts"], ts_init_ms=0)]
        case "orderbook":
            data = message["data"]
            return market_wire.levels(data["b"]) + market_wire.levels(data["a"])
    raise AssertionError(f"no reader for {message['topic']}")


DOCS: dict[str, Reader] = {
    "account_account-info-1": margin_mode,
    "account_fee-rate-1": named_rows,
    "account_set-margin-mode-1": refusal,
    "account_transaction-log-1": income,
    "account_wallet-balance-1": wallet,
    "market_history-fund-rate-1": funding,
    "market_instrument-1": named_rows,
    "market_instrument-2": named_rows,
    "market_kline-1": candles,
    "market_mark-kline-1": candles,
    "market_open-interest-1": open_interest,
    "market_recent-trade-1": recent_trades,
    "market_risk-limit-1": named_rows,
    "market_tickers-1": tickers,
    "market_time-1": server_time,
    "order_amend-order-1": acknowledged,
    "order_batch-cancel-1": batch,
    "order_batch-place-1": batch,
    "order_cancel-all-1": envelope,
    "order_cancel-order-1": acknowledged,
    "order_create-order-1": acknowledged,
    "order_execution-1": fills,
    "order_open-order-1": orders,
    "order_order-list-1": orders,
    "position_leverage-1": envelope,
    "position_position-1": positions,
    "position_position-mode-1": envelope,
    "position_trading-stop-1": envelope,
    "websocket_private_execution-1": topic,
    "websocket_private_order-1": topic,
    "websocket_private_position-1": topic,
    "websocket_private_wallet-1": topic,
    "websocket_public_kline-1": topic,
    "websocket_public_orderbook-1": topic,
    "websocket_public_orderbook-2": topic,
    "websocket_public_ticker-1": topic,
    "websocket_public_trade-1": topic,
}
REST: dict[str, Reader] = {
    "Account-GetBalances": wallet,
    "Account-GetFeeRate": named_rows,
    "Account-GetMarginAccountInfo": margin_mode,
    "Account-GetTransactionHistory": income,
    "Account-SetLeverage": envelope,
    "Account-SetMarginMode": refusal,
    "Account-SwitchPositionMode": envelope,
    "ExchangeData-GetFundingRateHistory": funding,
    "ExchangeData-GetKlines": candles,
    "ExchangeData-GetLinearInverseSymbols": named_rows,
    "ExchangeData-GetLinearInverseSymbolsPreListing": named_rows,
    "ExchangeData-GetLinearInverseTickers": tickers,
    "ExchangeData-GetMarkPriceKlines": candles,
    "ExchangeData-GetOpenInterest": open_interest,
    "ExchangeData-GetRiskLimit": named_rows,
    "ExchangeData-GetTradeHistory": recent_trades,
    "Trading-CancelAllOrder": envelope,
    "Trading-CancelMultipleOrders": batch,
    "Trading-CancelOrder": acknowledged,
    "Trading-EditMultipleOrders": batch,
    "Trading-EditOrder": acknowledged,
    "Trading-GetOrderHistory": orders,
    "Trading-GetOrders": orders,
    "Trading-GetPositions": positions,
    "Trading-GetUserTrades": fills,
    "Trading-PlaceMultipleOrders": batch,
    "Trading-PlaceOrder": acknowledged,
    "Trading-SetTradingStop": envelope,
}
WS = {
    "Linear-Ticker",
    "Linear-Trades",
    "Private-Balance",
    "Private-Order",
    "Private-Position",
    "Private-UserTrades",
}

NOT_ASKED = "the adapter does not ask for it"
NOT_SUBSCRIBED = "the adapter does not subscribe to it"
OTHER_PRODUCT = "another product than linear perpetuals"
ORDER_ENTRY = "orders go by REST, not by the order-entry socket"
OLD = "the old v2 protocol"
OUT_OF_SCOPE = {
    **{
        f"docs/{name}.json": why
        for name, why in {
            "error-codes": "no message; read by a test of its own",
            "market_adl-alert-1": NOT_ASKED,
            "market_index-kline-1": NOT_ASKED,
            "market_instrument-3": OTHER_PRODUCT,
            "market_instrument-4": OTHER_PRODUCT,
            "market_order-price-limit-1": NOT_ASKED,
            "market_orderbook-1": "books come by stream alone",
            "market_premium-index-kline-1": NOT_ASKED,
            "market_tickers-2": OTHER_PRODUCT,
            "market_tickers-3": OTHER_PRODUCT,
            "order_dcp-1": "the dead-man switch is for institutions only",
            "position_auto-add-margin-1": NOT_ASKED,
            "position_close-pnl-1": NOT_ASKED,
            "position_manual-add-margin-1": NOT_ASKED,
            "websocket_private_dcp-1": "sent, not received; and for institutions only",
            "websocket_private_fast-execution-1": NOT_SUBSCRIBED,
            "websocket_public_all-liquidation-1": NOT_SUBSCRIBED,
            "websocket_public_order-price-limit-1": NOT_SUBSCRIBED,
            "websocket_public_ticker-2": "a future with an end: its ticker has no funding",
            "websocket_public_ticker-3": OTHER_PRODUCT,
            "websocket_public_ticker-4": OTHER_PRODUCT,
            **{f"websocket_trade_guideline-{number}": ORDER_ENTRY for number in range(1, 8)},
        }.items()
    },
    **{
        f"examples/rest/{name}.json": NOT_ASKED
        for name in (
            "Account-AddOrReduceMargin",
            "Account-GetAccountTypes",
            "Account-GetAnalysisTradeInfo",
            "Account-GetAssetGreeks",
            "Account-GetAssetInfo",
            "Account-GetAssetOverview",
            "Account-GetBorrowAssetData",
            "Account-GetBorrowHistory",
            "Account-GetCollateralInfo",
            "Account-GetFundingTransactionHistory",
            "Account-RepayLiabilities",
            "Account-SetAutoAddMargin",
            "Account-SetCollateralAsset",
            "Account-SetMultipleCollateralAssets",
            "Account-SetPriceLimitBehavior",
            "Account-SetRiskLimit",
            "Account-SetTakeProfitStopLossMode",
            "Account-SignAgreement",
            "Account-SwitchCrossIsolatedMargin",
            "ExchangeData-GetAnnouncements",
            "ExchangeData-GetHistoricalVolatility",
            "ExchangeData-GetIndexPriceKlines",
            "ExchangeData-GetInsurance",
            "ExchangeData-GetLongShortRatio",
            "ExchangeData-GetOrderPriceLimit",
            "ExchangeData-GetOrderbook",
            "ExchangeData-GetPremiumIndexPriceKlines",
            "ExchangeData-GetSystemStatus",
            "Trading-GetAssetExchangeHistory",
            "Trading-GetBorrowQuota",
            "Trading-GetClosedProfitLoss",
            "Trading-PreCheckOrder",
            "Trading-SetDisconnectCancelAll",
        )
    },
    **{
        f"examples/rest/{name}.json": OTHER_PRODUCT
        for name in (
            "Account-ConfirmSmallBalancesQuote",
            "Account-ConvertConfirmQuote",
            "Account-GetAccountSpotSymbols",
            "Account-GetConvertAssets",
            "Account-GetConvertHistory",
            "Account-GetConvertQuote",
            "Account-GetConvertStatus",
            "Account-GetOptionAssetInfo",
            "Account-GetSmallBalanceAssets",
            "Account-GetSmallBalancesExchangeHistory",
            "Account-GetSmallBalancesQuote",
            "Account-GetSpotMarginAutoRepayMode",
            "Account-GetSpotMarginData",
            "Account-GetSpotMarginInterestRateHistory",
            "Account-GetSpotMarginStatusAndLeverage",
            "Account-GetSpreadMaxOrderQuantity",
            "Account-SetSpotHedgingMode",
            "Account-SetSpotMarginAutoRepayMode",
            "Account-SetSpotMarginLeverage",
            "Account-SetSpotMarginTradeMode",
            "ExchangeData-GetDeliveryPrice",
            "ExchangeData-GetLeverageTokenMarket",
            "ExchangeData-GetLeverageTokens",
            "ExchangeData-GetOptionSymbols",
            "ExchangeData-GetOptionTickers",
            "ExchangeData-GetSpotSymbols",
            "ExchangeData-GetSpotTickers",
            "ExchangeData-GetSpreadOrderBook",
            "ExchangeData-GetSpreadRecentTrades",
            "ExchangeData-GetSpreadSymbols",
            "ExchangeData-GetSpreadTickers",
            "Trading-CancelAllSpreadOrders",
            "Trading-CancelSpreadOrder",
            "Trading-EditSpreadOrder",
            "Trading-GetClosedSpreadOrders",
            "Trading-GetDeliveryHistory",
            "Trading-GetLeverageTokenOrderHistory",
            "Trading-GetOpenSpreadOrders",
            "Trading-GetSettlementHistory",
            "Trading-GetSpreadUserTrades",
            "Trading-PlaceSpreadOrder",
            "Trading-PurchaseLeverageToken",
            "Trading-RedeemLeverageToken",
        )
    },
    "examples/ws/Linear-Liquidations.json": NOT_SUBSCRIBED,
    "examples/ws/Private-Greeks.json": OTHER_PRODUCT,
    "examples/ws/Private-MinimalUserTrades.json": NOT_SUBSCRIBED,
    "examples/ws/Private-SpreadUserTrade.json": OTHER_PRODUCT,
    "examples/wsapi/Private-CancelOrder.json": ORDER_ENTRY,
    "examples/wsapi/Private-EditOrder.json": ORDER_ENTRY,
    "examples/wsapi/Private-PlaceOrder.json": ORDER_ENTRY,
    "rest/recorded/v5_market_tickers-1.json": "spot tickers: another product",
    "ws/legacy-v2-linear-20210417.log.gz": OLD,
    **{
        f"rest/recorded-legacy-v2/public_linear_{name}.json": OLD
        for name in (
            "funding_prev-funding-rate-1",
            "index-price-kline-1",
            "kline-1",
            "kline-2",
            "mark-price-kline-1",
            "premium-index-kline-1",
            "recent-trading-records-1",
            "recent-trading-records-2",
            "risk-limit-1",
        )
    },
}
RECORDED_BOOK = "ws/linear-xrpusdt-orderbook500-20241201.jsonl.gz"
RECORDED_TICKERS = (
    "rest/recorded/v5_market_tickers-2.json",
    "rest/recorded/v5_market_tickers-3.json",
)


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    return shared_dir / "fixtures" / "bybit"


def _rows(answer: dict[str, Any]) -> list[Any]:
    return fields.rows(answer["result"])


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _doc(folder: Path, name: str) -> Any:
    return _read(folder / "docs" / f"{name}.json")


def test_every_file_is_read_or_out_of_scope_for_a_reason(folder: Path) -> None:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    read = {f"docs/{name}.json" for name in DOCS}
    read |= {f"examples/rest/{name}.json" for name in REST}
    read |= {f"examples/ws/{name}.json" for name in WS}
    read |= {RECORDED_BOOK, *RECORDED_TICKERS}
    assert there - read - set(OUT_OF_SCOPE) == set()
    assert read & set(OUT_OF_SCOPE) == set()
    assert (read | set(OUT_OF_SCOPE)) - there == set()


@pytest.mark.parametrize("name", sorted(DOCS))
def test_documented_message_is_understood(folder: Path, name: str) -> None:
    assert DOCS[name](_doc(folder, name))


@pytest.mark.parametrize("name", sorted(REST))
def test_example_answer_is_understood(folder: Path, name: str) -> None:
    assert REST[name](_read(folder / "examples" / "rest" / f"{name}.json")["response"])


@pytest.mark.parametrize("name", sorted(WS))
def test_example_stream_is_understood(folder: Path, name: str) -> None:
    exchange = _read(folder / "examples" / "ws" / f"{name}.json")["exchange_of_messages"]
    received = [one["msg"] for one in exchange if one["dir"] == "received"]
    assert all(topic(message) for message in received)


@pytest.mark.parametrize("name", RECORDED_TICKERS)
def test_recorded_tickers_are_understood(folder: Path, name: str) -> None:
    recorded = _read(folder / name)
    if recorded["query"]["category"] in ("linear", "inverse"):
        marks = tickers({"time": 1, **recorded["response"]})
        assert any(isinstance(mark, MarkChanged) for mark in marks)
    else:
        pytest.fail(f"{name} is of category {recorded['query']['category']}: name it out of scope")


def test_recorded_book_follows_its_own_sequence_to_the_end(folder: Path) -> None:
    book, read = BybitBook(), 0
    with gzip.open(folder / RECORDED_BOOK, "rt") as lines:
        for message in map(json.loads, lines):
            data = message["data"]
            bids, asks = market_wire.levels(data["b"]), market_wire.levels(data["a"])
            if message["type"] == "snapshot":
                book.snapshot(data["u"], bids, asks)
            else:
                book.delta(data["u"], bids, asks)
            read += 1
            best_bids, best_asks = book.top(500)
            assert best_bids[0][0] < best_asks[0][0]
    assert read == 50


def test_documented_order_says_what_it_says(folder: Path) -> None:
    (report,) = orders(_doc(folder, "order_open-order-1"))
    assert report == OrderReport(
        symbol="ETHUSDT",
        client_order_id="test-000005",  # type: ignore[arg-type]
        order_id="fd4300ae-7847-404e-b947-b46980a4d140",  # type: ignore[arg-type]
        status=OrderStatus.ACCEPTED,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal("0.10"),
        filled_quantity=Decimal("0.00"),
        price=Decimal("1600.00"),
        ts_event_ms=1684738540561,
    )


def test_documented_post_only_order_that_would_take_is_expired(folder: Path) -> None:
    (report,) = orders(_doc(folder, "order_order-list-1"))
    assert report.status is OrderStatus.EXPIRED
    assert report.time_in_force is TimeInForce.GTX
    assert report.reason == "EC_PostOnlyWillTakeLiquidity"


def test_documented_execution_counts_the_tax_beside_the_fee(folder: Path) -> None:
    (fill,) = topic(_doc(folder, "websocket_private_execution-1"))
    assert fill.fee == Decimal("26.3725275") + Decimal("0.006403779")
    assert (fill.fee_asset, fill.side, fill.liquidity) == ("USDT", Side.SELL, Liquidity.TAKER)
    assert (fill.quantity, fill.price) == (Decimal("0.5"), Decimal("95900.1"))
    assert fill.realized_pnl == Decimal("0.05")


def test_documented_ledger_sums_to_its_changes(folder: Path) -> None:
    answer = _doc(folder, "account_transaction-log-1")
    reports = income(answer)
    assert sum(one.amount for one in reports) == sum(
        Decimal(row["change"]) for row in _rows(answer)
    )
    assert [(one.kind, one.amount) for one in reports] == [
        (IncomeKind.FUNDING, Decimal("-0.003676")),
        (IncomeKind.FEE, Decimal("-0.01908720")),
        (IncomeKind.FEE, Decimal("-0.00260280")),
    ]
    assert len({one.income_id for one in reports}) == 3


def test_documented_ticker_tells_mark_and_next_funding(folder: Path) -> None:
    (mark,) = topic(_doc(folder, "websocket_public_ticker-1"))
    assert mark == MarkChanged(
        symbol="BTCUSDT",
        mark_price=Decimal("66666.60"),
        index_price=Decimal("115418.19"),
        funding_rate=Decimal("-0.005"),
        next_funding_ms=1760342400000,
        ts_event_ms=1760325052630,
        ts_init_ms=0,
    )


def test_documented_candle_is_not_closed_yet(folder: Path) -> None:
    (candle,) = topic(_doc(folder, "websocket_public_kline-1"))
    assert (candle.ts_ms, candle.timeframe.name, candle.is_closed) == (1672324800000, "5m", False)
    assert (candle.open, candle.high, candle.low, candle.close) == (16649.5, 16677, 16608, 16677)
    assert candle.volume == 2.081


def test_documented_funding_execution_is_paid_when_its_fee_is_positive(folder: Path) -> None:
    row = dict(_doc(folder, "websocket_private_execution-1")["data"][0], execType="Funding")
    assert wire.funding_paid({**row, "execFee": "0.003676"}) == FundingPaid(
        symbol="BTCUSDT", amount=Decimal("-0.003676"), asset="USDT", ts_event_ms=1746270400353
    )


def test_codes_taken_for_final_are_documented(folder: Path) -> None:
    documented = {int(one["code"]) for one in _doc(folder, "error-codes")}
    by_example = {_doc(folder, "account_set-margin-mode-1")["retCode"]}
    assert set(codes.REFUSALS) - documented == by_example
    assert codes.DOCUMENTED_REFUSALS - documented == frozenset()


def test_documented_derivatives_codes_all_have_a_meaning(folder: Path) -> None:
    known = set(codes.REFUSALS) | codes.DOCUMENTED_REFUSALS | codes.TRY_LATER
    known |= codes.UNKNOWN_OUTCOME
    documented = {
        int(one["code"])
        for one in _doc(folder, "error-codes")
        if one["section"] == "UTA" and 110_000 <= int(one["code"]) < 111_000
    }
    assert documented - known == set()


@pytest.mark.parametrize(
    ("field", "name"),
    [("orderStatus", "order"), ("side", "order"), ("timeInForce", "order"), ("execType", "fill")],
)
def test_unknown_word_is_a_named_error(folder: Path, field: str, name: str) -> None:
    row = {**_rows(_doc(folder, "order_open-order-1"))[0]}
    read: Callable[[Any], Any] = wire.order_report
    if name == "fill":
        row, read = _doc(folder, "websocket_private_execution-1")["data"][0], wire.fill_report
    with pytest.raises(fields.UnknownWord, match=f"{field}='Sideways'"):
        read({**row, field: "Sideways"})


def test_unknown_fields_are_ignored(folder: Path) -> None:
    row = _rows(_doc(folder, "order_open-order-1"))[0]
    assert wire.order_report({**row, "moonPhase": "full"}) == wire.order_report(row)
