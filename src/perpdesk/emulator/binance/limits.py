"""Request weight by address and wall minute, order counts by account: what the headers tell."""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from perpdesk.emulator.binance.errors import ApiError

WEIGHT_LIMIT: Final = 2_400
ORDERS_10S: Final = 300
ORDERS_1M: Final = 1_200
TOLERATED: Final = 10
"""How often a client may call on after 429 before it is banned."""

BAN_S: Final = 120


@dataclass(slots=True)
class _Used:
    minute: int = 0
    weight: int = 0
    refused: int = 0
    banned_until: float = 0.0


class Limits:
    """Counts what clients use. wall: seconds since the epoch.

    venue_ms: the time that the venue shows, by which bans are dated; the wall's unless given.
    """

    def __init__(
        self,
        weight_limit: int = WEIGHT_LIMIT,
        wall: Callable[[], float] = time.time,
        venue_ms: Callable[[], int] | None = None,
    ) -> None:
        self.weight_limit = weight_limit
        self._wall = wall
        self._venue_ms = venue_ms or (lambda: int(wall() * 1000))
        self._used: defaultdict[str, _Used] = defaultdict(_Used)
        self._orders: defaultdict[str, deque[tuple[float, int, int]]] = defaultdict(deque)

    def charge(self, address: str, weight: int) -> None:
        """Add the weight of a call. Raises ApiError: 429 above the limit, 418 when banned."""
        used, now = self._of(address), self._wall()
        if now < used.banned_until:
            raise self._banned(used.banned_until - now)
        used.weight += weight
        if used.weight <= self.weight_limit:
            return
        used.refused += 1
        if used.refused > TOLERATED:
            used.banned_until = now + BAN_S
            raise self._banned(used.banned_until - now)
        error = ApiError(-1003, self.weight_limit)
        error.headers["Retry-After"] = str(max(1, math.ceil((used.minute + 1) * 60 - now)))
        raise error

    def weight_of(self, address: str) -> int:
        """Return the weight used in this minute."""
        return self._of(address).weight

    def _banned(self, seconds: float) -> ApiError:
        until_ms = self._venue_ms() + int(seconds * 1000)
        text = f"Way too many requests; IP(127.0.0.1) banned until {until_ms}. "
        text += "Please use the websocket for live updates to avoid bans."
        error = ApiError(-1003, text=text)
        error.status = 418
        error.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
        return error

    def _of(self, address: str) -> _Used:
        used, minute = self._used[address], int(self._wall() // 60)
        if used.minute != minute:
            used.minute, used.weight, used.refused = minute, 0, 0
        return used

    def count_orders(self, account_id: str, in_10s: int, in_1m: int) -> None:
        """Add orders of an account. Raises ApiError above the limit."""
        counts = self.orders_of(account_id)
        if counts[0] + in_10s > ORDERS_10S:
            raise ApiError(-1015, ORDERS_10S, "10 SECOND")
        if counts[1] + in_1m > ORDERS_1M:
            raise ApiError(-1015, ORDERS_1M, "MINUTE")
        self._orders[account_id].append((self._wall(), in_10s, in_1m))

    def orders_of(self, account_id: str) -> tuple[int, int]:
        """Return the orders of an account in the last 10 s, and in the last minute."""
        now, recent = self._wall(), self._orders[account_id]
        while recent and recent[0][0] <= now - 60:
            recent.popleft()
        in_10s = sum(short for at, short, _ in recent if at > now - 10)
        return in_10s, sum(long for _, _, long in recent)

    def headers(self, address: str, account_id: str | None) -> dict[str, str]:
        """Return the headers of an answer."""
        headers = {"X-MBX-USED-WEIGHT-1M": str(self.weight_of(address))}
        if account_id is not None:
            in_10s, in_1m = self.orders_of(account_id)
            headers["X-MBX-ORDER-COUNT-10S"] = str(in_10s)
            headers["X-MBX-ORDER-COUNT-1M"] = str(in_1m)
        return headers

    def rows(self, address: str, account_id: str | None) -> list[dict[str, object]]:
        """Return the same as the WebSocket API's `rateLimits`."""
        rows: list[dict[str, object]] = []
        if account_id is not None:
            in_10s, in_1m = self.orders_of(account_id)
            rows = [
                {**limit_row("ORDERS", "SECOND", 10, ORDERS_10S), "count": in_10s},
                {**limit_row("ORDERS", "MINUTE", 1, ORDERS_1M), "count": in_1m},
            ]
        weight = limit_row("REQUEST_WEIGHT", "MINUTE", 1, self.weight_limit)
        return [*rows, {**weight, "count": self.weight_of(address)}]


def limit_row(kind: str, interval: str, number: int, limit: int) -> dict[str, object]:
    """Return one limit as the venue writes it."""
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
