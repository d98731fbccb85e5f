"""Positions, wallet and transaction log in the venue's words."""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from perpdesk.domain.account import LedgerKind, MarginMode
from perpdesk.domain.numbers import ZERO, round_to_tick
from perpdesk.domain.venue_reports import PositionMode
from perpdesk.emulator.accounts import Account
from perpdesk.emulator.bybit.closed_trades import PositionBook
from perpdesk.emulator.bybit.messages import (
    amount,
    execution_id_of,
    link_id_of,
    number,
    order_id_of,
    side_word,
)
from perpdesk.emulator.records import FillRecord, IncomeRecord
from perpdesk.simulation.state import SymbolState

_LEAST_FEE: Final = Decimal("0.00055")
"""What the break-even price reckons with at least. Source: reference/exchanges.md 3b.2."""
_FOUR: Final = Decimal("0.0001")


# Positions.


def position_rows(
    account: Account, symbol: str, book: PositionBook, stops: dict[str, str], seq: int
) -> list[dict[str, Any]]:
    """Return the rows of a symbol: one, or two where the account is in hedge mode.

    stops: takeProfit, stopLoss, trailingStop as set on the position.
    """
    row = _position_row(account, symbol, book, stops, seq)
    if account.position_mode is PositionMode.ONE_WAY:
        return [row]
    return [row | {"positionIdx": 1}, row | {"positionIdx": 2}]


def _position_row(
    account: Account, symbol: str, book: PositionBook, stops: dict[str, str], seq: int
) -> dict[str, Any]:
    exchange, state = account.exchange, account.exchange.symbols[symbol]
    held, tick = state.signed_quantity, state.instrument.tick_size
    margin = exchange.accounting.margin_of(state)
    entry = state.entry_value / held if held else ZERO
    liquidation = exchange.liquidation_price(symbol)
    tier = state.instrument.tier_index(margin.notional)
    isolated = state.margin_mode is MarginMode.ISOLATED
    return {
        "positionIdx": 0,
        "riskId": tier + 1,
        "riskLimitValue": number(state.instrument.tiers[tier].cap),
        "symbol": symbol,
        "side": ("Buy" if held > ZERO else "Sell") if held else "",
        "size": number(abs(held)),
        "avgPrice": amount(entry),
        "positionValue": amount(abs(state.entry_value)) if held else "",
        "tradeMode": 0,
        "positionStatus": "Normal",
        "autoAddMargin": 0,
        "adlRankIndicator": 2 if held else 0,
        "leverage": number(state.leverage),
        "breakEvenPrice": _break_even(state, book, tick),
        "positionBalance": amount(state.isolated_margin if isolated else margin.initial),
        "markPrice": number(account.markets[symbol].mark_price),
        "liqPrice": "" if liquidation is None else number(round_to_tick(liquidation, tick)),
        "bustPrice": _bust(account, state) if held and isolated else "",
        "positionMM": amount(margin.maintenance) if held else "",
        "positionMMByMp": amount(margin.maintenance) if held else "",
        "positionIM": amount(margin.initial) if held else "",
        "positionIMByMp": amount(margin.initial) if held else "",
        "tpslMode": "Full",
        "takeProfit": stops.get("takeProfit", "0"),
        "stopLoss": stops.get("stopLoss", "0"),
        "trailingStop": stops.get("trailingStop", "0"),
        "unrealisedPnl": amount(margin.unrealized) if held else "",
        "curRealisedPnl": amount(book.current),
        "cumRealisedPnl": amount(book.total),
        "seq": seq,
        "isReduceOnly": False,
        "mmrSysUpdateTime": "",
        "leverageSysUpdatedTime": "",
        "sessionAvgPrice": "",
        "createdTime": str(book.created_ms),
        "updatedTime": str(book.updated_ms),
    }


def stream_position_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as the stream names its fields: zeros instead of nothing."""
    told = dict(row)
    told |= {"entryPrice": told.pop("avgPrice"), "category": "linear", "mmrSysUpdatedTime": ""}
    del told["mmrSysUpdateTime"]
    for name in ("positionValue", "positionMM", "positionMMByMp", "positionIM", "positionIMByMp"):
        told[name] = told[name] or "0"
    told["unrealisedPnl"] = told["unrealisedPnl"] or "0"
    return told


def _break_even(state: SymbolState, book: PositionBook, tick: Decimal) -> str:
    held = state.signed_quantity
    if not held:
        return ""
    fee = max(state.close_fee_rate, _LEAST_FEE)
    price = (state.entry_value - book.current) / (held - abs(held) * fee)
    return amount(price) if price > tick else ""


def _bust(account: Account, state: SymbolState) -> str:
    exchange = account.exchange
    price = exchange.accounting.bankruptcy_price(state, exchange.now_ms)
    return number(round_to_tick(price, state.instrument.tick_size))


# Wallet.


def wallet_row(account: Account) -> dict[str, Any]:
    """Return the unified account; a dollar is a USDT.

    Of an isolated account the account-wide margin has no meaning and is left empty; there the free
    USDT are walletBalance - totalPositionIM - totalOrderIM.
    """
    exchange = account.exchange
    accounting, state = exchange.accounting, exchange.account()
    isolated = _is_isolated(account)
    orders, free = accounting.reserved, accounting.free_for_orders()
    positions = state.cash - orders - free if isolated else state.used_margin
    deposits = sum(
        (entry.amount for entry in exchange.ledger.entries if entry.kind is LedgerKind.DEPOSIT),
        ZERO,
    )
    wide = {
        "accountIMRate": _rate(positions + orders, state.equity),
        "accountMMRate": _rate(state.maintenance_margin, state.equity),
        "totalMarginBalance": amount(state.equity),
        "totalInitialMargin": amount(positions + orders),
        "totalAvailableBalance": amount(max(ZERO, free)),
        "totalMaintenanceMargin": amount(state.maintenance_margin),
    }
    for name in ("accountIMRate", "accountMMRate", "totalInitialMargin", "totalMaintenanceMargin"):
        wide[f"{name}ByMp"] = wide[name]
    if isolated:
        wide = dict.fromkeys(wide, "")
    return wide | {
        "totalEquity": amount(state.equity),
        "accountType": "UNIFIED",
        "totalPerpUPL": amount(state.unrealized),
        "totalWalletBalance": amount(state.cash),
        "accountLTV": "0",
        "coin": [
            {
                "coin": "USDT",
                "equity": amount(state.equity),
                "usdValue": amount(state.equity),
                "walletBalance": amount(state.cash),
                "availableToWithdraw": "",
                "availableToBorrow": "",
                "borrowAmount": "0",
                "accruedInterest": "0",
                "totalOrderIM": amount(orders),
                "totalPositionIM": amount(positions),
                "totalPositionMM": amount(state.maintenance_margin),
                "unrealisedPnl": amount(state.unrealized),
                "cumRealisedPnl": amount(state.cash - deposits),
                "bonus": "0",
                "collateralSwitch": True,
                "marginCollateral": True,
                "locked": "0",
                "spotHedgingQty": "0",
                "spotBorrow": "0",
            }
        ],
    }


def margin_mode_word(account: Account) -> str:
    """Return the account's margin mode."""
    return "ISOLATED_MARGIN" if _is_isolated(account) else "REGULAR_MARGIN"


def _is_isolated(account: Account) -> bool:
    states = account.exchange.symbols.values()
    return any(state.margin_mode is MarginMode.ISOLATED for state in states)


def _rate(part: Decimal, whole: Decimal) -> str:
    rate = part / whole if whole > ZERO else ZERO
    return number(rate.quantize(_FOUR, ROUND_HALF_UP))


# Transaction log.


def transaction_rows(account: Account) -> Iterator[dict[str, Any]]:
    """Yield the log, newest first: change = cashFlow + funding - fee."""
    cash = account.exchange.ledger.cash
    fills = account.fills
    first = fills[0].trade_id if fills else 0
    pending: tuple[IncomeRecord, FillRecord, Decimal] | None = None
    for income in reversed(account.income):
        if pending is not None:
            fee, fill, realized = pending
            if income.trade_id == fee.trade_id:
                pending = (fee, fill, realized + income.amount)
                continue
            yield _trade_row(fee, fill, realized, cash)
            cash -= realized + fee.amount
            pending = None
        if income.trade_id >= first and income.trade_id:
            pending = (income, fills[income.trade_id - first], ZERO)
            continue
        yield _other_row(income, cash)
        cash -= income.amount
    if pending is not None:
        yield _trade_row(*pending, cash)


def _trade_row(
    income: IncomeRecord, fill: FillRecord, realized: Decimal, cash: Decimal
) -> dict[str, Any]:
    record, value = fill.order, fill.quantity * fill.price
    return _row(income, cash) | {
        "side": side_word(fill.side),
        "orderLinkId": link_id_of(record),
        "orderId": order_id_of(record.order_id),
        "fee": amount(fill.fee),
        "change": amount(realized - fill.fee),
        "cashFlow": amount(realized),
        "type": "LIQUIDATION" if record.is_forced else "TRADE",
        "feeRate": amount(fill.fee / value) if value else "0",
        "size": number(fill.position_after),
        "qty": number(fill.quantity),
        "tradePrice": number(fill.price),
        "tradeId": execution_id_of(fill.trade_id),
    }


def _other_row(income: IncomeRecord, cash: Decimal) -> dict[str, Any]:
    row = _row(income, cash) | {"change": amount(income.amount)}
    if income.kind == LedgerKind.FUNDING.value:
        return row | {
            "funding": amount(income.amount),
            "type": "SETTLEMENT",
            "feeRate": number(income.detail),
            "orderId": f"{income.ts_ms}-8-{income.income_id}",
            "tradeId": execution_id_of(income.income_id),
        }
    word = "TRANSFER_IN" if income.amount > ZERO else "TRANSFER_OUT"
    return row | {"type": word, "cashFlow": amount(income.amount)}


def _row(income: IncomeRecord, cash: Decimal) -> dict[str, Any]:
    return {
        "transSubType": "",
        "id": f"1_{income.symbol}_{income.income_id}",
        "symbol": income.symbol,
        "side": "None",
        "funding": "",
        "orderLinkId": "",
        "orderId": "",
        "fee": "0",
        "change": "0",
        "cashFlow": "0",
        "transactionTime": str(income.ts_ms),
        "type": "",
        "feeRate": "0",
        "bonusChange": "",
        "size": "0",
        "qty": "0",
        "cashBalance": amount(cash),
        "currency": "USDT",
        "category": "linear",
        "tradePrice": "0",
        "tradeId": "",
        "extraFees": "",
    }
