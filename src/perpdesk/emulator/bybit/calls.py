"""What a request is once it is let in, and what an endpoint is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from perpdesk.emulator.accounts import ApiKey
from perpdesk.emulator.bybit.errors import parameter
from perpdesk.emulator.bybit.rates import Pool
from perpdesk.emulator.bybit.trader import Trader


@dataclass(slots=True, kw_only=True)
class Call:
    """One request. ext: goes into retExtInfo. granted: how many elements the limit lets through.

    words: retMsg of success. is_noted: whether the journal has it, order by order.
    """

    path: str
    params: Mapping[str, Any]
    account: Trader | None = None
    key: ApiKey | None = None
    ext: dict[str, Any] = field(default_factory=dict)
    granted: int = 1
    words: str = "OK"
    is_noted: bool = False

    @property
    def trader(self) -> Trader:
        """Return whose call it is: of signed endpoints alone."""
        assert self.account is not None, f"{self.path} is not signed"
        return self.account


NESTED: Final = ("request", "utaDemoApplyMoney")
"""Parameters that hold lists of objects; everything else is flat."""


def checked(params: object) -> dict[str, Any]:
    """Return parameters as an endpoint may rely on them. Raises BybitError."""
    if not isinstance(params, dict):
        raise parameter("a request is a JSON object")
    for name, value in params.items():
        if name in NESTED and isinstance(value, list):
            for each in value:
                checked(each)
        elif isinstance(value, list | dict):
            raise parameter(f"{name} invalid")
    return params


Handler = Callable[[Call], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A path and who answers it. pool: None where nothing is counted, and nothing is signed."""

    method: str
    path: str
    handle: Handler
    pool: Pool | None = None

    @property
    def is_signed(self) -> bool:
        """Tell whether it needs a key."""
        return self.pool is not None

    @property
    def changes(self) -> bool:
        """Tell whether it changes something, so that a read-only key may not."""
        return self.is_signed and self.method == "POST"

    @property
    def is_batch(self) -> bool:
        """Tell whether every element counts."""
        return self.path.endswith("-batch")


def get(path: str, handle: Handler, pool: Pool | None = None) -> Endpoint:
    """Return an endpoint that reads."""
    return Endpoint(method="GET", path=f"/v5/{path}", handle=handle, pool=pool)


def post(path: str, handle: Handler, pool: Pool = Pool.ORDER) -> Endpoint:
    """Return an endpoint that changes something."""
    return Endpoint(method="POST", path=f"/v5/{path}", handle=handle, pool=pool)
