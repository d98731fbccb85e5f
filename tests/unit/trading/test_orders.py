import re
from typing import Any

import pytest
from tests.unit.simulation.market import instrument_of
from tests.unit.trading.builders import LONG, SHORT, T0, D, signal_of, targets

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.domain.order import (
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
    WorkingPrice,
)
from perpdesk.domain.signal import EntryType
from perpdesk.trading.orders import bracket_legs, client_order_id, close_request, entry_request

BTC = instrument_of(Venue.BINANCE)


def legs(quantity: str, *pairs: tuple[str, str], **changes: Any) -> list[OrderRequest]:
    signal = signal_of(take_profits=targets(*pairs), **changes)
    entry = entry_request("pd", signal, D(quantity))
    return list(bracket_legs("pd", signal, entry, BTC, stop_watches=WorkingPrice.LAST))


def sizes(found: list[OrderRequest]) -> list[str]:
    return [str(leg.quantity) for leg in found if leg.purpose is OrderPurpose.TAKE_PROFIT]


def test_a_market_entry_does_not_expire() -> None:
    entry = entry_request("pd", signal_of(SHORT), D(3))
    assert (entry.type, entry.side, entry.quantity) == (OrderType.MARKET, Side.SELL, D(3))
    assert (entry.time_in_force, entry.expire_ms, entry.price) == (TimeInForce.GTC, None, None)
    assert entry.purpose is OrderPurpose.ENTRY
    assert not entry.reduce_only


def test_a_limit_entry_works_until_the_next_bar_closes() -> None:
    entry = entry_request("pd", signal_of(entry=EntryType.LIMIT, entry_price=D(99)), D(3))
    assert (entry.type, entry.price, entry.trigger_price) == (OrderType.LIMIT, D(99), None)
    assert (entry.time_in_force, entry.expire_ms) == (TimeInForce.GTD, T0 + HOUR_MS)


def test_a_stop_entry_works_until_the_signal_says() -> None:
    signal = signal_of(entry=EntryType.STOP, entry_price=D(101), valid_until_ms=T0 + 5)
    entry = entry_request("pd", signal, D(3))
    assert (entry.type, entry.price, entry.trigger_price) == (OrderType.STOP_MARKET, None, D(101))
    assert entry.expire_ms == T0 + 5


def test_legs_are_reduce_only_children_of_the_entry_on_the_other_side() -> None:
    stop, target = legs("3", ("106", "1"))
    for leg in (stop, target):
        assert leg.reduce_only
        assert leg.side is Side.SELL
        assert leg.parent_id == entry_request("pd", signal_of(), D(3)).client_order_id
        assert leg.quantity == 3
    assert (stop.type, stop.trigger_price) == (OrderType.STOP_MARKET, D(98))
    assert (target.type, target.price) == (OrderType.LIMIT, D(106))


def test_the_stop_watches_what_the_desk_is_set_to() -> None:
    signal = signal_of()
    entry = entry_request("pd", signal, D(3))
    stop = bracket_legs("pd", signal, entry, BTC, stop_watches=WorkingPrice.MARK)[0]
    assert stop.working_price is WorkingPrice.MARK


def test_a_signal_without_stop_and_target_has_no_legs() -> None:
    assert legs("3", stop_loss=None) == []


def test_targets_share_by_fractions_and_the_last_takes_what_rounding_leaves() -> None:
    # 0.1 · 0.3333 = 0.03333 → 0.033 twice; the last takes 0.1 - 0.066 = 0.034.
    thirds = legs("0.1", ("103", "0.3333"), ("106", "0.3333"), ("109", "0.3334"))
    assert sizes(thirds) == ["0.033", "0.033", "0.034"]


def test_fractions_below_one_leave_the_rest_to_the_stop() -> None:
    # Half and a quarter of 0.010: 0.005 and 0.0025 → 0.002.
    assert sizes(legs("0.010", ("103", "0.5"), ("109", "0.25"))) == ["0.005", "0.002"]


def test_a_share_too_small_to_trade_joins_the_last_target() -> None:
    # A tenth of 0.005 is below the minimum quantity of 0.001.
    found = legs("0.005", ("103", "0.1"), ("109", "0.9"))
    assert sizes(found) == ["0.005"]
    assert found[-1].price == 109


@pytest.mark.parametrize("quantity", ["0.001", "0.002", "0.003", "0.007", "1.234"])
def test_whole_fractions_always_add_up_to_the_quantity(quantity: str) -> None:
    found = legs(quantity, ("103", "0.4"), ("106", "0.3"), ("109", "0.3"))
    total = sum(leg.quantity or 0 for leg in found if leg.purpose is OrderPurpose.TAKE_PROFIT)
    assert total == D(quantity)


def test_a_close_is_a_reduce_only_market_order_on_the_other_side() -> None:
    close = close_request("pd", "abc", "BTCUSDT", SHORT, D(2))
    assert (close.side, close.type, close.reduce_only) == (Side.BUY, OrderType.MARKET, True)
    assert close.purpose is OrderPurpose.EXIT


def test_client_ids_are_what_both_venues_take_and_differ_per_leg() -> None:
    found = legs("3", *((str(100 + n), "0.05") for n in range(1, 13)))
    ids = [leg.client_order_id for leg in found]
    ids += [entry_request("pd", signal_of(), D(3)).client_order_id]
    ids += [close_request("pd", signal_of().id, "BTCUSDT", LONG, D(1)).client_order_id]
    assert len(set(ids)) == len(ids) == 15
    assert all(re.fullmatch(r"[A-Za-z0-9-]{1,36}", name) for name in ids)


def test_the_same_signal_gives_the_same_ids_and_a_new_attempt_a_new_one() -> None:
    first, again = signal_of(), signal_of(confidence=0.5, reason="told otherwise")
    assert entry_request("pd", first, D(1)) == entry_request("pd", again, D(1))
    assert client_order_id("pd", first.id, "e") == f"pd-{first.id}-e-1"
    assert client_order_id("pd", first.id, "e", 2) == f"pd-{first.id}-e-2"
    assert signal_of(ts_ms=T0 + HOUR_MS).id != first.id
