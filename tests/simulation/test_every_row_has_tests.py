"""Which tests hold which row of the fault table (`reference/reliability.md` B.3), on both venues.

row | fault                                   | tests
----|-----------------------------------------|--------------------------------------------------
  9 | lost response, order accepted           | test_order_faults
 10 | 5xx, unknown outcome, body cut, no JSON | test_order_faults
 11 | 4xx with the venue's code               | test_order_faults
 12 | query says "not found" falsely          | test_order_faults
 13 | duplicate stream messages               | test_stream_faults
 14 | messages out of order                   | test_stream_faults
 15 | silent stream                           | test_stream_faults
 16 | 24 h disconnect                         | test_stream_faults
 17 | listen key expiry, keep-alive error     | test_stream_faults
 18 | gap in candles                          | test_stream_faults
 19 | clock skew, step                        | test_limit_and_clock_faults
 20 | 429, 418, 10006, 403                    | test_limit_and_clock_faults
 21 | partial fill, then cancel               | test_position_faults
 22 | reject: filters, margin, reduce-only    | test_order_faults
 23 | stop refused                            | test_position_faults
 24 | stop canceled by hand                   | test_position_faults
 25 | position changed by hand, liquidation   | test_position_faults, test_foreign_orders
 29 | torn or rotten Parquet                  | test_store_faults
 32 | two hosts, one API key                  | test_foreign_orders
 38 | network partition with open position    | test_stream_faults
 46 | delisted, filters changed, maintenance  | test_limit_and_clock_faults

What a row asks of the desk (halt entries, block until equal, pause the strategy, tell a person) is
asserted as far as it exists below the desk: StreamLost and StreamRestored around a snapshot,
OutcomeUnknown and what resolving it gives, VenueUnavailable with the time of a ban's end, causes
and names of fills that are not ours, alarms of the bracket's driver. Binance alone has listen keys.
Auto-deleveraging is not emulated; the golden tests read its messages. Of row 14, every permutation
is tried where messages are put in order: tests/unit/venues/{binance/test_names.py,
bybit/test_order_of_events.py}. Duplicates are dropped, and not counted by any meter yet (row 13).
"""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
from tests.simulation.fault_rows import rows_of

ROWS = (*range(9, 26), 29, 32, 38, 46)
MODULES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("test_*.py")
    if path.stem != Path(__file__).stem
)


def rows_by_module() -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for name in MODULES:
        module = import_module(f"tests.simulation.{name}")
        for function_name, function in inspect.getmembers(module, inspect.isfunction):
            if function_name.startswith("test_") and function.__module__ == module.__name__:
                found.setdefault(name, set()).update(rows_of(function))
    return found


def told_in_the_table() -> dict[int, set[str]]:
    lines = re.findall(r"^ *(\d+) \|[^|]*\| (.+)$", __doc__ or "", re.MULTILINE)
    return {int(number): set(names.split(", ")) for number, names in lines}


@pytest.mark.parametrize("number", ROWS)
def test_the_row_has_tests_where_the_table_says(number: int) -> None:
    marked = {name for name, rows in rows_by_module().items() if number in rows}
    assert marked
    assert told_in_the_table()[number] == marked


def test_the_table_names_no_other_row() -> None:
    assert sorted(told_in_the_table()) == sorted(ROWS)
