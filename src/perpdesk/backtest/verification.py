"""After a run: its own arithmetic is done again another way, and has to agree exactly."""

from collections.abc import Mapping

import numpy as np

from perpdesk.cerebro.execution import ExecutionBars
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.account import AccountCurve
from perpdesk.domain.errors import InvariantBroken
from perpdesk.domain.events import FundingSettled, OrderFilled
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, amount_of, atoms_of


def verify_run(
    host: SimulationHost,
    curve: AccountCurve,
    instruments: Mapping[str, Instrument],
    execution: Mapping[str, ExecutionBars],
) -> None:
    """Raise InvariantBroken unless ledger, events, account and curve tell one story.

    Checked: the exchange's own identities; cash at every bar as the sum of the ledger's entries by
    then; the same cash from fills and funding alone; the last row as the exchange sees it.
    """
    exchange = host.exchange
    exchange.check_invariants()
    entries = exchange.ledger.entries
    times = np.array([entry.ts_ms for entry in entries], np.int64)
    # Within a bar entries come by stage and symbol, so they may interleave in time.
    order = np.argsort(times, kind="stable")
    times = times[order]
    sums = np.cumsum(np.array([atoms_of(entry.amount) for entry in entries], np.int64)[order])
    last = np.searchsorted(times, curve.ts_ms, side="right") - 1
    wrong = np.flatnonzero(sums[last] != curve.cash)
    if len(wrong):
        row = int(wrong[0])
        raise InvariantBroken(
            f"at {int(curve.ts_ms[row])} the ledger sums to {amount_of(int(sums[last][row]))}, "
            f"the account shows {amount_of(int(curve.cash[row]))}"
        )
    _require_same_cash_from_events(host)
    account = exchange.account()
    shown = (account.cash, account.unrealized, account.used_margin, account.maintenance_margin)
    drawn = tuple(
        amount_of(int(column[-1]))
        for column in (curve.cash, curve.unrealized, curve.used_margin, curve.maintenance_margin)
    )
    _require(shown == drawn, f"the account ends at {shown}, its curve at {drawn}")


def _require_same_cash_from_events(host: SimulationHost) -> None:
    cash = host.exchange.settings.initial_capital
    for event in host.events:
        if isinstance(event, OrderFilled):
            cash += event.realized_pnl - event.fee
        elif isinstance(event, FundingSettled):
            cash += event.amount
    _require(
        cash == host.exchange.ledger.cash,
        f"fills and funding add up to {cash}, the ledger to {host.exchange.ledger.cash}",
    )
    held = sum((abs(state.signed_quantity) for state in host.exchange.symbols.values()), ZERO)
    _require(held == ZERO, f"the run ended with {held} still open")


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise InvariantBroken(words)
