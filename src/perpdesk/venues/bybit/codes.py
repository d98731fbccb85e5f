"""What Bybit's refusals mean for the caller: final, wait, or unknown.

A code is final (VenueRejected) only where the documentation says what it refuses; any other code
leaves the outcome of a call that changes something unknown. Source: reference/exchanges.md 2.2,
3b.4, 3b.5, and the error page of the documentation, read 2026-11.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from perpdesk.domain.errors import (
    OutcomeUnknown,
    PerpdeskError,
    VenueRejected,
    VenueUnavailable,
)

OK: Final = 0
CLOCK: Final = 10002
RATE_LIMIT: Final = 10006
DUPLICATE_ID: Final = 110072
LEVERAGE_UNCHANGED: Final = 110043
POSITION_MODE_UNCHANGED: Final = 110025
MARGIN_MODE_UNCHANGED: Final = 110026
STOP_UNCHANGED: Final = 34040
NOT_OPEN: Final = frozenset({110001, 110008, 110010})
"""The order to cancel or amend is not open (it may have filled)."""

TRY_LATER: Final = frozenset({429, RATE_LIMIT, 10018, 10429, 20003, 30034, 30035, 110079, 130035})
"""Nothing was done; the same request may work later."""

UNKNOWN_OUTCOME: Final = frozenset({10000, 10014, 10016, 10019, 40004})
"""Bybit itself does not say whether it was done; 10014 says that the same came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A final refusal in words. meaning: what Bybit refused. advice: what to do next."""

    meaning: str
    advice: str = ""


_KEY = "Check that the key belongs to this environment (live, demo, testnet) and is spelled right."
_RENEW = "Make a new key: one without a bound address expires after three months."
_FUNDS = "Reduce the size, raise the leverage, or add USDT to the unified account."
_SMALLER = "Reduce the size or the leverage to what the risk limit allows."
_FLAT = "Read the position again: it may be closed already."
_REPRICE = "Bring the price back into the band around mark."
_PAUSE = "Open nothing new in this symbol; see Bybit's announcements."

REFUSALS: Final[dict[int, Refused]] = {
    -1: Refused(meaning="the request came too late", advice="Check the network and the clock."),
    -2015: Refused(meaning="the API key has expired", advice=_RENEW),
    33004: Refused(meaning="the API key has expired", advice=_RENEW),
    10001: Refused(meaning="a parameter is wrong"),
    10003: Refused(meaning="the API key is not valid here", advice=_KEY),
    10004: Refused(
        meaning="the signature is wrong", advice="Check the secret: copy it again in full."
    ),
    10005: Refused(
        meaning="the API key may not do this",
        advice="Give the key the permission (contract orders and positions) at Bybit.",
    ),
    10007: Refused(meaning="the account could not be authenticated", advice=_KEY),
    10008: Refused(meaning="the account is banned", advice="Look at the account at Bybit."),
    10009: Refused(meaning="Bybit does not serve this region"),
    10010: Refused(
        meaning="the API key is not allowed from this address",
        advice="Add this machine's public address to the key, or use the key from its own.",
    ),
    10017: Refused(meaning="there is no such path", advice="Check the address of the venue."),
    10024: Refused(meaning="compliance rules forbid it", advice="Look at the account at Bybit."),
    10027: Refused(meaning="trading is banned for this account"),
    10028: Refused(
        meaning="only unified trading accounts can do this",
        advice="Upgrade the account to a unified trading account.",
    ),
    10029: Refused(meaning="the symbol is not allowed for this key"),
    10404: Refused(meaning="there is no such operation"),
    30208: Refused(meaning="the price is above the highest that may be bid", advice=_REPRICE),
    30209: Refused(meaning="the price is below the lowest that may be asked", advice=_REPRICE),
    30228: Refused(meaning="the symbol is being delisted", advice=_PAUSE),
    STOP_UNCHANGED: Refused(meaning="the stop was so already"),
    110001: Refused(
        meaning="there is no such order open",
        advice="Ask for the order by its id: it may have filled.",
    ),
    110003: Refused(meaning="the price is out of the allowed range", advice=_REPRICE),
    110004: Refused(meaning="the wallet balance is too small", advice=_FUNDS),
    110006: Refused(meaning="the assets cannot cover the margin", advice=_FUNDS),
    110007: Refused(meaning="the available balance is too small", advice=_FUNDS),
    110008: Refused(
        meaning="the order is filled or canceled already", advice="Ask for the order by its id."
    ),
    110009: Refused(
        meaning="there are too many conditional orders in this symbol",
        advice="Cancel some: Bybit keeps ten per symbol.",
    ),
    110010: Refused(meaning="the order is canceled already"),
    110012: Refused(meaning="the available balance is too small", advice=_FUNDS),
    110013: Refused(meaning="the risk limit forbids this leverage", advice=_SMALLER),
    110017: Refused(meaning="there is nothing to reduce", advice=_FLAT),
    110020: Refused(meaning="there are 500 orders open already", advice="Cancel some."),
    110021: Refused(meaning="open interest limits the position", advice=_SMALLER),
    110023: Refused(meaning="positions of this contract may only be reduced", advice=_PAUSE),
    110024: Refused(
        meaning="the position mode cannot change while a position is open",
        advice="Close the positions first.",
    ),
    POSITION_MODE_UNCHANGED: Refused(meaning="the position mode was so already"),
    MARGIN_MODE_UNCHANGED: Refused(meaning="the margin mode was so already"),
    110028: Refused(
        meaning="the position mode cannot change while orders are open",
        advice="Cancel the orders first.",
    ),
    LEVERAGE_UNCHANGED: Refused(meaning="the leverage was so already"),
    110042: Refused(meaning="positions of this contract may only be reduced", advice=_PAUSE),
    110044: Refused(meaning="the available margin is too small", advice=_FUNDS),
    110045: Refused(meaning="the wallet balance is too small", advice=_FUNDS),
    110066: Refused(meaning="trading is halted", advice=_PAUSE),
    DUPLICATE_ID: Refused(
        meaning="an order with this client id exists", advice="Ask for the order by its id."
    ),
    110074: Refused(meaning="the contract is not live", advice=_PAUSE),
    110086: Refused(meaning="the leverage is above the risk limit's", advice=_SMALLER),
    110090: Refused(meaning="the position would exceed the risk limit", advice=_SMALLER),
    110092: Refused(
        meaning="the trigger must lie above the price, and does not",
        advice="The stop would trigger at once: close at market, or move it.",
    ),
    110093: Refused(
        meaning="the trigger must lie below the price, and does not",
        advice="The stop would trigger at once: close at market, or move it.",
    ),
    110094: Refused(meaning="the order's value is below the minimum", advice="Enlarge the order."),
    110120: Refused(meaning="the price is below the limit", advice=_REPRICE),
    110121: Refused(meaning="the price is above the limit", advice=_REPRICE),
    110124: Refused(meaning="trading is paused by a cooling-off period", advice=_PAUSE),
    3400045: Refused(
        meaning="the margin mode cannot be set",
        advice="Close all positions and cancel all orders of the account first.",
    ),
}

KEY_REFUSALS: Final = frozenset(
    str(code) for code in (-2015, 33004, 10003, 10004, 10005, 10007, 10008, 10010, 10027, 10028)
)
"""The key or its account is of no use: trying again does not help."""

RULES_CHANGED: Final = frozenset(
    str(code)
    for code in (10001, 10029, 30208, 30209, 30228, 110003, 110023, 110042, 110066, 110074, 110094)
)
"""Said of an order that our own check let pass: the symbol's rules are others than we know. Of
tick, step and quantity Bybit says no more than 10001, a wrong parameter."""

DOCUMENTED_REFUSALS: Final = frozenset(
    code
    for first, last in (
        (30133, 30136),
        (100028, 100028),
        (110001, 110001),
        (110003, 110078),
        (110080, 110080),
        (110082, 110083),
        (110085, 110090),
        (110092, 110121),
        (110123, 110125),
        (110131, 110132),
        (110135, 110137),
    )
    for code in range(first, last + 1)
)
"""Derivatives codes of which the documentation says what they refuse; Bybit's words serve."""


def error_of(code: int, message: str, *, changes: bool, asked: str) -> PerpdeskError:
    """Return the error that a retCode stands for.

    changes: whether the call could have changed something. asked: the call, for the message.
    """
    told = f"Bybit answered {asked} with {code}: {message}"
    if code in TRY_LATER:
        return VenueUnavailable(told, next_step="Wait, then try again; nothing was done.")
    if code == CLOCK:
        return VenueUnavailable(
            f"{told}. The clock was measured again, and it was refused again",
            next_step="Set this machine's clock (NTP), then try again; nothing was done.",
        )
    if code in REFUSALS:
        refused = REFUSALS[code]
        return VenueRejected(
            f"Bybit refused {asked}: {refused.meaning} ({message})",
            code=str(code),
            next_step=refused.advice,
        )
    if code in DOCUMENTED_REFUSALS:
        return VenueRejected(f"Bybit refused {asked}: {message}", code=str(code))
    return unclear(told, changes=changes)


def unclear(told: str, *, changes: bool) -> PerpdeskError:
    """Return the error for an answer that does not say what became of a call."""
    if changes:
        return OutcomeUnknown(
            f"{told}; it may have been done",
            next_step="Ask what became of it by the client order id; do not send it again.",
        )
    return VenueUnavailable(told, next_step="Try again in a moment.")


def nearest_symbol(symbol: str, known: Iterable[str]) -> str:
    """Return a next step that names the known symbol spelled most like this one, or nothing."""
    found = difflib.get_close_matches(symbol.upper(), sorted(known), n=1, cutoff=0.6)
    return f"Did you mean {found[0]}?" if found else ""


def unknown_symbol(symbol: str, known: Iterable[str]) -> VenueRejected:
    """Return the refusal of a symbol that is no linear contract of Bybit."""
    return VenueRejected(
        f"Bybit has no linear perpetual {symbol!r} that trades",
        code="10001",
        next_step=nearest_symbol(symbol, known) or "List the symbols, and choose one of them.",
    )
