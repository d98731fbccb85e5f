"""Doors: the composition root, the only file that knows the mode.

It reads the settings and hands each room what it needs: stores, books, registries, and later the
clock, the feed, the venue and the confirmation policy of a session.
"""

from pathlib import Path

from perpdesk.backtest.catalog import BacktestCatalog
from perpdesk.backtest.runner import BacktestRunner
from perpdesk.backtest.service import BacktestService
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.settings import Settings
from perpdesk.strategies.registry import StrategyRegistry


def backtest_service(settings: Settings) -> BacktestService:
    """Return what runs and keeps backtests, over `DATA_DIR` and `STRATEGIES_DIR`."""
    return BacktestService(
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
