"""Planted faults are found in time and named right; quiet meshes stay quiet, however unevenly they are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.correlation import correlate, is_incident
from models.detection import Detector
from models.incident import Diagnosis, FaultKind, Incident, IncidentId, IncidentState, Symptom, SymptomKind
from models.mesh import Element, LinkId
from models.rules import A_LOOK, RulesDiagnostician
from models.telemetry import DaemonState, Drift, DriftKind, TrafficClass
from tests.models.samples import DATA, LARGE, Flow, World, lossy, moment, ring_with_chord, with_drift

MESH = ring_with_chord()
FAULT = 8.0
CARRYING, IDLE = "n1--n2", "n3--n4"
FIFTY = Flow("n0", "n3", 50)


def world(seed: int, **bent: object) -> World:
    return World(MESH, np.random.default_rng(seed), **bent)  # type: ignore[arg-type]


def watched(simulated: World, seconds: float) -> list[tuple[float, tuple[Symptom, ...]]]:
    detector = Detector(MESH)
    seen = []
    for now, samples in simulated.run(seconds):
        detector.observe(samples)
        seen.append((now, detector.symptoms(moment(now))))
    return seen


def diagnosed(symptoms: tuple[Symptom, ...], now: float) -> list[Diagnosis]:
    return [
        RulesDiagnostician().diagnose(
            Incident(IncidentId(f"i{index}"), MESH.name, IncidentState.OPEN, moment(now), group),
            MESH,
            at=moment(now) + A_LOOK,
        )
        for index, group in enumerate(correlate(symptoms, MESH))
    ]


# Ticks are half a second apart, and samples take a tenth to arrive: the figure is the tick that shows it.
FAULTS = {
    "grey, 50 packets a second": (lossy(CARRYING, 1, start=FAULT, classes=[DATA]), FaultKind.GREY, CARRYING, 2.0),
    "grey, our probes only": (lossy(IDLE, 1, start=FAULT, classes=[DATA]), FaultKind.GREY, IDLE, 2.5),
    "grey, large packets": (lossy(IDLE, 1, start=FAULT, classes=[DATA], sizes=[LARGE]), FaultKind.GREY, IDLE, 3.5),
    "40 % loss": (lossy(CARRYING, 0.4, start=FAULT), FaultKind.LOSS, CARRYING, 2.5),
    "40 % loss, our probes only": (lossy(IDLE, 0.4, start=FAULT), FaultKind.LOSS, IDLE, 4.0),
    "one way": (lossy(CARRYING, 1, start=FAULT, source="n1"), FaultKind.ONE_WAY, CARRYING, 4.0),
    "black hole": (lossy(CARRYING, 1, start=FAULT), FaultKind.BLACKHOLE, CARRYING, 4.0),
    "mtu": (lossy(CARRYING, 1, start=FAULT, sizes=[LARGE]), FaultKind.MTU, CARRYING, 3.5),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_finds_and_names_a_planted_fault_in_time(name, seed):
    harm, fault, link, within = FAULTS[name]
    for now, symptoms in watched(world(seed, flows=[FIFTY], harm=harm), FAULT + within + 0.1):
        assert not symptoms or now >= FAULT, "nothing may show before the fault"
    causes = [one.best for one in diagnosed(symptoms, now)]
    assert [(one.element, one.fault) for one in causes] == [(Element.of_link(LinkId(link)), fault)]
    assert causes[0].confidence >= 0.7


def test_a_dead_node_is_one_incident_that_names_the_node():
    links = {link.id for link in MESH.links_of(MESH.nodes[5].id)}

    def harm(t, link, *_):
        return 1.0 if link in links and t >= FAULT else 0.0

    *_, (now, symptoms) = watched(world(3, flows=[FIFTY], harm=harm), FAULT + 4)
    (diagnosis,) = diagnosed(symptoms, now)
    assert (diagnosis.best.element, diagnosis.best.fault) == (Element.of_node(MESH.nodes[5].id), FaultKind.NODE_DEAD)


STOPPED, STARTED, LATE = 8.0, 11.0, 16.0


def test_after_a_restart_of_everything_the_node_that_comes_last_is_not_taken_for_dead():
    last = MESH.nodes[5].id
    links = {link.id for link in MESH.links_of(last)}

    def harm(t, link, *_):
        return 1.0 if link in links and STOPPED <= t < LATE else 0.0

    def restarted(t, sample):
        if STOPPED <= t < (LATE if sample.node == last else STARTED):
            return None
        return replace(sample, epoch=1 if t < STOPPED else 2)

    seen = watched(world(6, flows=[FIFTY], harm=harm, reading=restarted), LATE + 8)
    groups = [(moment(now), group) for now, symptoms in seen for group in correlate(symptoms, MESH)]
    assert [group for now, group in groups if is_incident(group, now)] == []


def test_a_dead_node_stays_dead_while_a_neighbour_that_heard_it_speaks():
    dead = MESH.nodes[5].id
    neighbour = next(iter({node for link in MESH.links_of(dead) for node in link.nodes} - {dead}))
    links = {link.id for link in MESH.links_of(dead)}

    def harm(t, link, *_):
        return 1.0 if link in links and t >= FAULT else 0.0

    def gone(t, sample):
        if sample.node == dead and t >= FAULT:
            return None
        return replace(sample, epoch=2) if sample.node == neighbour and t >= FAULT + 6 else sample

    *_, (_, symptoms) = watched(world(7, flows=[FIFTY], harm=harm, reading=gone), FAULT + 90)
    assert Element.of_node(dead) in {one.element for one in symptoms if one.kind is SymptomKind.SILENT_NODE}


def test_two_faults_far_apart_are_two_incidents():
    one, other = lossy("n0--n1", 1, start=FAULT, classes=[DATA]), lossy(IDLE, 1, start=FAULT, classes=[DATA])
    *_, (now, symptoms) = watched(world(4, harm=lambda *where: one(*where) + other(*where)), FAULT + 4)
    pointing = [one.best for one in diagnosed(symptoms, now) if one.best.fault is not FaultKind.UNKNOWN]
    assert {(one.element.name, one.fault) for one in pointing} == {("n0--n1", FaultKind.GREY), (IDLE, FaultKind.GREY)}


def test_symptoms_end_soon_after_the_fault_does():
    seen = watched(world(5, flows=[FIFTY], harm=lossy(CARRYING, 1, start=FAULT, stop=FAULT + 3)), FAULT + 9)
    assert any(symptoms for _, symptoms in seen)
    late = [one for now, symptoms in seen for one in symptoms if now > FAULT + 8 and one.element.name == CARRYING]
    assert late == []


BURST = {"start": 5.3}
QUIET = {
    "even traffic": {"flows": [FIFTY]},
    "traffic by chance": {"flows": [Flow("n0", "n3", 200, poisson=True), Flow("n5", "n2", 20, poisson=True)]},
    "a burst of ten thousand a second": {"flows": [Flow("n0", "n3", 10_000, **BURST)]},
    "bursts on and off": {"flows": [Flow("n0", "n3", 10_000, on=0.37, off=0.8, **BURST)]},
    "bursts in step with the readings": {"flows": [Flow("n0", "n3", 5_000, on=0.05, off=0.45, **BURST)]},
    "late and uneven readings": {
        "flows": [Flow("n0", "n3", 10_000, on=0.37, off=0.8, **BURST)],
        "sample_jitter": 0.1,
        "stamp_jitter": 0.02,
        "delivery": 0.4,
        "pressure": 0.6,
    },
    "a busy host that answers late": {
        "flows": [Flow("n0", "n3", 2_000, on=0.3, off=0.9, **BURST)],
        "sample_jitter": 0.2,
        "stamp_jitter": 0.05,
        "delivery": 0.6,
        "late_answers": 0.1,
        "lag_steps": 2,
        "pressure": 0.9,
    },
}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_quiet_mesh_raises_no_loss(name, seed):
    seen = watched(world(seed, **QUIET[name]), 16)
    assert [one for _, symptoms in seen for one in symptoms if one.element.kind == "link"] == []


def test_few_samples_raise_no_loss_symptom():
    seen = watched(world(6, flows=[FIFTY], harm=lossy(CARRYING, 1, start=0)), 4)
    assert [symptoms for _, symptoms in seen if symptoms] == []


def test_order_of_arrival_and_repeats_do_not_matter():
    batches = list(world(7, flows=[FIFTY], harm=lossy(CARRYING, 1, start=FAULT, classes=[DATA])).run(FAULT + 3))
    samples = [sample for _, batch in batches for sample in batch]
    now = moment(batches[-1][0])
    one, other = Detector(MESH), Detector(MESH)
    one.observe(samples)
    other.observe([*reversed(samples), *samples])
    assert one.losses(now, moment(FAULT)) == other.losses(now, moment(FAULT))


def test_losses_tell_the_lossy_link_from_the_others():
    simulated = world(8, flows=[FIFTY], harm=lossy(CARRYING, 0.5, start=4))
    detector = Detector(MESH)
    for _, samples in simulated.run(16):
        detector.observe(samples)
    losses = detector.losses(moment(15), moment(6))
    shares = {key: one.carried(TrafficClass.DATA).share for key, one in losses.links.items()}
    assert shares[CARRYING, "n1"] == pytest.approx(0.5, abs=0.12)
    assert max(share for (link, _), share in shares.items() if link != CARRYING) < 0.05
    assert losses.pairs["n0", "n3"].share > 0.4
    assert losses.pairs["n4", "n5"].share == 0


def test_a_restarted_collector_starts_its_counters_over_without_an_alarm():
    def restarted(t, sample):
        return replace(sample, epoch=2, sequence=sample.sequence + 5) if sample.node == "n2" and t >= FAULT else sample

    seen = watched(world(9, flows=[FIFTY], reading=restarted), 16)
    assert [symptoms for _, symptoms in seen if symptoms] == []


def test_a_node_whose_samples_stop_is_not_a_fault_of_the_mesh():
    seen = watched(
        world(10, flows=[FIFTY], reading=lambda t, one: None if one.node == "n2" and t >= FAULT else one), 18
    )
    assert [symptoms for _, symptoms in seen if symptoms] == []


def test_a_node_without_a_routing_daemon_misses_none():
    def bare(_, sample):
        return replace(sample, host=replace(sample.host, daemon=DaemonState.UNDECLARED))

    seen = watched(world(11, flows=[FIFTY], reading=bare), 12)
    assert [symptoms for _, symptoms in seen if symptoms] == []


@pytest.mark.parametrize("timeout", [0.8, 4.0], ids=["calm hosts", "hosts as busy as can be"])
def test_a_peer_that_does_not_collect_yet_does_not_lose_our_probes(timeout):
    def starting(t, sample):
        simulated.deaf = {"n2"} if t < FAULT else set()
        if sample.node == "n2" and t < FAULT:
            return None
        return replace(sample, missing=frozenset({"counters"}))

    simulated = world(15, deaf={"n2"}, timeout=timeout, reading=starting)
    assert [symptoms for _, symptoms in watched(simulated, FAULT + 8) if symptoms] == []


def test_missing_counters_leave_the_probes_to_speak():
    simulated = world(
        14,
        harm=lossy(CARRYING, 1, start=FAULT),
        reading=lambda _, one: replace(one, missing=frozenset({"counters"})),
    )
    *_, (_, symptoms) = watched(simulated, FAULT + 4)
    assert {one.kind for one in symptoms if one.element.name == CARRYING} == {SymptomKind.PROBE_LOSS}


def test_a_drift_is_a_symptom_of_the_node_that_has_it():
    drift = Drift(DriftKind.SYSCTL, "net.ipv4.ip_forward", "1", "0")
    *_, (_, symptoms) = watched(world(15, reading=with_drift("n2", drift, start=FAULT)), FAULT + 3)
    assert [(one.element.name, one.kind, one.facts["subject"]) for one in symptoms] == [
        ("n2", SymptomKind.DRIFT, "net.ipv4.ip_forward")
    ]


def test_one_answer_that_waited_in_a_queue_tells_a_clamped_link_from_a_lossy_one():
    def queued(t, sample):
        trip = 600.0 if sample.node == "n1" and FAULT + 0.4 < t < FAULT + 1 else 0.7
        probes = tuple(replace(one, rtt_ms=trip if one.peer == "n2" else 0.7) for one in sample.probes)
        return replace(sample, probes=probes)

    simulated = world(16, flows=[FIFTY], harm=lossy(CARRYING, 0.4, start=FAULT), reading=queued)
    now, symptoms = next((now, found) for now, found in watched(simulated, FAULT + 4) if found)
    assert SymptomKind.DELAY not in {one.kind for one in symptoms}
    (diagnosis,) = diagnosed(symptoms, now)
    assert (str(diagnosis.best.element), diagnosis.best.fault) == (f"link:{CARRYING}", FaultKind.RATE_CLAMP)
