"""Fields of a message: exact numbers, and a word for what is absent.

Binance writes 0 or an empty text where there is no price or id.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderId

Message = Mapping[str, Any]


class MalformedMessage(ValueError):
    """A message lacks a field, or holds what is no number where one must be."""


def required(message: Message, name: str) -> Any:
    """Return a field. Raises MalformedMessage where it is missing."""
    try:
        return message[name]
    except (KeyError, TypeError):
        raise MalformedMessage(f"the field {name!r} is missing in {str(message)[:200]}") from None


def number(message: Message, name: str) -> Decimal:
    """Return a field that must be a number."""
    return to_number(required(message, name), name)


def to_number(value: Any, name: str) -> Decimal:
    """Return a value as an exact number. Raises MalformedMessage."""
    try:
        result = Decimal(str(value).strip())
    except InvalidOperation:
        raise MalformedMessage(f"{name!r} is {value!r}, not a number") from None
    if not result.is_finite():
        raise MalformedMessage(f"{name!r} is {value!r}, not a finite number")
    return result


def amount(message: Message, name: str) -> Decimal:
    """Return a number that counts as zero where the message leaves it out."""
    return ZERO if message.get(name) in (None, "") else number(message, name)


def positive(message: Message, name: str) -> Decimal | None:
    """Return a price or rate, None where the message says 0 or nothing."""
    return amount(message, name) or None


def whole(message: Message, name: str) -> int:
    """Return a time or an id that must be there."""
    try:
        return int(required(message, name))
    except (TypeError, ValueError):
        raise MalformedMessage(f"{name!r} is {message[name]!r}, not a whole number") from None


def flag(message: Message, name: str) -> bool:
    """Return a truth value, which comes as true or as the text "true"."""
    return message.get(name) in (True, "true", "TRUE")


def order_id(message: Message, name: str) -> OrderId | None:
    """Return an order id, None where the message says 0 or nothing."""
    value = message.get(name)
    return None if value in (None, "", 0, "0") else OrderId(str(value))
