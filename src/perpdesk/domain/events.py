"""Commands (imperative) and events (past tense) of an exchange.

Events are facts with a sequence number, appended and never edited; orders, positions, balances and
reports are folds over them.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from perpdesk.domain.account import MarginMode
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderPurpose,
    OrderRequest,
    Side,
)


# Commands.
@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOrder:
    """Place one order."""

    request: OrderRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitBracket:
    """Place an entry together with the legs that protect it; legs name the entry as parent."""

    entry: OrderRequest
    legs: tuple[OrderRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel one order."""

    client_order_id: ClientOrderId


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAllOrders:
    """Cancel every order of a symbol, or of the account when `symbol` is None."""

    symbol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendOrder:
    """Change an open order; None leaves a field as it is. quantity is the new total size."""

    client_order_id: ClientOrderId
    quantity: Decimal | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLeverage:
    """Set the leverage of a symbol; refused above the tier of what is open."""

    symbol: str
    leverage: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMarginMode:
    """Set isolated or cross margin; refused while a position or an order is open."""

    symbol: str
    margin_mode: MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class AddIsolatedMargin:
    """Move quote from the account to an isolated position (negative: take some back)."""

    symbol: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOut:
    """End a finished run: cancel everything and close every position at the last price."""


Command = (
    SubmitOrder
    | SubmitBracket
    | CancelOrder
    | CancelAllOrders
    | AmendOrder
    | SetLeverage
    | SetMarginMode
    | AddIsolatedMargin
    | CloseOut
)


# Market events.
@dataclass(frozen=True, slots=True, kw_only=True)
class Ohlc:
    """Four prices of one bar, in quote."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BarClosed:
    """One execution bar of last and mark price, [ts_ms, close_ms).

    volume: base. funding: settlements inside the bar, in time order.
    """

    symbol: str
    ts_ms: int
    close_ms: int
    last: Ohlc
    mark: Ohlc
    volume: Decimal
    funding: tuple["FundingSettlement", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSettlement:
    """One recorded settlement: rate as a fraction of notional, mark in quote."""

    ts_ms: int
    rate: Decimal
    mark_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class BarsClosed:
    """Execution bars of several symbols over the same stretch of time, each symbol once.

    They are run stage by stage: all opens, then funding in order of time, then all paths, so that
    no symbol's decision knows what another's price became within the bar.
    """

    bars: tuple[BarClosed, ...]


# Events.
class StopCause(StrEnum):
    """Why an account can trade no more."""

    ACCOUNT_BLOWN = "account_blown"
    INSUFFICIENT_FREE_MARGIN = "insufficient_free_margin"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAccepted:
    """The exchange works the order. `quantity` is what it will fill at most.

    It is zero for an order that closes the position: OrderAmended tells the size before its fill.
    """

    seq: int
    ts_ms: int
    symbol: str
    order_id: OrderId
    request: OrderRequest
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRejected:
    """The exchange refused, at once or when a conditional order triggered; final.

    code: the venue's own code. reason: the rule, the value and the nearest legal order, in words.
    """

    seq: int
    ts_ms: int
    symbol: str
    client_order_id: ClientOrderId
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRejected:
    """A cancel, amend or setting was refused; nothing changed."""

    seq: int
    ts_ms: int
    symbol: str
    client_order_id: ClientOrderId | None
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTriggered:
    """The working price reached the trigger; the order works from now on."""

    seq: int
    ts_ms: int
    symbol: str
    client_order_id: ClientOrderId
    trigger_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAmended:
    """An open order changed."""

    seq: int
    ts_ms: int
    symbol: str
    client_order_id: ClientOrderId
    quantity: Decimal
    price: Decimal | None
    trigger_price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilled:
    """One trade of one order.

    fee: quote, positive when paid; of a liquidation it is the clearance fee. realized_pnl: quote,
    before fees. slippage_cost: quote, what the fill lost against the price it was worsened from.
    position_after: base, signed.
    """

    seq: int
    ts_ms: int
    symbol: str
    order_id: OrderId
    client_order_id: ClientOrderId
    side: Side
    quantity: Decimal
    price: Decimal
    liquidity: Liquidity
    fee: Decimal
    realized_pnl: Decimal
    slippage_cost: Decimal
    position_after: Decimal
    leaves_quantity: Decimal
    purpose: OrderPurpose


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCanceled:
    """The order works no more by somebody's wish; `reason` says whose."""

    seq: int
    ts_ms: int
    symbol: str
    client_order_id: ClientOrderId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderExpired:
    """The order's time in force ended it: IOC remainder, FOK, GTX that would take, GTD."""

    seq: int
    ts_ms: int
    symbol: str
    client_order_id: ClientOrderId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSettled:
    """Funding was exchanged. amount: quote, the change of cash (negative: paid)."""

    seq: int
    ts_ms: int
    symbol: str
    signed_quantity: Decimal
    mark_price: Decimal
    rate: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLiquidated:
    """The exchange closed (part of) a position that could not keep its margin.

    It follows the fill that closed, whose fee is the `liquidation_fee`. signed_quantity: base that
    was open before. closed_quantity: base, unsigned. price: of the closing fill. insurance_fund:
    quote that the fund gained, or paid (negative), by closing at mark what it took over.
    """

    seq: int
    ts_ms: int
    symbol: str
    signed_quantity: Decimal
    closed_quantity: Decimal
    mark_price: Decimal
    price: Decimal
    liquidation_fee: Decimal
    insurance_fund: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageChanged:
    """The leverage of a symbol is now `leverage`."""

    seq: int
    ts_ms: int
    symbol: str
    leverage: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginModeChanged:
    """The margin mode of a symbol is now `margin_mode`."""

    seq: int
    ts_ms: int
    symbol: str
    margin_mode: MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolatedMarginChanged:
    """Quote moved to (positive) or from an isolated position; cash is unchanged."""

    seq: int
    ts_ms: int
    symbol: str
    amount: Decimal
    isolated_margin: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStopped:
    """The account can trade no more."""

    seq: int
    ts_ms: int
    cause: StopCause
    equity: Decimal
    free_margin: Decimal


Event = (
    OrderAccepted
    | OrderRejected
    | CommandRejected
    | OrderTriggered
    | OrderAmended
    | OrderFilled
    | OrderCanceled
    | OrderExpired
    | FundingSettled
    | PositionLiquidated
    | LeverageChanged
    | MarginModeChanged
    | IsolatedMarginChanged
    | AccountStopped
)
