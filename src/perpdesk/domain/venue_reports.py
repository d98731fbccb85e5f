"""What a venue says of orders, fills, positions and money: its own words, made ours.

Reports are observations, not state: they may come twice, late or out of order. Order reports move
forward only (filled quantity never falls, a closed order stays closed); fills are named by
(venue, symbol, trade_id); positions and balances replace what was known.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from perpdesk.domain.account import MarginMode
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """An order as the venue sees it. quantity, filled_quantity: base; prices: quote.

    order_id: of the namespace the order lives in; a conditional order keeps the id under which it
    was placed, `working_order_id` is that of the order it became when it triggered. average_price:
    of what has filled, None before or where the venue does not say. ts_event_ms: venue time of the
    latest change.
    """

    symbol: str
    client_order_id: ClientOrderId
    order_id: OrderId
    status: OrderStatus
    side: Side
    type: OrderType
    quantity: Decimal
    filled_quantity: Decimal = ZERO
    average_price: Decimal | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    close_position: bool = False
    working_order_id: OrderId | None = None
    reason: str = ""
    ts_event_ms: int = 0


class FillCause(StrEnum):
    """Why a fill happened: by an order, or by the venue's own hand."""

    ORDER = "ORDER"
    LIQUIDATION = "LIQUIDATION"
    AUTO_DELEVERAGING = "AUTO_DELEVERAGING"
    SETTLEMENT = "SETTLEMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReport:
    """One trade of ours. fee: in fee_asset, positive when paid. realized_pnl: quote, before fees.

    client_order_id: empty where an order of the venue's own made it.
    """

    symbol: str
    trade_id: str
    order_id: OrderId
    client_order_id: ClientOrderId
    side: Side
    quantity: Decimal
    price: Decimal
    liquidity: Liquidity
    fee: Decimal
    fee_asset: str
    realized_pnl: Decimal | None
    ts_event_ms: int
    cause: FillCause = FillCause.ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionReport:
    """A one-way position as the venue sees it. signed_quantity: base, negative when short.

    isolated_margin: quote, None in cross margin or where the venue does not say.
    liquidation_price: None where there is none.
    """

    symbol: str
    signed_quantity: Decimal
    entry_price: Decimal | None
    mark_price: Decimal | None = None
    unrealized_pnl: Decimal | None = None
    leverage: Decimal | None = None
    margin_mode: MarginMode | None = None
    isolated_margin: Decimal | None = None
    liquidation_price: Decimal | None = None
    ts_event_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceReport:
    """The account's money in one asset. wallet: without unrealized profit. available: for orders,
    None where the message does not say."""

    asset: str
    wallet: Decimal
    available: Decimal | None = None
    ts_event_ms: int = 0


class IncomeKind(StrEnum):
    """Why a venue changed a balance. OTHER keeps the venue's own word in `IncomeReport.detail`."""

    REALIZED_PNL = "REALIZED_PNL"
    FEE = "FEE"
    FUNDING = "FUNDING"
    LIQUIDATION_FEE = "LIQUIDATION_FEE"
    TRANSFER = "TRANSFER"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomeReport:
    """One row of the venue's own ledger. amount: change of the balance, negative when it left."""

    income_id: str
    ts_ms: int
    kind: IncomeKind
    asset: str
    amount: Decimal
    symbol: str = ""
    trade_id: str = ""
    detail: str = ""


class PositionMode(StrEnum):
    """ONE_WAY nets longs and shorts of a symbol; HEDGE keeps both. The desk trades ONE_WAY."""

    ONE_WAY = "one-way"
    HEDGE = "hedge"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """How the account is set for one symbol: read before trading, never assumed."""

    symbol: str
    leverage: Decimal
    margin_mode: MarginMode
    position_mode: PositionMode


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPermissions:
    """What an API key may do. expires_ms: None where it does not expire, or is not said."""

    can_read: bool
    can_trade: bool
    can_withdraw: bool
    can_transfer: bool
    ip_restricted: bool
    expires_ms: int | None = None
