"""Read-only SQL over the store, by DuckDB.

Views: candles, mark, funding, open_interest, trades, each with venue, symbol, (timeframe,) ts_ms
and a UTC `time`; and series, which lists what is stored. Nothing else can be read, and nothing can
be written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from perpdesk.domain.candles import DataKind
from perpdesk.domain.errors import DataRefused, UsageRefused
from perpdesk.marketdata.candle_store import CandleStore
from perpdesk.marketdata.parquet_parts import DTYPES
from perpdesk.marketdata.series import StoredSeries, canonical_name

if TYPE_CHECKING:
    import duckdb

SQL_TYPES: Final = {"int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN"}
SEE_VIEWS: Final = (
    "Views: candles, mark, funding, open_interest, trades, series. Columns: DESCRIBE candles."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Rows of an answer. is_cut: there were more than asked for."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


def run_sql(store: CandleStore, sql: str, *, max_rows: int | None = None) -> QueryResult:
    """Answer one SELECT over the stored series.

    Raises UsageRefused for SQL that is wrong, that is more than one statement, or that would do
    anything but read; DataRefused where a part is damaged.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        _require_reading(connection, sql)
        _create_views(connection, store)
        _lock(connection, store)
        cursor = connection.execute(sql)
        columns = tuple(column[0] for column in cursor.description or ())
        rows = cursor.fetchall() if max_rows is None else cursor.fetchmany(max_rows + 1)
    except duckdb.IOException as error:
        raise DataRefused(
            f"a stored part cannot be read: {_first_line(error)}",
            next_step="Run perpdesk data check, then import the damaged part again.",
        ) from error
    except duckdb.Error as error:
        raise UsageRefused(
            f"the query failed: {_first_line(error)}", next_step=SEE_VIEWS
        ) from error
    finally:
        connection.close()
    is_cut = max_rows is not None and len(rows) > max_rows
    return QueryResult(columns=columns, rows=tuple(rows[:max_rows]), is_cut=is_cut)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]


def _require_reading(connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
    # EXPLAIN ANALYZE would run what it explains, so what stands behind it must be a SELECT too.
    explained = re.sub(r"^\s*explain\s+(analyze\s+)?", "", sql, flags=re.IGNORECASE)
    statements = connection.extract_statements(explained)
    if len(statements) != 1 or statements[0].type.name != "SELECT":
        raise UsageRefused("only one SELECT at a time is answered", next_step=SEE_VIEWS)


def _create_views(connection: "duckdb.DuckDBPyConnection", store: CandleStore) -> None:
    stored = store.series()
    for kind in DataKind:
        parts = [_select(store, one) for one in stored if one.kind is kind]
        body = " UNION ALL ".join(parts) or _nothing(kind)
        connection.execute(f"CREATE VIEW {kind.value} AS {body}")
    connection.execute(
        "CREATE TABLE series (venue VARCHAR, symbol VARCHAR, kind VARCHAR, timeframe VARCHAR, "
        "rows BIGINT, first_ts_ms BIGINT, last_ts_ms BIGINT, gaps BIGINT, source VARCHAR)"
    )
    for one in stored:
        connection.execute(
            "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                one.venue.value,
                one.symbol,
                one.kind.value,
                canonical_name(one.timeframe) if one.timeframe else None,
                one.rows,
                one.first_ts_ms,
                one.last_ts_ms,
                one.gaps,
                one.source,
            ],
        )


def _select(store: CandleStore, one: StoredSeries) -> str:
    """Return the SELECT of one series over exactly the parts that its manifest names."""
    names = [_literal(one.venue.value), "venue", _literal(one.symbol), "symbol"]
    if one.timeframe is not None:
        names += [_literal(canonical_name(one.timeframe)), "timeframe"]
    pairs = zip(names[::2], names[1::2], strict=True)
    head = ", ".join(f"{value} AS {name}" for value, name in pairs)
    files = ", ".join(_literal(str(path.absolute())) for path in store.part_paths(one.key))
    columns = ", ".join(DTYPES[one.kind])
    return f"SELECT {head}, {_TIME}, {columns} FROM read_parquet([{files}])"


_TIME: Final = "make_timestamp(ts_ms * 1000) AS time"


def _nothing(kind: DataKind) -> str:
    """Return a SELECT without rows and with the columns of a kind."""

    def columns() -> Iterator[str]:
        yield from ("CAST(NULL AS VARCHAR) AS venue", "CAST(NULL AS VARCHAR) AS symbol")
        if kind in (DataKind.CANDLES, DataKind.MARK):
            yield "CAST(NULL AS VARCHAR) AS timeframe"
        yield "CAST(NULL AS TIMESTAMP) AS time"
        for name, dtype in DTYPES[kind].items():
            yield f"CAST(NULL AS {SQL_TYPES[dtype]}) AS {name}"

    return f"SELECT {', '.join(columns())} WHERE false"


def _literal(text: str) -> str:
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _lock(connection: "duckdb.DuckDBPyConnection", store: CandleStore) -> None:
    """Shut everything but the store's folder, and the settings themselves."""
    folder = _literal(str(store.root.absolute()))
    connection.execute(f"SET allowed_directories = [{folder}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET lock_configuration = true")
