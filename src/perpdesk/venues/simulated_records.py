"""What the simulated exchange said, kept as a venue keeps it: orders, trades, and its ledger."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from perpdesk.domain.account import LedgerEntry, LedgerKind
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
from perpdesk.domain.order import ClientOrderId, OrderPurpose, OrderRequest, OrderStatus
from perpdesk.domain.streams import FundingPaid, StreamEvent
from perpdesk.domain.venue_reports import (
    FillCause,
    FillReport,
    IncomeKind,
    IncomeReport,
    OrderReport,
)

_ENDED: Final = {
    OrderCanceled: OrderStatus.CANCELED,
    OrderExpired: OrderStatus.EXPIRED,
    OrderRejected: OrderStatus.REJECTED,
}
_INCOME: Final = {
    LedgerKind.DEPOSIT: IncomeKind.TRANSFER,
    LedgerKind.REALIZED_PNL: IncomeKind.REALIZED_PNL,
    LedgerKind.FEE: IncomeKind.FEE,
    LedgerKind.FUNDING: IncomeKind.FUNDING,
    LedgerKind.LIQUIDATION_FEE: IncomeKind.LIQUIDATION_FEE,
}


class Records:
    """Folds events into reports. asset: what fees and funding are paid in.

    orders: by client id, as each stands now. fills: in order.
    """

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.orders: dict[ClientOrderId, OrderReport] = {}
        self.fills: list[FillReport] = []
        self._values: dict[ClientOrderId, Decimal] = {}

    def take(self, event: Event) -> list[StreamEvent]:
        """Take one event; return what a venue would push."""
        match event:
            case OrderAccepted():
                return [self._keep(_accepted(event))]
            case OrderTriggered():
                return [self._change(event.client_order_id, event.ts_ms, OrderStatus.TRIGGERED)]
            case OrderAmended():
                known = self.orders[event.client_order_id]
                return [
                    self._keep(
                        replace(
                            known,
                            quantity=event.quantity,
                            price=event.price,
                            trigger_price=event.trigger_price,
                            ts_event_ms=event.ts_ms,
                        )
                    )
                ]
            case OrderFilled():
                return self._filled(event)
            case OrderCanceled() | OrderExpired() | OrderRejected():
                status = _ENDED[type(event)]
                return [self._change(event.client_order_id, event.ts_ms, status, event.reason)]
            case FundingSettled():
                return [
                    FundingPaid(
                        symbol=event.symbol,
                        amount=event.amount,
                        asset=self.asset,
                        ts_event_ms=event.ts_ms,
                    )
                ]
        return []

    def income(self, entries: Iterable[LedgerEntry], since_ms: int) -> tuple[IncomeReport, ...]:
        """Return the ledger as a venue words it."""
        return tuple(
            IncomeReport(
                income_id=str(number),
                ts_ms=entry.ts_ms,
                kind=_INCOME[entry.kind],
                asset=self.asset,
                amount=entry.amount,
                symbol=entry.symbol,
            )
            for number, entry in enumerate(entries, start=1)
            if entry.ts_ms >= since_ms
        )

    def _keep(self, report: OrderReport) -> OrderReport:
        self.orders[report.client_order_id] = report
        return report

    def _change(
        self, order_id: ClientOrderId, ts_ms: int, status: OrderStatus, reason: str = ""
    ) -> OrderReport:
        known = self.orders[order_id]
        return self._keep(replace(known, status=status, reason=reason, ts_event_ms=ts_ms))

    def _filled(self, event: OrderFilled) -> list[StreamEvent]:
        order_id = event.client_order_id
        known = self.orders[order_id]
        filled = known.filled_quantity + event.quantity
        value = self._values.get(order_id, ZERO) + event.quantity * event.price
        if event.leaves_quantity:
            self._values[order_id] = value
            status = OrderStatus.PARTIALLY_FILLED
        else:
            self._values.pop(order_id, None)
            status = OrderStatus.FILLED
        report = replace(
            known,
            status=status,
            filled_quantity=filled,
            average_price=value / filled,
            ts_event_ms=event.ts_ms,
        )
        fill = _fill(event, self.asset)
        self.fills.append(fill)
        return [self._keep(report), fill]


def _accepted(event: OrderAccepted) -> OrderReport:
    request: OrderRequest = event.request
    return OrderReport(
        symbol=event.symbol,
        client_order_id=request.client_order_id,
        order_id=event.order_id,
        status=OrderStatus.ACCEPTED,
        side=request.side,
        type=request.type,
        quantity=event.quantity,
        price=request.price,
        trigger_price=request.trigger_price,
        time_in_force=request.time_in_force,
        reduce_only=request.reduce_only,
        close_position=request.close_position,
        working_order_id=event.order_id,
        ts_event_ms=event.ts_ms,
    )


def _fill(event: OrderFilled, asset: str) -> FillReport:
    liquidation = event.purpose is OrderPurpose.LIQUIDATION
    return FillReport(
        symbol=event.symbol,
        trade_id=str(event.seq),
        order_id=event.order_id,
        client_order_id=ClientOrderId("") if liquidation else event.client_order_id,
        side=event.side,
        quantity=event.quantity,
        price=event.price,
        liquidity=event.liquidity,
        fee=event.fee,
        fee_asset=asset,
        realized_pnl=event.realized_pnl,
        ts_event_ms=event.ts_ms,
        cause=FillCause.LIQUIDATION if liquidation else FillCause.ORDER,
    )
