"""Calls that got no envelope of v5: what HTTP, the network or TLS said instead, in words.

What surely was never sent, or was surely refused, is VenueUnavailable or VenueRejected; the rest of
what changes something is OutcomeUnknown.
"""

import ssl
from collections.abc import Mapping
from typing import Final

import requests
from urllib3.exceptions import NewConnectionError

from perpdesk.domain.errors import PerpdeskError, VenueRejected, VenueUnavailable
from perpdesk.venues.bybit import codes
from perpdesk.venues.bybit.calls import Call

_SYSTEMS: Final = ("builtins", "socket")
_BODY_SHOWN: Final = 200


class NotAnswered(Exception):
    """HTTP said something else than 200, or the body is no envelope of v5."""

    def __init__(self, status: int, headers: Mapping[str, str], body: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


def http_error(refusal: NotAnswered, call: Call, *, host: str) -> PerpdeskError:
    """Return the error of an answer that is not HTTP 200, or no JSON of the API."""
    status, beginning = refusal.status, " ".join(refusal.body.split())[:_BODY_SHOWN]
    told = f"{host} answered {call.name} with HTTP {status}: {beginning}"
    if status == requests.codes.forbidden:
        return VenueUnavailable(
            told, next_step="No call is made for ten minutes; nothing was done."
        )
    if status == requests.codes.too_many_requests:
        return VenueUnavailable(told, next_step="Wait, then try again; nothing was done.")
    if status == requests.codes.unauthorized:
        return VenueRejected(told, code=str(status), next_step="Check the key.")
    if status == requests.codes.not_found:
        advice = "Check the address of the venue."
        return VenueRejected(told, code=str(status), next_step=advice)
    if status == requests.codes.ok:
        html = beginning.lower().startswith(("<!doctype", "<html"))
        what = "a web page" if html else "a body that is no whole JSON of the API"
        told = f"{host} answered {call.name} with {what}: {beginning}"
    return codes.unclear(told, changes=call.changes)


def network_error(error: Exception, call: Call, *, host: str) -> PerpdeskError:
    """Return the error of a call whose connection failed before, or broke while, it was made."""
    causes = _causes(error)
    distrusted = any(isinstance(one, ssl.SSLCertVerificationError) for one in causes)
    no_tls = any(isinstance(one, ssl.SSLError) for one in causes) and "WRONG_VERSION" in str(error)
    if distrusted or no_tls:
        return VenueUnavailable(
            f"{host} cannot be trusted: its TLS certificate or protocol was refused ({error})",
            next_step="Check the address and this machine's clock and certificates; "
            "nothing was sent.",
        )
    never_sent = (NewConnectionError, requests.exceptions.ConnectTimeout)
    if any(isinstance(one, never_sent) for one in causes):
        return VenueUnavailable(
            f"{host} cannot be reached ({_innermost(causes)})",
            next_step="Check the network and the address; nothing was sent.",
        )
    malformed = requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema
    if isinstance(error, (*malformed, requests.exceptions.MissingSchema)):
        return VenueUnavailable(
            f"{host} is no address that can be called ({error})",
            next_step="Write it as https://host, without a path.",
        )
    return codes.unclear(
        f"the connection to {host} broke during {call.name} ({type(error).__name__})",
        changes=call.changes,
    )


def _innermost(causes: list[BaseException]) -> str:
    """Return the system's own words, without the library's wrapping around them."""
    for one in causes:
        if isinstance(one, OSError) and one.strerror and type(one).__module__ in _SYSTEMS:
            return one.strerror
    return type(causes[0]).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and what it wraps, by whichever attribute the library keeps it in."""
    found: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        one = pending.pop()
        if not isinstance(one, BaseException) or one in found:
            continue
        found.append(one)
        pending += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found
