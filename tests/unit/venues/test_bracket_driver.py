import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from tests.unit.simulation.market import instrument_of
from tests.unit.simulation.trial import BTC
from tests.unit.venues.bracket_story import ENTRY, INSTRUMENT, entry_of, stop_leg, target_leg
from tests.unit.venues.virtual_time import VirtualTime, settle, stop

from perpdesk.domain.candles import MINUTE_MS, Venue
from perpdesk.domain.errors import Denied, OutcomeUnknown, VenueRejected, VenueUnavailable
from perpdesk.domain.events import BarClosed, Ohlc, SubmitBracket
from perpdesk.domain.order import ClientOrderId, OrderRequest
from perpdesk.domain.ports import NeverArrived
from perpdesk.domain.streams import AccountSynchronized
from perpdesk.domain.venue_reports import OrderReport
from perpdesk.simulation.exchange import Exchange
from perpdesk.simulation.settings import ExchangeSettings
from perpdesk.venues.bracket_driver import BracketDriver, DriverSettings
from perpdesk.venues.brackets import Bracket
from perpdesk.venues.simulated import SimulatedVenue

D = Decimal


class FaultyVenue(SimulatedVenue):
    """A simulated venue that fails as told, by the client id's leg: "s" of a stop, "e", "t1".

    before: errors raised instead of carrying out. after: errors raised although carried out.
    """

    def __init__(self) -> None:
        settings = ExchangeSettings(
            initial_capital=D(10_000), leverage=D(10), max_volume_share=D("0.1")
        )
        super().__init__(Exchange({BTC: instrument_of(Venue.BINANCE)}, settings))
        self.before: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}
        self.cancel_before: list[Exception] = []
        self.find_before: list[Exception] = []
        self.asked: list[str] = []
        self.resolve_waits_for: asyncio.Future[None] | None = None
        self.next_ms = 0

    async def place(self, request: OrderRequest) -> OrderReport:
        order_id = request.client_order_id
        self.asked.append(order_id)
        leg = order_id.split("-")[2]
        if self.before.get(leg):
            raise self.before[leg].pop(0)
        report = await super().place(request)
        if self.after.get(leg):
            raise self.after[leg].pop(0)
        return report

    async def cancel(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport:
        if self.cancel_before:
            raise self.cancel_before.pop(0)
        return await super().cancel(symbol, client_order_id)

    async def find(self, symbol: str, client_order_id: ClientOrderId) -> OrderReport | None:
        if self.find_before:
            raise self.find_before.pop(0)
        return await super().find(symbol, client_order_id)

    async def resolve(
        self, symbol: str, client_order_id: ClientOrderId, *, sent_ms: int
    ) -> OrderReport | NeverArrived:
        if self.resolve_waits_for is not None:
            await self.resolve_waits_for
        return await super().resolve(symbol, client_order_id, sent_ms=sent_ms)

    def bar(self, first: int, high: int, low: int, last: int, volume: int = 1000) -> None:
        ohlc = Ohlc(open=D(first), high=D(high), low=D(low), close=D(last))
        self.advance(
            BarClosed(
                symbol=BTC,
                ts_ms=self.next_ms,
                close_ms=self.next_ms + MINUTE_MS,
                last=ohlc,
                mark=ohlc,
                volume=D(volume),
            )
        )
        self.next_ms += MINUTE_MS

    def flat(self, price: int = 100, volume: int = 1000) -> None:
        self.bar(price, price, price, price, volume)

    async def open_ids(self) -> set[str]:
        return {str(report.client_order_id) for report in await self.open_orders()}

    @property
    def held(self) -> Decimal:
        return self.exchange.position(BTC).signed_quantity


class Stage:
    """A bracket that runs at a faulty venue, fed by its account feed."""

    def __init__(self) -> None:
        self.local = VirtualTime()
        self.venue = FaultyVenue()
        self.venue.flat()
        self.alarms: list[str] = []
        plan = SubmitBracket(entry=entry_of(), legs=(stop_leg(), target_leg()))
        self.bracket = Bracket(plan, INSTRUMENT)
        self.driver = BracketDriver(
            self.bracket,
            self.venue,
            local=self.local,
            venue_now_ms=lambda: self.venue.now_ms,
            alarm=self.alarms.append,
            settings=DriverSettings(linger_s=10),
        )

    async def listen(self) -> None:
        async with self.venue.account() as feed:
            async for event in feed:
                self.driver.observe(event)

    @asynccontextmanager
    async def running(self, known: AccountSynchronized | None = None) -> AsyncIterator[None]:
        listener = asyncio.ensure_future(self.listen())
        await settle()
        self.task = asyncio.ensure_future(self.driver.run(known))
        await settle()
        try:
            yield
        finally:
            await stop(self.task, listener)

    async def flat(self, price: int = 100, volume: int = 1000) -> None:
        self.venue.flat(price, volume)
        await settle()


async def test_a_bracket_lives_from_its_entry_to_its_target() -> None:
    stage = Stage()
    async with stage.running():
        assert await stage.venue.open_ids() == {ENTRY}
        await stage.flat()
        assert await stage.venue.open_ids() == {"desk-sig-s-1", "desk-sig-t1-1"}
        stage.venue.bar(100, 111, 100, 111)
        await settle()
        assert await stage.venue.open_ids() == set()
        assert stage.venue.held == 0
        assert not stage.task.done()  # A late fill would still be heard.
        await stage.local.advance(11)
        assert stage.task.done()
    assert stage.alarms == []
    assert stage.venue.asked == [ENTRY, "desk-sig-s-1", "desk-sig-t1-1"]


async def test_what_fills_bit_by_bit_is_protected_bit_by_bit() -> None:
    stage = Stage()
    async with stage.running():
        for bar in range(1, 5):
            await stage.flat(volume=3)  # A tenth of it is ours: 0.3 a bar, and 0.1 at last.
            assert stage.bracket.protected_quantity == stage.venue.held == min(D(1), D("0.3") * bar)
        rest = {
            str(each.client_order_id): each.quantity for each in await stage.venue.open_orders()
        }
        assert rest == {"desk-sig-s-4": 1, "desk-sig-t1-4": 1}
        stage.venue.bar(100, 100, 94, 94, volume=4)
        await settle()
        # The stop fires and fills in part; what is left of it goes on by itself.
        assert stage.venue.held == D("0.6")
        stage.venue.flat(94)
        await settle()
        assert stage.venue.held == 0
        await stage.local.advance(11)
        assert stage.task.done()
        assert await stage.venue.open_ids() == set()
    assert stage.alarms == []


async def test_a_refused_entry_ends_the_bracket_at_once() -> None:
    stage = Stage()
    stage.venue.before["e"] = [VenueRejected("margin is insufficient", code="-2019")]
    async with stage.running():
        await stage.local.advance(11)
        assert stage.task.done()
    assert "-2019" in stage.bracket.refusal
    assert stage.venue.asked == [ENTRY]


async def test_an_entry_whose_answer_was_lost_is_resolved_and_not_sent_again() -> None:
    stage = Stage()
    stage.venue.after["e"] = [OutcomeUnknown("timeout")]
    async with stage.running():
        await stage.flat()
        assert await stage.venue.open_ids() == {"desk-sig-s-1", "desk-sig-t1-1"}
    assert stage.venue.asked.count(ENTRY) == 1


async def test_an_entry_that_never_arrived_ends_the_bracket() -> None:
    stage = Stage()
    stage.venue.before["e"] = [OutcomeUnknown("timeout")]
    async with stage.running():
        await stage.local.advance(11)
        assert stage.task.done()
    assert stage.venue.asked == [ENTRY]


async def test_a_stop_whose_answer_was_lost_is_found_and_there_is_only_one() -> None:
    stage = Stage()
    stage.venue.after["s"] = [OutcomeUnknown("cut off")]
    async with stage.running():
        await stage.flat()
        await stage.local.advance(6)
        assert await stage.venue.open_ids() == {"desk-sig-s-1", "desk-sig-t1-1"}
    assert stage.venue.asked.count("desk-sig-s-1") == 1
    assert stage.alarms == []


async def test_a_stop_that_never_arrived_gets_a_new_id() -> None:
    stage = Stage()
    stage.venue.before["s"] = [OutcomeUnknown("cut off")]
    async with stage.running():
        await stage.flat()
        assert await stage.venue.open_ids() == {"desk-sig-s-2", "desk-sig-t1-1"}
    assert stage.venue.asked.count("desk-sig-s-1") == 1


async def test_a_stop_that_nobody_can_vouch_for_in_five_seconds_closes_at_market() -> None:
    stage = Stage()
    stage.venue.after["s"] = [OutcomeUnknown("cut off")]
    stage.venue.resolve_waits_for = gate = asyncio.get_running_loop().create_future()
    async with stage.running():
        # The word that it was accepted does not come either.
        stage.driver.observe, heard = (lambda event: None), stage.driver.observe  # type: ignore[method-assign]
        stage.venue.flat()
        await settle()
        report = await stage.venue.find(BTC, ClientOrderId(ENTRY))
        assert report is not None
        heard(report)
        await stage.local.advance(4.9)
        assert stage.alarms == []
        await stage.local.advance(0.2)
        assert len(stage.alarms) == 1
        assert "desk-sig-e-x-1" in await stage.venue.open_ids()
        stage.driver.observe = heard  # type: ignore[method-assign]
        await stage.flat()
        assert stage.venue.held == 0
        for order_id in ("desk-sig-e-x-1", "desk-sig-t1-1"):
            told = await stage.venue.find(BTC, ClientOrderId(order_id))
            assert told is not None
            heard(told)
        gate.set_result(None)
        await stage.local.advance(11)
        assert await stage.venue.open_ids() == set()
        assert stage.task.done()


async def test_a_venue_that_is_away_gets_the_same_stop_again_because_nothing_was_done() -> None:
    stage = Stage()
    stage.venue.before["s"] = [VenueUnavailable("503"), VenueUnavailable("503")]
    async with stage.running():
        await stage.flat()
        assert "desk-sig-s-1" not in await stage.venue.open_ids()
        await stage.local.advance(1)
        assert "desk-sig-s-1" in await stage.venue.open_ids()
    assert stage.venue.asked.count("desk-sig-s-1") == 3
    assert stage.alarms == []


async def test_a_duplicate_id_means_that_the_order_is_there() -> None:
    stage = Stage()
    stage.venue.after["s"] = [VenueRejected("duplicate", code="-4116")]
    async with stage.running():
        await stage.flat()
        assert await stage.venue.open_ids() == {"desk-sig-s-1", "desk-sig-t1-1"}
    assert stage.venue.asked.count("desk-sig-s-2") == 0


async def test_a_stop_refused_twice_is_left_at_market_with_an_alarm() -> None:
    stage = Stage()
    refused = VenueRejected("use the algo endpoint", code="-4120")
    stage.venue.before["s"] = [refused, refused]
    async with stage.running():
        await stage.flat()
        await stage.flat()
        await stage.local.advance(11)
        assert stage.task.done()
    assert stage.venue.held == 0
    assert await stage.venue.open_ids() == set()
    assert len(stage.alarms) == 1
    assert "at market" in stage.alarms[0]


async def test_a_cancel_with_an_unknown_outcome_is_asked_for_and_then_repeated() -> None:
    stage = Stage()
    async with stage.running():
        await stage.flat()
        stage.venue.cancel_before = [OutcomeUnknown("timeout"), VenueUnavailable("429")]
        stage.driver.move_stop(D(98))
        await settle()
        # Both rest until the old one is gone: that is allowed, none is not.
        assert {"desk-sig-s-1", "desk-sig-s-2"} <= await stage.venue.open_ids()
        await stage.local.advance(2)
        assert await stage.venue.open_ids() == {"desk-sig-s-2", "desk-sig-t1-1"}
    assert stage.venue.cancel_before == []


async def test_nothing_to_reduce_is_first_looked_into() -> None:
    stage = Stage()
    async with stage.running():
        await stage.flat()
        # The target fills, and the word of it is still on its way while the stop is moved.
        stage.driver.observe, heard = (lambda event: None), stage.driver.observe  # type: ignore[method-assign]
        stage.venue.bar(100, 111, 100, 111)
        await settle()
        stage.driver.move_stop(D(98))
        await settle()
        stage.driver.observe = heard  # type: ignore[method-assign]
        await stage.local.advance(11)
        assert stage.task.done()
    assert stage.alarms == []
    assert not stage.bracket.position_is_gone


async def test_after_a_restart_the_stop_is_placed_before_anything_else() -> None:
    stage = Stage()
    await stage.venue.place(entry_of())
    stage.venue.flat()
    known = AccountSynchronized(orders=(), positions=(), balances=(), fills=(), ts_init_ms=0)
    async with stage.running(known):
        assert stage.venue.asked == [ENTRY, "desk-sig-s-1", "desk-sig-t1-1"]
        assert stage.bracket.protected_quantity == 1


async def test_after_a_restart_orders_that_rest_already_are_not_placed_again() -> None:
    stage = Stage()
    async with stage.running():
        await stage.flat()
    again = Stage()
    again.venue, again.driver._venue = stage.venue, stage.venue
    known = AccountSynchronized(
        orders=await stage.venue.open_orders(),
        positions=(),
        balances=(),
        fills=await stage.venue.fills(BTC, 0),
        ts_init_ms=0,
    )
    before = list(stage.venue.asked)
    async with again.running(known):
        assert stage.venue.asked == before
        assert again.bracket.protected_quantity == 1


async def test_a_word_that_comes_when_nobody_runs_the_bracket_calls_a_person() -> None:
    stage = Stage()
    await stage.venue.place(entry_of())
    stage.venue.flat()
    filled = await stage.venue.find(BTC, ClientOrderId(ENTRY))
    assert filled is not None
    stage.driver.observe(filled)
    assert len(stage.alarms) == 2
    assert all("nobody runs its bracket" in alarm for alarm in stage.alarms)


async def test_a_stop_that_our_own_rules_deny_is_tried_corrected_then_closed_at_market() -> None:
    stage = Stage()
    stage.venue.before["s"] = [Denied("off the tick"), Denied("off the tick")]
    async with stage.running():
        await stage.flat()
        assert not stage.task.done()
        await stage.flat()
        assert stage.venue.held == 0
        assert any("at market" in words for words in stage.alarms)


async def test_an_entry_that_our_own_rules_deny_ends_the_bracket() -> None:
    stage = Stage()
    stage.venue.before["e"] = [Denied("below the minimum")]
    async with stage.running():
        await stage.local.advance(11)
        assert stage.task.done()
        assert stage.task.exception() is None
    assert "below the minimum" in stage.bracket.refusal


async def test_a_question_that_is_refused_is_asked_again_and_a_person_is_told_once() -> None:
    stage = Stage()
    refused = VenueRejected("the key may not be used from here", code="-2015")
    stage.venue.find_before = [refused, refused]
    async with stage.running(
        AccountSynchronized(orders=(), positions=(), balances=(), fills=(), ts_init_ms=0)
    ):
        await stage.local.advance(2)
        assert not stage.venue.find_before
        assert not (stage.task.done() and stage.task.exception())
    assert len([words for words in stage.alarms if "from here" in words]) == 1
