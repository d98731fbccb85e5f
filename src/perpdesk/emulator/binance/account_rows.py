"""Balances, positions and income of an account, as REST and the WebSocket API show them."""

from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.order import Side
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.binance.words import INCOME_TYPES, amount, cut, places_of, quantity
from perpdesk.emulator.records import IncomeRecord
from perpdesk.simulation.margin import PositionMargin
from perpdesk.simulation.state import SymbolState


def quote_of(account: Account) -> str:
    """Return the asset the account is kept in."""
    return next(iter(account.markets.values())).instrument.quote


def max_notional(state: SymbolState) -> str:
    """Return the largest position that the leverage allows."""
    fitting = [each.cap for each in state.instrument.tiers if each.max_leverage >= state.leverage]
    return plain(max(fitting, default=ZERO))


class Held:
    """One symbol of an account: its position, its margins, and what its orders hold."""

    def __init__(self, account: Account, state: SymbolState) -> None:
        exchange = account.exchange
        self.state = state
        self.rules: Instrument = state.instrument
        self.margin: PositionMargin = exchange.accounting.margin_of(state)
        self.is_isolated = state.margin_mode is MarginMode.ISOLATED
        self.orders_margin = sum((order.reserved for order in state.orders.values()), ZERO)
        self.entry = state.entry_value / state.signed_quantity if state.signed_quantity else ZERO
        level = exchange.liquidation_price(state.symbol) if state.signed_quantity else None
        self.liquidation = ZERO if level is None else level
        self._fills = account.fills
        self._fee = exchange.accounting.fee_rates(state, exchange.now_ms).taker

    @property
    def exists(self) -> bool:
        """Tell whether there is a position or an order."""
        return bool(self.state.signed_quantity or self.state.orders)

    @property
    def changed_ms(self) -> int:
        """Return when the position last changed, 0 when flat."""
        if not self.state.signed_quantity:
            return 0
        mine = (f.ts_ms for f in reversed(self._fills) if f.order.symbol == self.state.symbol)
        return next(mine, 0)

    @property
    def digits(self) -> int:
        """Return the decimals of average prices."""
        return max(5, places_of(self.rules.tick_size))

    @property
    def isolated_margin(self) -> Decimal:
        """Return the isolated wallet with its profit."""
        return self.state.isolated_margin + self.margin.unrealized if self.is_isolated else ZERO

    def break_even(self) -> Decimal:
        """Return the price that also pays the fees of opening and closing."""
        sign = 1 if self.state.signed_quantity > ZERO else -1
        return self.entry * (1 + sign * 2 * self._fee)

    def resting_notional(self, side: Side) -> Decimal:
        """Return the value of the orders of one side that rest in the book."""
        resting = [
            order
            for order in self.state.orders.values()
            if order.rests and order.request.side is side
        ]
        return sum((order.leaves * (order.price or ZERO) for order in resting), ZERO)


def held(account: Account, symbol: str) -> Held:
    """Return one symbol of an account."""
    return Held(account, account.exchange.symbols[symbol])


def all_held(account: Account) -> list[Held]:
    """Return every symbol of an account."""
    return [Held(account, state) for state in account.exchange.symbols.values()]


def signed_notional(each: Held) -> str:
    """Return the value of a position at mark, negative when short."""
    return amount(each.state.signed_quantity * each.state.mark_price)


def position_v3(each: Held) -> dict[str, object]:
    """Return a position as /fapi/v3/positionRisk has it."""
    state, rules = each.state, each.rules
    orders = amount(each.orders_margin)
    return {
        "symbol": state.symbol,
        "positionSide": "BOTH",
        "positionAmt": quantity(state.signed_quantity, rules),
        "entryPrice": cut(each.entry, each.digits),
        "breakEvenPrice": cut(each.break_even(), 8),
        "markPrice": cut(state.mark_price, 8),
        "unRealizedProfit": amount(each.margin.unrealized),
        "liquidationPrice": cut(each.liquidation, 8) if each.liquidation else "0",
        "isolatedMargin": amount(each.isolated_margin),
        "notional": signed_notional(each),
        "marginAsset": rules.quote,
        "isolatedWallet": amount(state.isolated_margin),
        "initialMargin": amount(each.margin.initial + each.orders_margin),
        "maintMargin": amount(each.margin.maintenance),
        "positionInitialMargin": amount(each.margin.initial),
        "openOrderInitialMargin": orders,
        "adl": 0,
        "bidNotional": plain(each.resting_notional(Side.BUY)),
        "askNotional": plain(each.resting_notional(Side.SELL)),
        "updateTime": each.changed_ms,
    }


def position_v2(each: Held) -> dict[str, object]:
    """Return a position as /fapi/v2/positionRisk has it."""
    row, state = position_v3(each), each.state
    names = (
        "symbol positionAmt entryPrice breakEvenPrice markPrice unRealizedProfit liquidationPrice "
        "isolatedMargin notional isolatedWallet positionSide updateTime"
    )
    return {name: row[name] for name in names.split()} | {
        "leverage": plain(state.leverage),
        "maxNotionalValue": max_notional(state),
        "marginType": state.margin_mode.value,
        "isAutoAddMargin": "false",
    }


def account_v3(account: Account) -> dict[str, object]:
    """Return the account as /fapi/v3/account has it: only symbols with content."""
    every = all_held(account)
    totals = _totals(account, every)
    asset = quote_of(account)
    return totals | {
        "assets": [{"asset": asset, **_asset(totals), "updateTime": account.exchange.now_ms}],
        "positions": [
            {
                "symbol": each.state.symbol,
                "positionSide": "BOTH",
                "positionAmt": quantity(each.state.signed_quantity, each.rules),
                "unrealizedProfit": amount(each.margin.unrealized),
                "isolatedMargin": amount(each.isolated_margin),
                "notional": signed_notional(each),
                "isolatedWallet": amount(each.state.isolated_margin),
                "initialMargin": amount(each.margin.initial + each.orders_margin),
                "maintMargin": amount(each.margin.maintenance),
                "updateTime": each.changed_ms,
            }
            for each in every
            if each.exists
        ],
    }


def account_v2(account: Account, *, can_trade: bool) -> dict[str, object]:
    """Return the account as /fapi/v2/account has it: every symbol."""
    every = all_held(account)
    totals = _totals(account, every)
    head: dict[str, object] = {
        "feeTier": 0,
        "canTrade": can_trade,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }
    asset = {
        "asset": quote_of(account),
        **_asset(totals),
        "marginAvailable": True,
        "updateTime": account.exchange.now_ms,
    }
    return (
        head | totals | {"assets": [asset], "positions": [_position_of_account(e) for e in every]}
    )


def _position_of_account(each: Held) -> dict[str, object]:
    state = each.state
    return {
        "symbol": state.symbol,
        "initialMargin": amount(each.margin.initial + each.orders_margin),
        "maintMargin": amount(each.margin.maintenance),
        "unrealizedProfit": amount(each.margin.unrealized),
        "positionInitialMargin": amount(each.margin.initial),
        "openOrderInitialMargin": amount(each.orders_margin),
        "leverage": plain(state.leverage),
        "isolated": each.is_isolated,
        "entryPrice": cut(each.entry, each.digits),
        "breakEvenPrice": cut(each.break_even(), 8),
        "maxNotional": max_notional(state),
        "bidNotional": plain(each.resting_notional(Side.BUY)),
        "askNotional": plain(each.resting_notional(Side.SELL)),
        "positionSide": "BOTH",
        "positionAmt": quantity(state.signed_quantity, each.rules),
        "notional": signed_notional(each),
        "isolatedWallet": amount(state.isolated_margin),
        "updateTime": each.changed_ms,
    }


def _totals(account: Account, every: list[Held]) -> dict[str, object]:
    exchange = account.exchange
    state = exchange.account()
    orders = sum((each.orders_margin for each in every), ZERO)
    cross_profit = sum((each.margin.unrealized for each in every if not each.is_isolated), ZERO)
    available = amount(max(ZERO, exchange.accounting.free_for_orders()))
    return {
        "totalInitialMargin": amount(state.used_margin + orders),
        "totalMaintMargin": amount(state.maintenance_margin),
        "totalWalletBalance": amount(state.cash),
        "totalUnrealizedProfit": amount(state.unrealized),
        "totalMarginBalance": amount(state.equity),
        "totalPositionInitialMargin": amount(state.used_margin),
        "totalOpenOrderInitialMargin": amount(orders),
        "totalCrossWalletBalance": amount(cross_wallet(account)),
        "totalCrossUnPnl": amount(cross_profit),
        "availableBalance": available,
        "maxWithdrawAmount": available,
    }


def cross_wallet(account: Account) -> Decimal:
    """Return the wallet without what isolated positions hold."""
    isolated = (state.isolated_margin for state in account.exchange.symbols.values())
    return account.exchange.ledger.cash - sum(isolated, ZERO)


def _asset(totals: dict[str, object]) -> dict[str, object]:
    return {
        "walletBalance": totals["totalWalletBalance"],
        "unrealizedProfit": totals["totalUnrealizedProfit"],
        "marginBalance": totals["totalMarginBalance"],
        "maintMargin": totals["totalMaintMargin"],
        "initialMargin": totals["totalInitialMargin"],
        "positionInitialMargin": totals["totalPositionInitialMargin"],
        "openOrderInitialMargin": totals["totalOpenOrderInitialMargin"],
        "crossWalletBalance": totals["totalCrossWalletBalance"],
        "crossUnPnl": totals["totalCrossUnPnl"],
        "availableBalance": totals["availableBalance"],
        "maxWithdrawAmount": totals["maxWithdrawAmount"],
    }


def balances(account: Account) -> list[dict[str, object]]:
    """Return the account's assets as /balance has them."""
    totals = _totals(account, all_held(account))
    return [
        {
            "accountAlias": "EmUl",
            "asset": quote_of(account),
            "balance": totals["totalWalletBalance"],
            "crossWalletBalance": totals["totalCrossWalletBalance"],
            "crossUnPnl": totals["totalCrossUnPnl"],
            "availableBalance": totals["availableBalance"],
            "maxWithdrawAmount": totals["maxWithdrawAmount"],
            "marginAvailable": True,
            "updateTime": account.exchange.now_ms,
        }
    ]


def income_row(income: IncomeRecord, asset: str) -> dict[str, object]:
    """Return one change of the balance."""
    kind = INCOME_TYPES[income.kind]
    return {
        "symbol": income.symbol,
        "incomeType": kind,
        "income": amount(income.amount),
        "asset": asset,
        "info": str(income.trade_id) if income.trade_id else kind,
        "time": income.ts_ms,
        "tranId": str(income.income_id),
        "tradeId": str(income.trade_id) if income.trade_id else "",
    }
