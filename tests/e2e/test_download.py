"""Downloads over real HTTP: a process that is killed, a venue that stutters, hosts that are wrong.

The venue is a small server in this file that speaks the few public calls of Binance that a download
of candles needs (reference/exchanges.md 3.1); what it recorded of the requests is the proof.
"""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.e2e.terminal import PERPDESK, Answer, environment, ok, perpdesk

T0 = 1_704_067_200_000  # 2024-01-01
MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
DAYS = 45
NOW_MS = T0 + DAYS * DAY_MS + 30_000
DOWNLOAD = (
    *("data", "download", "BTCUSDT", "--venue", "binance"),
    *("--timeframe", "1m", "--since", "2024-01-01"),
)


def kline(open_ms: int) -> list[Any]:
    price = f"{100 + (open_ms // MINUTE_MS) % 977 / 10:.1f}"
    close_ms = open_ms + MINUTE_MS - 1
    return [open_ms, price, price, price, price, "5.5", close_ms, "1", 1, "1", "1", "0"]


@dataclass
class Klines:
    """A venue of minutes. asked: the first minute of each window that was answered in full."""

    delay_s: float = 0.0
    asked: list[int] = field(default_factory=list)
    spoil: Callable[[int], bytes | None] = lambda number: None
    served: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/fapi/v1/time":
            return 200, {"serverTime": NOW_MS}
        if path == "/fapi/v1/exchangeInfo":
            listed = {
                "symbol": "BTCUSDT",
                "pair": "BTCUSDT",
                "contractType": "PERPETUAL",
                "status": "TRADING",
                "baseAsset": "BTC",
                "quoteAsset": "USDT",
                "marginAsset": "USDT",
                "onboardDate": T0,
                "filters": [],
            }
            return 200, {"serverTime": NOW_MS, "rateLimits": [], "symbols": [listed]}
        if path != "/fapi/v1/klines":
            return 404, {"code": -1, "msg": f"{path} is not served here"}
        if query["symbol"] != "BTCUSDT":
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        time.sleep(self.delay_s)
        start, limit = max(int(query["startTime"]), T0), int(query["limit"])
        end = min(int(query.get("endTime", NOW_MS)), NOW_MS)
        first = -(-start // MINUTE_MS) * MINUTE_MS
        rows = [kline(open_ms) for open_ms in range(first, end + 1, MINUTE_MS)[:limit]]
        return 200, rows


@pytest.fixture
def venue() -> Iterator[tuple[Klines, str]]:
    klines = Klines()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            is_window = url.path.endswith("klines") and "endTime" in query
            status, document = klines.answer(url.path, query)
            body = json.dumps(document).encode()
            if is_window:
                with klines.lock:
                    number, klines.served = klines.served, klines.served + 1
                spoiled = klines.spoil(number)
                if spoiled is not None:
                    body = spoiled
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return
            if is_window:
                with klines.lock:
                    klines.asked.append(int(query["startTime"]))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield klines, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def at(address: str) -> dict[str, str]:
    return {"PERPDESK_BINANCE_REST_URL": address}


def assert_whole(folder: Path) -> None:
    """Every minute is stored, with the venue's own price, and passes the check."""
    (series,) = ok(folder, "data", "list")
    assert (series["rows"], series["gaps"]) == (DAYS * 1_440, 0)
    assert ok(folder, "data", "check")["sound"] is True
    wrong = (
        "SELECT count(*) AS wrong FROM candles "
        "WHERE abs(open - 100 - (ts_ms // 60000) % 977 / 10) > 1e-9 OR volume <> 5.5"
    )
    assert ok(folder, "data", "sql", wrong) == [{"wrong": 0}]


def started(folder: Path, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PERPDESK, *DOWNLOAD],
        cwd=folder,
        env=environment(folder, **at(address)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(klines: Klines, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(klines.asked) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_a_download_brings_every_closed_candle_and_says_where_they_come_from(
    tmp_path: Path, venue: tuple[Klines, str]
) -> None:
    klines, address = venue
    document = ok(tmp_path, *DOWNLOAD, env=at(address))
    assert document["series"][0]["rows_added"] == DAYS * 1_440
    assert_whole(tmp_path)
    assert ok(tmp_path, "data", "list")[0]["source"] == "emulator"
    klines.asked.clear()
    assert ok(tmp_path, *DOWNLOAD, env=at(address))["series"][0]["requests"] == 0
    assert klines.asked == []


@pytest.mark.parametrize("windows", [1, 40, 100, 125])
def test_kill_9_at_any_point_loses_nothing_that_was_stored(
    tmp_path: Path, venue: tuple[Klines, str], windows: int
) -> None:
    klines, address = venue
    klines.delay_s = 0.005
    process = started(tmp_path, address)
    wait_for(klines, windows, process)
    process.kill()
    process.communicate()
    listed = ok(tmp_path, "data", "list")
    rows = listed[0]["rows"] if listed else 0
    klines.delay_s = 0
    (done,) = ok(tmp_path, *DOWNLOAD, env=at(address))["series"]
    # A month is stored whole: what was stored when it was killed is not asked for again.
    assert (done["rows_before"], done["rows_added"]) == (rows, DAYS * 1_440 - rows)
    assert_whole(tmp_path)


def test_ctrl_c_keeps_what_came_in_and_says_how_to_go_on(
    tmp_path: Path, venue: tuple[Klines, str]
) -> None:
    klines, address = venue
    klines.delay_s = 0.02
    process = started(tmp_path, address)
    wait_for(klines, 30, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    answer = Answer(process.returncode, out, err)
    assert (answer.code, answer.out) == (130, "")
    assert "rows are stored; the same command goes on from there" in answer.err
    assert "Traceback" not in answer.err
    (series,) = ok(tmp_path, "data", "list")
    assert 0 < series["rows"] < 44_640
    klines.delay_s = 0
    ok(tmp_path, *DOWNLOAD, env=at(address))
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "spoiled",
    [b"<html><body>Bad gateway</body></html>", b'[[1704067200000,"100', b""],
    ids=["html", "half a JSON", "nothing"],
)
def test_an_answer_that_is_no_answer_is_asked_for_again(
    tmp_path: Path, venue: tuple[Klines, str], spoiled: bytes
) -> None:
    klines, address = venue
    klines.spoil = lambda number: spoiled if number in (3, 90) else None
    ok(tmp_path, *DOWNLOAD, env=at(address))
    assert_whole(tmp_path)


def test_a_symbol_with_a_typo_names_the_nearest(tmp_path: Path, venue: tuple[Klines, str]) -> None:
    _, address = venue
    words = [*DOWNLOAD]
    words[2] = "BTCUSD"
    answer = perpdesk(tmp_path, *words, env=at(address))
    assert answer.code == 2, answer.err
    assert "BTCUSDT" in answer.err
    assert "BTCUSD" in answer.err.splitlines()[0]
    assert "Traceback" not in answer.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("http://127.0.0.1:9", 1, "127.0.0.1:9"),
        ("https://127.0.0.1:9", 1, "127.0.0.1:9"),
        ("127.0.0.1:18080", 2, "starts with https://"),
    ],
)
def test_a_host_that_is_wrong_is_one_readable_paragraph(
    tmp_path: Path, address: str, code: int, words: str
) -> None:
    answer = perpdesk(tmp_path, *DOWNLOAD, env=at(address))
    assert answer.code == code, answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert words in answer.err
    lines = answer.err.strip().splitlines()
    assert [line[:7] for line in lines] == ["error: ", " next: "], answer.err
