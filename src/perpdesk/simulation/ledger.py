"""Cash as the sum of its entries."""

from decimal import Decimal

from perpdesk.domain.account import LedgerEntry, LedgerKind
from perpdesk.domain.numbers import ZERO


class Ledger:
    """Append-only changes of cash, in quote on the 1e-8 grid; `cash` is their sum, exactly."""

    def __init__(self) -> None:
        self.cash = ZERO
        self.entries: list[LedgerEntry] = []

    def book(self, ts_ms: int, kind: LedgerKind, symbol: str, amount: Decimal) -> None:
        """Append one entry; nothing is written for an amount of zero."""
        if amount:
            self.entries.append(LedgerEntry(ts_ms=ts_ms, kind=kind, symbol=symbol, amount=amount))
            self.cash += amount
