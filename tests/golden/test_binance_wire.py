"""Every recorded or documented message that the Binance adapter may receive is understood.

A file of the fixtures is either read by a parser named here, or out of scope for a reason named
here: a new file that is neither fails the test.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Timeframe
from perpdesk.domain.errors import VenueRejected
from perpdesk.domain.order import ClientOrderId, Liquidity, OrderStatus, OrderType, Side
from perpdesk.domain.streams import CandleUpdated, MarginCalled, QuoteChanged, TradeOccurred
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillCause,
    IncomeKind,
    OrderReport,
    PositionReport,
)
from perpdesk.venues.binance import codes, wire, wire_market
from perpdesk.venues.binance.wire_market import DepthDifference
from perpdesk.venues.binance.wire_user import user_updates
from perpdesk.venues.binance.words import fill_cause
from perpdesk.venues.order_book import BinanceBook

pytestmark = pytest.mark.recorded

MINUTE = Timeframe.parse("1m")
FAR_FUTURE_MS = 4_000_000_000_000
SYMBOL = "TESTUSDT"


def klines(rows: Any) -> Any:
    return wire_market.candles(rows, symbol=SYMBOL, timeframe=MINUTE, now_ms=FAR_FUTURE_MS)


def open_interest(rows: Any) -> Any:
    return wire_market.open_interest(rows, symbol=SYMBOL, timeframe=MINUTE)


def each(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda rows: [parse(row) for row in rows]


def either(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Read a batch's answer: orders among refusals."""
    return lambda rows: [
        codes.error_of(
            codes.Answer(status=400, code=row["code"], text=row["msg"]), call="x", changes=True
        )
        if wire.is_error(row)
        else parse(row)
        for row in rows
    ]


def fill(row: Any) -> Any:
    return wire.fill_report(row, client_order_id=ClientOrderId("ours"))


def done(message: Any) -> Any:
    assert not wire.is_error(message)
    return message


def leverage(message: Any) -> Any:
    return wire.account_settings("BTCUSDT", [message | {"marginType": "CROSSED"}], is_hedge=False)


PARSERS: dict[str, Callable[[Any], Any]] = {
    "fapi/v1/leverage": leverage,
    "fapi/v1/marginType": done,
    "POST fapi/v1/positionSide/dual": done,
    "fapi/v1/accountConfig": wire.is_hedge,
    "fapi/v3/balance": each(wire.balance_report),
    "fapi/v2/account": lambda m: (
        each(wire.balance_report)(m["assets"]),
        wire.position_reports(m["positions"]),
    ),
    "fapi/v3/account": lambda m: (
        each(wire.balance_report)(m["assets"]),
        wire.position_reports(m["positions"]),
    ),
    "fapi/v1/income": each(wire.income_report),
    "fapi/v2/positionRisk": wire.position_reports,
    "fapi/v3/positionRisk": wire.position_reports,
    "fapi/v1/symbolConfig": lambda rows: wire.account_settings("BTCUSDT", rows, is_hedge=False),
    "fapi/v1/order": wire.order_report,
    "fapi/v1/openOrder": wire.order_report,
    "fapi/v1/openOrders": each(wire.order_report),
    "fapi/v1/allOrders": each(wire.order_report),
    "fapi/v1/forceOrders": each(wire.order_report),
    "fapi/v1/batchOrders": either(wire.order_report),
    "fapi/v1/algoOrder": wire.algo_report,
    "fapi/v1/allAlgoOrders": each(wire.algo_report),
    "fapi/v1/openAlgoOrders": each(wire.algo_report),
    "fapi/v1/allOpenOrders": done,
    "fapi/v1/algoOpenOrders": done,
    "fapi/v1/userTrades": each(fill),
    "fapi/v1/aggTrades": lambda rows: wire_market.trades(rows, symbol=SYMBOL),
    "fapi/v1/klines": klines,
    "fapi/v1/markPriceKlines": klines,
    "fapi/v1/fundingRate": lambda rows: wire_market.funding_rates(rows, symbol=SYMBOL),
    "futures/data/openInterestHist": open_interest,
    "fapi/v1/depth": wire_market.depth_snapshot,
    "fapi/v1/exchangeInfo": wire_market.symbols_of,
    "fapi/v1/time": wire_market.server_time_ms,
}

AS_RECEIVED = {
    "fapi/v1/leverageBracket": "handed on as received; marketdata reads it",
    "fapi/v1/commissionRate": "handed on as received; marketdata reads it",
    "fapi/v1/fundingInfo": "handed on as received; marketdata reads it",
}

NEVER_ASKED = {
    "the account's BNB discount and multi-assets mode": ("feeBurn", "multiAssetsMargin"),
    "isolated margin is not moved through the adapter": (
        "positionMargin",
        "positionMargin/history",
    ),
    "limits are read from headers": ("rateLimit/order",),
    "account statistics that the desk does not use": ("adlQuantile", "apiTradingStatus"),
    "the dead-man switch would cancel protection too (reliability.md B.3, 39)": (
        "countdownCancelAll",
    ),
    "history of amendments": ("orderAmendment",),
    "the convert product": (
        "convert/acceptQuote",
        "convert/getQuote",
        "convert/orderStatus",
    ),
    "market data that no port asks for": (
        "assetIndex",
        "ticker/bookTicker",
        "indexInfo",
        "continuousKlines",
        "constituents",
        "indexPriceKlines",
        "insuranceBalance",
        "premiumIndex",
        "openInterest",
        "premiumIndexKlines",
        "ticker/price",
        "trades",
        "historicalTrades",
        "ticker/24hr",
        "basis",
        "globalLongShortAccountRatio",
        "takerlongshortRatio",
        "topLongShortAccountRatio",
        "topLongShortPositionRatio",
    ),
}
OTHER_PRODUCTS = {
    "/api/v3/": "spot",
    "/dapi/": "COIN-M futures",
    "/sapi/v1/algo/futures/": "the TWAP and VP product, not the Algo service of /fapi",
}

STREAMS_OUT_OF_SCOPE = {
    "AssetIndex": "multi-assets mode",
    "CompositIndex": "an index, never subscribed",
    "ContKlines": "@kline is subscribed instead",
    "Liquidations": "never subscribed",
    "MiniTicker": "never subscribed",
    "SymbolUpdates": "rules are read by REST",
    "Ticker": "never subscribed",
}
USER_EVENTS_WITHOUT_NEWS = {
    "ConditionalTrigger": "replaced by ALGO_UPDATE",
    "GridUpdate": "the exchange's own bots",
    "Leverage": "settings are read by REST before trading",
    "MultiAssetMode": "settings are read by REST before trading",
    "StrategyUpdate": "the exchange's own bots",
    "TradeUpdate": "TRADE_LITE, a copy of a fill that would count twice",
}

WSAPI_PARSERS: dict[str, Callable[[Any], Any]] = {
    "v2/account.status": lambda m: (
        each(wire.balance_report)(m["assets"]),
        wire.position_reports(m["positions"]),
    ),
    "v2/account.balance": each(wire.balance_report),
    "v2/account.position": wire.position_reports,
    "depth": wire_market.depth_snapshot,
    "order.place": wire.order_report,
    "order.modify": wire.order_report,
    "order.cancel": wire.order_report,
    "order.status": wire.order_report,
    "algoOrder.place": wire.algo_report,
    "algoOrder.cancel": wire.algo_report,
}
WSAPI_OUT_OF_SCOPE = {
    "ticker.book": "no port asks for it",
    "ticker.price": "no port asks for it",
}


@pytest.fixture(scope="module")
def fixtures(shared_dir: Path) -> Path:
    return shared_dir / "fixtures" / "binance"


def answers(folder: Path) -> Iterator[tuple[Path, str, str, Any]]:
    """Yield file, method, path and answer."""
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_bytes())
        yield path, found["method"], found["path"], found["response"]


def out_of_scope(path: str) -> bool:
    if any(path.startswith(prefix) for prefix in OTHER_PRODUCTS):
        return True
    short = re.sub(r"^/(fapi/v\d|futures/data)/", "", path)
    return any(short in paths for paths in NEVER_ASKED.values())


def received(path: Path) -> Iterable[Any]:
    for step in json.loads(path.read_bytes())["exchange_of_messages"]:
        message = step["msg"]
        if step["dir"] == "received" and "result" not in message:
            yield message["data"]


def example(fixtures: Path, name: str) -> Any:
    return json.loads((fixtures / "examples" / "rest" / f"{name}.json").read_bytes())["response"]


def user_event(fixtures: Path, name: str) -> tuple[Any, ...]:
    (message,) = received(fixtures / "examples" / "ws" / f"{name}.json")
    return user_updates(message)


@pytest.mark.parametrize("folder", ["examples/rest", "rest/recorded"])
def test_every_answer_is_read_or_is_out_of_scope_by_name(fixtures: Path, folder: str) -> None:
    read = 0
    for path, method, address, answer in answers(fixtures / folder):
        if path.stem.endswith("-error"):
            continue
        key = address.lstrip("/")
        parse = PARSERS.get(f"{method} {key}") or PARSERS.get(key)
        if parse is None:
            assert key in AS_RECEIVED or out_of_scope(address), f"{path.name}: {address} is new"
            continue
        assert parse(answer) is not None, path.name
        read += 1
    assert read >= 20


def test_every_recorded_error_is_a_named_error(fixtures: Path) -> None:
    found = 0
    for path, _, _, answer in answers(fixtures / "rest" / "recorded"):
        if not path.stem.endswith("-error"):
            continue
        error = codes.error_of(
            codes.read_answer(status=400, headers={}, body=json.dumps(answer)),
            call="GET x",
            changes=False,
        )
        assert isinstance(error, VenueRejected)
        assert error.code == str(answer["code"])
        found += 1
    assert found == 4


def test_every_stream_example_is_read_or_is_out_of_scope_by_name(fixtures: Path) -> None:
    for path in sorted((fixtures / "examples" / "ws").glob("*.json")):
        for message in received(path):
            if path.stem in STREAMS_OUT_OF_SCOPE:
                continue
            if "E" in message and message["e"].isupper():
                updates = user_updates(message)
                assert bool(updates) != (path.stem in USER_EVENTS_WITHOUT_NEWS), path.name
            else:
                assert wire_market.market_update(message, ts_init_ms=1) is not None, path.name


def test_every_ws_api_example_is_read_or_is_out_of_scope_by_name(fixtures: Path) -> None:
    for path in sorted((fixtures / "examples" / "wsapi").glob("*.json")):
        sent, answer = (
            step["msg"] for step in json.loads(path.read_bytes())["exchange_of_messages"]
        )
        if sent["method"] in WSAPI_OUT_OF_SCOPE:
            continue
        assert WSAPI_PARSERS[sent["method"]](answer["result"]) is not None, path.name


def test_leverage_brackets_are_no_message_of_binance_but_hold_its_own_rows(fixtures: Path) -> None:
    wrapped = json.loads((fixtures / "rest" / "leverage-brackets-20241024.json").read_bytes())
    assert {"bracket", "cum", "notionalCap"} <= wrapped["BTC/USDT:USDT"][0]["info"].keys()


def test_there_is_no_folder_or_log_that_nothing_here_reads(fixtures: Path) -> None:
    known = {"examples/rest", "examples/ws", "examples/wsapi", "rest/recorded"}
    others = {
        str(path.relative_to(fixtures))
        for path in fixtures.rglob("*")
        if path.is_file() and str(path.parent.relative_to(fixtures)) not in known
    }
    assert others == {
        "rest/leverage-brackets-20241024.json",
        "ws/usdm-4symbols-20210722.log.gz",
        "ws/usdm-btcusdt-20240808.log.gz",
    }


# What the examples say, by hand.


def test_a_batch_answer_holds_orders_and_refusals_side_by_side(fixtures: Path) -> None:
    order, refusal = either(wire.order_report)(example(fixtures, "Trading-PlaceMultipleOrders"))
    assert isinstance(order, OrderReport)
    assert order.order_id == "22542179"
    assert isinstance(refusal, VenueRejected)
    assert refusal.code == "-2022"


def test_a_finished_conditional_order_has_filled_under_the_order_it_became(fixtures: Path) -> None:
    report = wire.algo_report(example(fixtures, "Trading-GetConditionalOrder"))
    assert report.status is OrderStatus.FILLED
    assert report.type is OrderType.STOP_MARKET
    assert (report.order_id, report.working_order_id) == ("1000001270850379", "974828356187")
    assert (report.filled_quantity, report.average_price) == (Decimal("0.002"), Decimal("69067.6"))
    assert report.trigger_price == Decimal("69080.20")
    assert report.reduce_only


def test_a_canceled_take_profit_of_the_stream_is_canceled(fixtures: Path) -> None:
    (report,) = user_event(fixtures, "AlgoOrderUpdate")
    assert isinstance(report, OrderReport)
    assert report.status is OrderStatus.CANCELED
    assert report.type is OrderType.TAKE_PROFIT_LIMIT
    assert (report.client_order_id, report.trigger_price) == (
        "Q5xaq5EGKgXXa0fD7fs0Ip",
        Decimal(750),
    )
    assert report.working_order_id is None


def test_account_updates_carry_positions_and_wallets(fixtures: Path) -> None:
    updates = user_event(fixtures, "AccountUpdate")
    positions = [one for one in updates if isinstance(one, PositionReport)]
    balances = [one for one in updates if isinstance(one, BalanceReport)]
    # Hedge mode: 20 long and 10 short net to 10 long, without one entry price.
    assert [(one.symbol, one.signed_quantity, one.entry_price) for one in positions] == [
        ("BTCUSDT", Decimal(10), None)
    ]
    assert positions[0].margin_mode is MarginMode.ISOLATED
    assert [(one.asset, one.wallet, one.available) for one in balances] == [
        ("USDT", Decimal("122624.12345678"), None),
        ("BUSD", Decimal(1), None),
    ]


def test_a_margin_call_names_its_symbol(fixtures: Path) -> None:
    assert user_event(fixtures, "MarginUpdate") == (
        MarginCalled(symbol="ETHUSDT", ts_event_ms=1587727187525),
    )


def test_a_new_trailing_stop_of_the_stream_is_accepted(fixtures: Path) -> None:
    (report,) = user_event(fixtures, "OrderUpdate")
    assert isinstance(report, OrderReport)
    assert (report.status, report.type) == (
        OrderStatus.ACCEPTED,
        OrderType.TRAILING_STOP_MARKET,
    )
    assert (report.quantity, report.filled_quantity) == (Decimal("0.001"), Decimal(0))


def test_orders_of_the_venues_own_hand_are_told_by_their_ids(fixtures: Path) -> None:
    names = [row["clientOrderId"] for row in example(fixtures, "Trading-GetForcedOrders")]
    assert [fill_cause(name) for name in names] == [
        FillCause.LIQUIDATION,
        FillCause.AUTO_DELEVERAGING,
    ]


def test_our_trades_carry_fee_and_profit(fixtures: Path) -> None:
    (report,) = each(fill)(example(fixtures, "Trading-GetUserTrades"))
    assert (report.trade_id, report.order_id) == ("698759", "25851813")
    assert (report.side, report.liquidity) == (Side.SELL, Liquidity.TAKER)
    assert (report.fee, report.fee_asset) == (Decimal("0.07819010"), "USDT")
    assert report.realized_pnl == Decimal("-0.91539999")


def test_the_ledger_keeps_rows_apart_that_share_a_transfer_id(fixtures: Path) -> None:
    rows = each(wire.income_report)(example(fixtures, "Account-GetIncomeHistory"))
    assert [row.kind for row in rows] == [IncomeKind.TRANSFER, IncomeKind.FEE]
    assert len({row.income_id for row in rows}) == 2
    assert [row.trade_id for row in rows] == ["", "2059192"]


def test_funding_keeps_the_times_as_sent_and_a_missing_mark_as_nan(fixtures: Path) -> None:
    (old,) = (
        answer
        for path, _, _, answer in answers(fixtures / "rest" / "recorded")
        if path.stem == "fapi_v1_fundingRate-1"
    )
    rates = wire_market.funding_rates(old, symbol="LTCUSDT")
    assert rates.ts_ms.tolist() == [1602806400002]
    assert rates.rate.tolist() == [0.00018534]
    assert rates.mark_price[0] != rates.mark_price[0]


def test_mark_candles_are_read_with_no_volume(fixtures: Path) -> None:
    candles = klines(example(fixtures, "ExchangeData-GetMarkPriceKlines"))
    assert candles.ts_ms.tolist() == [1591256460000]
    assert (candles.open[0], candles.close[0], candles.volume[0]) == (
        9653.29201333,
        9653.07367333,
        0.0,
    )


# Recorded logs.


def log_lines(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt") as lines:
        for line in lines:
            start = line.find("{")
            if start >= 0:
                yield json.loads(line[start:])


def test_every_message_of_the_four_symbol_log_is_read(fixtures: Path) -> None:
    kinds: dict[type, int] = {}
    for message in log_lines(fixtures / "ws" / "usdm-4symbols-20210722.log.gz"):
        update = wire_market.market_update(message["data"], ts_init_ms=1)
        kinds[type(update)] = kinds.get(type(update), 0) + 1
    assert kinds.keys() == {CandleUpdated, DepthDifference, QuoteChanged, TradeOccurred}


def test_every_message_of_the_bitcoin_log_is_read_and_its_book_stays_whole(fixtures: Path) -> None:
    book, in_step, kinds = BinanceBook(), 0, set()
    for message in log_lines(fixtures / "ws" / "usdm-btcusdt-20240808.log.gz"):
        if "stream" not in message:
            found = wire_market.depth_snapshot(message)
            book.snapshot(found.last_update_id, found.bids, found.asks)
            continue
        if message["stream"].endswith("@trade"):
            continue  # never subscribed: aggTrade is
        update = wire_market.market_update(message["data"], ts_init_ms=1)
        kinds.add(type(update))
        if isinstance(update, DepthDifference):
            in_step += book.difference(
                update.first, update.last, update.previous, update.bids, update.asks
            )
    assert kinds == {DepthDifference, QuoteChanged}
    assert in_step > 1000
    (bid, _), (ask, _) = book.top(1)[0][0], book.top(1)[1][0]
    assert bid < ask
