"""Cash as the sum of its entries."""

from decimal import Decimal

from perpdesk.domain.account import LedgerEntry, LedgerKind
from perpdesk.domain.numbers import ZERO


class Ledger:
    """Append-only changes of cash, in quote on the 1e-8 grid; `cash` is their sum, exactly."""

    def __init__(self) -> None:
        self.cash = ZERO
        self.entries: list[LedgerEntry] = []
        self._audited_entries = 0
        self._audited_sum = ZERO

    def book(self, ts_ms: int, kind: LedgerKind, symbol: str, amount: Decimal) -> None:
        """Append one entry; nothing is written for an amount of zero."""
        if amount:
            self.entries.append(LedgerEntry(ts_ms=ts_ms, kind=kind, symbol=symbol, amount=amount))
            self.cash += amount

    def audited_sum(self) -> Decimal:
        """Return the sum of all entries; entries are never edited, so only new ones are added."""
        for entry in self.entries[self._audited_entries :]:
            self._audited_sum += entry.amount
        self._audited_entries = len(self.entries)
        return self._audited_sum
