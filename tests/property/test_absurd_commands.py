"""No command, however absurd, raises or breaks the account: it is refused or it is carried out."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.simulation.trial import BTC, BUY, Trial

from perpdesk.domain.account import MarginMode
from perpdesk.domain.candles import Venue
from perpdesk.domain.events import (
    AddIsolatedMargin,
    AmendOrder,
    CancelOrder,
    Command,
    SetLeverage,
    SubmitBracket,
    SubmitOrder,
)
from perpdesk.domain.order import (
    ClientOrderId,
    OrderRequest,
    OrderType,
    Side,
    TimeInForce,
    Trailing,
    WorkingPrice,
)

SOME = (
    "0",
    "-1",
    "1",
    "0.001",
    "10000",
    "9990.1",
    "0.3",
    "1E+40",
    "-1E+40",
    "1E-40",
    "1E-9",
    "NaN",
)
numbers = st.sampled_from([Decimal(text) for text in (*SOME, "Infinity", "-Infinity")])
maybe = st.none() | numbers
ids = st.sampled_from([ClientOrderId(name) for name in ("a", "b", "c", "entry")])
symbols = st.sampled_from([BTC, BTC, BTC, "", "DOGEUSDT"])
requests = st.builds(
    OrderRequest,
    client_order_id=ids,
    symbol=symbols,
    side=st.sampled_from(Side),
    type=st.sampled_from(OrderType),
    quantity=maybe,
    price=maybe,
    trigger_price=maybe,
    working_price=st.sampled_from(WorkingPrice),
    time_in_force=st.sampled_from(TimeInForce),
    expire_ms=st.none() | st.integers(-10, 10**15),
    reduce_only=st.booleans(),
    close_position=st.booleans(),
    trailing=st.none() | st.builds(Trailing, callback_rate=numbers, activation_price=maybe),
    parent_id=st.none() | ids,
    oco_id=st.sampled_from([None, "x"]),
)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(SubmitOrder, request=requests),
    st.builds(SubmitBracket, entry=requests, legs=st.lists(requests, max_size=3).map(tuple)),
    st.builds(CancelOrder, client_order_id=ids),
    st.builds(AmendOrder, client_order_id=ids, quantity=maybe, price=maybe, trigger_price=maybe),
    st.builds(SetLeverage, symbol=symbols, leverage=numbers),
    st.builds(AddIsolatedMargin, symbol=symbols, amount=numbers),
)


@given(
    commands=st.lists(commands, min_size=1, max_size=8),
    venue=st.sampled_from([Venue.BINANCE, Venue.BYBIT]),
    mode=st.sampled_from(MarginMode),
    begun=st.booleans(),
)
def test_no_command_raises(
    commands: list[Command], venue: Venue, mode: MarginMode, begun: bool
) -> None:
    trial = Trial(venue, margin_mode=mode)
    if begun:
        trial.submit("entry", BUY, "0.5")
        trial.flat(10000)
    for command in commands:
        assert trial.command(command), "every command has an answer"
        trial.bar((10000, 10010, 9990, 10000))
