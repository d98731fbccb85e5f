"""Settings of the account: leverage, margin, position mode."""

from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.accounts import Account, Refused
from perpdesk.emulator.binance import account_rows as rows
from perpdesk.emulator.binance.calls import Call, Endpoint, Security
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.binance.words import amount, number

_SUCCESS = {"code": 200, "msg": "success"}
_MODES = {"ISOLATED": MarginMode.ISOLATED, "CROSSED": MarginMode.CROSS}


class SettingsRest:
    """Endpoints that read and change settings."""

    def __init__(self) -> None:
        self._margin_changes: defaultdict[str, list[dict[str, object]]] = defaultdict(list)

    def endpoints(self) -> list[Endpoint]:
        """Return what this serves."""

        def change(path: str, act: Callable[[Call], object]) -> Endpoint:
            return Endpoint(
                method="POST",
                path=f"/fapi/v1/{path}",
                act=act,
                security=Security.TRADE,
                changes=True,
            )

        def ask(path: str, act: Callable[[Call], object], weight: int) -> Endpoint:
            return Endpoint(
                method="GET",
                path=f"/fapi/v1/{path}",
                act=act,
                weight=weight,
                security=Security.SIGNED,
            )

        return [
            change("leverage", self._set_leverage),
            change("marginType", self._set_margin_type),
            change("positionMargin", self._move_margin),
            ask("positionMargin/history", self._margin_history, 1),
            ask("positionSide/dual", self._position_mode, 30),
            change("positionSide/dual", self._set_position_mode),
            ask("multiAssetsMargin", lambda _: {"multiAssetsMargin": False}, 30),
            change("multiAssetsMargin", self._set_multi_assets),
            change("feeBurn", lambda _: _SUCCESS),
        ]

    def _set_leverage(self, call: Call) -> object:
        symbol, leverage = call.market().symbol, call.params.integer("leverage")
        if leverage is None:
            raise ApiError(-1102, "leverage")
        account = call.account
        state = account.exchange.symbols[symbol]
        if not 1 <= leverage <= state.instrument.tiers[0].max_leverage:
            raise ApiError(-4028, leverage)
        if leverage != state.leverage:
            if state.signed_quantity and state.margin_mode is MarginMode.ISOLATED:
                raise ApiError(-4161)
            try:
                account.set_leverage(symbol, Decimal(leverage), now_ms=call.now_ms)
            except Refused as refused:
                # Above the limit of what is open, or more margin than is free.
                code = -2027 if refused.code == "-2027" else -2019
                raise ApiError(code) from None
        return {
            "symbol": symbol,
            "leverage": leverage,
            "maxNotionalValue": rows.max_notional(state),
        }

    def _set_margin_type(self, call: Call) -> object:
        symbol, name = call.market().symbol, call.params.text("marginType")
        if name not in _MODES:
            raise ApiError(-1130, "marginType")
        state = call.account.exchange.symbols[symbol]
        if state.margin_mode is _MODES[name]:
            raise ApiError(-4046)
        if state.orders:
            raise ApiError(-4047)
        if state.signed_quantity:
            raise ApiError(-4048)
        call.account.set_margin_mode(symbol, _MODES[name], now_ms=call.now_ms)
        return _SUCCESS

    def _move_margin(self, call: Call) -> object:
        symbol, kind = call.market().symbol, call.params.integer("type")
        moved = call.params.decimal("amount")
        if kind not in (1, 2):
            raise ApiError(-1102, "type")
        if moved is None:
            raise ApiError(-1102, "amount")
        if moved <= ZERO:
            raise ApiError(-4055)
        state = call.account.exchange.symbols[symbol]
        if not state.signed_quantity or state.margin_mode is not MarginMode.ISOLATED:
            raise ApiError(-4054)
        try:
            signed = moved if kind == 1 else -moved
            call.account.add_margin(symbol, signed, now_ms=call.now_ms)
        except Refused:
            raise ApiError(-4050 if kind == 1 else -4051) from None
        self._margin_changes[call.account.account_id].append(
            {
                "symbol": symbol,
                "type": kind,
                "deltaType": "USER_ADJUST",
                "amount": amount(moved),
                "asset": state.instrument.quote,
                "time": call.now_ms,
                "positionSide": "BOTH",
            }
        )
        return {
            "amount": number(moved),
            "code": 200,
            "msg": "Successfully modify position margin.",
            "type": kind,
        }

    def _margin_history(self, call: Call) -> object:
        symbol, limit = call.market().symbol, call.params.limit(500, 500)
        kept = self._margin_changes[call.account.account_id]
        return [each for each in kept if each["symbol"] == symbol][-limit:]

    def _position_mode(self, call: Call) -> object:
        return {"dualSidePosition": call.account.position_mode is PositionMode.HEDGE}

    def _set_position_mode(self, call: Call) -> object:
        if call.params.optional("dualSidePosition") is None:
            raise ApiError(-1102, "dualSidePosition")
        wanted = call.params.flag("dualSidePosition")
        mode, account = PositionMode.HEDGE if wanted else PositionMode.ONE_WAY, call.account
        if account.position_mode is mode:
            raise ApiError(-4059)
        if account.open_orders():
            raise ApiError(-4067)
        if _has_position(account):
            raise ApiError(-4068)
        account.position_mode = mode
        return _SUCCESS

    def _set_multi_assets(self, call: Call) -> object:
        if call.params.flag("multiAssetsMargin"):
            raise ApiError(-4168)
        raise ApiError(-4171)


def _has_position(account: Account) -> bool:
    return any(state.signed_quantity for state in account.exchange.symbols.values())
