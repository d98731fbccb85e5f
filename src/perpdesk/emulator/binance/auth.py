"""Who calls, and whether the call is theirs and fresh.

The clock: a world may run at another speed than the wall, while clients sign with the time of
/fapi/v1/time, with an offset that they once measured by it, or with their own clock. So a timestamp
is good if it fits any of three clocks: virtual time, the wall, or the wall shifted as an answer of
/fapi/v1/time has lately shown it. The clock-skew fault moves all three, and what /time says.
"""

import hashlib
import hmac
import time
from collections import deque
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote, unquote_plus

from perpdesk.domain.candles import Venue
from perpdesk.emulator.accounts import Account, ApiKey
from perpdesk.emulator.binance.calls import Params
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.world import World

AHEAD_MS: Final = 1_000
USUAL_WINDOW_MS: Final = 5_000
WIDEST_WINDOW_MS: Final = 60_000
_KEPT_OFFSETS: Final = 256


def sign(secret: str, payload: str) -> str:
    """Return the signature of a payload."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def split_signature(query: str, body: str) -> tuple[str, str]:
    """Return (what was signed, signature): query and body without a separator, signature last.

    Raises ApiError where there is none.
    """
    for place, part in enumerate((query, body)):
        before, found, signature = part.rpartition("signature=")
        if found and "&" not in signature and (not before or before.endswith("&")):
            before = before.removesuffix("&")
            return (before + body if place == 0 else query + before), signature
    raise ApiError(-1102, "signature")


class Gate:
    """Checks keys, signatures and timestamps. wall: seconds since the epoch."""

    def __init__(self, world: World, wall: Callable[[], float] = time.time) -> None:
        self._world = world
        self._wall = wall
        self._offsets: deque[int] = deque(maxlen=_KEPT_OFFSETS)

    # The clock.

    @property
    def skew_ms(self) -> int:
        """Return how far the venue's clock is off."""
        fault = self._world.faults.active(FaultKind.CLOCK_SKEW, Venue.BINANCE)
        return 0 if fault is None else int(fault.value)

    def venue_ms(self) -> int:
        """Return the venue's time: that of the markets, and what a fault adds."""
        return self._world.now_ms + self.skew_ms

    def tell_time(self) -> int:
        """Return what /fapi/v1/time says, and remember how far it is from the wall's."""
        told = self.venue_ms()
        self._offsets.append(told - self.skew_ms - self._wall_ms())
        return told

    def _wall_ms(self) -> int:
        return int(self._wall() * 1000)

    def check_time(self, params: Params) -> None:
        """Raise ApiError unless the timestamp lies within the window."""
        sent = params.integer("timestamp")
        if sent is None:
            raise ApiError(-1102, "timestamp")
        window = params.integer("recvWindow")
        window = USUAL_WINDOW_MS if window is None else window
        if not 0 < window <= WIDEST_WINDOW_MS:
            raise ApiError(-1130, "recvWindow")
        wall, skew = self._wall_ms(), self.skew_ms
        clocks = [self.venue_ms(), wall + skew]
        clocks += [wall + offset + skew for offset in self._offsets]
        if not any(-AHEAD_MS < now - sent <= window for now in clocks):
            raise ApiError(-1021)

    # Keys.

    def enter(self, key: str, address: str) -> tuple[ApiKey, Account]:
        """Return the key and its account. Raises ApiError for what may not enter."""
        if not key:
            raise ApiError(-2014)
        found = self._world.venues[Venue.BINANCE].accounts.keys.get(key)
        if found is None:
            raise ApiError(-2015)
        known, account = found
        if known.allowed_ips and address not in known.allowed_ips:
            raise ApiError(-2015)
        if known.expires_ms is not None and self._world.now_ms >= known.expires_ms:
            raise ApiError(-2015)
        return known, account

    @staticmethod
    def check_signature(secret: str, payload: str, signature: str) -> None:
        """Raise ApiError unless the text was signed, as sent or before it was percent-encoded."""
        given = signature.lower()
        for text in dict.fromkeys((payload, unquote(payload), unquote_plus(payload))):
            if hmac.compare_digest(sign(secret, text).encode(), given.encode()):
                return
        raise ApiError(-1022)
