"""A download of a year of minutes, with the venue's weight budget out of the way.

usage: python -m benchmarks.contestants.venue_download serve
       python -m benchmarks.contestants.venue_download run ADDRESS binance|bybit DAYS
`serve` is a venue that answers at once, as long as its standard input is open. `run` downloads one
symbol from it into a store of its own, by the code that `perpdesk data download` runs, and prints a
line: how long it took, how many requests, and how long the venue's own limit would make it last.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from perpdesk.domain.candles import DAY_MS, MINUTE_MS, DataKind, Timeframe, Venue
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.history import History
from perpdesk.venues.binance.history import CANDLE_ROWS
from perpdesk.venues.binance.rest import POOLS as BINANCE_POOLS
from perpdesk.venues.binance.rest import WEIGHT
from perpdesk.venues.binance.venue import connect as connect_binance
from perpdesk.venues.bybit.calls import IP
from perpdesk.venues.bybit.calls import POOLS as BYBIT_POOLS
from perpdesk.venues.bybit.connect import connect as connect_bybit
from perpdesk.venues.bybit.history import PAGE_ROWS
from perpdesk.venues.clock import SystemTime
from perpdesk.venues.endpoints import loopback
from perpdesk.venues.rate_limit import SHARES, Lane, Pool, RateBudget

SYMBOL: Final = "BTCUSDT"
FIRST_MS: Final = 1_704_067_200_000
MOST_DAYS: Final = 366
BINANCE_WEIGHT: Final = 2
"""What a page of candles costs at Binance; a page costs one call at Bybit."""


class Minutes:
    """Rows of both venues, written once."""

    def __init__(self) -> None:
        self.binance: list[bytes] = []
        self.bybit: list[bytes] = []
        for number in range(MOST_DAYS * DAY_MS // MINUTE_MS):
            opened = FIRST_MS + number * MINUTE_MS
            price = 40_000 + number % 977 / 10
            values = f'"{price:.1f}","{price + 9.4:.1f}","{price - 8.7:.1f}","{price + 1:.1f}"'
            volume = f'"{100 + number % 89 / 8:.3f}"'
            tail = f'{opened + MINUTE_MS - 1},"4203311.1",2107,"51.207","2101655.5","0"'
            self.binance.append(f"[{opened},{values},{volume},{tail}]".encode())
            self.bybit.append(f'["{opened}",{values},{volume},"4203311.1"]'.encode())

    def between(
        self, rows: list[bytes], start_ms: int, end_ms: int, limit: int, *, newest: bool
    ) -> bytes:
        """Return the rows with start_ms <= open time <= end_ms as JSON."""
        first = max(0, -(-(start_ms - FIRST_MS) // MINUTE_MS))
        found = rows[first : max(first, (end_ms - FIRST_MS) // MINUTE_MS + 1)]
        found = found[-limit:][::-1] if newest else found[:limit]
        return b"[" + b",".join(found) + b"]"


async def serve() -> None:
    """Serve what a download of candles asks for."""
    minutes = Minutes()
    now_ms = FIRST_MS + MOST_DAYS * DAY_MS + 30_000

    def in_envelope(result: str) -> web.Response:
        text = f'{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":{now_ms}}}'
        return web.Response(text=text, content_type="application/json")

    async def binance_klines(request: web.Request) -> web.Response:
        query = request.query
        start, end = int(query.get("startTime", 0)), int(query.get("endTime", now_ms))
        limit = int(query.get("limit", 500))
        body = minutes.between(minutes.binance, start, end, limit, newest=False)
        return web.Response(body=body, content_type="application/json")

    async def bybit_klines(request: web.Request) -> web.Response:
        query = request.query
        start, end = int(query["start"]), int(query.get("end", now_ms))
        limit = int(query.get("limit", 200))
        rows = minutes.between(minutes.bybit, start, end, limit, newest=True)
        return in_envelope(f'{{"category":"linear","symbol":"{SYMBOL}","list":{rows.decode()}}}')

    async def bybit_instruments(_: web.Request) -> web.Response:
        row = {
            "symbol": SYMBOL,
            "contractType": "LinearPerpetual",
            "status": "Trading",
            "settleCoin": "USDT",
            "launchTime": str(FIRST_MS),
        }
        found = {"category": "linear", "list": [row], "nextPageCursor": ""}
        return in_envelope(json.dumps(found))

    async def binance_time(_: web.Request) -> web.Response:
        return web.json_response({"serverTime": now_ms})

    async def bybit_time(_: web.Request) -> web.Response:
        return in_envelope(f'{{"timeSecond":"{now_ms // 1000}","timeNano":"{now_ms * 1_000_000}"}}')

    app = web.Application()
    app.router.add_get("/fapi/v1/klines", binance_klines)
    app.router.add_get("/fapi/v1/time", binance_time)
    app.router.add_get("/v5/market/kline", bybit_klines)
    app.router.add_get("/v5/market/instruments-info", bybit_instruments)
    app.router.add_get("/v5/market/time", bybit_time)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"address": f"{host}:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def without_limits(pools: dict[str, Pool]) -> RateBudget:
    """Return a budget that never makes anyone wait."""
    wide = {
        name: Pool(name=name, limit=10**9, window_ms=pool.window_ms) for name, pool in pools.items()
    }
    return RateBudget(wide, SystemTime())


async def run(address: str, name: str, days: int) -> dict[str, float]:
    """Download once and return what it took."""
    venue = Venue(name)
    adapter: Any
    if venue is Venue.BINANCE:
        budget = without_limits(BINANCE_POOLS)
        adapter = await connect_binance(loopback(address)[name], None, budget=budget)
        rows, cost, pool = CANDLE_ROWS, BINANCE_WEIGHT, BINANCE_POOLS[WEIGHT]
    else:
        budget = without_limits(BYBIT_POOLS)
        adapter = connect_bybit(loopback(address)[name], budget=budget)
        rows, cost, pool = PAGE_ROWS[DataKind.CANDLES], 1, BYBIT_POOLS[IP]
    try:
        with tempfile.TemporaryDirectory() as folder:
            history = History(CandleStore(Path(folder)), adapter.history, adapter.reference)
            began, cpu = time.monotonic(), time.process_time()
            (report,) = await history.download(
                [SYMBOL],
                timeframe=Timeframe.parse("1m"),
                kinds=[DataKind.CANDLES],
                since_ms=FIRST_MS,
                until_ms=FIRST_MS + days * DAY_MS,
            )
            wall, cpu = time.monotonic() - began, time.process_time() - cpu
    finally:
        await adapter.close()
    candles = days * DAY_MS // MINUTE_MS
    limit_s = candles / rows * cost / pool.limit * pool.window_ms / 1000
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "rows": float(report.rows_added),
        "limit_s": limit_s,
        "granted_s": limit_s / SHARES[Lane.HISTORY],
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        print(json.dumps(asyncio.run(run(sys.argv[2], sys.argv[3], int(sys.argv[4])))))
