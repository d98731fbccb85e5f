"""Binance's refusals, sorted by what the caller must do about them.

VenueRejected is said only of codes that are known to mean "not accepted". Whatever else happens to
a request that changes something leaves its outcome unknown; a reading that failed is just unread.
Source: reference/exchanges.md 2.1, 3.5, 3.6, read 2026-11.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from perpdesk.domain.errors import (
    OutcomeUnknown,
    PerpdeskError,
    VenueRejected,
    VenueUnavailable,
)

TOO_MANY_ORDERS: Final = -1015
CLOCK: Final = -1021
UNKNOWN_SYMBOL: Final = -1121
NOT_OPEN: Final = -2011
NO_SUCH_ORDER: Final = -2013
DUPLICATE_ID: Final = -4116
NO_LISTEN_KEY: Final = -1125
UNCHANGED: Final = frozenset({-4046, -4059, -4171, -5027})
"""Nothing to change: success, in other words."""

KEY_REFUSALS: Final = frozenset({"-1002", "-1022", "-2014", "-2015", "-2017"})
"""The key itself is of no use: trying again does not help."""

BAN_LEAST_S: Final = 120.0
FIREWALL_S: Final = 300.0
BUSY_S: Final = 5.0

BUSY: Final = frozenset({-1003, -1008, TOO_MANY_ORDERS})
"""Refused for load, before it was looked at: definite, and to be tried later."""

OUTCOME_UNCLEAR: Final = frozenset({-1000, -1001, -1006, -1007})

_TIME = "Set this machine's clock, then try again."
_BUG = "This is a defect of perpdesk: report the code and the message."
_SIZE = "Change the quantity to what the symbol's rules allow."
_PRICE = "Change the price to what the symbol's rules allow."
_MONEY = "Use a smaller quantity, or free some margin."
_MODE = "Set the account to one-way mode, and read the settings again."
_KEY = "Check key and secret, the venue they belong to, the key's IP list and its permissions."
_ASK = "Ask what became of the order, by its client id."

NOT_ACCEPTED: Final[Mapping[int, tuple[str, str]]] = {
    -1002: ("the key may not do this", _KEY),
    -1010: ("Binance could not read the message", _BUG),
    -1013: ("a value breaks the symbol's rules", _SIZE),
    -1014: ("this combination of order settings is not supported", _BUG),
    -1016: ("this service is no longer offered", _BUG),
    -1020: ("this operation is not supported", _BUG),
    -1021: ("our clock is too far from Binance's", _TIME),
    -1022: ("the signature is not valid", "Check the secret that belongs to the key."),
    NO_LISTEN_KEY: ("the listen key is not known any more", "A new one is made."),
    UNKNOWN_SYMBOL: ("the symbol is not known to Binance", "Check its spelling."),
    -2010: ("the order was refused", "Read Binance's reason above."),
    NOT_OPEN: ("the order is not open; it may have been filled", _ASK),
    NO_SUCH_ORDER: ("there is no such order", _ASK),
    -2014: ("the API key has the wrong form", _KEY),
    -2015: (
        "the API key is wrong or expired, this IP is not on its list, or it may not do this",
        _KEY,
    ),
    -2016: ("the symbol does not trade now", "Wait until it does, or choose another."),
    -2017: ("the API key is locked on this account", _KEY),
    -2018: ("the balance is too small", _MONEY),
    -2019: ("the margin is too small", _MONEY),
    -2020: ("the order cannot be filled", "Change price or time in force."),
    -2021: ("the trigger price is already reached", "Act now at market, or drop the order."),
    -2022: ("reduce-only with nothing left to reduce", "Read the position again."),
    -2023: ("the account is being liquidated", "Wait until it is over."),
    -2024: ("the position is too small", "Read the position again."),
    -2025: ("too many open orders", "Cancel some."),
    -2026: ("this order type does not take reduce-only", _BUG),
    -2027: ("the position would exceed the limit of this leverage", "Lower the leverage."),
    -2028: ("the leverage is too low for the open margin", "Raise the leverage."),
    -4001: ("the price is not positive", _PRICE),
    -4002: ("the price is above the maximum", _PRICE),
    -4003: ("the quantity is not positive", _SIZE),
    -4004: ("the quantity is below the minimum", _SIZE),
    -4005: ("the quantity is above the maximum", _SIZE),
    -4006: ("the trigger price is not positive", _PRICE),
    -4007: ("the trigger price is above the maximum", _PRICE),
    -4013: ("the price is below the minimum", _PRICE),
    -4014: ("the price is not on the tick", _PRICE),
    -4015: ("the client order id is not legal", _BUG),
    -4016: ("the price is too far above the mark price", _PRICE),
    -4023: ("the quantity is not on the step", _SIZE),
    -4024: ("the price is too far below the mark price", _PRICE),
    -4028: ("the leverage is not allowed for this symbol", "Choose one within its tiers."),
    -4045: ("too many conditional orders", "Cancel some."),
    -4046: ("the margin mode is so already", ""),
    -4047: ("open orders forbid a change of the margin mode", "Cancel them first."),
    -4048: ("an open position forbids a change of the margin mode", "Close it first."),
    -4050: ("the cross balance is too small", _MONEY),
    -4051: ("the isolated balance is too small", _MONEY),
    -4059: ("the position mode is so already", ""),
    -4061: ("the order does not fit the position mode", _MODE),
    -4062: ("reduce-only does not fit the position mode", _MODE),
    -4067: ("open orders forbid a change of the position mode", "Cancel them first."),
    -4068: ("open positions forbid a change of the position mode", "Close them first."),
    -4087: ("the account may only reduce positions", "Close positions; open none."),
    -4088: ("the account may not open positions", "Close positions; open none."),
    -4109: ("the account is inactive", "Sign in to Binance and activate it."),
    DUPLICATE_ID: ("an open order has this client id already", _ASK),
    -4118: ("reduce-only would need margin: other orders cover the position", "Cancel them."),
    -4120: ("this order type belongs to the Algo service", _BUG),
    -4131: ("the best price is too far from the mark price for a market order", "Use a limit."),
    -4137: ("an order that closes the position has no quantity", _BUG),
    -4138: ("an order that closes the position is reduce-only already", _BUG),
    -4140: ("the symbol does not trade now", "Wait until it does, or choose another."),
    -4141: ("the symbol is closed", "Choose another."),
    -4161: ("the leverage cannot be lowered while an isolated position is open", "Close it first."),
    -4164: ("the notional is below the minimum", _SIZE),
    -4171: ("the multi-assets mode is so already", ""),
    -4192: ("Binance holds new positions back (cooling-off)", "Wait; open nothing."),
    -4400: ("Binance allows only reducing orders now (quantitative rules)", "Open nothing."),
    -5021: ("fill-or-kill could not fill", "Change price or quantity."),
    -5022: ("post-only would have taken", "Change the price."),
    -5024: ("the amendment is not legal", "Read the order again."),
    -5025: ("only limit orders can be amended", "Cancel it and place a new one."),
    -5026: ("the order was amended too often", "Cancel it and place a new one."),
    -5027: ("nothing changed", ""),
    -5028: ("the matching engine saw the request too late", _TIME),
    -5041: ("the best price is gone", "Change the price."),
}
RULES_CHANGED: Final = frozenset(
    str(code)
    for code in (
        *(-1013, -1111, UNKNOWN_SYMBOL, -2016, -4002, -4003, -4004, -4005, -4007, -4013, -4014),
        *(-4016, -4023, -4024, -4140, -4141, -4164),
    )
)
"""Said of an order that our own check let pass: the symbol's rules are others than we know."""

_PARAMETER_CODES: Final = range(-1136, -1099)
"""Missing, superfluous or malformed parameters: refused before anything is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is no result. code: Binance's, None where the body is not its JSON."""

    status: int
    code: int | None
    text: str
    retry_after_s: float | None = None


def read_answer(*, status: int, headers: Mapping[str, str], body: str) -> Answer:
    """Return what an unsuccessful answer says."""
    code, text = None, body
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and "code" in parsed:
        try:
            code = int(parsed["code"])
        except (TypeError, ValueError):
            code = None
        text = str(parsed.get("msg") or "")
    return Answer(
        status=status, code=code, text=text[:300], retry_after_s=_seconds(headers, "Retry-After")
    )


def _seconds(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return max(0.0, float(headers[name]))
    except (KeyError, ValueError):
        return None


def pause_s(answer: Answer, *, now_ms: int) -> float | None:
    """Return how long Binance wants no call at all, None where it does not say.

    now_ms: Binance's clock. A ban names the time at which it ends, too; the header goes before it,
    because it needs no idea of the time.
    """
    if answer.retry_after_s is not None:
        return answer.retry_after_s
    banned = re.search(r"banned until (\d{13})", answer.text)
    if banned:
        return max(0.0, (int(banned[1]) - now_ms) / 1000)
    if answer.status == 418:
        return BAN_LEAST_S
    if answer.status == 403 and answer.code is None:
        return FIREWALL_S
    if answer.code == TOO_MANY_ORDERS:
        return None  # Orders are counted apart: cancels and questions may go on.
    return BUSY_S if answer.status == 429 or answer.code == -1003 else None


def error_of(answer: Answer, *, call: str, changes: bool) -> PerpdeskError:
    """Return the error that an unsuccessful answer means.

    call: method and path, for the message. changes: the call was to change something.
    """
    code = "" if answer.code is None else f"{answer.code}, "
    what = f"Binance refused {call} ({code}HTTP {answer.status}): "
    if answer.status in (418, 429) or answer.code in BUSY:
        return VenueUnavailable(
            what + (answer.text or "too many requests"),
            next_step="Calls are held back until Binance allows them again.",
        )
    if answer.status == 403 and answer.code is None:
        return VenueUnavailable(
            what + "its firewall blocks this address",
            next_step="Stop other programs that call Binance from here, and wait.",
        )
    if answer.status == 451:
        return VenueRejected(
            what + "it does not serve this location",
            code="451",
            next_step="Use a venue that serves where this machine stands.",
        )
    known = None if answer.code is None else NOT_ACCEPTED.get(answer.code)
    if known is not None:
        words, next_step = known
        said = f" ({answer.text})" if answer.text else ""
        return VenueRejected(what + words + said, code=str(answer.code), next_step=next_step)
    if answer.code in _PARAMETER_CODES:
        return VenueRejected(what + answer.text, code=str(answer.code), next_step=_BUG)
    is_page = answer.text.lstrip().startswith("<")  # A gateway's, which knows nothing of orders.
    if answer.status == 503 and "service unavailable" in answer.text.lower() and not is_page:
        return VenueUnavailable(what + "the service is down", next_step="Try again later.")
    if changes:
        return OutcomeUnknown(
            what + (answer.text or "no reason given") + "; it may have worked all the same",
            next_step=_ASK,
        )
    if answer.code is None or answer.status >= 500 or answer.code in OUTCOME_UNCLEAR:
        return VenueUnavailable(
            what + _shown(answer),
            next_step="Check the address in the settings; if it is right, try again later.",
        )
    return VenueRejected(what + answer.text, code=str(answer.code), next_step=_BUG)


def _shown(answer: Answer) -> str:
    if answer.text.lstrip().startswith("<"):
        return "it answered a web page instead of JSON; is the address that of Binance's API?"
    return answer.text or "no reason given"


def not_json(body: str, *, call: str, changes: bool) -> PerpdeskError:
    """Return the error that a successful status with an unreadable body means."""
    page = body.lstrip().startswith("<")
    shown = "a web page" if page else f"{body[:80]!r}"
    if changes:
        return OutcomeUnknown(
            f"{call} was answered with {shown} instead of JSON; it may have worked", next_step=_ASK
        )
    return VenueUnavailable(
        f"{call} was answered with {shown} instead of JSON",
        next_step="Check the address of Binance's API, and proxies on the way, then try again.",
    )
