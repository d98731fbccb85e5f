"""What an array strategy returns: its wishes as columns."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import Values


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignalArrays:
    """What an array strategy wants at every bar. All columns are (n_candles,).

    side: int8, +1 enter long, -1 enter short, 0 nothing. exit_side: int8, +1 close a long, -1 close
    a short, 0 nothing. entry: int8, 0 market, 1 limit, 2 stop. entry_price, stop_loss: float64, NaN
    for none. take_profits: one float64 column per target, NaN for none, beside
    take_profit_fractions that add up to at most 1. confidence: float64, 0..1. reason_code: int16
    index into `reasons`.
    """

    side: npt.NDArray[np.int8]
    exit_side: npt.NDArray[np.int8] | None = None
    entry: npt.NDArray[np.int8] | None = None
    entry_price: Values | None = None
    stop_loss: Values | None = None
    take_profits: tuple[Values, ...] = ()
    take_profit_fractions: tuple[float, ...] = (1.0,)
    confidence: Values | None = None
    reason_code: npt.NDArray[np.int16] | None = None
    reasons: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return len(self.side)

    def active(self) -> npt.NDArray[np.bool_]:
        """Return where anything is wanted. Shape (n_candles,) bool."""
        wanted: npt.NDArray[np.bool_] = self.side != 0
        return wanted if self.exit_side is None else wanted | (self.exit_side != 0)

    def fault(self, candles: int) -> str | None:
        """Return in words why the columns do not fit `candles` rows, or None if they do."""
        columns = {
            "side": self.side,
            "exit_side": self.exit_side,
            "entry": self.entry,
            "entry_price": self.entry_price,
            "stop_loss": self.stop_loss,
            **{f"take_profits[{i}]": column for i, column in enumerate(self.take_profits)},
            "confidence": self.confidence,
            "reason_code": self.reason_code,
        }
        for name, column in columns.items():
            if column is None:
                continue
            if not isinstance(column, np.ndarray):
                return f"returned {name} as {type(column).__name__}, not as a NumPy column"
            if column.shape != (candles,):
                return f"returned {name} of shape {column.shape} for {candles} candles"
            kinds = "iub" if name in ("side", "exit_side", "entry", "reason_code") else "fiu"
            if column.dtype.kind not in kinds:
                expected = "whole numbers" if kinds == "iub" else "numbers"
                return f"returned {name} as {column.dtype}, not as {expected}"
        if len(self.take_profits) > len(self.take_profit_fractions):
            return "returned more take_profits than take_profit_fractions"
        return None
