"""Bybit's refusals: a code and words in a HTTP 200 body.

Source: reference/exchanges.md 3b.5, and the error table of the documentation, read 2026-11.
"""

from typing import Any, Final

from perpdesk.emulator.accounts import Refused

TIMEOUT: Final = 10000
PARAMETER: Final = 10001
CLOCK: Final = 10002
KEY: Final = 10003
SIGNATURE: Final = 10004
PERMISSION: Final = 10005
RATE: Final = 10006
IP: Final = 10010
SERVER: Final = 10016
UNKNOWN_OP: Final = 10404
ALREADY_AUTHENTICATED: Final = 20001
DUPLICATE_REQUEST_ID: Final = 20006
EXPIRED_KEY: Final = 33004
STOP_NOT_MODIFIED: Final = 34040
NO_ORDER: Final = 110001
COMPLETED: Final = 110008
TOO_MANY_STOPS: Final = 110009
CANCELED: Final = 110010
LEVERAGE_RISK: Final = 110013
NOTHING_TO_REDUCE: Final = 110017
TOO_MANY_ORDERS: Final = 110020
HAS_POSITION: Final = 110024
MODE_NOT_MODIFIED: Final = 110025
MARGIN_NOT_MODIFIED: Final = 110026
HAS_ORDERS: Final = 110028
LEVERAGE_NOT_MODIFIED: Final = 110043
TOO_MANY_PARTIAL_STOPS: Final = 110061
NOT_RISING: Final = 110092
NOT_FALLING: Final = 110093
MARGIN_MODE_FAILED: Final = 3400045

_WORDS: Final = {
    TIMEOUT: "Server Timeout",
    PARAMETER: "Request parameter error.",
    CLOCK: "invalid request, please check your server timestamp or recv_window param.",
    KEY: "API key is invalid.",
    SIGNATURE: "error sign! please check your signature generation algorithm.",
    PERMISSION: "Permission denied, please check your API key permissions.",
    RATE: "Too many visits. Exceeded the API Rate Limit.",
    IP: "Unmatched IP, please check your API key's bound IP addresses.",
    SERVER: "Internal System Error.",
    UNKNOWN_OP: "op type is not found, or category is not supported",
    ALREADY_AUTHENTICATED: "Repeat auth",
    DUPLICATE_REQUEST_ID: "reqId is duplicated",
    EXPIRED_KEY: "Your api key has expired.",
    STOP_NOT_MODIFIED: "not modified",
    NO_ORDER: "order not exists or too late to cancel",
    COMPLETED: "The order has been completed or cancelled.",
    TOO_MANY_STOPS: "The number of stop orders exceeds the maximum allowable limit",
    CANCELED: "The order has been cancelled",
    LEVERAGE_RISK: "Cannot set leverage due to risk limit level.",
    NOTHING_TO_REDUCE: "current position is zero, cannot fix reduce-only order qty",
    TOO_MANY_ORDERS: "Not allowed to have more than 500 active orders.",
    HAS_POSITION: "You have an existing position, so the position mode cannot be switched.",
    MODE_NOT_MODIFIED: "Position mode is not modified",
    MARGIN_NOT_MODIFIED: "Cross/isolated margin mode is not modified",
    HAS_ORDERS: "You have existing open orders, so the position mode cannot be switched.",
    LEVERAGE_NOT_MODIFIED: "leverage not modified",
    TOO_MANY_PARTIAL_STOPS: "Not allowed to have more than 20 TP/SLs under Partial tpSlMode",
    MARGIN_MODE_FAILED: "Set margin mode failed",
}


class BybitError(Exception):
    """A refusal in the venue's terms. result: what the answer carries beside it."""

    def __init__(self, code: int, words: str = "", result: dict[str, Any] | None = None) -> None:
        self.code = code
        self.words = words or _WORDS.get(code, "")
        self.result: dict[str, Any] = result or {}
        super().__init__(f"{code} {self.words}")


def parameter(words: str) -> BybitError:
    """Return the refusal of a parameter."""
    return BybitError(PARAMETER, f"params error: {words}")


def of_refusal(refused: Refused) -> BybitError:
    """Return what the simulated exchange said, as the venue says it."""
    return BybitError(int(refused.code), refused.reason)
