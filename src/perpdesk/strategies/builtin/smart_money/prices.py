"""Prices as the pieces read them, and their mirror image."""

from dataclasses import dataclass
from typing import Self

from perpdesk.domain.candles import Values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """Five (n,) columns: the four prices and the average true range."""

    open: Values
    high: Values
    low: Values
    close: Values
    atr: Values

    def __len__(self) -> int:
        return len(self.close)

    def mirrored(self) -> Self:
        """Return the market upside down: what was bearish is bullish, and the reverse."""
        return type(self)(
            open=-self.open, high=-self.low, low=-self.high, close=-self.close, atr=self.atr
        )
