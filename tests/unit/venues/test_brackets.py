from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.venues.bracket_story import (
    D,
    bracket_of,
    entry_of,
    fill,
    placed,
    report,
    stop_leg,
    target_leg,
    told,
)

from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderStatus, OrderType
from perpdesk.venues.bracket_orders import with_number
from perpdesk.venues.brackets import Bracket, BracketCommand

ACCEPTED, PARTIAL, FILLED, CANCELED, REJECTED, EXPIRED = (
    OrderStatus.ACCEPTED,
    OrderStatus.PARTIALLY_FILLED,
    OrderStatus.FILLED,
    OrderStatus.CANCELED,
    OrderStatus.REJECTED,
    OrderStatus.EXPIRED,
)
ENTRY = entry_of()


def accept(bracket: Bracket, commands: list[BracketCommand]) -> list[BracketCommand]:
    """Let the venue accept all that is to be placed; return what follows."""
    follows: list[BracketCommand] = []
    for request in placed(commands).values():
        follows += bracket.on_report(report(request, ACCEPTED))
    return follows


def filled_bracket() -> tuple[Bracket, OrderRequest, OrderRequest]:
    """Return a bracket whose entry has filled, with its accepted stop and target."""
    bracket = bracket_of()
    bracket.start()
    commands = bracket.on_report(report(ENTRY, FILLED, "1"))
    accept(bracket, commands)
    stop, target = placed(commands).values()
    return bracket, stop, target


def test_it_begins_with_the_entry_alone() -> None:
    bracket = bracket_of()
    assert told(bracket.start()) == ["place desk-sig-e-1 MARKET 1"]
    assert bracket.on_report(report(ENTRY, ACCEPTED)) == []


def test_legs_are_placed_for_what_has_filled_and_only_reduce() -> None:
    bracket = bracket_of()
    bracket.start()
    commands = bracket.on_fill(fill(ENTRY, "1", "0.4"))
    assert told(commands) == [
        "place desk-sig-s-1 STOP_MARKET 0.4",
        "place desk-sig-t1-1 LIMIT 0.4",
    ]
    for request in placed(commands).values():
        assert request.reduce_only
        # Awake, and tied by us: a venue must neither hold it back nor cancel it for a sibling.
        assert request.parent_id is None
        assert request.oco_id is None
    assert bracket.protected_quantity == 0
    accept(bracket, commands)
    assert bracket.protected_quantity == bracket.open_quantity == D("0.4")


def test_a_further_fill_places_the_new_stop_before_the_old_one_is_canceled() -> None:
    bracket = bracket_of()
    bracket.start()
    accept(bracket, bracket.on_fill(fill(ENTRY, "1", "0.4")))
    commands = bracket.on_fill(fill(ENTRY, "2", "0.6"))
    assert told(commands) == ["place desk-sig-s-2 STOP_MARKET 1", "cancel desk-sig-t1-1"]
    stop = placed(commands)["desk-sig-s-2"]
    assert told(bracket.on_report(report(stop, ACCEPTED))) == ["cancel desk-sig-s-1"]
    gone = bracket.on_report(report(replace(target_leg(), quantity=D("0.4")), CANCELED, at_ms=2))
    assert told(gone) == ["place desk-sig-t1-2 LIMIT 1"]


def test_fills_that_come_while_a_stop_is_under_way_lead_to_one_more_not_to_many() -> None:
    bracket = bracket_of()
    bracket.start()
    first = bracket.on_fill(fill(ENTRY, "1", "0.1"))
    for number in range(2, 11):
        commands = bracket.on_fill(fill(ENTRY, str(number), "0.1"))
        assert not any("-s-" in words for words in told(commands))
    follows = accept(bracket, first)
    assert "place desk-sig-s-2 STOP_MARKET 1" in told(follows)


def test_the_same_words_again_ask_for_nothing_new() -> None:
    bracket, stop, target = filled_bracket()
    for _ in range(3):
        assert bracket.on_report(report(ENTRY, FILLED, "1")) == []
        assert bracket.on_fill(fill(ENTRY, "1", "1")) == []
        assert bracket.on_report(report(ENTRY, ACCEPTED)) == []
        assert bracket.on_report(report(stop, ACCEPTED)) == []
        assert bracket.on_report(report(target, ACCEPTED)) == []


def test_fills_and_reports_of_one_trade_are_not_added_up() -> None:
    bracket = bracket_of()
    bracket.start()
    bracket.on_report(report(ENTRY, PARTIAL, "0.4"))
    bracket.on_fill(fill(ENTRY, "1", "0.4"))
    bracket.on_fill(fill(ENTRY, "1", "0.4"))
    assert bracket.open_quantity == D("0.4")


@pytest.mark.parametrize("status", [CANCELED, EXPIRED, REJECTED])
def test_an_entry_that_ends_unfilled_places_nothing(status: OrderStatus) -> None:
    bracket = bracket_of()
    bracket.start()
    assert bracket.on_report(report(ENTRY, status)) == []
    assert bracket.is_done


def test_a_refused_entry_places_nothing_and_keeps_the_reason() -> None:
    bracket = bracket_of()
    bracket.start()
    assert bracket.on_refused(ENTRY.client_order_id, "-2019", "margin is insufficient") == []
    assert bracket.is_done
    assert "-2019" in bracket.refusal


def test_an_entry_that_fills_in_part_and_is_canceled_keeps_its_protection() -> None:
    bracket = bracket_of()
    bracket.start()
    accept(bracket, bracket.on_fill(fill(ENTRY, "1", "0.4")))
    assert bracket.on_report(report(ENTRY, CANCELED, "0.4", at_ms=2)) == []
    assert bracket.protected_quantity == D("0.4")
    assert not bracket.is_done


def test_a_fill_that_was_told_after_the_cancel_is_protected_too() -> None:
    bracket = bracket_of()
    bracket.start()
    bracket.on_report(report(ENTRY, CANCELED))
    assert told(bracket.on_fill(fill(ENTRY, "1", "0.3"))) == [
        "place desk-sig-s-1 STOP_MARKET 0.3",
        "place desk-sig-t1-1 LIMIT 0.3",
    ]


def test_when_a_leg_has_filled_its_siblings_are_canceled() -> None:
    for which in (1, 2):
        bracket, *legs = filled_bracket()
        hit, other = legs[which - 1], legs[2 - which]
        assert told(bracket.on_report(report(hit, FILLED, "1", at_ms=2))) == [
            f"cancel {other.client_order_id}"
        ]
        assert bracket.on_report(report(other, CANCELED, at_ms=3)) == []
        assert bracket.is_done


def test_a_target_that_fills_in_part_takes_its_share_off_the_stop() -> None:
    bracket, stop, target = filled_bracket()
    commands = bracket.on_fill(fill(target, "7", "0.25"))
    assert told(commands) == ["place desk-sig-s-2 STOP_MARKET 0.75"]
    assert told(accept(bracket, commands)) == [f"cancel {stop.client_order_id}"]


def test_several_targets_share_and_the_stop_covers_what_is_left() -> None:
    first, second = target_leg("0.6", "110"), target_leg("0.4", "120", "desk-sig-t2-1")
    bracket = bracket_of(stop_leg(), first, second)
    bracket.start()
    half = bracket.on_fill(fill(ENTRY, "1", "0.5"))
    # Half of 0.6 and half of 0.4.
    assert told(half) == [
        "place desk-sig-s-1 STOP_MARKET 0.5",
        "place desk-sig-t1-1 LIMIT 0.3",
        "place desk-sig-t2-1 LIMIT 0.2",
    ]
    accept(bracket, half)
    filled_target = placed(half)["desk-sig-t1-1"]
    commands = bracket.on_report(report(filled_target, FILLED, "0.3", at_ms=2))
    assert told(commands) == ["place desk-sig-s-2 STOP_MARKET 0.2"]


def test_a_stop_that_fires_before_the_entry_is_full_ends_the_entry() -> None:
    bracket = bracket_of()
    bracket.start()
    commands = bracket.on_fill(fill(ENTRY, "1", "0.4"))
    accept(bracket, commands)
    bracket.on_report(report(ENTRY, PARTIAL, "0.4"))
    stop = placed(commands)["desk-sig-s-1"]
    follows = bracket.on_report(report(stop, FILLED, "0.4", at_ms=2))
    assert told(follows) == ["cancel desk-sig-t1-1", "cancel desk-sig-e-1"]
    # The cancel came too late for a last fill: it is protected as any other.
    late = bracket.on_fill(fill(ENTRY, "2", "0.1"))
    assert "place desk-sig-s-2 STOP_MARKET 0.1" in told(late)


def test_a_stop_that_was_canceled_by_hand_is_placed_again_but_not_for_ever() -> None:
    bracket, stop, _ = filled_bracket()
    for number in (2, 3):
        commands = bracket.on_report(report(stop, CANCELED, at_ms=number))
        assert told(commands) == [f"place desk-sig-s-{number} STOP_MARKET 1"]
        accept(bracket, commands)
        (stop,) = placed(commands).values()
    commands = bracket.on_report(report(stop, CANCELED, at_ms=4))
    assert told(commands) == ["alarm", "place desk-sig-e-x-1 MARKET 1"]


def test_a_refused_stop_is_tried_once_more_in_its_plainest_form_on_the_grid() -> None:
    crooked = replace(stop_leg(), type=OrderType.STOP_LIMIT, trigger_price=D("95.04"), price=D(94))
    bracket = bracket_of(crooked)
    bracket.start()
    bracket.on_fill(fill(ENTRY, "1", "1"))
    commands = bracket.on_refused(crooked.client_order_id, "-4014", "not on the tick")
    (again,) = placed(commands).values()
    assert told(commands) == ["place desk-sig-s-2 STOP_MARKET 1"]
    assert (again.trigger_price, again.price, again.reduce_only) == (D("95.0"), None, True)


def test_a_stop_that_is_refused_twice_closes_at_market_with_an_alarm() -> None:
    bracket = bracket_of()
    bracket.start()
    commands = bracket.on_fill(fill(ENTRY, "1", "1"))
    bracket.on_report(report(target_leg(), ACCEPTED))
    (second,) = placed(bracket.on_refused(stop_leg().client_order_id, "-4120", "algo")).values()
    commands = bracket.on_refused(second.client_order_id, "-4120", "algo")
    assert told(commands) == ["alarm", "place desk-sig-e-x-1 MARKET 1"]
    (leave,) = placed(commands).values()
    assert leave.reduce_only
    follows = bracket.on_report(report(leave, FILLED, "1"))
    assert told(follows) == ["cancel desk-sig-t1-1"]
    bracket.on_report(report(target_leg(), CANCELED, at_ms=2))
    bracket.on_report(report(ENTRY, FILLED, "1"))
    assert bracket.is_done


@pytest.mark.parametrize("code", ["-2021", "110092", "110093"])
def test_a_stop_that_would_trigger_at_once_closes_at_market_at_once(code: str) -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    bracket.on_report(report(ENTRY, PARTIAL, "0.4"))
    commands = bracket.on_refused(stop_leg().client_order_id, code, "would trigger")
    assert told(commands) == [
        "alarm",
        "place desk-sig-e-x-1 MARKET 0.4",
        "cancel desk-sig-e-1",
    ]


def test_an_exit_that_fills_in_part_goes_on_with_the_rest() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    bracket.on_report(report(ENTRY, FILLED, "1"))
    commands = bracket.on_refused(stop_leg().client_order_id, "-2021", "would trigger")
    (leave,) = placed(commands).values()
    commands = bracket.on_report(report(leave, CANCELED, "0.7", at_ms=2))
    assert told(commands) == ["place desk-sig-e-x-2 MARKET 0.3"]


def test_an_exit_with_nothing_to_reduce_means_that_the_position_is_gone() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    bracket.on_report(report(ENTRY, FILLED, "1"))
    bracket.on_refused(stop_leg().client_order_id, "-2022", "reduce-only")
    commands = bracket.on_refused(ClientOrderId("desk-sig-s-2"), "-2022", "reduce-only")
    (leave,) = placed(commands).values()
    commands = bracket.on_refused(leave.client_order_id, "-2022", "reduce-only")
    assert told(commands) == ["alarm"]
    assert bracket.is_done


def test_an_exit_that_is_refused_again_and_again_calls_for_a_person_and_stops() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    bracket.on_report(report(ENTRY, FILLED, "1"))
    commands = bracket.on_refused(stop_leg().client_order_id, "-2021", "would trigger")
    for _ in range(3):
        (leave,) = placed(commands).values()
        commands = bracket.on_refused(leave.client_order_id, "-4131", "price")
    assert told(commands) == ["alarm"]
    assert bracket.is_done


def test_a_refused_target_leaves_the_stop_and_tells() -> None:
    bracket = bracket_of()
    bracket.start()
    commands = bracket.on_fill(fill(ENTRY, "1", "1"))
    bracket.on_report(report(placed(commands)["desk-sig-s-1"], ACCEPTED))
    assert told(bracket.on_refused(target_leg().client_order_id, "-4016", "band")) == ["alarm"]
    assert bracket.protected_quantity == 1


def test_a_stop_that_is_not_confirmed_in_time_closes_at_market() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    bracket.on_report(report(ENTRY, FILLED, "1"))
    commands = bracket.on_overdue(stop_leg().client_order_id)
    assert told(commands) == ["alarm", "place desk-sig-e-x-1 MARKET 1"]
    (leave,) = placed(commands).values()
    bracket.on_report(report(leave, FILLED, "1"))
    # The stop was there after all: it has nothing left to do.
    assert told(bracket.on_report(report(stop_leg(), ACCEPTED))) == ["cancel desk-sig-s-1"]


def test_a_stop_that_never_arrived_is_placed_under_a_new_id() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    bracket.on_report(report(ENTRY, FILLED, "1"))
    commands = bracket.on_absent(stop_leg().client_order_id)
    assert told(commands) == ["place desk-sig-s-2 STOP_MARKET 1"]
    # And if the venue knew it after all, one of the two goes, once the newer is accepted.
    assert told(bracket.on_report(report(stop_leg(), ACCEPTED))) == ["alarm"]
    assert told(accept(bracket, commands)) == ["cancel desk-sig-s-1"]


def test_a_late_fill_of_an_entry_taken_for_absent_is_protected_with_one_alarm() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    assert bracket.on_absent(ENTRY.client_order_id) == []
    assert bracket.is_done
    commands = bracket.on_fill(fill(ENTRY, "1", "1"))
    assert told(commands) == ["alarm", "place desk-sig-s-1 STOP_MARKET 1"]
    assert told(bracket.on_report(report(ENTRY, FILLED, "1"))) == []


def test_a_moved_stop_is_placed_at_the_new_trigger_before_the_old_goes() -> None:
    bracket, stop, _ = filled_bracket()
    commands = bracket.move_stop(D(98))
    (moved,) = placed(commands).values()
    assert (moved.client_order_id, moved.trigger_price) == ("desk-sig-s-2", D(98))
    assert told(accept(bracket, commands)) == [f"cancel {stop.client_order_id}"]


def test_after_a_restart_what_is_at_the_venue_is_recognized_by_its_ids() -> None:
    bracket, stop, target = filled_bracket()
    (moved,) = placed(bracket.move_stop(D(98))).values()
    # Killed between the steps: both stops rest, and the entry is known by asking.
    again = bracket_of(stop_leg(trigger="98"), target_leg())
    orders = (
        report(moved, ACCEPTED),
        report(target, ACCEPTED),
        report(stop, ACCEPTED),
        report(ENTRY, FILLED, "1"),
    )
    assert told(again.synchronize(orders, ())) == ["cancel desk-sig-s-1"]


def test_after_a_restart_without_a_stop_it_is_placed_first() -> None:
    again = bracket_of()
    commands = again.synchronize((report(ENTRY, FILLED, "1"),), (fill(ENTRY, "1", "1"),))
    assert told(commands)[0] == "place desk-sig-s-1 STOP_MARKET 1"


def test_after_a_restart_fills_of_orders_that_are_closed_by_now_count() -> None:
    again = bracket_of()
    old = replace(target_leg(), client_order_id=ClientOrderId("desk-sig-t1-3"), quantity=D("0.4"))
    fills = (fill(ENTRY, "1", "1"), fill(old, "9", "0.4"))
    assert again.unreported_of(fills) == {"desk-sig-t1-3"}
    orders = (report(ENTRY, FILLED, "1"), report(old, FILLED, "0.4"))
    commands = again.synchronize(orders, fills)
    assert told(commands) == [
        "place desk-sig-s-1 STOP_MARKET 0.6",
        "place desk-sig-t1-4 LIMIT 0.6",
    ]


def test_orders_of_others_are_left_alone() -> None:
    bracket, *_ = filled_bracket()
    other = replace(stop_leg(), client_order_id=ClientOrderId("desk-other-s-1"))
    assert bracket.on_report(report(other, FILLED, "1")) == []
    assert bracket.on_fill(fill(other, "5", "1")) == []
    assert bracket.open_quantity == 1


@pytest.mark.parametrize(
    ("first", "number", "then"),
    [
        ("desk-sig-s-1", 2, "desk-sig-s-2"),
        ("desk-sig-s-9", 10, "desk-sig-s-10"),
        ("unnumbered", 2, "unnumbered-2"),
    ],
)
def test_later_attempts_count_up_the_id(first: str, number: int, then: str) -> None:
    assert with_number(first, number) == then


def test_ids_stay_within_what_both_venues_take_and_stay_apart() -> None:
    stem = "desk-0123456789abcdef0123456789"
    stop, target = f"{stem}-s-1", f"{stem}-t1-1"
    ids = {with_number(name, number) for name in (stop, target) for number in (9, 10, 100, 1000)}
    assert len(ids) == 8
    assert all(len(each) <= 36 for each in ids)


def test_quantities_are_exact() -> None:
    bracket = bracket_of(stop_leg())
    bracket.start()
    for number in range(3):
        bracket.on_fill(fill(ENTRY, str(number), "0.1"))
    assert bracket.open_quantity == Decimal("0.3")
