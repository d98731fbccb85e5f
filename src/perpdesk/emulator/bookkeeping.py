"""Events of a simulated exchange, kept under the venue's ids: orders, fills and income."""

from collections import deque
from decimal import Decimal
from typing import Final

from perpdesk.domain.account import LedgerKind
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    Event,
    FundingSettled,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
)
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderStatus
from perpdesk.emulator.records import AccountChange, FillRecord, IncomeRecord, OrderRecord
from perpdesk.simulation.ledger import Ledger

KEPT_CLOSED: Final = 20_000
KEPT_FILLS: Final = 50_000


class Records:
    """What an account's clients can ask about. Old closed orders are forgotten."""

    def __init__(self, venue: Venue, ledger: Ledger) -> None:
        self.venue = venue
        self.ledger = ledger
        self.orders: dict[int, OrderRecord] = {}
        self.fills: deque[FillRecord] = deque(maxlen=KEPT_FILLS)
        self.income: deque[IncomeRecord] = deque(maxlen=KEPT_FILLS)
        self.by_internal: dict[ClientOrderId, OrderRecord] = {}
        self.by_client: dict[tuple[bool, str], OrderRecord] = {}
        self._closed: deque[int] = deque()
        self._next = {"order": 1_000_001, "trade": 5_000_001, "income": 7_000_001, "internal": 1}

    def take_number(self, sequence: str) -> int:
        """Return the next number of "order", "trade", "income" or "internal"."""
        number = self._next[sequence]
        self._next[sequence] = number + 1
        return number

    def apply(self, event: Event) -> AccountChange:
        """Take an event and return it with the records it touched."""
        match event:
            case OrderAccepted():
                return AccountChange(event=event, order=self._accepted(event))
            case OrderFilled():
                return self._filled(event)
            case FundingSettled():
                income = self.add_income(
                    event.ts_ms, LedgerKind.FUNDING, event.symbol, event.amount, detail=event.rate
                )
                return AccountChange(event=event, income=income)
            case (
                OrderRejected()
                | OrderTriggered()
                | OrderAmended()
                | OrderCanceled()
                | OrderExpired()
            ):
                return AccountChange(event=event, order=self._moved(event))
        return AccountChange(event=event)

    def _accepted(self, event: OrderAccepted) -> OrderRecord:
        record = self.by_internal.get(event.request.client_order_id)
        if record is None:
            # An order of the exchange's own making.
            prefix = "autoclose" if self.venue is Venue.BINANCE else "liq"
            record = OrderRecord(
                order_id=self.take_number("order"),
                client_id=f"{prefix}-{event.ts_ms}-{event.seq}",
                is_algo=False,
                request=event.request,
                created_ms=event.ts_ms,
                updated_ms=event.ts_ms,
                quantity=event.quantity,
                price=None,
                trigger_price=None,
            )
            self.by_internal[event.request.client_order_id] = record
        record.status = OrderStatus.ACCEPTED
        self.orders[record.order_id] = record
        self.by_client[record.is_algo, record.client_id] = record
        return record

    def _moved(
        self,
        event: OrderRejected | OrderTriggered | OrderAmended | OrderCanceled | OrderExpired,
    ) -> OrderRecord | None:
        record = self.by_internal.get(event.client_order_id)
        if record is None:
            return None
        record.updated_ms = event.ts_ms
        match event:
            case OrderRejected():
                record.reject_code, record.reason = event.code, event.reason
                self._close(record, OrderStatus.REJECTED)
            case OrderTriggered():
                record.status, record.triggered_ms = OrderStatus.TRIGGERED, event.ts_ms
                if record.is_algo:
                    record.working_id = self.take_number("order")
            case OrderAmended():
                record.quantity, record.price = event.quantity, event.price
                record.trigger_price = event.trigger_price
            case OrderCanceled():
                record.reason = event.reason
                self._close(record, OrderStatus.CANCELED)
            case OrderExpired():
                record.reason = event.reason
                self._close(record, OrderStatus.EXPIRED)
        return record

    def _filled(self, event: OrderFilled) -> AccountChange:
        record = self.by_internal[event.client_order_id]
        record.filled += event.quantity
        record.filled_value += event.quantity * event.price
        record.fees += event.fee
        record.updated_ms = event.ts_ms
        if event.leaves_quantity:
            record.status = OrderStatus.PARTIALLY_FILLED
        else:
            self._close(record, OrderStatus.FILLED)
        fill = FillRecord(
            trade_id=self.take_number("trade"),
            ts_ms=event.ts_ms,
            order=record,
            side=event.side,
            quantity=event.quantity,
            price=event.price,
            liquidity=event.liquidity,
            fee=event.fee,
            realized_pnl=event.realized_pnl,
            position_before=event.position_after - event.side.sign * event.quantity,
            position_after=event.position_after,
        )
        self.fills.append(fill)
        forced = event.purpose is OrderPurpose.LIQUIDATION
        if event.realized_pnl:
            self.add_income(
                event.ts_ms, LedgerKind.REALIZED_PNL, event.symbol, event.realized_pnl, fill=fill
            )
        fee_kind = LedgerKind.LIQUIDATION_FEE if forced else LedgerKind.FEE
        self.add_income(event.ts_ms, fee_kind, event.symbol, -event.fee, fill=fill)
        return AccountChange(event=event, order=record, fill=fill)

    def add_income(
        self,
        ts_ms: int,
        kind: LedgerKind,
        symbol: str,
        amount: Decimal,
        *,
        fill: FillRecord | None = None,
        detail: Decimal = ZERO,
    ) -> IncomeRecord:
        """Write down a change of cash, after it was booked."""
        record = IncomeRecord(
            income_id=self.take_number("income"),
            ts_ms=ts_ms,
            kind=kind.value,
            symbol=symbol,
            amount=amount,
            cash_after=self.ledger.cash,
            trade_id=0 if fill is None else fill.trade_id,
            detail=detail,
        )
        self.income.append(record)
        return record

    def _close(self, record: OrderRecord, status: OrderStatus) -> None:
        record.status = status
        if record.order_id in self.orders:
            self._closed.append(record.order_id)
        while len(self._closed) > KEPT_CLOSED:
            gone = self.orders.pop(self._closed.popleft(), None)
            if gone is not None:
                self.by_internal.pop(gone.request.client_order_id, None)
                if self.by_client.get((gone.is_algo, gone.client_id)) is gone:
                    del self.by_client[gone.is_algo, gone.client_id]
