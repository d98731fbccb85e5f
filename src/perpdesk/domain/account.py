"""Positions and accounts: folds over fills, funding and marks."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.signal import PositionSide


class MarginMode(StrEnum):
    """ISOLATED limits a loss to the position's own margin; CROSS shares the whole account."""

    ISOLATED = "isolated"
    CROSS = "cross"


class LedgerKind(StrEnum):
    """Why cash changed."""

    DEPOSIT = "DEPOSIT"
    REALIZED_PNL = "REALIZED_PNL"
    FEE = "FEE"
    FUNDING = "FUNDING"
    LIQUIDATION_FEE = "LIQUIDATION_FEE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One change of cash, in quote, on the 1e-8 grid; negative means it left the account."""

    ts_ms: int
    kind: LedgerKind
    symbol: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A one-way position.

    signed_quantity: base, negative when short. entry_value: quote, signed like the quantity: what
    was paid for what is still open, kept on the 1e-8 grid. isolated_margin: quote set aside for an
    isolated position; zero in cross margin.
    """

    symbol: str
    signed_quantity: Decimal = ZERO
    entry_value: Decimal = ZERO
    isolated_margin: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        """Tell whether anything is held."""
        return self.signed_quantity != ZERO

    @property
    def side(self) -> PositionSide | None:
        """Return LONG or SHORT, None when flat."""
        if not self.signed_quantity:
            return None
        return PositionSide.LONG if self.signed_quantity > ZERO else PositionSide.SHORT

    @property
    def average_entry_price(self) -> Decimal | None:
        """Return the value-weighted entry price, None when flat."""
        return self.entry_value / self.signed_quantity if self.signed_quantity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """An account at one moment, in quote.

    equity = cash + unrealized; free_margin = equity - used_margin; available = max(0, free_margin).
    used_margin is the initial margin of open positions at mark.
    """

    ts_ms: int
    cash: Decimal
    unrealized: Decimal
    used_margin: Decimal
    maintenance_margin: Decimal

    @property
    def equity(self) -> Decimal:
        """Return cash and unrealized profit together."""
        return self.cash + self.unrealized

    @property
    def free_margin(self) -> Decimal:
        """Return what is not bound by open positions; negative when they are under water."""
        return self.equity - self.used_margin

    @property
    def available(self) -> Decimal:
        """Return what may be bound by new positions."""
        return max(ZERO, self.free_margin)


Atoms = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccountCurve:
    """The account at the end of every bar, as columns. All are (n_bars,) int64.

    ts_ms: the last millisecond of the bar, so that a row holds exactly the events up to its time.
    cash, unrealized, used_margin, maintenance_margin: quote in atoms of 1e-8.
    """

    ts_ms: Atoms
    cash: Atoms
    unrealized: Atoms
    used_margin: Atoms
    maintenance_margin: Atoms

    def __len__(self) -> int:
        return len(self.ts_ms)

    @property
    def equity(self) -> Atoms:
        """Return cash + unrealized."""
        return self.cash + self.unrealized

    @property
    def free_margin(self) -> Atoms:
        """Return equity - used margin."""
        return self.equity - self.used_margin

    @property
    def available(self) -> Atoms:
        """Return max(0, free margin)."""
        return np.maximum(self.free_margin, 0)
