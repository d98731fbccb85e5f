"""An order book around the last price: the same levels for whoever looks, differences in order.

Quantities are invented from price and time, so that most levels stay as they are while the price
moves; the sequence of versions is what clients have to get right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ceil_to_step, floor_to_step
from perpdesk.domain.order import Side

LEVELS: Final = 200
_EPOCH_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class BookChange:
    """Levels that changed between two versions; quantity zero: gone. ts_ms: when."""

    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    ts_ms: int


class Book:
    """Both sides, `LEVELS` deep. listeners: told of every change, in order."""

    def __init__(self, instrument: Instrument) -> None:
        self.tick = instrument.tick_size
        self.step = instrument.step_size
        self._unit = max(instrument.min_quantity, instrument.step_size)
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.update_id = 1_000
        self.ts_ms = 0
        self.listeners: list[Callable[[BookChange], None]] = []
        self._bid_ticks = 0
        self._drawn = (-1, -1)

    def change_rules(self, instrument: Instrument) -> None:
        """Go on with other grids, around the same price."""
        price = self._bid_ticks * self.tick
        self.tick, self.step = instrument.tick_size, instrument.step_size
        self._unit = max(instrument.min_quantity, instrument.step_size)
        self._bid_ticks = max(1, int(price / self.tick))
        self._drawn = (-1, -1)
        self.refresh()

    def move(self, last: Decimal, taker_side: Side, ts_ms: int) -> None:
        """Let the book follow the last trade: a buyer took the best ask, a seller the best bid."""
        ticks = int(last / self.tick)
        self._bid_ticks = max(1, ticks - 1 if taker_side is Side.BUY else ticks)
        if self.listeners or not self.bids:
            self.refresh(ts_ms)
        self.ts_ms = ts_ms

    def refresh(self, ts_ms: int | None = None) -> None:
        """Bring the levels up to date and tell the listeners what changed."""
        self.ts_ms = self.ts_ms if ts_ms is None else ts_ms
        drawn = (self._bid_ticks, self.ts_ms // _EPOCH_MS)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        bids = self._side(range(self._bid_ticks, max(0, self._bid_ticks - LEVELS), -1))
        asks = self._side(range(self._bid_ticks + 1, self._bid_ticks + 1 + LEVELS))
        changed_bids, changed_asks = _changes(self.bids, bids), _changes(self.asks, asks)
        if not (changed_bids or changed_asks):
            return
        previous = self.update_id
        self.update_id += max(1, len(changed_bids) + len(changed_asks))
        self.bids, self.asks = bids, asks
        change = BookChange(
            previous + 1, self.update_id, previous, changed_bids, changed_asks, self.ts_ms
        )
        for listener in self.listeners:
            listener(change)

    def _side(self, ticks: range) -> dict[Decimal, Decimal]:
        epoch = self.ts_ms // _EPOCH_MS
        levels = {}
        for number in ticks:
            # Every seventh level changes with each epoch, the others stay.
            seed = number * 2_654_435_761 + (epoch if number % 7 == 0 else 0) * 40_503
            levels[number * self.tick] = self._unit * (1 + (seed >> 7) % 997)
        return levels

    @property
    def best_bid(self) -> tuple[Decimal, Decimal]:
        """Return price and quantity of the best bid."""
        price = self._bid_ticks * self.tick
        return price, self.bids.get(price, self._unit)

    @property
    def best_ask(self) -> tuple[Decimal, Decimal]:
        """Return price and quantity of the best ask."""
        price = (self._bid_ticks + 1) * self.tick
        return price, self.asks.get(price, self._unit)

    def top(
        self, levels: int
    ) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """Return the best bids and asks as they are now, best first."""
        self.refresh()
        return list(self.bids.items())[:levels], list(self.asks.items())[:levels]

    def band(self, price: Decimal, side: Side) -> Decimal:
        """Return `price` on the grid, never better for the taker."""
        grid = ceil_to_step if side is Side.BUY else floor_to_step
        return grid(price, self.tick)


def _changes(
    before: dict[Decimal, Decimal], now: dict[Decimal, Decimal]
) -> tuple[tuple[Decimal, Decimal], ...]:
    changed = [
        (price, quantity) for price, quantity in now.items() if before.get(price) != quantity
    ]
    gone = [(price, Decimal(0)) for price in before if price not in now]
    return tuple(changed + gone)
