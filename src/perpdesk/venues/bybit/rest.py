"""Orders at Bybit: placed once, acknowledged, and told by the order topic or by asking.

The answer of order/create says only that Bybit has the request: `place` returns SUBMITTED. Whatever
leaves the outcome open raises OutcomeUnknown and is resolved by asking, never by sending again.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import (
    Denied,
    OutcomeUnknown,
    PerpdeskError,
    VenueRejected,
    VenueUnavailable,
)
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderId, OrderRequest, OrderStatus, OrderType
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import (
    AccountSettings,
    BalanceReport,
    FillReport,
    IncomeReport,
    KeyPermissions,
    OrderReport,
    PositionMode,
    PositionReport,
)
from perpdesk.venues import resolution
from perpdesk.venues.bybit import calls, codes
from perpdesk.venues.bybit.account import BybitAccount
from perpdesk.venues.bybit.order_checks import OrderChecks
from perpdesk.venues.bybit.order_parameters import amend_parameters, order_parameters
from perpdesk.venues.bybit.trailing_orders import TrailingOrders
from perpdesk.venues.bybit.transport import RECV_WINDOW_MS, Answer, Transport
from perpdesk.venues.bybit.wire import LINEAR
from perpdesk.venues.rate_limit import Lane

BATCH: Final = 20
SETTLE_READINGS: Final = 6
SETTLE_S: Final = 0.2
"""A cancel or amend is read back until it shows: Bybit works on it after it has answered."""

Fate = OrderReport | VenueRejected | OutcomeUnknown


class BybitTrading:
    """Implements `domain.ports.TradingVenue` for one key.

    on_rules_changed: told the symbol where Bybit refuses by a rule what our own check let pass; it
    must not block.
    """

    def __init__(
        self,
        transport: Transport,
        account: BybitAccount,
        trailing: TrailingOrders,
        checks: OrderChecks,
        on_rules_changed: Callable[[str], None] = lambda symbol: None,
    ) -> None:
        self._transport = transport
        self._account = account
        self._trailing = trailing
        self._checks = checks
        self._on_rules_changed = on_rules_changed
        self._attempts = resolution.Attempts(transport.clock.local)

    @property
    def venue(self) -> Venue:
        """Return where orders go."""
        return Venue.BYBIT

    # Orders.

    async def place(self, request: OrderRequest) -> OrderReport:
        """Place one order; SUBMITTED means that Bybit has the request, no more.

        Raises Denied where our own rules, or Bybit's lack of such an order, forbid to send it.
        """
        self._checks.check(request)
        if request.type is OrderType.TRAILING_STOP_MARKET:
            return await self._place_trailing(request)
        parameters = {"category": LINEAR, **order_parameters(request)}
        try:
            answer = await self._transport.call(
                calls.CREATE,
                parameters,
                lane=_lane(request),
                passes=frozenset({codes.DUPLICATE_ID}),
            )
        except VenueRejected as refused:
            self._heed(request.symbol, refused)
            raise
        finally:
            self._attempts.note(request.client_order_id)
        if answer.code == codes.DUPLICATE_ID:
            return await self._existing(request)
        return _submitted(request, answer.result.get("orderId"))

    async def _place_trailing(self, request: OrderRequest) -> OrderReport:
        try:
            return await self._trailing.place(request)
        finally:
            self._attempts.note(request.client_order_id)

    def _heed(self, symbol: str, refused: VenueRejected) -> None:
        """Say so where a refusal shows that the rules are others than we know."""
        if refused.code in codes.RULES_CHANGED:
            self._on_rules_changed(symbol)

    async def _existing(self, request: OrderRequest) -> OrderReport:
        """Return the order that already has the id: it was sent before, and has arrived.

        That it cannot be read now does not undo it: nothing must be sent in its place.
        """
        try:
            found = await self.find(request.symbol, request.client_order_id)
        except PerpdeskError as error:
            raise OutcomeUnknown(
                f"Bybit says that order {request.client_order_id} exists (110072); asking for it "
                f"failed: {error.message}",
                next_step="Ask what became of it by the client order id; do not send it again.",
            ) from error
        if found is None:
            raise OutcomeUnknown(
                f"Bybit says that order {request.client_order_id} exists (110072), and does not "
                "show it yet",
                next_step="Ask what became of it by the client order id; do not send it again.",
            )
        return found

    async def place_batch(self, requests: Sequence[OrderRequest]) -> tuple[Fate, ...]:
        """Place several, twenty per request; one that our rules refuse gets the venue's code."""
        fates: dict[int, Fate] = {}
        sendable: list[tuple[int, dict[str, Any]]] = []
        for place, request in enumerate(requests):
            refused = self._checks.refusal(request)
            if refused is not None:
                fates[place] = VenueRejected(refused.reason, code=refused.code)
                continue
            if request.type is OrderType.TRAILING_STOP_MARKET:
                fates[place] = await self._fate_of_trailing(request)
                continue
            try:
                sendable.append((place, order_parameters(request)))
            except Denied as error:
                fates[place] = VenueRejected(error.message, code="10001", next_step=error.next_step)
        for first in range(0, len(sendable), BATCH):
            part = sendable[first : first + BATCH]
            told = await self._send_batch([requests[place] for place, _ in part], part)
            fates.update(zip((place for place, _ in part), told, strict=True))
        return tuple(fates[place] for place in range(len(requests)))

    async def _send_batch(
        self, requests: list[OrderRequest], part: list[tuple[int, dict[str, Any]]]
    ) -> list[Fate]:
        parameters = {"category": LINEAR, "request": [one for _, one in part]}
        lane = min(_lane(one) for one in requests)
        try:
            answer = await self._transport.call(
                calls.CREATE_BATCH, parameters, lane=lane, units=len(part)
            )
        except (OutcomeUnknown, VenueRejected) as error:
            return [error] * len(part)
        except VenueUnavailable as error:
            # Nothing was done with these; earlier ones of the same call keep their own fates.
            return [_not_sent(error)] * len(part)
        finally:
            for request in requests:
                self._attempts.note(request.client_order_id)
        acknowledged = answer.result.get("list") or []
        verdicts = (answer.body.get("retExtInfo") or {}).get("list") or []
        if not len(acknowledged) == len(verdicts) == len(part):
            told = f"Bybit answered a batch of {len(part)} with {len(verdicts)} verdicts"
            return [OutcomeUnknown(told, next_step="Ask for each order by its id.")] * len(part)
        triples = zip(requests, acknowledged, verdicts, strict=True)
        return [await self._fate(*triple) for triple in triples]

    async def _fate(
        self, request: OrderRequest, told: dict[str, Any], verdict: dict[str, Any]
    ) -> Fate:
        try:
            code = int(verdict["code"])
        except (KeyError, TypeError, ValueError):
            told_of_it = f"Bybit's verdict on order {request.client_order_id} cannot be read"
            return OutcomeUnknown(told_of_it, next_step="Ask for the order by its id.")
        if code == codes.OK:
            return _submitted(request, told.get("orderId"))
        if code == codes.DUPLICATE_ID:
            try:
                return await self._existing(request)
            except OutcomeUnknown as error:
                return error
        refused = codes.error_of(
            code, str(verdict.get("msg", "")), changes=True, asked=calls.CREATE_BATCH.name
        )
        if isinstance(refused, VenueRejected):
            self._heed(request.symbol, refused)
            return refused
        return refused if isinstance(refused, OutcomeUnknown) else _not_sent(refused)

    async def _fate_of_trailing(self, request: OrderRequest) -> Fate:
        try:
            return await self._place_trailing(request)
        except (VenueRejected, OutcomeUnknown) as error:
            return error
        except Denied as error:
            return VenueRejected(error.message, code="110017", next_step=error.next_step)
        except VenueUnavailable as error:
            return _not_sent(error)

    async def amend(self, symbol: str, change: AmendOrder) -> OrderReport:
        """Change a resting order; return how the venue shows it afterwards."""
        try:
            answer = await self._transport.call(
                calls.AMEND, amend_parameters(symbol, change), lane=Lane.QUERY
            )
        except VenueRejected as refused:
            self._heed(symbol, refused)
            raise

        def is_changed(report: OrderReport) -> bool:
            wanted = (change.quantity, change.price, change.trigger_price)
            shown = (report.quantity, report.price, report.trigger_price)
            same = all(want in (None, show) for want, show in zip(wanted, shown, strict=True))
            return same or report.status.is_closed

        return await self._read_back(symbol, change.client_order_id, answer, is_changed)

    async def cancel(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport:
        """Cancel one order, conditional or not. Raises VenueRejected where it is not open."""
        if self._trailing.knows(client_order_id):
            answer = await self._trailing.cancel(symbol, client_order_id)
            return await self._until_closed(symbol, client_order_id, answer)
        parameters = {"category": LINEAR, "symbol": symbol, "orderLinkId": client_order_id}
        answer = await self._transport.call(calls.CANCEL, parameters, lane=Lane.CANCEL)
        return await self._until_closed(symbol, client_order_id, answer)

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every order of a symbol: active, conditional, and stops of the position."""
        await self._transport.call(
            calls.CANCEL_ALL, {"category": LINEAR, "symbol": symbol}, lane=Lane.CANCEL
        )

    async def _until_closed(
        self, symbol: str, client_order_id: ClientOrderId, answer: Answer
    ) -> OrderReport:
        return await self._read_back(
            symbol, client_order_id, answer, lambda report: report.status.is_closed
        )

    async def _read_back(
        self,
        symbol: str,
        client_order_id: ClientOrderId,
        answer: Answer,
        shows: Callable[[OrderReport], bool],
    ) -> OrderReport:
        """Return the order once it shows the change, or as it was shown last."""
        found: OrderReport | None = None
        for reading in range(SETTLE_READINGS):
            if reading:
                await self._transport.clock.local.sleep(SETTLE_S)
            try:
                found = await self.find(symbol, client_order_id) or found
            except PerpdeskError:
                continue  # The change is acknowledged: a question that fails does not undo it.
            if found is not None and shows(found):
                return found
        if found is not None:
            return found
        raise OutcomeUnknown(
            f"Bybit acknowledged a change of order {client_order_id} "
            f"({answer.result.get('orderId', '')}), and does not show the order",
            next_step="Ask what became of it by the client order id.",
        )

    async def find(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport | None:
        """Return what the venue knows of an order: one reading; None is not yet proof."""
        return await self._account.find(symbol, client_order_id)

    async def resolve(
        self, symbol: str, client_order_id: ClientOrderId, *, sent_ms: int
    ) -> OrderReport | NeverArrived:
        """Ask until it is certain what became of an order that was sent at `sent_ms`."""
        return await resolution.resolve(
            client_order_id,
            lambda: self.find(symbol, client_order_id),
            sent_ms=sent_ms,
            recv_window_ms=RECV_WINDOW_MS,
            clock=self._transport.clock,
            attempts=self._attempts,
        )

    # The account.

    async def open_orders(self, symbol: str | None = None) -> tuple[OrderReport, ...]:
        """Return working orders of every kind."""
        return await self._account.open_orders(symbol)

    async def positions(self) -> tuple[PositionReport, ...]:
        """Return open positions."""
        return await self._account.positions()

    async def balances(self) -> tuple[BalanceReport, ...]:
        """Return the money of the account."""
        return await self._account.balances()

    async def fills(self, symbol: str, since_ms: int) -> tuple[FillReport, ...]:
        """Return our trades of a symbol from `since_ms` on, ascending."""
        return await self._account.executions(since_ms, symbol=symbol)

    async def income(self, since_ms: int) -> tuple[IncomeReport, ...]:
        """Return the venue's ledger from `since_ms` on, ascending."""
        return await self._account.income(since_ms)

    async def settings(self, symbol: str) -> AccountSettings:
        """Return leverage, margin mode and position mode as the venue has them."""
        return await self._account.settings(symbol)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage; that it was so already is success."""
        self._checks.check_leverage(symbol, leverage)
        await self._account.set_leverage(symbol, leverage)

    async def set_margin_mode(self, symbol: str, mode: MarginMode) -> None:
        """Set isolated or cross for the WHOLE account: Bybit has no margin mode by symbol."""
        await self._account.set_margin_mode(symbol, mode)

    async def set_position_mode(self, mode: PositionMode) -> None:
        """Set one-way or hedge mode; that it was so already is success."""
        await self._account.set_position_mode(mode)

    async def permissions(self) -> KeyPermissions:
        """Return what the key may do."""
        return await self._account.permissions()


def _lane(request: OrderRequest) -> Lane:
    """What protects or closes a position goes before what opens one."""
    protects = request.reduce_only or request.close_position
    return Lane.STOP if protects else Lane.ENTRY


def _submitted(request: OrderRequest, order_id: object) -> OrderReport:
    """Return what an acknowledgement says: the request is with the venue."""
    return OrderReport(
        symbol=request.symbol,
        client_order_id=request.client_order_id,
        order_id=OrderId(str(order_id or "")),
        status=OrderStatus.SUBMITTED,
        side=request.side,
        type=request.type,
        quantity=request.quantity or ZERO,
        price=request.price,
        trigger_price=request.trigger_price,
        time_in_force=request.time_in_force,
        reduce_only=request.reduce_only,
        close_position=request.close_position,
    )


def _not_sent(error: PerpdeskError) -> VenueRejected:
    """Return a fate that says "not accepted" for one order of a batch; it may be placed anew."""
    return VenueRejected(error.message, code="not-accepted", next_step=error.next_step)
