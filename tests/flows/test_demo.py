"""The demonstration: each thing is told once, and the outside prober has the last word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.demo import Installed, Teller, verdict
from infra.lab.verdict import ActionTaken, TimelineEvent, TrialResult
from models.incident import FaultKind, Incident, IncidentId, IncidentState
from models.remedy import ActionState
from tests.fakes.store import FakeStore
from tests.models.stories import LINK, THEN, after

ACTION = ActionTaken(at=THEN, element=f"link:{LINK}", remedy="cost-out-link", state=ActionState.COMMITTED)


def result(**found: object) -> TrialResult:
    measured: dict[str, object] = {
        "outage_s": 3.14,
        "never_recovered": False,
        "loss_before": 0.0,
        "loss_during": 0.9,
        "loss_after": 0.0,
        "actions": (ACTION,),
    }
    return TrialResult(
        trial="demonstration",
        lab="lab",
        healed_by="controller",
        faults=(FaultKind.GREY,),
        element=f"link:{LINK}",
        **(measured | found),
    )


def test_a_mesh_that_the_prober_saw_healed_is_called_healed():
    healed = "healed: 3.1 s from the fault to the first clean second (0.0% before, 90.0% during, 0.0% after)"
    assert verdict(result()) == (True, healed)


@pytest.mark.parametrize("found", [{"never_recovered": True, "outage_s": 45.0}, {"loss_after": 0.05}])
def test_a_mesh_that_still_loses_packets_is_not_healed_whatever_the_controller_says(found):
    is_healed, sentence = verdict(result(**found))
    assert not is_healed
    assert sentence.startswith("not healed: the fault still loses packets after")


def test_where_nothing_acted_it_says_so():
    _, sentence = verdict(result(never_recovered=True, actions=()))
    assert "nothing acted, and routing alone did not repair it" in sentence


def test_a_void_trial_proves_nothing():
    assert verdict(result(void="the path moved")) == (False, "the trial is void: the path moved")


def test_every_line_is_told_once_and_the_fault_starts_the_clock():
    said: list[str] = []
    teller = Teller(said.append)
    teller.event(TimelineEvent(at=THEN, text="traffic n0 > n3"))
    teller.event(TimelineEvent(at=after(5), text="inject grey on n1--n2"))
    for _ in range(2):
        teller.line(after(6.25), "incident i1")
    teller.event(TimelineEvent(at=after(30), text="inject ends"))
    assert said == [
        "           traffic n0 > n3",
        "  +0.00 s  inject grey on n1--n2",
        "  +1.25 s  incident i1",
        " +25.00 s  inject ends",
    ]


async def test_only_incidents_since_the_start_are_told_oldest_first():
    store = FakeStore()
    installed = Installed(store, print)
    installed._mesh, installed._since = "lab", after(100)
    incidents = [
        Incident(IncidentId(f"i{at}"), "lab", IncidentState.OPEN, after(at), ()) for at in (10, 99.5, 120, 110)
    ]
    async with store.unit() as uow:
        for one in incidents:
            await uow.incidents.save(one)
        await uow.incidents.save(replace(incidents[2], id=IncidentId("elsewhere"), mesh="other"))
    assert [one.incident.id for one in await installed.stories()] == ["i99.5", "i110", "i120"]
    assert (await installed.stop()).detected_at == after(99.5)
