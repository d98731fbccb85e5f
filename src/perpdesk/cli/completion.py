"""What the Tab key offers: strategies, symbols and runs that exist. It never fails, nor prints."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

from perpdesk.domain.errors import PerpdeskError


def usable_strategies(incomplete: str) -> list[str]:
    """Return the names of usable strategies that begin so."""
    return _beginning(incomplete, _strategy_names)


def stored_symbols(incomplete: str) -> list[str]:
    """Return the stored symbols that begin so."""
    return _beginning(incomplete, _symbol_names)


def stored_runs(incomplete: str) -> list[str]:
    """Return the ids of runs that begin so, the latest first, after "latest"."""
    return _beginning(incomplete, _run_ids)


def _beginning(incomplete: str, known: Callable[[], list[str]]) -> list[str]:
    # What a strategy prints when it is loaded must not end up among the offers.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            names = known()
        except (PerpdeskError, OSError):
            return []
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _strategy_names() -> list[str]:
    from perpdesk.settings import load_settings
    from perpdesk.strategies.registry import StrategyRegistry

    infos = StrategyRegistry.load(load_settings().strategies_dir).infos()
    return sorted(info.name for info in infos if info.error is None)


def _symbol_names() -> list[str]:
    from perpdesk.bootstrap import candle_store
    from perpdesk.settings import load_settings

    return sorted(one.symbol for one in candle_store(load_settings().data_dir).series())


def _run_ids() -> list[str]:
    from perpdesk.backtest.catalog import BacktestCatalog
    from perpdesk.settings import load_settings

    runs = BacktestCatalog(load_settings().data_dir).runs()
    return ["latest", *(run.run_id for run in runs)] if runs else []
