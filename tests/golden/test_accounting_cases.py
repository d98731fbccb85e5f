"""Worked examples of both venues, computed by the functions that the exchange itself uses.

The file named by ACCOUNTING_CASES (default: the one beside the recorded data) may hold other
numbers of the same kinds; decimals are strings, the tolerance is each case's own, absolute.
"""

import json
import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.unit.simulation.market import instrument_of, one_tier

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.instrument import FeeRates, Instrument, MarginTier, with_deductions
from perpdesk.domain.numbers import ZERO, product
from perpdesk.domain.order import Liquidity, Side
from perpdesk.domain.signal import PositionSide
from perpdesk.simulation.accounting import Accounting
from perpdesk.simulation.fees import closed_pnl, trade_fee
from perpdesk.simulation.funding import funding_payment
from perpdesk.simulation.liquidation import (
    insurance_fund_flow,
    isolated_balance_uta,
    liquidation_price_entry_value,
    liquidation_price_in_tier,
)
from perpdesk.simulation.margin import (
    bankruptcy_price,
    break_even_price,
    fee_to_close,
    initial_margin,
    maintenance_margin,
    order_cost,
    position_margin,
    return_on_margin,
    rules_of,
    unrealized_pnl,
)
from perpdesk.simulation.state import SymbolState

Case = Mapping[str, Any]
Found = dict[str, Decimal | list[Decimal]]
KINDS: dict[str, Callable[[Case], Found]] = {}


def kind(name: str) -> Callable[[Callable[[Case], Found]], Callable[[Case], Found]]:
    """Register how cases of a kind are computed."""

    def register(compute: Callable[[Case], Found]) -> Callable[[Case], Found]:
        KINDS[name] = compute
        return compute

    return register


class Inputs:
    """The inputs of a case, as decimals."""

    def __init__(self, case: Case) -> None:
        self.texts = case["inputs"]
        self.venue = Venue(case["exchange"])
        self.amount = rules_of(self.venue).amount

    def __getattr__(self, name: str) -> Decimal:
        return Decimal(self.texts[name])

    def __contains__(self, name: str) -> bool:
        return name in self.texts

    @property
    def position_side(self) -> PositionSide:
        side = self.texts["side"]
        return PositionSide.LONG if side in ("LONG", "BUY") else PositionSide.SHORT

    @property
    def signed_quantity(self) -> Decimal:
        return self.position_side.sign * self.qty

    def tier(self) -> MarginTier:
        """Return the one tier that the case names by its rate and deduction."""
        deduction = self.maint_amount if "maint_amount" in self else ZERO
        deduction = self.mm_deduction if "mm_deduction" in self else deduction
        return one_tier(rate=self.mmr, deduction=deduction, max_leverage=self.leverage)

    def instrument(self) -> Instrument:
        return instrument_of(self.venue, tiers=(self.tier(),))


@kind("liquidation_price_cross")
def _(case: Case) -> Found:
    given = Inputs(case)
    price = liquidation_price_in_tier(
        side=given.position_side,
        quantity=given.qty,
        entry_value=product(given.qty, given.entry_price),
        balance=given.wallet_balance - given.maint_margin_other + given.upnl_other,
        maintenance_rate=given.mmr,
        deduction=given.maint_amount,
    )
    # A price below zero means that none liquidates; the venue shows 0.
    return {"liquidation_price": max(ZERO, price)}


@kind("maintenance_amount")
def _(case: Case) -> Found:
    given = Inputs(case)
    below = one_tier(rate=given.mmr_previous, cap=given.bracket_floor)
    above = one_tier(rate=given.mmr, floor=given.bracket_floor)
    first, second = with_deductions([below, above])
    # The tiers below are folded into one whose deduction the case gives.
    return {"maint_amount": second.deduction - first.deduction + given.maint_amount_previous}


@kind("maintenance_margin_tiers")
def _(case: Case) -> Found:
    value, floor, rows = Decimal(case["inputs"]["value"]), ZERO, []
    for row in case["inputs"]["tiers"]:
        cap = Decimal(row["limit"])
        rows.append(one_tier(rate=Decimal(row["mmr"]), floor=floor, cap=cap))
        floor = cap
    tier = instrument_of(Venue(case["exchange"]), tiers=with_deductions(rows)).tier_for(value)
    return {
        "maintenance_margin": maintenance_margin(value, tier),
        "effective_mmr": tier.maintenance_rate,
        "mm_deduction": tier.deduction,
    }


@kind("trade_fee")
def _(case: Case) -> Found:
    given = Inputs(case)
    rates = FeeRates(maker=given.fee_rate, taker=given.fee_rate)
    liquidity = Liquidity(case["inputs"]["liquidity"].upper())
    return {"fee": trade_fee(given.qty, given.price, rates, liquidity)}


@kind("position_margin")
def _(case: Case) -> Found:
    given = Inputs(case)
    margin = position_margin(
        given.instrument(),
        signed_quantity=given.signed_quantity,
        entry_value=product(given.signed_quantity, given.entry_price),
        mark_price=given.mark_price,
        leverage=given.leverage,
        taker_rate=given.taker_fee_rate if "taker_fee_rate" in given else ZERO,
    )
    return {
        "unrealized_pnl": margin.unrealized,
        "notional": margin.notional,
        "initial_margin": margin.initial,
        "maintenance_margin": margin.maintenance,
        "break_even_price": break_even_price(
            given.position_side, given.entry_price, open_fee_rate=given.open_fee_rate
        ),
    }


@kind("unrealized_pnl")
def _(case: Case) -> Found:
    given = Inputs(case)
    entry_value = product(given.signed_quantity, given.entry_price)
    profit = unrealized_pnl(given.signed_quantity, entry_value, given.mark_price)
    return {
        "unrealized_pnl": given.amount(profit),
        "notional": given.amount(product(given.qty, given.mark_price)),
    }


@kind("liquidation_price_isolated_entry_value")
def _(case: Case) -> Found:
    given = Inputs(case)
    value = product(given.qty, given.entry_price)
    price = liquidation_price_entry_value(
        side=given.position_side,
        quantity=given.qty,
        entry_price=given.entry_price,
        leverage=given.leverage,
        maintenance_rate=given.mmr,
        deduction=given.mm_deduction,
        extra_margin=given.extra_margin,
    )
    return {
        "initial_margin": initial_margin(value, given.leverage),
        "maintenance_margin": maintenance_margin(value, given.tier()),
        "liquidation_price": price,
    }


@kind("liquidation_price_isolated_uta")
def _(case: Case) -> Found:
    given = Inputs(case)
    side, value = given.position_side, product(given.qty, given.entry_price)
    margin = position_margin(
        given.instrument(),
        signed_quantity=given.signed_quantity,
        entry_value=side.sign * value,
        mark_price=given.mark_price,
        leverage=given.leverage,
        taker_rate=given.taker_fee_rate,
    )
    balance = isolated_balance_uta(
        side=side,
        entry_value=value,
        leverage=given.leverage,
        extra_margin=given.extra_margin,
        taker_rate=given.taker_fee_rate,
    )
    price = liquidation_price_in_tier(
        side=side,
        quantity=given.qty,
        entry_value=value,
        balance=balance,
        maintenance_rate=given.mmr,
        deduction=given.mm_deduction,
    )
    return {
        "fee_to_close": fee_to_close(side, value, given.leverage, given.taker_fee_rate),
        "initial_margin": margin.initial,
        "maintenance_margin": margin.maintenance,
        "liquidation_price": price,
    }


@kind("bankruptcy_price_isolated")
def _(case: Case) -> Found:
    given = Inputs(case)
    price = bankruptcy_price(given.position_side, given.entry_price, given.leverage)
    return {"bankruptcy_price": price}


@kind("average_entry_price")
def _(case: Case) -> Found:
    venue = Venue(case["exchange"])
    state = SymbolState(
        instrument=instrument_of(venue),
        rules=rules_of(venue),
        leverage=Decimal(1),
        margin_mode=MarginMode.CROSS,
    )
    accounting = Accounting({state.symbol: state})
    for row in case["inputs"]["fills"]:
        accounting.book_fill(
            state,
            0,
            side=Side(row["side"]),
            quantity=Decimal(row["qty"]),
            price=Decimal(row["price"]),
            liquidity=Liquidity.TAKER,
        )
    price = accounting.position(state.symbol).average_entry_price
    assert price is not None, f"{case['id']}: these fills leave nothing open"
    return {"average_entry_price": price}


@kind("unrealized_pnl_roi")
def _(case: Case) -> Found:
    given = Inputs(case)
    side, value = given.position_side, product(given.qty, given.entry_price)
    profit = unrealized_pnl(given.signed_quantity, side.sign * value, given.price)
    initial = initial_margin(value, given.leverage)
    fee = fee_to_close(side, value, given.leverage, given.taker_fee_rate)
    return {
        "unrealized_pnl": profit,
        "initial_margin": initial,
        "bankruptcy_price": bankruptcy_price(side, given.entry_price, given.leverage),
        "fee_to_close": fee,
        "roi_percent": return_on_margin(profit, initial, fee) * 100,
    }


@kind("closed_pnl")
def _(case: Case) -> Found:
    given = Inputs(case)
    sign, found = given.position_side.sign, Found()
    if "entry_value" in given:
        entry, left = given.entry_value, given.exit_value
        found["average_entry_price"] = entry / given.qty
        found["average_exit_price"] = left / given.qty
    else:
        entry = product(given.qty, given.entry_price)
        left = product(given.qty, given.exit_price)
    gross = sign * (left - entry)
    rates = FeeRates(maker=given.open_fee_rate, taker=given.close_fee_rate)
    open_fee = trade_fee(Decimal(1), entry, rates, Liquidity.MAKER)
    close_fee = trade_fee(Decimal(1), left, rates, Liquidity.TAKER)
    found["position_pnl"] = gross
    found["fee_open"], found["fee_close"] = open_fee, close_fee
    found["closed_pnl"] = closed_pnl(
        gross, open_fee=open_fee, close_fee=close_fee, funding_paid=given.funding_paid
    )
    return found


@kind("insurance_fund_flow")
def _(case: Case) -> Found:
    given = Inputs(case)
    return {
        "fund_change": [
            insurance_fund_flow(
                side=given.position_side,
                quantity=given.qty,
                exit_price=Decimal(price),
                bankruptcy_price=given.bankruptcy_price,
            )
            for price in case["inputs"]["exit_prices"]
        ]
    }


@kind("funding_payment")
def _(case: Case) -> Found:
    given = Inputs(case)
    change = -funding_payment(
        given.signed_quantity, mark_price=given.price, funding_rate=given.funding_rate
    )
    return {"change": change, "cash_balance_after": given.cash_balance_before + change}


@kind("order_cost")
def _(case: Case) -> Found:
    given = Inputs(case)
    side, value = given.position_side, product(given.qty, given.price)
    rate = given.taker_fee_rate
    return {
        "initial_margin": initial_margin(value, given.leverage),
        "fee_open": trade_fee(
            given.qty, given.price, FeeRates(maker=rate, taker=rate), Liquidity.TAKER
        ),
        "bankruptcy_price": bankruptcy_price(side, given.price, given.leverage),
        "fee_to_close": fee_to_close(side, value, given.leverage, rate),
        "order_cost": order_cost(
            venue=given.venue,
            side=side,
            notional=value,
            leverage=given.leverage,
            taker_rate=rate,
        ),
    }


@kind("initial_margin")
def _(case: Case) -> Found:
    given = Inputs(case)
    return {"initial_margin": initial_margin(product(given.qty, given.price), given.leverage)}


def cases_path() -> Path:
    named = os.environ.get("ACCOUNTING_CASES")
    if named:
        return Path(named)
    folder = os.environ.get("PERPDESK_SHARED")
    root = Path(folder) if folder else Path(__file__).resolve().parents[3] / "shared"
    return root / "reference" / "accounting-cases.json"


def read_cases() -> list[Case]:
    path = cases_path()
    if not path.is_file():
        return []
    cases: list[Case] = json.loads(path.read_text())
    return cases


CASES = read_cases()


def check(case: Case) -> None:
    """Compute a case and compare every number that it expects."""
    compute = KINDS.get(case["kind"])
    assert compute is not None, f"{case['id']}: nobody computes {case['kind']!r}"
    found, tolerance = compute(case), Decimal(case["tolerance"])
    for name, expected in case["expected"].items():
        assert name in found, f"{case['id']}: {case['kind']} does not compute {name!r}"
        values, wanted = found[name], expected
        if not isinstance(values, list):
            values, wanted = [values], [expected]
        assert len(values) == len(wanted), f"{case['id']} {name}"
        for value, each in zip(values, wanted, strict=True):
            assert abs(value - Decimal(each)) <= tolerance, f"{case['id']} {name}: {value}"


@pytest.mark.skipif(not CASES, reason=f"no worked examples at {cases_path()}")
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_worked_example(case: Case) -> None:
    check(case)


CLOSED = {
    "id": "own",
    "kind": "closed_pnl",
    "exchange": "bybit",
    "inputs": {
        "side": "LONG",
        "qty": "2",
        "entry_price": "100",
        "exit_price": "110",
        "open_fee_rate": "0.001",
        "close_fee_rate": "0.001",
        "funding_paid": "0.5",
    },
    # 2 x 10 - 0.2 - 0.22 - 0.5
    "expected": {"closed_pnl": "19.08"},
    "tolerance": "0",
}


def test_other_numbers_of_a_known_kind_are_computed() -> None:
    check(CLOSED)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "moon_phase"},
        {"expected": {"closed_pnl": "19.09"}},
        {"expected": {"tide": "1"}},
    ],
)
def test_an_unknown_kind_or_a_wrong_number_fails(change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check(CLOSED | change)
