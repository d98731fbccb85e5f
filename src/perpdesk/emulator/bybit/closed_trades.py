"""Realized profit the way Bybit tells it: with the fees of both ends and funding in it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from perpdesk.domain.numbers import ZERO
from perpdesk.emulator.bybit.messages import amount, number, order_id_of, side_word
from perpdesk.emulator.records import FillRecord


@dataclass(slots=True, kw_only=True)
class ClosedTrade:
    """What one order closed. entry_value, exit_value, fees, pnl: quote. quantity: base."""

    symbol: str
    order_id: int
    side: str
    order_type: str
    order_quantity: str
    order_price: str
    leverage: str
    execution: str
    created_ms: int
    updated_ms: int
    quantity: Decimal = ZERO
    entry_value: Decimal = ZERO
    exit_value: Decimal = ZERO
    open_fee: Decimal = ZERO
    close_fee: Decimal = ZERO
    pnl: Decimal = ZERO
    fills: int = 0

    def row(self) -> dict[str, Any]:
        """Return it as closed-pnl shows it."""
        return {
            "symbol": self.symbol,
            "orderType": self.order_type,
            "leverage": self.leverage,
            "updatedTime": str(self.updated_ms),
            "side": self.side,
            "orderId": order_id_of(self.order_id),
            "closedPnl": amount(self.pnl),
            "avgEntryPrice": amount(self.entry_value / self.quantity),
            "qty": self.order_quantity,
            "cumEntryValue": amount(self.entry_value),
            "createdTime": str(self.created_ms),
            "orderPrice": self.order_price,
            "closedSize": number(self.quantity),
            "avgExitPrice": amount(self.exit_value / self.quantity),
            "execType": self.execution,
            "fillCount": str(self.fills),
            "cumExitValue": amount(self.exit_value),
            "openFee": amount(self.open_fee),
            "closeFee": amount(self.close_fee),
        }


@dataclass(slots=True)
class PositionBook:
    """What a position has cost and brought since it was opened, and the symbol for good.

    open_fees, funding: quote still to be shared out among what closes; funding positive: received.
    current, total: realized with fees and funding; created_ms: of the position.
    """

    open_fees: Decimal = ZERO
    funding: Decimal = ZERO
    current: Decimal = ZERO
    total: Decimal = ZERO
    created_ms: int = 0
    updated_ms: int = 0

    def fund(self, change: Decimal, ts_ms: int) -> None:
        """Take note of a settlement. change: of cash."""
        self.funding += change
        self.current += change
        self.total += change
        self.updated_ms = ts_ms

    def fill(self, fill: FillRecord, trade: ClosedTrade) -> bool:
        """Take note of a fill, and put what it closes into `trade`; tell whether it closed."""
        held = abs(fill.position_before)
        against = fill.position_before * fill.side.sign < ZERO
        closing = min(held, fill.quantity) if against else ZERO
        self.updated_ms = fill.ts_ms
        self.total += fill.realized_pnl - fill.fee
        if closing:
            self._close(fill, trade, closing, held)
        opening = fill.quantity - closing
        if not held or closing == held:
            self.created_ms, self.current = fill.ts_ms, ZERO
            self.open_fees, self.funding = ZERO, ZERO
        if opening:
            fee = fill.fee * opening / fill.quantity
            self.open_fees += fee
            self.current -= fee
        return bool(closing)

    def _close(self, fill: FillRecord, trade: ClosedTrade, closing: Decimal, held: Decimal) -> None:
        part = closing / held
        open_fee, funding = self.open_fees * part, self.funding * part
        close_fee = fill.fee * closing / fill.quantity
        value = closing * fill.price
        trade.quantity += closing
        trade.exit_value += value
        # A sell closes a long: profit is what came out less what went in.
        trade.entry_value += value + fill.side.sign * fill.realized_pnl
        trade.open_fee += open_fee
        trade.close_fee += close_fee
        trade.pnl += fill.realized_pnl - open_fee - close_fee + funding
        trade.fills += 1
        trade.updated_ms = fill.ts_ms
        self.open_fees -= open_fee
        self.funding -= funding
        self.current += fill.realized_pnl - close_fee


def trade_of(fill: FillRecord, leverage: Decimal) -> ClosedTrade:
    """Return an empty record for the order of a fill."""
    record = fill.order
    price = record.price if record.price is not None else Decimal(record.extra.get("cap", "0"))
    return ClosedTrade(
        symbol=record.symbol,
        order_id=record.order_id,
        side=side_word(fill.side),
        order_type="Limit" if record.request.type.is_limit else "Market",
        order_quantity=number(record.quantity),
        order_price=number(price),
        leverage=number(leverage),
        execution="BustTrade" if record.is_forced else "Trade",
        created_ms=fill.ts_ms,
        updated_ms=fill.ts_ms,
    )
