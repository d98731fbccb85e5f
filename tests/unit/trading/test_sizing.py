from dataclasses import replace
from decimal import Decimal

import pytest
from tests.unit.simulation.market import instrument_of
from tests.unit.trading.builders import D, signal_of

from perpdesk.domain.candles import Venue
from perpdesk.domain.errors import Denied
from perpdesk.trading.sizing import FixedNotional, FixedQuantity, PercentRisk, legal_quantity

BTC = instrument_of(Venue.BINANCE)
PLENTY = D(10**9)


def legal(wished: str, **changes: Decimal | bool) -> Decimal:
    asked: dict[str, Decimal | bool] = {
        "entry_price": D(100),
        "leverage": D(1),
        "free_margin": PLENTY,
        "resting": False,
    }
    return legal_quantity(D(wished), BTC, **(asked | changes))  # type: ignore[arg-type]


def test_percent_risk_loses_that_percent_at_the_stop() -> None:
    # 1.5 % of 10 000 is 150; the stop is 2 away: 75.
    size = PercentRisk(D("1.5")).quantity(signal_of(), entry_price=D(100), equity=D(10_000))
    assert size == 75


def test_percent_risk_measures_from_the_price_of_the_confirmation() -> None:
    # The price came 0.5 closer to the stop: 100 / 1.5.
    size = PercentRisk(D(1)).quantity(signal_of(), entry_price=D("99.5"), equity=D(10_000))
    assert legal_quantity(
        size, BTC, entry_price=D("99.5"), leverage=D(1), free_margin=PLENTY, resting=False
    ) == D("66.666")


def test_percent_risk_without_a_stop_is_denied_with_another_way_to_size() -> None:
    with pytest.raises(Denied, match="needs a stop loss") as caught:
        PercentRisk(D(1)).quantity(signal_of(stop_loss=None), entry_price=D(100), equity=D(1))
    assert "fixed quantity or notional" in caught.value.next_step


def test_percent_risk_with_the_price_on_the_stop_is_denied() -> None:
    with pytest.raises(Denied, match="lies on the entry price"):
        PercentRisk(D(1)).quantity(signal_of(), entry_price=D(98), equity=D(1))


def test_fixed_sizes_ignore_the_stop() -> None:
    bare = signal_of(stop_loss=None)
    assert FixedNotional(D(500)).quantity(bare, entry_price=D(100), equity=D(1)) == 5
    assert FixedQuantity(D("0.25")).quantity(bare, entry_price=D(100), equity=D(1)) == D("0.25")


def test_a_size_is_rounded_down_to_the_step_never_up() -> None:
    assert legal("0.0999999") == D("0.099")
    assert legal("0.1") == D("0.1")


def test_free_margin_binds_with_an_allowance_for_fees_and_for_the_price_of_the_fill() -> None:
    # At 1x each unit of notional costs 1 + 0.002, half a percent dearer: 10 units at 100 bind
    # 1000 × 1.005 × 1.002 = 1007.01.
    assert legal("50", free_margin=D("1007.01")) == 10
    assert legal("50", free_margin=D("1007")) == D("9.999")
    # At 5x it costs 0.2 + 0.002: 500 × 1.005 × 0.202.
    assert legal("500", free_margin=D("101.505"), leverage=D(5)) == 5


def test_the_cap_of_the_highest_tier_that_allows_the_leverage_binds() -> None:
    # 60x is allowed up to 250 000 (100x tier), not in the tier above (50x): at 2500 × 1.005 a
    # little less than 100 units.
    assert legal("99999", entry_price=D(2500), leverage=D(60)) == D("99.502")
    assert legal("99999", entry_price=D(2500), leverage=D(50)) == 200  # the market limit
    assert legal("99999", entry_price=D(2500), leverage=D(110)) == D("19.9")


@pytest.mark.parametrize("leverage", [D(1), D(20), D(60), D(110)])
def test_the_largest_size_still_fits_where_the_fill_is_half_a_percent_dearer(
    leverage: Decimal,
) -> None:
    free = D(3000)
    quantity = legal("99999", entry_price=D(2500), leverage=leverage, free_margin=free)
    notional = quantity * D(2500) * D("1.005")
    cap = max(tier.cap for tier in BTC.tiers if tier.max_leverage >= leverage)
    assert notional <= cap
    assert notional / leverage + notional * D("0.002") <= free


def test_market_and_limit_orders_have_limits_of_their_own() -> None:
    assert legal("5000", entry_price=D(1)) == 200
    assert legal("5000", entry_price=D(1), resting=True) == 1000


def test_below_the_minimum_notional_names_the_smallest_legal_order() -> None:
    # 5 quote at 300 is 0.01666…, the next step up is 0.017.
    with pytest.raises(Denied, match=r"below the smallest legal order of 0\.017") as caught:
        legal("0.0169", entry_price=D(300))
    assert "Raise the risk or the capital" in caught.value.next_step
    assert legal("0.017", entry_price=D(300)) == D("0.017")


def test_below_the_minimum_quantity_names_the_smallest_legal_order() -> None:
    coarse = replace(BTC, min_quantity=D("0.5"), min_notional=D(0))
    with pytest.raises(Denied, match=r"smallest legal order of 0\.5"):
        legal_quantity(
            D("0.4"), coarse, entry_price=D(100), leverage=D(1), free_margin=PLENTY, resting=False
        )


def test_no_margin_left_is_denied_and_says_what_is_affordable() -> None:
    with pytest.raises(Denied, match="affordable 0"):
        legal("1", free_margin=D("-20"))


def test_every_rule_describes_itself_in_words() -> None:
    assert PercentRisk(D("1.50")).describe() == "risk 1.5 % of equity to the stop"
    assert FixedNotional(D(1000)).describe() == "fixed notional 1000"
    assert FixedQuantity(D("0.1")).describe() == "fixed quantity 0.1"
