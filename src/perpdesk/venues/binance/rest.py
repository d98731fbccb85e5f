"""One request to Binance: budget, signature, one answer, one error. Everything goes through here.

The SDK's AsyncClient signs and sends; its retries do not exist, its spot ping is not used, and its
window is ours. Traps: reference/exchanges.md 7.1.
"""

import asyncio
import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from perpdesk.domain.errors import (
    OutcomeUnknown,
    PerpdeskError,
    UsageRefused,
    VenueRejected,
    VenueUnavailable,
)
from perpdesk.venues.binance import codes
from perpdesk.venues.binance.fields import MalformedMessage
from perpdesk.venues.binance.sdk import AsyncClient
from perpdesk.venues.binance.wire import is_error
from perpdesk.venues.binance.wire_market import server_time_ms, symbols_of
from perpdesk.venues.binance.words import UnknownWord
from perpdesk.venues.clock import SystemTime, VenueClock
from perpdesk.venues.endpoints import Credentials, Endpoints
from perpdesk.venues.rate_limit import Lane, Pool, RateBudget

Result = TypeVar("Result")

RECV_WINDOW_MS: Final = 5_000
TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
CLOCK_MAX_AGE_MS: Final = 300_000
SPOT_HOST: Final = "https://api.binance.com"

WEIGHT: Final = "weight"
ORDERS_10S: Final = "orders-10s"
ORDERS_1M: Final = "orders-1m"
FUNDING: Final = "funding"
FUTURES_DATA: Final = "futures-data"
POOLS: Final = {
    WEIGHT: Pool(name=WEIGHT, limit=2400, window_ms=60_000),
    ORDERS_10S: Pool(name=ORDERS_10S, limit=300, window_ms=10_000),
    ORDERS_1M: Pool(name=ORDERS_1M, limit=1200, window_ms=60_000),
    FUNDING: Pool(name=FUNDING, limit=500, window_ms=300_000),
    FUTURES_DATA: Pool(name=FUTURES_DATA, limit=1000, window_ms=300_000),
}
_HEADERS: Final = {
    "X-MBX-USED-WEIGHT-1M": WEIGHT,
    "X-MBX-ORDER-COUNT-10S": ORDERS_10S,
    "X-MBX-ORDER-COUNT-1M": ORDERS_1M,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What to ask. costs: units by pool. changes: its loss leaves an outcome unknown."""

    method: str
    path: str
    parameters: Mapping[str, str]
    lane: Lane
    costs: Mapping[str, int]
    version: int = 1
    signed: bool = False
    changes: bool = False

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


class _Unsuccessful(Exception):
    def __init__(self, answer: codes.Answer) -> None:
        super().__init__(answer)
        self.answer = answer


class _NotJson(Exception):
    def __init__(self, body: str) -> None:
        super().__init__(body[:80])
        self.body = body


class _Client(AsyncClient):  # type: ignore[misc]  # the SDK has no types
    """The SDK's client with our addresses, our clock, and each answer's own headers."""

    REQUEST_RECVWINDOW = RECV_WINDOW_MS

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        clock: VenueClock,
        observe: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._clock = clock
        self._observe = observe
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        super().__init__(
            credentials.key if credentials else None,
            credentials.secret.get_secret_value() if credentials else None,
            # Whoever answers with another address is not the venue: it must not get what is signed.
            requests_params={"timeout": timeout, "allow_redirects": False},
        )

    def _init_session(self) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = super()._init_session()
        # aiohttp would send a PUT or DELETE again where an idle connection turns out to be closed.
        session._retry_connection = False
        return session

    @property
    def timestamp_offset(self) -> int:
        """Return what the SDK must add to its own clock to sign with the venue's."""
        return self._clock.timestamp_ms() - SystemTime().now_ms()

    @timestamp_offset.setter
    def timestamp_offset(self, value: int) -> None:
        """Ignore the SDK's own idea of the offset."""

    async def _handle_response(self, response: aiohttp.ClientResponse) -> Any:
        # `client.response` is whichever answer came last; this one is surely ours.
        self._observe(response.headers)
        body = await response.text(errors="replace")
        if not 200 <= response.status < 300:
            raise _Unsuccessful(
                codes.read_answer(status=response.status, headers=response.headers, body=body)
            )
        try:
            return json.loads(body) if body else {}
        except ValueError:
            raise _NotJson(body) from None


class BinanceRest:
    """Sends calls under one budget. Needs a running event loop; close it."""

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials | None,
        *,
        clock: VenueClock,
        budget: RateBudget,
        spot_rest: str | None = None,
    ) -> None:
        _check_address(endpoints.rest, ("http", "https"))
        for stream in filter(None, (endpoints.stream, endpoints.private_stream)):
            _check_address(stream, ("ws", "wss"))
        self.clock = clock
        self.budget = budget
        self.endpoints = endpoints
        self.has_key = credentials is not None
        self.client = _Client(credentials, clock=clock, observe=self._observe)
        self.client.FUTURES_URL = endpoints.rest + "/fapi"
        self.client.FUTURES_DATA_URL = endpoints.rest + "/futures/data"
        self.client.MARGIN_API_URL = (spot_rest or spot_address(endpoints.rest)) + "/sapi"
        self.known_symbols: tuple[str, ...] = ()
        self._measuring = asyncio.Lock()
        self._remeasuring: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._remeasuring is not None:
            self._remeasuring.cancel()
            await asyncio.gather(self._remeasuring, return_exceptions=True)
        await self.client.close_connection()

    async def get(
        self,
        path: str,
        parameters: Mapping[str, str] | None = None,
        *,
        weight: int = 1,
        lane: Lane = Lane.QUERY,
        version: int = 1,
        signed: bool = False,
        pool: str = WEIGHT,
    ) -> Any:
        """Read something. Raises VenueRejected or VenueUnavailable."""
        return await self.send(
            Call(
                method="get",
                path=path,
                parameters=parameters or {},
                lane=lane,
                costs={pool: weight} if weight else {},
                version=version,
                signed=signed,
            )
        )

    async def send(self, call: Call) -> Any:
        """Send one request and return its answer.

        A clock refusal is definite, so it alone is signed anew and sent once more, under the same
        client id and within the same window. Nothing else is ever sent twice but a reading that
        found its idle connection closed.
        """
        if call.signed:
            self._need_key(call)
            await self._keep_time()
        try:
            return await self._send_once(call)
        except VenueRejected as refusal:
            if refusal.code == str(codes.UNKNOWN_SYMBOL):
                raise await self._with_suggestion(refusal, call) from refusal
            if refusal.code != str(codes.CLOCK) or not call.signed:
                raise
        await self.measure_clock()
        try:
            return await self._send_once(call)
        except VenueRejected as refusal:
            if refusal.code != str(codes.CLOCK):
                raise
            raise VenueUnavailable(
                f"{refusal.message}; measuring the clock anew did not help",
                next_step=refusal.next_step,
            ) from refusal

    async def change(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        *,
        lane: Lane,
        costs: Mapping[str, int],
    ) -> Any:
        """Change something, signed. Raises OutcomeUnknown too."""
        return await self.send(
            Call(
                method=method,
                path=path,
                parameters=parameters,
                lane=lane,
                costs=costs,
                signed=True,
                changes=True,
            )
        )

    async def with_key(self, method: str, path: str, parameters: Mapping[str, str]) -> Any:
        """Send what needs the key but no signature: the calls of a listen key's life."""
        call = Call(
            method=method, path=path, parameters=parameters, lane=Lane.QUERY, costs={WEIGHT: 1}
        )
        self._need_key(call)
        return await self.send(call)

    async def _with_suggestion(self, refusal: VenueRejected, call: Call) -> VenueRejected:
        symbol = call.parameters.get("symbol", "")
        if not self.known_symbols:
            try:
                self.known_symbols = symbols_of(await self.get("exchangeInfo"))
            except PerpdeskError:
                return refusal
        return unknown_symbol(symbol, self.known_symbols)

    async def measure_clock(self) -> None:
        """Measure the offset of this machine's clock anew."""
        async with self._measuring:
            await self.clock.measure(self._ask_time)

    async def _keep_time(self) -> None:
        measured = self.clock.measured_at_ms
        now_ms = self.clock.local.now_ms()
        if measured is None:
            await self.measure_clock()
        elif not 0 <= now_ms - measured <= CLOCK_MAX_AGE_MS and self._remeasuring is None:
            # In the background: an order must not wait for five questions about the time.
            self._remeasuring = asyncio.get_running_loop().create_task(self._remeasure())

    async def _remeasure(self) -> None:
        try:
            with suppress(PerpdeskError):  # The next call tries again, and a refusal tells.
                await self.measure_clock()
        finally:
            self._remeasuring = None

    async def _ask_time(self) -> int:
        answer = await self.get("time", lane=Lane.CANCEL)
        return understand(server_time_ms, answer, what="time", changes=False)

    async def _send_once(self, call: Call) -> Any:
        await self.budget.spend(call.lane, call.costs)
        try:
            return await self._transmit(call)
        except aiohttp.ServerDisconnectedError as error:
            if call.method != "get":
                raise self._cut(call, error) from error
        try:
            return await self._transmit(call)
        except aiohttp.ServerDisconnectedError as error:
            raise self._cut(call, error) from error

    async def _transmit(self, call: Call) -> Any:
        try:
            result = await self._through_sdk(call)
            if not is_error(result):
                return result
            answer = codes.read_answer(status=200, headers={}, body=json.dumps(result))
            error = codes.error_of(answer, call=str(call), changes=call.changes)
        except _Unsuccessful as refusal:
            self._slow_down(refusal.answer)
            error = codes.error_of(refusal.answer, call=str(call), changes=call.changes)
        except _NotJson as oddity:
            error = codes.not_json(oddity.body, call=str(call), changes=call.changes)
        except aiohttp.ServerDisconnectedError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            error = self._cut(call, failure)
            if not isinstance(failure, aiohttp.ClientResponseError):
                error.__cause__ = failure  # That one's words hold the address and its signature.
        raise error

    async def _through_sdk(self, call: Call) -> Any:
        parameters = dict(call.parameters)
        if call.path.startswith("futures/data/"):
            return await self.client._request_futures_data_api(
                call.method, call.path.removeprefix("futures/data/"), data=parameters
            )
        if call.path.startswith("sapi/"):
            return await self.client._request_margin_api(
                call.method, call.path.removeprefix("sapi/"), call.signed, data=parameters
            )
        # A batch is one percent-encoded value that must travel as it was signed.
        return await self.client._request_futures_api(
            call.method,
            call.path,
            call.signed,
            call.version,
            data=parameters,
            force_params="batchOrders" in parameters,
        )

    def _need_key(self, call: Call) -> None:
        if not self.has_key:
            raise VenueRejected(
                f"{call} needs an API key, and none is set for Binance here",
                code="-2014",
                next_step="Set the key and secret of this leg in the settings.",
            )

    def _observe(self, headers: Mapping[str, str]) -> None:
        for header, pool in _HEADERS.items():
            used = headers.get(header, "")
            if used.isdigit():
                self.budget.observe(pool, int(used))

    def _slow_down(self, answer: codes.Answer) -> None:
        seconds = codes.pause_s(answer, now_ms=self.clock.now_ms())
        if seconds is None:
            return
        if answer.status in (403, 418):
            self.budget.stop(seconds, f"Binance answered HTTP {answer.status}: {answer.text}")
        else:
            self.budget.retry_after(seconds)

    def _cut(self, call: Call, failure: Exception) -> PerpdeskError:
        """Return what a connection that failed means: only before sending it is harmless."""
        said = failure.message if isinstance(failure, aiohttp.ClientResponseError) else str(failure)
        reason = said or type(failure).__name__
        host = urlsplit(self.endpoints.rest).netloc
        if isinstance(failure, aiohttp.ClientSSLError):
            return VenueUnavailable(
                f"{host} could not prove that it is Binance (TLS: {reason})",
                next_step="Check the clock, the certificates and proxies of this machine; keys "
                "were not sent.",
            )
        if isinstance(failure, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            system = getattr(failure, "os_error", None)
            if isinstance(system, OSError) and system.strerror:
                reason = re.sub(r"^Connect call failed .*", "connection refused", system.strerror)
            return VenueUnavailable(
                f"{host} cannot be reached ({reason})",
                next_step="Check the network, and the address in the settings.",
            )
        if call.changes:
            return OutcomeUnknown(
                f"the connection failed after {call} was sent ({reason}); it may have worked",
                next_step="Ask what became of it, by its client id.",
            )
        return VenueUnavailable(
            f"the connection failed during {call} ({reason})", next_step="Try again."
        )


def unknown_symbol(symbol: str, known: Sequence[str]) -> VenueRejected:
    """Return the refusal of a symbol, with the nearest ones that exist."""
    near = difflib.get_close_matches(symbol.upper(), known, n=3, cutoff=0.6)
    return VenueRejected(
        f"Binance USDⓈ-M has no symbol {symbol!r}",
        code=str(codes.UNKNOWN_SYMBOL),
        next_step=f"Did you mean {' or '.join(near)}?" if near else "Check its spelling.",
    )


def understand(parse: Callable[[Any], Result], answer: Any, *, what: str, changes: bool) -> Result:
    """Read an answer that came with success.

    An answer that makes no sense leaves the outcome of a change unknown; a reading is unread. A
    word that is not known is named to the reader, who can do nothing by trying again.
    """
    try:
        return parse(answer)
    except (MalformedMessage, KeyError, TypeError, ValueError, AttributeError) as oddity:
        problem = f"the answer to {what} cannot be read ({oddity})"
        if changes:
            raise OutcomeUnknown(problem, next_step="Ask what became of it.") from oddity
        raise VenueUnavailable(problem, next_step="Try again.") from oddity
    except UnknownWord as oddity:
        if changes:
            raise OutcomeUnknown(oddity.message, next_step=oddity.next_step) from oddity
        raise


def spot_address(rest: str) -> str:
    """Return where /sapi lives: on the spot host of the real exchange, else beside /fapi."""
    host = urlsplit(rest).hostname or ""
    return SPOT_HOST if host == "fapi.binance.com" else rest


def _check_address(address: str, schemes: tuple[str, ...]) -> None:
    parts = urlsplit(address)
    if parts.scheme not in schemes or not parts.hostname or address.endswith("/"):
        raise UsageRefused(
            f"{address!r} is not an address of Binance's API",
            next_step=f"Write it as {schemes[-1]}://host, without a slash at the end.",
        )
