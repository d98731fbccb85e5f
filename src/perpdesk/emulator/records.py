"""What an account remembers for its clients: orders, fills and income, under the venue's ids."""

from dataclasses import dataclass, field
from decimal import Decimal

from perpdesk.domain.events import Event
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import Liquidity, OrderPurpose, OrderRequest, OrderStatus, Side


@dataclass(slots=True, kw_only=True, eq=False)
class OrderRecord:
    """One order as its client knows it.

    order_id: the venue's. client_id: the client's own words. is_algo: lives in the conditional
    namespace of Binance. working_id: of the normal order that it became when it triggered there.
    request: as asked, under the exchange's internal id. extra: what a door wants to remember.
    """

    order_id: int
    client_id: str
    is_algo: bool
    request: OrderRequest
    created_ms: int
    updated_ms: int
    quantity: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    status: OrderStatus = OrderStatus.SUBMITTED
    filled: Decimal = ZERO
    filled_value: Decimal = ZERO
    fees: Decimal = ZERO
    triggered_ms: int | None = None
    working_id: int | None = None
    reason: str = ""
    reject_code: str = ""
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def symbol(self) -> str:
        """Return the symbol."""
        return self.request.symbol

    @property
    def is_open(self) -> bool:
        """Tell whether the exchange works it."""
        return self.status.is_open

    @property
    def is_waiting(self) -> bool:
        """Tell whether it is conditional and has not triggered."""
        return self.request.type.is_conditional and self.triggered_ms is None

    @property
    def leaves(self) -> Decimal:
        """Return what may still fill."""
        return self.quantity - self.filled if self.is_open else ZERO

    @property
    def average_price(self) -> Decimal:
        """Return the value-weighted fill price, zero before the first fill."""
        return self.filled_value / self.filled if self.filled else ZERO

    @property
    def is_forced(self) -> bool:
        """Tell whether the exchange itself made it: a liquidation."""
        return self.request.purpose is OrderPurpose.LIQUIDATION


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRecord:
    """One trade of an account. realized_pnl: quote, before fees; position_after: base, signed."""

    trade_id: int
    ts_ms: int
    order: OrderRecord
    side: Side
    quantity: Decimal
    price: Decimal
    liquidity: Liquidity
    fee: Decimal
    realized_pnl: Decimal
    position_before: Decimal
    position_after: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomeRecord:
    """One change of cash. kind: of `LedgerKind`. trade_id: 0 where no trade made it."""

    income_id: int
    ts_ms: int
    kind: str
    symbol: str
    amount: Decimal
    cash_after: Decimal
    trade_id: int = 0
    detail: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """One event of the exchange with the records it touched."""

    event: Event
    order: OrderRecord | None = None
    fill: FillRecord | None = None
    income: IncomeRecord | None = None
