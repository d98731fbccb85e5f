"""What a list of round trips amounts to: hits, expectancy, R multiples, streaks, costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

from perpdesk.domain.candles import HOUR_MS
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderPurpose
from perpdesk.domain.signal import PositionSide
from perpdesk.reports.round_trip import RoundTrip

Floats = npt.NDArray[np.float64]

R_EDGES: Final = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0)
"""Where the R distribution is cut; the first and the last bin are open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One bar of a histogram: lower <= value < upper; None is an open end."""

    lower: float | None
    upper: float | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What trading cost, in quote, positive when it cost.

    fees: of fills. liquidation: fees of forced closes. funding: negative when received.
    slippage: already inside the fill prices, shown to be known. total: all four.
    """

    fees: float
    liquidation: float
    funding: float
    slippage: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeStatistics:
    """Closed trades of one kind (all, long or short). Money in quote, after fees and funding.

    win_rate: fraction with a net profit. profit_factor: profits over losses; None without a loss.
    expectancy: mean net profit. payoff_ratio: average win over average loss. exit_reasons: how many
    ended how. longest_*_streak: in the order of exits.
    """

    trade_count: int
    win_count: int
    loss_count: int
    win_rate: float | None
    net_pnl: float
    gross_pnl: float
    fees: float
    funding: float
    profit_factor: float | None
    expectancy: float | None
    average_win: float | None
    average_loss: float | None
    payoff_ratio: float | None
    best_trade: float | None
    worst_trade: float | None
    average_r_multiple: float | None
    median_r_multiple: float | None
    tp_hits: int
    sl_hits: int
    liquidations: int
    exit_reasons: dict[str, int]
    longest_winning_streak: int
    longest_losing_streak: int
    average_holding_hours: float | None
    median_holding_hours: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TradeColumns:
    """The columns of closed trades that statistics need, read once. All (n,)."""

    net_pnl: Floats
    gross_pnl: Floats
    fees: Floats
    funding: Floats
    r_multiple: Floats
    holding_ms: npt.NDArray[np.int64]
    exit_ts_ms: npt.NDArray[np.int64]
    is_long: npt.NDArray[np.bool_]
    reason: npt.NDArray[np.int64]

    def of(self, chosen: npt.NDArray[np.bool_]) -> "TradeColumns":
        """Return the chosen rows."""
        return TradeColumns(**{name: getattr(self, name)[chosen] for name in _COLUMNS})


_COLUMNS: Final = tuple(TradeColumns.__dataclass_fields__)
_REASONS: Final = tuple(OrderPurpose)
_ROW_OF: Final = {reason: row for row, reason in enumerate(_REASONS)}


def columns_of(trips: Sequence[RoundTrip]) -> TradeColumns:
    """Return the columns of the closed trips; r_multiple is NaN where a trip had no stop."""
    closed = [trip for trip in trips if trip.exit_ts_ms is not None]
    exits = np.array([trip.exit_ts_ms for trip in closed], dtype=np.int64)
    entries = np.array([trip.entry_ts_ms for trip in closed], dtype=np.int64)
    return TradeColumns(
        net_pnl=np.array([float(trip.net_pnl) for trip in closed]),
        gross_pnl=np.array([float(trip.gross_pnl) for trip in closed]),
        fees=np.array([float(trip.fees) for trip in closed]),
        funding=np.array([float(trip.funding) for trip in closed]),
        r_multiple=np.array([trip.r_multiple for trip in closed], dtype=np.float64),
        holding_ms=exits - entries,
        exit_ts_ms=exits,
        is_long=np.array([trip.side is PositionSide.LONG for trip in closed], dtype=np.bool_),
        reason=np.array(
            [_ROW_OF[trip.exit_reason] if trip.exit_reason else -1 for trip in closed],
            dtype=np.int64,
        ),
    )


def trade_statistics(columns: TradeColumns) -> TradeStatistics:
    """Measure the trades of `columns`; no trades give zeros and None."""
    net = columns.net_pnl
    n = len(net)
    wins, losses = net[net > 0], net[net < 0]
    average_win, average_loss = _mean(wins), _mean(losses)
    r = columns.r_multiple[~np.isnan(columns.r_multiple)]
    hours = columns.holding_ms / HOUR_MS
    outcome = np.sign(net[np.argsort(columns.exit_ts_ms, kind="stable")])
    reasons = {
        str(reason): count
        for row, reason in enumerate(_REASONS)
        if (count := int(np.count_nonzero(columns.reason == row)))
    }
    return TradeStatistics(
        trade_count=n,
        win_count=len(wins),
        loss_count=len(losses),
        win_rate=len(wins) / n if n else None,
        net_pnl=math.fsum(net),
        gross_pnl=math.fsum(columns.gross_pnl),
        fees=math.fsum(columns.fees),
        funding=math.fsum(columns.funding),
        profit_factor=math.fsum(wins) / -math.fsum(losses) if len(losses) else None,
        expectancy=math.fsum(net) / n if n else None,
        average_win=average_win,
        average_loss=average_loss,
        payoff_ratio=-average_win / average_loss if average_win and average_loss else None,
        best_trade=float(np.max(net)) if n else None,
        worst_trade=float(np.min(net)) if n else None,
        average_r_multiple=_mean(r),
        median_r_multiple=float(np.median(r)) if len(r) else None,
        tp_hits=reasons.get(OrderPurpose.TAKE_PROFIT, 0),
        sl_hits=reasons.get(OrderPurpose.STOP_LOSS, 0),
        liquidations=reasons.get(OrderPurpose.LIQUIDATION, 0),
        exit_reasons=reasons,
        longest_winning_streak=_longest_run(outcome > 0),
        longest_losing_streak=_longest_run(outcome < 0),
        average_holding_hours=_mean(hours),
        median_holding_hours=float(np.median(hours)) if n else None,
    )


def r_distribution(columns: TradeColumns) -> tuple[Bin, ...]:
    """Count R multiples between R_EDGES; empty where no trade had a stop."""
    r = columns.r_multiple[~np.isnan(columns.r_multiple)]
    if not len(r):
        return ()
    counts = np.bincount(np.searchsorted(R_EDGES, r, side="right"), minlength=len(R_EDGES) + 1)
    lowers, uppers = (None, *R_EDGES), (*R_EDGES, None)
    return tuple(
        Bin(lower=lower, upper=upper, count=int(count))
        for lower, upper, count in zip(lowers, uppers, counts, strict=True)
    )


def costs_of(trips: Sequence[RoundTrip]) -> Costs:
    """Add up what all trips cost, those still open included; exact before it becomes a float."""
    paid = sum((trip.fees for trip in trips), ZERO)
    liquidation = sum((trip.liquidation_cost for trip in trips), ZERO)
    funding = -sum((trip.funding for trip in trips), ZERO)
    slippage = sum((trip.slippage_cost for trip in trips), ZERO)
    return Costs(
        fees=float(paid - liquidation),
        liquidation=float(liquidation),
        funding=float(funding) + 0.0,
        slippage=float(slippage),
        total=float(paid + funding + slippage),
    )


def traded_notional(trips: Sequence[RoundTrip]) -> Decimal:
    """Return the value of all fills, in quote."""
    return sum((trip.traded_notional for trip in trips), ZERO)


def _mean(values: Floats) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _longest_run(flags: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int(np.max(edges[1::2] - edges[::2])) if len(edges) else 0
