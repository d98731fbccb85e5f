"""Conditional orders: the Algo service, with its own ids and its own life."""

from typing import Final

from perpdesk.domain.candles import Venue
from perpdesk.emulator.binance.calls import Call, Endpoint, Security, by_symbol
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.lists import cut_to, span_of
from perpdesk.emulator.binance.order_parameters import client_id_of, conditional_order
from perpdesk.emulator.binance.order_rows import ALGO_IDS, algo_row, is_waiting_algo
from perpdesk.emulator.binance.placing import placed, with_refusals
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.records import OrderRecord
from perpdesk.emulator.world import World

MOST_OPEN_ALGOS: Final = 200
_ALGO_ONLY: Final = 4120


class AlgoRest:
    """Endpoints of conditional orders."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made_up = 0

    def endpoints(self) -> list[Endpoint]:
        """Return what this serves."""
        trade, signed = Security.TRADE, Security.SIGNED
        return [
            Endpoint(
                method="POST",
                path="/fapi/v1/algoOrder",
                act=self.place,
                weight=0,
                security=trade,
                orders=(1, 1),
                changes=True,
            ),
            Endpoint(
                method="DELETE",
                path="/fapi/v1/algoOrder",
                act=self.cancel,
                security=trade,
                changes=True,
            ),
            Endpoint(
                method="DELETE",
                path="/fapi/v1/algoOpenOrders",
                act=self._cancel_all,
                security=trade,
                changes=True,
            ),
            Endpoint(method="GET", path="/fapi/v1/algoOrder", act=self._query, security=signed),
            Endpoint(
                method="GET",
                path="/fapi/v1/openAlgoOrders",
                act=self._open_orders,
                weight=by_symbol(1, 40),
                security=signed,
            ),
            Endpoint(
                method="GET",
                path="/fapi/v1/allAlgoOrders",
                act=self._all_orders,
                weight=5,
                security=signed,
            ),
        ]

    def place(self, call: Call) -> object:
        """Place a conditional order."""
        refused = self._world.faults.take(FaultKind.STOP_REFUSED, Venue.BINANCE, call.path)
        if refused is not None:
            raise ApiError(-4120 if refused.value == _ALGO_ONLY else -2021)
        self._made_up += 1
        made_up = f"alg_{call.now_ms:x}{self._made_up:x}"
        request = conditional_order(call, client_id_of(call.params, "clientAlgoId", made_up))
        if sum(map(is_waiting_algo, call.account.open_orders())) >= MOST_OPEN_ALGOS:
            raise ApiError(-4045)
        record = placed(request, call, is_algo=True)
        return algo_row(record, call.market().instrument, with_actual=False)

    def cancel(self, call: Call) -> object:
        """Cancel a conditional order that waits."""
        record = self._find(call, -2011)
        if not is_waiting_algo(record):
            raise ApiError(-2011)
        with_refusals(lambda: call.account.cancel(record, now_ms=call.now_ms))
        return self._row(call, record, with_actual=False)

    def _cancel_all(self, call: Call) -> object:
        for record in call.account.open_orders(call.market().symbol):
            if is_waiting_algo(record):
                call.account.cancel(record, now_ms=call.now_ms)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _query(self, call: Call) -> object:
        record = self._find(call, -2013)
        if self._world.faults.take(FaultKind.NOT_FOUND, Venue.BINANCE, call.path) is not None:
            raise ApiError(-2013)
        return self._row(call, record)

    def _open_orders(self, call: Call) -> object:
        symbol = None if call.params.optional("symbol") is None else call.market().symbol
        return [
            self._row(call, record)
            for record in filter(is_waiting_algo, call.account.open_orders(symbol))
        ]

    def _all_orders(self, call: Call) -> object:
        market, algo_id = call.market(), call.params.integer("algoId")
        start_ms, end_ms = span_of(call)
        found = [
            record
            for record in call.account.orders.values()
            if record.is_algo
            and record.symbol == market.symbol
            and (
                record.order_id >= algo_id - ALGO_IDS
                if algo_id is not None
                else start_ms <= record.created_ms <= end_ms
            )
        ]
        chosen = cut_to(found, call, oldest=algo_id is not None)
        return [self._row(call, record) for record in chosen]

    @staticmethod
    def _row(call: Call, record: OrderRecord, *, with_actual: bool = True) -> dict[str, object]:
        rules = call.venue.markets[record.symbol].instrument
        return algo_row(record, rules, with_actual=with_actual)

    @staticmethod
    def _find(call: Call, unknown: int) -> OrderRecord:
        """Return a conditional order by either id. Raises ApiError with the code for `unknown`."""
        algo_id = call.params.integer("algoId")
        client_id = call.params.optional("clientAlgoId")
        if algo_id is None and client_id is None:
            raise ApiError(-1102, "algoId")
        order_id = None if algo_id is None else algo_id - ALGO_IDS
        found = call.account.find(order_id=order_id, client_id=client_id, is_algo=True)
        if found is None:
            raise ApiError(unknown)
        return found
