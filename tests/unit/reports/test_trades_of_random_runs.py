"""Trades of random runs on the simulated exchange: every cent of the ledger is in a trade."""

from decimal import localcontext

from hypothesis import given
from tests.property.random_market import Market, Plan, plans

from perpdesk.domain.events import Event, PositionLiquidated
from perpdesk.domain.numbers import EXACT, ZERO
from perpdesk.reports.trades import round_trips


@given(plans())
def test_trades_account_for_every_change_of_cash_and_every_position(plan: Plan) -> None:
    exchange, market = plan.exchange(), Market(plan)
    events: list[Event] = []
    for step in plan.steps:
        commands = [market.command(numbers) for numbers in step.commands]
        for item in [*commands, *market.bars(step)]:
            events += exchange.process(item)
    trips = round_trips(events)
    with localcontext(EXACT):
        earned = sum((trip.net_pnl for trip in trips), ZERO)
        liquidated = sum((trip.liquidation_cost for trip in trips), ZERO)
        assert exchange.ledger.cash == plan.settings.initial_capital + earned
    forced = [event for event in events if isinstance(event, PositionLiquidated)]
    assert liquidated == sum((event.liquidation_fee for event in forced), ZERO)
    held = {trip.symbol: trip.side for trip in trips if not trip.is_closed}
    positions = {symbol: exchange.position(symbol).side for symbol in plan.symbols}
    assert held == {symbol: side for symbol, side in positions.items() if side is not None}
    assert [trip.trade_id for trip in trips] == list(range(1, len(trips) + 1))
    for trip in trips:
        assert trip.net_pnl == trip.gross_pnl - trip.fees + trip.funding
