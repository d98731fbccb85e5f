"""The endpoints under /v5/position. Source: reference/exchanges.md 3b.2."""

from typing import Any

from perpdesk.domain.account import MarginMode
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.calls import Call, Endpoint, get, post
from perpdesk.emulator.bybit.errors import BybitError, of_refusal, parameter
from perpdesk.emulator.bybit.messages import limit_of, page, whole
from perpdesk.emulator.bybit.order_entry import (
    check_category,
    check_position_index,
    decimal_param,
    market_of,
)
from perpdesk.emulator.bybit.order_rest import window_of
from perpdesk.emulator.bybit.rates import Pool
from perpdesk.emulator.bybit.trader import Trader
from perpdesk.emulator.bybit.trading_stop import set_trading_stop
from perpdesk.emulator.world import World


class PositionRest:
    """Answers for positions and their settings."""

    def __init__(self, world: World) -> None:
        self.world = world

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        return [
            get("position/list", self._list, Pool.QUERY),
            post("position/set-leverage", self._set_leverage, Pool.SETTING),
            post("position/switch-mode", self._switch_mode, Pool.SETTING),
            post("position/trading-stop", self._trading_stop, Pool.SETTING),
            post("position/add-margin", self._add_margin, Pool.SETTING),
            post("position/set-auto-add-margin", self._set_auto_add_margin, Pool.SETTING),
            get("position/closed-pnl", self._closed, Pool.QUERY),
        ]

    def _list(self, call: Call) -> dict[str, Any]:
        """With a symbol a row comes back even when flat; with a settle coin only open ones do."""
        params, trader = call.params, call.trader
        if params.get("category") in ("inverse", "option"):
            # Nothing of that kind can be held here, and clients ask.
            return {"list": [], "nextPageCursor": "", "category": params["category"]}
        check_category(params)
        if params.get("symbol"):
            rows = trader.positions(market_of(self.world, params).symbol)
        elif params.get("settleCoin") or params.get("baseCoin"):
            rows = [
                row
                for symbol, market in trader.account.markets.items()
                if params.get("settleCoin", market.instrument.quote) == market.instrument.quote
                and params.get("baseCoin", market.instrument.base) == market.instrument.base
                and trader.position_of(symbol)
                for row in trader.positions(symbol)
            ]
        else:
            raise parameter("symbol or settleCoin is required")
        found, cursor = page(rows, params, limit_of(params, 20, 200))
        return {"list": found, "nextPageCursor": cursor, "category": "linear"}

    def _set_leverage(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        market, trader = market_of(self.world, call.params), call.trader
        buy = decimal_param(call.params, "buyLeverage")
        sell = decimal_param(call.params, "sellLeverage")
        if buy is None or buy != sell:
            raise parameter("buyLeverage must be equal to sellLeverage")
        if buy == trader.account.exchange.symbols[market.symbol].leverage:
            raise BybitError(errors.LEVERAGE_NOT_MODIFIED)
        try:
            trader.account.set_leverage(market.symbol, buy, now_ms=self.world.now_ms)
        except Refused as refused:
            if refused.code == "110090":
                raise BybitError(errors.LEVERAGE_RISK, refused.reason) from refused
            raise of_refusal(refused) from refused
        return {}

    def _switch_mode(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        trader, mode = call.trader, whole(call.params, "mode")
        if mode not in (0, 3):
            raise parameter("mode must be 0 (one-way) or 3 (hedge)")
        if not call.params.get("symbol") and not call.params.get("coin"):
            raise parameter("symbol or coin is required")
        wanted = PositionMode.HEDGE if mode == 3 else PositionMode.ONE_WAY
        if trader.account.position_mode is wanted:
            raise BybitError(errors.MODE_NOT_MODIFIED)
        if any(trader.position_of(symbol) for symbol in trader.account.markets):
            raise BybitError(errors.HAS_POSITION)
        if trader.account.open_orders():
            raise BybitError(errors.HAS_ORDERS)
        trader.account.position_mode = wanted
        return {}

    def _trading_stop(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        symbol = market_of(self.world, call.params).symbol
        # Documented as required, yet clients leave it out, and zero is what that means.
        check_position_index(call.params, call.trader)
        set_trading_stop(self.world, call.trader, symbol, call.params, call.path)
        return {}

    def _add_margin(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        symbol, trader = market_of(self.world, call.params).symbol, call.trader
        margin = decimal_param(call.params, "margin")
        if not margin:
            raise parameter("margin is missing")
        try:
            trader.account.add_margin(symbol, margin, now_ms=self.world.now_ms)
        except Refused as refused:
            raise of_refusal(refused) from refused
        return _as_changed(trader, symbol)

    def _set_auto_add_margin(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        symbol, trader = market_of(self.world, call.params).symbol, call.trader
        wanted = whole(call.params, "autoAddMargin")
        if wanted not in (0, 1):
            raise parameter("autoAddMargin must be 0 or 1")
        if trader.account.exchange.symbols[symbol].margin_mode is not MarginMode.ISOLATED:
            raise parameter("auto-add-margin is for isolated margin only")
        (trader.auto_add.add if wanted else trader.auto_add.discard)(symbol)
        return {}

    def _closed(self, call: Call) -> dict[str, Any]:
        params = call.params
        check_category(params)
        start, end = window_of(params, self.world.now_ms)
        found = [
            trade.row()
            for trade in reversed(call.trader.closed.values())
            if params.get("symbol") in (None, "", trade.symbol) and start <= trade.updated_ms <= end
        ]
        rows, cursor = page(found, params, limit_of(params, 50, 100))
        return {"nextPageCursor": cursor, "category": "linear", "list": rows}


def _as_changed(trader: Trader, symbol: str) -> dict[str, Any]:
    row = trader.positions(symbol)[0]
    names = (
        "symbol positionIdx riskId riskLimitValue size positionValue avgPrice liqPrice bustPrice "
        "markPrice leverage autoAddMargin positionStatus positionIM positionMM unrealisedPnl "
        "cumRealisedPnl stopLoss takeProfit trailingStop createdTime updatedTime"
    )
    return {"category": "linear"} | {name: row[name] for name in names.split()}
