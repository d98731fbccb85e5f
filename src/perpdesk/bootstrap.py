"""Doors: the composition root, the only file that knows the mode.

It reads the settings and hands each room what it needs: stores, books, registries, and later the
clock, the feed, the venue and the confirmation policy of a session.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perpdesk.backtest.catalog import BacktestCatalog
from perpdesk.backtest.runner import BacktestRunner
from perpdesk.backtest.service import BacktestService
from perpdesk.domain.candles import Venue
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.series import RECORDED
from perpdesk.settings import Settings
from perpdesk.strategies.registry import StrategyRegistry

if TYPE_CHECKING:
    from perpdesk.marketdata.backfill_report import SeriesProgress
    from perpdesk.marketdata.history import History
    from perpdesk.marketdata.reference import ReferenceKeeper
    from perpdesk.venues.binance.venue import BinanceVenue
    from perpdesk.venues.bybit.connect import BybitVenue
    from perpdesk.venues.endpoints import Credentials, Endpoints, Leg


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


# History, fetched from the venues: always over the data-live leg, and REST alone.

_OWN_HOSTS = ("fapi.binance.com", "api.bybit.com", "api.bytick.com")
"""Where the venues' real markets are; what another host says is not recorded data."""


def endpoints(settings: Settings, venue: Venue, leg: "Leg") -> "Endpoints":
    """Return where a leg of a venue is, with the overrides of the settings."""
    from perpdesk.venues.endpoints import BINANCE, BYBIT

    own = {Venue.BINANCE: BINANCE, Venue.BYBIT: BYBIT}[venue][leg]
    rest, stream = _overrides(settings, venue)
    if rest is not None:
        own = replace(own, rest=rest)
    if stream is not None:
        entry = f"{stream}/ws-fapi/v1" if venue is Venue.BINANCE else stream
        own = replace(own, stream=stream, private_stream=stream, order_entry=entry)
    return own


def credentials(settings: Settings, venue: Venue, leg: "Leg") -> "Credentials | None":
    """Return the key of a leg, None where it has none; no other leg's key stands in."""
    from perpdesk.venues.endpoints import Credentials

    name = f"{venue.value}_{leg.value.replace('-', '_')}"
    key, secret = getattr(settings, f"{name}_key"), getattr(settings, f"{name}_secret")
    return None if key is None else Credentials(key=key.get_secret_value(), secret=secret)


def source_label(settings: Settings, venue: Venue) -> str:
    """Return what rows downloaded now are marked with: recorded, or where else they come from."""
    rest, _ = _overrides(settings, venue)
    host = urlsplit(rest).hostname if rest is not None else None
    if host is None or host in _OWN_HOSTS:
        return RECORDED
    return "emulator" if host in ("127.0.0.1", "::1", "localhost") else f"from {host}"


@asynccontextmanager
async def history(
    settings: Settings, venue: Venue, *, on_progress: "Callable[[SeriesProgress], None]"
) -> "AsyncIterator[History]":
    """Open what downloads, heals and syncs the stored series of a venue."""
    from perpdesk.marketdata.history import History

    async with _data_live(settings, venue) as connected:
        yield History(
            candle_store(settings.data_dir),
            connected.history,
            connected.reference,
            label=source_label(settings, venue),
            on_progress=on_progress,
        )


@asynccontextmanager
async def reference_keeper(settings: Settings, venue: Venue) -> "AsyncIterator[ReferenceKeeper]":
    """Open what keeps a venue's rules, tiers and fees in `DATA_DIR/instruments`."""
    from perpdesk.marketdata.reference import ReferenceKeeper

    async with _data_live(settings, venue) as connected:
        yield ReferenceKeeper(settings.data_dir, connected.reference)


@asynccontextmanager
async def _data_live(
    settings: Settings, venue: Venue
) -> "AsyncIterator[BinanceVenue | BybitVenue]":
    from perpdesk.venues.endpoints import Leg

    where = endpoints(settings, venue, Leg.DATA_LIVE)
    key = credentials(settings, venue, Leg.DATA_LIVE)
    connected = await (_bybit if venue is Venue.BYBIT else _binance)(where, key)
    try:
        yield connected
    finally:
        await connected.close()


async def _binance(where: "Endpoints", key: "Credentials | None") -> "BinanceVenue":
    from perpdesk.venues.binance.venue import connect

    return await connect(where, key)


async def _bybit(where: "Endpoints", key: "Credentials | None") -> "BybitVenue":
    from perpdesk.venues.bybit.connect import connect

    connected = connect(where, key)
    try:
        await connected.measure_clock()
    except BaseException:
        await connected.close()
        raise
    return connected


def _overrides(settings: Settings, venue: Venue) -> tuple[str | None, str | None]:
    """Return the other REST and WebSocket hosts of a venue, as far as they are set."""
    rest = getattr(settings, f"perpdesk_{venue.value}_rest_url")
    stream = getattr(settings, f"perpdesk_{venue.value}_ws_url")
    if settings.exchange.value == venue.value:
        rest, stream = rest or settings.rest_url, stream or settings.ws_url
    return rest, stream
