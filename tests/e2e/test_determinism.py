"""The same inputs give the same bytes: twice, in two processes, time zones and hash seeds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.terminal import ok

PLACES = (
    {"TZ": "UTC", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
    {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1", "LANG": "C.UTF-8"},
    {"TZ": "America/St_Johns", "PYTHONHASHSEED": "4711", "LANG": "C"},
)
OPTIONS = (
    *("--symbol", "BTCUSDT", "--symbol", "ETHUSDT", "--timeframe", "1h", "--leverage", "5"),
    *("--slippage-model", "impact", "--min-risk-reward", "0", "--margin-mode", "cross"),
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    ok(folder, "data", "sample", "--days", "60")
    return folder


def without_identity(text: str, document: Any) -> str:
    """Return a result file without its run id and its timings, byte for byte otherwise."""
    kept, timings, rest = re.split(r'(,\n  "timings": \{.*?\n  \})', text, flags=re.DOTALL)
    assert json.loads("{" + timings.removeprefix(",") + "}")["timings"]["created_ms"]
    return (kept + rest).replace(document["run_id"], "RUN")


@pytest.mark.parametrize("strategy", ["smc", "ema_trend"])
def test_results_are_byte_equal_but_for_run_id_and_timings(market: Path, strategy: str) -> None:
    results, artifacts = [], []
    for place in PLACES:
        document = ok(market, "backtest", "run", *OPTIONS, "--strategy", strategy, env=place)
        text = (market / document["result_path"]).read_text()
        results.append(without_identity(text, document))
        folder = market / document["artifacts_dir"]
        artifacts.append(
            {
                path.name: re.sub(
                    r'"created_ms": ?\d+', "", path.read_text().replace(document["run_id"], "RUN")
                )
                for path in sorted(folder.iterdir())
            }
        )
    assert json.loads(results[0])["trades"]
    for result, files in zip(results[1:], artifacts[1:], strict=True):
        assert result == results[0]
        for name, content in files.items():
            assert content == artifacts[0][name], name


def test_a_result_names_no_place_and_no_wall_clock(market: Path) -> None:
    document = ok(market, "backtest", "run", *OPTIONS, "--strategy", "ema_trend")
    text = (market / document["result_path"]).read_text()
    assert str(market) not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    day = Path(document["result_path"]).parent.name
    assert day not in text
    created = json.loads(text)["timings"]["created_ms"]
    assert text.count(str(created)) == 1


def test_another_seed_is_another_run_id_and_the_same_trades(market: Path) -> None:
    first, second = (
        ok(market, "backtest", "run", *OPTIONS, "--strategy", "ema_trend", "--seed", seed)
        for seed in ("1", "2")
    )
    assert first["run_id"] != second["run_id"]
    assert first["metrics"] == second["metrics"]
