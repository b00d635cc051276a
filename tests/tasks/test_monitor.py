"""Monitor: the list of incidents stays true to what is seen."""

from __future__ import annotations

from datetime import timedelta

from flows.healing import HealParameters, turn
from models.incident import Incident, IncidentId, IncidentState, OutcomeKind
from models.mesh import Element, LinkId
from tasks import monitor
from tests.models.samples import DATA, Flow, lossy, ring_with_chord
from tests.tasks.virtual_time import virtual_time
from tests.tasks.world import LINK, closed_loop


@virtual_time
async def test_one_fault_is_one_incident_however_often_it_is_looked_at():
    async with closed_loop() as loop:
        loop.break_link()
        await loop.seen()
        incidents = await loop.looking(4)
        assert len(loop.store.memory.incidents) == 1
        assert [one.element for one in incidents[0].symptoms if one.element == Element.of_link(LINK)]


@virtual_time
async def test_a_quiet_mesh_opens_nothing():
    async with closed_loop() as loop:
        assert await loop.looking(10) == []
        assert loop.store.memory.incidents == {}


@virtual_time
async def test_two_faults_far_apart_are_two_incidents():
    async with closed_loop(ring_with_chord(), flow=Flow("n0", "n2", 50)) as loop:
        loop.simulated.flows = [Flow("n0", "n1", 50), Flow("n3", "n4", 50)]
        one, other = lossy("n0--n1", 1, start=0, classes=[DATA]), lossy("n3--n4", 1, start=0, classes=[DATA])
        loop.simulated.harm = lambda *where: max(one(*where), other(*where))
        incidents = await loop.seen(at_least=2)
        assert sorted(one.symptoms[0].element.name for one in incidents) == ["n0--n1", "n3--n4"]
        assert len(loop.store.memory.incidents) == 2


@virtual_time
async def test_a_fault_that_ends_by_itself_is_closed_once_it_stayed_away():
    async with closed_loop() as loop:
        loop.break_link()
        (incident,) = await loop.seen()
        loop.mend()
        await loop.looking(12)
        assert await loop.state(incident.id) is IncidentState.OPEN
        await loop.looking(monitor.QUIET_BEFORE_CLOSING.total_seconds())
        closed = (await loop.story(incident.id)).incident
        assert closed.state is IncidentState.CLOSED
        assert closed.closed_at - closed.symptoms[0].at > monitor.QUIET_BEFORE_CLOSING


@virtual_time
async def test_a_link_that_was_costed_out_is_known_to_be_ill_and_no_news():
    async with closed_loop() as loop:
        loop.break_link()
        (incident,) = await loop.seen()
        outcome = await turn(HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False))
        assert outcome.kind is OutcomeKind.FIXED
        assert await loop.looking(8) == []
        detector = await (await loop.adapters.observer(loop.mesh.name)).refresh(loop.clock.now())
        assert {one.element for one in detector.symptoms(loop.clock.now())} == {Element.of_link(LINK)}
        assert list(loop.store.memory.incidents) == [incident.id]


@virtual_time
async def test_a_second_fault_is_news_while_the_first_is_costed_out():
    async with closed_loop(ring_with_chord()) as loop:
        loop.break_link()
        (incident,) = await loop.seen()
        await turn(HealParameters(mesh=loop.mesh.name, incident=incident.id, dry_run=False))
        one, other = lossy(LINK, 1, start=0, classes=[DATA]), lossy("n3--n4", 1, start=0, classes=[DATA])
        loop.simulated.harm = lambda *where: max(one(*where), other(*where))
        (second,) = await loop.seen()
        assert second.symptoms[0].element == Element.of_link(LinkId("n3--n4"))


@virtual_time
async def test_an_incident_asked_for_by_name_is_returned_until_it_is_closed():
    async with closed_loop() as loop:
        now = loop.clock.now()
        escalated = Incident(IncidentId("i1"), loop.mesh.name, IncidentState.ESCALATED, now, ())
        over = Incident(IncidentId("i2"), loop.mesh.name, IncidentState.CLOSED, now, (), now + timedelta(seconds=1))
        async with loop.unit() as uow:
            await uow.incidents.save(escalated)
            await uow.incidents.save(over)
        assert await monitor.collect(loop.mesh.name, escalated.id) == escalated
        assert await monitor.collect(loop.mesh.name, over.id) is None
        assert await monitor.collect(loop.mesh.name, IncidentId("never")) is None
        assert await monitor.collect(loop.mesh.name, None) is None
