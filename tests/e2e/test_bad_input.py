"""Whatever is wrong is told in one readable paragraph, and leaves nothing behind."""

import json
import os
import resource
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.e2e.terminal import PERPDESK, Answer, environment, files_in, ok, perpdesk

BASE = ("--symbol", "BTCUSDT", "--strategy", "ema_trend", "--timeframe", "1h")
T0 = 1_704_067_200_000
"""2024-01-01T00:00Z."""


def assert_refused(answer: Answer, *expected: str, code: int = 2) -> None:
    """One paragraph: an error that names what is wrong, and the next step; no traceback."""
    assert answer.code == code, answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err
    lines = answer.err.strip().splitlines()
    assert lines[0].startswith("error: ")
    assert lines[1].startswith(" next: ")
    assert len(lines) == 2
    for words in expected:
        assert words in answer.err


# Data, at the door.

Rows = dict[str, list[object]]


def rows(count: int = 20) -> Rows:
    closes = [100.0 + index % 7 for index in range(count)]
    return {
        "ts": [T0 + index * 300_000 for index in range(count)],
        "open": list(closes),
        "high": [close + 1 for close in closes],
        "low": [close - 1 for close in closes],
        "close": list(closes),
        "volume": [5.0] * count,
    }


def csv_of(table: Rows) -> bytes:
    lines = [",".join(table)]
    lines += [",".join(str(value) for value in row) for row in zip(*table.values(), strict=True)]
    return ("\n".join(lines) + "\n").encode()


def changed(column: str, row: int, value: object) -> bytes:
    table = rows()
    table[column][row] = value
    return csv_of(table)


def swapped() -> bytes:
    table = rows()
    for column in table.values():
        column[3], column[9] = column[9], column[3]
    return csv_of(table)


def repeated() -> bytes:
    table = rows()
    for column in table.values():
        column.insert(8, column[7])
    return csv_of(table)


def shifted(ms: int) -> bytes:
    table = rows()
    table["ts"] = [int(str(ts)) + ms for ts in table["ts"]]
    return csv_of(table)


def local_times() -> bytes:
    table = rows()
    table["ts"] = [f"2024-01-01 00:{minute:02}:00" for minute in range(20)]
    return csv_of(table)


def parquet_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.parquet"
    pq.write_table(pa.table({name: list(column) for name, column in rows().items()}), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.csv", None, ["missing.csv is missing"]),
        ("empty.csv", b"", ["empty.csv is empty"]),
        ("header.csv", csv_of(rows(0)), ["header.csv holds a header and no rows"]),
        ("unsorted.csv", swapped(), ["unsorted.csv: row 5", "not in order"]),
        ("repeated.csv", repeated(), ["repeated.csv: row 9", "appears twice"]),
        ("nan.csv", changed("close", 4, "nan"), ["nan.csv: row 5, close", "not a number"]),
        ("words.csv", changed("close", 4, "abc"), ["words.csv", "row 5", "close", "abc"]),
        ("negative.csv", changed("low", 4, -1.0), ["negative.csv: row 5, low = -1"]),
        ("crossed.csv", changed("high", 4, 1.0), ["crossed.csv: row 5, high = 1", "below"]),
        ("volume.csv", changed("volume", 4, -3.0), ["volume.csv: row 5, volume = -3"]),
        ("grid.csv", changed("ts", 4, T0 + 4 * 300_000 + 7), ["grid.csv: row 5"]),
        ("future.csv", shifted(3_650 * 86_400_000), ["future.csv: row 1", "is not over yet"]),
        ("local.csv", local_times(), ["local.csv: row 1, ts", "without its UTC offset"]),
        ("binary.csv", bytes(range(256)) * 9, ["binary.csv"]),
        ("table.xlsx", b"PK", ["table.xlsx: files of this kind are not known"]),
    ],
)
def test_dirty_data_is_refused_naming_file_row_and_field(
    tmp_path: Path, name: str, content: bytes | None, expected: Sequence[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    answer = perpdesk(
        tmp_path, "data", "import", name, "--venue", "binance", "--symbol", "BTCUSDT",
        "--timeframe", "5m",
    )  # fmt: skip
    assert_refused(answer, *expected)
    assert not (tmp_path / "data").exists() or files_in(tmp_path / "data") == set()


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = parquet_bytes(tmp_path)
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    answer = perpdesk(
        tmp_path, "data", "import", "cut.parquet", "--venue", "binance", "--symbol", "BTCUSDT",
        "--timeframe", "5m",
    )  # fmt: skip
    assert_refused(answer, "cut.parquet is damaged or cut off")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("rows.csv", ("--timeframe", "1h"), "the usual step between rows is 5m"),
        ("ETHUSDT-5m.csv", ("--timeframe", "5m"), "the name says ETHUSDT, not BTCUSDT"),
    ],
)
def test_the_wrong_timeframe_and_the_wrong_symbol_are_noticed(
    tmp_path: Path, name: str, options: tuple[str, ...], expected: str
) -> None:
    (tmp_path / name).write_bytes(csv_of(rows()))
    answer = perpdesk(
        tmp_path, "data", "import", name, "--venue", "binance", "--symbol", "BTCUSDT", *options
    )
    assert_refused(answer, expected)


# Runs.


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four months of synthetic candles, mark prices and funding."""
    folder = tmp_path_factory.mktemp("market")
    ok(folder, "data", "sample", "--days", "120")
    return folder


@pytest.fixture
def desk(tmp_path: Path, market: Path) -> Path:
    """A new folder with that market in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/candles").symlink_to(market / "data/candles")
    (tmp_path / "strategies").mkdir()
    return tmp_path


def leftovers(desk: Path) -> set[str]:
    """Return what lies in the data folder besides the candles."""
    return {path.relative_to(desk).as_posix() for path in (desk / "data").rglob("*")} - {
        "data/candles"
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--strategy", "ema_tren"), ["no strategy 'ema_tren'", "Did you mean ema_trend?"]),
        (("--param", "fats=3"), ["ema_trend@1 has no parameter fats; did you mean fast?"]),
        (("--param", "fast=0"), ["parameter fast=0 of ema_trend@1", "from 1 to 500"]),
        (("--param", "fast=nan"), ["parameter fast=nan of ema_trend@1"]),
        (("--param", "fast=99", "--param", "slow=9"), ["fast=99 must be below slow=9"]),
        (
            ("--start", "2024-03-01", "--end", "2024-02-01"),
            ["the start 2024-03-01T00:00Z is not before the end 2024-02-01T00:00Z"],
        ),
        (("--start", "2024-03-01T08:00"), ["has no time zone", "2023-01-31T08:00Z"]),
        (("--start", "soon"), ["--start: 'soon' is not a date"]),
        (
            ("--start", "2022-01-01", "--end", "2022-02-01"),
            ["cover 2022-01-01 00:00 to 2022-02-01 00:00", "stored: 5m from 2024-01-01 00:00"],
        ),
        (("--symbol", "DOGEUSDT"), ["no candles of DOGEUSDT on binance", "perpdesk data import"]),
        (("--timeframe", "7m"), ["--timeframe: timeframe 7m does not divide a day evenly"]),
        (("--leverage", "1000"), ["--leverage 1000 is refused"]),
        (("--no-such-option",), ["--no-such-option"]),
        (("--spec", "nowhere.yaml"), ["there is no spec file nowhere.yaml"]),
    ],
)
def test_a_wrong_request_names_what_is_wrong_and_the_way_out(
    desk: Path, options: tuple[str, ...], expected: Sequence[str]
) -> None:
    named = {options[place] for place in range(0, len(options), 2)}
    base = [
        word
        for place in range(0, len(BASE), 2)
        if BASE[place] not in named or (BASE[place] == "--symbol" and "--symbol" not in named)
        for word in BASE[place : place + 2]
    ]
    assert_refused(perpdesk(desk, "backtest", "run", *base, *options), *expected)
    assert leftovers(desk) == set()


def plugin(body: str, *, name: str = "mine", base: str = "SignalStrategy") -> str:
    head = f'''
    import numpy as np
    from perpdesk.domain.signal import PositionSide
    from perpdesk.strategies.base import {base}


    class Mine({base}):
        """A plugin."""

        name = "{name}"
    '''
    return textwrap.dedent(head) + textwrap.indent(textwrap.dedent(body), "    ")


GENERATE = "def generate_signal(self):\n    "
BAD_PLUGINS = {
    "on import": (
        "raise RuntimeError('no licence found')",
        ["strategy mine cannot be used", "mine.py, line 1: RuntimeError: no licence found"],
    ),
    "no Python": ("def broken(:", ["mine.py, line 1: SyntaxError"]),
    "in __init__": (
        plugin("def __init__(self):\n    self.x = 1 / 0\n" + GENERATE + "return None"),
        ["mine@1 raised ZeroDivisionError in", "mine.py, line"],
    ),
    "on bar 1": (
        plugin(GENERATE + "return self.data.close[0] / 0"),
        ["mine@1 raised ZeroDivisionError", "the bar that opened 2024-01-01T00:00:00Z"],
    ),
    "leaves": (
        plugin(GENERATE + "raise SystemExit(0)"),
        ["mine@1 raised SystemExit", "mine.py, line"],
    ),
    "NaN": (
        plugin(GENERATE + "return self.enter(PositionSide.LONG, stop_loss=float('nan'))"),
        ["mine@1 on BTCUSDT 1h", "stop_loss is nan, not a price"],
    ),
    "wrong side": (
        plugin(GENERATE + "return self.enter(PositionSide.LONG, stop_loss=1e6)"),
        ["mine@1 on BTCUSDT 1h", "stop_loss 1000000 of a LONG signal is on the wrong side"],
    ),
    "no signal": (
        plugin(GENERATE + "return 'LONG'"),
        ["mine@1 on BTCUSDT 1h returned 'LONG', which is not a Signal"],
    ),
    "too few candles": (
        "import backtrader as bt\n"
        + plugin(
            "def __init__(self):\n    bt.indicators.EMA(self.data, period=9999)\n"
            + GENERATE
            + "return None"
        ),
        ["mine@1 needs 9999 candles before its first bar", "BTCUSDT 1h has 2880"],
    ),
    "short column": (
        "from perpdesk.strategies.base import SignalArrays\n"
        + plugin(
            "@classmethod\ndef signals(cls, candles, params):\n"
            "    return SignalArrays(side=np.zeros(3, np.int8))",
            base="ArrayStrategy",
        ),
        ["mine@1 returned side of shape (3,) for 2880 candles"],
    ),
    "looks ahead": (
        "from perpdesk.strategies.base import SignalArrays\n"
        + plugin(
            "@classmethod\ndef signals(cls, candles, params):\n"
            "    ahead = np.sign(np.diff(candles.close, append=candles.close[-1:]))\n"
            "    return SignalArrays(side=ahead.astype(np.int8))",
            base="ArrayStrategy",
        ),
        ["the look-ahead test failed, the result means nothing", "--allow-lookahead"],
    ),
}


@pytest.mark.parametrize("fault", BAD_PLUGINS)
def test_a_plugin_that_fails_is_named_with_file_line_and_bar(desk: Path, fault: str) -> None:
    text, expected = BAD_PLUGINS[fault]
    (desk / "strategies/mine.py").write_text(text)
    answer = perpdesk(
        desk, "backtest", "run", "--symbol", "BTCUSDT", "--strategy", "mine", "--timeframe", "1h"
    )
    assert_refused(answer, *expected)
    assert leftovers(desk) == set()


def test_a_plugin_that_fails_on_bar_100_000_is_named_with_that_bar(tmp_path: Path) -> None:
    ok(tmp_path, "data", "sample", "--days", "70", "--timeframe", "1m")
    (tmp_path / "strategies").mkdir()
    body = GENERATE + "if len(self) == 100_000:\n        raise ValueError('tired')"
    (tmp_path / "strategies/mine.py").write_text(plugin(body))
    answer = perpdesk(
        tmp_path, "backtest", "run", "--symbol", "BTCUSDT", "--strategy", "mine",
        "--timeframe", "1m",
    )  # fmt: skip
    # Bar 100 000 opens 99 999 minutes after midnight of 1 January: 69 days, 10:39.
    assert_refused(answer, "mine@1 raised ValueError", "opened 2024-03-10T10:39:00Z", "tired")
    assert leftovers(tmp_path) == {
        name for name in leftovers(tmp_path) if name.startswith("data/candles")
    }


def test_signals_below_the_floor_are_denied_and_counted_and_the_run_goes_on(desk: Path) -> None:
    body = (
        GENERATE + "close = self.data.close[0]\n"
        "    return self.enter(PositionSide.LONG, stop_loss=close * 0.9, "
        "take_profits=[(close * 1.1, 1)])"
    )
    (desk / "strategies/mine.py").write_text(plugin(body))
    options = ("--symbol", "BTCUSDT", "--strategy", "mine", "--timeframe", "1h")
    document = ok(desk, "backtest", "run", *options)
    assert document["signals"]["entries"] == {"DENIED": 2880}
    assert any("all 2880 entry signals were denied" in note for note in document["notes"])
    traded = ok(desk, "backtest", "run", *options, "--min-risk-reward", "0")
    assert traded["metrics"]["trade_count"] > 0


def test_json_errors_are_one_document_on_stderr(desk: Path) -> None:
    answer = perpdesk(desk, "backtest", "run", *BASE, "--leverage", "1000", "--json")
    assert (answer.code, answer.out) == (2, "")
    error = json.loads(answer.err)["error"]
    assert error["kind"] == "UsageRefused"
    assert "--leverage 1000 is refused" in error["message"]
    assert error["next_step"]


def test_a_reader_that_leaves_early_is_no_error(desk: Path) -> None:
    command = (
        f"{' '.join(PERPDESK)} backtest run {' '.join(BASE)} | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=desk,
        env=environment(desk),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


# Funding.


def import_series(folder: Path, *, hours: Sequence[int] | None, days: int = 10) -> None:
    """Import hourly candles of `days` days, and funding at the given hours, if any."""
    count = 24 * days
    closes = 100 + np.sin(np.arange(count) / 9) * 5
    table = {
        "ts": T0 + np.arange(count) * 3_600_000,
        "open": closes,
        "high": closes + 1,
        "low": closes - 1,
        "close": closes,
        "volume": np.full(count, 9.0),
    }
    pq.write_table(pa.table(table), folder / "candles.parquet")
    place = ("--venue", "binance", "--symbol", "BTCUSDT")
    ok(folder, "data", "import", "candles.parquet", *place, "--timeframe", "1h")
    if hours is not None:
        settled = {"ts": [T0 + hour * 3_600_000 for hour in hours], "rate": [0.0001] * len(hours)}
        pq.write_table(pa.table(settled), folder / "funding.parquet")
        ok(folder, "data", "import", "funding.parquet", *place, "--kind", "funding")


def test_missing_funding_refuses_the_run_or_marks_it_where_allowed(tmp_path: Path) -> None:
    import_series(tmp_path, hours=None)
    answer = perpdesk(tmp_path, "backtest", "run", *BASE)
    assert_refused(answer, "no funding of BTCUSDT is stored", "--kind funding", "--allow-gaps")
    document = ok(tmp_path, "backtest", "run", *BASE, "--allow-gaps")
    assert any("no funding of BTCUSDT is stored" in note for note in document["notes"])


def test_a_hole_in_funding_is_named_with_its_times(tmp_path: Path) -> None:
    import_series(tmp_path, hours=[hour for hour in range(0, 241, 8) if not 90 < hour < 130])
    answer = perpdesk(tmp_path, "backtest", "run", *BASE)
    # Settled on 4 January 16:00, then not before 6 January 16:00.
    assert_refused(answer, "funding of BTCUSDT has holes", "2024-01-05", "2024-01-06")
    document = ok(tmp_path, "backtest", "run", *BASE, "--allow-gaps")
    assert any("has holes" in note for note in document["notes"])
    before = ok(tmp_path, "backtest", "run", *BASE, "--end", "2024-01-04")
    assert not any("hole" in note for note in before["notes"])


# A full disk.


def full_at(size: int) -> Callable[[], None]:
    """Let no file of the process grow beyond `size` bytes, as a full disk would."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.parametrize("size", [0, 4_000, 40_000, 120_000])
def test_a_disk_that_is_full_leaves_no_half_run(desk: Path, size: int) -> None:
    answer = perpdesk(desk, "backtest", "run", *BASE, before=full_at(size))
    assert_refused(answer, "cannot write", "Free space")
    assert leftovers(desk) == set()
    assert ok(desk, "backtest", "list") == []


def test_a_disk_that_is_full_leaves_no_half_import(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(csv_of(rows(5_000)))
    answer = perpdesk(
        tmp_path, "data", "import", "rows.csv", "--venue", "binance", "--symbol", "BTCUSDT",
        "--timeframe", "5m", before=full_at(2_000),
    )  # fmt: skip
    assert answer.code == 2, answer.err
    assert "Traceback" not in answer.err
    assert ok(tmp_path, "data", "list") == []
    assert not [name for name in files_in(tmp_path / "data") if not name.startswith("_")]


def test_a_folder_that_may_not_be_written_is_named(desk: Path) -> None:
    (desk / "data/artifacts").write_text("a file where a folder belongs")
    answer = perpdesk(desk, "backtest", "run", *BASE)
    assert answer.code in (1, 2)
    assert "Traceback" not in answer.err
    assert "artifacts" in answer.err


# Ctrl-C.

SLOW = plugin(
    "def generate_signal(self):\n    import time\n    time.sleep(0.01)\n    return None",
    name="mine",
)


def interrupted(desk: Path, strategy: str, wait_for: Callable[[], bool]) -> Answer:
    """Start a run, press Ctrl-C once `wait_for` says so, and return what it said."""
    process = subprocess.Popen(
        [*PERPDESK, "backtest", "run", "--symbol", "BTCUSDT", "--strategy", strategy,
         "--timeframe", "5m"],
        cwd=desk,
        env=environment(desk),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not wait_for() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return Answer(process.returncode, out, err)


def is_staged(desk: Path) -> bool:
    return any((desk / "data").glob("artifacts/.*.partial/account_curve.csv"))


def is_writing(desk: Path) -> bool:
    return any((desk / "data").glob("artifacts/.*.partial/fills.csv"))


def test_ctrl_c_in_the_middle_of_a_run_says_so_and_leaves_nothing(desk: Path) -> None:
    (desk / "strategies/mine.py").write_text(SLOW)
    answer = interrupted(desk, "mine", lambda: is_staged(desk))
    assert (answer.code, answer.out) == (130, "")
    assert answer.err.strip() == "error: interrupted"
    assert leftovers(desk) == set()


def test_ctrl_c_while_artifacts_are_written_leaves_all_or_nothing(desk: Path) -> None:
    for _ in range(3):
        answer = interrupted(desk, "ema_trend", lambda: is_writing(desk))
        assert answer.code in (0, 130)
        assert "Traceback" not in answer.err
        runs = ok(desk, "backtest", "list")
        registered = {Path(row["artifacts_dir"]).name for row in runs}
        folders = (desk / "data").glob("artifacts/*")
        assert {path.name for path in folders} == registered
        assert all("error" not in row for row in runs)
        assert not list((desk / "data").rglob("*.partial"))


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.5, 0.8])
def test_ctrl_c_is_no_traceback_however_early_it_comes(desk: Path, seconds: float) -> None:
    began = time.monotonic()
    answer = interrupted(desk, "ema_trend", lambda: time.monotonic() - began > seconds)
    assert "Traceback" not in answer.err
    # Python may end by the signal itself while it loads; a shell shows that as 130 too.
    assert answer.code in (0, 130, -signal.SIGINT)
    assert not list((desk / "data").rglob("*.partial"))


def test_what_a_power_loss_left_behind_is_cleared_by_a_later_run(desk: Path) -> None:
    old, fresh = desk / "data/artifacts/.old.partial", desk / "data/artifacts/.new.partial"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "fills.csv").write_text("half a fi")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    ok(desk, "backtest", "run", *BASE)
    assert not old.exists()
    # Somebody may be writing it at this moment.
    assert fresh.exists()
