"""Rows of account/transaction-log, turned into our words, so that they sum to the balance. Pure.

`change = cashFlow + funding - fee`, and `funding` is positive when received. Source:
reference/exchanges.md 3b.2.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.venue_reports import IncomeKind, IncomeReport
from perpdesk.venues.bybit.fields import Message, number, number_or, text, whole

_TRADES: Final = {"TRADE", "SETTLEMENT", "DELIVERY", "LIQUIDATION", "ADL"}
_TRANSFERS: Final = {"TRANSFER_IN", "TRANSFER_OUT"}


def income_reports(row: Message) -> tuple[IncomeReport, ...]:
    """Return one row as one report per kind of money in it; their amounts sum to `change`.

    One `id` may come in a funding row and a trade row, so the trade and the kind are part of ours.
    """
    kind = text(row, "type")
    return tuple(
        IncomeReport(
            income_id=":".join((text(row, "id"), str(row.get("tradeId") or ""), part.value)),
            ts_ms=whole(row, "transactionTime"),
            kind=part,
            asset=text(row, "currency"),
            amount=amount,
            symbol=str(row.get("symbol") or ""),
            trade_id=str(row.get("tradeId") or ""),
            detail=kind,
        )
        for part, amount in _parts(kind, row)
    )


def _parts(kind: str, row: Message) -> Iterator[tuple[IncomeKind, Decimal]]:
    change = number(row, "change")
    if kind in _TRANSFERS:
        yield IncomeKind.TRANSFER, change
        return
    if kind not in _TRADES:
        yield IncomeKind.OTHER, change
        return
    profit, fee = number_or(row, "cashFlow", ZERO), number_or(row, "fee", ZERO)
    funding = number_or(row, "funding", ZERO)
    if profit:
        yield IncomeKind.REALIZED_PNL, profit
    if fee:
        liquidated = kind == "LIQUIDATION"
        yield IncomeKind.LIQUIDATION_FEE if liquidated else IncomeKind.FEE, -fee
    if funding:
        yield IncomeKind.FUNDING, funding
    rest = change - (profit + funding - fee)
    if rest:
        # Taxes and whatever else Bybit books beside the fee: nothing of the balance is left out.
        yield IncomeKind.OTHER, rest
