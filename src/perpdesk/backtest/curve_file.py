"""account_curve.csv, written in parts while the run that draws them goes on.

A row per bar is by far the largest artifact: two years of minutes are 120 MB. DuckDB formats and
writes it in a thread of its own, without the interpreter's lock.
"""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np
import pyarrow as pa

from perpdesk.backtest.durable import settle
from perpdesk.domain.account import AccountCurve, Atoms

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

_AMOUNT: Final = pa.decimal64(18, 8)
"""An int64 of atoms, read as a decimal without a copy. Proven by test for every int64: DuckDB
formats the digits that are there, also where they are nineteen."""
_SCHEMA: Final = pa.schema(
    [("ts_ms", pa.int64()), *((name, _AMOUNT) for name in CURVE_COLUMNS[1:])]
)


class CurveFile:
    """Takes parts of the curve in order of time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: SimpleQueue[AccountCurve | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._writer = threading.Thread(target=self._run, name="account-curve", daemon=True)
        self._writer.start()

    def write(self, part: AccountCurve) -> None:
        """Take one part. Raises what writing an earlier one raised."""
        self._raise_error()
        self._parts.put(part)

    def finish(self) -> None:
        """Wait for the last row and make the file survive. Raises what writing raised."""
        self.close()
        self._raise_error()
        with self._path.open("ab") as file:
            settle(file)

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._parts.put(None)
        self._writer.join()

    def _run(self) -> None:
        import duckdb

        try:
            with duckdb.connect(":memory:", config={"threads": 1}) as connection:
                reader = pa.RecordBatchReader.from_batches(_SCHEMA, self._batches())
                connection.from_arrow(reader).write_csv(str(self._path))
        except duckdb.IOException as error:
            self._error = _system_error(error, self._path)
        except BaseException as error:
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (part := self._parts.get()) is not None:
            columns = [_column(name, getattr(part, name)) for name in CURVE_COLUMNS]
            yield pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _system_error(error: Exception, path: Path) -> OSError:
    """Return the error of the system behind one of DuckDB's, which keeps its words alone."""
    words = str(error)
    code = next((each for each in errno.errorcode if os.strerror(each) in words), errno.EIO)
    return OSError(code, os.strerror(code), str(path))


def _column(name: str, values: Atoms) -> pa.Array:
    kind = _SCHEMA.field(name).type
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, data])
