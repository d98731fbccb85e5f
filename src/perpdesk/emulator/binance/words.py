"""Binance's vocabulary and how it writes numbers."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Final

from perpdesk.domain.account import LedgerKind
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import EXACT, ZERO, plain
from perpdesk.domain.order import OrderStatus, OrderType

INTERVALS: Final = frozenset(
    "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split()  # noqa: SIM905
)
TIMES_IN_FORCE: Final = ("GTC", "IOC", "FOK", "GTX", "GTD")
CONDITIONAL: Final[Mapping[str, OrderType]] = {
    "STOP": OrderType.STOP_LIMIT,
    "STOP_MARKET": OrderType.STOP_MARKET,
    "TAKE_PROFIT": OrderType.TAKE_PROFIT_LIMIT,
    "TAKE_PROFIT_MARKET": OrderType.TAKE_PROFIT_MARKET,
    "TRAILING_STOP_MARKET": OrderType.TRAILING_STOP_MARKET,
}
ORDER_TYPES: Final = ("LIMIT", "MARKET", *CONDITIONAL)
INCOME_TYPES: Final[Mapping[str, str]] = {
    LedgerKind.REALIZED_PNL.value: "REALIZED_PNL",
    LedgerKind.FEE.value: "COMMISSION",
    LedgerKind.FUNDING.value: "FUNDING_FEE",
    LedgerKind.LIQUIDATION_FEE.value: "INSURANCE_CLEAR",
    LedgerKind.DEPOSIT.value: "TRANSFER",
}
_TYPE_NAMES: Final = {kind: name for name, kind in CONDITIONAL.items()}
_ATOM_PLACES: Final = 8


def type_name(kind: OrderType) -> str:
    """Return the venue's name of an order type."""
    return _TYPE_NAMES.get(kind, kind.value)


def working_type_name(kind: OrderType) -> str:
    """Return what an order is once it works: LIMIT or MARKET."""
    return "LIMIT" if kind.is_limit else "MARKET"


def status_name(status: OrderStatus) -> str:
    """Return the venue's name of a normal order's status.

    An order that the account cannot carry when it comes to trade has expired in the venue's words;
    one that is refused at the door has no status.
    """
    if status in (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.TRIGGERED):
        return "NEW"
    return "EXPIRED" if status is OrderStatus.REJECTED else status.value


# Numbers.


def places_of(unit: Decimal) -> int:
    """Return how many decimals a grid needs: 0.10 needs two as it is written."""
    exponent = unit.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def fixed(value: Decimal, places: int) -> str:
    """Return a number with that many decimals, more where the value needs them, never fewer."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if -exponent > places:
        value = Decimal(plain(value))
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
    if -exponent < places or exponent > 0:
        value = value.quantize(Decimal(1).scaleb(-places), context=EXACT)
    return format(value, "f")


def cut(value: Decimal, places: int) -> str:
    """Return a number cut to that many decimals, towards zero, never "-0"."""
    text = format(value.quantize(Decimal(1).scaleb(-places), ROUND_DOWN, EXACT), "f")
    return text.lstrip("-") if not value or not text.strip("-0.") else text


def amount(value: Decimal) -> str:
    """Return an amount of quote currency: eight decimals, cut."""
    return cut(value, _ATOM_PLACES)


def price(value: Decimal | None, instrument: Instrument) -> str:
    """Return a price on the symbol's tick."""
    return fixed(ZERO if value is None else value, places_of(instrument.tick_size))


def quantity(value: Decimal, instrument: Instrument) -> str:
    """Return a quantity on the symbol's step."""
    return fixed(value, places_of(instrument.step_size))


def price_precision(instrument: Instrument) -> int:
    """Return the digits a price is shown with: at least two, which may be finer than the tick."""
    return max(2, places_of(instrument.tick_size))


def highest_price(instrument: Instrument) -> Decimal:
    """Return the price filter's upper end, which no real market comes near."""
    return instrument.tick_size * 10_000_000


def number(value: Decimal) -> int | float:
    """Return a JSON number."""
    return int(value) if value == value.to_integral_value() else float(value)
