"""Who asks, and whether the stamp and the signature are good.

A request is accepted iff server - recv_window <= timestamp < server + 1000. The emulator's time is
virtual, while SDKs stamp by the computer's clock: a stamp is good if it fits either clock. Where
virtual time does not run at the wall's pace, every measured offset is stale at once, so a stamp of
virtual time is then only asked to lie within what has been played. A skewed clock (the fault)
shifts what the venue says the time is, and both clocks by which it judges; then nothing is lenient
but that there are two clocks. Source: reference/exchanges.md 2.2.
"""

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import unquote

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.emulator.accounts import Account, ApiKey
from perpdesk.emulator.bybit import errors
from perpdesk.emulator.bybit.errors import BybitError
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.world import World

DEFAULT_WINDOW_MS: Final = 5_000
AHEAD_MS: Final = 1_000


def signature(secret: str, text: str) -> str:
    """Return the HMAC-SHA256 in hex."""
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


def wall_ms() -> int:
    """Return the computer's clock."""
    return time.time_ns() // 1_000_000


class Gate:
    """Lets requests in by key, stamp and signature."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._began_ms = world.now_ms

    # Clocks.

    @property
    def skew_ms(self) -> int:
        """Return how far the venue's clock is off on purpose."""
        fault = self.world.faults.active(FaultKind.CLOCK_SKEW, Venue.BYBIT)
        return 0 if fault is None else int(fault.value)

    @property
    def server_ms(self) -> int:
        """Return what the venue says the time is."""
        return self.world.now_ms + self.skew_ms

    def check_stamp(self, stamp_ms: int, window_ms: int) -> None:
        """Raise BybitError (10002) unless the stamp fits one of the clocks."""
        skew = self.skew_ms
        for clock in (self.world.now_ms + skew, wall_ms() + skew):
            if clock - window_ms <= stamp_ms < clock + AHEAD_MS:
                return
        if not skew and self._is_of_the_play(stamp_ms):
            return
        raise BybitError(
            errors.CLOCK,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp_ms}],server_timestamp[{self.server_ms}],"
            f"recv_window[{window_ms}]",
        )

    def _is_of_the_play(self, stamp_ms: int) -> bool:
        if self.world.clock.speed == 1.0:
            return False
        return self._began_ms - HOUR_MS <= stamp_ms < max(self.world.now_ms, wall_ms() - HOUR_MS)

    def has_expired(self, expires_ms: int) -> bool:
        """Tell whether a socket's `expires` is over, by the clock that it is nearer to."""
        skew, clocks = self.skew_ms, (self.world.now_ms, wall_ms())
        nearest = min(clocks, key=lambda clock: abs(clock - expires_ms))
        if nearest == clocks[0] and not skew and self.world.clock.speed != 1.0:
            return expires_ms < self._began_ms
        return expires_ms <= nearest + skew

    # Keys.

    def of_request(
        self, headers: Mapping[str, str], payload: str, address: str
    ) -> tuple[ApiKey, Account]:
        """Return whose request it is. payload: query string or body as sent. Raises BybitError."""
        name, stamp = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-TIMESTAMP", "")
        window = headers.get("X-BAPI-RECV-WINDOW", "")
        key, account = self.of_key(name, address)
        if not stamp.isdecimal() or (window and not window.isdecimal()):
            raise errors.parameter("X-BAPI-TIMESTAMP and X-BAPI-RECV-WINDOW must be milliseconds")
        self.check_stamp(int(stamp), int(window or DEFAULT_WINDOW_MS))
        given = headers.get("X-BAPI-SIGN", "")
        for text in (payload, unquote(payload)):
            if _is_same(signature(key.secret, f"{stamp}{name}{window}{text}"), given):
                return key, account
        raise BybitError(
            errors.SIGNATURE,
            "error sign! please check your signature generation algorithm. "
            f"origin_string[{stamp}{name}{window}{payload}]",
        )

    def of_socket(
        self, name: str, expires: object, given: str, address: str
    ) -> tuple[ApiKey, Account]:
        """Return whose socket it is. Raises BybitError."""
        key, account = self.of_key(name, address)
        if not str(expires).isdecimal() or self.has_expired(int(str(expires))):
            raise BybitError(errors.CLOCK, "Params Error: expires has passed")
        if not _is_same(signature(key.secret, f"GET/realtime{expires}"), given):
            raise BybitError(errors.SIGNATURE)
        return key, account

    def of_key(self, name: str, address: str) -> tuple[ApiKey, Account]:
        """Return key and account of a name. Raises BybitError."""
        found = self.world.venues[Venue.BYBIT].accounts.keys.get(name)
        if found is None:
            raise BybitError(errors.KEY)
        key, account = found
        if key.allowed_ips and address not in key.allowed_ips:
            raise BybitError(errors.IP)
        if key.expires_ms is not None and self.world.now_ms >= key.expires_ms:
            raise BybitError(errors.EXPIRED_KEY)
        return key, account


def _is_same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode(errors="replace"))
