from decimal import Decimal
from typing import Any

import pytest
from tests.unit.trading.builders import LONG, SHORT, D, signal_of, targets

from perpdesk.domain.errors import Denied
from perpdesk.domain.signal import EntryType, PositionSide
from perpdesk.trading.risk import RiskLimits, check_price, check_signal

FLOOR_3 = RiskLimits()


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_a_ratio_of_exactly_three_passes_the_default_floor(side: PositionSide) -> None:
    check_signal(signal_of(side), FLOOR_3)


def test_a_ratio_one_tick_below_three_is_denied_with_both_numbers() -> None:
    # Reward 5.9 for a risk of 2.
    with pytest.raises(Denied, match=r"risk-reward 2\.95 is below the floor 3"):
        check_signal(signal_of(take_profits=targets(("105.9", "1"))), FLOOR_3)


def test_targets_count_by_their_fractions() -> None:
    # 0.5 · 2 + 0.5 · 10 = 6 for a risk of 2: exactly 3. With the last at 109.8 it is 2.95.
    check_signal(signal_of(take_profits=targets(("102", "0.5"), ("110", "0.5"))), FLOOR_3)
    with pytest.raises(Denied, match=r"2\.95"):
        check_signal(signal_of(take_profits=targets(("102", "0.5"), ("109.8", "0.5"))), FLOOR_3)


def test_a_strategy_may_have_a_floor_of_its_own_and_a_version_another() -> None:
    limits = RiskLimits(min_risk_reward_by_strategy={"idea": D("2.5"), "idea@2": D(0)})
    fair: dict[str, Any] = {"take_profits": targets(("105", "1"))}  # 2.5 per risk of 1
    check_signal(signal_of(**fair), limits)
    with pytest.raises(Denied, match=r"risk-reward 2\.5 is below the floor 3"):
        check_signal(signal_of(strategy="other@1", **fair), limits)
    with pytest.raises(Denied, match=r"risk-reward at 100\.01 has fallen below the floor 2\.5"):
        check_price(signal_of(**fair), D("100.01"), limits)
    check_signal(signal_of(strategy="idea@2", stop_loss=None, take_profits=()), limits)


@pytest.mark.parametrize("missing", [{"stop_loss": None}, {"take_profits": ()}])
def test_a_signal_without_stop_or_target_passes_no_floor(missing: dict[str, Any]) -> None:
    with pytest.raises(Denied, match="without a stop loss and a take profit"):
        check_signal(signal_of(**missing), FLOOR_3)


def test_a_floor_of_zero_asks_for_no_ratio_at_all() -> None:
    off = RiskLimits(min_risk_reward=D(0))
    check_signal(signal_of(stop_loss=None, take_profits=()), off)
    check_signal(signal_of(take_profits=targets(("100.1", "1"))), off)
    check_price(signal_of(stop_loss=None, take_profits=()), D(150), off)


def test_confidence_at_the_floor_passes_and_below_is_denied() -> None:
    limits = RiskLimits(min_confidence=0.6)
    check_signal(signal_of(confidence=0.6), limits)
    with pytest.raises(Denied, match=r"confidence 0\.59 is below 0\.6"):
        check_signal(signal_of(confidence=0.59), limits)


def test_a_stop_on_the_wrong_side_is_denied_naming_the_field() -> None:
    with pytest.raises(Denied, match="stop_loss 101 of a LONG signal is on the wrong side"):
        check_signal(signal_of(stop_loss=D(101)), RiskLimits(min_risk_reward=D(0)))


def test_drift_up_to_the_limit_passes_and_beyond_is_denied() -> None:
    limits = RiskLimits(min_risk_reward=D(0), max_confirm_drift_pct=D("0.5"))
    check_price(signal_of(), D("100.5"), limits)
    check_price(signal_of(), D("99.5"), limits)
    with pytest.raises(Denied, match=r"price moved 0\.6 % since the signal, more than 0\.5 %"):
        check_price(signal_of(), D("99.4"), limits)


@pytest.mark.parametrize(
    ("side", "price"), [(LONG, "98"), (LONG, "97"), (SHORT, "102"), (SHORT, "103")]
)
def test_a_price_at_or_beyond_the_stop_is_denied_at_confirmation(
    side: PositionSide, price: str
) -> None:
    with pytest.raises(Denied, match="already beyond the stop loss"):
        check_price(signal_of(side), D(price), RiskLimits(min_risk_reward=D(0)))


def test_a_limit_entry_whose_stop_the_price_has_passed_is_denied() -> None:
    # It would fill at once, at a price at which its stop triggers at once.
    waits = signal_of(entry=EntryType.LIMIT, entry_price=D(99))
    check_price(waits, D("98.1"), FLOOR_3)
    with pytest.raises(Denied, match="price 97 is already beyond the stop loss 98"):
        check_price(waits, D(97), FLOOR_3)


def test_a_stop_entry_far_above_the_market_may_have_its_stop_above_it_too() -> None:
    breakout = signal_of(
        entry=EntryType.STOP,
        entry_price=D(110),
        stop_loss=D(105),
        take_profits=targets(("125", "1")),
    )
    check_price(breakout, D(100), FLOOR_3)


@pytest.mark.parametrize(
    ("price", "ratio"),
    [("100.1", Decimal("5.9") / Decimal("2.1")), ("101", Decimal(5) / Decimal(3))],
)
def test_the_ratio_is_judged_again_at_the_price_of_the_confirmation(
    price: str, ratio: Decimal
) -> None:
    assert ratio < 3
    with pytest.raises(Denied, match="has fallen below the floor 3"):
        check_price(signal_of(), D(price), FLOOR_3)
    check_price(signal_of(), D(price), RiskLimits(min_risk_reward=ratio))


def test_a_better_price_at_confirmation_passes() -> None:
    # 7 to win, 1 to lose.
    check_price(signal_of(), D(99), FLOOR_3)
