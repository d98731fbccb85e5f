"""A bracket at a venue that knows none: an entry, and legs that always protect what it has filled.

Pure: it is told what is known of its orders, and says what to place and what to cancel. What it is
told may come twice and in any order, so nothing is counted: filled quantities only grow, a closed
order stays closed, and after each word the same question is asked anew, what is open and what
protects it.

- open = filled by the entry - filled by the legs. A leg works for its share of what has filled, and
  never for more than is open. With nothing open, targets and the rest of the entry go, and the
  stops after them.
- A stop is replaced by placing the new one, and canceling the old once the new is accepted; both
  live is allowed, since both only reduce, none is not. A target is canceled first, because a venue
  may refuse two that together exceed the position (reference/exchanges.md 3.6, -2022).
- A stop that is refused gets one corrected try; then, or where it would trigger at once, what is
  open is closed at market, with an alarm (reference/reliability.md B.3, rows 8, 21, 23).

`bracket_driver.py` carries out what is said here.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.events import SubmitBracket
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, floor_to_step, round_to_tick
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderStatus,
    OrderType,
    TimeInForce,
)
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.bracket_orders import BracketLeg, SentOrder, exit_request

WOULD_TRIGGER: Final = frozenset({"-2021", "110092", "110093"})
NOTHING_TO_REDUCE: Final = frozenset({"-2022", "110017"})
ATTEMPTS: Final = 3
"""How often a stop that somebody else ended is placed again, and an exit is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Place an order. protects: whether a position is without a stop until it is accepted."""

    request: OrderRequest
    protects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancel an order that the venue is known to have accepted."""

    symbol: str
    client_order_id: ClientOrderId


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Tell a person."""

    message: str


BracketCommand = Place | Cancel | Alarm


class Bracket:
    """One bracket from its entry to the end of its last leg.

    plan: legs name the entry as `parent_id`, with the quantity for the whole entry. Every method
    returns what is to be done now; the same words again ask for nothing new.
    """

    def __init__(self, plan: SubmitBracket, instrument: Instrument) -> None:
        if plan.entry.quantity is None or any(leg.quantity is None for leg in plan.legs):
            raise InvariantBroken("the orders of a bracket need a quantity")
        self.plan = plan
        self.instrument = instrument
        self.entry = SentOrder(plan.entry)
        self.legs = [BracketLeg(leg) for leg in plan.legs]
        self.exit_reason = ""
        self.position_is_gone = False
        self.refusal = ""
        self._exits = BracketLeg(exit_request(plan.entry))
        self._by_id: dict[ClientOrderId, SentOrder] = {plan.entry.client_order_id: self.entry}
        self._early_fills: dict[ClientOrderId, list[FillReport]] = {}
        self._alarms: list[Alarm] = []

    # What is known.

    @property
    def open_quantity(self) -> Decimal:
        """Return what the entry has filled and no leg has closed yet, in base."""
        closed = sum((leg.filled for leg in (*self.legs, self._exits)), ZERO)
        return max(ZERO, self.entry.filled - closed)

    @property
    def protected_quantity(self) -> Decimal:
        """Return what accepted stops would close, in base."""
        stops = (order for leg in self.legs if leg.is_stop for order in leg.live if order.accepted)
        return sum((order.leaves for order in stops), ZERO)

    @property
    def live_ids(self) -> tuple[ClientOrderId, ...]:
        """Return the ids of the orders that may still work."""
        orders = (self.entry, *(order for leg in self._all_legs() for order in leg.live))
        return tuple(order.client_order_id for order in orders if not order.is_closed)

    @property
    def is_done(self) -> bool:
        """Tell whether nothing works and nothing is open; a late fill may still revive it."""
        if self.live_ids:
            return False
        tried = self._exits.given_up or all(leg.given_up for leg in self.legs)
        return not self.open_quantity or self.position_is_gone or tried

    def unreported_of(self, fills: tuple[FillReport, ...]) -> set[ClientOrderId]:
        """Return the orders of this bracket that traded, but of which nothing else is known."""
        names = {fill.client_order_id for fill in fills} | set(self._early_fills)
        return {
            name
            for name in names - set(self._by_id)
            if any(leg.is_ours(name) for leg in self._all_legs())
        }

    def wants(self, client_order_id: ClientOrderId) -> bool:
        """Tell whether an order that could not be sent yet is still to be sent."""
        sent = self._by_id[client_order_id]
        if sent.is_closed or sent.accepted:
            return False
        return sent is self.entry or self.open_quantity > ZERO

    # What is told.

    def start(self) -> list[BracketCommand]:
        """Place the entry. After a restart `synchronize` is told what is known instead."""
        return [Place(request=self.entry.request, protects=False)]

    def synchronize(
        self, orders: tuple[OrderReport, ...], fills: tuple[FillReport, ...]
    ) -> list[BracketCommand]:
        """Take many words at once, before anything is concluded from them."""
        for report in orders:
            sent = self._sent_of(report)
            if sent is not None:
                was_absent = sent.absent
                sent.learn(report)
                self._mind_revival(sent, was_absent=was_absent)
        for fill in fills:
            self._learn_fill(fill)
        return self._decide()

    def on_report(self, report: OrderReport) -> list[BracketCommand]:
        """Take what the venue says of an order; orders of others are left alone."""
        self._learn(report)
        return self._decide()

    def on_fill(self, fill: FillReport) -> list[BracketCommand]:
        """Take a trade; one that comes twice counts once."""
        self._learn_fill(fill)
        return self._decide()

    def on_refused(
        self, client_order_id: ClientOrderId, code: str, reason: str
    ) -> list[BracketCommand]:
        """Take a refusal to place an order; it is final.

        Where there was nothing to reduce, the caller asks first what the other orders have become
        (`synchronize`): the fill that closed the position may not have been told yet.
        """
        sent = self._by_id[client_order_id]
        if sent.closed:
            return []
        sent.closed = True
        self._judge_refusal(sent, code, reason)
        return self._decide()

    def on_absent(self, client_order_id: ClientOrderId) -> list[BracketCommand]:
        """Take that an order never arrived: a leg may be tried anew, under a new id."""
        self._by_id[client_order_id].absent = True
        return self._decide()

    def on_cancel_failed(self, client_order_id: ClientOrderId) -> list[BracketCommand]:
        """Take that an order is still open although it was to be canceled: it is asked again."""
        self._by_id[client_order_id].cancel_sent = False
        return self._decide()

    def on_overdue(self, client_order_id: ClientOrderId) -> list[BracketCommand]:
        """Take that it is not known in time whether a stop protects: close at market."""
        if self.wants(client_order_id) and self.open_quantity > self.protected_quantity:
            self._leave_at_market(f"stop {client_order_id} was not confirmed in time")
        return self._decide()

    def move_stop(self, trigger_price: Decimal) -> list[BracketCommand]:
        """Move the stop: place at the new trigger, then cancel at the old."""
        for leg in self.legs:
            if leg.is_stop and leg.plan.trigger_price is not None:
                leg.plan, leg.refused = replace(leg.plan, trigger_price=trigger_price), 0
        return self._decide()

    # Learning.

    def _learn(self, report: OrderReport) -> None:
        sent = self._sent_of(report)
        if sent is None:
            return
        was_closed, was_absent = sent.is_closed, sent.absent
        sent.learn(report)
        self._mind_revival(sent, was_absent=was_absent)
        if was_closed or not sent.is_closed or sent.cancel_sent or sent.is_filled:
            return
        leg = self._leg_of(sent)
        if leg is None or not self.open_quantity:
            return
        if report.status is OrderStatus.REJECTED:
            self._judge_refusal(sent, "", report.reason or "rejected when it triggered")
        else:
            self._judge_ending(leg, report)

    def _learn_fill(self, fill: FillReport) -> None:
        sent = self._by_id.get(fill.client_order_id)
        if sent is not None:
            was_absent = sent.absent
            sent.learn_fill(fill)
            self._mind_revival(sent, was_absent=was_absent)
        elif any(leg.is_ours(fill.client_order_id) for leg in self._all_legs()):
            self._early_fills.setdefault(fill.client_order_id, []).append(fill)

    def _mind_revival(self, sent: SentOrder, *, was_absent: bool) -> None:
        """Tell a person of an order that the venue denied and has: our picture was wrong."""
        if was_absent and not sent.absent:
            words = "was taken for never arrived, and the venue has it: it is followed again"
            self._alarm(f"{sent.client_order_id} of {sent.request.symbol} {words}")

    def _sent_of(self, report: OrderReport) -> SentOrder | None:
        """Find the order that is meant, also one of ours that was placed before a restart."""
        sent = self._by_id.get(report.client_order_id)
        if sent is not None:
            return sent
        for leg in self._all_legs():
            if report.symbol == leg.plan.symbol and leg.is_ours(report.client_order_id):
                request = replace(
                    leg.plan,
                    client_order_id=report.client_order_id,
                    type=report.type,
                    quantity=report.quantity,
                    price=report.price,
                    trigger_price=report.trigger_price,
                )
                return self._add(leg, request)
        return None

    def _judge_refusal(self, sent: SentOrder, code: str, reason: str) -> None:
        leg = self._leg_of(sent)
        words = f"{sent.client_order_id} was refused ({code}): {reason}"
        if leg is None:
            self.refusal = words
        elif not self.open_quantity:
            return  # It crossed the fill that closed the position: there is nothing to protect.
        elif leg is self._exits:
            leg.refused += 1
            if code in NOTHING_TO_REDUCE:
                self.position_is_gone = True
                self._alarm(f"the position of {sent.request.symbol} is gone: {words}")
            elif leg.refused >= ATTEMPTS:
                self._give_up(words)
        elif not leg.is_stop:
            leg.given_up = True
            self._alarm(f"target {words}; the stop stays")
        else:
            leg.refused += 1
            if code in WOULD_TRIGGER or leg.refused > 1:
                self._leave_at_market(f"stop {words}")

    def _judge_ending(self, leg: BracketLeg, report: OrderReport) -> None:
        """A leg was ended by somebody else: it is placed again, but not for ever.

        An exit that filled in part has got on, so it does not count.
        """
        if leg is self._exits and report.filled_quantity:
            return
        leg.ended_by_others += 1
        if leg.ended_by_others < ATTEMPTS or leg.given_up:
            return
        words = f"{report.client_order_id} was ended at the venue again: {report.reason}"
        if leg.is_stop:
            self._leave_at_market(f"stop {words}")
        elif leg is self._exits:
            self._give_up(words)
        else:
            leg.given_up = True
            self._alarm(f"{leg.plan.purpose} {words}; it is not placed any more")

    def _leave_at_market(self, reason: str) -> None:
        if not self.exit_reason:
            self.exit_reason = reason
            self._alarm(f"closing {self.plan.entry.symbol} at market: {reason}")

    def _give_up(self, words: str) -> None:
        self._exits.given_up = True
        symbol = self.plan.entry.symbol
        self._alarm(f"{symbol} is UNPROTECTED and cannot be closed, close it by hand: {words}")

    def _alarm(self, message: str) -> None:
        self._alarms.append(Alarm(message=message))

    # Deciding.

    def _decide(self) -> list[BracketCommand]:
        commands: list[BracketCommand] = list(self._alarms)
        self._alarms.clear()
        still_open = ZERO if self.position_is_gone else self.open_quantity
        if self.exit_reason:
            commands += self._exit(still_open)
        # Stops share what is open among themselves, and so do targets: each side covers it once.
        for_stops = for_targets = still_open
        for leg in self.legs:
            share = ZERO if leg.given_up else max(ZERO, self._share(leg) - leg.filled)
            if leg.is_stop:
                wanted = min(share, for_stops)
                for_stops -= wanted
                commands += self._stop(leg, wanted)
            else:
                wanted = min(share, for_targets)
                for_targets -= wanted
                commands += self._target(leg, wanted)
        # What has spoken has spoken: the rest of the entry must not open anything more.
        if self.exit_reason or self.position_is_gone or (self.entry.filled and not still_open):
            commands += self._cancel(self.entry)
        return commands

    def _share(self, leg: BracketLeg) -> Decimal:
        """Return the leg's part of what has filled, by the sizes that were planned together."""
        planned, whole = leg.plan.quantity, self.plan.entry.quantity
        assert planned is not None
        assert whole is not None
        filled = self.entry.filled
        if planned == whole:
            return filled
        if filled >= whole:
            return planned
        return floor_to_step(planned * filled / whole, self.instrument.step_size)

    def _stop(self, leg: BracketLeg, wanted: Decimal) -> list[BracketCommand]:
        """Place anew where the newest does not fit; cancel the older once it is accepted."""
        live = leg.live
        if not wanted:
            if not self.entry.is_closed:
                return []  # The entry is to end first: it may fill once more meanwhile.
            return [command for order in live for command in self._cancel(order)]
        if live and not live[-1].accepted:
            return []  # Under way, or being resolved: never a second one meanwhile.
        fits = bool(live) and live[-1].leaves == wanted and not self._is_stale(leg, live[-1])
        if fits and not live[-1].cancel_sent:
            return [command for order in live[:-1] for command in self._cancel(order)]
        if self.exit_reason:
            return []  # What rests stays until the exit has filled.
        return [self._place(leg, self._corrected(leg) if leg.refused else leg.plan, wanted)]

    def _target(self, leg: BracketLeg, wanted: Decimal) -> list[BracketCommand]:
        """Cancel what does not fit; place anew when it is gone, and its last fill known."""
        live = leg.live
        fits = len(live) == 1 and live[0].leaves == wanted
        if fits:
            return []
        if live:
            return [command for order in live for command in self._cancel(order)]
        if self.exit_reason or not wanted or wanted < self.instrument.min_quantity:
            return []
        return [self._place(leg, leg.plan, wanted)]

    def _exit(self, still_open: Decimal) -> list[BracketCommand]:
        leg = self._exits
        if not still_open or leg.live or leg.given_up:
            return []
        return [self._place(leg, leg.plan, still_open)]

    def _place(self, leg: BracketLeg, terms: OrderRequest, quantity: Decimal) -> Place:
        request = replace(
            terms,
            client_order_id=leg.next_id(),
            quantity=quantity,
            reduce_only=True,
            close_position=False,
            parent_id=None,
            oco_id=None,
        )
        self._add(leg, request)
        return Place(request=request, protects=leg.is_stop)

    def _cancel(self, order: SentOrder) -> list[BracketCommand]:
        if order.is_closed or order.cancel_sent or not order.accepted:
            return []
        order.cancel_sent = True
        return [Cancel(symbol=order.request.symbol, client_order_id=order.client_order_id)]

    def _corrected(self, leg: BracketLeg) -> OrderRequest:
        """Return the stop in its plainest form, on the grid: the one corrected try."""
        plan, tick = leg.plan, self.instrument.tick_size
        if plan.trigger_price is None:
            return plan
        return replace(
            plan,
            type=OrderType.STOP_MARKET,
            price=None,
            trailing=None,
            trigger_price=round_to_tick(plan.trigger_price, tick),
            time_in_force=TimeInForce.GTC,
            expire_ms=None,
        )

    @staticmethod
    def _is_stale(leg: BracketLeg, order: SentOrder) -> bool:
        """Tell whether the stop was moved since the order was placed."""
        wanted = leg.plan.trigger_price
        if wanted is None or leg.refused:  # It trails, or was put on the grid.
            return False
        return order.request.trigger_price != wanted

    # The orders.

    def _all_legs(self) -> tuple[BracketLeg, ...]:
        return (*self.legs, self._exits)

    def _leg_of(self, sent: SentOrder) -> BracketLeg | None:
        return next((leg for leg in self._all_legs() if sent in leg.orders), None)

    def _add(self, leg: BracketLeg, request: OrderRequest) -> SentOrder:
        sent = leg.add(request)
        self._by_id[request.client_order_id] = sent
        for fill in self._early_fills.pop(request.client_order_id, ()):
            sent.learn_fill(fill)
        return sent
