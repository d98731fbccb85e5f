"""`perpdesk venues`: is the exchange there, is our clock right, what may the key do."""

import asyncio
import difflib
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from perpdesk.cli.data_tables import say
from perpdesk.cli.frame import emit, jsonable
from perpdesk.domain.candles import Timeframe, Venue
from perpdesk.domain.errors import Denied, UsageRefused
from perpdesk.domain.numbers import plain
from perpdesk.domain.streams import (
    CandleUpdated,
    MarkChanged,
    QuoteChanged,
    StreamKind,
    StreamLost,
    StreamRestored,
    Subscription,
    TradeOccurred,
)
from perpdesk.venues.clock import DRIFT_WARNING_MS
from perpdesk.venues.endpoints import Leg
from perpdesk.venues.key_check import KeyUse, check_key

if TYPE_CHECKING:
    from perpdesk.bootstrap import Connected
    from perpdesk.domain.streams import StreamEvent
    from perpdesk.settings import Settings

app = typer.Typer(no_args_is_help=True)

VenueOption = Annotated[
    Venue | None,
    typer.Option("--venue", metavar="VENUE", help="binance or bybit; EXCHANGE unless given."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
WATCHED = {
    "candles": StreamKind.CANDLES,
    "trades": StreamKind.TRADES,
    "quotes": StreamKind.QUOTES,
    "mark": StreamKind.MARK,
}


@app.callback()
def root() -> None:
    """Look at an exchange before anything depends on it."""


@app.command()
def check(
    venue: VenueOption = None,
    leg: Annotated[
        Leg, typer.Option(help="Whose key: trade-live, trade-demo, data-live or data-demo.")
    ] = Leg.DATA_LIVE,
    json_output: JsonOption = False,
) -> None:
    """Ask an exchange for its time, and with a key what it may do and what the account holds."""
    settings, one = _chosen(venue)
    document = asyncio.run(_check(settings, one, leg))
    emit(document, json_output=json_output, human=lambda: _show_check(document))


async def _check(settings: "Settings", venue: Venue, leg: Leg) -> dict[str, Any]:
    from perpdesk import bootstrap

    where = bootstrap.endpoints(settings, venue, leg)
    async with bootstrap.connected(settings, venue, leg) as found:
        document: dict[str, Any] = {
            "venue": venue,
            "leg": leg,
            "host": where.rest,
            "clock_offset_ms": found.clock.offset_ms,
            "clock_has_drifted": found.clock.has_drifted,
            "symbols": len(await found.reference.symbols()),
            "key": None,
        }
        if bootstrap.credentials(settings, venue, leg) is not None:
            document |= await _check_key(found, leg)
        return document


async def _check_key(found: "Connected", leg: Leg) -> dict[str, Any]:
    use = KeyUse(trades=leg in (Leg.TRADE_LIVE, Leg.TRADE_DEMO), real_money=leg is Leg.TRADE_LIVE)
    permissions = await found.trading.permissions()
    verdict: dict[str, Any] = {"refused": None, "warnings": []}
    try:
        verdict["warnings"] = check_key(permissions, use, now_ms=found.clock.now_ms())
    except Denied as denied:
        verdict["refused"] = denied.message
        verdict["next_step"] = denied.next_step
    balances = await found.trading.balances()
    return {
        "key": {**jsonable(permissions), **verdict},
        "balances": [one for one in balances if one.wallet],
        "positions": await found.trading.positions(),
        "open_orders": await found.trading.open_orders(),
    }


def _show_check(document: dict[str, Any]) -> None:
    offset = document["clock_offset_ms"]
    say(f"[green]{document['venue']}[/] ({document['leg']}) answers at {document['host']}")
    drifted = f"; [red]set this machine's clock[/] (more than {DRIFT_WARNING_MS} ms off)"
    if urlsplit(document["host"]).hostname in LOOPBACK:
        drifted = "; an emulator has a time of its own"
    say(f"clock     {offset:+,} ms{drifted if document['clock_has_drifted'] else ''}")
    say(f"symbols   {document['symbols']:,} trade now")
    key = document["key"]
    if key is None:
        say("key       none is set for this leg: public data alone")
        return
    rights = [name.removeprefix("can_") for name in key if name.startswith("can_") and key[name]]
    say(f"key       may {', '.join(rights) or 'do nothing'}")
    if key["refused"]:
        say(f"          [red]refused[/]: {key['refused']}. {key['next_step']}")
    for warning in key["warnings"]:
        say(f"          [yellow]note[/]: {warning.message}. {warning.next_step}")
    for balance in document["balances"]:
        say(f"balance   {plain(balance.wallet)} {balance.asset}")
    for position in document["positions"]:
        say(f"position  {position.symbol} {plain(position.signed_quantity)}")
    for order in document["open_orders"]:
        say(f"order     {order.symbol} {order.side} {order.type} {plain(order.quantity)}")


@app.command()
def watch(
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="Such as BTCUSDT.")],
    venue: VenueOption = None,
    kinds: Annotated[
        str, typer.Option("--kinds", metavar="KIND,…", help="candles, trades, quotes, mark.")
    ] = "candles,quotes,mark",
    timeframe: Annotated[str, typer.Option(help="Of the candles.")] = "1m",
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after so long; Ctrl-C stops earlier.")
    ] = None,
    as_lines: Annotated[
        bool, typer.Option("--lines", help="For scripts: one JSON document a line, one an event.")
    ] = False,
) -> None:
    """Watch streams as the desk sees them: healed, in order, and saying when they are not.

    A candle is named by the time at which it opened.
    """
    settings, one = _chosen(venue)
    unknown = [name for name in kinds.split(",") if name.strip() not in WATCHED]
    if unknown:
        raise UsageRefused(
            f"{unknown[0]!r} cannot be watched", next_step=f"Choose among {', '.join(WATCHED)}."
        )
    frame = Timeframe.parse(timeframe)
    wanted = [
        Subscription(
            kind=WATCHED[name.strip()],
            symbol=symbol.upper(),
            timeframe=frame if name.strip() == "candles" else None,
        )
        for symbol in symbols
        for name in kinds.split(",")
    ]
    with suppress(TimeoutError):
        asyncio.run(_watch(settings, one, wanted, seconds, as_lines))


async def _watch(
    settings: "Settings",
    venue: Venue,
    wanted: list[Subscription],
    seconds: float | None,
    as_lines: bool,
) -> None:
    from perpdesk import bootstrap

    async with (
        asyncio.timeout(seconds),
        bootstrap.connected(settings, venue, Leg.DATA_LIVE) as found,
    ):
        _require_known([one.symbol for one in wanted], await found.reference.symbols(), venue)
        async with found.streams.market(wanted) as feed:
            async for event in feed:
                if as_lines:
                    _print_line(event)
                else:
                    say(_row(event))


def _require_known(symbols: list[str], known: Sequence[str], venue: Venue) -> None:
    """Refuse a symbol that does not trade: a stream of it would stay silent for good."""
    for symbol in symbols:
        if symbol not in known:
            near = difflib.get_close_matches(symbol, known, n=3, cutoff=0.6)
            raise UsageRefused(
                f"{symbol} does not trade on {venue}",
                next_step=f"Did you mean {' or '.join(near)}?" if near else "Check its spelling.",
            )


def _print_line(event: "StreamEvent") -> None:
    import orjson

    line = {"event": type(event).__name__, **jsonable(event)}
    typer.echo(orjson.dumps(line).decode())


def _row(event: "StreamEvent") -> str:
    """Return one line: when, what, of which symbol, and its numbers."""
    at = getattr(event, "ts_init_ms", 0)
    if isinstance(event, CandleUpdated):
        at = event.ts_ms
    clock = f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M:%S}"
    match event:
        case CandleUpdated():
            state = "closed" if event.is_closed else "open"
            values = f"{event.open:g} {event.high:g} {event.low:g} {event.close:g}"
            return f"{clock}  candle  {event.symbol}  {values}  volume {event.volume:g}  {state}"
        case TradeOccurred():
            text = f"{event.taker_side} {plain(event.quantity)} @ {plain(event.price)}"
            return f"{clock}  trade   {event.symbol}  {text}"
        case QuoteChanged():
            bid = _at(event.bid_quantity, event.bid_price)
            ask = _at(event.ask_quantity, event.ask_price)
            return f"{clock}  quote   {event.symbol}  {bid} | {ask}"
        case MarkChanged():
            rate = "" if event.funding_rate is None else f"  funding {plain(event.funding_rate)}"
            return f"{clock}  mark    {event.symbol}  {plain(event.mark_price)}{rate}"
        case StreamLost():
            return f"{clock}  [red]lost[/]    {escape(event.stream)}: {escape(event.reason)}"
        case StreamRestored():
            return f"{clock}  [green]restored[/] {escape(event.stream)}"
    return f"{clock}  {type(event).__name__}"


def _at(quantity: Decimal, price: Decimal) -> str:
    return f"{plain(quantity)} @ {plain(price)}"


def _chosen(venue: Venue | None) -> "tuple[Settings, Venue]":
    from perpdesk.settings import load_settings

    settings = load_settings()
    chosen = venue or Venue(settings.exchange.value)
    if chosen not in (Venue.BINANCE, Venue.BYBIT):
        raise UsageRefused(f"{chosen} is not traded here", next_step="Say binance or bybit.")
    return settings, chosen
