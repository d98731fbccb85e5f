"""Where a venue is, and with which key: four legs that never fall back to one another.

Source: reference/exchanges.md 1; hosts changed twice in a year, so each can be overridden.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr


class Leg(StrEnum):
    """Which of a venue's worlds: real orders, practice orders, real data, practice data."""

    TRADE_LIVE = "trade-live"
    TRADE_DEMO = "trade-demo"
    DATA_LIVE = "data-live"
    DATA_DEMO = "data-demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Base addresses without a trailing slash. rest: http(s). stream, order_entry: ws(s).

    For Binance stream is the host of the routed streams (/public, /market, /private) and
    order_entry the whole address of the WS-API; for Bybit stream is the base before /v5/… of the
    public streams, private_stream that of the private one.
    """

    rest: str
    stream: str
    private_stream: str
    order_entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An API key of one leg."""

    key: str
    secret: SecretStr


BINANCE = {
    Leg.TRADE_LIVE: Endpoints(
        rest="https://fapi.binance.com",
        stream="wss://fstream.binance.com",
        private_stream="wss://fstream.binance.com",
        order_entry="wss://ws-fapi.binance.com/ws-fapi/v1",
    ),
    Leg.TRADE_DEMO: Endpoints(
        rest="https://demo-fapi.binance.com",
        stream="wss://fstream.binancefuture.com",
        private_stream="wss://fstream.binancefuture.com",
        order_entry="wss://testnet.binancefuture.com/ws-fapi/v1",
    ),
}
BINANCE[Leg.DATA_LIVE] = BINANCE[Leg.TRADE_LIVE]
BINANCE[Leg.DATA_DEMO] = BINANCE[Leg.TRADE_DEMO]

BYBIT = {
    Leg.TRADE_LIVE: Endpoints(
        rest="https://api.bybit.com",
        stream="wss://stream.bybit.com",
        private_stream="wss://stream.bybit.com",
        order_entry="wss://stream.bybit.com",
    ),
    # Demo trading has no public stream of its own: it sees the real market.
    Leg.TRADE_DEMO: Endpoints(
        rest="https://api-demo.bybit.com",
        stream="wss://stream.bybit.com",
        private_stream="wss://stream-demo.bybit.com",
        order_entry="",
    ),
    Leg.DATA_DEMO: Endpoints(
        rest="https://api-testnet.bybit.com",
        stream="wss://stream-testnet.bybit.com",
        private_stream="wss://stream-testnet.bybit.com",
        order_entry="wss://stream-testnet.bybit.com",
    ),
}
BYBIT[Leg.DATA_LIVE] = BYBIT[Leg.TRADE_LIVE]


def loopback(host: str = "127.0.0.1:18080") -> dict[str, Endpoints]:
    """Return the addresses of an emulator that serves both venues on one port, by venue name."""
    ws = f"ws://{host}"
    return {
        "binance": Endpoints(
            rest=f"http://{host}", stream=ws, private_stream=ws, order_entry=f"{ws}/ws-fapi/v1"
        ),
        "bybit": Endpoints(rest=f"http://{host}", stream=ws, private_stream=ws, order_entry=ws),
    }
