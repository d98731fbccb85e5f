"""What a round trip is: one trade, from flat to flat, with all that it cost."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderPurpose
from perpdesk.domain.signal import PositionSide

TRADE_COLUMNS: Final = (
    "trade_id",
    "symbol",
    "side",
    "entry_ts_ms",
    "exit_ts_ms",
    "quantity",
    "entry_price",
    "exit_price",
    "stop_loss",
    "take_profit",
    "exit_reason",
    "gross_pnl",
    "fees",
    "funding",
    "slippage_cost",
    "net_pnl",
    "r_multiple",
    "mae",
    "mfe",
)
"""The columns of trades.csv, in order; each is a field of RoundTrip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """One trade, from flat to flat. Money in quote, quantities in base.

    trade_id: from 1, by entry time. quantity: the sum entered. entry_price, exit_price: weighted by
    quantity. stop_loss, take_profit: the first ones, as they stood when the entry filled.
    exit_reason: of the last closing fill; ENTRY where an opposite entry reversed the position.
    exit_*: None while the position is open. fees: positive when paid, liquidation_cost included.
    liquidation_cost: the fees of forced closes. funding: change of cash, negative when paid.
    net_pnl = gross_pnl - fees + funding, exactly; slippage is inside the prices already.
    r_multiple: net_pnl per amount at risk between entry_price and stop_loss; None without a stop.
    mae <= 0 <= mfe: worst and best unrealized profit; None until `with_excursions`.
    traded_notional: the value of all fills, in and out.
    """

    trade_id: int
    symbol: str
    side: PositionSide
    entry_ts_ms: int
    exit_ts_ms: int | None
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    exit_reason: OrderPurpose | None
    gross_pnl: Decimal
    fees: Decimal
    funding: Decimal
    slippage_cost: Decimal
    net_pnl: Decimal
    r_multiple: float | None
    mae: float | None = None
    mfe: float | None = None
    liquidation_cost: Decimal = ZERO
    traded_notional: Decimal = ZERO

    @property
    def is_closed(self) -> bool:
        """Tell whether the position went flat again."""
        return self.exit_ts_ms is not None
