"""Whose orders are these: what works or trades on our account without having come from this desk.

Every client id of a desk begins with its own id, so an order that bears another name was placed by
hand, by the venue, or by a second program with the same key. The first two are recorded as
external; the third is a reason to stop, since neither desk knows what the other protects.
Source: reference/reliability.md B.1, B.3 rows 25 and 32.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from perpdesk.domain.errors import UsageRefused
from perpdesk.domain.order import ClientOrderId
from perpdesk.domain.venue_reports import FillCause, FillReport, OrderReport

SEPARATOR: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What is not ours. orders: working ones, whose owner may still act. fills: traded already."""

    orders: tuple[OrderReport, ...] = ()
    fills: tuple[FillReport, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.orders or self.fills)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the foreign client ids, each once, as they came; nameless ones are left out."""
        told = [one.client_order_id for one in self.orders]
        told += [one.client_order_id for one in self.fills]
        return tuple(dict.fromkeys(str(name) for name in told if name))


def is_ours(client_order_id: ClientOrderId | str, desk_id: str) -> bool:
    """Tell whether a client id is one of the desk's: the whole first word is its id."""
    _check_desk_id(desk_id)
    return str(client_order_id).startswith(desk_id + SEPARATOR)


def foreign_among(
    orders: Iterable[OrderReport],
    fills: Iterable[FillReport],
    *,
    desk_id: str,
    symbols: Collection[str],
) -> Foreign:
    """Return the working orders and the fills in our symbols that the desk did not send.

    Closed orders are left out: what they traded is among the fills. A fill by the venue's own hand
    (liquidation, deleveraging, settlement) is foreign whatever it is called.
    """
    _check_desk_id(desk_id)
    return Foreign(
        orders=tuple(
            one
            for one in orders
            if one.symbol in symbols
            and not one.status.is_closed
            and not is_ours(one.client_order_id, desk_id)
        ),
        fills=tuple(
            one
            for one in fills
            if one.symbol in symbols
            and not (one.cause is FillCause.ORDER and is_ours(one.client_order_id, desk_id))
        ),
    )


def _check_desk_id(desk_id: str) -> None:
    """An empty id would call everything ours; one with a hyphen could be the start of another."""
    if not desk_id or SEPARATOR in desk_id:
        raise UsageRefused(
            f"{desk_id!r} cannot be the id of a desk",
            next_step="Use letters and digits, at least one.",
        )
