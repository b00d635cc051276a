import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lab.traffic import Recording, Request, Traffic, effect, loss, outage_s, read
from models.errors import SourceUnavailable
from models.mesh import NodeId


def sent(*answered, pps=10, flow=0):
    """Requests at `pps` from second 0 on."""
    return tuple(
        Request(flow=flow, number=index, at=index / pps, arrived=ok, rtt_ms=0.2 if ok else None)
        for index, ok in enumerate(answered)
    )


def test_an_outage_ends_at_the_last_loss_before_a_clean_second():
    requests = sent(*[True] * 10, *[False] * 5, True, False, *[True] * 20)
    # Lost from 1.0 on, last at 1.6; everything sent from then on was answered.
    assert outage_s(requests, 1.0, until=3.6) == pytest.approx(0.6)


def test_a_single_answer_is_no_recovery():
    requests = sent(*[True] * 10, *([False] * 5 + [True] * 5) * 4)
    assert outage_s(requests, 1.0, until=5.0) is None


def test_a_relapse_after_a_clean_second_counts_as_loss_after_not_as_outage():
    requests = sent(*[True] * 10, *[False] * 3, *[True] * 20, *[False] * 2, *[True] * 15)
    found = effect(Recording(0.0, requests), 1.0, cap_s=100)
    assert found.outage_s == pytest.approx(0.2)
    assert not found.never_recovered
    assert found.loss_before == 0
    assert found.loss_during == 1
    assert found.loss_after == pytest.approx(2 / 36)


def test_what_never_recovers_is_given_the_cap():
    found = effect(Recording(0.0, sent(*[True] * 10, *[False] * 60)), 1.0, cap_s=5)
    assert (found.outage_s, found.never_recovered, found.loss_during, found.loss_after) == (5, True, 1, None)


def test_recovery_after_the_cap_is_none():
    found = effect(Recording(0.0, sent(*[True] * 10, *[False] * 30, *[True] * 30)), 1.0, cap_s=2)
    assert found.never_recovered


def test_a_fault_that_hurts_nobody_has_no_outage():
    assert effect(Recording(0.0, sent(*[True] * 40)), 1.0, cap_s=2).outage_s == 0


def test_one_of_several_flows_still_failing_is_no_recovery():
    healthy, ill = sent(*[True] * 50), sent(*[True] * 10, *[False] * 40, flow=1)
    requests = tuple(sorted(healthy + ill, key=lambda one: one.at))
    assert outage_s(requests, 1.0, until=4.9) is None


def test_loss_of_nothing_is_unknown():
    assert loss(()) is None


@given(st.lists(st.booleans(), min_size=20, max_size=200), st.floats(0, 5))
def test_after_an_outage_a_whole_second_was_answered(answered, fault_at):
    requests = sent(*answered)
    until = len(answered) / 10
    found = outage_s(requests, fault_at, until=until)
    if found is not None and found > 0:
        start = fault_at + found
        assert start + 1.0 <= until + 1e-9
        assert all(one.is_answered for one in requests if start + 1e-9 < one.at < start + 1.0 - 1e-9)


def test_a_recording_leaves_out_a_line_that_is_still_being_written(tmp_path):
    path = tmp_path / "traffic.jsonl"
    row = {"flow": 0, "number": 0, "at": 5.0, "arrived": True, "rtt_ms": 0.1}
    path.write_text(json.dumps({"wall": 100.0, "monotonic": 4.0}) + "\n" + json.dumps(row) + "\n" + json.dumps(row)[:9])
    assert read(path) == Recording(wall_minus_monotonic=96.0, requests=(Request(**row),))


def test_a_recording_that_was_never_begun_says_so(tmp_path):
    with pytest.raises(SourceUnavailable, match="outside prober"):
        read(tmp_path / "none")


@pytest.mark.kernel
async def test_the_prober_measures_a_healthy_lab_without_loss(lab, tmp_path):
    await lab.settled(timeout_s=60)
    n0, n1 = (lab.mesh.node(NodeId(name)) for name in ("n0", "n1"))
    flow = Traffic(
        namespaces=(lab.namespace(n0.id), lab.namespace(n1.id)),
        addresses=(n0.address, n1.address),
        pps=50,
        size=400,
        flows=2,
        path=tmp_path / "traffic.jsonl",
    )
    await flow.start()
    await asyncio.sleep(2)
    await flow.stop()
    await flow.stop()
    recording = read(flow.path)
    assert {one.flow for one in recording.requests} == {0, 1}
    assert len(recording.requests) > 50
    assert loss(recording.requests) == 0
    assert all(one.arrived for one in recording.requests)


@pytest.mark.kernel
async def test_a_prober_that_cannot_begin_says_so(tmp_path):
    flow = Traffic(("x0-none-n0", "x0-none-n1"), ("10.42.0.1", "10.42.0.2"), 50, 400, 1, tmp_path / "traffic.jsonl")
    with pytest.raises(SourceUnavailable, match="did not begin"):
        await flow.start()
