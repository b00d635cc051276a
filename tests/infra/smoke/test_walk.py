"""Steps in order: what fails is told with its mend, and what needs it is not tried."""

from __future__ import annotations

from infra.smoke.walk import Skipped, State, Step, StepError, walk
from models.errors import SourceUnavailable


def step(name: str, outcome: str | Skipped | Exception, *needs: str) -> Step:
    async def run() -> str | Skipped:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Step(name, run, needs)


async def test_a_step_that_failed_stops_those_that_need_it_and_no_others():
    begun, ended = [], []
    results = await walk(
        [
            step("gateway", "well"),
            step("database", StepError("it is away", "start it")),
            step("token", "known", "database"),
            step("order", "placed", "token"),
            step("kernel", "counts", "gateway"),
        ],
        begun=lambda one: begun.append(one.name),
        ended=lambda one: ended.append(one.name),
    )
    assert [(one.name, one.state) for one in results] == [
        ("gateway", State.OK),
        ("database", State.FAILED),
        ("token", State.SKIPPED),
        ("order", State.SKIPPED),
        ("kernel", State.OK),
    ]
    assert (results[1].found, results[1].mend) == ("it is away", "start it")
    assert results[2].found == "needs database"
    assert begun == ["gateway", "database", "kernel"]
    assert ended == [one.name for one in results]


async def test_what_cannot_be_tried_here_is_no_failure_and_what_an_adapter_raised_is_one():
    skipped, failed = await walk(
        [step("kernel", Skipped("needs root")), step("pay", SourceUnavailable("the lab's chain", "is the lab up?"))],
        begun=lambda _: None,
        ended=lambda _: None,
    )
    assert (skipped.state, skipped.found) == (State.SKIPPED, "needs root")
    assert failed.state is State.FAILED
    assert "is the lab up?" in failed.found
    assert failed.mend
