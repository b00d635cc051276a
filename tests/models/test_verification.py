"""Proof on the affected pairs: healed, not healed, worse, or not yet known; and giving a clean link back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from models.detection import Detector
from models.graph import paths
from models.guardrails import GuardState, Known
from models.incident import Cause, FaultKind, Incident, IncidentId, IncidentState, Verdict
from models.mesh import Element, LinkId
from models.planning import cost_actions
from models.remedy import ActionState, Limits, OperationId, OperationRecord, Remedy, RemedyName, Tier
from models.restoring import clean_since, due
from models.verification import begin, judge
from tests.models.samples import DATA, START, Flow, World, lossy, moment, ring_with_chord

MESH = ring_with_chord()
LINK = LinkId("n1--n2")
LIMITS = Limits()
FAULT, ACTED = 6.0, 9.0
INCIDENT = Incident(IncidentId("i1"), MESH.name, IncidentState.HEALING, START, ())
REMEDY = Remedy(
    IncidentId("i1"),
    RemedyName.COST_OUT_LINK,
    Cause(Element.of_link(LINK), FaultKind.GREY, 0.9),
    cost_actions(MESH.link(LINK), LIMITS.cost_out),
    Tier.AUTO,
    "",
    START,
)


def verdicts(harm, *, moves: bool, until: float, remedy: Remedy = REMEDY):
    """Act at `ACTED`; where it moves the paths, routing follows a second later. Yield (time, verification)."""
    simulated = World(MESH, np.random.default_rng(1), flows=[Flow("n0", "n3", 50)], harm=harm)
    detector, trial = Detector(MESH), None
    for now, samples in simulated.run(until):
        detector.observe(samples)
        if now >= ACTED and trial is None:
            trial = begin(INCIDENT, remedy, MESH, detector, costs={}, now=moment(now))
        if moves and now >= ACTED + 1:
            simulated.routes = paths(MESH, {LINK: LIMITS.cost_out})
        if trial is not None:
            yield now, judge(trial, detector, now=moment(now))


def test_a_cost_out_that_moves_the_traffic_is_healed_within_seconds_though_the_link_stays_ill():
    found = list(verdicts(lossy(LINK, 1, start=FAULT, classes=[DATA]), moves=True, until=ACTED + 7))
    first = next((now, one) for now, one in found if one.verdict is not Verdict.INCONCLUSIVE)
    assert first[1].verdict is Verdict.HEALED, first[1].reason
    assert first[0] <= ACTED + 5.5
    assert first[1].loss_before > 0.5
    assert first[1].loss_after < 0.02
    assert ("n0", "n3") in first[1].pairs


def test_a_remedy_that_moves_nothing_is_not_healed_once_it_had_its_time():
    found = list(verdicts(lossy(LINK, 1, start=FAULT, classes=[DATA]), moves=False, until=ACTED + 9))
    assert {one.verdict for now, one in found if now < ACTED + 7.5} == {Verdict.INCONCLUSIVE}
    assert found[-1][1].verdict is Verdict.NOT_HEALED


def test_where_nobody_probes_a_pair_across_the_link_nothing_is_proven():
    simulated = World(MESH, np.random.default_rng(1))
    simulated.reach = {pair: tally for pair, tally in simulated.reach.items() if {*pair[:2]} == {"n3", "n4"}}
    detector, trial = Detector(MESH), None
    for now, samples in simulated.run(ACTED + 8):
        detector.observe(samples)
        if now >= ACTED and trial is None:
            trial = begin(INCIDENT, REMEDY, MESH, detector, costs={}, now=moment(now))
    assert trial.pairs == {("n1", "n2"), ("n2", "n1")}
    verdict = judge(trial, detector, now=moment(now))
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "not enough probes" in verdict.reason


def test_harm_to_others_is_worse():
    def harm(t, *where):
        other = lossy("n4--n5", 1, start=ACTED, classes=[DATA])
        return lossy(LINK, 0.5, start=FAULT)(t, *where) or other(t, *where)

    *_, (_, last) = verdicts(harm, moves=True, until=ACTED + 6)
    assert last.verdict is Verdict.WORSE
    assert last.control_after > last.control_before


def test_a_collector_that_was_away_harms_nobody():
    """It answers no probes while it restarts, and that says nothing of what was done."""
    simulated = World(
        MESH, np.random.default_rng(1), flows=[Flow("n0", "n3", 50)], harm=lossy(LINK, 1, start=FAULT, classes=[DATA])
    )
    detector, trial, verdicts = Detector(MESH), None, []
    for now, samples in simulated.run(ACTED + 8):
        is_away = ACTED + 0.5 <= now < ACTED + 6
        simulated.deaf = {"n5"} if is_away else set()
        detector.observe([one for one in samples if not (is_away and one.node == "n5")])
        if now >= ACTED and trial is None:
            trial = begin(INCIDENT, REMEDY, MESH, detector, costs={}, now=moment(now))
        if now >= ACTED + 1:
            simulated.routes = paths(MESH, {LINK: LIMITS.cost_out})
        if trial is not None:
            verdicts.append(judge(trial, detector, now=moment(now)))
    assert Verdict.WORSE not in {one.verdict for one in verdicts}
    healed = next(one for one in verdicts if one.verdict is Verdict.HEALED)
    assert healed.control_after == 0


def test_too_few_probes_are_no_proof():
    first, *_ = verdicts(lossy(LINK, 1, start=FAULT), moves=True, until=ACTED + 2)
    assert first[1].verdict is Verdict.INCONCLUSIVE


def standing(link: LinkId, incident: str = "i1") -> tuple[OperationRecord, ...]:
    return tuple(
        OperationRecord(
            OperationId(f"{incident}-{index}"),
            IncidentId(incident),
            RemedyName.COST_OUT_LINK,
            REMEDY.plan_hash,
            one,
            ActionState.COMMITTED,
            START,
        )
        for index, one in enumerate(cost_actions(MESH.link(link), LIMITS.cost_out))
    )


def followed(harm, seconds: float):
    simulated = World(MESH, np.random.default_rng(2), harm=harm)
    detector, clean = Detector(MESH), {}
    for now, samples in simulated.run(seconds):
        detector.observe(samples)
        clean = clean_since(clean, standing(LINK), MESH, detector, now=moment(now))
    return clean


def test_a_link_counts_as_clean_from_when_its_last_loss_was_judged():
    since = followed(lossy(LINK, 1, start=0, stop=10, classes=[DATA]), 24)[LINK]
    assert moment(10) < since < moment(20)


def test_a_link_that_still_loses_a_part_is_not_clean():
    assert followed(lossy(LINK, 0.3, start=0), 20) == {}


def asked(*, clean: dict[LinkId, float], known: Known | None = None):
    return due(
        (*standing(LINK), *standing(LinkId("n3--n4"), "i2")),
        MESH,
        known or Known(),
        LIMITS,
        now=START,
        clean_since={link: START - timedelta(seconds=seconds) for link, seconds in clean.items()},
    )


def test_the_longest_clean_link_is_given_back_and_only_it():
    remedy = asked(clean={LINK: 700.0, LinkId("n3--n4"): 800.0})
    assert remedy.name is RemedyName.UNCOST_LINK
    assert {(str(one.element), one.arguments["cost"]) for one in remedy.actions} == {("link:n3--n4", 113)}


def test_nothing_is_given_back_too_soon_while_another_is_or_while_it_flaps():
    assert asked(clean={LINK: 599.0}) is None
    flying = replace(standing(LINK)[0], remedy=RemedyName.UNCOST_LINK, state=ActionState.APPLIED)
    assert asked(clean={LINK: 700.0}, known=Known(in_flight=(flying,))) is None
    flaps = GuardState(flap={f"link:{LINK}": (2500.0, START)})
    assert asked(clean={LINK: 700.0}, known=Known(guards=flaps)) is None
