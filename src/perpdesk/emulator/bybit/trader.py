"""What the door remembers of an account beyond the core: its history, its stops, its listeners."""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from perpdesk.domain.events import (
    FundingSettled,
    IsolatedMarginChanged,
    LeverageChanged,
    MarginModeChanged,
    OrderTriggered,
    PositionLiquidated,
)
from perpdesk.domain.numbers import ZERO
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.bybit.account_rows import (
    position_rows,
    stream_position_row,
    wallet_row,
)
from perpdesk.emulator.bybit.closed_trades import ClosedTrade, PositionBook, trade_of
from perpdesk.emulator.bybit.messages import number, order_id_of
from perpdesk.emulator.bybit.order_rows import (
    FAST_KEYS,
    execution_row,
    funding_row,
    order_row,
    stream_order_row,
)
from perpdesk.emulator.records import AccountChange, FillRecord, OrderRecord

KEPT: Final = 50_000
STOP_KINDS: Final = ("takeProfit", "stopLoss", "trailingStop")


@dataclass(slots=True)
class Outbox:
    """Rows for the private stream, in order, until they are flushed."""

    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    positions: dict[str, None] = field(default_factory=dict)
    wallet: bool = False

    def __bool__(self) -> bool:
        return bool(self.rows or self.positions or self.wallet)


class Trader:
    """An account as its Bybit clients know it.

    is_watched: tells whether somebody listens to a private topic. on_liquidation: told of symbol,
    quantity before and price, for the public stream. auto_add: symbols with auto-add-margin on.
    wake: called when there is something to flush.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self.executions: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.closed: dict[int, ClosedTrade] = {}
        self.books: dict[str, PositionBook] = defaultdict(PositionBook)
        self.stops: dict[tuple[str, str], OrderRecord] = {}
        self.auto_add: set[str] = set()
        self.dcp_window_s = 0
        self.outbox = Outbox()
        self.to_attach: list[OrderRecord] = []
        self.next_link = 1
        self.seq = 1_000
        self.is_watched: Callable[[str], bool] = lambda topic: False
        self.wake: Callable[[], None] = lambda: None
        self.on_liquidation: Callable[[PositionLiquidated], None] = lambda event: None
        account.listeners.append(self._on_change)

    # Changes.

    def _on_change(self, change: AccountChange) -> None:
        event, record = change.event, change.order
        if isinstance(event, FundingSettled):
            self._funded(event, 0 if change.income is None else change.income.income_id)
        elif change.fill is not None:
            self._filled(change.fill)
        elif record is not None:
            if isinstance(event, OrderTriggered) and record.request.type.is_limit:
                self._tell_order(record, {"orderStatus": "Triggered"})
            self._tell_order(record)
        elif isinstance(event, PositionLiquidated):
            self.on_liquidation(event)
        elif isinstance(event, LeverageChanged | MarginModeChanged | IsolatedMarginChanged):
            self.touch(event.symbol)
        if self.outbox:
            self.wake()

    def _filled(self, fill: FillRecord) -> None:
        record = fill.order
        state = self.account.exchange.symbols[record.symbol]
        trade = self.closed.get(record.order_id) or trade_of(fill, state.leverage)
        if self.books[record.symbol].fill(fill, trade):
            self.closed[record.order_id] = trade
            if len(self.closed) > KEPT:
                del self.closed[next(iter(self.closed))]
        if record.extra.get("takeProfit") or record.extra.get("stopLoss"):
            self.to_attach.append(record)
        row = execution_row(self.account, fill)
        self.executions.append(row)
        self._tell_execution(row)
        self._tell_order(record)

    def _funded(self, event: FundingSettled, income_id: int) -> None:
        self.books[event.symbol].fund(event.amount, event.ts_ms)
        row = funding_row(
            symbol=event.symbol,
            ts_ms=event.ts_ms,
            signed_quantity=event.signed_quantity,
            mark_price=event.mark_price,
            rate=event.rate,
            change=event.amount,
            income_id=income_id,
        )
        self.executions.append(row)
        self._tell_execution(row)
        self.touch(event.symbol)

    # Telling.

    def _tell_order(self, record: OrderRecord, changed: dict[str, str] | None = None) -> None:
        if self.is_watched("order"):
            trade = self.closed.get(record.order_id)
            row = stream_order_row(self.order(record), ZERO if trade is None else trade.pnl)
            self.outbox.rows.append(("order", row | (changed or {})))
        self.touch(record.symbol)

    def _tell_execution(self, row: dict[str, Any]) -> None:
        if self.is_watched("execution"):
            self.outbox.rows.append(("execution", row))
        if self.is_watched("execution.fast") and row["execType"] != "Funding":
            self.outbox.rows.append(("execution.fast", {key: row[key] for key in FAST_KEYS}))

    def touch(self, symbol: str) -> None:
        """Let position and wallet be told at the next flush, changed or not."""
        self.seq += 1
        if self.is_watched("position"):
            self.outbox.positions[symbol] = None
        if self.is_watched("wallet"):
            self.outbox.wallet = True
        if self.outbox:
            self.wake()

    def take_outbox(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what is to be told: orders and executions in order, then where it has led."""
        box, self.outbox = self.outbox, Outbox()
        rows = box.rows
        for symbol in box.positions:
            rows += [("position", stream_position_row(row)) for row in self.positions(symbol)]
        if box.wallet:
            rows.append(("wallet", wallet_row(self.account)))
        return rows

    def forget(self, record: OrderRecord) -> None:
        """Take back an order that was refused within its own request."""
        records = self.account.records
        records.orders.pop(record.order_id, None)
        records.by_internal.pop(record.request.client_order_id, None)
        records.by_client.pop((record.is_algo, record.client_id), None)
        order_id = order_id_of(record.order_id)
        self.outbox.rows = [each for each in self.outbox.rows if each[1].get("orderId") != order_id]

    # Reading.

    def position_of(self, symbol: str) -> Decimal:
        """Return the signed base quantity held."""
        return self.account.exchange.symbols[symbol].signed_quantity

    def order(self, record: OrderRecord) -> dict[str, Any]:
        """Return the row of an order; a trailing stop shows where it stands now."""
        state = self.account.exchange.symbols[record.symbol]
        row = order_row(record, state.signed_quantity)
        working = state.orders.get(record.request.client_order_id)
        if working is not None and working.is_trailing:
            level = working.trigger_level(state.instrument.tick_size)
            row["triggerPrice"] = "" if level is None else number(level)
        return row

    def stop_of(self, symbol: str, kind: str) -> OrderRecord | None:
        """Return the open stop of a kind that the position bears."""
        record = self.stops.get((symbol, kind))
        return record if record is not None and record.is_open else None

    def positions(self, symbol: str) -> list[dict[str, Any]]:
        """Return the rows of a symbol."""
        stops = {}
        for kind in STOP_KINDS:
            record = self.stop_of(symbol, kind)
            if record is not None:
                stops[kind] = record.extra["level"]
        rows = position_rows(self.account, symbol, self.books[symbol], stops, self.seq)
        for row in rows:
            row["autoAddMargin"] = int(symbol in self.auto_add)
        return rows

    def active_count(self) -> int:
        """Return how many orders work that wait for no trigger."""
        return sum(not record.is_waiting for record in self.account.open_orders())

    def conditional_count(self, symbol: str) -> int:
        """Return how many conditional orders of a symbol wait, stops of the position aside."""
        return sum(
            record.is_waiting and record.extra.get("stop") == "Stop"
            for record in self.account.open_orders(symbol)
        )
