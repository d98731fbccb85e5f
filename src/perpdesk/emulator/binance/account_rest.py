"""The account: balances, positions, fees, brackets, income, key permissions."""

from collections.abc import Callable

from perpdesk.domain.numbers import plain
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.binance import account_rows as rows
from perpdesk.emulator.binance.calls import Call, Endpoint, Security, Weight, by_symbol
from perpdesk.emulator.binance.limits import ORDERS_1M, ORDERS_10S, limit_row
from perpdesk.emulator.binance.lists import span_of
from perpdesk.emulator.binance.market_rows import bracket_row
from perpdesk.emulator.binance.words import INCOME_TYPES


class AccountRest:
    """Endpoints that read the account."""

    def endpoints(self) -> list[Endpoint]:
        """Return what this serves."""
        signed: list[tuple[str, Callable[[Call], object], Weight]] = [
            ("/fapi/v2/account", self._account_v2, 5),
            ("/fapi/v3/account", self._account_v3, 5),
            ("/fapi/v2/balance", self._balance, 5),
            ("/fapi/v3/balance", self._balance, 5),
            ("/fapi/v2/positionRisk", self._positions_v2, 5),
            ("/fapi/v3/positionRisk", self._positions_v3, 5),
            ("/fapi/v1/accountConfig", self._account_config, 5),
            ("/fapi/v1/symbolConfig", self._symbol_config, 5),
            ("/fapi/v1/leverageBracket", self._brackets, 1),
            ("/fapi/v1/commissionRate", self._commission, 20),
            ("/fapi/v1/income", self._income, 30),
            ("/fapi/v1/adlQuantile", self._adl, 5),
            ("/fapi/v1/rateLimit/order", self._order_limits, 1),
            ("/fapi/v1/apiTradingStatus", self._trading_status, by_symbol(1, 10)),
            ("/fapi/v1/feeBurn", lambda _: {"feeBurn": False}, 30),
            ("/sapi/v1/account/apiRestrictions", self._restrictions, 1),
        ]
        return [
            Endpoint(method="GET", path=path, act=act, weight=weight, security=Security.SIGNED)
            for path, act, weight in signed
        ]

    # Money and positions.

    def _account_v2(self, call: Call) -> object:
        return rows.account_v2(call.account, can_trade=call.key.can_trade)

    def _account_v3(self, call: Call) -> object:
        return rows.account_v3(call.account)

    def _balance(self, call: Call) -> object:
        return rows.balances(call.account)

    def _positions_v2(self, call: Call) -> object:
        return [rows.position_v2(each) for each in self._held(call)]

    def _positions_v3(self, call: Call) -> object:
        return [rows.position_v3(each) for each in self._held(call) if each.exists]

    @staticmethod
    def _held(call: Call) -> list[rows.Held]:
        return [rows.held(call.account, market.symbol) for market in call.markets()]

    # Settings and terms.

    def _account_config(self, call: Call) -> object:
        return {
            "feeTier": 0,
            "canTrade": call.key.can_trade,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": call.account.position_mode is PositionMode.HEDGE,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def _symbol_config(self, call: Call) -> object:
        every = call.account.exchange.symbols
        states = [every[market.symbol] for market in call.markets()]
        return [
            {
                "symbol": state.symbol,
                "marginType": "ISOLATED" if state.margin_mode.value == "isolated" else "CROSSED",
                "isAutoAddMargin": "false",
                "leverage": int(state.leverage),
                "maxNotionalValue": rows.max_notional(state),
            }
            for state in states
        ]

    def _brackets(self, call: Call) -> object:
        return [
            {
                "symbol": market.symbol,
                "brackets": [
                    bracket_row(place, tier)
                    for place, tier in enumerate(market.instrument.tiers, start=1)
                ],
            }
            for market in call.markets()
        ]

    def _commission(self, call: Call) -> object:
        rates = call.market().instrument.fees.at(call.now_ms)
        return {
            "symbol": call.market().symbol,
            "makerCommissionRate": plain(rates.maker),
            "takerCommissionRate": plain(rates.taker),
            "rpiCommissionRate": plain(rates.maker),
        }

    def _income(self, call: Call) -> object:
        params = call.params
        symbol = None if params.optional("symbol") is None else call.market().symbol
        wanted = params.optional("incomeType")
        if wanted is not None and wanted not in INCOME_TYPES.values():
            return []
        start_ms, end_ms = span_of(call)
        if params.optional("startTime") is not None and params.optional("endTime") is None:
            end_ms = call.now_ms
        found = [
            each
            for each in call.account.income
            if start_ms <= each.ts_ms <= end_ms
            and symbol in (None, each.symbol)
            and wanted in (None, INCOME_TYPES[each.kind])
        ]
        limit = params.limit(100, 1000)
        page = max(1, params.integer("page") or 1)
        first = (page - 1) * limit
        if params.optional("startTime") is None:
            first = max(0, len(found) - page * limit)
        asset = rows.quote_of(call.account)
        return [rows.income_row(each, asset) for each in found[first : first + limit]]

    # The rest.

    def _adl(self, call: Call) -> object:
        listed = [
            {"symbol": each.state.symbol, "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 1}}
            for each in self._held(call)
            if each.state.signed_quantity
        ]
        if call.params.optional("symbol") is None:
            return listed
        return listed[0] if listed else {"symbol": call.market().symbol, "adlQuantile": {"BOTH": 0}}

    def _order_limits(self, _: Call) -> object:
        return [
            limit_row("ORDERS", "SECOND", 10, ORDERS_10S),
            limit_row("ORDERS", "MINUTE", 1, ORDERS_1M),
        ]

    def _trading_status(self, call: Call) -> object:
        return {"indicators": {}, "updateTime": call.now_ms}

    def _restrictions(self, call: Call) -> object:
        key = call.key
        told: dict[str, object] = {
            "ipRestrict": bool(key.allowed_ips),
            "createTime": 0,
            "enableReading": True,
            "enableFutures": key.can_trade,
            "enableWithdrawals": key.can_withdraw,
            "enableInternalTransfer": key.can_transfer,
            "permitsUniversalTransfer": key.can_transfer,
            "enableMargin": False,
            "enableVanillaOptions": False,
            "enableSpotAndMarginTrading": False,
            "enablePortfolioMarginTrading": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
        }
        if key.expires_ms is not None:
            told["tradingAuthorityExpirationTime"] = key.expires_ms
        return told
