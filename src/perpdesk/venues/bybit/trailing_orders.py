"""Trailing stops placed and taken away, which at Bybit means: set on an open position."""

from decimal import Decimal

from perpdesk.domain.errors import Denied, VenueRejected, VenueUnavailable
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.order import ClientOrderId, OrderRequest, OrderStatus
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues.bybit import calls, codes
from perpdesk.venues.bybit.account import BybitAccount
from perpdesk.venues.bybit.fields import number, rows
from perpdesk.venues.bybit.order_checks import OrderChecks
from perpdesk.venues.bybit.order_parameters import no_trailing, trailing_parameters
from perpdesk.venues.bybit.trailing import TrailingStops
from perpdesk.venues.bybit.transport import Answer, Transport
from perpdesk.venues.bybit.wire import LINEAR
from perpdesk.venues.rate_limit import Lane


class TrailingOrders:
    """The calls around `TrailingStops`, which remembers which id stands for which stop."""

    def __init__(
        self,
        transport: Transport,
        account: BybitAccount,
        stops: TrailingStops,
        checks: OrderChecks,
    ) -> None:
        self._transport = transport
        self._account = account
        self._stops = stops
        self._checks = checks

    def knows(self, client_order_id: ClientOrderId) -> bool:
        """Tell whether the id is of a trailing stop."""
        return self._stops.knows(client_order_id)

    async def place(self, request: OrderRequest) -> OrderReport:
        """Set a trailing stop on the open position; it replaces the one that was there.

        Raises Denied where no position is open on the other side, or only part of it is meant.
        """
        await self._check_position(request)
        parameters = trailing_parameters(
            request,
            self._checks.instrument(request.symbol),
            last_price=await self._last_price(request.symbol),
        )
        before = self._stops.expect(request)
        try:
            await self._transport.call(
                calls.TRADING_STOP,
                parameters,
                lane=Lane.STOP,
                passes=frozenset({codes.STOP_UNCHANGED}),
            )
        except (VenueRejected, VenueUnavailable):
            self._stops.refused(request, before)
            raise
        try:
            found = await self._account.find(request.symbol, request.client_order_id)
        except (VenueUnavailable, VenueRejected):
            found = None  # It is set; only its order is not known yet.
        return found or self._stops.report(request.client_order_id, OrderStatus.SUBMITTED)

    async def cancel(self, symbol: str, client_order_id: ClientOrderId) -> Answer:
        """Take a trailing stop away. Raises VenueRejected where it is not open any more."""
        known = await self._account.find(symbol, client_order_id)
        current = self._stops.is_current(symbol, client_order_id)
        if not current or known is None or known.status.is_closed:
            raise codes.error_of(
                110001, "Order does not exist", changes=True, asked=calls.TRADING_STOP.name
            )
        return await self._transport.call(
            calls.TRADING_STOP,
            no_trailing(symbol),
            lane=Lane.CANCEL,
            passes=frozenset({codes.STOP_UNCHANGED}),
        )

    async def _check_position(self, request: OrderRequest) -> None:
        position = await self._account.position(request.symbol)
        size = ZERO if position is None else position.signed_quantity
        if not size or size * request.side.sign > ZERO:
            raise Denied(
                f"a trailing stop to {request.side} {request.symbol} needs an open position on the "
                f"other side, and {plain(size)} is open: Bybit keeps trailing stops with positions",
                next_step="Place it once the position is open.",
            )
        if request.quantity is not None and request.quantity < abs(size):
            whole = plain(abs(size))
            raise Denied(
                f"a trailing stop for {plain(request.quantity)} of a position of {whole}: Bybit's "
                "closes the whole position",
                next_step=f"Ask for a quantity of {whole}, or close the position with it.",
            )

    async def _last_price(self, symbol: str) -> Decimal:
        answer = await self._transport.call(
            calls.TICKERS, {"category": LINEAR, "symbol": symbol}, lane=Lane.STOP
        )
        found = rows(answer.result)
        if not found:
            raise VenueUnavailable(f"Bybit tells no price of {symbol}")
        return number(found[0], "lastPrice")
