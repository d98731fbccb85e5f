"""The simulated perpetual-futures exchange: `process(command | market_event) -> list[Event]`.

Pure and deterministic: no clock, no I/O, no float, no randomness. A backtest feeds it recorded
bars, a session live ones, the emulator wraps the venues' protocols around it; all get equal events.

In one bar, in this order: what fills at the open, in order of acceptance; funding that settles in
the bar, each settlement followed by a liquidation check; the path from open to close, adverse
extreme first. Bars of several symbols over one stretch of time go through these stages together,
and their extremes are not assumed to coincide. Where the venues are silent, the pessimistic reading
is taken:

- A limit order met in the bar it arrived in pays as taker, unless it is post-only.
- An order that expires within a bar fills at its open or not at all.
- Conditional orders hold no margin until they trigger; a limit order holds what it would open with
  when it was accepted, and is asked again if by then it opens more.
- A stop that executes at an open beyond the bankruptcy price loses what it loses; only a
  liquidation is held to the margin.
- A partial liquidation takes loss and fee from the isolated margin; any other close releases it.
- Closing out a finished run takes slippage as if each position were a whole bar's volume.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from perpdesk.domain.account import AccountState, LedgerKind, Position
from perpdesk.domain.events import (
    AccountStopped,
    AddIsolatedMargin,
    AmendOrder,
    BarClosed,
    BarsClosed,
    CancelAllOrders,
    CancelOrder,
    CloseOut,
    Command,
    Event,
    FundingSettled,
    FundingSettlement,
    SetLeverage,
    SetMarginMode,
    StopCause,
    SubmitBracket,
    SubmitOrder,
)
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, ceil_to_step
from perpdesk.domain.order import Side
from perpdesk.simulation.account_commands import AccountCommands
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.execution import Execution
from perpdesk.simulation.forced_trades import ForcedTrades
from perpdesk.simulation.guard import Guard, guard_of
from perpdesk.simulation.invariants import check_invariants
from perpdesk.simulation.journal import Journal
from perpdesk.simulation.ledger import Ledger
from perpdesk.simulation.liquidator import Liquidator
from perpdesk.simulation.margin import rules_of
from perpdesk.simulation.matching import BarMatcher
from perpdesk.simulation.order_entry import OrderEntry
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.simulation.state import SymbolState

_DUST: Final = Decimal("0.01")
"""Quote below which an account is blown: what a liquidation leaves of rounding is no capital."""


class Exchange:
    """One account on one simulated venue, with any number of symbols.

    stopped: set once the account can trade no more; every later command is refused.
    """

    def __init__(self, instruments: Mapping[str, Instrument], settings: ExchangeSettings) -> None:
        self.settings = settings
        self.symbols: dict[str, SymbolState] = {
            symbol: SymbolState(
                instrument=instrument,
                rules=rules_of(instrument.venue),
                leverage=min(settings.leverage, instrument.tiers[0].max_leverage),
                margin_mode=settings.margin_mode,
            )
            for symbol, instrument in instruments.items()
        }
        self.journal = Journal()
        self.accounting = Accounting(self.symbols)
        self.accounting.ledger.book(0, LedgerKind.DEPOSIT, "", settings.initial_capital)
        self._execution = Execution(self.accounting, self.journal, settings)
        self._entry = OrderEntry(self.accounting, self._execution, self.journal)
        self._account = AccountCommands(self.accounting, self._execution, self.journal)
        self._forced = ForcedTrades(self.accounting, self._execution, self.journal, settings)
        self._liquidator = Liquidator(
            self.accounting, self._execution, self._forced, self.journal, settings
        )
        self._matcher = BarMatcher(
            self.accounting, self._execution, self._liquidator, self.journal, settings
        )
        self.stopped: StopCause | None = None

    # The one door.

    def process(self, item: Command | BarClosed | BarsClosed) -> list[Event]:
        """Apply one command, or the bars of one stretch, and return what happened, in order."""
        if isinstance(item, BarClosed):
            self._process_bars((item,))
        elif isinstance(item, BarsClosed):
            self._process_bars(item.bars)
        else:
            self._process_command(item)
        return self.journal.take()

    def _process_command(self, command: Command) -> None:
        match command:
            case SubmitOrder():
                self._entry.submit(command.request, stopped=self.stopped)
            case SubmitBracket():
                self._entry.submit(command.entry, command.legs, stopped=self.stopped)
            case CancelOrder():
                self._entry.cancel(command.client_order_id)
            case CancelAllOrders():
                self._entry.cancel_all(command.symbol)
            case AmendOrder():
                self._entry.amend(command)
            case SetLeverage():
                self._account.set_leverage(command)
            case SetMarginMode():
                self._account.set_margin_mode(command)
            case AddIsolatedMargin():
                self._account.add_isolated_margin(command)
            case CloseOut():
                # Within the last bar, so that the bar's row of the account curve holds it.
                self.journal.ts_ms -= 1
                self._entry.cancel_all(None)
                self._forced.close_out()

    def _process_bars(self, bars: Sequence[BarClosed]) -> None:
        """Run the execution bars of one stretch: opens, funding, liquidation, paths, closes.

        During the paths the other symbols stand at their opening marks; all close together.
        """
        ts_ms, close_ms = bars[0].ts_ms, bars[0].close_ms
        self.journal.ts_ms = ts_ms
        pairs = [(self.symbols[bar.symbol], bar) for bar in bars]
        for state, bar in pairs:
            state.last_price, state.mark_price = bar.last.open, bar.mark.open
        for state, bar in pairs:
            self._matcher.at_open(state, bar)
        self._settle_all(pairs)
        self.journal.ts_ms = close_ms - 1
        for state, bar in pairs:
            self._matcher.along_path(state, bar)
        for state, bar in pairs:
            state.last_price, state.mark_price = bar.last.close, bar.mark.close
        self._stop_if_finished()
        self.journal.ts_ms = close_ms

    def _settle_all(self, pairs: Sequence[tuple[SymbolState, BarClosed]]) -> None:
        """Settle what falls into the bars in order of time, and check margins at their opens."""
        due = [(row.ts_ms, place) for place, (_, bar) in enumerate(pairs) for row in bar.funding]
        taken = [0] * len(pairs)
        for _, place in sorted(due):
            state, bar = pairs[place]
            self._settle(state, bar.funding[taken[place]])
            taken[place] += 1
            self._liquidator.check(state, state.mark_price)
        for state, bar in pairs:
            if not bar.funding:
                self._liquidator.check(state, state.mark_price)

    def _settle(self, state: SymbolState, settlement: FundingSettlement) -> None:
        """Exchange funding at its own time, on what is open at that instant."""
        if not state.signed_quantity:
            return
        self.journal.ts_ms = settlement.ts_ms
        amount = self.accounting.settle_funding(state, settlement)
        self.journal.add(
            FundingSettled,
            symbol=state.symbol,
            signed_quantity=state.signed_quantity,
            mark_price=settlement.mark_price,
            rate=settlement.rate,
            amount=amount,
        )

    def _stop_if_finished(self) -> None:
        """Stop the account once it is blown, or too small for the smallest legal order."""
        if self.stopped is not None or not self.journal.events:
            return
        cause = self._finished()
        if cause is None:
            return
        self.stopped = cause
        self._entry.cancel_all(None)
        account = self.accounting.account(self.now_ms)
        self.journal.add(
            AccountStopped, cause=cause, equity=account.equity, free_margin=account.free_margin
        )

    def _finished(self) -> StopCause | None:
        if self.ledger.cash < _DUST and self.accounting.account(self.now_ms).equity < _DUST:
            return StopCause.ACCOUNT_BLOWN
        states = self.symbols.values()
        if any(state.signed_quantity or state.orders for state in states):
            return None
        free = self.accounting.free_for_orders()
        if all(free < self._smallest_cost(state) for state in states if state.last_price):
            return StopCause.INSUFFICIENT_FREE_MARGIN
        return None

    def _smallest_cost(self, state: SymbolState) -> Decimal:
        """Return the quote that the smallest legal market order of the symbol binds."""
        rules, price = state.instrument, state.last_price
        quantity = max(
            rules.min_quantity, ceil_to_step(rules.min_notional / price, rules.step_size)
        )
        return self.accounting.cost_of(
            state, Side.BUY, quantity, price, self.now_ms, open_loss=ZERO
        )

    # Quiet bars.

    def guard(self, symbol: str) -> Guard | None:
        """Return the prices between which a bar changes nothing but the mark.

        None means that the next bar must be processed. The host skips bars inside the guard with
        `skip_to`, and gets the same events as if it had processed them.
        """
        return guard_of(self.symbols[symbol], self.accounting, self.settings)

    def skip_to(
        self, symbol: str, close_ms: int, *, last_price: Decimal, mark_price: Decimal
    ) -> None:
        """Move a symbol to the end of a bar within its guard.

        Symbols are moved one after another, so the clock stays with the one that has come furthest.
        """
        state = self.symbols[symbol]
        state.last_price, state.mark_price = last_price, mark_price
        self.journal.ts_ms = max(self.journal.ts_ms, close_ms)

    # Reading.

    @property
    def now_ms(self) -> int:
        """Return the exchange's time: the close of the last bar it has seen."""
        return self.journal.ts_ms

    @property
    def ledger(self) -> Ledger:
        """Return the ledger whose sum is the account's cash."""
        return self.accounting.ledger

    def account(self) -> AccountState:
        """Return the account at the latest marks."""
        return self.accounting.account(self.now_ms)

    def position(self, symbol: str) -> Position:
        """Return the position of a symbol."""
        return self.accounting.position(symbol)

    def liquidation_price(self, symbol: str) -> Decimal | None:
        """Return the mark at which the symbol's position is liquidated, None if nowhere."""
        return self.accounting.liquidation_price(self.symbols[symbol])

    def check_invariants(self) -> None:
        """Raise InvariantBroken unless every identity of DESIGN 5.12 holds."""
        check_invariants(self)
