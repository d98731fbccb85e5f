"""Orders on Binance: two services, one port.

LIMIT and MARKET live in /order, everything that waits for a trigger in the Algo service, each with
its own namespace of ids. Nothing is ever sent twice: an outcome that is not known is asked for.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.errors import (
    Denied,
    OutcomeUnknown,
    PerpdeskError,
    VenueRejected,
    VenueUnavailable,
)
from perpdesk.domain.events import AmendOrder
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
)
from perpdesk.domain.order_rules import check_leverage, check_order
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.venues import resolution
from perpdesk.venues.binance import codes, requests, wire
from perpdesk.venues.binance.names import OrderNames
from perpdesk.venues.binance.orders import BinanceOrders, absence
from perpdesk.venues.binance.rest import (
    ORDERS_1M,
    ORDERS_10S,
    RECV_WINDOW_MS,
    WEIGHT,
    BinanceRest,
    understand,
)
from perpdesk.venues.rate_limit import Lane

BATCH_SIZE: Final = 5
ONE_ORDER: Final = {ORDERS_10S: 1, ORDERS_1M: 1}
PROTECTIVE: Final = frozenset(
    {OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT, OrderPurpose.EXIT, OrderPurpose.CLOSE_OUT}
)

Fate = OrderReport | VenueRejected | OutcomeUnknown


class BinanceTrading(BinanceOrders):
    """Implements `domain.ports.TradingVenue`.

    instruments: the rules known now, by symbol; orders of a symbol that has none are left to
    Binance to judge. mark_price: of a symbol, None where it is not known. on_rules_changed: told
    the symbol where Binance refuses by a rule what our own check let pass; it must not block.
    """

    def __init__(
        self,
        rest: BinanceRest,
        names: OrderNames,
        *,
        instruments: Callable[[], Mapping[str, Instrument]],
        mark_price: Callable[[str], Decimal | None],
        on_rules_changed: Callable[[str], None],
    ) -> None:
        super().__init__(rest, names)
        self._instruments = instruments
        self._mark_price = mark_price
        self._on_rules_changed = on_rules_changed
        self._attempts = resolution.Attempts(rest.clock.local)

    # Placing.

    async def place(self, request: OrderRequest) -> OrderReport:
        """Place one order. Raises OutcomeUnknown where it may have been accepted."""
        self._check(request)
        try:
            return await self._place(request)
        except VenueRejected as refusal:
            self._heed(request.symbol, refusal)
            if refusal.code != str(codes.DUPLICATE_ID):
                raise
            return await self._existing(request, refusal)

    async def _existing(self, request: OrderRequest, refusal: VenueRejected) -> OrderReport:
        """Return the open order that has the id already: ours, if it is the same.

        That it cannot be read now does not undo it: nothing must be sent in its place.
        """
        try:
            found = await self.find(request.symbol, request.client_order_id)
        except PerpdeskError as error:
            raise OutcomeUnknown(
                f"{refusal.message}; asking for it failed: {error.message}",
                next_step=refusal.next_step,
            ) from error
        if found is None:
            raise OutcomeUnknown(
                f"{refusal.message}; it is not shown yet", next_step=refusal.next_step
            ) from refusal
        if not _is_same(found, request):
            raise refusal
        return found

    async def _place(self, request: OrderRequest) -> OrderReport:
        conditional = request.type.is_conditional
        self.names.expect(request.symbol, request.client_order_id, conditional=conditional)
        try:
            answer = await self._rest.change(
                "post",
                "algoOrder" if conditional else "order",
                requests.algo_parameters(request)
                if conditional
                else requests.order_parameters(request),
                lane=_lane(request),
                costs=ONE_ORDER,
            )
        finally:
            self._attempts.note(request.client_order_id)
        return self._learn(answer, conditional=conditional, what="the new order", changes=True)

    async def place_batch(self, orders: Sequence[OrderRequest]) -> tuple[Fate, ...]:
        """Place several, each by its own fate, in their order.

        Five regular orders travel in one request, conditional ones each in its own. Raises Denied
        before anything is sent where one of them is not legal, and VenueUnavailable where none
        could be sent.
        """
        for request in orders:
            self._check(request)
        regular = [one for one in orders if not one.type.is_conditional]
        chunks = [regular[i : i + BATCH_SIZE] for i in range(0, len(regular), BATCH_SIZE)]
        jobs: list[Coroutine[Any, Any, dict[ClientOrderId, Fate | VenueUnavailable]]]
        jobs = [self._place_alone(one) for one in orders if one.type.is_conditional]
        jobs += [self._place_chunk(chunk) for chunk in chunks]
        fates: dict[ClientOrderId, Fate | VenueUnavailable] = {}
        for outcome in await asyncio.gather(*jobs):
            fates |= outcome
        if fates and all(isinstance(fate, VenueUnavailable) for fate in fates.values()):
            raise next(fate for fate in fates.values() if isinstance(fate, VenueUnavailable))
        return tuple(_as_fate(fates[one.client_order_id]) for one in orders)

    async def _place_alone(
        self, request: OrderRequest
    ) -> dict[ClientOrderId, Fate | VenueUnavailable]:
        try:
            return {request.client_order_id: await self.place(request)}
        except (VenueRejected, OutcomeUnknown, VenueUnavailable) as error:
            return {request.client_order_id: error}

    async def _place_chunk(
        self, chunk: Sequence[OrderRequest]
    ) -> dict[ClientOrderId, Fate | VenueUnavailable]:
        for request in chunk:
            self.names.expect(request.symbol, request.client_order_id, conditional=False)
        ids = [request.client_order_id for request in chunk]
        try:
            answer = await self._rest.change(
                "post",
                "batchOrders",
                requests.batch_parameters(chunk),
                lane=min(_lane(request) for request in chunk),
                costs={WEIGHT: 5, ORDERS_10S: len(chunk), ORDERS_1M: 1},
            )
            items = understand(
                lambda found: _as_many(found, len(chunk)),
                answer,
                what="the batch of orders",
                changes=True,
            )
        except (VenueRejected, OutcomeUnknown, VenueUnavailable) as error:
            return dict.fromkeys(ids, error)
        finally:
            for each in ids:
                self._attempts.note(each)
        fates = {one: self._item(item) for one, item in zip(ids, items, strict=True)}
        for request in chunk:
            fate = fates[request.client_order_id]
            self._heed(request.symbol, fate)
            if isinstance(fate, VenueRejected) and fate.code == str(codes.DUPLICATE_ID):
                fates[request.client_order_id] = await self._fate_of_existing(request, fate)
        return fates

    async def _fate_of_existing(self, request: OrderRequest, refusal: VenueRejected) -> Fate:
        try:
            return await self._existing(request, refusal)
        except (VenueRejected, OutcomeUnknown) as error:
            return error

    def _item(self, item: Any) -> Fate | VenueUnavailable:
        """Return what one item of a batch's answer says."""
        if wire.is_error(item):
            answer = codes.Answer(
                status=400, code=int(item["code"]), text=str(item.get("msg") or "")
            )
            error = codes.error_of(answer, call="an order of a batch", changes=True)
            assert isinstance(error, VenueRejected | OutcomeUnknown | VenueUnavailable)
            return error
        try:
            return self._learn(item, conditional=False, what="an order of a batch", changes=True)
        except OutcomeUnknown as error:
            return error

    def _check(self, request: OrderRequest) -> None:
        """Refuse an order that Binance would refuse, with the nearest legal one. Raises Denied."""
        requests.check_form(request, now_ms=self._rest.clock.now_ms())
        instrument = self._instruments().get(request.symbol)
        if instrument is None:
            return
        mark = self._mark_price(request.symbol) or ZERO
        refusal = check_order(request, instrument, mark_price=mark)
        if refusal is not None:
            raise Denied(
                f"{request.symbol}: {refusal.rule} ({refusal.code}): {refusal.reason}",
                next_step="Change the order as the message says.",
            )

    def _heed(self, symbol: str, fate: object) -> None:
        """Say so where a refusal shows that the rules are others than we know."""
        if isinstance(fate, VenueRejected) and fate.code in codes.RULES_CHANGED:
            self._on_rules_changed(symbol)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage; that it was so already is success. Raises Denied beyond the tiers."""
        instrument = self._instruments().get(symbol)
        refusal = None if instrument is None else check_leverage(instrument, leverage)
        if refusal is not None:
            raise Denied(f"{symbol}: {refusal.reason}", next_step="Choose one within.")
        await super().set_leverage(symbol, leverage)

    # Changing.

    async def amend(self, symbol: str, change: AmendOrder) -> OrderReport:
        """Change a resting limit order; None leaves a field as it is."""
        name = change.client_order_id
        if self.names.is_conditional(name):
            raise _not_amendable(name)
        current = await self._find_regular(symbol, name)
        if current is None:
            if await self._find_conditional(symbol, name) is not None:
                raise _not_amendable(name)
            raise VenueRejected(
                f"{symbol} has no order {name}",
                code=str(codes.NO_SUCH_ORDER),
                next_step="Read the open orders again.",
            )
        if change.trigger_price is not None or current.type is not OrderType.LIMIT:
            raise _not_amendable(name)
        quantity = current.quantity if change.quantity is None else change.quantity
        price = current.price if change.price is None else change.price
        assert price is not None
        self._check(_amended_request(current, quantity=quantity, price=price))
        try:
            answer = await self._rest.change(
                "put",
                "order",
                requests.amend_parameters(
                    symbol, name, side=current.side.value, quantity=quantity, price=price
                ),
                lane=Lane.STOP if current.reduce_only else Lane.ENTRY,
                costs={WEIGHT: 1, **ONE_ORDER},
            )
        except VenueRejected as refusal:
            self._heed(symbol, refusal)
            if refusal.code not in {str(code) for code in codes.UNCHANGED}:
                raise
            return current
        return self._learn(answer, conditional=False, what="the amended order", changes=True)

    async def cancel(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport:
        """Cancel one order, conditional or not. Raises VenueRejected where it is not open."""
        known = self.names.is_conditional(client_order_id)
        absent: VenueRejected | None = None
        if known is not True:
            try:
                return await self._cancel_regular(symbol, {"origClientOrderId": client_order_id})
            except VenueRejected as refusal:
                absent = absence(refusal)
        if known is not False:
            try:
                return await self._cancel_conditional(symbol, client_order_id)
            except VenueRejected as refusal:
                absent = absence(refusal)
            # A conditional order that has triggered lives on as a regular one.
            found = await self._find_conditional(symbol, client_order_id)
            if found is not None and found.working_order_id and not found.status.is_closed:
                return await self._cancel_regular(symbol, {"orderId": found.working_order_id})
        assert absent is not None
        raise absent

    async def _cancel_regular(self, symbol: str, which: dict[str, str]) -> OrderReport:
        answer = await self._rest.change(
            "delete", "order", {"symbol": symbol, **which}, lane=Lane.CANCEL, costs={WEIGHT: 1}
        )
        return self._learn(answer, conditional=False, what="the canceled order", changes=True)

    async def _cancel_conditional(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport:
        answer = await self._rest.change(
            "delete",
            "algoOrder",
            {"clientAlgoId": client_order_id},
            lane=Lane.CANCEL,
            costs={WEIGHT: 1},
        )
        if isinstance(answer, dict) and "algoStatus" in answer:
            return self._learn(answer, conditional=True, what="the canceled order", changes=True)
        # Binance may answer with the ids alone; the order itself is asked for.
        try:
            found = await self._find_conditional(symbol, client_order_id)
        except PerpdeskError as error:
            raise OutcomeUnknown(
                f"Binance canceled {client_order_id}; asking for it failed: {error.message}",
                next_step="Read the open orders again.",
            ) from error
        if found is None:
            raise OutcomeUnknown(
                f"Binance canceled {client_order_id}, and does not know it any more",
                next_step="Read the open orders again.",
            )
        return found

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every order of a symbol, conditional ones too.

        Both services are told, whatever the first one says; then the regular one again, for a
        conditional order that triggered after the one had answered and before the other had.
        """
        _, waiting = await asyncio.gather(
            self._cancel_service("allOpenOrders", symbol),
            self._cancel_service("algoOpenOrders", symbol),
        )
        working = await self._cancel_service("allOpenOrders", symbol)
        failures = [one for one in (waiting, working) if one is not None]
        # What may have worked has to be asked for, whatever else went wrong.
        for failure in sorted(failures, key=lambda one: not isinstance(one, OutcomeUnknown)):
            raise failure

    async def _cancel_service(self, path: str, symbol: str) -> PerpdeskError | None:
        """Cancel what one service has of a symbol; return what went wrong."""
        try:
            await self._rest.change(
                "delete", path, {"symbol": symbol}, lane=Lane.CANCEL, costs={WEIGHT: 1}
            )
        except PerpdeskError as error:
            return error
        return None

    async def resolve(
        self, symbol: str, client_order_id: ClientOrderId, *, sent_ms: int
    ) -> OrderReport | NeverArrived:
        """Ask until it is certain what became of an order that was sent at `sent_ms`."""
        return await resolution.resolve(
            client_order_id,
            lambda: self.find(symbol, client_order_id),
            sent_ms=sent_ms,
            recv_window_ms=RECV_WINDOW_MS,
            clock=self._rest.clock,
            attempts=self._attempts,
        )


def _lane(request: OrderRequest) -> Lane:
    protects = request.reduce_only or request.close_position or request.purpose in PROTECTIVE
    return Lane.STOP if protects else Lane.ENTRY


def _is_same(found: OrderReport, request: OrderRequest) -> bool:
    """Tell whether the order that Binance has is the one that was asked for."""
    same_size = request.quantity is None or found.quantity == request.quantity
    return (
        found.symbol == request.symbol
        and found.side is request.side
        and found.type is request.type
        and same_size
        and found.price == request.price
    )


def _not_amendable(client_order_id: ClientOrderId) -> VenueRejected:
    return VenueRejected(
        f"{client_order_id} is not a resting limit order; Binance amends no others",
        code="-5025",
        next_step="Place the new order first, then cancel this one.",
    )


def _amended_request(report: OrderReport, *, quantity: Decimal, price: Decimal) -> OrderRequest:
    return OrderRequest(
        client_order_id=report.client_order_id,
        symbol=report.symbol,
        side=report.side,
        type=OrderType.LIMIT,
        quantity=quantity,
        price=price,
        reduce_only=report.reduce_only,
    )


def _as_many(answer: Any, count: int) -> list[Any]:
    if not isinstance(answer, list) or len(answer) != count:
        raise TypeError(f"a list of {count} was expected, not {str(answer)[:80]}")
    return answer


def _as_fate(outcome: Fate | VenueUnavailable) -> Fate:
    if isinstance(outcome, VenueUnavailable):
        return VenueRejected(f"not accepted: {outcome.message}", next_step=outcome.next_step)
    return outcome
