"""Files of any known kind as Arrow tables, and what is wrong with those that are none.

Parquet and Feather by pyarrow; CSV plain, in `.gz`, or as the only file in a `.zip`,
its columns parted by commas, semicolons or tabs.
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq

from perpdesk.domain.errors import DataRefused

TABLE_SUFFIXES: Final = (".parquet", ".feather", ".csv", ".csv.gz", ".zip", ".gz")
GET_AGAIN: Final = "Download or copy the file again, then import it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table as it was found. has_header is False where the column names are made up."""

    path: Path
    table: pa.Table
    has_header: bool
    is_text: bool


def read_table(path: Path) -> TableFile:
    """Read one file; raises DataRefused where it is missing, empty, damaged or of unknown kind."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "missing"
        raise DataRefused(f"{path} is {what}", next_step="Check the path of the file.")
    if path.stat().st_size == 0:
        raise DataRefused(f"{path} is empty (0 bytes)", next_step=GET_AGAIN)
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            table = pq.ParquetFile(path, page_checksum_verification=True).read()
            return TableFile(path=path, table=table, has_header=True, is_text=False)
        if name.endswith(".feather"):
            table = pa_feather.read_table(path)
            return TableFile(path=path, table=table, has_header=True, is_text=False)
        if name.endswith((".csv", ".gz", ".zip", ".txt")):
            return _read_csv(path, _text_bytes(path))
    except (pa.ArrowInvalid, pa.ArrowIOError, OSError, EOFError, zlib.error) as error:
        raise DataRefused(
            f"{path} is damaged or cut off: {_first_line(error)}", next_step=GET_AGAIN
        ) from error
    raise DataRefused(
        f"{path}: files of this kind are not known",
        next_step="Give a .parquet, .feather, .csv, .csv.gz or .zip file.",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _text_bytes(path: Path) -> bytes:
    """Return the CSV's bytes, unpacked."""
    if path.name.lower().endswith(".gz"):
        with gzip.open(path) as file:
            return file.read()
    if not path.name.lower().endswith(".zip"):
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise DataRefused(
                    f"{path} holds {len(names)} files, not one",
                    next_step="Unpack it, and import each file by itself.",
                )
            return archive.read(names[0])
    except zipfile.BadZipFile as error:
        raise DataRefused(
            f"{path} is damaged or cut off: {_first_line(error)}", next_step=GET_AGAIN
        ) from error


def _read_csv(path: Path, data: bytes) -> TableFile:
    if b"\0" in data[:4096]:
        raise DataRefused(
            f"{path} is not UTF-8 text",
            next_step="Save it as CSV in UTF-8, or give it the ending of what it is.",
        )
    lines = data[:65536].decode("utf-8", "replace").lstrip("\ufeff").splitlines()
    if not lines or not lines[0].strip():
        raise DataRefused(f"{path} is empty", next_step=GET_AGAIN)
    separator = next((mark for mark in "\t;" if mark in lines[0]), ",")
    first = [cell.strip().strip('"') for cell in lines[0].split(separator)]
    has_header = not any(_is_number(cell) for cell in first)
    if has_header:
        _require_unique(path, first)
    names = first if has_header else [f"column {number}" for number in range(1, len(first) + 1)]
    if has_header and len(lines) == 1:
        raise DataRefused(f"{path} holds a header and no rows", next_step=GET_AGAIN)
    try:
        table = _parse(data, names, has_header, separator, use_threads=True)
    except pa.ArrowInvalid:
        # Only the parser that goes row by row can name the row.
        try:
            table = _parse(data, names, has_header, separator, use_threads=False)
        except pa.ArrowInvalid as error:
            raise DataRefused(
                f"{path}: {_row_of(error, has_header)}{_first_line(error)}", next_step=GET_AGAIN
            ) from error
    return TableFile(path=path, table=table, has_header=has_header, is_text=True)


def _parse(
    data: bytes, names: Sequence[str], has_header: bool, separator: str, *, use_threads: bool
) -> pa.Table:
    """Read every value as text: a number that cannot be read is then named with its row."""
    return pa_csv.read_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(
            column_names=list(names), skip_rows=int(has_header), use_threads=use_threads
        ),
        parse_options=pa_csv.ParseOptions(delimiter=separator),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
    )


def _row_of(error: pa.ArrowInvalid, has_header: bool) -> str:
    """Return "row 7: " where the parser names a line that has too few or too many fields."""
    match = re.search(r"Row #(\d+)", str(error))
    return f"row {int(match[1]) - has_header:,}: " if match else ""


def _require_unique(path: Path, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataRefused(
            f"{path}: the column {repeated[0]!r} appears twice",
            next_step="Give every column its own name.",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        # MetaTrader files begin with 2023.01.31 00:00.
        return re.match(r"\d{4}[-./]\d{2}[-./]\d{2}", text) is not None
    return True
