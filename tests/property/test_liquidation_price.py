"""At the liquidation price, what stands behind a position is exactly what it must keep."""

from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.unit.simulation.trial import BTC, Trial

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.order import Side
from perpdesk.simulation.margin import position_margin

D = Decimal


@given(
    venue=st.sampled_from([Venue.BINANCE, Venue.BYBIT]),
    mode=st.sampled_from(MarginMode),
    side=st.sampled_from(Side),
    steps=st.integers(1, 90_000),
    leverage=st.integers(2, 100),
    price=st.integers(50_000, 900_000),
    funding=st.integers(-20, 20),
)
def test_margin_and_loss_meet_the_maintenance_margin(
    venue: Venue,
    mode: MarginMode,
    side: Side,
    steps: int,
    leverage: int,
    price: int,
    funding: int,
) -> None:
    trial = Trial(venue, cash="3000000", leverage=str(leverage), margin_mode=mode)
    trial.submit("a", side, str(D(steps).scaleb(-3)))
    first = D(price).scaleb(-1)
    trial.flat(str(first))
    assume(trial.held())
    trial.flat(str(first), funding=[(0, str(D(funding).scaleb(-5)), str(first))])
    accounting, state = trial.exchange.accounting, trial.exchange.symbols[BTC]
    mark = trial.exchange.liquidation_price(BTC)
    assume(mark is not None)
    assert mark is not None

    def distance(at: Decimal) -> Decimal:
        """Return the margin balance less the maintenance margin at a mark."""
        margin = position_margin(
            state.instrument,
            signed_quantity=state.signed_quantity,
            entry_value=state.entry_value,
            mark_price=at,
            leverage=state.leverage,
            taker_rate=state.close_fee_rate,
        )
        return accounting.margin_to_lose(state) + margin.unrealized - margin.maintenance

    # Bybit's formula divides margin beyond the initial one by 1 - s·t.
    extra = abs(state.isolated_margin - abs(state.entry_value) / state.leverage)
    slack = D("0.000001") + (extra * D("0.0006") if mode is MarginMode.ISOLATED else D(0))
    assert abs(distance(mark)) <= slack
    assert distance(mark * (1 - side.sign * D("0.001"))) < distance(mark)
