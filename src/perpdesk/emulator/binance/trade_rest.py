"""Normal orders: place, amend, cancel, ask; batches, the dead-man switch, fills."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from perpdesk.domain.candles import DAY_MS, Venue
from perpdesk.domain.order import OrderRequest, OrderType, TimeInForce
from perpdesk.emulator.binance.calls import Call, Endpoint, Params, Security, by_symbol
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.lists import as_text, cut_to, list_of, span_of
from perpdesk.emulator.binance.order_parameters import amended, client_id_of, normal_order
from perpdesk.emulator.binance.order_rows import (
    as_accepted,
    fill_row,
    has_child,
    is_normal,
    normal_id,
    order_row,
)
from perpdesk.emulator.binance.placing import (
    cancel_normal,
    check_maker_or_whole,
    check_margin,
    check_rules,
    placed,
    with_refusals,
    would_take,
)
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.records import OrderRecord
from perpdesk.emulator.world import World

MOST_OPEN_ORDERS: Final = 200
MOST_IN_A_BATCH: Final = 5
MOST_CANCELED_AT_ONCE: Final = 10
UNFILLED_KEPT_MS: Final = 3 * DAY_MS
_DONE: Final = "The operation of cancel all open order is done."


class TradeRest:
    """Endpoints of normal orders."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made_up = 0
        self._deadlines: dict[tuple[str, str], int] = {}

    def endpoints(self) -> list[Endpoint]:
        """Return what this serves."""

        def trade(
            method: str, path: str, act: Callable[[Call], object], orders: tuple[int, int] = (0, 0)
        ) -> Endpoint:
            weight = {"batchOrders": 5, "order/test": 0, "countdownCancelAll": 10}.get(path, 1)
            weight = 0 if (method, path) == ("POST", "order") else weight
            weight = 1 if (method, path) == ("DELETE", "batchOrders") else weight
            return Endpoint(
                method=method,
                path=f"/fapi/v1/{path}",
                act=act,
                weight=weight,
                security=Security.TRADE,
                orders=orders,
                changes=path != "order/test",
            )

        def ask(path: str, act: Callable[[Call], object], one: int, every: int) -> Endpoint:
            return Endpoint(
                method="GET",
                path=f"/fapi/v1/{path}",
                act=act,
                weight=by_symbol(one, every),
                security=Security.SIGNED,
            )

        return [
            trade("POST", "order", self.place, (1, 1)),
            trade("POST", "order/test", self._test),
            trade("PUT", "order", self.amend, (1, 1)),
            trade("DELETE", "order", self.cancel),
            trade("DELETE", "allOpenOrders", self._cancel_all),
            trade("POST", "batchOrders", self._place_batch, (5, 1)),
            trade("PUT", "batchOrders", self._amend_batch, (5, 1)),
            trade("DELETE", "batchOrders", self._cancel_batch),
            trade("POST", "countdownCancelAll", self._countdown),
            ask("order", self.query, 1, 1),
            ask("openOrder", self._open_order, 1, 1),
            ask("openOrders", self._open_orders, 1, 40),
            ask("allOrders", self._all_orders, 5, 5),
            ask("userTrades", self._user_trades, 5, 5),
            ask("forceOrders", self._force_orders, 20, 50),
        ]

    # Placing.

    def place(self, call: Call) -> object:
        """Place an order."""
        request = self._checked(call)
        record = placed(request, call)
        row = order_row(record, call.market().instrument, with_time=False)
        wanted = (call.params.optional("newOrderRespType") or "ACK").upper()
        return row if wanted == "RESULT" else as_accepted(row, call.market().instrument)

    def _checked(self, call: Call) -> OrderRequest:
        self._made_up += 1
        made_up = f"web_{call.now_ms:x}{self._made_up:x}"
        request = normal_order(call, client_id_of(call.params, "newClientOrderId", made_up))
        account, market = call.account, call.market()
        working = [each for each in account.open_orders(market.symbol) if not each.is_waiting]
        if len(working) >= MOST_OPEN_ORDERS:
            raise ApiError(-2025)
        check_rules(request, market)
        check_maker_or_whole(request, market)
        check_margin(account, request, market, call.now_ms)
        return request

    def _test(self, call: Call) -> object:
        request = self._checked(call)
        return {"symbol": request.symbol, "clientOrderId": str(request.client_order_id)}

    def _place_batch(self, call: Call) -> object:
        return self._each_of_batch(call, self.place)

    # Amending.

    def amend(self, call: Call) -> object:
        """Change quantity and price of a limit order."""
        market = call.market()
        quantity, price = amended(call.params, market.instrument)
        record = self._find(call, -2013)
        if not record.is_open or record.request.type is not OrderType.LIMIT:
            raise ApiError(-2013)
        side = call.params.text("side")
        if side != record.request.side.value:
            raise ApiError(-1117)
        if (quantity, price) == (record.quantity, record.price):
            raise ApiError(-5027)
        account = call.account
        post_only = record.request.time_in_force is TimeInForce.GTX
        if quantity <= record.filled or (
            post_only and would_take(record.request.side, price, market)
        ):
            account.cancel(record, now_ms=call.now_ms)
        else:
            with_refusals(
                lambda: account.amend(record, now_ms=call.now_ms, quantity=quantity, price=price)
            )
        row = order_row(record, market.instrument, with_time=False)
        return row | {"pair": record.symbol, "cumBase": "0"}

    def _amend_batch(self, call: Call) -> object:
        return self._each_of_batch(call, self.amend)

    # Canceling.

    def cancel(self, call: Call) -> object:
        """Cancel an order."""
        record = self._find(call, -2011)
        if not record.is_open:
            raise ApiError(-2011)
        with_refusals(lambda: call.account.cancel(record, now_ms=call.now_ms))
        return order_row(record, call.market().instrument, with_time=False)

    def _cancel_all(self, call: Call) -> object:
        cancel_normal(call.account, call.market().symbol, call.now_ms)
        return {"code": 200, "msg": _DONE}

    def _cancel_batch(self, call: Call) -> object:
        ids = list_of(call.params, "orderIdList")
        clients = list_of(call.params, "origClientOrderIdList")
        if not ids and not clients:
            raise ApiError(-1102, "orderIdList")
        if len(ids) + len(clients) > MOST_CANCELED_AT_ONCE:
            raise ApiError(-1130, "orderIdList")
        symbol = call.params.text("symbol")
        asked = [{"symbol": symbol, "orderId": str(each)} for each in ids]
        asked += [{"symbol": symbol, "origClientOrderId": str(each)} for each in clients]
        return [self._one(call, self.cancel, each) for each in asked]

    def _countdown(self, call: Call) -> object:
        symbol, wait_ms = call.market().symbol, call.params.integer("countdownTime")
        if wait_ms is None:
            raise ApiError(-1102, "countdownTime")
        place = (call.account.account_id, symbol)
        self._deadlines.pop(place, None)
        if wait_ms > 0:
            self._deadlines[place] = call.now_ms + wait_ms
        return {"symbol": symbol, "countdownTime": str(wait_ms)}

    def on_step(self) -> None:
        """Let the dead-man switches act whose time is over."""
        now_ms = self._world.now_ms
        accounts = self._world.venues[Venue.BINANCE].accounts.by_id
        for place in [key for key, at in self._deadlines.items() if at <= now_ms]:
            del self._deadlines[place]
            cancel_normal(accounts[place[0]], place[1], now_ms)

    # Asking.

    def query(self, call: Call) -> object:
        """Return an order, whatever has become of it."""
        record = self._seen(call)
        unfilled = record.status.is_closed and not record.filled
        if unfilled and record.updated_ms < call.now_ms - UNFILLED_KEPT_MS:
            raise ApiError(-2013)
        return order_row(record, call.market().instrument, with_time=True)

    def _open_order(self, call: Call) -> object:
        record = self._seen(call)
        if not record.is_open:
            raise ApiError(-2013)
        return order_row(record, call.market().instrument, with_time=True)

    def _seen(self, call: Call) -> OrderRecord:
        record = self._find(call, -2013)
        if self._world.faults.take(FaultKind.NOT_FOUND, Venue.BINANCE, call.path) is not None:
            raise ApiError(-2013)
        return record

    def _open_orders(self, call: Call) -> object:
        symbol = None if call.params.optional("symbol") is None else call.market().symbol
        return self._rows(call, filter(is_normal, call.account.open_orders(symbol)))

    def _all_orders(self, call: Call) -> object:
        market, order_id = call.market(), call.params.integer("orderId")
        start_ms, end_ms = span_of(call)
        found = [
            record
            for record in call.account.orders.values()
            if record.symbol == market.symbol
            and is_normal(record)
            and (
                normal_id(record) >= order_id
                if order_id is not None
                else start_ms <= record.created_ms <= end_ms
            )
        ]
        found.sort(key=normal_id)
        return self._rows(call, cut_to(found, call, oldest=order_id is not None))

    def _force_orders(self, call: Call) -> object:
        symbols = {market.symbol for market in call.markets()}
        found = [
            record
            for record in call.account.orders.values()
            if record.is_forced and record.symbol in symbols
        ]
        return self._rows(call, found[-call.params.limit(50, 100) :])

    def _user_trades(self, call: Call) -> object:
        market, params = call.market(), call.params
        from_id, order_id = params.integer("fromId"), params.integer("orderId")
        start_ms, end_ms = span_of(call)
        found = [
            fill
            for fill in call.account.fills
            if fill.order.symbol == market.symbol
            and (order_id is None or normal_id(fill.order) == order_id)
            and (
                fill.trade_id >= from_id
                if from_id is not None
                else start_ms <= fill.ts_ms <= end_ms
            )
        ]
        chosen = cut_to(found, call, oldest=from_id is not None)
        return [fill_row(fill, market.instrument) for fill in chosen]

    def _rows(self, call: Call, records: Iterable[OrderRecord]) -> list[dict[str, object]]:
        return [
            order_row(record, call.venue.markets[record.symbol].instrument, with_time=True)
            for record in records
        ]

    # Finding.

    def _find(self, call: Call, unknown: int) -> OrderRecord:
        """Return a normal order by either id. Raises ApiError with the code for `unknown`."""
        params, account, symbol = call.params, call.account, call.market().symbol
        order_id, client_id = params.integer("orderId"), params.optional("origClientOrderId")
        if order_id is None and client_id is None:
            raise ApiError(-1102, "origClientOrderId")
        found: OrderRecord | None
        if order_id is not None:
            found = account.find(order_id=order_id) or account.find_working(order_id)
        else:
            found = account.find(client_id=client_id)
            child = account.find(client_id=client_id, is_algo=True)
            if child is not None and has_child(child):
                newer = found is None or child.created_ms > found.created_ms
                found = child if newer else found
        if found is None or found.symbol != symbol or not is_normal(found):
            raise ApiError(unknown)
        return found

    def _each_of_batch(self, call: Call, act: Callable[[Call], object]) -> object:
        listed = list_of(call.params, "batchOrders")
        if not 0 < len(listed) <= MOST_IN_A_BATCH:
            raise ApiError(-1130, "batchOrders")
        asked = []
        for each in listed:
            if not isinstance(each, dict):
                raise ApiError(-1130, "batchOrders")
            asked.append({str(name): as_text(value) for name, value in each.items()})
        return [self._one(call, act, each) for each in asked]

    @staticmethod
    def _one(call: Call, act: Callable[[Call], object], params: dict[str, str]) -> object:
        try:
            return act(replace(call, params=Params(params)))
        except ApiError as error:
            return error.body()
