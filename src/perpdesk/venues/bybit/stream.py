"""Live data of Bybit: feeds that heal themselves, over one socket of topics or of the account."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Protocol

from perpdesk.domain.errors import UsageRefused, VenueRejected
from perpdesk.domain.streams import StreamLost, StreamRestored, Subscription
from perpdesk.venues.bybit.account import BybitAccount
from perpdesk.venues.bybit.account_stream import AccountState
from perpdesk.venues.bybit.history import BybitHistory
from perpdesk.venues.bybit.market_stream import MarketState
from perpdesk.venues.bybit.market_wire import topic_of
from perpdesk.venues.bybit.sockets import PRIVATE_TOPICS, SocketAddress, open_socket
from perpdesk.venues.clock import VenueClock
from perpdesk.venues.endpoints import Credentials, Endpoints
from perpdesk.venues.feed import BoundedFeed
from perpdesk.venues.pipe import Pipe, PipeSettings

TOPIC_CHARACTERS: Final = 15_000
"""Topics of one socket: Bybit takes at most 21,000 characters of them."""
ACCOUNT_SILENCE_S: Final = 45.0
"""An account may have nothing to say, but its pings are answered every 15 s."""


class _State(Protocol):
    """What a pipe feeds: the market's or the account's."""

    def deliver(self, incoming: Any) -> None: ...

    def lost(self) -> None: ...

    async def resync(self) -> None: ...

    async def watch(self) -> None: ...


class BybitStreams:
    """Implements `domain.ports.Streams`."""

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials | None,
        *,
        history: BybitHistory,
        account: BybitAccount,
        clock: VenueClock,
        settings: PipeSettings | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._credentials = credentials
        self._history = history
        self._account = account
        self._clock = clock
        self._settings = settings or PipeSettings()

    @asynccontextmanager
    async def market(self, subscriptions: Sequence[Subscription]) -> AsyncIterator[BoundedFeed]:
        """Open a feed of market data. Raises UsageRefused for what Bybit does not stream."""
        feed = BoundedFeed()
        runners = [self._market_runner(part, feed) for part in _parts(subscriptions)]
        async with _running(runners, feed):
            yield feed

    @asynccontextmanager
    async def account(self) -> AsyncIterator[BoundedFeed]:
        """Open the feed of the account; it begins with an AccountSynchronized."""
        if self._credentials is None:
            raise VenueRejected(
                "the account's stream needs an API key of Bybit, and none is set",
                code="10003",
                next_step="Set the key and the secret of this leg in the settings.",
            )
        feed = BoundedFeed()
        address = SocketAddress(
            url=f"{self._endpoints.private_stream}/v5/private",
            channel="private",
            credentials=self._credentials,
            now_ms=self._clock.now_ms,
        )
        silence_s = max(ACCOUNT_SILENCE_S, self._settings.silence_s)

        def state_of(rebuild: Callable[[str], None]) -> _State:
            return AccountState(self._account, clock=self._clock, put=feed.put, rebuild=rebuild)

        runner = _Runner(
            "bybit-account",
            feed,
            address=address,
            topics=PRIVATE_TOPICS,
            state_of=state_of,
            clock=self._clock,
            settings=replace(self._settings, silence_s=silence_s),
        )
        async with _running([runner], feed):
            yield feed

    def _market_runner(self, part: Sequence[Subscription], feed: BoundedFeed) -> "_Runner":
        address = SocketAddress(
            url=f"{self._endpoints.stream}/v5/public/linear",
            channel="linear",
            credentials=None,
            now_ms=self._clock.now_ms,
        )

        def state_of(rebuild: Callable[[str], None]) -> _State:
            return MarketState(
                part, history=self._history, clock=self._clock, put=feed.put, rebuild=rebuild
            )

        return _Runner(
            "bybit-market",
            feed,
            address=address,
            topics=tuple(dict.fromkeys(topic_of(one) for one in part)),
            state_of=state_of,
            clock=self._clock,
            settings=self._settings,
        )


class _Runner:
    """One pipe with its state and its watch."""

    def __init__(
        self,
        name: str,
        feed: BoundedFeed,
        *,
        address: SocketAddress,
        topics: Sequence[str],
        state_of: Callable[[Callable[[str], None]], _State],
        clock: VenueClock,
        settings: PipeSettings,
    ) -> None:
        self._name = name
        self._feed = feed
        self._clock = clock
        self._state = state_of(self._rebuild)
        self._pipe = Pipe(
            name,
            connect=lambda: open_socket(address, topics, hear_pongs=address.channel == "private"),
            resync=self._state.resync,
            deliver=self._state.deliver,
            lost=self._lost,
            restored=self._restored,
            local=clock.local,
            settings=settings,
        )

    def work(self) -> tuple[Awaitable[None], ...]:
        """Return what runs until canceled."""
        return self._pipe.run(), self._state.watch()

    def _rebuild(self, reason: str) -> None:
        self._pipe.rebuild(reason)

    def _lost(self, reason: str) -> None:
        self._state.lost()
        now_ms = self._clock.now_ms()
        self._feed.put(StreamLost(stream=self._name, reason=reason, ts_init_ms=now_ms))

    def _restored(self) -> None:
        self._feed.put(StreamRestored(stream=self._name, ts_init_ms=self._clock.now_ms()))


@asynccontextmanager
async def _running(runners: Sequence[_Runner], feed: BoundedFeed) -> AsyncIterator[None]:
    """Run the pipes; the first that fails ends the feed with its error."""
    tasks = [asyncio.ensure_future(work) for runner in runners for work in runner.work()]

    def ended(task: "asyncio.Future[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            feed.close(task.exception())

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        feed.close()


def _parts(subscriptions: Sequence[Subscription]) -> list[list[Subscription]]:
    """Return the subscriptions, each topic once, in parts that one socket can carry."""
    if not subscriptions:
        raise UsageRefused("a feed of nothing: name at least one subscription")
    parts: list[list[Subscription]] = [[]]
    length = 0
    for topic, one in {topic_of(one): one for one in subscriptions}.items():
        if length + len(topic) > TOPIC_CHARACTERS:
            parts.append([])
            length = 0
        parts[-1].append(one)
        length += len(topic)
    return parts
