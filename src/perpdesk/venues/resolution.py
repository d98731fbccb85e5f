"""Never resend: resolve. What became of an order whose answer was lost.

"Not found" is final only when send time + recvWindow + margin has passed AND two readings in a row
said so, at least `READ_LAG_S` apart. Source: reference/reliability.md B.1, B.2;
reference/exchanges.md 3.5.
"""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from perpdesk.domain.errors import OutcomeUnknown, PerpdeskError, VenueUnavailable
from perpdesk.domain.order import ClientOrderId
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.clock import LocalTime, VenueClock

log = logging.getLogger(__name__)

MARGIN_MS: Final = 2_000
READ_LAG_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
ATTEMPTS_KEPT: Final = 20_000
_ROUNDING_S: Final = 0.001


class Attempts:
    """When this process last tried to send an order, on the clock that never steps.

    What is to be sent may wait for budget, or for a thread, and is signed only then: long after the
    caller took note of the time. Bounded: the oldest are forgotten.
    """

    def __init__(self, local: LocalTime, most: int = ATTEMPTS_KEPT) -> None:
        self._local = local
        self._most = most
        self._last_ms: OrderedDict[ClientOrderId, float] = OrderedDict()

    def note(self, client_order_id: ClientOrderId) -> None:
        """Note that an attempt is over: nothing is signed for it from now on."""
        self._last_ms[client_order_id] = self._local.monotonic_ms()
        self._last_ms.move_to_end(client_order_id)
        if len(self._last_ms) > self._most:
            self._last_ms.popitem(last=False)

    def last_ms(self, client_order_id: ClientOrderId) -> float | None:
        """Return when the last attempt ended, None where none is known."""
        return self._last_ms.get(client_order_id)


async def resolve(
    client_order_id: ClientOrderId,
    find: Callable[[], Awaitable[OrderReport | None]],
    *,
    sent_ms: int,
    recv_window_ms: int,
    clock: VenueClock,
    attempts: Attempts | None = None,
) -> OrderReport | NeverArrived:
    """Ask until it is certain. sent_ms: venue time at which the request was sent.

    attempts: where this process knows better when it was sent, that counts; after a restart the
    caller gives the latest time at which it may have been. A reading that fails is no reading: it
    is asked again, also where the question itself was refused, which says nothing of the order.
    """
    local, whole_ms = clock.local, recv_window_ms + MARGIN_MS
    # From here on by the clock that never steps: a step of the other must not end the wait early.
    # It is sent already, so no more than the whole window can be left.
    left_ms = min(whole_ms, sent_ms + whole_ms - clock.now_ms())
    final_from = local.monotonic_ms() + left_ms
    tried_ms = None if attempts is None else attempts.last_ms(client_order_id)
    if tried_ms is not None:
        final_from = max(final_from, tried_ms + whole_ms)
    absent_at: float | None = None
    wait_s = READ_LAG_S
    while True:
        began = local.monotonic_ms()
        try:
            report = await find()
        except PerpdeskError as error:
            if not isinstance(error, VenueUnavailable | OutcomeUnknown):
                log.error(
                    "order_not_resolved",
                    extra={"client_order_id": client_order_id, "reason": error.message},
                )
            await local.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            continue
        wait_s = READ_LAG_S
        if report is not None:
            return report
        if began > final_from:
            if absent_at is not None and began - absent_at >= READ_LAG_S * 1000:
                return NeverArrived(client_order_id=client_order_id)
            if absent_at is None:
                # When it was answered, not when it was asked: the lag is counted from there.
                absent_at = local.monotonic_ms()
        await local.sleep(READ_LAG_S + _ROUNDING_S)
