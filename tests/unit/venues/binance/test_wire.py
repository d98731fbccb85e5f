"""Messages: unknown fields are ignored, unknown words are named, absent numbers stay absent."""

from decimal import Decimal
from typing import Any

import pytest
from tests.unit.venues.binance.messages import algo, algo_event, fill_event, order, order_event

from perpdesk.domain.errors import OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.order import OrderStatus, OrderType
from perpdesk.domain.venue_reports import IncomeKind, OrderReport
from perpdesk.venues.binance import codes, wire
from perpdesk.venues.binance.fields import MalformedMessage
from perpdesk.venues.binance.wire_market import market_update
from perpdesk.venues.binance.wire_user import user_updates
from perpdesk.venues.binance.words import UnknownEvent, UnknownWord


def test_fields_of_tomorrow_are_ignored() -> None:
    assert wire.order_report(order(st=1, ps="BTCUSDT", something={"new": 1})).quantity
    assert user_updates(order_event(st=1, brandNew=[]))


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (order(status="PENDING_CANCEL"), "PENDING_CANCEL"),
        (order(type="ICEBERG"), "ICEBERG"),
        (order(side="LONG"), "LONG"),
        (order(timeInForce="DAY"), "DAY"),
    ],
)
def test_a_word_that_is_not_known_is_an_error_that_names_it(
    message: dict[str, Any], word: str
) -> None:
    with pytest.raises(UnknownWord, match=word) as caught:
        wire.order_report(message)
    assert caught.value.next_step


def test_an_algo_status_that_is_not_known_is_named() -> None:
    with pytest.raises(UnknownWord, match="PAUSED"):
        wire.algo_report(algo(algoStatus="PAUSED"))


def test_an_execution_type_that_is_not_known_is_named() -> None:
    with pytest.raises(UnknownWord, match="SPLIT"):
        user_updates(order_event(x="SPLIT"))


def test_a_kind_of_message_that_is_not_known_is_told_apart_from_a_status() -> None:
    with pytest.raises(UnknownEvent, match="newThing"):
        market_update({"e": "newThing"}, ts_init_ms=1)
    with pytest.raises(UnknownEvent, match="NEW_THING"):
        user_updates({"e": "NEW_THING"})


def test_a_field_that_is_missing_is_named() -> None:
    broken = order()
    del broken["orderId"]
    with pytest.raises(MalformedMessage, match="orderId"):
        wire.order_report(broken)


@pytest.mark.parametrize("number", ["", "NaN", "Infinity", "0.1.2", None])
def test_what_is_no_number_is_refused(number: object) -> None:
    with pytest.raises(MalformedMessage, match="origQty"):
        wire.order_report(order(origQty=number))


def test_an_average_that_the_answer_leaves_out_is_worked_out_where_it_can_be() -> None:
    filled = order(executedQty="0.004", cumQuote="240.02")
    del filled["avgPrice"]
    # 240.02 / 0.004 = 60005
    assert wire.order_report(filled).average_price == Decimal(60005)
    del filled["cumQuote"]
    assert wire.order_report(filled).average_price is None


def test_a_price_of_zero_is_no_price() -> None:
    report = wire.order_report(order(price="0", stopPrice="0.00", type="MARKET"))
    assert (report.price, report.trigger_price) == (None, None)


@pytest.mark.parametrize(
    ("status", "filled", "expected"),
    [
        ("NEW", "0", OrderStatus.ACCEPTED),
        ("TRIGGERING", "0", OrderStatus.TRIGGERED),
        ("TRIGGERED", "0.004", OrderStatus.PARTIALLY_FILLED),
        ("FINISHED", "0.010", OrderStatus.FILLED),
        ("FINISHED", "0.004", OrderStatus.CANCELED),
        ("EXPIRED", "0", OrderStatus.EXPIRED),
        ("REJECTED", "0", OrderStatus.REJECTED),
    ],
)
def test_a_conditional_order_stands_where_status_and_fills_put_it(
    status: str, filled: str, expected: OrderStatus
) -> None:
    assert wire.algo_report(algo(algoStatus=status, actualQty=filled)).status is expected


def test_a_finished_conditional_order_of_the_stream_is_not_called_canceled_too_early() -> None:
    (report,) = user_updates(algo_event(X="FINISHED", ai="777"))
    assert isinstance(report, OrderReport)
    assert report.status is OrderStatus.TRIGGERED


def test_a_triggered_order_is_known_by_the_type_it_was_placed_with() -> None:
    report = wire.order_report(order(type="MARKET", origType="STOP_MARKET"))
    assert report.type is OrderType.STOP_MARKET


def test_an_order_that_self_trade_prevention_ended_has_expired_with_its_fills() -> None:
    updates = user_updates(fill_event(1, "0.004", "EXPIRED_IN_MATCH", x="EXPIRED", l="0"))
    (report,) = updates
    assert isinstance(report, OrderReport)
    assert (report.status, report.filled_quantity) == (OrderStatus.EXPIRED, Decimal("0.004"))


def test_a_kind_of_income_that_is_not_known_keeps_binances_word() -> None:
    row = {
        "symbol": "",
        "incomeType": "WELCOME_BONUS",
        "income": "5",
        "asset": "USDT",
        "info": "x",
        "time": 1,
        "tranId": 9,
    }
    report = wire.income_report(row)
    assert (report.kind, report.detail) == (IncomeKind.OTHER, "WELCOME_BONUS")


# Refusals.


def refused(code: int, *, status: int = 400, text: str = "", changes: bool = True) -> Exception:
    answer = codes.Answer(status=status, code=code, text=text)
    return codes.error_of(answer, call="POST order", changes=changes)


def test_every_code_of_the_table_is_final_and_says_what_to_do() -> None:
    for code in codes.NOT_ACCEPTED:
        error = refused(code)
        assert isinstance(error, VenueRejected), code
        assert error.next_step or code in codes.UNCHANGED, code


@pytest.mark.parametrize("code", [-1000, -1001, -1006, -1007, -7777])
def test_a_code_outside_the_table_leaves_a_change_unknown(code: int) -> None:
    assert isinstance(refused(code), OutcomeUnknown)


@pytest.mark.parametrize("code", [-1003, -1008, -1015])
def test_a_refusal_for_load_is_to_be_tried_later(code: int) -> None:
    assert isinstance(refused(code, status=429), VenueUnavailable)


def test_a_ban_ends_when_binance_says_so() -> None:
    text = "Way too many requests; IP(1.2.3.4) banned until 1790000060000."
    banned = codes.Answer(status=418, code=-1003, text=text)
    assert codes.pause_s(banned, now_ms=1_790_000_000_000) == 60.0


def test_a_header_says_how_long_a_ban_lasts_whatever_our_idea_of_the_time_is() -> None:
    text = "Way too many requests; IP(1.2.3.4) banned until 1790000060000."
    banned = codes.Answer(status=418, code=-1003, text=text, retry_after_s=60.0)
    assert codes.pause_s(banned, now_ms=1_700_000_000_000) == 60.0


@pytest.mark.parametrize(
    ("status", "code", "header", "seconds"),
    [
        (429, -1003, "7", 7.0),
        (418, None, None, 120.0),
        (403, None, None, 300.0),
        (429, -1015, None, None),
        (401, -2015, None, None),
        (400, -2019, None, None),
    ],
)
def test_calls_pause_as_long_as_the_answer_asks(
    status: int, code: int | None, header: str | None, seconds: float | None
) -> None:
    after = None if header is None else float(header)
    answer = codes.Answer(status=status, code=code, text="", retry_after_s=after)
    assert codes.pause_s(answer, now_ms=0) == seconds
