"""Skipping bars inside the guard gives exactly the events and the ledger of processing them all."""

from hypothesis import given
from tests.property.random_market import MANY, Market, Plan, plans

from perpdesk.domain.events import BarClosed, Event
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.guard import Guard


class SkippingHost:
    """Drives an exchange as a backtest does: a guard holds until something happens."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.guards: dict[str, Guard | None] = {}
        self.skipped = 0

    def changed(self) -> None:
        self.guards.clear()

    def on_bar(self, bar: BarClosed) -> list[Event]:
        if bar.symbol not in self.guards:
            self.guards[bar.symbol] = self.exchange.guard(bar.symbol)
        guard = self.guards[bar.symbol]
        if guard is not None and self._is_quiet(bar, guard):
            self.skipped += 1
            self.exchange.skip_to(
                bar.symbol, bar.close_ms, last_price=bar.last.close, mark_price=bar.mark.close
            )
            return []
        events = self.exchange.process(bar)
        del self.guards[bar.symbol]
        if events:
            self.changed()
        return events

    def _is_quiet(self, bar: BarClosed, guard: Guard) -> bool:
        if bar.funding and self.exchange.position(bar.symbol).is_open:
            return False
        if guard.expire_ms is not None and bar.ts_ms >= guard.expire_ms:
            return False
        return (
            (guard.last_low is None or bar.last.low > guard.last_low)
            and (guard.last_high is None or bar.last.high < guard.last_high)
            and (guard.mark_low is None or bar.mark.low > guard.mark_low)
            and (guard.mark_high is None or bar.mark.high < guard.mark_high)
        )


@MANY
@given(plans(most_steps=40))
def test_skipping_quiet_bars_changes_nothing(plan: Plan) -> None:
    patient, market = plan.exchange(), Market(plan)
    quick = SkippingHost(plan.exchange())
    for step in plan.steps:
        for command in [market.command(numbers) for numbers in step.commands]:
            quick.changed()
            assert quick.exchange.process(command) == patient.process(command)
        for bar in market.bars(step):
            assert quick.on_bar(bar) == patient.process(bar)
            assert quick.exchange.account() == patient.account()
            for symbol in plan.symbols:
                assert quick.exchange.liquidation_price(symbol) == patient.liquidation_price(symbol)
    assert quick.exchange.ledger.entries == patient.ledger.entries
