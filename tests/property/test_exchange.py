"""Random orders in random markets, judged from outside after every command and every bar."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.property.onlooker import Onlooker, watch_liquidations
from tests.property.random_market import MANY, NAMES, Market, Plan, Step, plans

from perpdesk.domain.candles import Venue
from perpdesk.simulation.settings import ExchangeSettings

numbers = st.lists(st.integers(0, 999), min_size=10, max_size=10).map(tuple)


@MANY
@given(plans(most_steps=40))
def test_no_run_breaks_a_rule(plan: Plan) -> None:
    exchange, market = plan.exchange(), Market(plan)
    onlooker = Onlooker(exchange)
    watch_liquidations(exchange)
    for step in plan.steps:
        for each in step.commands:
            onlooker.watch(exchange.process(market.command(each)), None)
        for bar in market.bars(step):
            onlooker.watch(exchange.process(bar), bar)


class ExchangeMachine(RuleBasedStateMachine):
    """One exchange under whatever commands and bars Hypothesis thinks of."""

    @initialize(plan=plans(most_steps=2), venue=st.sampled_from([Venue.BINANCE, Venue.BYBIT]))
    def open_exchange(self, plan: Plan, venue: Venue) -> None:
        plan = Plan(venue, plan.symbols, plan.settings, ())
        self.exchange, self.market = plan.exchange(), Market(plan)
        self.onlooker = Onlooker(self.exchange)
        watch_liquidations(self.exchange)

    @rule(command=numbers)
    def command_something(self, command: tuple[int, ...]) -> None:
        events = self.exchange.process(self.market.command(command))
        self.onlooker.watch(events, None)

    @rule(bars=st.tuples(numbers, numbers, numbers))
    def let_a_minute_pass(self, bars: tuple[tuple[int, ...], ...]) -> None:
        step = Step((), bars[: len(self.market.plan.symbols)])
        for bar in self.market.bars(step):
            self.onlooker.watch(self.exchange.process(bar), bar)


ExchangeMachine.TestCase.settings = settings(stateful_step_count=40)
TestExchangeMachine = ExchangeMachine.TestCase


def test_an_account_without_symbols_in_play_keeps_its_cash() -> None:
    plan = Plan(Venue.BYBIT, NAMES, ExchangeSettings(initial_capital=Decimal(1000)), ())
    exchange, market = plan.exchange(), Market(plan)
    onlooker = Onlooker(exchange)
    for bar in market.bars(Step((), (((0,) * 10),) * 3)):
        onlooker.watch(exchange.process(bar), bar)
    assert exchange.account().equity == 1000
