"""A scripted venue that floods: messages of both venues' streams at a rate that is set.

usage: python -m benchmarks.contestants.venue_flood [CORE]
Prints its address as JSON and serves until its standard input ends. `GET /rate?n=2000` sets how
many messages a second go out in all, over all sockets and streams alike, and tells how many went.
Each message carries the time at which it was sent, by the clock that all processes share: as the id
of the trade, or of the update of the book.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any, Final

import orjson
from aiohttp import WSMsgType, web

PAUSE_S: Final = 0.002
MOST_AT_ONCE: Final = 400

_TRADE: Final = (
    '{"stream":"%s@aggTrade","data":{"e":"aggTrade","E":%d,"s":"%s","a":%d,"p":"2000.10",'
    '"q":"0.512","nq":"0.512","f":100,"l":105,"T":%d,"m":false}}'
)
_QUOTE: Final = (
    '{"stream":"%s@bookTicker","data":{"e":"bookTicker","u":%d,"s":"%s","b":"2000.00",'
    '"B":"31.21","a":"2000.10","A":"40.66","T":%d,"E":%d}}'
)
_BYBIT_TRADE: Final = (
    '{"topic":"publicTrade.%s","type":"snapshot","ts":%d,"data":[{"T":%d,"s":"%s","S":"Buy",'
    '"v":"0.512","p":"2000.10","L":"PlusTick","i":"%d","BT":false,"seq":1}]}'
)
_BYBIT_QUOTE: Final = (
    '{"topic":"orderbook.1.%s","type":"snapshot","ts":%d,"data":{"s":"%s",'
    '"b":[["2000.00","31.21"]],"a":[["2000.10","40.66"]],"u":%d,"seq":1},"cts":%d}'
)


def message(stream: str) -> str:
    """Return a message of a stream as it would be sent now."""
    stamp, now_ms = time.monotonic_ns(), time.time_ns() // 1_000_000
    if stream.startswith("publicTrade."):
        symbol = stream.rpartition(".")[2]
        return _BYBIT_TRADE % (symbol, now_ms, now_ms, symbol, stamp)
    if stream.startswith("orderbook."):
        symbol = stream.rpartition(".")[2]
        return _BYBIT_QUOTE % (symbol, now_ms, symbol, stamp, now_ms)
    symbol, _, kind = stream.partition("@")
    if kind == "aggTrade":
        return _TRADE % (symbol, now_ms, symbol.upper(), stamp, now_ms)
    return _QUOTE % (symbol, stamp, symbol.upper(), now_ms, now_ms)


class Flood:
    """Sends to whoever is connected, stream by stream in turn."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.sent = 0
        self._places: list[tuple[web.WebSocketResponse, str]] = []

    async def run(self) -> None:
        """Send at the rate, a few milliseconds' worth at a time."""
        turn, owed, before = 0, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(PAUSE_S)
            now = time.monotonic()
            owed = min(MOST_AT_ONCE, owed + (now - before) * self.rate)
            before = now
            places = list(self._places)
            while owed >= 1 and places:
                socket, stream = places[turn % len(places)]
                turn += 1
                owed -= 1
                try:
                    await socket.send_str(message(stream))
                except ConnectionError:
                    break
                self.sent += 1

    async def binance(self, request: web.Request) -> web.WebSocketResponse:
        """Serve a combined stream."""
        return await self._serve(request, request.query["streams"].split("/"))

    async def bybit(self, request: web.Request) -> web.WebSocketResponse:
        """Serve topics as they are asked for."""
        return await self._serve(request, [])

    async def set_rate(self, request: web.Request) -> web.Response:
        """Set the rate, where one is given, and tell how many messages went out."""
        if "n" in request.query:
            self.rate = float(request.query["n"])
        return web.json_response({"sent": self.sent, "streams": len(self._places)})

    async def _serve(self, request: web.Request, streams: list[str]) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        mine = [(socket, stream) for stream in streams]
        self._places += mine
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    asked = orjson.loads(frame.data)
                    added = [(socket, topic) for topic in await _answer(socket, asked)]
                    mine += added
                    self._places += added
        finally:
            self._places = [place for place in self._places if place[0] is not socket]
        return socket


async def _answer(socket: web.WebSocketResponse, asked: dict[str, Any]) -> list[str]:
    """Answer a request of Bybit's protocol; return the topics that it adds."""
    op = asked.get("op", "")
    reply = {"success": True, "ret_msg": "pong" if op == "ping" else "", "conn_id": "flood"}
    await socket.send_str(json.dumps({**reply, "req_id": asked.get("req_id", ""), "op": op}))
    return list(asked.get("args", [])) if op == "subscribe" else []


async def _binance_time(_: web.Request) -> web.Response:
    return web.json_response({"serverTime": time.time_ns() // 1_000_000})


async def _bybit_time(_: web.Request) -> web.Response:
    now = time.time_ns()
    result = {"timeSecond": str(now // 10**9), "timeNano": str(now)}
    return web.json_response(
        {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now // 10**6}
    )


async def _no_trades(_: web.Request) -> web.Response:
    result: dict[str, Any] = {"category": "linear", "list": []}
    now_ms = time.time_ns() // 10**6
    return web.json_response(
        {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ms}
    )


async def main(core: int | None) -> None:
    """Serve until standard input ends."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    flood = Flood()
    app = web.Application()
    app.router.add_get("/{route:public|market|raw}/stream", flood.binance)
    app.router.add_get("/v5/public/linear", flood.bybit)
    app.router.add_get("/rate", flood.set_rate)
    app.router.add_get("/fapi/v1/time", _binance_time)
    app.router.add_get("/v5/market/time", _bybit_time)
    app.router.add_get("/v5/market/recent-trade", _no_trades)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"address": f"{host}:{port}"}), flush=True)
    sending = asyncio.create_task(flood.run())
    await asyncio.to_thread(sys.stdin.read)
    sending.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else None))
