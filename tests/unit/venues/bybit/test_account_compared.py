"""The account's stream is held against REST: what it kept to itself is found, however late."""

import asyncio
from typing import Any

import pytest
from tests.unit.venues.bybit.rows import execution_row, position_row
from tests.unit.venues.virtual_time import VirtualTime, stop

from perpdesk.domain.errors import VenueUnavailable
from perpdesk.domain.streams import AccountSynchronized, StreamEvent
from perpdesk.domain.venue_reports import BalanceReport, FillReport, PositionReport
from perpdesk.venues.bybit.account_stream import COMPARE_S, AccountState
from perpdesk.venues.bybit.sockets import Incoming
from perpdesk.venues.bybit.wire import fill_report
from perpdesk.venues.clock import VenueClock


class Books:
    """What REST knows of an account. is_away: every question fails."""

    def __init__(self) -> None:
        self.fills: list[FillReport] = []
        self.is_away = False
        self.margin_mode = None

    async def executions(self, since_ms: int, **_: Any) -> tuple[FillReport, ...]:
        self._fail_while_away()
        return tuple(fill for fill in self.fills if fill.ts_event_ms >= since_ms)

    async def balances(self) -> tuple[Any, ...]:
        self._fail_while_away()
        return ()

    open_orders = positions = balances

    def fill_of(self, row: dict[str, Any]) -> FillReport:
        return fill_report(row)

    def _fail_while_away(self) -> None:
        if self.is_away:
            raise VenueUnavailable("it does not answer", next_step="Wait.")


class Story:
    def __init__(self) -> None:
        self.local = VirtualTime()
        self.books = Books()
        self.told: list[StreamEvent] = []
        self.rebuilt: list[str] = []
        self.state = AccountState(
            self.books,  # type: ignore[arg-type]
            clock=VenueClock(self.local),
            put=self.told.append,
            rebuild=self.rebuilt.append,
        )

    def fill(self, trade_id: str, *, is_told: bool) -> None:
        row = execution_row(trade_id, execTime=str(self.local.now_ms()))
        self.books.fills.append(fill_report(row))
        if is_told:
            self.state.deliver(
                Incoming(connection=1, message={"topic": "execution", "data": [row]})
            )


@pytest.fixture
async def story() -> Any:
    story = Story()
    await story.state.resync()
    watching = asyncio.create_task(story.state.watch())
    yield story
    await stop(watching)


async def test_a_fill_kept_back_while_rest_was_away_is_found_when_it_is_back(story: Story) -> None:
    story.books.is_away = True
    await story.local.advance(1)
    story.fill("lost", is_told=False)
    await story.local.advance(600)
    story.fill("told", is_told=True)
    story.books.is_away = False
    await story.local.advance(2 * COMPARE_S)
    assert story.rebuilt
    assert "lost" in story.rebuilt[0]


async def test_a_fill_kept_back_long_before_an_outage_comes_with_the_next_snapshot(
    story: Story,
) -> None:
    story.books.is_away = True
    await story.local.advance(1)
    story.fill("lost", is_told=False)
    await story.local.advance(600)
    story.fill("told", is_told=True)
    story.state.lost()
    story.books.is_away = False
    await story.state.resync()
    last = story.told[-1]
    assert isinstance(last, AccountSynchronized)
    assert [fill.trade_id for fill in last.fills] == ["lost", "told"]


async def test_a_stream_that_tells_all_is_left_alone(story: Story) -> None:
    for number in range(10):
        story.fill(f"t-{number}", is_told=True)
        await story.local.advance(COMPARE_S)
    assert story.rebuilt == []


async def test_a_position_or_balance_that_was_overtaken_is_not_told(story: Story) -> None:
    def wallet(amount: str, at_ms: int) -> dict[str, Any]:
        coins = [{"coin": "USDT", "walletBalance": amount}]
        return {"topic": "wallet", "creationTime": at_ms, "data": [{"coin": coins}]}

    def position(size: str, at_ms: int) -> dict[str, Any]:
        return {"topic": "position", "data": [position_row(size=size, updatedTime=str(at_ms))]}

    for message in (
        position("2", 20),
        position("1", 10),
        position("3", 20),
        wallet("900", 20),
        wallet("950", 10),
    ):
        story.state.deliver(Incoming(connection=1, message=message))
    held = [one.signed_quantity for one in story.told if isinstance(one, PositionReport)]
    assert held == [-2, -3]
    assert [one.wallet for one in story.told if isinstance(one, BalanceReport)] == [900]
