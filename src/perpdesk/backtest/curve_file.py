"""account_curve.csv, written in parts while the run that draws them goes on.

A row per bar is by far the largest artifact: two years of minutes are 120 MB. Arrow formats it
column by column.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perpdesk.backtest.durable import settle
from perpdesk.domain.account import AccountCurve, Atoms
from perpdesk.domain.numbers import ATOMS_PER_UNIT

CURVE_COLUMNS: Final = (
    "ts_ms",
    "cash",
    "unrealized",
    "equity",
    "used_margin",
    "free_margin",
    "available",
    "maintenance_margin",
)

_ROWS: Final = 65_536
_MARK: Final = 10 * ATOMS_PER_UNIT
"""A number times this leaves room for nine digits: the place of the point, and eight after it."""
_LARGEST: Final = 2**62 // 10
"""Atoms beyond which that number would leave int64."""


class CurveFile:
    """Takes parts of the curve in order of time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        # Rows begin with their line break, so that a part is one buffer of Arrow's.
        self._file.write(",".join(CURVE_COLUMNS).encode())

    def write(self, part: AccountCurve) -> None:
        """Take one part."""
        columns = {name: getattr(part, name) for name in CURVE_COLUMNS}
        for start in range(0, len(part), _ROWS):
            rows = slice(start, start + _ROWS)
            self._file.write(curve_rows({name: each[rows] for name, each in columns.items()}))

    def finish(self) -> None:
        """End the last line and make the file survive."""
        self._file.write(b"\n")
        settle(self._file)

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._file.close()


def curve_rows(columns: Mapping[str, Atoms]) -> pa.Buffer:
    """Return rows, each begun by a line break: times as they are, amounts with eight places.

    columns: (n,) int64 by the names of CURVE_COLUMNS; amounts in atoms of 1e-8.
    """
    times = pc.binary_join_element_wise("\n", pa.array(columns["ts_ms"]).cast(pa.string()), "")
    texts: dict[str, pa.Array] = {}
    for name in CURVE_COLUMNS[1:]:
        same = "free_margin" if name == "available" else ""
        if same and bool((columns[name] == columns[same]).all()):
            texts[name] = texts[same]
        else:
            texts[name] = _amounts(columns[name])
    rows = pc.binary_join_element_wise(times, *texts.values(), ",")
    _, offsets, data = rows.buffers()
    return data.slice(0, int(np.frombuffer(offsets, np.int32)[len(rows)]))


def _amounts(atoms: Atoms) -> pa.Array:
    """Return amounts as text with eight places, plain digits whatever their size.

    12.34 is first written as the whole number 12_1_34000000, whose ninth digit from the end then
    becomes the point. Below 1 a zero has to be put in front.
    """
    changes = np.flatnonzero(atoms[1:] != atoms[:-1]) + 1
    if len(changes) * 8 < len(atoms):
        # Cash moves with fills only: each value is written once and then repeated.
        starts = np.append(0, changes)
        which = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(atoms))))
        return _texts(atoms[starts]).take(pa.array(which))
    return _texts(atoms)


def _texts(atoms: Atoms) -> pa.Array:
    size = np.abs(atoms)
    if int(size.max()) > _LARGEST:
        return pa.array([_eight_places(each) for each in atoms.tolist()], pa.string())
    whole = size // ATOMS_PER_UNIT
    number = whole * (_MARK - ATOMS_PER_UNIT) + size + ATOMS_PER_UNIT
    np.negative(number, out=number, where=atoms < 0)
    _, offsets, data = pa.array(number).cast(pa.string()).buffers()
    digits = np.frombuffer(data, np.uint8).copy()
    digits[np.frombuffer(offsets, np.int32)[1 : len(atoms) + 1] - 9] = ord(".")
    texts = pa.StringArray.from_buffers(len(atoms), offsets, pa.py_buffer(digits))
    below_one = whole == 0
    if not below_one.any():
        return texts
    places = pc.utf8_slice_codeunits(texts, -9)
    signs = pc.if_else(pa.array(atoms < 0), "-0", "0")
    return pc.if_else(pa.array(below_one), pc.binary_join_element_wise(signs, places, ""), texts)


def _eight_places(atoms: int) -> str:
    whole, part = divmod(abs(atoms), ATOMS_PER_UNIT)
    return f"{'-' if atoms < 0 else ''}{whole}.{part:08d}"
