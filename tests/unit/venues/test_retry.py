import pytest
from tests.unit.venues.virtual_time import VirtualTime

from perpdesk.domain.errors import PerpdeskError, VenueRejected, VenueUnavailable
from perpdesk.venues.retry import RetryPolicy, read


async def asked(local: VirtualTime, answers: list[str | PerpdeskError], **policy: float) -> str:
    async def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, PerpdeskError):
            raise answer
        return answer

    waits = RetryPolicy(jitter=lambda: policy.get("jitter", 1.0), tries=4, first_s=1, longest_s=3)
    found = await local.finish(read(ask, policy=waits, local=local))
    assert isinstance(found, str)
    return found


def down() -> VenueUnavailable:
    return VenueUnavailable("503")


async def test_a_question_is_asked_again_after_growing_waits() -> None:
    local = VirtualTime()
    assert await asked(local, [down(), down(), down(), "yes"]) == "yes"
    assert local.elapsed_ms == 1_000 + 2_000 + 3_000


async def test_after_the_last_try_the_error_is_the_callers() -> None:
    with pytest.raises(VenueUnavailable):
        await asked(VirtualTime(), [down(), down(), down(), down(), "too late"])


async def test_a_refusal_is_not_asked_again() -> None:
    local = VirtualTime()
    with pytest.raises(VenueRejected):
        await asked(local, [VenueRejected("no such symbol"), "never asked"])
    assert local.elapsed_ms == 0


async def test_jitter_takes_off_half_at_most() -> None:
    local = VirtualTime()
    await asked(local, [down(), "yes"], jitter=0.0)
    assert local.elapsed_ms == 500
