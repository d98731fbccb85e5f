"""What the user stream says of one change of an account."""

from decimal import Decimal

from perpdesk.domain.account import MarginMode
from perpdesk.domain.instrument import Instrument
from perpdesk.domain.numbers import ZERO, plain
from perpdesk.domain.order import Liquidity
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.binance.account_rows import cross_wallet, quote_of
from perpdesk.emulator.binance.order_rows import (
    activation,
    algo_id,
    average,
    callback_pct,
    normal_id,
    time_in_force,
    working_price_name,
    working_type,
)
from perpdesk.emulator.binance.words import (
    amount,
    cut,
    places_of,
    price,
    quantity,
    type_name,
    working_type_name,
)
from perpdesk.emulator.records import FillRecord, OrderRecord
from perpdesk.simulation.state import SymbolState

Message = dict[str, object]


def order_update(
    record: OrderRecord,
    rules: Instrument,
    *,
    execution: str,
    status: str,
    ts_ms: int,
    now_ms: int,
    fill: FillRecord | None = None,
) -> Message:
    """Return ORDER_TRADE_UPDATE. execution: x; status: X as it was at this event."""
    request = record.request
    filled = ZERO if execution == "NEW" else record.filled
    row: Message = {
        "s": record.symbol,
        "c": record.client_id,
        "S": request.side.value,
        "o": working_type(record),
        "f": time_in_force(record),
        "q": quantity(record.quantity, rules),
        "p": price(record.price, rules),
        "ap": average(record, rules) if filled else "0",
        "sp": price(record.trigger_price, rules),
        "x": execution,
        "X": status,
        "i": normal_id(record),
        "l": "0" if fill is None else quantity(fill.quantity, rules),
        "z": quantity(filled, rules),
        "L": "0" if fill is None else price(fill.price, rules),
        "N": rules.quote,
        "n": "0" if fill is None else amount(fill.fee),
        "T": ts_ms,
        "t": 0 if fill is None else fill.trade_id,
        "b": "0",
        "a": "0",
        "m": fill is not None and fill.liquidity is Liquidity.MAKER,
        "R": request.reduce_only or request.close_position,
        "wt": working_price_name(record),
        "ot": "LIMIT" if record.is_forced else type_name(request.type),
        "ps": "BOTH",
        "cp": request.close_position,
    }
    if request.trailing is not None:
        row |= {"AP": activation(record, rules) or "0", "cr": callback_pct(record)}
    row |= {
        "pP": record.extra.get("price_protect") == "true",
        "si": 0,
        "ss": 0,
        "rp": "0" if fill is None else amount(fill.realized_pnl),
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": request.expire_ms or 0,
        "er": "0",
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": ts_ms, "o": row}


def trade_lite(fill: FillRecord, rules: Instrument, *, now_ms: int) -> Message:
    """Return TRADE_LITE, the fast duplicate of a fill."""
    record = fill.order
    return {
        "e": "TRADE_LITE",
        "E": now_ms,
        "T": fill.ts_ms,
        "s": record.symbol,
        "q": quantity(record.quantity, rules),
        "p": price(record.price, rules),
        "m": fill.liquidity is Liquidity.MAKER,
        "c": record.client_id,
        "S": fill.side.value,
        "L": price(fill.price, rules),
        "l": quantity(fill.quantity, rules),
        "t": fill.trade_id,
        "i": normal_id(record),
    }


def algo_update(
    record: OrderRecord, rules: Instrument, *, status: str, ts_ms: int, now_ms: int
) -> Message:
    """Return ALGO_UPDATE. status: X at this event."""
    request = record.request
    became = record.triggered_ms is not None and status in ("TRIGGERED", "FINISHED")
    row: Message = {
        "caid": record.client_id,
        "aid": algo_id(record),
        "at": "CONDITIONAL",
        "o": type_name(request.type),
        "s": record.symbol,
        "S": request.side.value,
        "ps": "BOTH",
        "f": request.time_in_force.value,
        "q": quantity(record.quantity, rules),
        "X": status,
        "ai": str(normal_id(record)) if became else "",
        "ap": average(record, rules),
        "aq": cut(record.filled, max(5, places_of(rules.step_size))),
        "act": working_type_name(request.type) if became else "0",
        "tp": plain(record.trigger_price or ZERO),
        "p": plain(record.price or ZERO),
        "V": "EXPIRE_MAKER",
        "wt": working_price_name(record),
        "pm": "NONE",
        "cp": request.close_position,
        "pP": record.extra.get("price_protect") == "true",
        "R": request.reduce_only,
        "tt": record.triggered_ms or 0,
        "gtd": request.expire_ms or 0,
    }
    if request.trailing is not None:
        row |= {"AP": activation(record, rules) or "0", "cr": callback_pct(record)}
    row["rm"] = record.reason if status in ("REJECTED", "CANCELED", "EXPIRED") else ""
    return {"e": "ALGO_UPDATE", "T": ts_ms, "E": now_ms, "o": row}


def account_update(
    account: Account,
    *,
    reason: str,
    ts_ms: int,
    now_ms: int,
    position: Message | None,
    change: Decimal = ZERO,
) -> Message:
    """Return ACCOUNT_UPDATE. position: the one that changed. change: beyond profit and fees."""
    balance = {
        "a": quote_of(account),
        "wb": amount(account.exchange.ledger.cash),
        "cw": amount(cross_wallet(account)),
        "bc": amount(change) if change else "0",
    }
    rows = [] if position is None else [position]
    told = {"m": reason, "B": [balance], "P": rows}
    return {"e": "ACCOUNT_UPDATE", "T": ts_ms, "E": now_ms, "a": told}


def position_row(account: Account, state: SymbolState, realized: Decimal) -> Message:
    """Return a position as ACCOUNT_UPDATE has it. realized: quote, before fees, all of it."""
    rules = state.instrument
    digits = max(5, places_of(rules.tick_size))
    entry = state.entry_value / state.signed_quantity if state.signed_quantity else ZERO
    fee = account.exchange.accounting.fee_rates(state, account.exchange.now_ms).taker
    sign = 1 if state.signed_quantity > ZERO else -1
    isolated = state.margin_mode is MarginMode.ISOLATED
    return {
        "s": state.symbol,
        "pa": quantity(state.signed_quantity, rules),
        "ep": cut(entry, digits),
        "bep": cut(entry * (1 + sign * 2 * fee), digits),
        "cr": amount(realized),
        "up": amount(account.exchange.accounting.margin_of(state).unrealized),
        "mt": state.margin_mode.value,
        "iw": amount(state.isolated_margin) if isolated else "0",
        "ps": "BOTH",
    }


def leverage_update(symbol: str, leverage: Decimal, *, ts_ms: int, now_ms: int) -> Message:
    """Return ACCOUNT_CONFIG_UPDATE."""
    row = {"s": symbol, "l": int(leverage)}
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": ts_ms, "ac": row}


def force_order(fill: FillRecord, rules: Instrument, *, now_ms: int) -> Message:
    """Return the public message of a liquidation."""
    at = price(fill.price, rules)
    size = quantity(fill.quantity, rules)
    row = {
        "s": fill.order.symbol,
        "S": fill.side.value,
        "o": "LIMIT",
        "f": "IOC",
        "q": size,
        "p": at,
        "ap": at,
        "X": "FILLED",
        "l": size,
        "z": size,
        "T": fill.ts_ms,
    }
    return {"e": "forceOrder", "E": now_ms, "o": row}
