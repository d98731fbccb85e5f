"""backtesting.py: the same crossings, one position turned at each.

usage: python -m benchmarks.contestants.backtesting_py DATA.parquet FAST SLOW
"""

import sys

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover

from benchmarks.contestants.cost import measured, report


def ema(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", period: int) -> object:
    """Return an exponential average."""
    return pd.Series(np.asarray(values)).ewm(span=period, adjust=False).mean().to_numpy()


class Flip(Strategy):
    """Long above, short below."""

    fast = 9
    slow = 21

    def init(self) -> None:
        """Compute both averages."""
        self.quick = self.I(ema, self.data.Close, self.fast)
        self.calm = self.I(ema, self.data.Close, self.slow)

    def next(self) -> None:
        """Turn the position at a crossing."""
        if crossover(self.quick, self.calm):
            self.buy(size=1)
        elif crossover(self.calm, self.quick):
            self.sell(size=1)


def main() -> None:
    """Run once and print the cost."""
    path, fast, slow = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    frame = pd.read_parquet(path, columns=["ts", "open", "high", "low", "close", "volume"])
    frame.index = pd.to_datetime(frame.pop("ts"), unit="ms")
    frame.columns = ["Open", "High", "Low", "Close", "Volume"]
    with measured() as cost:
        test = Backtest(
            frame,
            Flip,
            cash=10_000_000,
            commission=0.0005,
            exclusive_orders=True,
            finalize_trades=True,
        )
        result = test.run(fast=fast, slow=slow)
    report(cost, crossings=int(result["# Trades"]), bars=len(frame))


main()
