"""The detector on the shipped weights: laws of a ranking, refusals, and what it says of neighbours."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.shipped import shipped_weights
from models.errors import ConfigurationInvalid, NotEnoughHistory, SnapshotInvalid, WeightsCorrupt
from models.graphsage import GraphSAGEAnomalyDetector
from models.simulation import simulated
from models.snapshot import Kind, SignalKind, SignalSpec, Snapshot
from models.weights import Shape, Weights, expected_shapes, read, write
from tests.models.incidents import reordered

CASES = list(simulated(24, seed=77))
DETECTOR = GraphSAGEAnomalyDetector.loaded(shipped_weights()[0], digest=shipped_weights()[1])
cases = st.sampled_from(CASES)
slow = settings(max_examples=20, deadline=None)


def chain(*, loud: int | None, split: int = 30) -> Snapshot:
    """Three services in a row, a calls b calls c; `loud` answers slowly, and so do those above it."""
    rng = np.random.default_rng(5)
    values = 10 + rng.normal(0, 0.5, size=(split + 10, 3, 1))
    if loud is not None:
        for place in range(loud + 1):
            values[split:, place] += 40.0 + 10 * place
    return Snapshot(
        elements=("a", "b", "c"),
        kinds=(Kind.SERVICE,) * 3,
        edges=np.array([[0, 1], [1, 2]]),
        signals=(SignalSpec("latency", "ms", 1, SignalKind.LATENCY),),
        times=np.arange(split + 10, dtype=float),
        values=values,
        split=split,
    )


def test_the_shipped_weights_are_those_of_their_digest_and_small():
    raw, digest = shipped_weights()
    assert hashlib.sha256(raw).hexdigest() == digest
    assert len(raw) < 200_000
    assert DETECTOR.model is not None


def test_the_deepest_straying_service_is_the_likeliest_root():
    for loud in (1, 2):
        assert DETECTOR.predict(chain(loud=loud)).ranked()[0][0] == "abc"[loud]


def test_confidences_are_shares_of_one_with_no_visible_root():
    for case in CASES:
        said = DETECTOR.predict(case.snapshot)
        assert said.confidence.sum() + said.no_root == pytest.approx(1.0)
        assert ((said.anomaly >= 0) & (said.anomaly <= 1)).all()


def test_in_quiet_hours_no_element_is_named_with_confidence():
    said = DETECTOR.predict(chain(loud=None))
    assert said.no_root > 0.5


@slow
@given(cases, st.randoms(use_true_random=False))
def test_the_order_of_elements_changes_nothing(case, random):
    order = list(range(len(case.snapshot.elements)))
    random.shuffle(order)
    one, other = DETECTOR.predict(case.snapshot), DETECTOR.predict(reordered(case.snapshot, order))
    assert dict(one.ranked()) == pytest.approx(dict(other.ranked()), abs=1e-5)


@slow
@given(cases)
def test_the_names_of_elements_change_nothing(case):
    renamed = replace(case.snapshot, elements=tuple(f"z{name}" for name in case.snapshot.elements))
    assert np.array_equal(DETECTOR.predict(case.snapshot).confidence, DETECTOR.predict(renamed).confidence)


@slow
@given(cases, st.sampled_from([2.0**-20, 0.125, 64.0, 2.0**30]))  # powers of two, so that equals stay equals
def test_the_unit_of_a_signal_changes_nothing(case, scale):
    if any(spec.kind is SignalKind.EVENT for spec in case.snapshot.signals):
        return  # a count of events has no other unit
    scaled = replace(case.snapshot, values=case.snapshot.values * scale)
    assert DETECTOR.predict(scaled).scores == pytest.approx(DETECTOR.predict(case.snapshot).scores, abs=1e-5)


@slow
@given(cases)
def test_a_healthy_element_far_away_changes_no_ranking(case):
    seen = case.snapshot
    steady = np.ones((len(seen.times), 1, len(seen.signals)))
    if any(spec.kind is SignalKind.EVENT for spec in seen.signals):
        steady = np.zeros_like(steady)
    wider = replace(
        seen,
        elements=(*seen.elements, "far"),
        kinds=(*seen.kinds, Kind.SERVICE),
        values=np.concatenate([seen.values, steady], axis=1),
    )
    one, other = DETECTOR.predict(seen), DETECTOR.predict(wider)
    assert other.scores[:-1] == pytest.approx(one.scores, abs=1e-5)


@slow
@given(st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_a_silent_sensor_is_never_the_likeliest_by_its_silence_alone(place, seed):
    quiet = chain(loud=None)
    values = quiet.values + np.random.default_rng(seed).normal(0, 0.3, size=quiet.values.shape)
    values[quiet.split :, place] = np.nan
    said = DETECTOR.predict(replace(quiet, values=values))
    assert said.no_root > said.confidence[place]


def test_a_short_past_is_told_instead_of_guessed():
    with pytest.raises(NotEnoughHistory, match="not enough history: 3 rows"):
        DETECTOR.predict(chain(loud=1, split=3))


def test_earlier_quiet_rows_lengthen_the_past():
    short = chain(loud=2, split=5)
    quiet = chain(loud=None)
    history = replace(quiet, times=quiet.times - 1000.0)
    assert DETECTOR.predict_with_causal(short, history).prediction.ranked()[0][0] == "c"


def test_a_history_of_something_else_is_refused():
    quiet = chain(loud=None)
    with pytest.raises(SnapshotInvalid, match="end it before"):
        DETECTOR.predict_with_causal(quiet, quiet)
    other = replace(quiet, elements=("x", "y", "z"), times=quiet.times - 1000.0)
    with pytest.raises(SnapshotInvalid, match="same elements"):
        DETECTOR.predict_with_causal(quiet, other)


def test_what_strays_less_than_its_dependency_is_explained_by_it():
    said = DETECTOR.predict_with_causal(chain(loud=2))
    assert said.explained_by == ("b", "c", None)
    assert said.explains == ((), ("a",), ("a", "b"))


def test_the_odd_rows_of_an_element_stand_out_from_its_own_past_and_no_others():
    seen = chain(loud=None, split=300)
    seen.values[305:, 1] += 5.0
    odd = GraphSAGEAnomalyDetector().anomalies(seen)
    assert odd.shape == (10, 3)
    assert odd[:5].max() < odd[-1, 1]
    assert odd[-1].argmax() == 1
    assert odd[-1, 1] > 2 * odd[-1, [0, 2]].max()


def test_odd_rows_need_more_past_than_a_ranking():
    with pytest.raises(NotEnoughHistory, match="30 rows"):
        GraphSAGEAnomalyDetector().anomalies(chain(loud=1))


def test_without_weights_it_says_so():
    detector = GraphSAGEAnomalyDetector()
    assert detector.model is None
    with pytest.raises(ConfigurationInvalid, match="has no weights"):
        detector.predict(chain(loud=None))


def test_corrupt_weights_are_refused_and_those_in_use_stay():
    raw, digest = shipped_weights()
    detector = GraphSAGEAnomalyDetector.loaded(raw, digest=digest)
    serving = detector.model
    broken = bytearray(raw)
    broken[-1] ^= 1
    with pytest.raises(WeightsCorrupt, match="SHA-256"):
        detector.load(bytes(broken), digest=digest)
    for other in (b"", b"{}\n", b"no json\n", raw[:-4], raw.replace(b"graph-1", b"graph-9")):
        with pytest.raises(WeightsCorrupt):
            detector.load(other, digest=hashlib.sha256(other).hexdigest())
    assert detector.model is serving


def test_weights_for_other_inputs_are_refused():
    shape = Shape(("one", "two"), 4, 1)
    raw = write(Weights(shape, {name: np.zeros(size, np.float32) for name, size in expected_shapes(shape).items()}))
    assert read(raw, digest=hashlib.sha256(raw).hexdigest()).shape == shape
    with pytest.raises(ConfigurationInvalid, match="train-graphsage"):
        GraphSAGEAnomalyDetector.loaded(raw, digest=hashlib.sha256(raw).hexdigest())


def test_asking_the_model_imports_nothing_of_the_learning_stack():
    program = (
        "import sys; import tasks.learning, flows.cli, models.graphsage; "
        "sys.exit(bool({'torch', 'torch_geometric', 'dowhy', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
