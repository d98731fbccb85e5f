"""What became of the signals of a run: the audit, line by line, and its summary."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from perpdesk.domain.events import OrderRejected
from perpdesk.domain.numbers import plain
from perpdesk.domain.signal import Signal, SignalKind, SignalState
from perpdesk.trading.pending import SignalRecord

SIGNAL_COLUMNS: Final = (
    "ts_ms",
    "signal_id",
    "symbol",
    "strategy",
    "kind",
    "side",
    "entry",
    "entry_price",
    "reference_price",
    "stop_loss",
    "take_profits",
    "risk_reward",
    "confidence",
    "state",
    "decided_ts_ms",
    "reason",
)

_MOST: Final = 10
_RATIO: Final = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSummary:
    """How many signals ended how, entries and exits apart; the most frequent reasons of denials."""

    total: int
    entries: dict[str, int]
    exits: dict[str, int]
    denied_reasons: dict[str, int]
    refused_orders: dict[str, int]


def signal_summary(
    records: Sequence[SignalRecord], refusals: Sequence[OrderRejected]
) -> SignalSummary:
    """Count the signals by kind and state, and what was refused by like reasons."""
    denied = Counter(
        kind_of(record.reason) for record in records if record.state is SignalState.DENIED
    )
    refused = Counter(f"{event.code} {kind_of(event.reason)}" for event in refusals)
    return SignalSummary(
        total=len(records),
        entries=_states(records, SignalKind.ENTRY),
        exits=_states(records, SignalKind.EXIT),
        denied_reasons=dict(denied.most_common(_MOST)),
        refused_orders=dict(refused.most_common(_MOST)),
    )


def _states(records: Iterable[SignalRecord], kind: SignalKind) -> dict[str, int]:
    found = Counter(record.state.value for record in records if record.signal.kind is kind)
    return dict(sorted(found.items()))


def kind_of(reason: str) -> str:
    """Return a reason without its numbers, so that like reasons count together."""
    words = ["…" if any(letter.isdigit() for letter in word) else word for word in reason.split()]
    return " ".join(words)


def signal_lines(records: Iterable[SignalRecord]) -> Iterator[str]:
    """Yield signals.csv line by line; the reason alone may hold what has to be quoted."""
    yield ",".join(SIGNAL_COLUMNS) + "\n"
    for record in records:
        signal, state = record.signal, record.state
        decided = "" if state is SignalState.PENDING else record.ts_ms
        yield (
            f"{signal.ts_ms},{signal.id},{signal.symbol},{signal.strategy},{signal.kind},"
            f"{signal.side},{signal.entry},{_price(signal.entry_price)},"
            f"{plain(signal.reference_price)},{_price(signal.stop_loss)},{_targets(signal)},"
            f"{_ratio(signal)},{signal.confidence:g},{state},{decided},{_quoted(record.reason)}\n"
        )


def _price(value: Decimal | None) -> str:
    return "" if value is None else plain(value)


def _targets(signal: Signal) -> str:
    targets = signal.take_profits
    if len(targets) == 1:
        return f"{plain(targets[0].price)}:{plain(targets[0].fraction)}"
    return " ".join(f"{plain(each.price)}:{plain(each.fraction)}" for each in targets)


def _ratio(signal: Signal) -> str:
    ratio = signal.risk_reward
    return "" if ratio is None else plain(ratio.quantize(_RATIO))


def _quoted(text: str) -> str:
    if '"' in text or "," in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
