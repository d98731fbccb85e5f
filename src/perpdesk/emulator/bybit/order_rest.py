"""The endpoints under /v5/order and /v5/execution. Source: reference/exchanges.md 3b.3."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from perpdesk.domain.candles import DAY_MS, HOUR_MS, Venue
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderStatus
from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.bybit import errors, order_entry
from perpdesk.emulator.bybit.calls import Call, Endpoint, get, post
from perpdesk.emulator.bybit.errors import BybitError, parameter
from perpdesk.emulator.bybit.messages import limit_of, link_id_of, order_id_of, page, whole
from perpdesk.emulator.bybit.order_rows import TPSL_WORDS, order_row
from perpdesk.emulator.bybit.rates import Pool
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.records import OrderRecord
from perpdesk.emulator.world import World

MOST_IN_BATCH: Final = 20
RECENT_CLOSED: Final = 500
WEEK_MS: Final = 7 * DAY_MS
_KEPT_UNFILLED_MS: Final = 24 * HOUR_MS

Act = Callable[[Trader, Mapping[str, Any], str], OrderRecord]


class OrderRest:
    """Answers for orders and executions; the trade socket goes through `act` too."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acts: dict[str, Act] = {
            "create": lambda trader, params, path: order_entry.create(world, trader, params, path),
            "amend": lambda trader, params, path: order_entry.amend(world, trader, params),
            "cancel": lambda trader, params, path: order_entry.cancel(world, trader, params),
        }

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        found = [
            post("order/cancel-all", self._cancel_all),
            get("order/realtime", self._realtime, Pool.QUERY),
            get("order/history", self._history, Pool.QUERY),
            post("order/pre-check", self._pre_check),
            get("execution/list", self._executions, Pool.QUERY),
            post("order/disconnected-cancel-all", self._dcp, Pool.SLOW),
        ]
        for name in self.acts:
            found += [
                post(f"order/{name}", self.single(name)),
                post(f"order/{name}-batch", self.batch(name)),
            ]
        return found

    # Doing.

    def single(self, name: str) -> Callable[[Call], dict[str, Any]]:
        """Return the handler of one order; the answer is an acknowledgement only."""

        def act(call: Call) -> dict[str, Any]:
            try:
                record = self.acts[name](call.trader, call.params, call.path)
            except BybitError as error:
                self._note(call, call.params, error=error)
                raise
            self._note(call, call.params, record=record)
            return _ids(record)

        return act

    def batch(self, name: str) -> Callable[[Call], dict[str, Any]]:
        """Return the handler of several orders: each succeeds or fails by itself."""

        def act(call: Call) -> dict[str, Any]:
            order_entry.check_category(call.params)
            asked = call.params.get("request")
            if not isinstance(asked, list) or not asked:
                raise parameter("request must be a list of orders")
            if len(asked) > MOST_IN_BATCH:
                raise parameter(f"at most {MOST_IN_BATCH} orders in a batch")
            rows, codes = [], []
            for place, params in enumerate(asked):
                row = {
                    "category": "linear",
                    "symbol": params.get("symbol", ""),
                    "orderId": "",
                    "orderLinkId": params.get("orderLinkId", ""),
                }
                if name == "create":
                    row["createAt"] = ""
                try:
                    if place >= call.granted:
                        raise BybitError(errors.RATE)
                    record = self.acts[name](
                        call.trader, {"category": "linear"} | params, call.path
                    )
                except BybitError as error:
                    self._note(call, params, error=error)
                    codes.append({"code": error.code, "msg": error.words})
                else:
                    self._note(call, params, record=record)
                    row |= _ids(record)
                    if name == "create":
                        row["createAt"] = str(record.created_ms)
                    codes.append({"code": 0, "msg": "OK"})
                rows.append(row)
            call.ext["list"] = codes
            return {"list": rows}

        return act

    def _cancel_all(self, call: Call) -> dict[str, Any]:
        params, trader = call.params, call.trader
        order_entry.check_category(params)
        _check_scope(params, trader)
        rows = []
        for record in trader.account.open_orders():
            if not record.is_open or not _matches(record, params, trader):
                continue
            try:
                trader.account.cancel(record, now_ms=self.world.now_ms)
            except Refused:
                # Another cancel took it along.
                continue
            self._note(call, params, record=record)
            rows.append(_ids(record))
        return {"list": rows, "success": "1"}

    def _pre_check(self, call: Call) -> dict[str, Any]:
        order_entry.check_category(call.params)
        trader, market = call.trader, order_entry.market_of(self.world, call.params)
        order_entry.check_position_index(call.params, trader)
        request, _ = order_entry.order_of(self.world, trader, market, call.params)
        state = trader.account.exchange.account()
        accounting = trader.account.exchange.accounting
        symbol = trader.account.exchange.symbols[market.symbol]
        price = request.price or market.last_price
        quantity = symbol.opening_quantity(request.side, request.quantity or ZERO)
        cost = accounting.cost_of(symbol, request.side, quantity, price, self.world.now_ms)
        held = quantity * price * symbol.instrument.tiers[0].maintenance_rate
        equity = max(state.equity, market.instrument.tick_size)
        initial = state.used_margin + accounting.reserved
        return {
            "orderId": "",
            "orderLinkId": call.params.get("orderLinkId", ""),
            "preImrE4": int(initial / equity * 10_000),
            "preMmrE4": int(state.maintenance_margin / equity * 10_000),
            "postImrE4": int((initial + cost) / equity * 10_000),
            "postMmrE4": int((state.maintenance_margin + held) / equity * 10_000),
        }

    def _dcp(self, call: Call) -> dict[str, Any]:
        window = whole(call.params, "timeWindow")
        if window is None or not 3 <= window <= 300:
            raise parameter("timeWindow must be 3 to 300 seconds")
        call.trader.dcp_window_s = window
        call.words = "success"
        return {}

    def _note(
        self,
        call: Call,
        params: Mapping[str, Any],
        *,
        record: OrderRecord | None = None,
        error: BybitError | None = None,
    ) -> None:
        call.is_noted = True
        facts = {
            "path": call.path,
            "client_id": str(params.get("orderLinkId", "")),
            "symbol": str(params.get("symbol", "")),
        }
        if record is not None:
            facts |= {"order_id": str(record.order_id), "client_id": record.client_id}
        if error is not None:
            facts |= {"code": str(error.code), "reason": error.words}
        what = "request refused" if error is not None else "request accepted"
        self.world.note(Venue.BYBIT, call.trader.account.account_id, what, facts)

    # Asking.

    def _realtime(self, call: Call) -> dict[str, Any]:
        params, trader = call.params, call.trader
        order_entry.check_category(params)
        _check_scope(params, trader)
        found = trader.account.open_orders()
        found.sort(key=lambda record: -record.order_id)
        if str(params.get("openOnly", "0")) == "1":
            closed = [each for each in reversed(trader.account.orders.values()) if not each.is_open]
            found += closed[:RECENT_CLOSED]
        return self._listed(call, [each for each in found if _matches(each, params, trader)], 20)

    def _history(self, call: Call) -> dict[str, Any]:
        params, trader = call.params, call.trader
        order_entry.check_category(params)
        start, end = window_of(params, self.world.now_ms)
        forgotten = self.world.now_ms - _KEPT_UNFILLED_MS
        found = [
            record
            for record in reversed(trader.account.orders.values())
            if not record.is_open
            and _matches(record, params, trader)
            and (_named(params) or start <= record.created_ms <= end)
            and (record.filled or record.updated_ms >= forgotten)
        ]
        return self._listed(call, found, 20)

    def _listed(self, call: Call, found: list[OrderRecord], default: int) -> dict[str, Any]:
        params, trader = call.params, call.trader
        hidden = found and _named(params) and self.world.faults.armed
        if hidden and self.world.faults.take(FaultKind.NOT_FOUND, Venue.BYBIT, call.path):
            found = []
        records, cursor = page(found, params, limit_of(params, default, 50))
        rows = [trader.order(record) for record in records]
        return {"list": rows, "nextPageCursor": cursor, "category": "linear"}

    def _executions(self, call: Call) -> dict[str, Any]:
        params = call.params
        order_entry.check_category(params)
        start, end = window_of(params, self.world.now_ms)
        found = [
            row
            for row in reversed(call.trader.executions)
            if start <= int(row["execTime"]) <= end
            and _row_matches(row, params, ("symbol", "orderId", "orderLinkId", "execType"))
        ]
        rows, cursor = page(found, params, limit_of(params, 50, 100))
        return {"nextPageCursor": cursor, "category": "linear", "list": rows}


def _ids(record: OrderRecord) -> dict[str, str]:
    return {
        "orderId": order_id_of(record.order_id),
        "orderLinkId": link_id_of(record),
    }


def window_of(params: Mapping[str, Any], now_ms: int) -> tuple[int, int]:
    """Return the window of time that is asked for: seven days at most, the last seven unless said.

    Raises BybitError.
    """
    start, end = whole(params, "startTime"), whole(params, "endTime")
    if start is None and end is None:
        return now_ms - WEEK_MS, now_ms + DAY_MS
    if start is None:
        assert end is not None
        return end - WEEK_MS, end
    end = start + WEEK_MS if end is None else end
    if end < start or end - start > WEEK_MS:
        raise parameter("the time range between startTime and endTime cannot exceed 7 days")
    return start, end


def _named(params: Mapping[str, Any]) -> bool:
    return bool(params.get("orderId") or params.get("orderLinkId"))


def _check_scope(params: Mapping[str, Any], trader: Trader) -> None:
    if not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
        raise parameter("symbol, settleCoin or baseCoin is required")
    if params.get("symbol") and params["symbol"] not in trader.account.markets:
        raise parameter(f"symbol invalid {params['symbol']}")


def _matches(record: OrderRecord, params: Mapping[str, Any], trader: Trader) -> bool:
    rules = trader.account.markets[record.symbol].instrument
    if params.get("orderId") and params["orderId"] != order_id_of(record.order_id):
        return False
    named = params.get("orderLinkId") and not params.get("orderId")
    if named and params["orderLinkId"] != link_id_of(record):
        return False
    wanted = {"symbol": record.symbol, "baseCoin": rules.base, "settleCoin": rules.quote}
    if any(params.get(name) not in (None, "", value) for name, value in wanted.items()):
        return False
    status = params.get("orderStatus")
    if status and status != order_row(record, ZERO)["orderStatus"]:
        return False
    return _is_of_filter(record, str(params.get("orderFilter") or ""))


def _is_of_filter(record: OrderRecord, wanted: str) -> bool:
    stop = record.extra.get("stop", "")
    match wanted:
        case "Order":
            return not record.is_waiting
        case "StopOrder":
            return record.request.type.is_conditional and stop not in TPSL_WORDS
        case "tpslOrder":
            return stop in TPSL_WORDS
    return record.status is not OrderStatus.SUBMITTED


def _row_matches(row: Mapping[str, Any], params: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(params.get(name) in (None, "", row.get(name)) for name in names)
