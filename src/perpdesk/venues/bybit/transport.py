"""One request at a time through pybit: signed by venue time, within the budget, never resent.

pybit works in threads, one session per thread. Three of its habits are taken out by overriding the
method that has them, which touches no other user of pybit in this process:

- `_prepare_headers` signs with the local clock: ours signs with `VenueClock`. (The alternative, to
  replace `pybit._helpers.generate_timestamp`, is global: two venues would share one clock.)
- `_handle_response` retries, sleeps and widens recv_window: ours returns the answer as it came, so
  that codes.py alone decides.
- `_check_status_code` forgets the body: ours keeps its beginning, to tell a web page from an API.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import requests
from pybit.unified_trading import HTTP
from urllib3.exceptions import HTTPError

from perpdesk.domain.errors import PerpdeskError, VenueRejected, VenueUnavailable
from perpdesk.venues.bybit import calls, codes
from perpdesk.venues.bybit.calls import IP, POOLS, Call
from perpdesk.venues.bybit.failures import NotAnswered, http_error, network_error
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.endpoints import Credentials
from perpdesk.venues.rate_limit import Lane, RateBudget

RECV_WINDOW_MS: Final = 5_000
BAN_S: Final = 600.0
"""How long to stop after HTTP 403 "access too frequent". Source: reference/exchanges.md 5."""
CLOCK_MAX_AGE_MS: Final = 300_000
RATE_LIMIT_PAUSE_S: Final = 1.0
PAUSE_MOST_S: Final = 60.0
_NEVER_SENT: Final = 99999
"""A code that does not exist: pybit takes an empty set of retry codes for its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds: to connect, between two parts of an answer, and for a whole call."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole v5 envelope, and the headers that came with it."""

    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def code(self) -> int:
        """Return the retCode."""
        return int(self.body["retCode"])

    @property
    def result(self) -> dict[str, Any]:
        """Return what was asked for."""
        found = self.body.get("result")
        return found if isinstance(found, dict) else {}


class _Session(HTTP):  # type: ignore[misc]
    """pybit's HTTP without its own clock, retries and handlers of logs."""

    def __init__(self, *, now_ms: Callable[[], int], **options: Any) -> None:
        self._now_ms = now_ms
        super().__init__(**options)

    def __post_init__(self) -> None:
        log = logging.getLogger("pybit._http_manager")
        before = list(log.handlers)
        super().__post_init__()
        # Each object adds another handler to the one logger, and each line would come many times.
        log.handlers[:] = before
        # Whoever answers with another address is not the venue: it must not get what is signed.
        self.client.max_redirects = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint})"  # pybit's own would show the secret.

    def _prepare_headers(
        self, payload: str, recv_window: int, content_type: str = "application/json"
    ) -> dict[str, str]:
        timestamp = self._now_ms()
        return {
            "Content-Type": content_type,
            "X-BAPI-API-KEY": self.api_key,
            "X-BAPI-SIGN": self._auth(payload, recv_window, timestamp),
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-TIMESTAMP": str(timestamp),
            "X-BAPI-RECV-WINDOW": str(recv_window),
        }

    def _check_status_code(self, response: requests.Response, *_: Any) -> None:
        if response.status_code != requests.codes.ok:
            raise NotAnswered(response.status_code, response.headers, response.text)

    def _handle_response(self, response: requests.Response, *_: Any) -> Answer:
        try:
            body = json.loads(response.content)
        except ValueError:
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("retCode"), int):
            raise NotAnswered(response.status_code, response.headers, response.text)
        return Answer(body=body, headers=response.headers)


class Transport:
    """Calls of one key to one address. Close it: its threads and connections are its own.

    rest: base address. clock, budget: of the venue, shared by everything that talks to it.
    """

    def __init__(
        self,
        rest: str,
        credentials: Credentials | None,
        *,
        clock: VenueClock,
        budget: RateBudget,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.rest = rest
        self.clock = clock
        self.budget = budget
        self._credentials = credentials
        self._timeouts = timeouts or Timeouts()
        # Questions and downloads have threads of their own: an order never waits behind them.
        self._trading = ThreadPoolExecutor(8, thread_name_prefix="bybit")
        self._queries = ThreadPoolExecutor(8, thread_name_prefix="bybit-query")
        self._history = ThreadPoolExecutor(6, thread_name_prefix="bybit-history")
        self._under_way: set[Future[Answer]] = set()
        self._own = threading.local()
        self._sessions: list[_Session] = []
        self._lock = threading.Lock()
        self._measuring = asyncio.Lock()
        self._remeasuring: asyncio.Task[None] | None = None

    @property
    def is_signed(self) -> bool:
        """Tell whether there is a key to sign with."""
        return self._credentials is not None

    async def call(
        self,
        call: Call,
        parameters: Mapping[str, Any] | None = None,
        *,
        lane: Lane,
        units: int = 1,
        passes: frozenset[int] = frozenset(),
    ) -> Answer:
        """Make a call and return its answer, whose code is 0 or one of `passes`.

        units: what it takes of the account's pool. A refused clock (10002) is measured again and
        the same parameters, so the same client order id, are signed anew, once. Raises
        VenueRejected, VenueUnavailable or, for a call that changes something, OutcomeUnknown.
        """
        if call.pool is not None and self._credentials is None:
            raise VenueRejected(
                f"{call.name} needs an API key of Bybit, and none is set",
                code=str(10003),
                next_step="Set the key and the secret of this leg in the settings.",
            )
        if call.pool is not None:
            self._keep_time()
        answer = await self._once(call, parameters or {}, lane=lane, units=units)
        if answer.code == codes.CLOCK and call is not calls.TIME:
            await self.measure_clock()
            answer = await self._once(call, parameters or {}, lane=lane, units=units)
        if answer.code == codes.OK or answer.code in passes:
            return answer
        if answer.code == codes.RATE_LIMIT:
            self.budget.retry_after(self._until_reset_s(answer.headers))
        raise codes.error_of(
            answer.code,
            str(answer.body.get("retMsg", "")) + _reasons(answer),
            changes=call.changes,
            asked=call.name,
        )

    async def measure_clock(self) -> int:
        """Measure the venue's clock and return the offset; one measurement at a time."""
        async with self._measuring:
            return await self.clock.measure(self.server_ms)

    async def server_ms(self) -> int:
        """Return the venue's own time."""
        answer = await self.call(calls.TIME, lane=Lane.QUERY)
        try:
            return int(answer.result["timeNano"]) // 1_000_000
        except (KeyError, TypeError, ValueError) as oddity:
            raise VenueUnavailable(
                f"Bybit's answer to {calls.TIME.name} cannot be read ({oddity!r})",
                next_step="Try again in a moment.",
            ) from oddity

    async def close(self) -> None:
        """End the threads and close the connections.

        A call that is under way ends by itself; one whose answer drips is not waited for.
        """
        if self._remeasuring is not None:
            self._remeasuring.cancel()
            await asyncio.gather(self._remeasuring, return_exceptions=True)
        for pool in (self._trading, self._queries, self._history):
            pool.shutdown(wait=False, cancel_futures=True)
        under_way = [asyncio.wrap_future(one) for one in tuple(self._under_way)]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.total_s):
                await asyncio.gather(*under_way, return_exceptions=True)
        with self._lock:
            for session in self._sessions:
                session.client.close()
            self._sessions.clear()

    # Inside.

    def _keep_time(self) -> None:
        """Measure the clock anew every few minutes, in the background: an order must not wait."""
        measured, now_ms = self.clock.measured_at_ms, self.clock.local.now_ms()
        is_old = measured is not None and not 0 <= now_ms - measured <= CLOCK_MAX_AGE_MS
        if is_old and self._remeasuring is None:
            self._remeasuring = asyncio.get_running_loop().create_task(self._remeasure())

    async def _remeasure(self) -> None:
        try:
            with suppress(PerpdeskError):  # The next call tries again, and a refusal tells.
                await self.measure_clock()
        finally:
            self._remeasuring = None

    async def _once(
        self, call: Call, parameters: Mapping[str, Any], *, lane: Lane, units: int
    ) -> Answer:
        costs = {IP: 1} if call.pool is None else {IP: 1, call.pool: units}
        await self.budget.spend(lane, costs)
        pool = self._trading
        if lane >= Lane.QUERY and not call.changes:
            pool = self._history if lane is Lane.HISTORY else self._queries
        try:
            async with asyncio.timeout(self._timeouts.total_s):
                sending = pool.submit(self._send, call, dict(parameters))
                self._under_way.add(sending)
                sending.add_done_callback(self._under_way.discard)
                answer = await asyncio.wrap_future(sending)
        except TimeoutError:
            raise codes.unclear(
                f"{call.name} had no whole answer within {self._timeouts.total_s:g} s",
                changes=call.changes,
            ) from None
        except NotAnswered as refusal:
            self._heed(refusal)
            raise http_error(refusal, call, host=self.rest) from None
        except (requests.RequestException, HTTPError) as error:
            raise network_error(error, call, host=self.rest) from error
        self._observe(call, answer.headers)
        return answer

    def _send(self, call: Call, parameters: dict[str, Any]) -> Answer:
        """Send in a worker thread."""
        method = getattr(self._session(), call.method)
        answer: Answer = method(**parameters)
        return answer

    def _session(self) -> _Session:
        session: _Session | None = getattr(self._own, "session", None)
        if session is None:
            key = self._credentials
            session = _Session(
                now_ms=self.clock.timestamp_ms,
                api_key=key.key if key else None,
                api_secret=key.secret.get_secret_value() if key else None,
                timeout=(self._timeouts.connect_s, self._timeouts.read_s),
                recv_window=RECV_WINDOW_MS,
                retry_codes={_NEVER_SENT},
                force_retry=False,
                max_retries=1,
                return_response_headers=True,
            )
            session.endpoint = self.rest
            self._own.session = session
            with self._lock:
                self._sessions.append(session)
        return session

    def _observe(self, call: Call, headers: Mapping[str, str]) -> None:
        """Take the account's own count; public answers carry none that means anything."""
        if call.pool is None:
            return
        try:
            limit, left = int(headers["X-Bapi-Limit"]), int(headers["X-Bapi-Limit-Status"])
        except (KeyError, ValueError):
            return
        # Never more than the pool's own: a key of a higher level has higher limits per endpoint,
        # but the pool stands for several of them.
        if 0 <= left <= limit:
            self.budget.observe(call.pool, min(limit - left, POOLS[call.pool].limit))

    def _heed(self, refusal: NotAnswered) -> None:
        """Hold or stop all calls where HTTP itself says that there were too many."""
        if refusal.status == requests.codes.forbidden:
            reason = "Bybit answered HTTP 403: too many requests from this address, or its country"
            self.budget.stop(BAN_S, reason)
        elif refusal.status == requests.codes.too_many_requests:
            self.budget.retry_after(self._until_reset_s(refusal.headers))

    def _until_reset_s(self, headers: Mapping[str, str]) -> float:
        try:
            reset_ms = int(headers["X-Bapi-Limit-Reset-Timestamp"])
        except (KeyError, ValueError):
            return RATE_LIMIT_PAUSE_S
        # It may lie in the past already, and a wrong one must not silence us for an hour.
        wait_s = (reset_ms - self.clock.now_ms()) / 1000
        return min(max(wait_s, 0.05), PAUSE_MOST_S)


def _reasons(answer: Answer) -> str:
    """Return the reasons that a refused margin mode comes with."""
    reasons = answer.result.get("reasons")
    if not isinstance(reasons, list):
        return ""
    return ": " + "; ".join(str(one.get("reasonMsg", "")) for one in reasons)
