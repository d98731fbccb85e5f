"""The emulated world: virtual time, the markets of each venue, their accounts, what may fail.

Time moves in steps that never cross a minute. In a step every market plays its tape, then every
account lives through it, then the doors are told, so that a client can never see a candle that its
own fill does not know of.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from perpdesk.domain.candles import MINUTE_MS, Venue
from perpdesk.emulator.accounts import Account, Accounts, ApiKey
from perpdesk.emulator.clock import VirtualClock
from perpdesk.emulator.faults import FaultKind, Faults, Schedule
from perpdesk.emulator.market import Market, MarketStep
from perpdesk.emulator.tape import Tape

KEPT_ENTRIES: Final = 200_000
DEMO_KEY: Final = "demo-key"
DEMO_SECRET: Final = "demo-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """What the emulator did, as it did it: the truth that tests compare with.

    what: "order accepted", "order refused", "fill", "cancel", "request", "fault", …
    """

    seq: int
    ts_ms: int
    venue: str
    account: str
    what: str
    facts: Mapping[str, str]


class VenueWorld:
    """One venue: markets by symbol, accounts by key. listeners: told of each step."""

    def __init__(self, venue: Venue, tapes: Sequence[Tape], start_ms: int) -> None:
        self.venue = venue
        self.markets = {tape.symbol: Market(tape, start_ms) for tape in tapes}
        self.accounts = Accounts(venue=venue)
        self.listeners: list[Callable[[list[MarketStep]], None]] = []


class World:
    """All of it.

    step_ms: the longest step of virtual time; 60,000 must be its multiple. market: names what is
    played, so that data of two markets are not taken for one.
    """

    def __init__(
        self,
        tapes: Mapping[Venue, Sequence[Tape]],
        *,
        start_ms: int,
        speed: float = 1.0,
        step_ms: int = 250,
        seed: int = 0,
        schedule: Schedule | None = None,
        market: str = "",
    ) -> None:
        assert MINUTE_MS % step_ms == 0, "steps must not cross a minute"
        self.clock = VirtualClock(start_ms, speed)
        self.step_ms = step_ms
        self.market = market
        self.now_ms = start_ms
        self.faults = Faults(seed)
        self.faults.now_ms = start_ms
        self.schedule = schedule
        self.journal: deque[JournalEntry] = deque(maxlen=KEPT_ENTRIES)
        self._next_seq = 1
        self.venues = {venue: VenueWorld(venue, found, start_ms) for venue, found in tapes.items()}
        self.end_ms = min(
            (tape.end_ms for found in tapes.values() for tape in found), default=start_ms
        )

    # Time.

    def catch_up(self, budget_steps: int = 1_000_000) -> bool:
        """Play up to what the clock says; return whether that was reached within the budget."""
        return self._play(min(self.clock.now_ms(), self.end_ms), budget_steps)

    def hold_back(self) -> None:
        """Forget what the clock is ahead: a speed that cannot be kept is not owed."""
        self.clock.move_to(self.now_ms)

    def set_speed(self, speed: float) -> None:
        """Go on at another speed from where the markets are now."""
        self.clock.move_to(self.now_ms, speed=speed)

    def advance(self, ms: int) -> None:
        """Move time by hand, whatever the clock's speed."""
        self._play(min(self.now_ms + ms, self.end_ms), 10**9)
        self.clock.move_to(
            max(self.now_ms, self.clock.now_ms()) if self.clock.speed else self.now_ms
        )

    @property
    def is_over(self) -> bool:
        """Tell whether a tape has come to its end."""
        return self.now_ms >= self.end_ms

    def _play(self, target_ms: int, budget_steps: int) -> bool:
        for _ in range(budget_steps):
            if self.now_ms >= target_ms:
                return True
            grid = (self.now_ms // self.step_ms + 1) * self.step_ms
            self._step(min(grid, target_ms))
        return self.now_ms >= target_ms

    def _step(self, end_ms: int) -> None:
        start_ms, self.now_ms = self.now_ms, end_ms
        self.faults.now_ms = end_ms
        if self.schedule is not None:
            self.schedule.advance(self.faults, start_ms, end_ms)
            self.faults.expire()
        for world in self.venues.values():
            steps = [market.advance(end_ms) for market in world.markets.values()]
            partial = self.faults.active(FaultKind.PARTIAL_FILLS, world.venue)
            for account in world.accounts.by_id.values():
                share = None if partial is None else Decimal(repr(partial.value))
                account.fill_terms.share_of_order = share
                account.step(steps)
            for listener in world.listeners:
                listener(steps)

    # Accounts.

    def open_account(
        self, venue: Venue, account_id: str, capital: Decimal, *keys: ApiKey
    ) -> Account:
        """Open an account with its keys."""
        world = self.venues[venue]
        account = Account(account_id, venue, world.markets, capital=capital, now_ms=self.now_ms)
        account.listeners.append(
            lambda change: self.note(
                venue, account_id, type(change.event).__name__, _facts(change.event, change)
            )
        )
        world.accounts.add(account, *keys)
        return account

    def open_demo_accounts(self, capital: Decimal = Decimal(10_000)) -> None:
        """Open the account that exists by default, on every venue."""
        for venue in self.venues:
            self.open_account(venue, "demo", capital, ApiKey(key=DEMO_KEY, secret=DEMO_SECRET))

    # The truth.

    def note(self, venue: Venue, account: str, what: str, facts: Mapping[str, str]) -> None:
        """Write down what happened."""
        self.journal.append(
            JournalEntry(
                seq=self._next_seq,
                ts_ms=self.now_ms,
                venue=venue.value,
                account=account,
                what=what,
                facts=facts,
            )
        )
        self._next_seq += 1


def _facts(event: object, change: object) -> dict[str, str]:
    """Return what a comparison needs: ids under which the client knows the order, and amounts."""
    order = getattr(change, "order", None)
    fill = getattr(change, "fill", None)
    facts: dict[str, str] = {}
    if symbol := getattr(event, "symbol", ""):
        facts["symbol"] = symbol
    if order is not None:
        facts |= {
            "client_id": order.client_id,
            "order_id": str(order.order_id),
            "status": order.status.value,
            "side": order.request.side.value,
            "type": order.request.type.value,
            "quantity": str(order.quantity),
            "filled": str(order.filled),
        }
    if fill is not None:
        facts |= {
            "trade_id": str(fill.trade_id),
            "fill_quantity": str(fill.quantity),
            "fill_price": str(fill.price),
            "fee": str(fill.fee),
        }
    if (amount := getattr(event, "amount", None)) is not None:
        facts["amount"] = str(amount)
    if reason := getattr(event, "reason", ""):
        facts["reason"] = reason
    return facts
