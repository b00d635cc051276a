"""Crew: one job a key, a growing pause, and no job's failure is another's."""

from __future__ import annotations

import asyncio

from tasks.crew import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Crew
from tests.tasks.virtual_time import virtual_time


class Work:
    """A job that takes a second and may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.started = 0
        self.ended = 0

    async def __call__(self) -> None:
        self.started += 1
        try:
            await asyncio.sleep(1)
            if self.fails:
                message = "planned by the test"
                raise ValueError(message)
        finally:
            self.ended += 1


@virtual_time
async def test_a_key_has_one_job_at_a_time_and_keys_do_not_wait_for_each_other():
    crew, work, other = Crew(), Work(), Work()
    assert crew.send("a", work)
    assert not crew.send("a", work)
    assert crew.send("b", other)
    await asyncio.sleep(1.5)
    assert (work.ended, other.ended) == (1, 1)


@virtual_time
async def test_a_hurry_skips_the_pause_once_and_never_runs_beside_another():
    crew, work = Crew(), Work()
    crew.send("a", work)
    assert not crew.send("a", work, hurry="a yes")
    await asyncio.sleep(1.1)
    assert not crew.send("a", work)
    assert crew.send("a", work, hurry="a yes")
    await asyncio.sleep(1.1)
    assert not crew.send("a", work, hurry="a yes")
    assert crew.send("a", work, hurry="another yes")
    await crew.dismiss()


@virtual_time
async def test_the_pause_after_a_job_doubles_up_to_its_limit():
    crew, work, loop = Crew(), Work(), asyncio.get_running_loop()
    pauses = []
    for _ in range(10):
        assert crew.send("a", work)
        await asyncio.sleep(1)
        await asyncio.sleep(0)
        ended = loop.time()
        while not crew.send("a", work):  # noqa: ASYNC110 - the crew tells nobody when a pause ends
            await asyncio.sleep(0.25)
        pauses.append(round(loop.time() - ended))
        await asyncio.sleep(1.5)
        crew = _resting(crew)
    assert pauses[:4] == [2, 8, 32, 128]
    assert max(pauses) <= LONGEST_PAUSE_SECONDS
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert FIRST_PAUSE_SECONDS == 2.0


def _resting(crew: Crew) -> Crew:
    """Let the pause of the key be over, and keep how long it was."""
    crew._pauses = {key: (0.0, pause) for key, (_, pause) in crew._pauses.items()}
    return crew


@virtual_time
async def test_a_job_that_fails_ends_nothing_but_itself_and_pauses_too():
    crew, bad, good = Crew(), Work(fails=True), Work()
    crew.send("a", bad)
    crew.send("b", good)
    await asyncio.sleep(1.5)
    assert (bad.ended, good.ended) == (1, 1)
    assert not crew.send("a", bad)
    await asyncio.sleep(FIRST_PAUSE_SECONDS)
    assert crew.send("a", bad)
    await crew.dismiss()


@virtual_time
async def test_dismissed_it_ends_what_still_runs():
    crew, work = Crew(), Work()
    crew.send("a", work)
    await asyncio.sleep(0.5)
    await crew.dismiss()
    assert (work.started, work.ended) == (1, 1)
    assert asyncio.get_running_loop().time() == 0.5
