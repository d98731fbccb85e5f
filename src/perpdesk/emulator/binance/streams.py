"""Market streams: who listens to what; each message is written once, whoever hears it."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

import orjson

from perpdesk.emulator.binance.feed import PUBLIC, Feed
from perpdesk.emulator.binance.feeds import ForceFeed, feed_of
from perpdesk.emulator.binance.market_rows import DayTickers
from perpdesk.emulator.faults import Faults
from perpdesk.emulator.market import Market, MarketStep
from perpdesk.emulator.sockets import ClientSocket

MOST_STREAMS: Final = 1_024
MOST_MESSAGES: Final = 10
"""Control messages a second."""


class Line:
    """A connection and the streams it asked for, heard or not. route: "" for the old paths."""

    def __init__(self, socket: ClientSocket, *, route: str, combined: bool) -> None:
        self.socket = socket
        self.route = route or PUBLIC
        self.combined = combined
        self.names: dict[str, None] = {}


class Pace:
    """How many control messages a socket may send in a second; the venue cuts who sends more."""

    def __init__(self, most: int) -> None:
        self._times: deque[float] = deque([-math.inf] * most, maxlen=most)

    def allows(self, now_s: float) -> bool:
        """Tell whether one more may come now, and count it."""
        oldest = self._times[0]
        self._times.append(now_s)
        return now_s - oldest >= 1.0


class _Topic:
    """A stream that somebody listens to."""

    def __init__(self, name: str, feed: Feed) -> None:
        self.name = name
        self.feed = feed
        self.lines: dict[Line, None] = {}

    def send(self, body: object) -> None:
        """Say something to all who listen."""
        raw = orjson.dumps(body).decode()
        wrapped = ""
        for line in list(self.lines):
            if line.combined:
                wrapped = wrapped or f'{{"stream":"{self.name}","data":{raw}}}'
            line.socket.send(self.name, wrapped if line.combined else raw)


class MarketStreams:
    """The market streams of the venue."""

    def __init__(self, markets: Mapping[str, Market], faults: Faults) -> None:
        self._markets = markets
        self._faults = faults
        self._days = DayTickers()
        self._topics: dict[str, _Topic] = {}

    def on_step(self, steps: list[MarketStep]) -> None:
        """Tell those who listen what the step brought."""
        if not self._topics or not steps:
            return
        by_symbol = {step.symbol: step for step in steps}
        now_ms = steps[0].end_ms
        for topic in list(self._topics.values()):
            for body in topic.feed.on_step(by_symbol, now_ms):
                topic.send(body)

    def put_liquidation(self, symbol: str, message: object) -> None:
        """Take a liquidation to the streams that carry it."""
        for topic in self._topics.values():
            if isinstance(topic.feed, ForceFeed):
                topic.feed.put(symbol, message)

    # Subscribing.

    def add(self, line: Line, name: str) -> None:
        """Subscribe; a stream that does not exist, or not on this route, stays silent."""
        line.names[name] = None
        topic = self._topics.get(name)
        if topic is None:
            feed = feed_of(name, self._markets, self._days, self._faults)
            if feed is None:
                return
            if feed.route != line.route:
                feed.close()
                return
            topic = self._topics[name] = _Topic(name, feed)
        if topic.feed.route == line.route:
            topic.lines[line] = None

    def remove(self, line: Line, name: str) -> None:
        """Unsubscribe."""
        line.names.pop(name, None)
        topic = self._topics.get(name)
        if topic is None:
            return
        topic.lines.pop(line, None)
        if not topic.lines:
            topic.feed.close()
            del self._topics[name]

    def drop(self, line: Line) -> None:
        """Forget a connection."""
        for name in list(line.names):
            self.remove(line, name)


def answer(streams: MarketStreams, line: Line, text: str) -> str:
    """Do what a control message asks and return the answer."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _error(3, f"Invalid JSON: {error}", None)
    if not isinstance(message, dict):
        return _error(2, "Invalid request: request must be an object", None)
    number, params = message.get("id"), message.get("params", [])
    if not isinstance(params, list):
        return _error(2, "Invalid request: params must be an array", number)
    names = [str(each) for each in params]
    match message.get("method"):
        case "SUBSCRIBE":
            if len(line.names) + len(names) > MOST_STREAMS:
                return _error(2, f"Too many streams: at most {MOST_STREAMS}", number)
            for name in names:
                streams.add(line, name)
            return _result(None, number)
        case "UNSUBSCRIBE":
            for name in names:
                streams.remove(line, name)
            return _result(None, number)
        case "LIST_SUBSCRIPTIONS":
            return _result(list(line.names), number)
        case "SET_PROPERTY" if params[:1] == ["combined"] and len(params) == 2:
            line.combined = bool(params[1])
            return _result(None, number)
        case "GET_PROPERTY" if params == ["combined"]:
            return _result(line.combined, number)
    return _error(2, "Invalid request: unknown method or property", number)


def _result(result: object, number: object) -> str:
    return orjson.dumps({"result": result, "id": number}).decode()


def _error(code: int, text: str, number: object) -> str:
    return orjson.dumps({"error": {"code": code, "msg": text}, "id": number}).decode()
