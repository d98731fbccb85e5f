"""Orders on their way to the exchange: the checks that Binance makes first, and its refusals."""

from collections.abc import Callable
from decimal import Decimal

from perpdesk.domain.order import OrderRequest, OrderType, Side, TimeInForce
from perpdesk.domain.order_rules import check_order
from perpdesk.emulator.accounts import Account, Refused
from perpdesk.emulator.binance.calls import Call
from perpdesk.emulator.binance.errors import ApiError, of_refused
from perpdesk.emulator.binance.order_rows import is_normal
from perpdesk.emulator.market import Market
from perpdesk.emulator.records import OrderRecord
from perpdesk.simulation.admission import opening_fault


def check_rules(request: OrderRequest, market: Market) -> None:
    """Raise ApiError where a filter of the symbol refuses the order."""
    fault = check_order(request, market.instrument, mark_price=market.mark_price)
    if fault is not None:
        raise _refusal(Refused(fault.code, fault.reason), request)


def check_maker_or_whole(request: OrderRequest, market: Market) -> None:
    """Raise ApiError for a post-only order that would take, or an FOK order that would rest."""
    if request.type is not OrderType.LIMIT:
        return
    crosses = would_take(request.side, request.price, market)
    if request.time_in_force is TimeInForce.GTX and crosses:
        raise ApiError(-5022)
    if request.time_in_force is TimeInForce.FOK and not crosses:
        raise ApiError(-5021)


def would_take(side: Side, price: Decimal | None, market: Market) -> bool:
    """Tell whether a limit order would take from the book."""
    assert price is not None, "a limit order has a price"
    if side is Side.BUY:
        return price >= market.book.best_ask[0]
    return price <= market.book.best_bid[0]


def check_margin(account: Account, request: OrderRequest, market: Market, now_ms: int) -> None:
    """Refuse a market order that the account cannot carry before anybody hears of it."""
    if request.type is not OrderType.MARKET or request.reduce_only or request.quantity is None:
        return
    best = market.book.best_ask if request.side is Side.BUY else market.book.best_bid
    exchange = account.exchange
    fault = opening_fault(
        exchange.accounting,
        exchange.symbols[request.symbol],
        request.side,
        request.quantity,
        best[0],
        now_ms,
    )
    if fault is not None:
        raise of_refused(Refused(fault.code, fault.reason))


def placed(request: OrderRequest, call: Call, *, is_algo: bool = False) -> OrderRecord:
    """Place an order. Raises ApiError where the exchange refuses it."""
    extra = {"price_protect": "true"} if call.params.flag("priceProtect") else {}
    try:
        return call.account.place(request, now_ms=call.now_ms, is_algo=is_algo, extra=extra)
    except Refused as refused:
        raise _refusal(refused, request) from None


def with_refusals(act: Callable[[], None]) -> None:
    """Do it. Raises ApiError where the exchange refuses."""
    try:
        act()
    except Refused as refused:
        raise of_refused(refused) from None


def cancel_normal(account: Account, symbol: str, now_ms: int) -> None:
    """Cancel the normal orders of a symbol; conditional ones stay."""
    for record in account.open_orders(symbol):
        if is_normal(record) and record.is_open:
            account.cancel(record, now_ms=now_ms)


def _refusal(refused: Refused, request: OrderRequest) -> ApiError:
    """The price band has a code for each side."""
    if refused.code == "-4016" and request.side is Side.SELL:
        refused = Refused("-4024", refused.reason)
    return of_refused(refused)
