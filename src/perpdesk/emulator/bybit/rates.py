"""Rate limits, counted in seconds of the wall: per key and endpoint, and per IP address.

Source: reference/exchanges.md 5.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Pool(StrEnum):
    """What an endpoint is counted as."""

    ORDER = "order"
    QUERY = "query"
    SETTING = "setting"
    SLOW = "slow"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Calls per second of each kind of endpoint, every endpoint by itself; and calls per IP."""

    order: int = 10
    query: int = 50
    setting: int = 10
    slow: int = 5
    log: int = 25
    ip_calls: int = 600
    ip_window_s: float = 5.0

    def of(self, pool: Pool) -> int:
        """Return the calls per second of a pool."""
        return int(getattr(self, pool.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a key stands with an endpoint. reset_in_ms: until the second is over."""

    limit: int
    left: int
    reset_in_ms: int

    def headers(self, client_ms: int) -> dict[str, str]:
        """Return the headers; the reset lies ahead on the clock by which the client stamps."""
        return {
            "X-Bapi-Limit": str(self.limit),
            "X-Bapi-Limit-Status": str(max(0, self.left)),
            "X-Bapi-Limit-Reset-Timestamp": str(client_ms + max(1, self.reset_in_ms)),
        }


_SECOND: Final = 1.0


@dataclass(slots=True)
class Budget:
    """Counts calls."""

    limits: Limits = field(default_factory=Limits)
    _spent: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    _by_ip: dict[str, deque[float]] = field(default_factory=dict)

    def spend(self, key: str, endpoint: str, pool: Pool, calls: int = 1) -> tuple[Standing, int]:
        """Count calls; return where the key stands and how many of them are within the limit."""
        now, limit = time.monotonic(), self.limits.of(pool)
        began, spent = self._spent.get((key, endpoint), (now, 0))
        if now - began >= _SECOND:
            began, spent = now, 0
        granted = max(0, min(calls, limit - spent))
        self._spent[key, endpoint] = (began, spent + granted)
        return Standing(
            limit=limit,
            left=limit - spent - granted,
            reset_in_ms=int((began + _SECOND - now) * 1000),
        ), granted

    def admits(self, address: str) -> bool:
        """Count a call of an address and tell whether it may be answered at all."""
        now = time.monotonic()
        calls = self._by_ip.setdefault(address, deque())
        while calls and now - calls[0] >= self.limits.ip_window_s:
            calls.popleft()
        if len(calls) >= self.limits.ip_calls:
            return False
        calls.append(now)
        return True
