"""What works or trades on our account without having come from this desk."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.venues.bracket_story import BTC, entry_of, fill, report

from perpdesk.domain.errors import UsageRefused
from perpdesk.domain.order import ClientOrderId, OrderStatus
from perpdesk.domain.venue_reports import FillCause, FillReport, OrderReport
from perpdesk.venues.foreign_orders import Foreign, foreign_among, is_ours

D = Decimal
WORDS = st.text(alphabet="abcdefXYZ019", min_size=1, max_size=6)


def working(name: str, symbol: str = BTC) -> OrderReport:
    return replace(
        report(entry_of(), OrderStatus.ACCEPTED), client_order_id=ClientOrderId(name), symbol=symbol
    )


def traded(name: str, trade_id: str = "1", cause: FillCause = FillCause.ORDER) -> FillReport:
    return replace(
        fill(entry_of(), trade_id, D(1)), client_order_id=ClientOrderId(name), cause=cause
    )


def foreign(*reports: OrderReport | FillReport, symbols: tuple[str, ...] = (BTC,)) -> Foreign:
    return foreign_among(
        [one for one in reports if isinstance(one, OrderReport)],
        [one for one in reports if isinstance(one, FillReport)],
        desk_id="desk",
        symbols=symbols,
    )


def test_what_the_desk_sent_is_not_foreign() -> None:
    found = foreign(working("desk-abc-e-1"), traded("desk-abc-s-2"))
    assert not found
    assert found == Foreign()


def test_orders_and_fills_under_other_names_are_foreign_and_named_once() -> None:
    by_hand, of_another = working("web_123"), working("desk2-abc-e-1")
    found = foreign(working("desk-a-e-1"), by_hand, of_another, traded("web_123"))
    assert found.orders == (by_hand, of_another)
    assert found.fills == (traded("web_123"),)
    assert found.names == ("web_123", "desk2-abc-e-1")


def test_what_happens_in_symbols_that_are_not_ours_is_no_business_of_the_desk() -> None:
    assert not foreign(working("web_1", symbol="ETHUSDT"))
    assert foreign(working("web_1", symbol="ETHUSDT"), symbols=(BTC, "ETHUSDT"))


def test_a_closed_foreign_order_acts_no_more_but_its_fills_are_told() -> None:
    done = replace(working("web_1"), status=OrderStatus.FILLED)
    found = foreign(done, traded("web_1"))
    assert found.orders == ()
    assert found.fills == (traded("web_1"),)


@pytest.mark.parametrize("cause", [one for one in FillCause if one is not FillCause.ORDER])
def test_a_fill_by_the_venues_own_hand_is_foreign_whatever_it_is_called(cause: FillCause) -> None:
    assert foreign(traded("", cause=cause)).fills
    assert foreign(traded("desk-a-e-1", cause=cause)).fills
    assert foreign(traded("", cause=cause)).names == ()


def test_a_nameless_order_is_foreign() -> None:
    assert foreign(working("")).orders


@given(desk=WORDS, other=WORDS, rest=WORDS)
def test_two_desks_never_take_an_order_for_their_own(desk: str, other: str, rest: str) -> None:
    name = f"{desk}-{rest}-e-1"
    assert is_ours(name, desk)
    assert is_ours(name, other) == (desk == other)


@pytest.mark.parametrize("desk_id", ["", "de-sk"])
def test_an_id_that_could_be_the_start_of_anothers_is_refused(desk_id: str) -> None:
    with pytest.raises(UsageRefused):
        is_ours("desk-a-e-1", desk_id)
    with pytest.raises(UsageRefused):
        foreign_among((), (), desk_id=desk_id, symbols=())
