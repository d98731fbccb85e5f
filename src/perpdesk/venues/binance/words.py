"""Binance's words and ours: one table for every enumeration, and a named error for the rest.

Source: reference/exchanges.md 3.3, 3.4, 4.1, read 2026-11.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from perpdesk.domain.account import MarginMode
from perpdesk.domain.errors import PerpdeskError
from perpdesk.domain.order import OrderStatus, OrderType, Side, TimeInForce, WorkingPrice
from perpdesk.domain.venue_reports import FillCause, IncomeKind

Word = TypeVar("Word")


class UnknownWord(PerpdeskError):
    """Binance used a word that has no meaning here; guessing one could cost money."""

    def __init__(self, kind: str, word: object) -> None:
        super().__init__(
            f"Binance sent the {kind} {word!r}, which this version does not know",
            next_step="Stop trading this symbol and update perpdesk; the word is named above.",
        )
        self.kind = kind
        self.word = word


class UnknownEvent(UnknownWord):
    """A whole message of a kind that is not known; unlike a status, it can be left unread."""


def read(table: Mapping[str, Word], kind: str, word: object) -> Word:
    """Return our word for Binance's. Raises UnknownWord."""
    found = table.get(word) if isinstance(word, str) else None
    if found is None:
        raise UnknownWord(kind, word)
    return found


SIDES: Final = {"BUY": Side.BUY, "SELL": Side.SELL}

ORDER_STATUSES: Final = {
    "NEW": OrderStatus.ACCEPTED,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    # Self-trade prevention ended it; what had filled before stays filled.
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}

ALGO_STATUSES: Final = {
    "NEW": OrderStatus.ACCEPTED,
    "TRIGGERING": OrderStatus.TRIGGERED,
    "TRIGGERED": OrderStatus.TRIGGERED,
    # The order it became is over, filled or not; how, that order tells.
    "FINISHED": OrderStatus.TRIGGERED,
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
}

EXECUTION_TYPES: Final = {
    name: name
    for name in ("NEW", "TRADE", "CANCELED", "CALCULATED", "EXPIRED", "AMENDMENT", "REJECTED")
}

TYPE_WORDS: Final = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.STOP_LIMIT: "STOP",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
    OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT",
    OrderType.TRAILING_STOP_MARKET: "TRAILING_STOP_MARKET",
}
ORDER_TYPES: Final = {word: ours for ours, word in TYPE_WORDS.items()} | {
    # The venue's own order that closes a position: a limit order, immediate or cancel.
    "LIQUIDATION": OrderType.LIMIT,
}

TIMES_IN_FORCE: Final = {one.value: one for one in TimeInForce} | {
    # What other programs and the exchange's own pages may place on the same account.
    "RPI": TimeInForce.GTX,
    "GTE_GTC": TimeInForce.GTC,
}

WORKING_WORDS: Final = {
    WorkingPrice.LAST: "CONTRACT_PRICE",
    WorkingPrice.MARK: "MARK_PRICE",
}

MARGIN_MODES: Final = {
    "cross": MarginMode.CROSS,
    "CROSS": MarginMode.CROSS,
    "CROSSED": MarginMode.CROSS,
    "isolated": MarginMode.ISOLATED,
    "ISOLATED": MarginMode.ISOLATED,
}
MARGIN_WORDS: Final = {MarginMode.CROSS: "CROSSED", MarginMode.ISOLATED: "ISOLATED"}

POSITION_SIDES: Final = {name: name for name in ("BOTH", "LONG", "SHORT")}

INCOME_KINDS: Final = {
    "REALIZED_PNL": IncomeKind.REALIZED_PNL,
    "COMMISSION": IncomeKind.FEE,
    "FUNDING_FEE": IncomeKind.FUNDING,
    "INSURANCE_CLEAR": IncomeKind.LIQUIDATION_FEE,
    "TRANSFER": IncomeKind.TRANSFER,
}
"""Any other type of income is OTHER, with Binance's word as the detail: that list is open."""


def fill_cause(client_order_id: str) -> FillCause:
    """Return who made an order, by the client ids that Binance gives to its own."""
    if client_order_id.startswith("settlement_autoclose"):
        return FillCause.SETTLEMENT
    if client_order_id.startswith("adl_autoclose"):
        return FillCause.AUTO_DELEVERAGING
    if client_order_id.startswith("autoclose"):
        return FillCause.LIQUIDATION
    return FillCause.ORDER
