"""The account's stream: listen key, resync, each fact once, and a comparison against silence.

A user stream may be silent for hours and be well, or be dead: REST is asked now and then, and where
it knows more the stream is built anew. Source: reference/exchanges.md 4.1, 4.3.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from perpdesk.domain.errors import PerpdeskError, VenueRejected, VenueUnavailable
from perpdesk.domain.streams import (
    AccountSynchronized,
    StreamLost,
    StreamRestored,
)
from perpdesk.domain.venue_reports import (
    BalanceReport,
    FillReport,
    OrderReport,
    PositionReport,
)
from perpdesk.venues.binance import codes
from perpdesk.venues.binance.account_state import AccountState
from perpdesk.venues.binance.background import Background
from perpdesk.venues.binance.fields import required
from perpdesk.venues.binance.names import OrderNames
from perpdesk.venues.binance.rest import BinanceRest, understand
from perpdesk.venues.binance.sockets import SdkSocket, user_socket
from perpdesk.venues.binance.trading import BinanceTrading
from perpdesk.venues.binance.wire_user import (
    ALGO_UPDATE,
    LISTEN_KEY_EXPIRED,
    UserUpdate,
    user_updates,
)
from perpdesk.venues.binance.words import UnknownEvent
from perpdesk.venues.feed import BoundedFeed
from perpdesk.venues.pipe import Pipe, PipeSettings

log = logging.getLogger(__name__)

NAME: Final = "binance/private"
KEEP_ALIVE_S: Final = 1800.0
COMPARE_S: Final = 45.0
SECOND_LOOK_S: Final = 2.0
FILL_GRACE_S: Final = 1.0
OVERLAP_MS: Final = 60_000
QUIET_S: Final = 48 * 3600.0
"""A user stream owes no message at all: the comparison judges it, not the clock."""


class AccountStream:
    """Runs the account's pipe into a feed."""

    def __init__(
        self,
        rest: BinanceRest,
        trading: BinanceTrading,
        *,
        feed: BoundedFeed,
        settings: PipeSettings,
    ) -> None:
        self._rest = rest
        self._trading = trading
        self._names: OrderNames = trading.names
        self._feed = feed
        self._clock = rest.clock
        self._local = rest.clock.local
        self._state = AccountState()
        self._synchronized_ms: int | None = None
        self._background = Background(self._failed)
        self._pipe = Pipe(
            NAME,
            connect=self._connect,
            resync=self._resync_or_wait,
            deliver=self._deliver,
            lost=lambda reason: feed.put(
                StreamLost(stream=NAME, reason=reason, ts_init_ms=self._clock.now_ms())
            ),
            restored=lambda: feed.put(StreamRestored(stream=NAME, ts_init_ms=self._clock.now_ms())),
            local=self._local,
            settings=replace(settings, silence_s=max(settings.silence_s, QUIET_S)),
        )

    async def run(self) -> None:
        """Run until cancelled. Raises VenueRejected where the key is of no use."""
        self._background.start(self._compare_now_and_then())
        try:
            await self._pipe.run()
        finally:
            await self._background.cancel()

    def _failed(self, reason: str) -> None:
        self._pipe.rebuild(reason)

    # The connection and its key.

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[SdkSocket]:
        key = await self._new_listen_key()
        keeping = asyncio.get_running_loop().create_task(self._keep_alive(key))
        try:
            async with user_socket(
                self._rest.client, self._rest.endpoints.private_stream, listen_key=key
            ) as socket:
                yield socket
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _new_listen_key(self) -> str:
        answer = await self._rest.with_key("post", "listenKey", {})
        return understand(
            lambda found: str(required(found, "listenKey")),
            answer,
            what="listenKey",
            changes=False,
        )

    async def _keep_alive(self, key: str) -> None:
        """Keep the key from expiring; that it cannot be kept is an error, not a remark."""
        while True:
            await self._local.sleep(KEEP_ALIVE_S)
            try:
                await self._rest.with_key("put", "listenKey", {"listenKey": key})
            except (VenueRejected, VenueUnavailable) as error:
                log.error("listen_key_not_kept", extra={"reason": error.message})
                self._pipe.rebuild(f"the listen key could not be kept alive: {error.message}")
                return

    # What came, and what was missed.

    async def _resync_or_wait(self) -> None:
        """Resync; only a key that is of no use ends the stream for good."""
        try:
            await self._resync()
        except VenueRejected as refusal:
            if refusal.code in codes.KEY_REFUSALS:
                raise
            raise VenueUnavailable(refusal.message, next_step=refusal.next_step) from refusal

    async def _resync(self) -> None:
        """Say what REST knows. Messages that came meanwhile wait behind it."""
        asked_ms = self._clock.now_ms()
        since_ms = (self._synchronized_ms or asked_ms) - OVERLAP_MS
        orders, positions, balances, ledger = await asyncio.gather(
            self._trading.open_orders(),
            self._trading.positions(),
            self._trading.balances(),
            self._trading.income(since_ms),
        )
        symbols = {order.symbol for order in orders} | {one.symbol for one in positions}
        symbols |= {row.symbol for row in ledger if row.symbol} | self._state.symbols()
        # The ledger lags: what was sent from here may have opened and closed a position meanwhile.
        symbols |= self._names.symbols
        # First what became of conditional orders: fills and orders are named by it.
        closed = await self._fates_of_the_vanished(orders)
        orders = tuple(self._as_ours(order) for order in orders)
        fills = await self._fills_since(since_ms, symbols)
        for fill in fills:
            self._state.note_fill(fill)
        missed_funding = self._state.missed_funding(ledger)
        self._state.replace(orders, positions, balances)
        self._synchronized_ms = asked_ms
        self._feed.put(
            AccountSynchronized(
                orders=orders,
                positions=positions,
                balances=balances,
                fills=fills,
                ts_init_ms=self._clock.now_ms(),
            )
        )
        for report in closed:
            if self._state.accept_order(report) is not None:
                self._feed.put(report)
        for paid in missed_funding:
            self._feed.put(paid)

    async def _fills_since(self, since_ms: int, symbols: set[str]) -> tuple[FillReport, ...]:
        """Return our trades since the last synchronization, of every symbol that had any."""
        found = await asyncio.gather(
            *(self._fills_of(symbol, since_ms) for symbol in sorted(symbols))
        )
        fills = [fill for many in found for fill in many]
        return tuple(sorted(fills, key=lambda fill: fill.ts_event_ms))

    async def _fills_of(self, symbol: str, since_ms: int) -> tuple[FillReport, ...]:
        try:
            return await self._trading.fills(symbol, since_ms)
        except VenueRejected as refusal:
            if refusal.code != str(codes.UNKNOWN_SYMBOL):
                raise
            return ()  # An order was tried in it, or it was delisted: it has no trades to tell.

    async def _fates_of_the_vanished(
        self, orders: tuple[OrderReport, ...]
    ) -> tuple[OrderReport, ...]:
        """Return what became of orders that were open when the stream was lost."""
        now_open = {order.client_order_id for order in orders}
        gone = [one for one in self._state.open_orders() if one.client_order_id not in now_open]
        found = await asyncio.gather(
            *(self._trading.find(one.symbol, one.client_order_id) for one in gone)
        )
        return tuple(report for report in found if report is not None)

    def _as_ours(self, order: OrderReport) -> OrderReport:
        if self._names.is_conditional(order.client_order_id):
            return order
        return self._names.as_ours(order)

    def _deliver(self, message: Any) -> None:
        payload = message.get("data", message)
        if payload.get("e") == LISTEN_KEY_EXPIRED:
            self._pipe.rebuild("the listen key expired")
            return
        try:
            updates = user_updates(payload)
        except UnknownEvent as unknown:
            log.warning("unknown_account_event", extra={"event": unknown.word})
            return
        is_conditional = payload["e"] == ALGO_UPDATE
        for update in updates:
            known = self._accept(update, is_conditional=is_conditional)
            if known is not None:
                self._feed.put(known)
            if (
                isinstance(update, OrderReport)
                and not is_conditional
                and self._state.has_unbooked_fill(update)
            ):
                self._background.start(self._await_fill(update))

    async def _await_fill(self, report: OrderReport) -> None:
        """Build the stream anew where a fill that an order speaks of does not come."""
        await self._local.sleep(FILL_GRACE_S)
        if self._state.has_unbooked_fill(report):
            self._pipe.rebuild(f"a fill of order {report.order_id} was not told")

    def _accept(self, update: UserUpdate, *, is_conditional: bool) -> UserUpdate | None:
        """Return an update as it is to be told, None where it is no news."""
        if isinstance(update, OrderReport):
            if is_conditional:
                self._names.learn_conditional(update)
            else:
                update = self._names.as_ours(update)
            return self._state.accept_order(update)
        if isinstance(update, FillReport):
            if not self._state.note_fill(update):
                return None
            return self._names.fill_as_ours(update)
        if isinstance(update, PositionReport | BalanceReport):
            return update if self._state.accept_holding(update) else None
        return update if self._state.accept_notice(update) else None

    # The comparison.

    async def _compare_now_and_then(self) -> None:
        while True:
            await self._local.sleep(COMPARE_S)
            if not self._state.is_synchronized:
                continue
            try:
                if await self._differs():
                    await self._local.sleep(SECOND_LOOK_S)
                    if await self._differs():
                        self._pipe.rebuild("the account differs from what the stream has told")
            except VenueUnavailable as error:
                log.warning("account_not_compared", extra={"reason": error.message})
            except PerpdeskError as error:
                # What cannot be read or is refused, the resync judges; the comparison goes on.
                self._pipe.rebuild(f"the account could not be compared: {error.message}")

    async def _differs(self) -> bool:
        orders, positions = await asyncio.gather(
            self._trading.open_orders(), self._trading.positions()
        )
        return self._state.differs_from(orders, positions)
