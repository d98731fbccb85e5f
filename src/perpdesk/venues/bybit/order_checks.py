"""An order is judged by the venue's rules before it is sent, as the simulation judges it."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from perpdesk.domain.errors import Denied
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO
from perpdesk.domain.order import OrderRequest
from perpdesk.domain.order_rules import Refusal, Rule, check_leverage, check_order, refusal
from perpdesk.venues.bybit.codes import nearest_symbol

Instruments = Callable[[], Mapping[str, Instrument]]
MarkPrices = Callable[[str], Decimal | None]


class OrderChecks:
    """Rules and marks as they are now.

    instruments: may be empty where no rules are loaded; then nothing is checked here, and the venue
    judges alone. mark_price: None where no mark is known; notional and band are not judged then.
    """

    def __init__(self, instruments: Instruments, mark_price: MarkPrices) -> None:
        self._instruments = instruments
        self._mark_price = mark_price

    def refusal(self, request: OrderRequest) -> Refusal | None:
        """Return the first rule that an order breaks."""
        known = self._instruments()
        if not known:
            return None
        instrument = known.get(request.symbol)
        if instrument is None:
            hint = nearest_symbol(request.symbol, known)
            reason = f"{request.symbol!r} is no symbol whose rules are known. {hint}".rstrip()
            some = next(iter(known.values()))
            return refusal(some.venue, Rule.UNKNOWN_SYMBOL, reason)
        mark = self._mark_price(request.symbol) or ZERO
        return check_order(request, instrument, mark_price=mark)

    def check(self, request: OrderRequest) -> None:
        """Raise Denied with rule, value and nearest legal order where an order breaks a rule."""
        found = self.refusal(request)
        if found is not None:
            raise Denied(
                f"{request.symbol} order {request.client_order_id} breaks the {found.rule}: "
                f"{found.reason}",
                next_step="Correct the order; nothing was sent.",
            )

    def check_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Raise Denied where no tier of the symbol allows a leverage."""
        instrument = self._instruments().get(symbol)
        found = None if instrument is None else check_leverage(instrument, leverage)
        if found is not None:
            raise Denied(f"{symbol}: {found.reason}", next_step="Choose one within.")

    def instrument(self, symbol: str) -> Instrument:
        """Return the rules of a symbol. Raises Denied where they are not loaded."""
        known = self._instruments()
        if symbol not in known:
            raise Denied(
                f"the rules of {symbol} are not known, and this order needs its tick size",
                next_step=nearest_symbol(symbol, known) or "Load the instruments first.",
            )
        return known[symbol]
