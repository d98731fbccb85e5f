"""Doors: the composition root, the only file that knows the mode.

It reads the settings and hands each room what it needs: stores, books, registries, and later the
clock, the feed, the venue and the confirmation policy of a session.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perpdesk.backtest.catalog import BacktestCatalog
from perpdesk.backtest.runner import BacktestRunner
from perpdesk.backtest.service import BacktestService
from perpdesk.domain.candles import DAY_MS, DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.series import RECORDED
from perpdesk.settings import Settings
from perpdesk.strategies.registry import StrategyRegistry

if TYPE_CHECKING:
    from perpdesk.emulator.server import Door
    from perpdesk.emulator.tape import Tape
    from perpdesk.emulator.world import World
    from perpdesk.marketdata.backfill_report import SeriesProgress
    from perpdesk.marketdata.history import History
    from perpdesk.marketdata.reference import ReferenceKeeper
    from perpdesk.venues.binance.venue import BinanceVenue
    from perpdesk.venues.bybit.connect import BybitVenue
    from perpdesk.venues.endpoints import Credentials, Endpoints, Leg

    Connected = BinanceVenue | BybitVenue


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


async def source_label(settings: Settings, venue: Venue) -> str:
    """Return what rows downloaded now are marked with: recorded, or where else they come from.

    Two markets of an emulator are two sources: their rows would make no series together.
    """
    rest, _ = _overrides(settings, venue)
    host = urlsplit(rest).hostname if rest is not None else None
    if rest is None or host is None or host in _OWN_HOSTS:
        return RECORDED
    if host not in ("127.0.0.1", "::1", "localhost"):
        return f"from {host}"
    market = await _emulated_market(rest)
    return f"emulator, {market}" if market else "emulator"


async def _emulated_market(rest: str) -> str:
    """Return what an emulator says that it plays; nothing where it is none."""
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=2)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{rest}/emulator") as answer,
        ):
            return str((await answer.json()).get("market", ""))
    except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
        return ""


@asynccontextmanager
async def history(
    settings: Settings, venue: Venue, *, on_progress: "Callable[[SeriesProgress], None]"
) -> "AsyncIterator[History]":
    """Open what downloads, heals and syncs the stored series of a venue."""
    from perpdesk.marketdata.history import History
    from perpdesk.marketdata.reference import ReferenceKeeper

    label = await source_label(settings, venue)
    async with _data_live(settings, venue) as live:
        # What an emulator allows is nothing to remember of the venue that it plays.
        rules = ReferenceKeeper(settings.data_dir, live.reference) if label == RECORDED else None
        yield History(
            candle_store(settings.data_dir),
            live.history,
            live.reference,
            label=label,
            rules=rules,
            on_progress=on_progress,
        )


@asynccontextmanager
async def reference_keeper(settings: Settings, venue: Venue) -> "AsyncIterator[ReferenceKeeper]":
    """Open what keeps a venue's rules, tiers and fees in `DATA_DIR/instruments`."""
    from perpdesk.marketdata.reference import ReferenceKeeper

    async with _data_live(settings, venue) as live:
        yield ReferenceKeeper(settings.data_dir, live.reference)


# A venue's leg.


@asynccontextmanager
async def connected(settings: Settings, venue: Venue, leg: "Leg") -> "AsyncIterator[Connected]":
    """Open one leg of a venue: its own host, its own key, its clock measured."""
    _require_both_hosts(settings, venue)
    where, key = endpoints(settings, venue, leg), credentials(settings, venue, leg)
    async with _opened(venue, where, key) as found:
        yield found


@asynccontextmanager
async def _opened(
    venue: Venue, where: "Endpoints", key: "Credentials | None"
) -> "AsyncIterator[Connected]":
    found = await (_bybit if venue is Venue.BYBIT else _binance)(where, key)
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def _data_live(settings: Settings, venue: Venue) -> "AsyncIterator[Connected]":
    from perpdesk.venues.endpoints import Leg

    where = endpoints(settings, venue, Leg.DATA_LIVE)
    async with _opened(venue, where, credentials(settings, venue, Leg.DATA_LIVE)) as found:
        yield found


def _require_both_hosts(settings: Settings, venue: Venue) -> None:
    """Refuse orders to one world and streams from another."""
    rest, stream = _overrides(settings, venue)
    if (rest is None) == (stream is None):
        return
    names = [f"PERPDESK_{venue.value.upper()}_{kind}_URL" for kind in ("REST", "WS")]
    given, missing = names if stream is None else reversed(names)
    raise UsageRefused(
        f"{given} names another host and {missing} does not: requests and streams would belong to "
        "different exchanges",
        next_step=f"Set {missing} as well, or neither.",
    )


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


# The emulator.

_FUTURE_DAYS = 30
"""How long a made market goes on beyond the time at which play begins."""


def emulated_world(
    *,
    venues: Sequence[Venue],
    symbols: Sequence[str] | None,
    replay: Path | None,
    seed: int,
    start: str | None,
    history_days: int,
    speed: float,
    capital: Decimal,
    bad_weather: float,
) -> "World":
    """Return a world to serve: recorded where `replay` names a data folder, else made from a seed.

    start: UTC, a date or a time; see the command's help. bad_weather: faults at random, as a
    multiple of the usual rates. Raises DataRefused and UsageRefused.
    """
    from perpdesk.emulator.faults import USUAL_RATES, Schedule
    from perpdesk.emulator.world import World

    moment = None if start is None else _moment(start)
    if replay is not None:
        tapes: Mapping[Venue, Sequence[Tape]]
        tapes = {venue: _recorded_tapes(replay, venue, symbols) for venue in venues}
        tapes = {venue: found for venue, found in tapes.items() if found}
        if not tapes:
            raise DataRefused(
                f"{replay} holds no candles of {' or '.join(venues)}",
                next_step="Name a data folder: one that holds candles/.",
            )
        first = max(int(tape.candles.ts_ms[0]) for found in tapes.values() for tape in found)
        start_ms = first + DAY_MS if moment is None else moment
        if start_ms < first:
            raise UsageRefused(
                f"the recorded market begins at {_minute_text(first)}, after play would begin",
                next_step="Give a later --start.",
            )
        market = f"replay of {replay.resolve().name}"
    else:
        tapes = _made_tapes(venues, symbols, seed, _now_ms(moment), history_days)
        # Making them took a while, and play is to begin now.
        start_ms = _now_ms(moment)
        first = min(int(tape.candles.ts_ms[0]) for found in tapes.values() for tape in found)
        market = f"seed {seed} from {_minute_text(first)[:10]}"
    ends = min(tape.end_ms for found in tapes.values() for tape in found)
    if start_ms >= ends:
        raise UsageRefused(
            f"the market ends at {_minute_text(ends)}, before play would begin",
            next_step="Give an earlier --start.",
        )
    schedule = None
    if bad_weather:
        rates = {kind: rate * bad_weather for kind, rate in USUAL_RATES.items()}
        schedule = Schedule(per_hour=rates, seed=seed)
    world = World(
        tapes, start_ms=start_ms, speed=speed, seed=seed, schedule=schedule, market=market
    )
    world.open_demo_accounts(capital)
    return world


def emulator_doors(world: "World") -> "list[Door]":
    """Return a door for each venue of the world."""
    from perpdesk.emulator.binance.door import BinanceDoor
    from perpdesk.emulator.bybit.door import BybitDoor

    doors: dict[Venue, type[BinanceDoor] | type[BybitDoor]] = {
        Venue.BINANCE: BinanceDoor,
        Venue.BYBIT: BybitDoor,
    }
    return [doors[venue](world) for venue in world.venues]


def _made_tapes(
    venues: Sequence[Venue],
    symbols: Sequence[str] | None,
    seed: int,
    start_ms: int,
    history_days: int,
) -> "Mapping[Venue, Sequence[Tape]]":
    from perpdesk.emulator.tape import Tape
    from perpdesk.marketdata.sample import SYMBOLS, generate_market

    book = InstrumentBook.load(None)
    first_ms = (start_ms // DAY_MS - history_days) * DAY_MS
    tapes: dict[Venue, list[Tape]] = {}
    for venue in venues:
        market = generate_market(
            seed,
            symbols=symbols or SYMBOLS,
            start_ms=first_ms,
            days=history_days + _FUTURE_DAYS,
            timeframe=Timeframe.parse("1m"),
            venue=venue,
        )
        tapes[venue] = [
            Tape(
                instrument=book.as_of(venue, symbol, start_ms),
                candles=series.candles,
                mark=series.mark,
                funding=series.funding,
            )
            for symbol, series in market.items()
        ]
    return tapes


def _recorded_tapes(folder: Path, venue: Venue, symbols: Sequence[str] | None) -> "list[Tape]":
    from perpdesk.emulator.tape import Tape, minutes_of, playable, with_trades

    store, book = candle_store(folder), InstrumentBook.load(folder)
    stored = [one for one in store.series() if one.venue is venue]
    found = sorted({one.symbol for one in stored if one.kind is DataKind.CANDLES})
    missing = sorted(set(symbols or ()) - set(found))
    if missing and found:
        raise UsageRefused(
            f"{folder} holds no candles of {missing[0]} on {venue}",
            next_step=f"Choose among {', '.join(found)}.",
        )
    tapes = []
    for symbol in found if symbols is None else [name for name in symbols if name in found]:
        finest = store.timeframes(venue, symbol)[0]
        candles = store.candles(venue, symbol, finest)
        marks = store.timeframes(venue, symbol, DataKind.MARK)
        has_funding = store.has(venue, symbol, DataKind.FUNDING)
        has_trades = store.has(venue, symbol, DataKind.TRADES)
        trades = store.trades(venue, symbol) if has_trades else None
        instrument = book.as_of(venue, symbol, int(candles.ts_ms[-1]))
        minutes = playable(minutes_of(candles), float(instrument.step_size))
        tapes.append(
            Tape(
                instrument=instrument,
                candles=minutes if trades is None else with_trades(minutes, trades),
                mark=store.mark_candles(venue, symbol, marks[0]) if marks else None,
                funding=store.funding(venue, symbol) if has_funding else None,
                trades=trades,
            )
        )
    return tapes


def _minute_text(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _now_ms(moment: int | None) -> int:
    return time.time_ns() // 1_000_000 if moment is None else moment


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageRefused(
            f"{text!r} is no date", next_step="Write it as 2024-01-31 or 2024-01-31T12:00Z."
        ) from None
    if moment.tzinfo is None:
        if moment.time() != datetime.min.time():
            raise UsageRefused(f"{text!r} has no time zone", next_step="Add a Z for UTC.")
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
