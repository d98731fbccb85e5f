"""The exchange and an independent bookkeeper agree to the last digit on random runs."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from tests.differential.independent_ledger import (
    Account,
    Contract,
    FillRow,
    FundingRow,
    IndependentLedger,
    Tier,
    audit,
    in_order,
)
from tests.property.random_market import MANY, Market, Plan, plans

from perpdesk.domain.account import AccountState
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import Event, FundingSettled, OrderFilled
from perpdesk.domain.instrument import Instrument


def contract_of(instrument: Instrument) -> Contract:
    """Tell the other bookkeeper of an instrument what it must know."""
    return Contract(
        tiers=[
            Tier(Fraction(tier.cap), Fraction(tier.maintenance_rate), Fraction(tier.max_leverage))
            for tier in instrument.tiers
        ],
        fees=[
            (period.valid_from_ms, Fraction(period.rates.maker), Fraction(period.rates.taker))
            for period in instrument.fees.periods
        ],
        clearance_rate=Fraction(instrument.liquidation_fee_rate),
    )


def row_of(event: Event) -> FillRow | FundingRow | None:
    """Return the public row of an event, None where it moves no money."""
    if isinstance(event, OrderFilled):
        return FillRow.of(columns(event) | {"reason": event.purpose})
    if isinstance(event, FundingSettled):
        return FundingRow.of(columns(event))
    return None


def columns(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__slots__}


def assert_equal_accounts(found: AccountState, expected: Account) -> None:
    for name in (
        "cash",
        "unrealized",
        "used_margin",
        "maintenance_margin",
        "equity",
        "free_margin",
        "available",
    ):
        assert Fraction(getattr(found, name)) == getattr(expected, name), name


@MANY
@given(plans())
def test_both_ledgers_agree_to_the_last_digit(plan: Plan) -> None:
    exchange, market = plan.exchange(), Market(plan)
    ledger = IndependentLedger(
        plan.venue.value,
        initial_cash=Fraction(plan.settings.initial_capital),
        contracts={
            symbol: contract_of(state.instrument) for symbol, state in exchange.symbols.items()
        },
    )
    for step in plan.steps:
        items = [market.command(numbers) for numbers in step.commands]
        for item in [*items, *market.bars(step)]:
            rows = [row_of(event) for event in exchange.process(item)]
            assert audit(ledger, [row for row in rows if row is not None]) == []
            states = exchange.symbols.values()
            assert_equal_accounts(
                exchange.account(),
                ledger.account(
                    marks={state.symbol: Fraction(state.mark_price) for state in states},
                    leverage={state.symbol: Fraction(state.leverage) for state in states},
                ),
            )
            for symbol, holding in ledger.holdings.items():
                position = exchange.position(symbol)
                assert Fraction(position.signed_quantity) == holding.quantity
                assert Fraction(position.entry_value) == holding.value


@given(plans())
def test_rows_sorted_by_time_alone_give_the_same_books(plan: Plan) -> None:
    exchange, market = plan.exchange(), Market(plan)
    rows: list[FillRow | FundingRow] = []
    for step in plan.steps:
        for numbers in step.commands:
            rows += [
                row
                for row in map(row_of, exchange.process(market.command(numbers)))
                if row is not None
            ]
        for bar in market.bars(step):
            rows += [row for row in map(row_of, exchange.process(bar)) if row is not None]
    ledger = IndependentLedger(
        plan.venue.value,
        initial_cash=Fraction(plan.settings.initial_capital),
        contracts={
            symbol: contract_of(state.instrument) for symbol, state in exchange.symbols.items()
        },
    )
    fills = [row for row in rows if isinstance(row, FillRow)]
    funding = [row for row in rows if isinstance(row, FundingRow)]
    assert audit(ledger, in_order(fills, funding)) == []
    assert ledger.cash == Fraction(exchange.ledger.cash)


@pytest.mark.parametrize(
    ("column", "wrong"),
    [("fee", "5.01"), ("realized_pnl", "0.00000001"), ("position_after", "-1")],
)
def test_the_other_bookkeeper_notices_a_wrong_fill(column: str, wrong: str) -> None:
    contract = Contract(
        tiers=[Tier(Fraction(10**6), Fraction(1, 100), Fraction(50))],
        fees=[(0, Fraction("0.0002"), Fraction("0.0005"))],
        clearance_rate=Fraction(0),
    )
    row = {
        "ts_ms": 1,
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": "1",
        "price": "10000",
        "liquidity": "TAKER",
        "fee": "5",
        "realized_pnl": "0",
        "position_after": "1",
        "reason": "ENTRY",
    }
    for venue in Venue.BINANCE, Venue.BYBIT:
        ledger = IndependentLedger(
            venue.value, initial_cash=10_000, contracts={"BTCUSDT": contract}
        )
        assert audit(ledger, [FillRow.of(row)]) == []
        ledger = IndependentLedger(
            venue.value, initial_cash=10_000, contracts={"BTCUSDT": contract}
        )
        assert len(audit(ledger, [FillRow.of(row | {column: wrong})])) == 1


def test_decimal_rows_and_text_rows_read_alike() -> None:
    text = {"ts_ms": "1", "symbol": "A", "signed_quantity": "-0.5", "mark_price": "10"}
    numbers = {"ts_ms": 1, "symbol": "A", "signed_quantity": Decimal("-0.5"), "mark_price": 10}
    more = {"rate": "0.0001", "amount": "0.0005"}
    assert FundingRow.of(text | more) == FundingRow.of(numbers | more)
