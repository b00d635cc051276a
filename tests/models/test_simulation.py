"""The simulator: seeded, labelled, as varied as it declares; and its documents."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.casefile import document_of, snapshot_from
from models.errors import SnapshotInvalid
from models.simulation import generate_test_anomalies
from models.snapshot import Kind, SignalKind

CASES = generate_test_anomalies(120, seed=9)


def test_the_same_seed_gives_the_same_incidents_and_more_of_them_begin_alike():
    for one, other in zip(generate_test_anomalies(5, seed=9), CASES, strict=False):
        assert (one.name, one.roots, one.fault) == (other.name, other.roots, other.fault)
        assert np.array_equal(one.snapshot.values, other.snapshot.values, equal_nan=True)
    assert generate_test_anomalies(1, seed=10)[0].snapshot.values.shape != CASES[0].snapshot.values.shape


def test_there_are_meshes_and_call_graphs_none_one_and_two_roots_and_gaps():
    assert {len(case.roots) for case in CASES} == {0, 1, 2}
    assert {Kind.LINK in case.snapshot.kinds for case in CASES} == {True, False}
    assert any(np.isnan(case.snapshot.values).any() for case in CASES)
    assert any(case.snapshot.signals[0].kind is SignalKind.EVENT for case in CASES)
    assert {case.snapshot.target is None for case in CASES} == {True, False}
    assert all(bool(case.roots) == (case.fault not in {"none", "load"}) for case in CASES)
    assert len({case.fault for case in CASES}) > 12


def test_a_case_survives_its_document():
    for case in CASES[:20]:
        text = json.dumps(document_of(case), allow_nan=False)
        read = snapshot_from(json.loads(text))
        assert read.elements == case.snapshot.elements
        assert (read.signals, read.split, read.target) == (
            case.snapshot.signals,
            case.snapshot.split,
            case.snapshot.target,
        )
        assert np.array_equal(read.values, case.snapshot.values, equal_nan=True)
        assert np.array_equal(read.edges, case.snapshot.edges)


def test_a_document_that_lacks_something_is_refused_with_its_field():
    whole = document_of(CASES[0])
    for field in ("elements", "edges", "signals", "times", "split", "values"):
        with pytest.raises(SnapshotInvalid) as refused:
            snapshot_from({name: part for name, part in whole.items() if name != field})
        assert refused.value.field == field
