"""The calls that we make: pybit's method, the budget it draws on, and whether it changes things."""

from dataclasses import dataclass
from typing import Final

from perpdesk.venues.rate_limit import Pool

IP: Final = "ip"
ORDERS: Final = "orders"
BATCH: Final = "batch"
QUERIES: Final = "queries"
SETTINGS: Final = "settings"
ACCOUNT: Final = "account"
LEDGER: Final = "ledger"

POOLS: Final = {
    pool.name: pool
    for pool in (
        Pool(name=IP, limit=600, window_ms=5_000),
        Pool(name=ORDERS, limit=10, window_ms=1_000),
        # Batches have a pool of their own that counts every order in them.
        Pool(name=BATCH, limit=20, window_ms=1_000),
        Pool(name=QUERIES, limit=50, window_ms=1_000),
        Pool(name=SETTINGS, limit=10, window_ms=1_000),
        Pool(name=ACCOUNT, limit=5, window_ms=1_000),
        Pool(name=LEDGER, limit=25, window_ms=1_000),
    )
}
"""Limits of an account without VIP level. Source: reference/exchanges.md 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One endpoint.

    method: of pybit's HTTP. pool: the account's own budget beside that of the address; None for
    public calls. changes: whether a lost answer leaves something unknown.
    """

    name: str
    method: str
    pool: str | None = None
    changes: bool = False


# Market data.
TIME: Final = Call(name="market/time", method="get_server_time")
INSTRUMENTS: Final = Call(name="market/instruments-info", method="get_instruments_info")
KLINE: Final = Call(name="market/kline", method="get_kline")
MARK_KLINE: Final = Call(name="market/mark-price-kline", method="get_mark_price_kline")
FUNDING_HISTORY: Final = Call(name="market/funding/history", method="get_funding_rate_history")
OPEN_INTEREST: Final = Call(name="market/open-interest", method="get_open_interest")
RECENT_TRADES: Final = Call(name="market/recent-trade", method="get_public_trade_history")
RISK_LIMIT: Final = Call(name="market/risk-limit", method="get_risk_limit")
TICKERS: Final = Call(name="market/tickers", method="get_tickers")

# Orders.
CREATE: Final = Call(name="order/create", method="place_order", pool=ORDERS, changes=True)
CREATE_BATCH: Final = Call(
    name="order/create-batch", method="place_batch_order", pool=BATCH, changes=True
)
AMEND: Final = Call(name="order/amend", method="amend_order", pool=ORDERS, changes=True)
CANCEL: Final = Call(name="order/cancel", method="cancel_order", pool=ORDERS, changes=True)
CANCEL_ALL: Final = Call(
    name="order/cancel-all", method="cancel_all_orders", pool=ORDERS, changes=True
)
OPEN_ORDERS: Final = Call(name="order/realtime", method="get_open_orders", pool=QUERIES)
ORDER_HISTORY: Final = Call(name="order/history", method="get_order_history", pool=QUERIES)
EXECUTIONS: Final = Call(name="execution/list", method="get_executions", pool=QUERIES)

# Account.
POSITIONS: Final = Call(name="position/list", method="get_positions", pool=QUERIES)
TRADING_STOP: Final = Call(
    name="position/trading-stop", method="set_trading_stop", pool=SETTINGS, changes=True
)
SET_LEVERAGE: Final = Call(
    name="position/set-leverage", method="set_leverage", pool=SETTINGS, changes=True
)
SWITCH_MODE: Final = Call(
    name="position/switch-mode", method="switch_position_mode", pool=SETTINGS, changes=True
)
FEE_RATE: Final = Call(name="account/fee-rate", method="get_fee_rates", pool=ACCOUNT)
ACCOUNT_INFO: Final = Call(name="account/info", method="get_account_info", pool=QUERIES)
WALLET: Final = Call(name="account/wallet-balance", method="get_wallet_balance", pool=QUERIES)
TRANSACTIONS: Final = Call(
    name="account/transaction-log", method="get_transaction_log", pool=LEDGER
)
SET_MARGIN_MODE: Final = Call(
    name="account/set-margin-mode", method="set_margin_mode", pool=ACCOUNT, changes=True
)
KEY: Final = Call(name="user/query-api", method="get_api_key_information", pool=ACCOUNT)
