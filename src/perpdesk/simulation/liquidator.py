"""Liquidation on the mark path: cancel, step down the tiers, then take over.

Binance closes at mark and charges its clearance fee while margin remains; beyond the bankruptcy
price the insurance fund takes the loss. Bybit takes the position over at its bankruptcy price.
Source: reference/exchanges.md 6.2 and 6.3, read 2026-11; neither venue publishes its partial steps,
so a step here reduces the position to the cap of the tier below.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from perpdesk.domain.account import LedgerKind, MarginMode
from perpdesk.domain.events import PositionLiquidated
from perpdesk.domain.numbers import ATOM, EXACT, ZERO, ceil_to_step, product
from perpdesk.domain.order import OrderPurpose
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.execution import Execution
from perpdesk.simulation.forced_trades import ForcedTrades
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.liquidation import insurance_fund_flow
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.state import SymbolState


class Liquidator:
    """Closes what can no longer keep its maintenance margin."""

    def __init__(
        self,
        accounting: Accounting,
        execution: Execution,
        forced: ForcedTrades,
        journal: Journal,
        settings: ExchangeSettings,
    ) -> None:
        self.accounting = accounting
        self.execution = execution
        self.forced = forced
        self.journal = journal
        self.settings = settings

    def check(self, state: SymbolState, mark_price: Decimal) -> None:
        """Liquidate the symbol's position if `mark_price` is at or beyond its liquidation price."""
        if not state.signed_quantity:
            return
        price = self.accounting.liquidation_price(state)
        if price is None:
            return
        long = state.signed_quantity > ZERO
        if (mark_price <= price) if long else (mark_price >= price):
            self.liquidate(state, mark_price)

    def liquidate(self, state: SymbolState, mark_price: Decimal) -> None:
        """Cancel orders, then reduce until the position is cured or gone."""
        long = state.signed_quantity > ZERO
        # A liquidation price is a quotient; the mark that met it is put on the 1e-8 grid beyond it.
        state.mark_price = mark_price.quantize(ATOM, ROUND_FLOOR if long else ROUND_CEILING, EXACT)
        shared = state.margin_mode is MarginMode.CROSS
        for each in self.accounting.symbols.values():
            if each is state or (shared and each.margin_mode is MarginMode.CROSS):
                self.execution.cancel_orders(each, "liquidation")
        while state.signed_quantity and self._is_due(state):
            part = self._step_down_quantity(state)
            self._close(state, part if part else abs(state.signed_quantity))

    def _is_due(self, state: SymbolState) -> bool:
        price = self.accounting.liquidation_price(state)
        if price is None:
            return False
        long = state.signed_quantity > ZERO
        return state.mark_price <= price if long else state.mark_price >= price

    def _step_down_quantity(self, state: SymbolState) -> Decimal:
        """Return what must be closed to reach the tier below; zero where there is none."""
        instrument = state.instrument
        notional = product(abs(state.signed_quantity), state.mark_price)
        index = instrument.tier_index(notional)
        if not self.settings.tier_step_down or index == 0 or self._is_bankrupt(state):
            return ZERO
        excess = (notional - instrument.tiers[index - 1].cap) / state.mark_price
        return min(abs(state.signed_quantity), ceil_to_step(excess, instrument.step_size))

    def _is_bankrupt(self, state: SymbolState) -> bool:
        side = state.side
        assert side is not None
        beyond = state.mark_price - self.accounting.bankruptcy_price(state, self.journal.ts_ms)
        return side.sign * beyond <= ZERO

    def _close(self, state: SymbolState, quantity: Decimal) -> None:
        before, mark = state.signed_quantity, state.mark_price
        side = state.side
        assert side is not None
        bankruptcy = self.accounting.bankruptcy_price(state, self.journal.ts_ms)
        whole = quantity == abs(before)
        taken_over = whole and state.rules.takes_over_at_bankruptcy
        price = bankruptcy if taken_over or self._is_bankrupt(state) else mark
        fee, kind = self._fee(state, quantity, price)
        self.forced.close(
            state,
            quantity,
            price,
            purpose=OrderPurpose.LIQUIDATION,
            fee=fee,
            fee_kind=kind,
        )
        fund = ZERO
        if taken_over or price != mark:
            fund = insurance_fund_flow(
                side=side, quantity=quantity, exit_price=mark, bankruptcy_price=price
            )
        self.journal.add(
            PositionLiquidated,
            symbol=state.symbol,
            signed_quantity=before,
            closed_quantity=quantity,
            mark_price=mark,
            price=price,
            liquidation_fee=fee,
            insurance_fund=state.rules.amount(fund),
        )

    def _fee(
        self, state: SymbolState, quantity: Decimal, price: Decimal
    ) -> tuple[Decimal, LedgerKind]:
        """Return the fee of a forced close.

        Bybit's taker fee has its place within the bankruptcy price; Binance's clearance fee takes
        at most the margin that is left.
        """
        amount, notional = state.rules.amount, product(quantity, price)
        if state.rules.takes_over_at_bankruptcy:
            rate = self.accounting.fee_rates(state, self.journal.ts_ms).taker
            return amount(notional * rate), LedgerKind.FEE
        profit = amount(product(state.signed_quantity, price) - state.entry_value)
        left = max(ZERO, self.accounting.margin_to_lose(state) + profit)
        fee = min(amount(notional * state.instrument.liquidation_fee_rate), amount(left))
        return fee, LedgerKind.LIQUIDATION_FEE
