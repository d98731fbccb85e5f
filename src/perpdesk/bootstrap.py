"""Doors: the composition root, the only file that knows the mode.

It reads the settings and hands each room what it needs: stores, books, registries, and later the
clock, the feed, the venue and the confirmation policy of a session.
"""

from dataclasses import dataclass
from pathlib import Path

from perpdesk.backtest.catalog import BacktestCatalog
from perpdesk.backtest.runner import BacktestRunner
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.settings import Settings
from perpdesk.strategies.registry import StrategyRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestServices:
    """What the doors need to run, keep and show backtests."""

    runner: BacktestRunner
    catalog: BacktestCatalog


def backtest_services(settings: Settings) -> BacktestServices:
    """Return the services over `DATA_DIR` and `STRATEGIES_DIR`."""
    return BacktestServices(
        runner=BacktestRunner(
            store=candle_store(settings.data_dir),
            instruments=InstrumentBook.load(settings.data_dir),
            strategies=StrategyRegistry.load(settings.strategies_dir),
        ),
        catalog=BacktestCatalog(settings.data_dir),
    )


def candle_store(data_dir: Path) -> CandleStore:
    """Return the candle store of a data folder."""
    return CandleStore(data_dir / "candles")
