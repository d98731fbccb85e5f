"""Every recorded market, every built-in strategy: a second bookkeeper recomputes the account.

It reads the files that a run leaves (fills, funding, account curve, trades, manifest) and the
recorded candles, and nothing of the package: see `independent_ledger.py`.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from tests.differential.independent_ledger import (
    Contract,
    IndependentLedger,
    Tier,
    in_order,
    read_fills,
    read_funding,
)

from perpdesk.backtest.catalog import BacktestCatalog
from perpdesk.backtest.runner import BacktestRunner
from perpdesk.backtest.service import BacktestService, FinishedRun
from perpdesk.backtest.spec import RunSpec, read_spec
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.candles import DataKind, Timeframe, Venue
from perpdesk.domain.errors import DataRefused
from perpdesk.domain.events import BarClosed
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.importers import import_file
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.strategies.registry import StrategyRegistry

pytestmark = [pytest.mark.recorded, pytest.mark.slow]

STRATEGIES = ("smc", "ema_trend", "rsi_momentum", "bollinger_reversion", "donchian_breakout")
CLOSE_ENOUGH = Fraction(1, 10**8)


@dataclass(frozen=True)
class Market:
    """A recorded market and the account to trade it with; the files are named as they lie."""

    venue: str
    symbols: tuple[str, ...]
    execution: str
    mark: str
    timeframe: str
    start: str
    end: str
    leverage: int
    margin_mode: str

    def __str__(self) -> str:
        return f"{self.venue}-{'+'.join(self.symbols)}-{self.execution}-{self.start[:4]}"


MARKETS = (
    Market("binance", ("BTCUSDT",), "5m", "1h", "1h", "2023-01-01", "2024-05-01", 5, "isolated"),
    Market("binance", ("ETHUSDT",), "5m", "1h", "1h", "2023-01-01", "2024-05-01", 20, "isolated"),
    Market("binance", ("BTCUSDT",), "1h", "1h", "4h", "2020-01-01", "2022-12-31", 10, "cross"),
    Market("binance", ("ETHUSDT",), "1h", "1h", "1h", "2020-01-01", "2022-12-31", 50, "isolated"),
    Market("binance", ("ADAUSDT",), "1h", "1h", "1h", "2020-02-01", "2024-05-14", 20, "isolated"),
    Market("binance", ("XRPUSDT",), "1h", "1h", "1h", "2020-01-07", "2024-05-14", 3, "cross"),
    Market("bybit", ("BTCUSDT",), "5m", "1h", "1h", "2025-09-25", "2026-03-31", 5, "isolated"),
    Market("bybit", ("ETHUSDT",), "5m", "1h", "1h", "2025-09-25", "2026-03-31", 25, "cross"),
    Market("bybit", ("SOLUSDT",), "5m", "1h", "1h", "2025-09-25", "2026-03-31", 25, "isolated"),
    Market("bybit", ("WIFUSDT",), "5m", "4h", "1h", "2025-04-12", "2025-05-23", 10, "isolated"),
    Market("bybit", ("WIFUSDT",), "1m", "4h", "15m", "2025-04-24", "2025-05-23", 5, "isolated"),
    Market("binance", ("SOLUSDT",), "1m", "8h", "15m", "2023-07-19", "2023-08-16", 5, "isolated"),
    Market(
        "binance", ("BTCUSDT", "ETHUSDT"), "5m", "1h", "1h", "2023-01-01", "2023-09-01", 10, "cross"
    ),
)


@pytest.fixture(scope="module")
def desk(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> BacktestService:
    """Every recorded perpetual with mark and funding, imported into one store."""
    data_dir = tmp_path_factory.mktemp("desk")
    store = CandleStore(data_dir / "candles")
    for funding in sorted((shared_dir / "market").glob("*/*/funding.parquet")):
        folder = funding.parent
        venue, symbol = Venue(folder.parent.name), folder.name
        for path in sorted(folder.glob("*.parquet")):
            name = path.stem
            if name == "funding":
                rows: Any = import_file(path, venue=venue, symbol=symbol, kind=DataKind.FUNDING)
                store.write_funding(rows)
            elif not name.startswith("trades"):
                kind = DataKind.MARK if name.startswith("mark-") else DataKind.CANDLES
                timeframe = Timeframe.parse(name.removeprefix("mark-"))
                rows = import_file(path, venue=venue, symbol=symbol, timeframe=timeframe, kind=kind)
                store.write_candles(rows, kind)
    runner = BacktestRunner(
        store=store,
        instruments=InstrumentBook.load(data_dir),
        strategies=StrategyRegistry.load(None),
    )
    return BacktestService(runner=runner, catalog=BacktestCatalog(data_dir))


def spec_of(market: Market, strategy: str, **others: object) -> RunSpec:
    values: dict[str, object] = {
        "venue": market.venue,
        "symbols": market.symbols,
        "strategy": strategy,
        "timeframe": market.timeframe,
        "execution_timeframe": market.execution,
        "start": market.start,
        "end": market.end,
        "leverage": market.leverage,
        "margin_mode": market.margin_mode,
        "sizing": {"rule": "risk_pct", "value": 3},
        # Whatever a strategy wants is traded: this is about the books, not about its ideas.
        "min_risk_reward": 0,
    }
    return read_spec(values | others, origin="the test")


@pytest.fixture
def invariants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check every identity of the exchange after every bar that is processed."""
    on_bars = SimulationHost.on_bars

    def checked(self: SimulationHost, bars: Sequence[BarClosed]) -> None:
        on_bars(self, bars)
        self.exchange.check_invariants()

    monkeypatch.setattr(SimulationHost, "on_bars", checked)


# What the files say.


def contracts_of(manifest: Mapping[str, Any]) -> dict[str, Contract]:
    return {
        symbol: Contract(
            tiers=[
                Tier(
                    Fraction(tier["cap"]),
                    Fraction(tier["maintenance_rate"]),
                    Fraction(tier["max_leverage"]),
                )
                for tier in rules["tiers"]
            ],
            fees=[
                (each["valid_from_ms"], Fraction(each["maker"]), Fraction(each["taker"]))
                for each in manifest["fee_schedule"][symbol]["periods"]
            ],
            clearance_rate=Fraction(rules["liquidation_fee_rate"]),
        )
        for symbol, rules in manifest["rules"].items()
    }


class Marks:
    """The mark at a close, from the recorded files alone: last price held to the mark's range."""

    def __init__(self, folder: Path, market: Market) -> None:
        last = pq.read_table(folder / f"{market.execution}.parquet")
        mark = pq.read_table(folder / f"mark-{market.mark}.parquet")
        self.same = market.execution == market.mark
        self.last_ms, self.last = _column(last, "ts"), _column(last, "close")
        self.mark_ms = _column(mark, "ts")
        self.low, self.high = _column(mark, "low"), _column(mark, "high")
        self.close = _column(mark, "close")
        self.step = Timeframe.parse(market.execution).duration_ms
        self.mark_step = Timeframe.parse(market.mark).duration_ms

    def at(self, close_ms: int) -> Fraction:
        bar = int(np.searchsorted(self.last_ms, close_ms - self.step, side="right")) - 1
        price, open_ms = float(self.last[bar]), int(self.last_ms[bar])
        place = int(np.searchsorted(self.mark_ms, open_ms, side="right")) - 1
        if place < 0 or open_ms >= int(self.mark_ms[place]) + self.mark_step:
            return Fraction(repr(price))
        if self.same:
            return Fraction(repr(float(self.close[place])))
        low, high = float(self.low[place]), float(self.high[place])
        return Fraction(repr(min(max(price, low), high)))


def _column(table: Any, name: str) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = table.column(name).to_numpy()
    return column


def curve_rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as file:
        yield from csv.DictReader(file)


def audited(finished: FinishedRun, market: Market, shared_dir: Path) -> int:
    """Recompute the run; return how many rows of its curve were compared in full."""
    folder = finished.stored.artifacts_dir
    manifest = json.loads((folder / "run_manifest.json").read_text())
    spec = manifest["spec"]
    ledger = IndependentLedger(
        market.venue,
        initial_cash=Fraction(spec["initial_capital"]),
        contracts=contracts_of(manifest),
    )
    marks = {
        symbol: Marks(shared_dir / "market" / market.venue / symbol, market)
        for symbol in market.symbols
    }
    leverage = dict.fromkeys(market.symbols, Fraction(spec["leverage"]))
    waiting = in_order(read_fills(folder / "fills.csv"), read_funding(folder / "funding.csv"))
    waiting.reverse()
    compared, problems = 0, list[str]()
    for number, row in enumerate(curve_rows(folder / "account_curve.csv")):
        ts_ms = int(row["ts_ms"])
        moved = False
        while waiting and waiting[-1].ts_ms <= ts_ms:
            problems += ledger.book(waiting.pop())
            moved = True
        assert problems == []
        assert Fraction(row["cash"]) == ledger.cash
        if moved or number % 37 == 0:
            compared += 1
            held = {
                symbol: marks[symbol].at(ts_ms + 1)
                for symbol in market.symbols
                if ledger.holdings[symbol].quantity
            }
            account = ledger.account(marks=held, leverage=leverage)
            for name in (
                *("cash", "unrealized", "equity", "used_margin", "free_margin", "available"),
                "maintenance_margin",
            ):
                off = abs(Fraction(row[name]) - getattr(account, name))
                assert off <= CLOSE_ENOUGH, (name, row, account)
    assert waiting == []
    assert_trades_add_up(folder, ledger.cash - Fraction(spec["initial_capital"]))
    return compared


def assert_trades_add_up(folder: Path, change: Fraction) -> None:
    """The trades explain the change of cash, each and all together."""
    with (folder / "trades.csv").open(newline="") as file:
        trades = list(csv.DictReader(file))
    for trade in trades:
        parts = Fraction(trade["gross_pnl"]) - Fraction(trade["fees"]) + Fraction(trade["funding"])
        assert Fraction(trade["net_pnl"]) == parts
    assert sum((Fraction(trade["net_pnl"]) for trade in trades), Fraction(0)) == change


# The tests.


@pytest.mark.usefixtures("invariants")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("market", MARKETS, ids=str)
def test_a_second_bookkeeper_agrees_on_every_recorded_market(
    market: Market, strategy: str, desk: BacktestService, shared_dir: Path
) -> None:
    finished = desk.run(spec_of(market, strategy))
    assert finished.result.verdict.passed
    assert audited(finished, market, shared_dir) > 10
    desk.catalog.delete([finished.stored])


def test_every_recorded_market_with_mark_and_funding_is_among_them(shared_dir: Path) -> None:
    there = {
        (path.parent.parent.name, path.parent.name)
        for path in (shared_dir / "market").glob("*/*/funding.parquet")
        if any(path.parent.glob("mark-*.parquet"))
    }
    assert there == {(market.venue, symbol) for market in MARKETS for symbol in market.symbols}


@pytest.mark.usefixtures("invariants")
@pytest.mark.parametrize("place", [2, 3, 8])
def test_the_books_agree_where_positions_are_liquidated(
    place: int, desk: BacktestService, shared_dir: Path
) -> None:
    # Without stops, at high leverage, through the falls of 2020, 2021 and October 2025.
    market = replace(MARKETS[place], leverage=50, margin_mode="isolated")
    finished = desk.run(
        spec_of(
            market,
            "ema_trend",
            params={"stop_atr": 0},
            sizing={"rule": "notional", "value": 4000},
            initial_capital=100_000,
        )
    )
    fills = read_fills(finished.stored.artifacts_dir / "fills.csv")
    assert sum(row.reason == "LIQUIDATION" for row in fills) >= 3
    assert len(read_funding(finished.stored.artifacts_dir / "funding.csv")) > 10
    assert audited(finished, market, shared_dir) > 10


WIF = Market("bybit", ("WIFUSDT",), "5m", "4h", "1h", "2025-01-02", "2025-05-23", 5, "isolated")


def test_a_recorded_hole_in_funding_refuses_the_run_and_names_it(desk: BacktestService) -> None:
    with pytest.raises(DataRefused) as caught:
        desk.run(spec_of(WIF, "ema_trend"))
    # Recorded from 3 February 12:00 on, and not between 8 March 20:00 and 11 April 04:00.
    assert "funding of WIFUSDT has holes" in caught.value.message
    assert "2025-01-02 00:00 to 2025-02-03 12:00" in caught.value.message
    assert "2025-03-08 20:00 to 2025-04-11 04:00" in caught.value.message
    assert "--allow-gaps" in caught.value.next_step


def test_where_it_is_allowed_the_hole_is_marked_and_the_books_still_agree(
    desk: BacktestService, shared_dir: Path
) -> None:
    finished = desk.run(spec_of(WIF, "ema_trend", allow_gaps=True))
    assert any("nothing is charged or paid there" in note for note in finished.result.notes)
    assert audited(finished, WIF, shared_dir) > 10
    manifest = json.loads((finished.stored.artifacts_dir / "run_manifest.json").read_text())
    assert manifest["coverage"]["WIFUSDT"]["funding_holes"] == 2


def test_the_bookkeeper_would_notice_a_changed_digit(
    desk: BacktestService, shared_dir: Path
) -> None:
    finished = desk.run(spec_of(MARKETS[0], "ema_trend", end="2023-03-01"))
    path = finished.stored.artifacts_dir / "fills.csv"
    rows = path.read_text().splitlines()
    fields = rows[1].split(",")
    fields[8] = str(Fraction(fields[8]) + Fraction(1, 10**8))
    fields[8] = f"{float(Fraction(fields[8])):.8f}"
    path.write_text("\n".join([rows[0], ",".join(fields), *rows[2:]]) + "\n")
    with pytest.raises(AssertionError, match="fee"):
        audited(finished, MARKETS[0], shared_dir)
