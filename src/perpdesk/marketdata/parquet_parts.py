"""Columns to the bytes of one Parquet part, and back."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from perpdesk.domain.candles import DataKind

Columns = dict[str, npt.NDArray[Any]]
"""Columns of one length by name; `ts_ms` comes first."""

DTYPES: Final[Mapping[DataKind, Mapping[str, str]]] = {
    DataKind.CANDLES: {
        "ts_ms": "int64",
        "open": "float64",
        "high": "float64",
        "low": "float64",
        "close": "float64",
        "volume": "float64",
    },
    DataKind.MARK: {
        "ts_ms": "int64",
        "open": "float64",
        "high": "float64",
        "low": "float64",
        "close": "float64",
    },
    DataKind.FUNDING: {"ts_ms": "int64", "rate": "float64", "mark_price": "float64"},
    DataKind.TRADES: {
        "ts_ms": "int64",
        "trade_id": "int64",
        "price": "float64",
        "quantity": "float64",
        "is_buyer_maker": "bool",
    },
}


class PartDamaged(Exception):
    """The bytes are not the part that the manifest describes."""


def empty_columns(kind: DataKind, rows: int) -> Columns:
    """Return uninitialized columns of a kind, to be filled part by part."""
    return {name: np.empty(rows, dtype) for name, dtype in DTYPES[kind].items()}


def encode(columns: Columns) -> bytes:
    """Return the columns as one Parquet file with page checksums. Prices are kept bit by bit."""
    table = pa.table({name: np.ascontiguousarray(values) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        column_encoding={
            name: "DELTA_BINARY_PACKED"
            if str(table.schema.field(name).type) == "int64"
            else "PLAIN"
            for name in table.column_names
        },
        write_page_checksum=True,
        row_group_size=max(1, table.num_rows),
    )
    return bytes(sink.getvalue())


def decode_into(data: bytes, target: Columns, rows: slice, *, sha256: str) -> None:
    """Fill `rows` of the target columns from a part; raises PartDamaged where it is another.

    The whole file is hashed: about 12 ms for 25 MB, so a flipped bit never becomes a price.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PartDamaged("its SHA-256 differs from the manifest")
    table = pq.read_table(pa.BufferReader(data), columns=list(target))
    if table.num_rows != rows.stop - rows.start:
        raise PartDamaged(f"it has {table.num_rows} rows, the manifest says otherwise")
    for name, values in target.items():
        values[rows] = table.column(name).to_numpy()


def content_sha256(columns: Columns) -> str:
    """Return a hash of the values, little-endian, column after column."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
