"""`perpdesk config`: what is set, where each value comes from, and whether it holds."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from perpdesk.cli.frame import REFUSED, console, emit
from perpdesk.settings import ENV_FILE, Settings, Source, load_settings, sources

app = typer.Typer(no_args_is_help=True)

LOW_DISK_BYTES: Final = 1_000_000_000
"""A year of 1m candles of ten symbols and some hundred backtests fit into this."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting as it is shown; the value of a secret never is."""

    name: str
    value: object
    source: Source
    secret: bool
    description: str

    @property
    def shown(self) -> str:
        """The value as `.env` would hold it, or only that a secret is set."""
        if self.value is None:
            return ""
        if self.secret:
            return "(set)"
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked, and what to do where it does not hold."""

    name: str
    ok: bool
    detail: str
    next_step: str = ""


@app.command()
def show(json_output: JsonOption = False) -> None:
    """Show every setting and where its value comes from."""
    rows = _setting_rows(load_settings())

    def human() -> None:
        table = Table(title="Settings")
        table.add_column("setting", no_wrap=True)
        for header in ("value", "from", "meaning"):
            table.add_column(header, overflow="fold")
        for row in rows:
            style = "" if row.source is Source.DEFAULT else "bold"
            table.add_row(
                row.name, escape(row.shown), row.source.value, row.description, style=style
            )
        console.print(table)

    emit({"settings": rows}, json_output=json_output, human=human)


@app.command()
def check(json_output: JsonOption = False) -> None:
    """Check the settings and the places they name; exit 2 where one does not hold."""
    settings = load_settings()
    checks = [
        Check(name="settings", ok=True, detail=_origin()),
        _writable("DATA_DIR", settings.data_dir),
        _writable("DB_PATH", settings.database_path.parent),
        _disk_space(settings.data_dir),
    ]
    ok = all(item.ok for item in checks)

    def human() -> None:
        table = Table("", "checked", "found", title="Settings check")
        for item in checks:
            table.add_row("ok" if item.ok else "[red]no[/red]", item.name, item.detail)
        console.print(table)
        for item in checks:
            if item.next_step:
                console.print(f" next: {item.next_step}", markup=False, soft_wrap=True)

    emit({"ok": ok, "checks": checks}, json_output=json_output, human=human)
    if not ok:
        raise typer.Exit(REFUSED)


def _setting_rows(settings: Settings) -> list[SettingRow]:
    found = sources()
    rows = []
    for field_name, field in Settings.model_fields.items():
        name = field_name.upper()
        rows.append(
            SettingRow(
                name=name,
                value=getattr(settings, field_name),
                source=found[name],
                secret="SecretStr" in str(field.annotation),
                description=field.description or "",
            )
        )
    return rows


def _origin() -> str:
    where = f"{ENV_FILE} and the environment" if ENV_FILE.is_file() else "the environment"
    return f"valid, read from {where}"


def _existing(folder: Path) -> Path:
    """Return `folder`, or its nearest parent that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _writable(name: str, folder: Path) -> Check:
    place = _existing(folder)
    if not place.is_dir():
        return Check(
            name=name,
            ok=False,
            detail=f"{place} is a file, expected a folder",
            next_step=f"Move {place} away, or set {name} to another place.",
        )
    try:
        # Rights and mounts say yes where the disk says no, so a file is made and dropped.
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check(
            name=name,
            ok=False,
            detail=f"{place} cannot be written: {error.strerror}",
            next_step=f"Give yourself the right to write there, or set {name} to another place.",
        )
    detail = f"{folder} can be written" if place == folder else f"{folder} will be created"
    return Check(name=name, ok=True, detail=detail)


def _disk_space(folder: Path) -> Check:
    free_bytes = shutil.disk_usage(_existing(folder)).free
    ok = free_bytes >= LOW_DISK_BYTES
    return Check(
        name="disk",
        ok=ok,
        detail=f"{free_bytes / 1e9:.1f} GB free",
        next_step=""
        if ok
        else f"Free some space, at least {LOW_DISK_BYTES / 1e9:.0f} GB, or move DATA_DIR.",
    )
