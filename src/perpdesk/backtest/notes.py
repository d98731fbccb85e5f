"""What a reader must know before he trusts a run, in words.

Warnings are about what changed the result; remarks tell what stands in for what.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from perpdesk.backtest.signals import kind_of
from perpdesk.domain.events import AccountStopped, OrderRejected, StopCause
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.order import OrderPurpose
from perpdesk.domain.signal import SignalKind, SignalState
from perpdesk.marketdata.gaps import utc_text
from perpdesk.reports.round_trip import RoundTrip
from perpdesk.strategies.verdict import LookaheadVerdict
from perpdesk.trading.pending import SignalRecord

_STOPS: Final = {
    StopCause.ACCOUNT_BLOWN: "its equity was used up",
    StopCause.INSUFFICIENT_FREE_MARGIN: "what was left could not open the smallest legal order",
}


def warnings_on_stop(stopped: Sequence[AccountStopped]) -> list[str]:
    """Say when and why the account could trade no more."""
    return [
        f"the account stopped on {utc_text(event.ts_ms)} ({event.cause}): {_STOPS[event.cause]}; "
        "nothing was traded after that"
        for event in stopped[:1]
    ]


def warnings_on_signals(
    records: Sequence[SignalRecord], refusals: Sequence[OrderRejected]
) -> list[str]:
    """Say where no signal came, no entry passed, or orders were refused."""
    if not records:
        return ["the strategy gave no signal in this range"]
    entries = [record for record in records if record.signal.kind is SignalKind.ENTRY]
    denied = [record for record in entries if record.state is SignalState.DENIED]
    found = []
    if denied and len(denied) == len(entries):
        found.append(
            f"all {len(entries)} entry signals were denied, so nothing was traded; most often: "
            f"{_most_frequent([record.reason for record in denied])}"
        )
    if refusals:
        often = _most_frequent([event.reason for event in refusals])
        found.append(f"the venue refused {len(refusals)} orders; most often: {often}")
    return found


def _most_frequent(reasons: Sequence[str]) -> str:
    return Counter(map(kind_of, reasons)).most_common(1)[0][0]


def warnings_on_trades(trips: Sequence[RoundTrip]) -> list[str]:
    """Say how many trades the exchange ended."""
    closed = [trip for trip in trips if trip.is_closed]
    count = sum(trip.exit_reason is OrderPurpose.LIQUIDATION for trip in closed)
    if not count:
        return []
    return [
        f"{count} of {len(closed)} trades were liquidated; at this leverage the liquidation price "
        "can lie before the stop: lower the leverage or the risk"
    ]


def warnings_on_verdict(verdict: LookaheadVerdict) -> list[str]:
    """Say where the strategy was caught looking ahead."""
    if verdict.passed:
        return []
    return [f"the strategy looks ahead, so the result means nothing: {verdict.text}"]


def remarks_on_instruments(instruments: Mapping[str, Instrument]) -> list[str]:
    """Return what stands in for what, each remark once with the symbols that it is true of."""
    symbols: dict[str, list[str]] = {}
    for symbol, instrument in instruments.items():
        for remark in instrument.note.split("; "):
            if remark:
                symbols.setdefault(remark, []).append(symbol)
    return [f"{', '.join(names)}: {remark}" for remark, names in symbols.items()]
