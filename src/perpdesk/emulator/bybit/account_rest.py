"""The endpoints under /v5/account and /v5/user. Source: reference/exchanges.md 3b.2."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import DAY_MS
from perpdesk.domain.numbers import ZERO
from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.account_rows import margin_mode_word, transaction_rows, wallet_row
from perpdesk.emulator.bybit.calls import Call, Endpoint, get, post
from perpdesk.emulator.bybit.errors import BybitError, parameter
from perpdesk.emulator.bybit.messages import limit_of, number, page
from perpdesk.emulator.bybit.order_entry import check_category, market_of
from perpdesk.emulator.bybit.order_rest import window_of
from perpdesk.emulator.bybit.rates import Pool
from perpdesk.emulator.world import World

_UNIFIED_2: Final = 5
_MODES: Final = {"ISOLATED_MARGIN": MarginMode.ISOLATED, "REGULAR_MARGIN": MarginMode.CROSS}
_MOST_DEMO_MONEY: Final = Decimal(100_000)
_KEY_LIFE_MS: Final = 90 * DAY_MS


class AccountRest:
    """Answers for money, fees and keys."""

    def __init__(self, world: World) -> None:
        self.world = world

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints."""
        return [
            get("account/wallet-balance", self._wallet, Pool.QUERY),
            get("account/info", self._info, Pool.QUERY),
            get("account/fee-rate", self._fee_rate, Pool.SLOW),
            get("account/transaction-log", self._log, Pool.LOG),
            post("account/set-margin-mode", self._set_margin_mode, Pool.SLOW),
            post("account/demo-apply-money", self._demo_money, Pool.SLOW),
            get("user/query-api", self._key, Pool.SETTING),
            get("asset/coin/query-info", lambda call: {"rows": []}, Pool.SLOW),
            get("account/collateral-info", lambda call: {"list": []}, Pool.QUERY),
        ]

    def _wallet(self, call: Call) -> dict[str, Any]:
        if call.params.get("accountType") != "UNIFIED":
            raise parameter("accountType only support UNIFIED.")
        row = wallet_row(call.trader.account)
        coins = str(call.params.get("coin") or "")
        if coins:
            row["coin"] = [each for each in row["coin"] if each["coin"] in coins.split(",")]
        return {"list": [row]}

    def _info(self, call: Call) -> dict[str, Any]:
        trader = call.trader
        return {
            "marginMode": margin_mode_word(trader.account),
            "updatedTime": str(self.world.now_ms),
            "unifiedMarginStatus": _UNIFIED_2,
            "dcpStatus": "ON" if trader.dcp_window_s else "OFF",
            "timeWindow": trader.dcp_window_s or 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _fee_rate(self, call: Call) -> dict[str, Any]:
        check_category(call.params)
        if call.params.get("symbol"):
            market_of(self.world, call.params)
        exchange, rows = call.trader.account.exchange, []
        for symbol, state in sorted(exchange.symbols.items()):
            if call.params.get("symbol") in (None, "", symbol):
                rates = exchange.accounting.fee_rates(state, self.world.now_ms)
                rows.append(
                    {
                        "symbol": symbol,
                        "takerFeeRate": number(rates.taker),
                        "makerFeeRate": number(rates.maker),
                    }
                )
        return {"list": rows}

    def _log(self, call: Call) -> dict[str, Any]:
        params = call.params
        if params.get("category") or params.get("symbol"):
            check_category({"category": "linear"} | dict(params))
        start, end = window_of(params, self.world.now_ms)
        found = [
            row
            for row in transaction_rows(call.trader.account)
            if start <= int(row["transactionTime"]) <= end
            and params.get("type") in (None, "", row["type"])
            and params.get("currency") in (None, "", row["currency"])
        ]
        rows, cursor = page(found, params, limit_of(params, 20, 50))
        return {"nextPageCursor": cursor, "list": rows}

    def _set_margin_mode(self, call: Call) -> dict[str, Any]:
        """Set the mode of the whole account."""
        account, word = call.trader.account, str(call.params.get("setMarginMode", ""))
        if word == "PORTFOLIO_MARGIN":
            reasons = [{"reasonCode": "3400000", "reasonMsg": "The emulator has no portfolio mode"}]
            raise BybitError(errors.MARGIN_MODE_FAILED, result={"reasons": reasons})
        if word not in _MODES:
            raise parameter("setMarginMode invalid")
        if margin_mode_word(account) == word:
            raise BybitError(errors.MARGIN_NOT_MODIFIED)
        try:
            # On Bybit setting one symbol sets them all.
            symbol = next(iter(account.markets))
            account.set_margin_mode(symbol, _MODES[word], now_ms=self.world.now_ms)
        except Refused as refused:
            reasons = [{"reasonCode": "3400000", "reasonMsg": refused.reason}]
            raise BybitError(errors.MARGIN_MODE_FAILED, result={"reasons": reasons}) from refused
        return {"reasons": []}

    def _demo_money(self, call: Call) -> dict[str, Any]:
        asked = call.params.get("utaDemoApplyMoney") or []
        sign = -1 if str(call.params.get("adjustType", "0")) == "1" else 1
        for each in asked:
            try:
                amount = Decimal(str(each.get("amountStr", "")))
            except InvalidOperation:
                raise parameter("amountStr invalid") from None
            if each.get("coin") != "USDT" or not ZERO < amount <= _MOST_DEMO_MONEY:
                raise parameter(f"USDT up to {_MOST_DEMO_MONEY} may be asked for")
            call.trader.account.deposit(sign * amount, now_ms=self.world.now_ms)
            call.trader.touch(next(iter(call.trader.account.markets)))
        return {}

    def _key(self, call: Call) -> dict[str, Any]:
        key = call.key
        assert key is not None
        expires = key.expires_ms
        if expires is None and not key.allowed_ips:
            expires = self.world.now_ms + _KEY_LIFE_MS
        trade = ["Order", "Position"] if key.can_trade else []
        wallet = ["AccountTransfer", "SubMemberTransfer"] if key.can_transfer else []
        return {
            "id": "1",
            "note": "emulator",
            "apiKey": key.key,
            "readOnly": 0 if key.can_trade else 1,
            "secret": "",
            "permissions": {
                "ContractTrade": trade,
                "Spot": [],
                "Wallet": [*wallet, *(["Withdraw"] if key.can_withdraw else [])],
                "Options": [],
                "Derivatives": ["DerivativesTrade"] if key.can_trade else [],
                "CopyTrading": [],
                "BlockTrade": [],
                "Exchange": [],
                "NFT": [],
                "Affiliate": [],
            },
            "ips": sorted(key.allowed_ips) or ["*"],
            "type": 1,
            "deadlineDay": -2 if expires is None else max(0, expires - self.world.now_ms) // DAY_MS,
            "expiredAt": "1970-01-01T00:00:00Z" if expires is None else _moment(expires),
            "createdAt": _moment(self.world.now_ms - DAY_MS),
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_DEFAULT",
            "kycRegion": "",
        }


def _moment(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
