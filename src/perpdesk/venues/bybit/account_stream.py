"""The account's socket: a REST snapshot, then what the private topics say since."""

from collections.abc import Callable
from typing import Any, Final

from perpdesk.domain.errors import PerpdeskError, VenueRejected, VenueUnavailable
from perpdesk.domain.streams import AccountSynchronized, StreamEvent
from perpdesk.domain.venue_reports import BalanceReport, OrderReport, PositionReport
from perpdesk.venues.bybit import codes
from perpdesk.venues.bybit.account import BybitAccount, refuse_hedge
from perpdesk.venues.bybit.account_order import AccountOrder
from perpdesk.venues.bybit.fields import number, rows, whole
from perpdesk.venues.bybit.sockets import Incoming
from perpdesk.venues.bybit.wire import (
    balance_reports,
    funding_paid,
    is_funding,
    is_hedged,
    is_linear,
    position_report,
)
from perpdesk.venues.clock import VenueClock

OVERLAP_MS: Final = 60_000
"""How far before what is known to be whole a resync looks back."""
LOOK_S: Final = 0.5
FILLS_WITHIN_S: Final = 2.0
"""How long an order's report waits for its fills before REST is asked for them."""
COMPARE_S: Final = 45.0
LAG_MS: Final = 5_000
"""A fill that REST knows for so long must have come by the stream too."""
FUNDING_KEPT: Final = 1_000
ACCOUNT_REFUSALS: Final = frozenset({"HEDGE_MODE", "PORTFOLIO_MARGIN"})


class AccountState:
    """What is known of one account, over all connections of its feed.

    put: takes events for the reader. rebuild: throws the connection away.
    """

    def __init__(
        self,
        account: BybitAccount,
        *,
        clock: VenueClock,
        put: Callable[[StreamEvent], None],
        rebuild: Callable[[str], None],
    ) -> None:
        self._account = account
        self._clock = clock
        self._put = put
        self._rebuild = rebuild
        self._order = AccountOrder()
        # Up to here REST and the stream were found to agree on fills. Not the time of the last fill
        # told: one that was kept back before it would never be asked for again.
        self._agreed_ms = clock.now_ms()
        self._funding_ids: dict[str, None] = {}
        self._holding_ms: dict[tuple[str, str], int] = {}
        self._is_live = False

    async def resync(self) -> None:
        """Resync; only a key or an account that is of no use ends the stream for good."""
        try:
            await self._resync()
        except VenueRejected as refusal:
            if refusal.code in codes.KEY_REFUSALS | ACCOUNT_REFUSALS:
                raise
            raise VenueUnavailable(refusal.message, next_step=refusal.next_step) from refusal

    async def _resync(self) -> None:
        """Read orders, positions, balances and fills; what the socket says meanwhile waits."""
        asked_ms = self._clock.now_ms()
        # Balances first: they read the margin mode, by which positions are told.
        balances = await self._account.balances()
        orders = await self._account.open_orders()
        positions = await self._account.positions()
        fills = await self._account.executions(self._agreed_ms - OVERLAP_MS)
        fates = await self._fates_of_the_vanished(orders)
        self._order.synchronize(orders, fills)
        self._agreed_ms = max(self._agreed_ms, asked_ms)
        self._put(
            AccountSynchronized(
                orders=orders,
                positions=positions,
                balances=balances,
                fills=fills,
                ts_init_ms=self._clock.now_ms(),
            )
        )
        for report in fates:
            self._put_all(self._order.order(report))
        self._is_live = True

    async def _fates_of_the_vanished(self, orders: tuple[OrderReport, ...]) -> list[OrderReport]:
        """Return what became of orders that were open when the stream was lost."""
        now_open = {order.order_id for order in orders}
        gone = [one for one in self._order.open_orders() if one.order_id not in now_open]
        found = [await self._account.find_by_number(one) for one in gone]
        return [report for report in found if report is not None]

    def lost(self) -> None:
        """Note that the connection is gone: nothing is compared until the next resync."""
        self._is_live = False

    def deliver(self, incoming: Incoming) -> None:
        """Take a message of a private topic."""
        message = incoming.message
        topic = str(message.get("topic", "")).partition(".")[0]
        if topic == "order":
            for row in rows(message, "data"):
                if is_linear(row):
                    self._put_all(self._order.order(self._account.report_of(row)))
        elif topic == "execution":
            for row in rows(message, "data"):
                if is_linear(row):
                    self._take_execution(row)
        elif topic == "position":
            for row in rows(message, "data"):
                if is_linear(row):
                    self._take_position(row)
        elif topic == "wallet":
            observed_ms = whole(message, "creationTime")
            mode = self._account.margin_mode
            for account in rows(message, "data"):
                for report in balance_reports(account, margin_mode=mode, ts_event_ms=observed_ms):
                    self._put_holding(("balance", report.asset), report)

    def _take_execution(self, row: dict[str, Any]) -> None:
        if not is_funding(row):
            self._put_all(self._order.fill(self._account.fill_of(row)))
            return
        execution_id = str(row.get("execId"))
        if execution_id in self._funding_ids:
            return
        self._funding_ids[execution_id] = None
        if len(self._funding_ids) > FUNDING_KEPT:
            del self._funding_ids[next(iter(self._funding_ids))]
        self._put(funding_paid(row))

    def _take_position(self, row: dict[str, Any]) -> None:
        if number(row, "size"):
            refuse_hedge(row)
        elif is_hedged(row):
            return  # The flat leg of hedge mode says nothing of the one-way position.
        report = position_report(row, self._account.margin_mode)
        self._put_holding(("position", report.symbol), report)

    def _put_holding(self, key: tuple[str, str], report: PositionReport | BalanceReport) -> None:
        """Deliver a position or a balance unless a later one was told: it replaces what was."""
        if report.ts_event_ms < self._holding_ms.get(key, 0):
            return
        self._holding_ms[key] = report.ts_event_ms
        self._put(report)

    def _put_all(self, events: Any) -> None:
        for event in events:
            self._put(event)

    # The watch.

    async def watch(self) -> None:
        """Fetch fills that orders wait for, and compare the stream with REST from time to time."""
        local = self._clock.local
        since: dict[str, float] = {}
        compared = local.monotonic_ms()
        while True:
            await local.sleep(LOOK_S)
            now = local.monotonic_ms()
            waiting = self._order.waiting()
            since = {one.order_id: since.get(one.order_id, now) for one in waiting}
            try:
                for report in waiting:
                    if now - since[report.order_id] >= FILLS_WITHIN_S * 1000:
                        await self._fetch_fills(report.order_id)
                if now - compared >= COMPARE_S * 1000:
                    compared = now
                    await self._compare()
            except VenueUnavailable:
                continue  # It is tried again at the next look.
            except PerpdeskError as error:
                # What cannot be read or is refused, the resync judges; the watch goes on.
                self._rebuild(f"the account could not be compared: {error.message}")

    async def _fetch_fills(self, order_id: Any) -> None:
        since_ms = self._clock.now_ms() - OVERLAP_MS * 60
        for fill in await self._account.executions(since_ms, order_id=order_id):
            self._put_all(self._order.fill(fill))
        self._put_all(self._order.give_up(order_id))

    async def _compare(self) -> None:
        """Find out whether the stream, though open, does not tell what happens."""
        if not self._is_live:
            return
        due_ms = self._clock.now_ms() - LAG_MS
        for fill in await self._account.executions(self._agreed_ms - OVERLAP_MS):
            if fill.ts_event_ms < due_ms and not self._order.knows_fill(fill.trade_id):
                self._rebuild(f"trade {fill.trade_id} did not come by the account's stream")
                return
        self._agreed_ms = max(self._agreed_ms, due_ms)
