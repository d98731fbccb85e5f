"""Carries out what a bracket says, at any venue; what has an unknown outcome is never sent again.

Each command is a task of its own, so that a target whose outcome is being resolved does not hold up
the stop. What the account's feed says is handed in by `observe`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.errors import (
    Denied,
    OutcomeUnknown,
    PerpdeskError,
    VenueRejected,
    VenueUnavailable,
)
from perpdesk.domain.order import ClientOrderId
from perpdesk.domain.ports import NeverArrived, TradingVenue
from perpdesk.domain.streams import AccountSynchronized, StreamEvent
from perpdesk.domain.venue_reports import FillReport, OrderReport
from perpdesk.venues.brackets import (
    NOTHING_TO_REDUCE,
    Alarm,
    Bracket,
    BracketCommand,
    Cancel,
    Place,
)
from perpdesk.venues.clock import LocalTime

UNPROTECTED_S: Final = 5.0
"""How long a position may be open before it is known that a stop protects it."""
DUPLICATE_ID: Final = frozenset({"-4116", "110072"})
FIRST_WAIT_S: Final = 0.25
LONGEST_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverSettings:
    """linger_s: how long a finished bracket still listens for a late fill."""

    unprotected_s: float = UNPROTECTED_S
    linger_s: float = 10.0


class BracketDriver:
    """Runs one bracket at one venue.

    venue_now_ms: the venue's clock. alarm: told what needs a person.
    """

    def __init__(
        self,
        bracket: Bracket,
        venue: TradingVenue,
        *,
        local: LocalTime,
        venue_now_ms: Callable[[], int],
        alarm: Callable[[str], None],
        settings: DriverSettings | None = None,
    ) -> None:
        self.bracket = bracket
        self._venue = venue
        self._local = local
        self._venue_now_ms = venue_now_ms
        self._alarm = alarm
        self._settings = settings or DriverSettings()
        self._symbol = bracket.plan.entry.symbol
        self._group: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()

    async def run(self, known: AccountSynchronized | None = None) -> None:
        """Run the bracket to its end. known: after a restart, what the venue has of it."""
        try:
            async with asyncio.TaskGroup() as self._group:
                if known is None:
                    self._perform(self.bracket.start())
                else:
                    await self._ask_for_the_rest(known)
                await self._until_done()
        finally:
            self._group = None

    def observe(self, event: StreamEvent) -> None:
        """Take what the account's feed says; what is not of this bracket is ignored."""
        if isinstance(event, OrderReport):
            self._perform(self.bracket.on_report(event))
        elif isinstance(event, FillReport):
            self._perform(self.bracket.on_fill(event))
        elif isinstance(event, AccountSynchronized) and self._group is not None:
            self._group.create_task(self._ask_for_the_rest(event))

    def move_stop(self, trigger_price: Decimal) -> None:
        """Move the bracket's stop; the position stays protected meanwhile."""
        self._perform(self.bracket.move_stop(trigger_price))

    async def _until_done(self) -> None:
        while True:
            while not self.bracket.is_done:
                self._changed.clear()
                await self._changed.wait()
            # The account's feed may still bring a fill that crossed a cancel.
            await self._local.sleep(self._settings.linger_s)
            if self.bracket.is_done:
                return

    def _perform(self, commands: Iterable[BracketCommand]) -> None:
        for command in commands:
            match command:
                case Alarm():
                    self._alarm(command.message)
                case Place():
                    self._begin(self._place(command), command)
                case Cancel():
                    self._begin(self._cancel(command), command)
        self._changed.set()

    def _begin(self, work: Coroutine[Any, Any, None], command: BracketCommand) -> None:
        if self._group is not None:
            self._group.create_task(work)
            return
        work.close()
        self._alarm(f"{self._symbol} needs a look: nobody runs its bracket to do {command}")

    # After a reconnect or a restart.

    async def _ask_for_the_rest(self, known: AccountSynchronized) -> None:
        """Ask for those orders of ours that are not among the open ones, then conclude."""
        bracket = self.bracket
        listed = {report.client_order_id for report in known.orders}
        # Without its entry's fills a bracket knows nothing, so the entry is always asked for.
        wanted = {bracket.plan.entry.client_order_id, *bracket.live_ids}
        wanted |= {leg.client_order_id for leg in bracket.plan.legs}
        wanted |= set(bracket.unreported_of(known.fills))
        found = [
            report
            for each in sorted(wanted - listed)
            if (report := await self._find(each)) is not None
        ]
        self._perform(bracket.synchronize((*known.orders, *found), known.fills))

    async def _find(self, client_order_id: ClientOrderId) -> OrderReport | None:
        wait_s, told = FIRST_WAIT_S, False
        while True:
            try:
                return await self._venue.find(self._symbol, client_order_id)
            except PerpdeskError as error:
                # A refused question says nothing of the order, and must not end the bracket.
                if not told and not isinstance(error, VenueUnavailable | OutcomeUnknown):
                    told = True
                    self._alarm(f"{client_order_id} cannot be asked for: {error.message}")
                await self._local.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    # Placing.

    async def _place(self, command: Place) -> None:
        """Place an order and learn its fate, however long that takes."""
        deadline = None
        if command.protects and self._group is not None:
            deadline = self._group.create_task(self._overdue(command.request.client_order_id))
        try:
            self._perform(await self._outcome(command))
        finally:
            if deadline is not None:
                deadline.cancel()

    async def _outcome(self, command: Place) -> list[BracketCommand]:
        request, wait_s = command.request, FIRST_WAIT_S
        order_id = request.client_order_id
        while self.bracket.wants(order_id):
            sent_ms = self._venue_now_ms()
            try:
                return self.bracket.on_report(await self._venue.place(request))
            except VenueUnavailable:
                # Nothing was done: the same order may be sent again while it is still wanted.
                await self._local.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            except OutcomeUnknown:
                return await self._resolved(order_id, sent_ms)
            except Denied as denied:
                return self.bracket.on_refused(order_id, "denied", denied.message)
            except VenueRejected as refused:
                if refused.code in DUPLICATE_ID:
                    return await self._resolved(order_id, sent_ms)
                if refused.code in NOTHING_TO_REDUCE:
                    await self._catch_up(order_id)
                return self.bracket.on_refused(order_id, refused.code, refused.message)
        return self.bracket.on_absent(order_id)

    async def _catch_up(self, refused_id: ClientOrderId) -> None:
        """Learn of the fill that closed the position before concluding that it is gone."""
        others = [each for each in self.bracket.live_ids if each != refused_id]
        found = [report for each in others if (report := await self._find(each)) is not None]
        self._perform(self.bracket.synchronize(tuple(found), ()))

    async def _resolved(self, order_id: ClientOrderId, sent_ms: int) -> list[BracketCommand]:
        found = await self._venue.resolve(self._symbol, order_id, sent_ms=sent_ms)
        if isinstance(found, NeverArrived):
            return self.bracket.on_absent(order_id)
        return self.bracket.on_report(found)

    async def _overdue(self, order_id: ClientOrderId) -> None:
        await self._local.sleep(self._settings.unprotected_s)
        self._perform(self.bracket.on_overdue(order_id))

    # Canceling.

    async def _cancel(self, command: Cancel) -> None:
        """Cancel an order; where that is refused, learn what became of it instead."""
        order_id, wait_s = command.client_order_id, FIRST_WAIT_S
        while True:
            sent_ms = self._venue_now_ms()
            try:
                self._perform(
                    self.bracket.on_report(await self._venue.cancel(command.symbol, order_id))
                )
                return
            except VenueUnavailable:
                await self._local.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            except (VenueRejected, OutcomeUnknown):
                break
        found = await self._venue.resolve(self._symbol, order_id, sent_ms=sent_ms)
        if isinstance(found, NeverArrived):
            self._perform(self.bracket.on_absent(order_id))
            return
        self._perform(self.bracket.on_report(found))
        if found.status.is_open:
            await self._local.sleep(wait_s)
            self._perform(self.bracket.on_cancel_failed(order_id))
