"""A request of a client, by whatever door it came, and what answers it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import Final

from perpdesk.emulator.accounts import Account, ApiKey
from perpdesk.emulator.binance.errors import ApiError
from perpdesk.emulator.market import Market
from perpdesk.emulator.world import VenueWorld, World

_NUMBER: Final = re.compile(r"-?\d{1,30}(\.\d{0,30})?")


class Security(Enum):
    """What a call must show: nothing, a key, a signature, or a signature of a trading key."""

    NONE = auto()
    KEY = auto()
    SIGNED = auto()
    TRADE = auto()


class Params:
    """The parameters of a call as sent, read in the types they must have."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def optional(self, name: str) -> str | None:
        """Return a parameter, None where it is missing or empty."""
        return self.values.get(name) or None

    def text(self, name: str) -> str:
        """Return a parameter that must be there."""
        value = self.optional(name)
        if value is None:
            raise ApiError(-1102, name)
        return value

    def integer(self, name: str) -> int | None:
        """Return a whole number, None where it is missing. None of them may be negative."""
        value = self.optional(name)
        if value is None:
            return None
        if not re.fullmatch(r"\d{1,18}", value):
            raise ApiError(-1102, name)
        return int(value)

    def decimal(self, name: str) -> Decimal | None:
        """Return a number, None where it is missing."""
        value = self.optional(name)
        if value is None:
            return None
        if not _NUMBER.fullmatch(value):
            raise ApiError(-1102, name)
        try:
            return Decimal(value)
        except InvalidOperation:
            raise ApiError(-1102, name) from None

    def flag(self, name: str) -> bool:
        """Return a truth value; missing is false."""
        value = (self.optional(name) or "false").lower()
        if value not in ("true", "false"):
            raise ApiError(-1102, name)
        return value == "true"

    def limit(self, usual: int, most: int) -> int:
        """Return how many rows are wanted."""
        value = self.integer("limit")
        if value is None:
            return usual
        if not 1 <= value <= most:
            raise ApiError(-1130, "limit")
        return value


@dataclass(slots=True, kw_only=True)
class Call:
    """One call. `account` and `key` are there where the endpoint's security asks for them."""

    method: str
    path: str
    params: Params
    world: World
    venue: VenueWorld
    maybe_account: Account | None = None
    maybe_key: ApiKey | None = None

    @property
    def now_ms(self) -> int:
        """Return virtual time."""
        return self.world.now_ms

    @property
    def account(self) -> Account:
        """Return the account that calls."""
        assert self.maybe_account is not None, "the endpoint's security names no account"
        return self.maybe_account

    @property
    def key(self) -> ApiKey:
        """Return the key that calls."""
        assert self.maybe_key is not None, "the endpoint's security names no key"
        return self.maybe_key

    def market(self, name: str = "symbol") -> Market:
        """Return the market that a parameter names."""
        found = self.venue.markets.get(self.params.text(name))
        if found is None:
            raise ApiError(-1121)
        return found

    def markets(self) -> list[Market]:
        """Return the market that `symbol` names, or all where it is missing."""
        if self.params.optional("symbol") is not None:
            return [self.market()]
        return list(self.venue.markets.values())

    def one_or_all(self, row: Callable[[Market], object]) -> object:
        """Return one row where `symbol` was sent, else a list of all."""
        if self.params.optional("symbol") is not None:
            return row(self.market())
        return [row(market) for market in self.venue.markets.values()]


Weight = int | Callable[[Params], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A path and what it does. orders: what it adds to the counters of 10 s and of a minute.

    changes: whether the call is written down in the world's journal.
    """

    method: str
    path: str
    act: Callable[[Call], object]
    weight: Weight = 1
    security: Security = Security.NONE
    orders: tuple[int, int] = (0, 0)
    changes: bool = False

    def cost(self, params: Params) -> int:
        """Return the weight of a call."""
        return self.weight if isinstance(self.weight, int) else self.weight(params)


def by_symbol(one: int, all_of_them: int) -> Weight:
    """Return the weight of an endpoint that costs less where a symbol is named."""
    return lambda params: one if params.optional("symbol") else all_of_them
