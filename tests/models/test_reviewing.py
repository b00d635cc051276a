"""A review region by region tells what one detector told at the time."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from models.detection import Detector
from models.incident import Symptom, SymptomKind
from models.mesh import Element, LinkId
from models.regions import regions, whole
from models.reviewing import Looks, Seen, Told, findings, outlooks, seen_by, shared_by, told
from tests.models.samples import Flow, World, moment, ring_with_chord

MESH = ring_with_chord()
LOOKS = Looks(moment(0), moment(12), timedelta(seconds=0.5))


def reported() -> list:
    """Return samples of a mesh whose links all lose half of everything from the seventh second on."""
    world = World(MESH, np.random.default_rng(3), flows=[Flow("n0", "n3", 50)], delivery=0.0)
    world.harm = lambda t, *_: 0.5 if t >= 7 else 0.0
    return [sample for _, batch in world.run(14) for sample in batch]


def at_the_time(samples: list) -> tuple[Seen, ...]:
    detector, seen, done = Detector(MESH), [], moment(-1)
    for now in LOOKS:
        detector.observe([one for one in samples if done <= one.at < now])
        seen.append(Seen(now, detector.symptoms(now)))
        done = now
    return tuple(seen)


@pytest.mark.parametrize("most", [1, 2, 6])
def test_regions_find_in_a_review_what_one_detector_found_at_the_time(most):
    samples = reported()
    cut = regions(MESH, most_nodes=most)
    part = {one: [sample for sample in reversed(samples) if sample.node in one.seen] for one in cut}
    shared = shared_by([outlooks(MESH, one, part[one], LOOKS) for one in cut])
    seen = seen_by([findings(MESH, one, part[one], LOOKS, shared=shared) for one in cut], LOOKS)
    assert seen == at_the_time(samples)
    assert SymptomKind.LOSS in {symptom.kind for one in seen for symptom in one.symptoms}


def test_a_review_is_told_in_short_from_first_to_last_look_in_the_order_it_began():
    def symptom(name: str, kind: SymptomKind = SymptomKind.LOSS) -> Symptom:
        return Symptom(Element.of_link(LinkId(name)), kind, moment(0), moment(1), 5.0, {})

    one, other = symptom("n1--n2"), symptom("n0--n1")
    looks = [(), (one, one), (), (one, other), (symptom("n1--n2", SymptomKind.PROBE_LOSS),)]
    seen = [Seen(moment(number), symptoms) for number, symptoms in enumerate(looks)]
    assert told(seen) == (
        Told(one.element, SymptomKind.LOSS, moment(1), moment(3), 2),
        Told(other.element, SymptomKind.LOSS, moment(3), moment(3), 1),
        Told(one.element, SymptomKind.PROBE_LOSS, moment(4), moment(4), 1),
    )


def test_looks_are_evenly_apart_and_end_in_time():
    looks = list(LOOKS)
    assert (looks[0], looks[-1], len(looks)) == (moment(0.5), moment(12), 24)
    assert list(Looks(moment(0), moment(0.4), timedelta(seconds=0.5))) == []


def test_regions_that_looked_at_different_times_are_not_put_together():
    fewer = Looks(moment(0), moment(6), LOOKS.every)
    every = outlooks(MESH, whole(MESH), [], LOOKS)
    with pytest.raises(ValueError, match="shorter"):
        shared_by([every, outlooks(MESH, whole(MESH), [], fewer)])
