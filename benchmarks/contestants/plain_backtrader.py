"""Backtrader as its users run it: PandasData, its own broker and indicators, nothing else.

usage: python -m benchmarks.contestants.plain_backtrader DATA.parquet FAST SLOW
Loading is not measured; the run is, in which Backtrader fills its lines itself.
"""

import sys

import backtrader as bt
import pandas as pd

from benchmarks.contestants.cost import measured, report


class Flip(bt.Strategy):
    """Long above, short below: turned at every crossing of two exponential averages."""

    params = (("fast", 9), ("slow", 21))

    def __init__(self) -> None:
        fast = bt.ind.EMA(self.data.close, period=self.p.fast)
        slow = bt.ind.EMA(self.data.close, period=self.p.slow)
        self.crossing = bt.ind.CrossOver(fast, slow)
        self.fills = 0

    def notify_order(self, order: bt.Order) -> None:
        """Count what filled."""
        self.fills += order.status == order.Completed

    def next(self) -> None:
        """Turn the position at a crossing."""
        if self.crossing[0]:
            self.order_target_size(target=1 if self.crossing[0] > 0 else -1)


def main() -> None:
    """Run once and print the cost."""
    path, fast, slow = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    frame = pd.read_parquet(path, columns=["ts", "open", "high", "low", "close", "volume"])
    frame.index = pd.to_datetime(frame.pop("ts"), unit="ms")
    with measured() as cost:
        cerebro = bt.Cerebro()
        cerebro.adddata(bt.feeds.PandasData(dataname=frame))
        cerebro.addstrategy(Flip, fast=fast, slow=slow)
        cerebro.broker.setcash(10_000_000)
        cerebro.broker.setcommission(commission=0.0005)
        strategy = cerebro.run()[0]
    report(cost, crossings=strategy.fills, bars=len(frame))


main()
