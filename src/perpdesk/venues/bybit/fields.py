"""Fields of a v5 message: strings that hold numbers, and words that stand for choices."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

from perpdesk.domain.account import MarginMode
from perpdesk.domain.errors import DataRefused
from perpdesk.domain.order import OrderStatus, Side, TimeInForce, WorkingPrice
from perpdesk.domain.venue_reports import FillCause

Message = Mapping[str, Any]
T = TypeVar("T")


class UnknownWord(DataRefused):
    """Bybit used a word in a choice that has a meaning for money, and we do not know it."""

    def __init__(self, field: str, word: object) -> None:
        super().__init__(
            f"Bybit says {field}={word!r}, a value that is not known here",
            next_step="Do not trade this symbol until the word is understood; update perpdesk.",
        )
        self.field = field
        self.word = word


class MalformedMessage(DataRefused):
    """A message of Bybit lacks a field that it must have, or holds no number where one belongs."""

    def __init__(self, field: str, value: object) -> None:
        super().__init__(
            f"a message of Bybit has {field}={value!r}, which cannot be read",
            next_step="If it happens again, the protocol has changed; update perpdesk.",
        )


NO_VALUE: Final = ("", None)
"""How v5 spells "not applicable": an empty string, or the field left out."""

SIDES: Final = {"Buy": Side.BUY, "Sell": Side.SELL}
STATUSES: Final = {
    "Created": OrderStatus.SUBMITTED,
    "New": OrderStatus.ACCEPTED,
    "Untriggered": OrderStatus.ACCEPTED,
    "Triggered": OrderStatus.TRIGGERED,
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "PartiallyFilledCanceled": OrderStatus.CANCELED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELED,
    "Deactivated": OrderStatus.CANCELED,
    "Rejected": OrderStatus.REJECTED,
}
TIMES_IN_FORCE: Final = {
    "": TimeInForce.GTC,
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.GTX,
    # An order of a retail price improvement maker rests too, and never takes.
    "RPI": TimeInForce.GTX,
}
WORKING_PRICES: Final = {WorkingPrice.LAST: "LastPrice", WorkingPrice.MARK: "MarkPrice"}
FILL_CAUSES: Final = {
    "Trade": FillCause.ORDER,
    "BlockTrade": FillCause.ORDER,
    "MovePosition": FillCause.ORDER,
    "FutureSpread": FillCause.ORDER,
    "BustTrade": FillCause.LIQUIDATION,
    "AdlTrade": FillCause.AUTO_DELEVERAGING,
    "Settle": FillCause.SETTLEMENT,
    "Delivery": FillCause.SETTLEMENT,
}
FUNDING: Final = "Funding"
MARGIN_MODES: Final = {
    "ISOLATED_MARGIN": MarginMode.ISOLATED,
    "REGULAR_MARGIN": MarginMode.CROSS,
}
MARGIN_WORDS: Final = {mode: word for word, mode in MARGIN_MODES.items()}


def word(table: Mapping[str, T], message: Message, field: str) -> T:
    """Return the meaning of a word. Raises UnknownWord where the table has no such word."""
    found = message.get(field)
    try:
        return table[found or ""]
    except KeyError:
        raise UnknownWord(field, found) from None


def text(message: Message, field: str) -> str:
    """Return a field that must be there and not be empty."""
    value = message.get(field)
    if value in NO_VALUE:
        raise MalformedMessage(field, value)
    return str(value)


def number(message: Message, field: str) -> Decimal:
    """Return a number that must be there."""
    return decimal_of(field, message.get(field))


def number_or(message: Message, field: str, default: Decimal) -> Decimal:
    """Return a number, or the default where the field is empty or absent."""
    value = message.get(field)
    return default if value in NO_VALUE else decimal_of(field, value)


def optional(message: Message, field: str) -> Decimal | None:
    """Return a number, or None where the field is empty or absent."""
    value = message.get(field)
    return None if value in NO_VALUE else decimal_of(field, value)


def positive(message: Message, field: str) -> Decimal | None:
    """Return a number, or None where it is empty, absent or zero: v5 says "0" for "no price"."""
    return optional(message, field) or None


def whole(message: Message, field: str) -> int:
    """Return a whole number that must be there, such as a time in ms."""
    value = message.get(field)
    try:
        return int(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise MalformedMessage(field, value) from None


def rows(result: Message, field: str = "list") -> list[Any]:
    """Return a list that must be there."""
    found = result.get(field)
    if not isinstance(found, list):
        raise MalformedMessage(field, found)
    return found


def decimal_of(field: str, value: object) -> Decimal:
    """Return a value of a message as a finite number. Raises MalformedMessage where it is none."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise MalformedMessage(field, value) from None
    if not found.is_finite():
        raise MalformedMessage(field, value)
    return found
