"""Never resend: resolve. What became of an order whose answer was lost.

"Not found" is final only when send time + recvWindow + margin has passed AND two readings in a row
said so, at least `READ_LAG_S` apart. Source: reference/reliability.md B.1, B.2;
reference/exchanges.md 3.5.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from perpdesk.domain.errors import OutcomeUnknown, VenueUnavailable
from perpdesk.domain.order import ClientOrderId
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.clock import VenueClock

MARGIN_MS: Final = 2_000
READ_LAG_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0
_ROUNDING_S: Final = 0.001


async def resolve(
    client_order_id: ClientOrderId,
    find: Callable[[], Awaitable[OrderReport | None]],
    *,
    sent_ms: int,
    recv_window_ms: int,
    clock: VenueClock,
) -> OrderReport | NeverArrived:
    """Ask until it is certain. sent_ms: venue time at which the request was signed.

    A reading that fails (VenueUnavailable, OutcomeUnknown) is no reading: it is asked again.
    """
    local = clock.local
    # From here on by the clock that never steps: a step of the other must not end the wait early.
    left_ms = sent_ms + recv_window_ms + MARGIN_MS - clock.now_ms()
    final_from = local.monotonic_ms() + left_ms
    absent_at: float | None = None
    wait_s = READ_LAG_S
    while True:
        began = local.monotonic_ms()
        try:
            report = await find()
        except (VenueUnavailable, OutcomeUnknown):
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
