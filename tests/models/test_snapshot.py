from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.errors import SnapshotInvalid
from models.snapshot import Case, Kind, SignalKind, SignalSpec, Snapshot
from tests.models.incidents import reordered


def snapshot() -> Snapshot:
    return Snapshot(
        elements=("a", "b", "c"),
        kinds=(Kind.SERVICE,) * 3,
        edges=np.array([[0, 1], [1, 2]]),
        signals=(SignalSpec("latency", "s", 1, SignalKind.LATENCY),),
        times=np.array([0.0, 60.0, 120.0]),
        values=np.arange(9.0).reshape(3, 3, 1),
        split=2,
        target=0,
        trigger=2,
        target_signal=0,
    )


def test_what_was_before_holds_the_past_alone_and_no_alarm():
    before = snapshot().before()
    assert np.array_equal(before.now, snapshot().past)
    assert (before.split, before.target, before.trigger, before.target_signal) == (0, None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("elements", ("a", "a", "b")),
        ("kinds", (Kind.SERVICE,)),
        ("values", np.zeros((3, 2, 1))),
        ("values", np.full((3, 3, 1), np.inf)),
        ("times", np.array([0.0, 60.0, 60.0])),
        ("times", np.array([0.0, 60.0, np.inf])),
        ("edges", np.array([0, 1])),
        ("edges", np.array([[0, 3]])),
        ("edges", np.array([[0, -1]])),
        ("edges", np.array([[0, 1], [0, 1]])),
        ("split", 3),
        ("target", 3),
        ("trigger", 1),
        ("target_signal", 1),
    ],
)
def test_refuses_what_no_analysis_could_read_and_names_the_field(field, value):
    with pytest.raises(SnapshotInvalid, match=f"snapshot's {field} ") as caught:
        dataclasses.replace(snapshot(), **{field: value})
    assert caught.value.field == field


def test_past_ends_where_the_incident_begins():
    assert snapshot().past.shape == (2, 3, 1)
    assert snapshot().now[:, 0, 0].tolist() == [6.0]


def test_reordering_moves_values_edges_and_target_together():
    other = reordered(snapshot(), [2, 0, 1])
    assert other.elements == ("c", "a", "b")
    assert other.values[0, :, 0].tolist() == [2.0, 0.0, 1.0]
    assert {(other.elements[i], other.elements[j]) for i, j in other.edges} == {("a", "b"), ("b", "c")}
    assert other.elements[other.target] == "a"


def test_a_root_that_is_not_in_view_is_refused():
    with pytest.raises(SnapshotInvalid, match="roots"):
        Case("one", snapshot(), ("d",), None, "train")
