"""The files of a run: exact numbers, and all of a run or nothing."""

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.cerebro.builders import T0, D, told, trial_of, walk
from tests.unit.cerebro.test_account_curve import curve_of

from perpdesk.backtest import catalog
from perpdesk.backtest.artifacts import write_json_atomically
from perpdesk.backtest.catalog import BacktestCatalog
from perpdesk.backtest.curve_file import CurveFile
from perpdesk.backtest.runner import BacktestResult, BacktestRunner
from perpdesk.backtest.service import BacktestService
from perpdesk.backtest.spec import read_spec
from perpdesk.backtest.verification import verify_run
from perpdesk.cerebro.engine import run_batch
from perpdesk.cerebro.host import SimulationHost
from perpdesk.domain.account import AccountCurve
from perpdesk.domain.errors import InvariantBroken
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.instruments import InstrumentBook
from perpdesk.marketdata.sample import generate_market, write_sample
from perpdesk.strategies.registry import StrategyRegistry

CREATED_MS = 1_800_000_000_000


def curve_of_rows(rows: list[tuple[int, int, int, int, int]]) -> AccountCurve:
    columns = np.array(rows, np.int64).T
    return AccountCurve(
        ts_ms=columns[0],
        cash=columns[1],
        unrealized=columns[2],
        used_margin=columns[3],
        maintenance_margin=columns[4],
    )


def written(path: Path, parts: list[AccountCurve]) -> list[dict[str, str]]:
    writer = CurveFile(path)
    for part in parts:
        writer.write(part)
    writer.finish()
    writer.close()
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_curve_is_written_exactly_also_below_zero(tmp_path: Path) -> None:
    curve = curve_of_rows([(9, 1_000_000_000_001, -3, 7, 2), (19, 5, -1_000_000_000, 1, 0)])
    first, second = written(tmp_path / "curve.csv", [curve])
    assert {name: Decimal(text) for name, text in first.items()} == {
        "ts_ms": 9,
        "cash": D("10000.00000001"),
        "unrealized": D("-0.00000003"),
        "equity": D("9999.99999998"),
        "used_margin": D("0.00000007"),
        "free_margin": D("9999.99999991"),
        "available": D("9999.99999991"),
        "maintenance_margin": D("0.00000002"),
    }
    # 0.00000005 - 10 - 0.00000001 is what is free, so nothing is available.
    assert Decimal(second["free_margin"]) == D("-9.99999996")
    assert Decimal(second["available"]) == 0


def test_parts_of_a_curve_make_one_file(tmp_path: Path) -> None:
    rows = [(n, n * 10**9, n, n, n) for n in range(1, 8)]
    whole = written(tmp_path / "whole.csv", [curve_of_rows(rows)])
    parts = [curve_of_rows(rows[:3]), curve_of_rows(rows[3:4]), curve_of_rows(rows[4:])]
    assert written(tmp_path / "parts.csv", parts) == whole


def test_a_json_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep/result.json"
    write_json_atomically(path, {"price": D("1.50"), "none": None, "nan": float("nan")})
    assert json.loads(path.read_text()) == {"price": "1.5", "none": None, "nan": None}

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("perpdesk.backtest.durable.os.fsync", broken)
    with pytest.raises(OSError, match="No space"):
        write_json_atomically(path, {"price": 2})
    assert json.loads(path.read_text())["price"] == "1.5"
    assert [each.name for each in path.parent.iterdir()] == ["result.json"]


# A whole run.


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> CandleStore:
    store = CandleStore(tmp_path_factory.mktemp("market") / "candles")
    write_sample(store, 7, generate_market(seed=7, days=20))
    return store


@pytest.fixture
def service(store: CandleStore, tmp_path: Path) -> BacktestService:
    return BacktestService(
        runner=BacktestRunner(
            store=store,
            instruments=InstrumentBook.load(tmp_path),
            strategies=StrategyRegistry.load(None),
        ),
        catalog=BacktestCatalog(tmp_path),
    )


def spec(**fields: Any) -> Any:
    values = {
        "venue": "binance",
        "symbols": "BTCUSDT",
        "strategy": "ema_trend",
        "timeframe": "1h",
        "leverage": 5,
    }
    return read_spec(values | fields, origin="")


def things_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "broken", ["write_artifacts", "sync_folder", "write_json_atomically", "run_manifest"]
)
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_whatever_breaks_while_writing_leaves_no_run_and_no_file(
    service: BacktestService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    error: BaseException,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(catalog, broken, fail)
    with pytest.raises(type(error)):
        service.run(spec())
    assert things_in(tmp_path) == []
    assert service.catalog.runs() == []


def test_ctrl_c_after_the_result_is_in_place_takes_it_back_too(
    service: BacktestService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, value: object) -> None:
        write_json_atomically(path, value)
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "write_json_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        service.run(spec())
    assert service.catalog.runs() == []
    assert [name for name in things_in(tmp_path) if "." in name or "artifacts/" in name] == []


def test_a_curve_that_cannot_be_written_fails_the_run(
    service: BacktestService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: CurveFile, part: AccountCurve) -> None:
        raise OSError(28, "No space left")

    monkeypatch.setattr(CurveFile, "write", fail)
    with pytest.raises(OSError, match="No space"):
        service.run(spec())
    assert things_in(tmp_path) == []


def test_the_equity_file_has_a_row_per_midnight_and_the_end(service: BacktestService) -> None:
    finished = service.run(spec(start="2024-01-02", end="2024-01-05T12:00Z"))
    with (finished.stored.artifacts_dir / "equity.csv").open() as file:
        rows = list(csv.DictReader(file))
    day = 86_400_000
    first = 1_704_153_600_000
    times = [int(row["ts_ms"]) for row in rows]
    assert times == [first + day, first + 2 * day, first + 3 * day, first + 3 * day + day // 2]
    with (finished.stored.artifacts_dir / "account_curve.csv").open() as file:
        curve = {int(row["ts_ms"]): Decimal(row["equity"]) for row in csv.DictReader(file)}
    highest = D(10_000)
    for row in rows:
        equity = curve[int(row["ts_ms"]) - 1]
        assert Decimal(row["equity"]) == equity
        highest = max(highest, equity)
        depth = 1 - float(equity / highest)
        assert float(row["drawdown"]) == pytest.approx(depth, abs=1e-11)
    depths = [float(row["drawdown"]) for row in rows]
    assert min(depths) >= 0 < max(depths)


def test_the_result_file_holds_the_trades_of_the_csv(service: BacktestService) -> None:
    finished = service.run(spec())
    trades = finished.stored.load()["trades"]
    with (finished.stored.artifacts_dir / "trades.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(trades) > 0
    for trade, row in zip(trades, rows, strict=True):
        for name, text in row.items():
            assert text == ("" if trade[name] is None else str(trade[name]))


def test_the_same_spec_twice_is_two_runs(
    service: BacktestService, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = service.run(spec()), service.run(spec())
    assert first.stored.run_id != second.stored.run_id
    assert len(service.catalog.runs()) == 2


def test_a_stopped_account_is_the_first_note(service: BacktestService) -> None:
    finished = service.run(
        spec(
            params={"stop_atr": 0, "fast": 2, "slow": 3},
            min_risk_reward=0,
            sizing={"rule": "quantity", "value": "0.003"},
            initial_capital=7,
            leverage=50,
            slippage={"bps": 100},
        )
    )
    result: BacktestResult = finished.result
    assert result.stopped is not None
    assert result.notes[0].startswith("the account stopped on 2024-01-")
    assert result.notes[0].endswith("nothing was traded after that")
    assert finished.stored.load()["stopped"]["cause"] == result.stopped.cause.value


# Verification: a run that contradicts itself is not a result.


@pytest.fixture
def sound() -> tuple[SimulationHost, AccountCurve, Any]:
    trial = trial_of(walk(4, 60), parameters=told({2: (1, 50, 500), 20: (-1, 500, 50)}))
    host = trial.run()
    return host, curve_of(trial, host), trial


def test_a_sound_run_is_verified(sound: tuple[SimulationHost, AccountCurve, Any]) -> None:
    host, curve, trial = sound
    verify_run(host, curve, host.desk.instruments, trial.execution)


@pytest.mark.parametrize("column", ["cash", "unrealized", "used_margin", "maintenance_margin"])
def test_one_atom_off_in_the_last_row_is_noticed(
    sound: tuple[SimulationHost, AccountCurve, Any], column: str
) -> None:
    host, curve, trial = sound
    getattr(curve, column)[-1] += 1
    with pytest.raises(InvariantBroken):
        verify_run(host, curve, host.desk.instruments, trial.execution)


def test_one_atom_off_in_the_cash_of_any_row_is_noticed(
    sound: tuple[SimulationHost, AccountCurve, Any],
) -> None:
    host, curve, trial = sound
    curve.cash[30] -= 1
    with pytest.raises(InvariantBroken, match=f"at {int(curve.ts_ms[30])} the ledger sums to"):
        verify_run(host, curve, host.desk.instruments, trial.execution)


def test_a_ledger_entry_that_no_event_explains_is_noticed(
    sound: tuple[SimulationHost, AccountCurve, Any],
) -> None:
    host, curve, trial = sound
    place = next(
        index for index, event in enumerate(host.events) if type(event).__name__ == "OrderFilled"
    )
    fill: Any = host.events[place]
    host.events[place] = replace(fill, fee=fill.fee + D("0.00000001"))
    with pytest.raises(InvariantBroken, match="fills and funding add up to"):
        verify_run(host, curve, host.desk.instruments, trial.execution)


def test_a_run_that_ends_with_something_open_is_no_result() -> None:
    trial = trial_of(walk(4, 60), parameters=told({2: (1, 50, 500)}))
    host = trial.host()
    run_batch(host, trial.plans(), trial.candles, trial.execution)
    curve = curve_of(trial, host)
    with pytest.raises(InvariantBroken, match=r"the run ended with 1\.000 still open"):
        verify_run(host, curve, host.desk.instruments, trial.execution)
    assert host.exchange.now_ms == T0 + 60 * 300_000
