"""What the look-ahead check found: one result per check, and the words for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadFailure:
    """Where a strategy was contradicted. bar_open_ms: the bar whose signal changed."""

    strategy: str
    bar_open_ms: int
    bar_open: str
    field: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One of the four checks. bars: cuts tried; signals: how many were compared."""

    name: str
    bars: int
    signals: int
    failure: LookaheadFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookaheadVerdict:
    """The four checks together. text: "not falsified", or what was found, in words."""

    passed: bool
    checks: tuple[CheckResult, ...]
    text: str

    @classmethod
    def of(cls, checks: Sequence[CheckResult]) -> Self:
        """Sum the checks up."""
        failures = [(check.name, check.failure) for check in checks if check.failure is not None]
        if not failures:
            compared = sum(check.signals for check in checks)
            silent = "not falsified, for it gave no signal to compare"
            text = "not falsified" if compared else silent
            return cls(passed=True, checks=tuple(checks), text=text)
        words = "; ".join(
            f"{name}: strategy {at.strategy}, bar {at.bar_open}, {at.field}: {at.detail}"
            for name, at in failures
        )
        return cls(passed=False, checks=tuple(checks), text=f"falsified. {words}")
