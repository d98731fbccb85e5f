"""Small runs for the tests of this room: orders and fills by hand, candles and curves by column."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from perpdesk.domain.account import AccountCurve
from perpdesk.domain.candles import Candles, Timeframe, Venue
from perpdesk.domain.events import (
    Event,
    FundingSettled,
    OrderAccepted,
    OrderAmended,
    OrderFilled,
    PositionLiquidated,
)
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
)

MIDNIGHT_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class EventLog:
    """Write events as one would tell them; positions and sequence numbers follow by themselves."""

    def __init__(self, symbol: str = "BTCUSDT") -> None:
        self.symbol = symbol
        self.events: list[Event] = []
        self.position = ZERO

    def accept(
        self,
        client_order_id: str,
        side: Side,
        purpose: OrderPurpose,
        *,
        trigger: str | None = None,
        price: str | None = None,
        parent: str | None = None,
        ts_ms: int = MIDNIGHT_MS,
    ) -> None:
        request = OrderRequest(
            client_order_id=ClientOrderId(client_order_id),
            symbol=self.symbol,
            side=side,
            type=OrderType.STOP_MARKET if trigger else OrderType.LIMIT,
            quantity=Decimal(1),
            price=Decimal(price) if price else None,
            trigger_price=Decimal(trigger) if trigger else None,
            parent_id=ClientOrderId(parent) if parent else None,
            purpose=purpose,
        )
        self.events.append(
            OrderAccepted(
                seq=self._seq,
                ts_ms=ts_ms,
                symbol=self.symbol,
                order_id=OrderId(client_order_id),
                request=request,
                quantity=Decimal(1),
            )
        )

    def amend(self, client_order_id: str, *, trigger: str) -> None:
        self.events.append(
            OrderAmended(
                seq=self._seq,
                ts_ms=MIDNIGHT_MS,
                symbol=self.symbol,
                client_order_id=ClientOrderId(client_order_id),
                quantity=Decimal(1),
                price=None,
                trigger_price=Decimal(trigger),
            )
        )

    def fill(
        self,
        side: Side,
        quantity: str,
        price: str,
        *,
        purpose: OrderPurpose = OrderPurpose.ENTRY,
        fee: str = "0",
        pnl: str = "0",
        slippage: str = "0",
        order: str = "entry",
        ts_ms: int = MIDNIGHT_MS,
    ) -> None:
        self.position += Decimal(quantity) * side.sign
        self.events.append(
            OrderFilled(
                seq=self._seq,
                ts_ms=ts_ms,
                symbol=self.symbol,
                order_id=OrderId(order),
                client_order_id=ClientOrderId(order),
                side=side,
                quantity=Decimal(quantity),
                price=Decimal(price),
                liquidity=Liquidity.TAKER,
                fee=Decimal(fee),
                realized_pnl=Decimal(pnl),
                slippage_cost=Decimal(slippage),
                position_after=self.position,
                leaves_quantity=ZERO,
                purpose=purpose,
            )
        )

    def fund(self, amount: str, *, ts_ms: int = MIDNIGHT_MS) -> None:
        self.events.append(
            FundingSettled(
                seq=self._seq,
                ts_ms=ts_ms,
                symbol=self.symbol,
                signed_quantity=self.position,
                mark_price=Decimal(100),
                rate=Decimal("0.0001"),
                amount=Decimal(amount),
            )
        )

    def liquidate(self, *, fee: str, insurance: str, ts_ms: int = MIDNIGHT_MS) -> None:
        self.events.append(
            PositionLiquidated(
                seq=self._seq,
                ts_ms=ts_ms,
                symbol=self.symbol,
                signed_quantity=self.position,
                closed_quantity=abs(self.position),
                mark_price=Decimal(100),
                price=Decimal(100),
                liquidation_fee=Decimal(fee),
                insurance_fund=Decimal(insurance),
            )
        )

    @property
    def _seq(self) -> int:
        return len(self.events) + 1


def candles_of(
    bars: Sequence[tuple[float, float, float, float]],
    *,
    timeframe: str = "1h",
    start_ms: int = MIDNIGHT_MS,
    symbol: str = "BTCUSDT",
) -> Candles:
    """Return candles from (open, high, low, close) rows, without gaps."""
    frame = Timeframe.parse(timeframe)
    rows = np.array(bars, dtype=np.float64).reshape(-1, 4)
    return Candles(
        venue=Venue.BINANCE,
        symbol=symbol,
        timeframe=frame,
        ts_ms=start_ms + frame.duration_ms * np.arange(len(rows), dtype=np.int64),
        open=rows[:, 0],
        high=rows[:, 1],
        low=rows[:, 2],
        close=rows[:, 3],
        volume=np.ones(len(rows)),
    )


def curve_of(
    equity: Sequence[float],
    *,
    bar_ms: int = DAY_MS,
    start_ms: int = MIDNIGHT_MS,
    used: Sequence[float] | None = None,
) -> AccountCurve:
    """Return a curve whose cash is `equity` at the end of each bar."""
    n = len(equity)
    atoms = np.round(np.array(equity, dtype=np.float64) * 1e8).astype(np.int64)
    margin = np.zeros(n) if used is None else np.array(used, dtype=np.float64)
    return AccountCurve(
        ts_ms=start_ms + bar_ms * np.arange(1, n + 1, dtype=np.int64) - 1,
        cash=atoms,
        unrealized=np.zeros(n, dtype=np.int64),
        used_margin=(margin * 1e8).astype(np.int64),
        maintenance_margin=np.zeros(n, dtype=np.int64),
    )
