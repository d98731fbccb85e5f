"""The account: cash, positions and margin over all symbols.

Amounts are kept on the 1e-8 grid by the venue's rounding, so cash is exactly the sum of its ledger.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from perpdesk.domain.account import AccountState, LedgerKind, MarginMode, Position
from perpdesk.domain.events import FundingSettlement
from perpdesk.domain.instrument import FeeRates
from perpdesk.domain.numbers import (
    ATOM,
    EXACT,
    ONE,
    ZERO,
    product,
    round_amount,
    share,
    truncate_amount,
)
from perpdesk.domain.order import Liquidity, Side
from perpdesk.domain.signal import PositionSide
from perpdesk.simulation.fees import trade_fee
from perpdesk.simulation.funding import funding_payment
from perpdesk.simulation.ledger import Ledger
from perpdesk.simulation.liquidation import isolated_balance_uta, liquidation_price
from perpdesk.simulation.margin import (
    PositionMargin,
    fee_to_close,
    initial_margin,
    order_cost,
    position_margin,
)
from perpdesk.simulation.state import SymbolState

NEVER_MS: Final = 1 << 62
NO_MARGIN: Final = PositionMargin(notional=ZERO, unrealized=ZERO, initial=ZERO, maintenance=ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedFill:
    """What one trade did to the account, in quote: fee paid and profit realized before it."""

    fee: Decimal
    realized_pnl: Decimal


class Accounting:
    """Positions, ledger and margin of one account."""

    def __init__(self, symbols: Mapping[str, SymbolState]) -> None:
        self.symbols = symbols
        self.ledger = Ledger()
        self.reserved = ZERO

    # Fills and funding.

    def book_fill(
        self,
        state: SymbolState,
        ts_ms: int,
        *,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        liquidity: Liquidity,
        fee: Decimal | None = None,
        fee_kind: LedgerKind = LedgerKind.FEE,
    ) -> BookedFill:
        """Move the position by one trade and book its profit and fee.

        Crossing zero closes what is open, then opens anew. fee: quote, when it is not the
        schedule's: a liquidation, which takes loss and fee from the isolated margin itself, while
        any other close releases the margin's share to the account.
        """
        amount = state.rules.amount
        realized, margin = ZERO, state.isolated_margin
        closing = min(state.reducible_quantity(side), quantity)
        if closing:
            realized = self._close(state, side, closing, price)
            self.ledger.book(ts_ms, LedgerKind.REALIZED_PNL, state.symbol, realized)
        opening = quantity - closing
        if opening:
            value = amount(product(opening, price))
            state.signed_quantity += opening * side.sign
            state.entry_value += value * side.sign
            if state.margin_mode is MarginMode.ISOLATED:
                state.isolated_margin += amount(initial_margin(value, state.leverage))
        rates = self.fee_rates(state, ts_ms)
        state.close_fee_rate = rates.taker
        if fee is None:
            fee = amount(trade_fee(quantity, price, rates, liquidity))
        elif state.signed_quantity and state.margin_mode is MarginMode.ISOLATED:
            state.isolated_margin = margin + realized - fee
        self.ledger.book(ts_ms, fee_kind, state.symbol, -fee)
        return BookedFill(fee=fee, realized_pnl=realized)

    def _close(self, state: SymbolState, side: Side, quantity: Decimal, price: Decimal) -> Decimal:
        """Reduce the position and return the realized profit in quote, before fees."""
        held = abs(state.signed_quantity)
        amount = state.rules.amount
        if quantity == held:
            entry_value, margin = state.entry_value, state.isolated_margin
        else:
            # How the entry value is split is our own doing, so no venue's rounding applies.
            entry_value = round_amount(share(state.entry_value, quantity, held))
            margin = round_amount(share(state.isolated_margin, quantity, held))
        realized = amount(-product(quantity * side.sign, price) - entry_value)
        state.signed_quantity += quantity * side.sign
        state.entry_value -= entry_value
        state.isolated_margin -= margin
        return realized

    def fee_rates(self, state: SymbolState, ts_ms: int) -> FeeRates:
        """Return the rates in force at `ts_ms`; looked up once per period of the schedule."""
        if not state.fee_rates_from_ms <= ts_ms < state.fee_rates_until_ms:
            periods = state.instrument.fees.periods
            state.fee_rates = state.instrument.fees.at(ts_ms)
            starts = [period.valid_from_ms for period in periods[1:]]
            state.fee_rates_from_ms = max((at for at in starts if at <= ts_ms), default=-NEVER_MS)
            state.fee_rates_until_ms = min((at for at in starts if at > ts_ms), default=NEVER_MS)
        return state.fee_rates

    def settle_funding(self, state: SymbolState, settlement: FundingSettlement) -> Decimal:
        """Book one settlement and return the change of cash; isolated margin takes it first."""
        payment = funding_payment(
            state.signed_quantity,
            mark_price=settlement.mark_price,
            funding_rate=settlement.rate,
        )
        amount = -state.rules.amount(payment)
        if state.margin_mode is MarginMode.ISOLATED:
            self._fund_isolated(state, amount)
        self.ledger.book(settlement.ts_ms, LedgerKind.FUNDING, state.symbol, amount)
        return amount

    def _fund_isolated(self, state: SymbolState, amount: Decimal) -> None:
        """Take funding from where the venue does.

        Binance books it in the isolated wallet. Bybit pays from the free balance first, and only
        the rest from the margin. Source: reference/exchanges.md 6.4.
        """
        if state.rules.reserves_close_fee:
            amount = min(ZERO, max(ZERO, self.free_for_orders()) + amount)
        state.isolated_margin += amount

    # Margin.

    def margin_of(self, state: SymbolState) -> PositionMargin:
        """Return value, profit and margins of one symbol's position at its latest mark."""
        if not state.signed_quantity:
            return NO_MARGIN
        return position_margin(
            state.instrument,
            signed_quantity=state.signed_quantity,
            entry_value=state.entry_value,
            mark_price=state.mark_price,
            leverage=state.leverage,
            taker_rate=state.close_fee_rate,
        )

    def account(self, ts_ms: int) -> AccountState:
        """Return the account at the latest marks."""
        margins = [self.margin_of(state) for state in self.symbols.values()]
        return AccountState(
            ts_ms=ts_ms,
            cash=self.ledger.cash,
            unrealized=sum((margin.unrealized for margin in margins), ZERO),
            used_margin=sum((margin.initial for margin in margins), ZERO),
            maintenance_margin=sum((margin.maintenance for margin in margins), ZERO),
        )

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol; a flat one where nothing is held."""
        state = self.symbols[symbol]
        return Position(
            symbol=symbol,
            signed_quantity=state.signed_quantity,
            entry_value=state.entry_value,
            isolated_margin=state.isolated_margin,
        )

    def free_for_orders(self) -> Decimal:
        """Return the quote that new orders may bind.

        Profit of cross positions counts, that of isolated ones does not; margins of positions and
        resting orders are taken off.
        """
        free = self.ledger.cash - self.reserved
        for state in self.symbols.values():
            if not state.signed_quantity:
                continue
            if state.margin_mode is MarginMode.ISOLATED:
                free -= state.isolated_margin
                if state.rules.reserves_close_fee:
                    free -= self._close_fee(state)
            else:
                margin = self.margin_of(state)
                free += margin.unrealized - margin.initial
        return free

    def _close_fee(self, state: SymbolState) -> Decimal:
        side = state.side
        if side is None or not state.rules.reserves_close_fee:
            return ZERO
        value, rate = abs(state.entry_value), state.close_fee_rate
        return state.rules.amount(fee_to_close(side, value, state.leverage, rate))

    def freed_by_closing(self, state: SymbolState, price: Decimal, ts_ms: int) -> Decimal:
        """Return the quote that closing the position as taker at `price` adds to what is free."""
        value = product(state.signed_quantity, price)
        gained = value - state.entry_value - abs(value) * self.fee_rates(state, ts_ms).taker
        if state.margin_mode is MarginMode.ISOLATED:
            return gained + state.isolated_margin + self._close_fee(state)
        margin = self.margin_of(state)
        return gained - margin.unrealized + margin.initial

    def cost_of(
        self,
        state: SymbolState,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        ts_ms: int,
        *,
        open_loss: Decimal | None = None,
    ) -> Decimal:
        """Return the quote that `quantity` of an opening order at `price` binds.

        open_loss: quote that it would open with; None asks the latest mark.
        """
        if not quantity:
            return ZERO
        if open_loss is None:
            mark = state.mark_price or price
            open_loss = max(ZERO, side.sign * (price - mark)) * quantity
        cost = order_cost(
            venue=state.instrument.venue,
            side=PositionSide.LONG if side is Side.BUY else PositionSide.SHORT,
            notional=quantity * price,
            leverage=state.leverage,
            taker_rate=self.fee_rates(state, ts_ms).taker,
            open_loss=open_loss,
        )
        return truncate_amount(cost)

    # Liquidation.

    def is_sharing(self) -> bool:
        """Tell whether two or more cross positions share the account's margin."""
        cross = 0
        for state in self.symbols.values():
            cross += bool(state.signed_quantity) and state.margin_mode is MarginMode.CROSS
        return cross > 1

    def margin_behind(self, state: SymbolState) -> Decimal:
        """Return the quote that may be lost on the position at its entry price.

        The isolated wallet, or the cross wallet with the profit and less the maintenance of the
        other cross positions (WB - TMM1 + UPNL1).
        """
        if state.margin_mode is MarginMode.ISOLATED:
            return state.isolated_margin
        behind = self.ledger.cash
        for other in self.symbols.values():
            if other.margin_mode is MarginMode.ISOLATED:
                behind -= other.isolated_margin
            elif other is not state and other.signed_quantity:
                margin = self.margin_of(other)
                behind += margin.unrealized - margin.maintenance
        return behind

    def margin_to_lose(self, state: SymbolState) -> Decimal:
        """Return all that a liquidation may take: what is behind the position and its reserves."""
        behind = self.margin_behind(state)
        if state.margin_mode is MarginMode.ISOLATED:
            return behind + self._close_fee(state)
        return behind

    def liquidation_price(self, state: SymbolState) -> Decimal | None:
        """Return the mark price that liquidates the symbol's position, None if none does."""
        side = state.side
        if side is None:
            return None
        value = abs(state.entry_value)
        balance = self._balance_at_entry(state, side)
        return liquidation_price(
            state.instrument,
            side=side,
            quantity=abs(state.signed_quantity),
            entry_value=value,
            balance=balance,
        )

    def _balance_at_entry(self, state: SymbolState, side: PositionSide) -> Decimal:
        """Return what the position may lose before its fee to close is touched, in quote."""
        behind = self.margin_behind(state)
        if not state.rules.reserves_close_fee:
            return behind
        if state.margin_mode is MarginMode.CROSS:
            return behind - self._close_fee(state)
        value = abs(state.entry_value)
        return isolated_balance_uta(
            side=side,
            entry_value=value,
            leverage=state.leverage,
            extra_margin=behind - value / state.leverage,
            taker_rate=state.close_fee_rate,
        )

    def bankruptcy_price(self, state: SymbolState, ts_ms: int) -> Decimal:
        """Return the price at which closing the position leaves nothing of what is behind it.

        On Bybit that is after the taker fee of this very close: for an untouched isolated position
        E·(1 - s/L). On the 1e-8 grid, and rounded so that never more than everything is lost.
        """
        side = state.side
        assert side is not None
        quantity, value = abs(state.signed_quantity), abs(state.entry_value)
        behind, rate = self.margin_to_lose(state), ZERO
        if state.rules.reserves_close_fee:
            rate = self.fee_rates(state, ts_ms).taker
        price = (value - side.sign * behind) / (quantity * (ONE - side.sign * rate))
        mode = ROUND_CEILING if side is PositionSide.LONG else ROUND_FLOOR
        price = max(ZERO, price.quantize(ATOM, mode, EXACT))
        if not rate:
            return price
        amount = state.rules.amount
        notional = product(quantity, price)
        if side.sign * (value - amount(notional)) + amount(notional * rate) > behind:
            # Rounding value and fee apart has cost an atom too much: give two back.
            price += side.sign * (2 * ATOM / quantity).quantize(ATOM, ROUND_CEILING, EXACT)
        return price
