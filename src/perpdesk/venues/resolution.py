"""Never resend: resolve. What became of an order whose answer was lost.

"Not found" is final only when send time + recvWindow + margin has passed AND two readings in a row
said so, at least `READ_LAG_S` apart (reference/reliability.md B.1, B.2; reference/exchanges.md 3.5).
"""

from collections.abc import Awaitable, Callable
from typing import Final

from perpdesk.domain.order import ClientOrderId
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.clock import VenueClock

MARGIN_MS: Final = 2_000
READ_LAG_S: Final = 1.0


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
    raise NotImplementedError
