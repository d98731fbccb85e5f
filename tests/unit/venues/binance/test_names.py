"""Two namespaces of ids, and reports that come late, twice or in any order."""

from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.venues.binance.messages import algo, algo_event, fill_event, order, order_event

from perpdesk.domain.order import ClientOrderId, OrderId, OrderStatus
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.binance import wire
from perpdesk.venues.binance.account_state import AccountState
from perpdesk.venues.binance.names import OrderNames, Recent
from perpdesk.venues.binance.wire_user import user_updates

FILLED = [
    order_event(),
    fill_event(1, "0.004", "PARTIALLY_FILLED"),
    fill_event(2, "0.010", "FILLED", l="0.006"),
]
CANCELED = [
    order_event(),
    fill_event(1, "0.004", "PARTIALLY_FILLED"),
    order_event(x="CANCELED", X="CANCELED", z="0.004", ap="60000"),
]


def told(messages: list[Any]) -> tuple[OrderReport, list[str]]:
    """Return the last report of the order, and the trades that were told."""
    state, last, trades = AccountState(), None, []
    for message in messages:
        for update in user_updates(message):
            if isinstance(update, FillReport) and state.note_fill(update):
                trades.append(update.trade_id)
            elif isinstance(update, OrderReport):
                last = state.accept_order(update) or last
    assert last is not None
    return last, sorted(trades)


@pytest.mark.parametrize(
    ("events", "status", "filled", "trades"),
    [
        (FILLED, OrderStatus.FILLED, "0.010", ["1", "2"]),
        (CANCELED, OrderStatus.CANCELED, "0.004", ["1"]),
    ],
)
def test_every_order_of_events_ends_the_same(
    events: list[Any], status: OrderStatus, filled: str, trades: list[str]
) -> None:
    for shuffled in permutations(events):
        last, found = told(list(shuffled))
        assert (last.status, last.filled_quantity) == (status, Decimal(filled))
        assert found == trades


@given(st.lists(st.sampled_from(FILLED), min_size=1, max_size=12))
def test_what_has_filled_never_becomes_less_and_what_is_closed_stays_closed(
    events: list[Any],
) -> None:
    state, before = AccountState(), None
    for message in events:
        for update in user_updates(message):
            if not isinstance(update, OrderReport):
                continue
            news = state.accept_order(update)
            if news is not None and before is not None:
                assert news.filled_quantity >= before.filled_quantity
                assert news.status.is_closed or not before.status.is_closed
            before = news or before


def test_an_amendment_is_news_though_nothing_has_filled() -> None:
    state = AccountState()
    (first,) = user_updates(order_event())
    (amended,) = user_updates(order_event(x="AMENDMENT", p="59000", T=1_790_000_000_500))
    assert isinstance(first, OrderReport)
    assert isinstance(amended, OrderReport)
    assert state.accept_order(first) is not None
    assert state.accept_order(amended) == amended
    assert state.accept_order(first) is None


def test_an_order_keeps_the_id_under_which_its_trigger_was_placed() -> None:
    names = OrderNames()
    (triggered,) = user_updates(algo_event(X="TRIGGERED", ai="777"))
    assert isinstance(triggered, OrderReport)
    names.learn_conditional(triggered)
    working = wire.order_report(order("venue-made", orderId=777, side="SELL", type="MARKET"))
    ours = names.as_ours(working)
    assert (ours.client_order_id, ours.order_id) == ("desk-sl-1", "2146760")
    assert (ours.status, ours.working_order_id) == (OrderStatus.TRIGGERED, "777")
    assert ours.trigger_price == Decimal(58000)


def test_an_order_that_carries_its_triggers_client_id_is_known_by_it() -> None:
    names = OrderNames()
    names.learn_conditional(wire.algo_report(algo()))
    ours = names.as_ours(wire.order_report(order("desk-sl-1", orderId=777, side="SELL")))
    assert ours.order_id == "2146760"
    assert names.client_of("BTCUSDT", OrderId("777")) == "desk-sl-1"


def test_ids_of_two_symbols_are_kept_apart() -> None:
    names = OrderNames()
    names.learn_regular(wire.order_report(order("desk-1")))
    assert names.client_of("ETHUSDT", OrderId("22542179")) is None


def test_the_namespace_is_known_before_an_order_is_sent() -> None:
    names = OrderNames()
    assert names.is_conditional(ClientOrderId("a")) is None
    names.expect("BTCUSDT", ClientOrderId("a"), conditional=True)
    assert names.is_conditional(ClientOrderId("a")) is True


def test_what_is_remembered_is_bounded() -> None:
    recent: Recent[int, int] = Recent(most=3)
    for number in range(5):
        recent.put(number, number)
    assert len(recent) == 3
    assert [number in recent for number in range(5)] == [False, False, True, True, True]
