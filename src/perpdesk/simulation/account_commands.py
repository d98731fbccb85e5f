"""Settings of the account: leverage, margin mode, and the margin of an isolated position."""

from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.events import (
    AddIsolatedMargin,
    CommandRejected,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
    SetLeverage,
    SetMarginMode,
)
from perpdesk.domain.numbers import ZERO, plain, truncate_amount
from perpdesk.domain.order_rules import Refusal, Rule, check_leverage, refusal
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.execution import Execution
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.margin import initial_margin
from perpdesk.simulation.state import SymbolState


class AccountCommands:
    """Changes a setting where the venue and the account allow it."""

    def __init__(self, accounting: Accounting, execution: Execution, journal: Journal) -> None:
        self.accounting = accounting
        self.execution = execution
        self.journal = journal

    def set_leverage(self, command: SetLeverage) -> None:
        """Set a symbol's leverage; an open isolated position keeps its own until it is closed."""
        state = self._state_of(command.symbol)
        if state is None:
            return
        venue, leverage = state.instrument.venue, command.leverage
        margin = self.accounting.margin_of(state)
        fault = check_leverage(state.instrument, leverage, notional=margin.notional)
        if fault is not None:
            self._refuse(state, fault)
            return
        if state.signed_quantity and state.margin_mode is MarginMode.ISOLATED:
            reason = "an isolated position is open; close it before changing leverage"
            self._refuse(state, refusal(venue, Rule.LEVERAGE, reason))
            return
        if not self._can_bear(state, leverage):
            reason = f"at {plain(leverage)}x the open position and orders need more than is free"
            self._refuse(state, refusal(venue, Rule.MARGIN, reason))
            return
        self.journal.add(LeverageChanged, symbol=state.symbol, leverage=leverage)

    def _can_bear(self, state: SymbolState, leverage: Decimal) -> bool:
        """Set the leverage and what resting orders hold by it; back again if margin is short."""
        before, free = state.leverage, self.accounting.free_for_orders()
        held = {order: order.reserved for order in state.orders.values() if order.reserved}
        state.leverage = leverage
        for order in held:
            self.execution.hold(order, self.execution.cost_of(state, order))
        after = self.accounting.free_for_orders()
        if after >= min(ZERO, free):
            return True
        state.leverage = before
        for order, amount in held.items():
            self.execution.hold(order, amount)
        return False

    def set_margin_mode(self, command: SetMarginMode) -> None:
        """Set isolated or cross; on Bybit it holds for the whole account."""
        state = self._state_of(command.symbol)
        if state is None:
            return
        wide = state.rules.reserves_close_fee
        affected = list(self.accounting.symbols.values()) if wide else [state]
        if any(each.signed_quantity or each.orders for each in affected):
            reason = "positions or orders are open; close them before changing the margin mode"
            self._refuse(state, refusal(state.instrument.venue, Rule.MARGIN_MODE, reason))
            return
        for each in affected:
            each.margin_mode = command.margin_mode
            self.journal.add(MarginModeChanged, symbol=each.symbol, margin_mode=command.margin_mode)

    def add_isolated_margin(self, command: AddIsolatedMargin) -> None:
        """Move quote to or from an isolated position."""
        state = self._state_of(command.symbol)
        if state is None:
            return
        venue = state.instrument.venue
        if not state.signed_quantity or state.margin_mode is not MarginMode.ISOLATED:
            reason = "there is no isolated position to add margin to"
            self._refuse(state, refusal(venue, Rule.MARGIN_MODE, reason))
            return
        if not command.amount.is_finite():
            reason = f"amount {command.amount} is not a number of {state.instrument.quote}"
            self._refuse(state, refusal(venue, Rule.MARGIN, reason))
            return
        amount = state.rules.amount(command.amount)
        free = max(ZERO, self.accounting.free_for_orders())
        spare = self._spare_margin(state)
        if amount > free or -amount > spare:
            reason = f"only {plain(free)} may be added and {plain(spare)} taken back"
            self._refuse(state, refusal(venue, Rule.MARGIN, reason))
            return
        state.isolated_margin += amount
        self.journal.add(
            IsolatedMarginChanged,
            symbol=state.symbol,
            amount=amount,
            isolated_margin=state.isolated_margin,
        )

    def _spare_margin(self, state: SymbolState) -> Decimal:
        """Return the isolated margin beyond the initial margin at entry and any open loss."""
        initial = initial_margin(abs(state.entry_value), state.leverage)
        loss = min(ZERO, self.accounting.margin_of(state).unrealized)
        return truncate_amount(max(ZERO, state.isolated_margin + loss - initial))

    def _state_of(self, symbol: str) -> SymbolState | None:
        state = self.accounting.symbols.get(symbol)
        if state is None:
            fault = unknown_symbol(self.accounting, symbol)
            self.journal.add(
                CommandRejected,
                symbol=symbol,
                client_order_id=None,
                code=fault.code,
                reason=fault.reason,
            )
        return state

    def _refuse(self, state: SymbolState, fault: Refusal) -> None:
        self.journal.add(
            CommandRejected,
            symbol=state.symbol,
            client_order_id=None,
            code=fault.code,
            reason=fault.reason,
        )


def unknown_symbol(accounting: Accounting, symbol: str) -> Refusal:
    """Return the refusal of a symbol that is not traded here."""
    known = accounting.symbols
    venue = next(iter(known.values())).instrument.venue
    words = f"symbol {symbol} is not traded here; {', '.join(known)} are"
    return refusal(venue, Rule.UNKNOWN_SYMBOL, words)
