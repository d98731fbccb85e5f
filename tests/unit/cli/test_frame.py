import errno
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from pydantic import BaseModel, Field, SecretStr
from rich.console import Console

from perpdesk.cli import frame
from perpdesk.domain.errors import (
    DataRefused,
    Denied,
    InvariantBroken,
    OutcomeUnknown,
    PerpdeskError,
    UsageRefused,
    VenueRejected,
    VenueUnavailable,
)


class Side(StrEnum):
    BUY = "BUY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    side: Side
    price: Decimal


class Params(BaseModel):
    period: int = Field(14, ge=2)


def app_that(act: Any) -> typer.Typer:
    """Return an app with the commands `go [--json]` and `idle`; `go` calls `act`."""
    app = typer.Typer(no_args_is_help=True)

    @app.command()
    def go(json_output: Annotated[bool, typer.Option("--json")] = False) -> None:
        act()

    @app.command()
    def idle() -> None:
        pass

    return app


def raising(error: BaseException) -> typer.Typer:
    def act() -> None:
        raise error

    return app_that(act)


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERPDESK_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("NaN"), None),
        (float("nan"), None),
        (float("-inf"), None),
        (1.5, 1.5),
        (np.float64("nan"), None),
        (np.int64(7), 7),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.bool_(True), True),
        (Path("a") / "b", str(Path("a") / "b")),
        (Side.BUY, "BUY"),
        ({Side.BUY: Decimal("0.10")}, {"BUY": "0.10"}),
        ({"b", "a"}, ["a", "b"]),
        ((1, None, True), [1, None, True]),
        (Row(side=Side.BUY, price=Decimal(2)), {"side": "BUY", "price": "2"}),
        (Params(period=3), {"period": 3}),
        (SecretStr("hush"), "**********"),
    ],
)
def test_every_value_has_one_json_form(value: object, expected: object) -> None:
    assert json.loads(json.dumps(frame.jsonable(value), allow_nan=False)) == expected


@pytest.mark.parametrize("value", [b"bytes", object(), Row])
def test_a_value_without_a_json_form_is_a_programmers_error(value: object) -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        frame.jsonable(value)


def test_emit_prints_exactly_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    frame.emit({"price": Decimal("1.50")}, json_output=True, human=lambda: print("never"))
    assert json.loads(capsys.readouterr().out) == {"price": "1.50"}


def test_emit_lets_people_see_the_human_form(capsys: pytest.CaptureFixture[str]) -> None:
    frame.emit({"price": 1}, json_output=False, human=lambda: print("a table"))
    assert capsys.readouterr().out == "a table\n"


def test_what_else_is_printed_does_not_reach_the_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act() -> None:
        print("a strategy says hello")
        frame.emit({"price": 1}, json_output=True, human=lambda: None)

    assert frame.run(app_that(act), ["go", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"price": 1}
    assert err == "a strategy says hello\n"


def drawn_by(console: Console, monkeypatch: pytest.MonkeyPatch, *, hidden: bool) -> str:
    monkeypatch.setattr(frame, "errors", console)
    with frame.progress("loading", hidden=hidden) as bar:
        bar.update(1, 2)
        bar.update(2, 2)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_progress_is_a_bar_with_time_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    drawn = drawn_by(terminal, monkeypatch, hidden=False)
    assert "loading" in drawn
    assert "100%" in drawn
    assert "ETA" in drawn


def test_progress_leaves_one_line_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Console(file=io.StringIO(), force_terminal=False)
    assert drawn_by(log, monkeypatch, hidden=False).startswith("loading: done in ")


@pytest.mark.parametrize("terminal", [True, False])
def test_hidden_progress_draws_nothing(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal)
    assert drawn_by(console, monkeypatch, hidden=True) == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataRefused("no mark prices"), 2),
        (UsageRefused("no such strategy"), 2),
        (Denied("risk reward 2.1 is below 3"), 2),
        (VenueRejected("margin is insufficient", code="-2019"), 2),
        (VenueUnavailable("no answer"), 1),
        (OutcomeUnknown("sent, not answered"), 1),
        (InvariantBroken("equity differs from cash + unrealized"), 1),
        (RuntimeError("boom"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "out.json"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "out.json"), 2),
        (KeyboardInterrupt(), 130),
        (typer.BadParameter("not a date"), 2),
        (typer.Abort(), 2),
        (typer.Exit(2), 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_error_has_its_exit_code_and_no_traceback(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert frame.run(raising(error), ["go"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if not isinstance(error, typer.Exit):
        assert err.startswith("error: ")


def test_an_error_says_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    error = DataRefused("no [mark] prices of BTCUSDT", next_step="Import them first.")
    frame.run(raising(error), ["go"])
    assert capsys.readouterr().err == (
        "error: no [mark] prices of BTCUSDT\n next: Import them first.\n"
    )


def test_a_parameter_out_of_range_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(app_that(lambda: Params(period=1)), ["go"]) == 2
    err = capsys.readouterr().err
    assert "period: Input should be greater than or equal to 2 (given: 1)" in err


def test_an_unknown_option_names_the_command_whose_help_explains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert frame.run(app_that(lambda: None), ["go", "--jsn"]) == 2
    err = capsys.readouterr().err
    assert "--jsn" in err
    assert "perpdesk go --help" in err


def test_with_json_an_error_is_one_json_document_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = UsageRefused("no such strategy: smcc", next_step="Did you mean smc?")
    assert frame.run(raising(error), ["go", "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {
        "error": {
            "kind": "UsageRefused",
            "message": "no such strategy: smcc",
            "next_step": "Did you mean smc?",
        }
    }


@pytest.mark.parametrize("args", [["--debug", "go"], ["go", "--debug"]])
def test_debug_adds_the_traceback_wherever_it_stands(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert frame.run(raising(RuntimeError("boom")), args) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: RuntimeError: boom" in err


def test_the_environment_can_ask_for_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERPDESK_DEBUG", "1")
    frame.run(raising(RuntimeError("boom")), ["go"])
    assert "Traceback" in capsys.readouterr().err


def test_a_command_that_ends_well_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(app_that(lambda: print("done")), ["go"]) == 0
    assert capsys.readouterr() == ("done\n", "")


def test_no_command_shows_the_help_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(app_that(lambda: None), []) == 2
    out, err = capsys.readouterr()
    assert "Usage: perpdesk" in out
    assert err == ""


def test_a_long_unknown_input_is_shown_short() -> None:
    error: Any = SimpleNamespace(
        title="Params",
        errors=lambda **_: [{"loc": (), "msg": "wrong", "input": "x" * 500}],
    )
    assert len(frame._validation_message(error)) < 100


def perpdesk(*args: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PERPDESK_DEBUG"}
    return subprocess.run(
        [sys.executable, "-m", "perpdesk", *args],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_help_lists_the_groups_without_importing_them(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from perpdesk.cli.main import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'pandas', 'numpy', 'backtrader', 'duckdb', 'pyarrow', 'pydantic'}\n"
        "sys.exit(f'imported: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for group in ("data", "strategies", "backtest", "config"):
        assert group in done.stdout


def test_the_version_is_one_line(tmp_path: Path) -> None:
    assert perpdesk("--version", cwd=tmp_path).stdout.startswith("perpdesk ")


def test_an_unknown_command_suggests_the_nearest(tmp_path: Path) -> None:
    done = perpdesk("confg", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'config'?" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    line = f"'{sys.executable}' -m perpdesk config show --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{"
    assert done.stderr == ""
    assert done.returncode == 0


def test_data_dir_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "elsewhere")
    assert frame.data_dir() == Path("elsewhere")


def test_an_error_on_purpose_without_a_next_step_still_tells_one() -> None:
    assert "--debug" in frame.explain(PerpdeskError("broken")).next_step


def test_the_shell_completes_the_commands_of_a_group(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from perpdesk.cli.main import main; main([])"],
        cwd=tmp_path,
        env={
            **os.environ,
            "_PERPDESK_COMPLETE": "complete_bash",
            "COMP_WORDS": "perpdesk config ",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["show", "check"]


def test_ctrl_c_ends_a_command_with_130(tmp_path: Path) -> None:
    code = (
        "import signal, sys, typer\n"
        "from perpdesk.cli import frame\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def wait() -> None:\n"
        "    with frame.progress('waiting'):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "sys.exit(frame.run(app, []))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr == "error: interrupted\n"
