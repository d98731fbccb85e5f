import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.venues.virtual_time import VirtualTime, settle, stop

from perpdesk.domain.errors import VenueRejected, VenueUnavailable
from perpdesk.venues.pipe import Pipe, PipeSettings


class FakeSocket:
    """A connection into which a test puts messages and errors."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.is_closed = False
        self.close_takes: asyncio.Future[None] | None = None

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.messages.put_nowait(message)

    async def receive(self) -> Any:
        message = await self.messages.get()
        if isinstance(message, BaseException):
            raise message
        return message


class Bench:
    """A pipe on virtual time, with everything it did in `story`."""

    def __init__(self, **settings: Any) -> None:
        self.local = VirtualTime()
        self.sockets: list[FakeSocket] = []
        self.refusals: list[BaseException] = []
        self.resyncs: list[Any] = []
        self.story: list[str] = []
        self.deliver_fails_on: dict[Any, Exception] = {}
        self.rebuild_on: Any = None
        self.connect_takes_s = 0.0
        settings.setdefault("jitter", lambda: 1.0)
        self.pipe = Pipe(
            "market",
            connect=self.connect,
            resync=self.resync,
            deliver=self.deliver,
            lost=lambda reason: self.story.append(f"lost: {reason}"),
            restored=lambda: self.story.append("restored"),
            local=self.local,
            settings=PipeSettings(**settings),
        )
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Bench":
        self.task = asyncio.ensure_future(self.pipe.run())
        await settle()
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self.task is not None
        await stop(self.task)
        assert all(socket.is_closed for socket in self.sockets)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[FakeSocket]:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.connect_takes_s:
            await self.local.sleep(self.connect_takes_s)
        socket = FakeSocket()
        self.sockets.append(socket)
        try:
            yield socket
        finally:
            if socket.close_takes is not None:
                await socket.close_takes
            socket.is_closed = True

    async def resync(self) -> None:
        what = self.resyncs.pop(0) if self.resyncs else None
        if isinstance(what, asyncio.Future):
            await what
        elif what is not None:
            raise what
        self.story.append("resync")

    def deliver(self, message: Any) -> None:
        if message in self.deliver_fails_on:
            raise self.deliver_fails_on.pop(message)
        self.story.append(str(message))
        if message == self.rebuild_on:
            self.pipe.rebuild("a gap")

    @property
    def socket(self) -> FakeSocket:
        return self.sockets[-1]


def future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_messages_wait_until_the_resync_is_done_and_keep_their_order() -> None:
    bench = Bench()
    gate = future()
    bench.resyncs = [gate]
    async with bench:
        bench.socket.say(1, 2)
        await settle()
        assert bench.story == []
        gate.set_result(None)
        await settle()
        bench.socket.say(3)
        await settle()
        assert bench.story == ["resync", "1", "2", "3"]


async def test_a_broken_connection_is_made_anew_and_resynced() -> None:
    async with Bench(backoff_s=2) as bench:
        bench.socket.say(1, ConnectionError("reset"))
        await settle()
        assert bench.story == ["resync", "1", "lost: ConnectionError: reset"]
        assert bench.socket.is_closed
        await bench.local.advance(1.9)
        assert len(bench.sockets) == 1
        await bench.local.advance(0.2)
        bench.socket.say(2)
        await settle()
        assert bench.story[3:] == ["resync", "restored", "2"]
        assert bench.pipe.rebuilt == 1


async def test_a_silent_connection_is_taken_for_dead() -> None:
    async with Bench(silence_s=15) as bench:
        await bench.local.advance(10)
        bench.socket.say(1)
        await bench.local.advance(14.9)
        assert bench.story == ["resync", "1"]
        await bench.local.advance(0.2)
        assert bench.story[-1] == "lost: silent for 15 s"
        await bench.local.advance(1)
        assert bench.story[-2:] == ["resync", "restored"]


async def test_silence_is_noticed_however_long_the_connection_took_to_open() -> None:
    bench = Bench(silence_s=15, resync_s=120)
    bench.connect_takes_s = 1.0
    async with bench:
        await bench.local.advance(1.1)
        await bench.local.advance(14.8)
        assert bench.story == ["resync"]
        await bench.local.advance(0.3)
        assert bench.story == ["resync", "lost: silent for 15 s"]


async def test_waits_double_up_to_the_longest_and_one_outage_is_told_once() -> None:
    bench = Bench(backoff_s=1, backoff_max_s=4)
    bench.refusals = [OSError("refused") for _ in range(6)]
    async with bench:
        await bench.local.advance(1 + 2 + 4 + 4 + 4 + 3.9)
        assert bench.sockets == []
        await bench.local.advance(0.2)
        assert len(bench.sockets) == 1
        assert bench.story == ["lost: OSError: refused", "resync", "restored"]


async def test_jitter_shortens_the_wait_to_half_of_it_at_most() -> None:
    bench = Bench(backoff_s=8, jitter=lambda: 0.0)
    bench.refusals = [OSError("refused")]
    async with bench:
        await bench.local.advance(3.9)
        assert bench.sockets == []
        await bench.local.advance(0.2)
        assert len(bench.sockets) == 1


async def test_a_connection_that_dies_at_once_again_and_again_is_not_tried_hotly() -> None:
    async with Bench(backoff_s=1, backoff_max_s=60) as bench:
        for _ in range(5):
            bench.socket.say(ConnectionError("no"))
            await bench.local.advance(16)
        assert len(bench.sockets) == 6
        bench.socket.say(ConnectionError("no"))
        await bench.local.advance(31.9)
        assert len(bench.sockets) == 6


async def test_an_exception_of_the_reader_of_messages_breaks_the_connection() -> None:
    async with Bench() as bench:
        bench.deliver_fails_on = {2: ValueError("not a message")}
        bench.socket.say(1, 2, 3)
        await bench.local.advance(1)
        assert bench.story == [
            "resync", "1", "lost: ValueError: not a message", "resync", "restored",
        ]  # fmt: skip


async def test_an_exception_in_the_buffered_messages_breaks_it_too() -> None:
    bench = Bench()
    gate = future()
    bench.resyncs = [gate]
    bench.deliver_fails_on = {2: ValueError("bad")}
    async with bench:
        bench.socket.say(1, 2, 3)
        await settle()
        gate.set_result(None)
        await bench.local.advance(1)
        assert bench.story == ["resync", "1", "lost: ValueError: bad", "resync", "restored"]


async def test_a_rebuild_from_within_a_message_delivers_nothing_more_of_the_old() -> None:
    async with Bench() as bench:
        bench.rebuild_on = 2
        bench.socket.say(1, 2, 3, 4)
        await bench.local.advance(1)
        bench.socket.say(5)
        await settle()
        assert bench.story == ["resync", "1", "2", "lost: a gap", "resync", "restored", "5"]
        assert bench.pipe.rebuilt == 1


async def test_a_resync_that_fails_is_tried_again_with_a_new_connection() -> None:
    bench = Bench()
    bench.resyncs = [VenueUnavailable("503")]
    async with bench:
        bench.socket.say(1)
        await bench.local.advance(1)
        assert bench.story == ["lost: VenueUnavailable: 503", "resync", "restored"]
        assert len(bench.sockets) == 2


async def test_a_resync_that_never_ends_is_given_up() -> None:
    bench = Bench(resync_s=60, silence_s=1_000)
    bench.resyncs = [future()]
    async with bench:
        await bench.local.advance(59)
        assert bench.story == []
        await bench.local.advance(2)
        assert bench.story[0] == "lost: not connected and resynced within 60 s"
        assert bench.story[1:] == ["resync", "restored"]


async def test_a_planned_rotation_overlaps_and_loses_nothing() -> None:
    async with Bench(lifetime_s=100, silence_s=1_000) as bench:
        gate = future()
        bench.resyncs = [gate]
        await bench.local.advance(101)
        old, new = bench.sockets
        old.say("old 1")
        new.say("new 1")
        await settle()
        assert bench.story == ["resync", "old 1"]
        gate.set_result(None)
        await settle()
        assert old.is_closed
        assert not new.is_closed
        new.say("new 2")
        await settle()
        assert bench.story == ["resync", "old 1", "resync", "new 1", "new 2"]
        assert bench.pipe.rebuilt == 1
        await bench.local.advance(100)
        assert len(bench.sockets) == 3


async def test_a_rotation_that_fails_keeps_the_old_connection_and_tries_again() -> None:
    async with Bench(lifetime_s=100, silence_s=1_000, backoff_s=4) as bench:
        bench.refusals = [OSError("refused"), OSError("refused")]
        await bench.local.advance(101)
        bench.socket.say("still here")
        await settle()
        assert bench.story == ["resync", "still here"]
        await bench.local.advance(13)
        assert len(bench.sockets) == 2
        assert bench.sockets[0].is_closed
        assert bench.story == ["resync", "still here", "resync"]


async def test_an_old_connection_that_dies_during_rotation_is_an_outage_until_the_new_speaks() -> (
    None
):
    async with Bench(lifetime_s=100, silence_s=1_000) as bench:
        gate = future()
        bench.resyncs = [gate]
        await bench.local.advance(101)
        bench.sockets[0].say(ConnectionError("cut"))
        bench.sockets[1].say("new 1")
        await settle()
        assert bench.story == ["resync", "lost: ConnectionError: cut"]
        gate.set_result(None)
        await settle()
        assert bench.story[2:] == ["resync", "new 1", "restored"]
        assert len(bench.sockets) == 2


async def test_a_new_connection_whose_first_messages_are_bad_leaves_the_old_one_speaking() -> None:
    async with Bench(lifetime_s=100, silence_s=1_000, backoff_s=50) as bench:
        gate = future()
        bench.resyncs = [gate]
        await bench.local.advance(101)
        bench.deliver_fails_on = {"bad": ValueError("bad")}
        bench.sockets[1].say("bad")
        await settle()
        gate.set_result(None)
        await settle()
        bench.sockets[0].say("old")
        await settle()
        assert bench.story == ["resync", "resync", "old"]
        assert bench.sockets[1].is_closed


async def test_a_refusal_by_the_venue_ends_the_pipe() -> None:
    bench = Bench()
    bench.refusals = [VenueRejected("no such key", code="-2015")]
    task = asyncio.ensure_future(bench.pipe.run())
    await settle()
    with pytest.raises(VenueRejected, match="no such key"):
        await task
    assert bench.story == ["lost: VenueRejected: no such key"]


async def test_a_library_that_cancels_itself_is_a_broken_connection_and_not_our_end() -> None:
    async with Bench() as bench:
        bench.socket.say(asyncio.CancelledError())
        await bench.local.advance(1)
        assert bench.story[1:] == [
            "lost: the connection was canceled from within", "resync", "restored",
        ]  # fmt: skip


async def test_a_connection_that_does_not_close_does_not_hide_that_it_broke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perpdesk.venues.pipe.CLOSE_S", 0.01)
    async with Bench() as bench:
        bench.socket.close_takes = never = future()
        bench.socket.say(ConnectionError("cut"))
        await settle()
        assert bench.story[-1] == "lost: ConnectionError: cut"
        await asyncio.sleep(0.02)
        await bench.local.advance(1)
        assert bench.story[-1] == "restored"
        if not never.done():
            never.set_result(None)
        await settle()
        bench.sockets[0].is_closed = True


@pytest.mark.parametrize("moment", ["connecting", "resyncing", "live", "waiting", "rotating"])
async def test_cancelling_at_any_moment_closes_everything(moment: str) -> None:
    bench = Bench(lifetime_s=100, silence_s=1_000)
    if moment == "waiting":
        bench.refusals = [OSError("refused")]
    if moment == "resyncing":
        bench.resyncs = [future()]
    task = asyncio.ensure_future(bench.pipe.run())
    if moment != "connecting":
        await settle()
    if moment == "rotating":
        bench.resyncs = [future()]
        await bench.local.advance(101)
    before = len(asyncio.all_tasks())
    await stop(task)
    assert all(socket.is_closed for socket in bench.sockets)
    assert len(asyncio.all_tasks()) < before
    assert asyncio.all_tasks() == {asyncio.current_task()}
