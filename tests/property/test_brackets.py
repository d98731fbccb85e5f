"""Brackets at a venue whose words come twice, late, or in any order: protected or flat in the end.

The venue here keeps its own truth. What it says lies in a bag from which words are drawn at random,
some of them several times; what the bracket asks is carried out at random moments, refused, lost on
the way, or carried out with the answer lost.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from hypothesis import event, given
from hypothesis import strategies as st
from tests.unit.venues.bracket_story import (
    bracket_of,
    entry_of,
    fill,
    report,
    stop_leg,
    target_leg,
)

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderStatus, OrderType
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.brackets import Alarm, Bracket, BracketCommand, Cancel, Place

STEP = Decimal("0.001")


@dataclass
class VenueOrder:
    request: OrderRequest
    filled: Decimal = ZERO
    status: OrderStatus = OrderStatus.ACCEPTED
    canceled_by_hand: bool = False

    @property
    def leaves(self) -> Decimal:
        assert self.request.quantity is not None
        return ZERO if self.status.is_closed else self.request.quantity - self.filled

    @property
    def is_stop(self) -> bool:
        return self.request.type is OrderType.STOP_MARKET


@dataclass
class Drill:
    """A bracket, a venue, and everything that is under way between the two."""

    random: Random
    bracket: Bracket
    faults: bool
    orders: dict[ClientOrderId, VenueOrder] = field(default_factory=dict)
    words: list[OrderReport | FillReport] = field(default_factory=list)
    asked: list[BracketCommand] = field(default_factory=list)
    unresolved: list[ClientOrderId] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    clock: int = 0
    trades: int = 0

    # The venue.

    @property
    def position(self) -> Decimal:
        signed = (each.filled * each.request.side.sign for each in self.orders.values())
        return sum(signed, ZERO)

    def say(self, order: VenueOrder) -> None:
        self.clock += 1
        word = report(order.request, order.status, order.filled, at_ms=self.clock)
        self.words.append(word)

    def trade(self, order: VenueOrder, most: Decimal) -> None:
        quantity = min(order.leaves, most)
        if order.request.reduce_only:
            quantity = min(quantity, self.position)
        if quantity <= ZERO:
            return
        self.trades += 1
        order.filled += quantity
        whole = order.filled == order.request.quantity
        order.status = OrderStatus.FILLED if whole else OrderStatus.PARTIALLY_FILLED
        self.say(order)
        self.words.append(fill(order.request, str(self.trades), quantity))

    def some(self) -> Decimal:
        return STEP * self.random.randint(1, 1000)

    def something_fills(self) -> None:
        live = [order for order in self.orders.values() if order.leaves]
        if live:
            self.trade(self.random.choice(live), self.some())

    def entry_ends(self) -> None:
        entry = self.orders.get(self.bracket.plan.entry.client_order_id)
        if entry is not None and entry.leaves:
            entry.status = OrderStatus.CANCELED
            self.say(entry)

    def somebody_cancels_a_leg(self) -> None:
        legs = [each for each in self.orders.values() if each.leaves and each.request.reduce_only]
        if legs and self.faults:
            leg = self.random.choice(legs)
            leg.status, leg.canceled_by_hand = OrderStatus.CANCELED, True
            self.say(leg)

    # Between the two.

    def do(self, commands: list[BracketCommand]) -> None:
        for command in commands:
            if isinstance(command, Alarm):
                self.alarms.append(command.message)
            else:
                self.asked.append(command)

    def hear(self) -> None:
        if self.words:
            place = self.random.randrange(len(self.words))
            again = self.random.random() < 0.3
            word = self.words[place] if again else self.words.pop(place)
            self.tell(word)

    def tell(self, word: OrderReport | FillReport) -> None:
        if isinstance(word, FillReport):
            self.do(self.bracket.on_fill(word))
        else:
            self.do(self.bracket.on_report(word))

    def carry_out(self) -> None:
        if not self.asked:
            return
        command = self.asked.pop(self.random.randrange(len(self.asked)))
        if isinstance(command, Cancel):
            self.cancel(command)
        elif isinstance(command, Place):
            self.place(command.request)

    def place(self, request: OrderRequest) -> None:
        assert request.client_order_id not in self.orders, "nothing is sent twice"
        chance = self.random.random() if self.faults else 1.0
        if request.reduce_only and not self.position:
            self.do(self.bracket.synchronize(self.what_it_has(), ()))
            self.do(self.bracket.on_refused(request.client_order_id, "-2022", "reduce-only"))
            return
        if chance < 0.1:
            code = self.random.choice(["-2021", "-4014", "-4120"])
            self.do(self.bracket.on_refused(request.client_order_id, code, "no"))
            return
        if chance < 0.2:
            self.unresolved.append(request.client_order_id)  # Lost on the way.
            return
        order = self.orders[request.client_order_id] = VenueOrder(request)
        self.say(order)
        if chance < 0.3:
            self.unresolved.append(request.client_order_id)  # The answer was lost.
        if request.reduce_only and request.type is OrderType.MARKET:
            self.trade(order, self.some() if self.random.random() < 0.3 else order.leaves)
            if order.leaves:
                order.status = OrderStatus.CANCELED
                self.say(order)

    def what_it_has(self) -> tuple[OrderReport, ...]:
        return tuple(
            report(order.request, order.status, order.filled, at_ms=self.clock)
            for order in self.orders.values()
        )

    def cancel(self, command: Cancel) -> None:
        order = self.orders[command.client_order_id]
        if order.leaves:
            if order.is_stop:
                self.check_that_another_protects(order)
            order.status = OrderStatus.CANCELED
        # Refused or not: what became of it is asked for, and said.
        self.say(order)

    def check_that_another_protects(self, order: VenueOrder) -> None:
        others = (
            each.leaves or each.filled or each.canceled_by_hand
            for each in self.orders.values()
            if each.is_stop and each is not order
        )
        known_open = self.bracket.open_quantity
        assert (
            not self.position or not known_open or any(others) or self.bracket.position_is_gone
        ), "the last stop was canceled while something was open"

    def resolve(self) -> None:
        if self.unresolved:
            order_id = self.unresolved.pop(self.random.randrange(len(self.unresolved)))
            if order_id in self.orders:
                self.say(self.orders[order_id])
            else:
                self.do(self.bracket.on_absent(order_id))

    def settle(self) -> None:
        for _ in range(10_000):
            if not (self.words or self.asked or self.unresolved):
                return
            self.random.choice([self.hear, self.hear, self.carry_out, self.resolve])()
        raise AssertionError("it never comes to rest")


def drill(random: Random, *, faults: bool) -> Drill:
    targets = random.choice(
        [
            [target_leg()],
            [target_leg("0.6"), target_leg("0.4", "120", "desk-sig-t2-1")],
            [target_leg("0.5")],
            [],
        ]
    )
    entry = entry_of(kind=OrderType.LIMIT, price="100")
    found = Drill(random, bracket_of(stop_leg(), *targets, entry=entry), faults)
    found.do(found.bracket.start())
    return found


def check_the_end(found: Drill) -> None:
    live = [order for order in found.orders.values() if order.leaves and order.request.reduce_only]
    stops = [order for order in live if order.is_stop]
    if not found.position:
        assert not live, "nothing rests once nothing is open"
        event("flat")
        return
    assert found.bracket.open_quantity == found.position
    if found.alarms and not stops:
        assert "UNPROTECTED" in found.alarms[-1] or found.bracket.position_is_gone
        event("a person was called")
        return
    if found.bracket.exit_reason:
        event("left at market, and could not")
        return
    assert [order.leaves for order in stops] == [found.position], "exactly what is open"
    assert sum((order.leaves for order in live if not order.is_stop), ZERO) <= found.position
    event("protected")


SEEDS = st.integers(0, 2**32)
STORIES = st.lists(
    st.sampled_from(["hear", "carry out", "fill", "end", "hand", "resolve"]), max_size=60
)


def play(found: Drill, story: list[str]) -> None:
    moves = {
        "hear": found.hear,
        "carry out": found.carry_out,
        "fill": found.something_fills,
        "end": found.entry_ends,
        "hand": found.somebody_cancels_a_leg,
        "resolve": found.resolve,
    }
    for move in story:
        moves[move]()
    found.settle()


@given(seed=SEEDS, story=STORIES)
def test_any_order_of_words_ends_protected_or_flat(seed: int, story: list[str]) -> None:
    found = drill(Random(seed), faults=False)
    play(found, story)
    assert not found.bracket.exit_reason
    check_the_end(found)


@given(seed=SEEDS, story=STORIES)
def test_so_it_does_when_orders_are_refused_lost_and_canceled_by_hand(
    seed: int, story: list[str]
) -> None:
    found = drill(Random(seed), faults=True)
    play(found, story)
    check_the_end(found)


@given(seed=SEEDS, story=STORIES, cut=st.integers(0, 60))
def test_a_restart_at_any_moment_ends_protected_or_flat(
    seed: int, story: list[str], cut: int
) -> None:
    found = drill(Random(seed), faults=False)
    moves = story[:cut]
    found_moves = {
        "hear": found.hear,
        "carry out": found.carry_out,
        "fill": found.something_fills,
        "resolve": found.resolve,
    }
    for move in moves:
        found_moves.get(move, found.hear)()
    # All that was under way is lost with the process; the venue is asked what it has.
    found.words.clear()
    found.asked.clear()
    found.unresolved.clear()
    fresh = Bracket(found.bracket.plan, found.bracket.instrument)
    found.bracket = fresh
    found.do(fresh.synchronize(found.what_it_has(), ()))
    if found.orders:
        play(found, story[cut:])
        check_the_end(found)
