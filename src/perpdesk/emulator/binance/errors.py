"""Refusals in Binance's words: code, message, HTTP status.

Source: reference/exchanges.md 3.6 and the documentation it names, read 2026-11.
"""

import math
from collections.abc import Mapping
from typing import Final

import orjson
from aiohttp import web

from perpdesk.emulator.accounts import Refused
from perpdesk.emulator.faults import FaultKind

MESSAGES: Final[Mapping[int, str]] = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1003: "Too many requests; current limit of IP(127.0.0.1) is {} requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    -1015: "Too many new orders; current limit is {} orders per {}.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1102: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    -1103: "An unknown parameter was sent.",
    -1106: "Parameter '{}' sent when not required.",
    -1111: "Precision is over the maximum defined for this asset.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1125: "This listenKey does not exist.",
    -1127: "Lookup interval is too big.",
    -1130: "Data sent for parameter '{}' is not valid.",
    -2007: "Invalid callBack rate.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2025: "Reach max open order limit.",
    -2027: "Exceeded the maximum allowable position at current leverage.",
    -4002: "Price greater than max price.",
    -4003: "Quantity less than or equal to zero.",
    -4004: "Quantity less than min quantity.",
    -4005: "Quantity greater than max quantity.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id is not valid.",
    -4023: "Qty not increased by step size.",
    -4028: "Leverage {} is not valid",
    -4045: "Reach max stop order limit.",
    -4046: "No need to change margin type.",
    -4047: "Margin type cannot be changed if there exists open orders.",
    -4048: "Margin type cannot be changed if there exists position.",
    -4050: "Cross balance insufficient.",
    -4051: "Isolated balance insufficient.",
    -4054: "Cannot add position margin: position is 0.",
    -4055: "Amount must be positive.",
    -4056: "HMAC_SHA256 API key is not supported.",
    -4059: "No need to change position side.",
    -4061: "Order's position side does not match user's setting.",
    -4067: "Position side cannot be changed if there exists open orders.",
    -4068: "Position side cannot be changed if there exists position.",
    -4116: "ClientOrderId is duplicated.",
    -4120: "Order type not supported for this endpoint. Please use the Algo Order API endpoints "
    "instead.",
    -4137: "Quantity must be zero with closePosition equals true.",
    -4138: "Reduce only must be true with closePosition equals true.",
    -4161: "Leverage reduction is not supported in Isolated Margin Mode with open positions.",
    -4168: "Unable to adjust to Multi-Assets mode: this exchange margins in one asset.",
    -4171: "No need to change Multi-Assets mode.",
    -5000: "Path {}, Method {} is invalid",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history.",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be "
    "rejected. The order will not be recorded in the order history.",
    -5027: "No need to modify the order.",
    -5037: "Invalid price match.",
    -5040: "The goodTillDate timestamp must be greater than the current time plus 600 seconds "
    "and smaller than 253402300799000.",
}
_STATUS: Final[Mapping[int, int]] = {-2014: 401, -2015: 401, -1003: 429, -1015: 429, -5000: 404}


class ApiError(Exception):
    """A refusal. parts: what the message names; text: a message of its own."""

    def __init__(self, code: int, *parts: object, text: str = "") -> None:
        self.code = code
        self.message = text or MESSAGES.get(code, "Rejected.").format(*parts)
        self.status = _STATUS.get(code, 400)
        self.headers: dict[str, str] = {}
        super().__init__(f"{code} {self.message}")

    def body(self) -> dict[str, object]:
        """Return the JSON body."""
        return {"code": self.code, "msg": self.message}


def of_refused(refused: Refused) -> ApiError:
    """Return the exchange's refusal as the venue words it, with our reason where it has none."""
    code = int(refused.code)
    known = code in MESSAGES and "{}" not in MESSAGES[code]
    return ApiError(code, text="" if known else refused.reason)


def json_response(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON answer."""
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )


def failure(kind: FaultKind, seconds: float, *, weight_limit: int, venue_ms: int) -> web.Response:
    """Return what the venue, or what stands before it, answers in trouble.

    venue_ms: the time that the venue shows, by which a ban is dated.
    """
    wait = {"Retry-After": str(max(1, math.ceil(seconds)))}
    match kind:
        case FaultKind.RATE_LIMIT:
            return json_response(ApiError(-1003, weight_limit).body(), 429, wait)
        case FaultKind.BAN:
            until_ms = venue_ms + int(seconds * 1000)
            text = f"Way too many requests; IP(127.0.0.1) banned until {until_ms}. "
            text += "Please use the websocket for live updates to avoid bans."
            return json_response(ApiError(-1003, text=text).body(), 418, wait)
        case FaultKind.FORBIDDEN:
            page = "<html>\n<head><title>403 Forbidden</title></head>\n<body>\n"
            page += "<center><h1>403 Forbidden</h1></center>\n</body>\n</html>\n"
            return web.Response(text=page, status=403, content_type="text/html")
        case FaultKind.UNKNOWN:
            text = "Unknown error, please check your request or try again later."
            return json_response(ApiError(-1000, text=text).body(), 503)
        case FaultKind.MAINTENANCE:
            return json_response(ApiError(-1000, text="Service Unavailable.").body(), 503)
    return json_response(ApiError(-1001).body(), 500)
