"""Random markets and commands, as plain data that any chooser of integers can make.

Hypothesis chooses in the property tests (and shrinks), `random.Random` where a seed is fixed.
Prices are told in ticks relative to the last one, so that a plan makes sense wherever it leads.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.strategies import DrawFn, SearchStrategy, composite, integers, one_of
from tests.unit.simulation.market import instrument_of

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import MINUTE_MS, Venue
from perpdesk.domain.events import (
    AddIsolatedMargin,
    AmendOrder,
    BarClosed,
    CancelAllOrders,
    CancelOrder,
    CloseOut,
    Command,
    FundingSettlement,
    Ohlc,
    SetLeverage,
    SetMarginMode,
    SubmitBracket,
    SubmitOrder,
)
from perpdesk.domain.instrument import FeePeriod, FeeRates, FeeSchedule
from perpdesk.domain.order import (
    ClientOrderId,
    OrderPurpose,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
    Trailing,
    WorkingPrice,
)
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings, LimitFill
from perpdesk.simulation.slippage import (
    FixedSlippage,
    NoSlippage,
    SlippageModel,
    SquareRootImpact,
)

Pick = Callable[[int, int], int]
START_MS = 1_700_000_040_000
NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
SCALES = (0, 3, 3, 40, 40, 400, 3000)
"""How far prices move, in ticks of a price around 10,000: flat, calm, lively, violent."""


@dataclass(frozen=True)
class Step:
    """What is commanded before the bars of one minute, and those bars; both are relative."""

    commands: tuple[tuple[int, ...], ...]
    bars: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Plan:
    """A venue, an account and what happens to it."""

    venue: Venue
    symbols: tuple[str, ...]
    settings: ExchangeSettings
    steps: tuple[Step, ...]

    def exchange(self) -> Exchange:
        """Return a fresh exchange for the plan; fees change in the middle of its eighth minute."""
        later = START_MS + 7 * MINUTE_MS + 30_000
        instruments = {}
        for symbol in self.symbols:
            instrument = instrument_of(self.venue, symbol)
            rates = FeeRates(maker=Decimal("-0.0001"), taker=Decimal("0.00061234567"))
            periods = (*instrument.fees.periods, FeePeriod(valid_from_ms=later, rates=rates))
            instruments[symbol] = replace(instrument, fees=FeeSchedule(name="two", periods=periods))
        return Exchange(instruments, self.settings)


def make_plan(pick: Pick, *, most_steps: int = 25) -> Plan:
    """Return a plan made of the integers that `pick(low, high)` chooses."""
    symbols = NAMES[: pick(1, 3)]
    slippage: SlippageModel = (
        NoSlippage(),
        FixedSlippage(Decimal("2.5")),
        SquareRootImpact(Decimal(1), Decimal(30)),
    )[pick(0, 2)]
    settings = ExchangeSettings(
        initial_capital=Decimal(pick(1, 4) * 2500),
        leverage=Decimal((1, 5, 20, 50, 100, 125)[pick(0, 5)]),
        margin_mode=(MarginMode.ISOLATED, MarginMode.CROSS)[pick(0, 1)],
        slippage=slippage,
        max_volume_share=(None, Decimal("0.25"), Decimal("0.013"))[pick(0, 2)],
        limit_fill=(LimitFill.THROUGH, LimitFill.TOUCH)[pick(0, 1)],
        tier_step_down=bool(pick(0, 1)),
    )
    count = pick(2, most_steps)
    steps = []
    for _ in range(count):
        commands = tuple(
            tuple(pick(0, 999) for _ in range(10)) for _ in range(max(0, pick(0, 4) - 1))
        )
        bars = tuple(tuple(pick(0, 999) for _ in range(10)) for _ in symbols)
        steps.append(Step(commands, bars))
    venue = (Venue.BINANCE, Venue.BYBIT)[pick(0, 1)]
    return Plan(venue, symbols, settings, tuple(steps))


@composite
def _chosen(draw: DrawFn, most_steps: int) -> Plan:
    return make_plan(lambda low, high: draw(integers(low, high)), most_steps=most_steps)


def plans(*, most_steps: int = 25) -> SearchStrategy[Plan]:
    """Return a strategy of plans: mostly long wild ones by a seed, and some that shrink."""
    seeded = integers(0, 2**32).map(
        lambda seed: make_plan(random.Random(seed).randint, most_steps=most_steps)
    )
    return one_of(seeded, seeded, seeded, seeded, _chosen(most_steps))


MANY = settings(
    max_examples=8 * settings().max_examples, suppress_health_check=[HealthCheck.too_slow]
)
"""Runs are cheap, and what goes wrong in one of a thousand counts."""


class Market:
    """Turns the relative numbers of a plan into bars and commands, one step after the other."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.close = {symbol: 10_000 + 137 * row for row, symbol in enumerate(plan.symbols)}
        self.ids = 0
        self.requests: list[OrderRequest] = []
        self.ts_ms = START_MS

    def bars(self, step: Step) -> list[BarClosed]:
        """Return the next bar of every symbol."""
        bars = [
            self._bar(symbol, numbers)
            for symbol, numbers in zip(self.plan.symbols, step.bars, strict=True)
        ]
        self.ts_ms += MINUTE_MS
        return bars

    def _bar(self, symbol: str, n: tuple[int, ...]) -> BarClosed:
        scale = SCALES[n[0] % len(SCALES)]
        first = self.close[symbol] + (_signed(n[1], scale) if n[2] % 4 == 0 else 0)
        first = max(first, 50)
        last = max(first + _signed(n[3], scale), 50)
        high = max(first, last) + n[4] * scale // 2000
        low = max(min(first, last) - n[5] * scale // 2000, 20)
        self.close[symbol] = last
        off = _signed(n[6], scale // 4)
        mark = [
            max(Decimal(price + off).scaleb(-1) + Decimal(n[7] % 7).scaleb(-8), Decimal("0.5"))
            for price in (first, high, low, last)
        ]
        funding: tuple[FundingSettlement, ...] = ()
        if n[8] % 5 == 0:
            funding = tuple(
                FundingSettlement(
                    ts_ms=self.ts_ms + at,
                    rate=Decimal(_signed(n[9], 750_000)).scaleb(-8),
                    mark_price=mark[0],
                )
                for at in ((0,), (7,), (3, 1000))[n[9] % 3]
            )
        return BarClosed(
            symbol=symbol,
            ts_ms=self.ts_ms,
            close_ms=self.ts_ms + MINUTE_MS,
            last=_ohlc(first, high, low, last),
            mark=Ohlc(open=mark[0], high=mark[1], low=mark[2], close=mark[3]),
            volume=Decimal((n[8] * 37) % 1000 * (n[9] % 4)).scaleb(-2),
            funding=funding,
        )

    def command(self, n: tuple[int, ...]) -> Command:
        """Return a command; seven of ten place orders."""
        symbol = self.plan.symbols[n[1] % len(self.plan.symbols)]
        kind = n[0] % 20
        old = self.requests[n[2] % len(self.requests)] if self.requests else None
        if kind < 10:
            return SubmitOrder(request=self._request(symbol, n))
        if kind < 14:
            return self._bracket(symbol, n)
        if kind == 14 and old is not None:
            return CancelOrder(client_order_id=old.client_order_id)
        if kind == 15 and old is not None:
            return self._amend(old, n)
        if kind == 16:
            return SetLeverage(symbol=symbol, leverage=Decimal(1 + n[3] % 130))
        if kind == 17:
            mode = (MarginMode.ISOLATED, MarginMode.CROSS)[n[3] % 2]
            return SetMarginMode(symbol=symbol, margin_mode=mode)
        if kind == 18:
            amount = Decimal(_signed(n[3], 50_000)).scaleb(-3)
            return AddIsolatedMargin(symbol=symbol, amount=amount)
        if n[3] % 4 == 0:
            return CloseOut()
        return CancelAllOrders(symbol=(None, symbol)[n[4] % 2])

    def _price(self, symbol: str, number: int) -> Decimal:
        scale = (1, 4, 40, 300)[number % 4]
        return Decimal(max(1, self.close[symbol] + _signed(number, scale))).scaleb(-1)

    def _request(self, symbol: str, n: tuple[int, ...], **others: Any) -> OrderRequest:
        self.ids += 1
        kind = (OrderType.MARKET, OrderType.LIMIT, *OrderType)[n[2] % (2 + len(OrderType))]
        side = (Side.BUY, Side.SELL)[n[3] % 2]
        time_in_force = (*TimeInForce, TimeInForce.GTC)[n[4] % (1 + len(TimeInForce))]
        close_position = n[5] % 11 == 0 and kind.is_conditional
        steps = (1 + n[6] % 5) * (1, 50, 700, 5000)[n[7] % 4]
        fields: dict[str, Any] = {
            "client_order_id": ClientOrderId(f"o{self.ids}"),
            "symbol": symbol,
            "side": side,
            "type": kind,
            "quantity": None if close_position else Decimal(steps).scaleb(-3),
            "price": self._price(symbol, n[8]) if kind.is_limit else None,
            "time_in_force": time_in_force,
            "expire_ms": self.ts_ms + (n[9] % 5) * MINUTE_MS
            if time_in_force is TimeInForce.GTD
            else None,
            "reduce_only": n[5] % 5 == 0 and not close_position,
            "close_position": close_position,
            "working_price": (WorkingPrice.LAST, WorkingPrice.MARK)[n[7] // 4 % 2],
            "oco_id": f"{symbol}-pair-{n[9] % 3}" if n[5] % 7 == 0 else None,
            "purpose": (OrderPurpose.ENTRY, OrderPurpose.EXIT)[n[9] % 2],
        }
        if kind is OrderType.TRAILING_STOP_MARKET:
            wake = self._price(symbol, n[8]) if n[9] % 2 else None
            callback = Decimal(1 + n[9] % 40).scaleb(-3)
            fields["trailing"] = Trailing(callback_rate=callback, activation_price=wake)
        elif kind.is_conditional:
            fields["trigger_price"] = self._price(symbol, n[9])
        request = OrderRequest(**(fields | others))
        self.requests.append(request)
        return request

    def _bracket(self, symbol: str, n: tuple[int, ...]) -> SubmitBracket:
        entry = self._request(symbol, n, reduce_only=False, close_position=False)
        if entry.quantity is None:
            entry = replace(entry, quantity=Decimal("0.05"))
        assert entry.quantity is not None
        away = (5, 60, 300)[n[9] % 3]
        sign = entry.side.sign
        first = entry.price or entry.trigger_price or Decimal(self.close[symbol]).scaleb(-1)
        out: dict[str, Any] = {
            "side": entry.side.opposite,
            "price": None,
            "trailing": None,
            "expire_ms": None,
            "time_in_force": TimeInForce.GTC,
            "parent_id": entry.client_order_id,
            "oco_id": None,
            "close_position": False,
            "reduce_only": True,
        }
        stop = self._request(
            symbol,
            n,
            **out,
            type=OrderType.STOP_MARKET,
            quantity=entry.quantity,
            trigger_price=max(first - sign * Decimal(away).scaleb(-1), Decimal("0.1")),
            purpose=OrderPurpose.STOP_LOSS,
        )
        half = (entry.quantity / 2).quantize(Decimal("0.001"))
        sizes = [entry.quantity] if n[8] % 2 or not half else [half, entry.quantity - half]
        targets = [
            self._request(
                symbol,
                n,
                **(
                    out
                    | {"price": max(first + sign * Decimal(away * row).scaleb(-1), Decimal("0.1"))}
                ),
                type=OrderType.LIMIT,
                quantity=size,
                trigger_price=None,
                purpose=OrderPurpose.TAKE_PROFIT,
            )
            for row, size in enumerate(sizes, 2)
            if size
        ]
        return SubmitBracket(entry=entry, legs=(stop, *targets))

    def _amend(self, old: OrderRequest, n: tuple[int, ...]) -> AmendOrder:
        return AmendOrder(
            client_order_id=old.client_order_id,
            quantity=Decimal(n[3]).scaleb(-3) if n[4] % 2 else None,
            price=self._price(old.symbol, n[5]) if old.price is not None else None,
            trigger_price=self._price(old.symbol, n[6])
            if old.trigger_price is not None and n[7] % 2
            else None,
        )


def _signed(number: int, scale: int) -> int:
    """Spread 0..999 over -scale..scale."""
    return (number - 500) * scale // 500


def _ohlc(first: int, high: int, low: int, last: int) -> Ohlc:
    prices = [Decimal(price).scaleb(-1) for price in (first, high, low, last)]
    return Ohlc(open=prices[0], high=prices[1], low=prices[2], close=prices[3])
