"""What Binance knows of our orders, in both of its services."""

import asyncio
from typing import Any, Final

from perpdesk.domain.errors import VenueRejected, VenueUnavailable
from perpdesk.domain.order import ClientOrderId, OrderStatus
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.binance import codes, wire
from perpdesk.venues.binance.account import BinanceAccount
from perpdesk.venues.binance.rest import understand

ALL_SYMBOLS_WEIGHT: Final = 40
LAG_MS: Final = 10_000
"""How long the order that a conditional one became may be missing from what Binance shows."""
ABSENT: Final = frozenset({str(codes.NOT_OPEN), str(codes.NO_SUCH_ORDER)})
_NEVER_WORKED: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.REJECTED, OrderStatus.EXPIRED})


class BinanceOrders(BinanceAccount):
    """The asking half of `BinanceTrading`."""

    async def find(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport | None:
        """Return what Binance knows of an order, in either namespace: one reading.

        The Algo service is asked first where the namespace is not known: what a conditional order
        became may carry the same client id, and is only half of it.
        """
        known = self.names.is_conditional(client_order_id)
        if known is not False:
            found = await self._find_conditional(symbol, client_order_id)
            if found is not None or known:
                return found
        return await self._find_regular(symbol, client_order_id)

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Return working orders of both namespaces, each once."""
        which = {} if symbol is None else {"symbol": symbol}
        weight = ALL_SYMBOLS_WEIGHT if symbol is None else 1
        waiting, working = await asyncio.gather(
            self._read("openAlgoOrders", which, weight=weight),
            self._read("openOrders", which, weight=weight),
        )
        reports = (
            *self._read_reports(waiting, conditional=True),
            *self._read_reports(working, conditional=False),
        )
        # What a triggered order became replaces it, under the same id.
        found = {(report.symbol, report.client_order_id): report for report in reports}
        return tuple(report for report in found.values() if not report.status.is_closed)

    def _read_reports(self, rows: Any, *, conditional: bool) -> list[OrderReport]:
        return understand(
            lambda many: [self._read_report(one, conditional=conditional) for one in many],
            rows,
            what="open orders",
            changes=False,
        )

    async def _find_regular(
        self, symbol: str, client_order_id: ClientOrderId
    ) -> OrderReport | None:
        return await self._ask_regular(symbol, {"origClientOrderId": client_order_id})

    async def _ask_regular(self, symbol: str, which: dict[str, str]) -> OrderReport | None:
        try:
            answer = await self._read("order", {"symbol": symbol, **which}, weight=1)
        except VenueRejected as refusal:
            absence(refusal)
            return None
        return self._learn(answer, conditional=False, what="the order", changes=False)

    async def _find_conditional(
        self, symbol: str, client_order_id: ClientOrderId
    ) -> OrderReport | None:
        """Return a conditional order and, once triggered, how the order that it became fares."""
        try:
            answer = await self._read("algoOrder", {"clientAlgoId": client_order_id}, weight=1)
        except VenueRejected as refusal:
            absence(refusal)
            return None
        report = self._learn(answer, conditional=True, what="the conditional order", changes=False)
        if report.symbol != symbol:
            return None
        if report.working_order_id is None or report.status in _NEVER_WORKED:
            return report
        working = await self._ask_regular(symbol, {"orderId": report.working_order_id})
        if working is not None:
            return working
        if report.status.is_closed and self._rest.clock.now_ms() < report.ts_event_ms + LAG_MS:
            raise VenueUnavailable(
                f"{client_order_id} has triggered, and Binance does not show yet what became of it",
                next_step="Ask again in a moment.",
            )
        return report

    def _learn(self, answer: Any, *, conditional: bool, what: str, changes: bool) -> OrderReport:
        return understand(
            lambda message: self._read_report(message, conditional=conditional),
            answer,
            what=what,
            changes=changes,
        )

    def _read_report(self, message: Any, *, conditional: bool) -> OrderReport:
        if not conditional:
            return self.names.as_ours(wire.order_report(message))
        report = wire.algo_report(message)
        self.names.learn_conditional(report)
        return report


def absence(refusal: VenueRejected) -> VenueRejected:
    """Return the refusal where it says that there is no such order; raise any other."""
    if refusal.code not in ABSENT:
        raise refusal
    return refusal
