"""Signals, and an account that answers what a test wants it to answer."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.unit.simulation.market import instrument_of

from perpdesk.domain.account import AccountState
from perpdesk.domain.candles import HOUR_MS, Timeframe, Venue
from perpdesk.domain.events import Command, OrderAccepted, OrderFilled, SubmitBracket, SubmitOrder
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import Liquidity, OrderId, OrderPurpose, OrderRequest
from perpdesk.domain.signal import PositionSide, Signal, SignalKind, TakeProfit
from perpdesk.trading.desk import Desk, DeskSettings
from perpdesk.trading.pending import ConfirmationPolicy
from perpdesk.trading.risk import RiskLimits
from perpdesk.trading.sizing import PercentRisk, Sizing

D = Decimal
HOUR = Timeframe.parse("1h")
T0 = 1_700_006_400_000
"""2023-11-15T00:00Z, the close of an hour."""
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


def signal_of(side: PositionSide = LONG, **changes: Any) -> Signal:
    """Return a signal at 100 with a stop 2 away and a target 6 away: reward 3 per risk of 1."""
    sign = side.sign
    fields: dict[str, Any] = {
        "ts_ms": T0,
        "venue": Venue.BINANCE,
        "symbol": "BTCUSDT",
        "timeframe": HOUR,
        "strategy": "idea@1",
        "params_hash": "0",
        "kind": SignalKind.ENTRY,
        "side": side,
        "reference_price": D(100),
        "stop_loss": D(100 - 2 * sign),
        "take_profits": (TakeProfit(price=D(100 + 6 * sign)),),
    }
    return Signal(**(fields | changes))


def exit_of(side: PositionSide = LONG, ts_ms: int = T0 + HOUR_MS) -> Signal:
    """Return an exit signal."""
    return signal_of(side, kind=SignalKind.EXIT, ts_ms=ts_ms, stop_loss=None, take_profits=())


def targets(*pairs: tuple[str, str]) -> tuple[TakeProfit, ...]:
    """Return targets from (price, fraction)."""
    return tuple(TakeProfit(price=D(price), fraction=D(part)) for price, part in pairs)


@dataclass
class FixedView:
    """An account that stands still."""

    price: Decimal = Decimal(100)
    equity: Decimal = Decimal(10_000)
    free: Decimal = Decimal(10_000)
    times: Decimal = Decimal(1)
    asked: list[str] = field(default_factory=list)

    def account(self) -> AccountState:
        return AccountState(
            ts_ms=T0, cash=self.equity, unrealized=ZERO, used_margin=ZERO, maintenance_margin=ZERO
        )

    def free_for_entry(self, symbol: str) -> Decimal:
        self.asked.append(symbol)
        return self.free

    def last_price(self, symbol: str) -> Decimal:
        return self.price

    def leverage(self, symbol: str) -> Decimal:
        return self.times


def desk_of(
    view: FixedView | None = None,
    *,
    policy: ConfirmationPolicy | None = None,
    sizing: Sizing | None = None,
    **limits: Any,
) -> Desk:
    """Return a desk that risks 1 % unless told otherwise."""
    settings = DeskSettings(
        name="pd", sizing=sizing or PercentRisk(D(1)), limits=RiskLimits(**limits)
    )
    instruments = {name: instrument_of(Venue.BINANCE, name) for name in ("BTCUSDT", "ETHUSDT")}
    return Desk(instruments, view or FixedView(), settings, policy)


def requests_of(commands: list[Command]) -> list[OrderRequest]:
    """Return every order that the commands submit, entries before their legs."""
    found: list[OrderRequest] = []
    for command in commands:
        if isinstance(command, SubmitBracket):
            found += [command.entry, *command.legs]
        elif isinstance(command, SubmitOrder):
            found.append(command.request)
    return found


def accept(desk: Desk, request: OrderRequest) -> None:
    """Tell the desk that the venue works an order."""
    assert request.quantity is not None
    desk.on_event(
        OrderAccepted(
            seq=1,
            ts_ms=T0,
            symbol=request.symbol,
            order_id=OrderId("1"),
            request=request,
            quantity=request.quantity,
        )
    )


def fill(desk: Desk, request: OrderRequest, *, position_after: Decimal, leaves: str = "0") -> None:
    """Tell the desk that an order traded."""
    assert request.quantity is not None
    desk.on_event(
        OrderFilled(
            seq=2,
            ts_ms=T0,
            symbol=request.symbol,
            order_id=OrderId("1"),
            client_order_id=request.client_order_id,
            side=request.side,
            quantity=request.quantity - D(leaves),
            price=D(100),
            liquidity=Liquidity.TAKER,
            fee=ZERO,
            realized_pnl=ZERO,
            slippage_cost=ZERO,
            position_after=position_after,
            leaves_quantity=D(leaves),
            purpose=request.purpose,
        )
    )


def open_position(desk: Desk, side: PositionSide = LONG, **changes: Any) -> OrderRequest:
    """Take a signal through to a filled entry and return the entry."""
    signal = signal_of(side, **changes)
    requests = requests_of(desk.on_signal(signal, signal.ts_ms))
    entry = next(one for one in requests if one.purpose is OrderPurpose.ENTRY)
    accept(desk, entry)
    assert entry.quantity is not None
    fill(desk, entry, position_after=entry.quantity * side.sign)
    return entry
