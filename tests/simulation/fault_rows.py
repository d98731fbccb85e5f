"""Which row of the fault table a test is of.

The table is B.3 of `reference/reliability.md`: a fault, and what must become of it. `@row(9)` says
that a test asserts what row 9 requires; `test_every_row_has_tests.py` sees to it that none is left.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])

_MARK = "__fault_rows__"


def row(*numbers: int) -> Callable[[Test], Test]:
    """Say which rows a test is of."""

    def marked(test: Test) -> Test:
        setattr(test, _MARK, frozenset(numbers))
        return test

    return marked


def rows_of(test: object) -> frozenset[int]:
    """Return the rows that a test is of."""
    found: object = getattr(test, _MARK, frozenset())
    assert isinstance(found, frozenset)
    return found
