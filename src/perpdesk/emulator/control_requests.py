"""What the control API is asked: bodies with every field that there is, and its bounds."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from perpdesk.domain.candles import Venue
from perpdesk.domain.order import Side
from perpdesk.emulator.faults import FaultKind

FASTEST = 100_000.0


class Asked(BaseModel):
    """A body; a field that is not there is a mistake, not a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """No fields."""


class SpeedChange(Asked):
    """Virtual seconds per second; 0 stands still."""

    speed: float = Field(ge=0, le=FASTEST)


class Advance(Asked):
    """How far time moves by hand."""

    ms: int = Field(ge=0)


class ArmedFault(Asked):
    """See the table of faults. seconds: virtual; without it the fault stays until disarmed."""

    kind: FaultKind
    venue: Venue | None = None
    path: str = "*"
    probability: float = Field(1.0, gt=0, le=1)
    left: int | None = Field(None, ge=1)
    value: float = 0.0
    seconds: float | None = Field(None, gt=0)


class Disarm(Asked):
    """One kind, or all."""

    kind: FaultKind | None = None


class JournalQuestion(Asked):
    """Entries after a sequence number; what: only these."""

    after: int = 0
    what: str | None = None
    limit: int = Field(10_000, ge=1)


class NewAccount(Asked):
    """An account with a key, or a further key of an account that exists."""

    venue: Venue
    account: str = Field(min_length=1)
    key: str = Field(min_length=1)
    secret: str = Field(min_length=1)
    capital: Decimal = Field(Decimal(10_000), gt=0)
    can_trade: bool = True
    can_withdraw: bool = False
    can_transfer: bool = False
    allowed_ips: frozenset[str] = frozenset()
    expires_ms: int | None = None


class OfAccount(Asked):
    """Something of an account."""

    venue: Venue
    account: str = "demo"


class Deposit(OfAccount):
    """amount: quote; negative takes it off."""

    amount: Decimal


class ForeignOrder(OfAccount):
    """An order by somebody else's hand; without a price at market."""

    symbol: str
    side: Side
    quantity: Decimal = Field(gt=0)
    price: Decimal | None = Field(None, gt=0)
    reduce_only: bool = False


class ForeignCancel(OfAccount):
    """client_id: as its client named it."""

    client_id: str


class Liquidation(OfAccount):
    """The mark jumps through the position's liquidation price for a moment."""

    symbol: str


class SymbolChange(Asked):
    """A delisting, or other filters, without a word to anybody."""

    venue: Venue
    symbol: str
    status: Literal["trading", "closed"] | None = None
    tick_size: Decimal | None = Field(None, gt=0)
    step_size: Decimal | None = Field(None, gt=0)
    min_quantity: Decimal | None = Field(None, gt=0)
    min_notional: Decimal | None = Field(None, ge=0)
    max_limit_quantity: Decimal | None = Field(None, gt=0)
    max_market_quantity: Decimal | None = Field(None, gt=0)
