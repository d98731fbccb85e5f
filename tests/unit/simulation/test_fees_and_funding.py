"""Rules 7 and 8: fees by date, funding at its own time on what is open then."""

from decimal import Decimal

import pytest
from tests.unit.simulation.trial import BTC, BUY, SELL, Trial, of_type, only

from perpdesk.domain.account import LedgerKind, MarginMode
from perpdesk.domain.candles import MINUTE_MS, Venue
from perpdesk.domain.events import AddIsolatedMargin, FundingSettled, OrderFilled
from perpdesk.domain.instrument import FeePeriod, FeeRates, FeeSchedule
from perpdesk.domain.order import Side

D = Decimal
RATES = FeeRates(maker=D("0.0002"), taker=D("0.0004"))
LATER = FeeRates(maker=D("0.0002"), taker=D("0.0005"))


def schedule(change_ms: int) -> FeeSchedule:
    return FeeSchedule(
        name="two",
        periods=(
            FeePeriod(valid_from_ms=0, rates=RATES),
            FeePeriod(valid_from_ms=change_ms, rates=LATER),
        ),
    )


def test_fees_change_at_the_minute_the_schedule_says() -> None:
    trial = Trial(instrument={"fees": schedule(2 * MINUTE_MS)})
    for name in "abc":
        trial.submit(name, BUY, "0.1")
        trial.flat(10000)
    # 1,000 x 0.0004 at 0:00 and 0:01, 1,000 x 0.0005 at 0:02, on the same day.
    assert [fill.fee for fill in trial.fills()] == [D("0.4"), D("0.4"), D("0.5")]


def test_a_second_symbol_that_lags_behind_pays_the_fees_of_its_own_time() -> None:
    trial = Trial(symbols=(BTC, "ETHUSDT"), instrument={"fees": schedule(MINUTE_MS)})
    trial.submit("a", BUY, "0.1")
    trial.submit("b", BUY, "0.1", symbol="ETHUSDT")
    trial.flat(10000)
    trial.submit("c", BUY, "0.1", symbol="ETHUSDT")
    # The other symbol's bar of 0:00 comes when this one's has closed at 0:01.
    assert {fill.fee for fill in of_type(trial.flat(10000, symbol="ETHUSDT"), OrderFilled)} == {
        D("0.4")
    }


@pytest.mark.parametrize(
    ("venue", "fee"),
    # 0.001 x 10,000.5 x 0.0001234567 = 0.0012346287...
    [(Venue.BINANCE, "0.00123462"), (Venue.BYBIT, "0.00123463")],
)
def test_the_ninth_decimal_is_cut_by_binance_and_rounded_by_bybit(venue: Venue, fee: str) -> None:
    trial = Trial(venue, instrument={"fees": FeeSchedule.flat(maker=D(0), taker=D("0.0001234567"))})
    trial.submit("a", BUY, "0.001")
    assert only(trial.flat(10000.5), OrderFilled).fee == D(fee)


def test_a_rebate_is_income() -> None:
    trial = Trial(instrument={"fees": FeeSchedule.flat(maker=D(0), taker=D("-0.0001"))})
    trial.submit("a", BUY)
    trial.flat(10000)
    assert trial.cash == D(10001)


@pytest.mark.parametrize(
    ("side", "rate", "amount"),
    # 1 x 10,020 x 0.0001: longs pay when the rate is positive.
    [(BUY, "0.0001", "-1.002"), (SELL, "0.0001", "1.002"), (BUY, "-0.0001", "1.002")],
)
def test_funding_is_exchanged_at_the_mark_of_its_row(side: Side, rate: str, amount: str) -> None:
    trial = Trial()
    trial.submit("a", side)
    trial.flat(10000)
    event = only(trial.flat(10000, funding=[(0, rate, "10020")]), FundingSettled)
    assert (event.amount, event.ts_ms) == (D(amount), MINUTE_MS)
    assert trial.cash == 10000 - 5 + D(amount)


def test_what_fills_at_the_settlement_takes_part_in_it() -> None:
    trial = Trial()
    trial.flat(10000)
    trial.submit("a", BUY)
    events = trial.flat(10000, funding=[(0, "0.0001", "10000")])
    assert [type(event) for event in events] == [OrderFilled, FundingSettled]


def test_what_closes_at_the_settlement_takes_no_part_in_it() -> None:
    trial = Trial()
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.submit("b", SELL)
    events = trial.flat(10000, funding=[(0, "0.0001", "10000")])
    assert [type(event) for event in events] == [OrderFilled]


def test_funding_some_milliseconds_past_the_hour_keeps_its_time() -> None:
    trial = Trial()
    trial.submit("a", BUY)
    trial.flat(10000)
    events = trial.flat(10000, funding=[(7, "0.0001", "10000"), (30_000, "0.0002", "10000")])
    settled = of_type(events, FundingSettled)
    assert [event.ts_ms - MINUTE_MS for event in settled] == [7, 30_000]
    assert [event.amount for event in settled] == [D(-1), D(-2)]


def test_funding_on_binance_is_taken_from_the_isolated_margin() -> None:
    trial = Trial()
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.flat(10000, funding=[(0, "0.001", "10000")])
    assert trial.exchange.position(BTC).isolated_margin == D(990)


def test_funding_on_bybit_is_paid_from_what_is_free_first() -> None:
    # 10 of 1,030 stay free: 1,030 - 1,000 - fee 5.5 - fee to close 4.95 = 14.55
    trial = Trial(Venue.BYBIT, cash="1030")
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.flat(10000, funding=[(0, "0.001", "10000")])
    assert trial.exchange.position(BTC).isolated_margin == D(1000)
    before = trial.exchange.liquidation_price(BTC)
    trial.flat(10000, funding=[(0, "0.001", "10000")])
    # The second 10 find 1030 - 5.5 - 10 - 1,004.95 = 9.55.
    assert trial.exchange.position(BTC).isolated_margin == D("999.55")
    after = trial.exchange.liquidation_price(BTC)
    assert before is not None
    assert after is not None
    assert after > before


def test_funding_that_is_received_does_not_move_bybits_liquidation_price() -> None:
    trial = Trial(Venue.BYBIT)
    trial.submit("a", SELL)
    trial.flat(10000)
    before = trial.exchange.liquidation_price(BTC)
    trial.flat(10000, funding=[(0, "0.001", "10000")])
    assert trial.exchange.liquidation_price(BTC) == before


def test_funding_can_bring_about_a_liquidation() -> None:
    trial = Trial()
    trial.submit("a", BUY)
    trial.flat(10000)
    price = trial.exchange.liquidation_price(BTC)
    # 1,000 of margin keep 40: liquidated at 9,036.1; funding of 1,000 leaves none.
    assert price is not None
    assert price.quantize(D("0.1")) == D("9036.1")
    trial.flat(10000, funding=[(0, "0.1", "10000")])
    assert trial.held() == 0


def test_every_change_of_cash_is_in_the_ledger() -> None:
    trial = Trial(margin_mode=MarginMode.ISOLATED)
    trial.submit("a", BUY)
    trial.flat(10000)
    trial.flat(10000, funding=[(0, "0.0001", "10000")])
    trial.command(AddIsolatedMargin(symbol=BTC, amount=D(10)))
    trial.submit("b", SELL)
    trial.flat(10100)
    assert [(entry.kind, entry.amount) for entry in trial.exchange.ledger.entries] == [
        (LedgerKind.DEPOSIT, D(10000)),
        (LedgerKind.FEE, D(-5)),
        (LedgerKind.FUNDING, D(-1)),
        (LedgerKind.REALIZED_PNL, D(100)),
        (LedgerKind.FEE, D("-5.05")),
    ]
