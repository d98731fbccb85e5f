"""How a simulated exchange is set up."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from perpdesk.domain.account import MarginMode
from perpdesk.domain.numbers import plain
from perpdesk.simulation.slippage import NoSlippage, SlippageModel


class LimitFill(StrEnum):
    """When a resting limit order fills: once the market trades THROUGH it, or at a TOUCH."""

    THROUGH = "through"
    TOUCH = "touch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """The account and the fill model.

    initial_capital: quote. leverage: of every symbol until changed. max_volume_share: the part of a
    bar's volume that our orders may take, None for no limit. tier_step_down: whether a liquidation
    first reduces the position to the tier below.
    """

    initial_capital: Decimal
    leverage: Decimal = Decimal(1)
    margin_mode: MarginMode = MarginMode.ISOLATED
    slippage: SlippageModel = field(default_factory=NoSlippage)
    max_volume_share: Decimal | None = None
    limit_fill: LimitFill = LimitFill.THROUGH
    tier_step_down: bool = True

    def describe(self) -> dict[str, str]:
        """Return the fill model in words, for the result of a run."""
        share = self.max_volume_share
        return {
            "market_orders": f"next execution open, slippage {self.slippage.describe()}",
            "limit_orders": f"filled when the market trades {self.limit_fill}",
            "same_bar": "the adverse price comes first",
            "volume": "unlimited" if share is None else f"at most {plain(share)} of a bar's volume",
            "liquidation": "tier step-down" if self.tier_step_down else "whole position at once",
            "margin_mode": self.margin_mode.value,
            "leverage": plain(self.leverage),
        }
