"""What the built-in strategies share: parameters, and entries with a stop and one target."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from perpdesk.domain.candles import Values
from perpdesk.strategies.base import SignalArrays

StopAtr = Annotated[
    float,
    Field(
        gt=0.0,
        le=20.0,
        description="Distance of the stop in average true ranges.",
        json_schema_extra={"search": {"low": 1.0, "high": 5.0, "step": 0.25}},
    ),
]
AtrPeriod = Annotated[
    int,
    Field(
        ge=1,
        le=500,
        description="Period of the average true range, in candles.",
        json_schema_extra={"search": {"low": 7, "high": 28, "step": 7}},
    ),
]
RewardRisk = Annotated[
    float,
    Field(
        ge=0.1,
        le=20.0,
        description="Distance of the target as a multiple of the distance of the stop.",
        json_schema_extra={"search": {"low": 3.0, "high": 6.0, "step": 0.5}},
    ),
]


def market_entries(
    *,
    close: Values,
    side: npt.NDArray[np.int8],
    stop_loss: Values,
    reward_risk: float,
    reasons: tuple[str, ...],
    reason_code: npt.NDArray[np.int16],
    exit_side: npt.NDArray[np.int8] | None = None,
) -> SignalArrays:
    """Return entries at the close whose target lies `reward_risk` times as far as the stop.

    Entries without a usable stop (unknown, not below a long or above a short, or with a target at
    or below zero) are dropped, so that a strategy never contradicts itself.
    """
    target = close + reward_risk * (close - stop_loss)
    with np.errstate(invalid="ignore"):
        usable = ((close - stop_loss) * side > 0.0) & (stop_loss > 0.0) & (target > 0.0)
    kept = np.where(usable, side, 0).astype(np.int8)
    return SignalArrays(
        side=kept,
        exit_side=exit_side,
        stop_loss=np.where(usable, stop_loss, np.nan),
        take_profits=(np.where(usable, target, np.nan),),
        reason_code=reason_code,
        reasons=reasons,
    )
