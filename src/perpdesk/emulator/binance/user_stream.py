"""The user stream: listen keys and their life, and who hears of an account's changes.

A key lives an hour unless it is kept alive: of virtual time, or of the wall's where virtual time
runs faster, because clients keep keys alive by their own clock. A key that dies says so once
(`listenKeyExpired`); its sockets stay open and silent.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import orjson

from perpdesk.domain.candles import HOUR_MS, Venue
from perpdesk.domain.events import (
    FundingSettled,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
)
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderStatus
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.binance import user_events as told
from perpdesk.emulator.binance.order_rows import HAS_CHILD, has_child
from perpdesk.emulator.binance.words import status_name
from perpdesk.emulator.faults import FaultKind
from perpdesk.emulator.records import AccountChange, FillRecord, OrderRecord
from perpdesk.emulator.sockets import ClientSocket
from perpdesk.emulator.world import World

KEY_LIFE_MS: Final = HOUR_MS
Liquidated = Callable[[str, object], None]


@dataclass(slots=True, kw_only=True, eq=False)
class UserLine:
    """A connection to a user stream. events: an allow-list, None for all."""

    socket: ClientSocket
    combined: bool
    events: frozenset[str] | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class ListenKey:
    """A key and who listens by it."""

    key: str
    account: Account
    touched_ms: int
    lines: dict[UserLine, None] = field(default_factory=dict)

    def send(self, message: told.Message) -> None:
        """Tell all who listen and want to know."""
        event = str(message["e"])
        raw = orjson.dumps(message).decode()
        for line in list(self.lines):
            if line.events is not None and event not in line.events:
                continue
            text = f'{{"stream":"{self.key}","data":{raw}}}' if line.combined else raw
            line.socket.send(f"user/{event}", text)


class UserStreams:
    """All user streams of the venue. liquidated: told of each liquidation, for the public."""

    def __init__(self, world: World, liquidated: Liquidated) -> None:
        self._world = world
        self._liquidated = liquidated
        self._keys: dict[str, ListenKey] = {}
        self._made = 0
        self._watches: dict[str, _Watch] = {}
        self.watch_all()

    # Keys.

    def create(self, account: Account) -> str:
        """Return the account's key, a new one where it has none, and extend its life."""
        for known in self._keys.values():
            if known.account is account:
                known.touched_ms = self._world.now_ms
                return known.key
        self._made += 1
        name = f"{account.account_id}/{self._made}/{self._world.now_ms}"
        key = hashlib.sha256(name.encode()).hexdigest()
        self._keys[key] = ListenKey(key=key, account=account, touched_ms=self._world.now_ms)
        return key

    def extend(self, account: Account) -> str | None:
        """Keep the account's key alive; None where it has none."""
        mine = (known for known in self._keys.values() if known.account is account)
        return self.create(account) if next(mine, None) is not None else None

    def end(self, account: Account) -> None:
        """Close the account's key; what listens falls silent."""
        for known in [each for each in self._keys.values() if each.account is account]:
            del self._keys[known.key]

    def find(self, key: str) -> ListenKey | None:
        """Return a key that lives."""
        return self._keys.get(key)

    def drop(self, line: UserLine) -> None:
        """Forget a connection."""
        for known in self._keys.values():
            known.lines.pop(line, None)

    # Time.

    def on_step(self) -> None:
        """Let keys die whose time is over, and tell what the step left open."""
        self.watch_all()
        if self._keys:
            self._let_die()
        for watch in self._watches.values():
            watch.settle()

    def _let_die(self) -> None:
        world = self._world
        killed = world.faults.take(FaultKind.LISTEN_KEY_EXPIRY, Venue.BINANCE, "listenKey")
        life_ms = KEY_LIFE_MS * max(1.0, world.clock.speed)
        for known in list(self._keys.values()):
            if killed is not None or world.now_ms - known.touched_ms >= life_ms:
                known.send({"e": "listenKeyExpired", "E": world.now_ms, "listenKey": known.key})
                del self._keys[known.key]

    def watch_all(self) -> None:
        """Watch accounts that have been opened since."""
        for name, account in self._world.venues[Venue.BINANCE].accounts.by_id.items():
            if name not in self._watches:
                self._watches[name] = _Watch(self._world, account, self._send, self._liquidated)

    def _send(self, account: Account, message: told.Message) -> None:
        for known in self._keys.values():
            if known.account is account:
                known.send(message)


class _Watch:
    """Follows one account and puts its changes into words."""

    def __init__(
        self,
        world: World,
        account: Account,
        send: Callable[[Account, told.Message], None],
        liquidated: Liquidated,
    ) -> None:
        self._world = world
        self._account = account
        self._send = send
        self._liquidated = liquidated
        self._realized: dict[str, Decimal] = {}
        self._wallet = account.exchange.ledger.cash
        self._unborn: dict[int, OrderRecord] = {}
        account.listeners.append(self.on_change)

    def on_change(self, change: AccountChange) -> None:
        """Tell of one change."""
        event, record = change.event, change.order
        match event:
            case OrderFilled():
                assert change.fill is not None
                self._filled(change.fill)
            case FundingSettled():
                isolated = event.symbol if self._is_isolated(event.symbol) else None
                self._balance("FUNDING_FEE", event.ts_ms, isolated, change=event.amount)
            case LeverageChanged():
                message = told.leverage_update(
                    event.symbol, event.leverage, ts_ms=event.ts_ms, now_ms=self._world.now_ms
                )
                self._send(self._account, message)
            case MarginModeChanged():
                self._balance("MARGIN_TYPE_CHANGE", event.ts_ms, event.symbol)
            case IsolatedMarginChanged():
                self._balance("MARGIN_TRANSFER", event.ts_ms, event.symbol)
            case OrderTriggered() if record is not None and record.is_algo:
                self._unborn[record.order_id] = record
                self._algo(record, "TRIGGERING", event.ts_ms)
            case OrderAccepted() if record is not None:
                if record.is_algo:
                    self._algo(record, "NEW", event.ts_ms)
                else:
                    self._order(record, "NEW", event.ts_ms)
            case OrderAmended() if record is not None and not record.is_algo:
                self._order(record, "AMENDMENT", event.ts_ms)
            case OrderCanceled() | OrderExpired() | OrderRejected() if record is not None:
                self._ended(record, event.ts_ms)

    def settle(self) -> None:
        """Tell what has stayed: triggered orders that rest, and money that came from outside."""
        for record in list(self._unborn.values()):
            self._give_birth(record, self._world.now_ms)
        moved = self._account.exchange.ledger.cash - self._wallet
        if moved:
            kind = "DEPOSIT" if moved > ZERO else "WITHDRAW"
            self._balance(kind, self._world.now_ms, None, change=moved)

    # Orders.

    def _order(
        self,
        record: OrderRecord,
        execution: str,
        ts_ms: int,
        fill: FillRecord | None = None,
        status: str = "",
    ) -> None:
        message = told.order_update(
            record,
            self._rules(record.symbol),
            execution=execution,
            status=status or status_name(record.status),
            ts_ms=ts_ms,
            now_ms=self._world.now_ms,
            fill=fill,
        )
        self._send(self._account, message)

    def _algo(self, record: OrderRecord, status: str, ts_ms: int) -> None:
        rules = self._rules(record.symbol)
        message = told.algo_update(
            record, rules, status=status, ts_ms=ts_ms, now_ms=self._world.now_ms
        )
        self._send(self._account, message)

    def _give_birth(self, record: OrderRecord, ts_ms: int) -> None:
        """Show the normal order that a triggered conditional one has become."""
        if self._unborn.pop(record.order_id, None) is None:
            return
        record.extra[HAS_CHILD] = "true"
        self._algo(record, "TRIGGERED", ts_ms)
        self._order(record, "NEW", ts_ms, status="NEW")

    def _ended(self, record: OrderRecord, ts_ms: int) -> None:
        """An order works no more. What was refused before anybody heard of it is not told."""
        self._unborn.pop(record.order_id, None)
        if record.order_id not in self._account.orders:
            return
        if record.is_algo and not has_child(record):
            self._algo(record, record.status.value, ts_ms)
            return
        self._order(record, status_name(record.status), ts_ms)
        if record.is_algo:
            self._algo(record, "FINISHED", ts_ms)

    def _filled(self, fill: FillRecord) -> None:
        record, symbol = fill.order, fill.order.symbol
        if record.is_algo and not has_child(record):
            self._unborn[record.order_id] = record
            self._give_birth(record, fill.ts_ms)
        rules = self._rules(symbol)
        self._realized[symbol] = self._realized.get(symbol, ZERO) + fill.realized_pnl
        lite = told.trade_lite(fill, rules, now_ms=self._world.now_ms)
        self._send(self._account, lite)
        self._balance("ORDER", fill.ts_ms, symbol)
        execution = "CALCULATED" if record.is_forced else "TRADE"
        self._order(record, execution, fill.ts_ms, fill)
        if record.is_algo and record.status is OrderStatus.FILLED:
            self._algo(record, "FINISHED", fill.ts_ms)
        if record.is_forced:
            public = told.force_order(fill, rules, now_ms=self._world.now_ms)
            self._liquidated(symbol, public)

    # Money.

    def _balance(
        self, reason: str, ts_ms: int, symbol: str | None, *, change: Decimal = ZERO
    ) -> None:
        account = self._account
        self._wallet = account.exchange.ledger.cash
        position = None
        if symbol is not None:
            state = account.exchange.symbols[symbol]
            position = told.position_row(account, state, self._realized.get(symbol, ZERO))
        message = told.account_update(
            account,
            reason=reason,
            ts_ms=ts_ms,
            now_ms=self._world.now_ms,
            position=position,
            change=change,
        )
        self._send(account, message)

    def _is_isolated(self, symbol: str) -> bool:
        return self._account.exchange.symbols[symbol].margin_mode.value == "isolated"

    def _rules(self, symbol: str) -> Instrument:
        return self._account.markets[symbol].instrument
