"""Orders that the exchange makes itself: liquidations, and closing what a finished run holds."""

from decimal import Decimal

from perpdesk.domain.account import LedgerKind
from perpdesk.domain.events import OrderAccepted, OrderFilled
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import (
    ClientOrderId,
    Liquidity,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
)
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.execution import Execution
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.slippage import worsened
from perpdesk.simulation.state import SymbolState


class ForcedTrades:
    """Closes positions without asking what the market or the book would fill."""

    def __init__(
        self,
        accounting: Accounting,
        execution: Execution,
        journal: Journal,
        settings: ExchangeSettings,
    ) -> None:
        self.accounting = accounting
        self.execution = execution
        self.journal = journal
        self.settings = settings

    def close(
        self,
        state: SymbolState,
        quantity: Decimal,
        price: Decimal,
        *,
        purpose: OrderPurpose,
        fee: Decimal | None,
        fee_kind: LedgerKind = LedgerKind.FEE,
        slippage_cost: Decimal = ZERO,
    ) -> None:
        """Close `quantity` of the position by an order of the exchange's own."""
        side = Side.SELL if state.signed_quantity > ZERO else Side.BUY
        name = "autoclose" if purpose is OrderPurpose.LIQUIDATION else "closeout"
        request = OrderRequest(
            client_order_id=ClientOrderId(f"{name}-{self.execution.next_priority}"),
            symbol=state.symbol,
            side=side,
            type=OrderType.MARKET,
            quantity=quantity,
            reduce_only=True,
            purpose=purpose,
        )
        order = self.execution.new_order(request)
        self.journal.add(
            OrderAccepted,
            symbol=state.symbol,
            order_id=order.order_id,
            request=request,
            quantity=quantity,
        )
        booked = self.accounting.book_fill(
            state,
            self.journal.ts_ms,
            side=side,
            quantity=quantity,
            price=price,
            liquidity=Liquidity.TAKER,
            fee=fee,
            fee_kind=fee_kind,
        )
        self.journal.add(
            OrderFilled,
            symbol=state.symbol,
            order_id=order.order_id,
            client_order_id=request.client_order_id,
            side=side,
            quantity=quantity,
            price=price,
            liquidity=Liquidity.TAKER,
            fee=booked.fee,
            realized_pnl=booked.realized_pnl,
            slippage_cost=slippage_cost,
            position_after=state.signed_quantity,
            leaves_quantity=ZERO,
            purpose=purpose,
        )
        if not state.signed_quantity:
            self.execution.cancel_reducing(state)

    def close_out(self) -> None:
        """Close every position at its last price, worsened by slippage, as taker.

        No bar is left whose volume could be known, so each counts as the whole volume of one.
        """
        for state in self.accounting.symbols.values():
            quantity = abs(state.signed_quantity)
            if not quantity:
                continue
            side = Side.SELL if state.signed_quantity > ZERO else Side.BUY
            rate = self.settings.slippage.rate(quantity=quantity, volume=quantity)
            price = worsened(state.last_price, side, rate, state.instrument.tick_size)
            self.close(
                state,
                quantity,
                price,
                purpose=OrderPurpose.CLOSE_OUT,
                fee=None,
                slippage_cost=abs(price - state.last_price) * quantity,
            )
