"""Reading maps: per-CPU sums, by batch and one by one alike; and decoding, which inverts the C programs' numbering."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpf.layout import COUNT_BYTES, ROWS, decode
from ebpf.libbpf import libbpf
from ebpf.loader import EBPFLoader
from ebpf.maps import PerCpuArray
from models.errors import KernelRefused
from models.telemetry import Direction, Protocol, SizeClass, TrafficClass
from tests.ebpf.frames import CASES

_COUNTS = st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), min_size=90, max_size=90)


# 90 pairs an example take as long as a busy machine makes them.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(counts=_COUNTS)
def test_decoding_inverts_the_numbering_of_the_programs(counts):
    decoded = decode(np.array(counts, dtype=np.uint64))
    orders = [list(one) for one in (Direction, TrafficClass, SizeClass, Protocol)]
    again = [(0, 0)] * len(ROWS)
    for row in decoded:
        index = 0
        for order, value in zip(orders, (row.direction, row.traffic, row.size, row.protocol), strict=True):
            index = index * len(order) + order.index(value)
        again[index] = row.packets, row.bytes
    assert again == [pair if pair[0] else (0, 0) for pair in counts]


@pytest.mark.kernel
def test_values_of_all_cpus_are_summed_by_batch_and_one_by_one(kernel):
    frame = CASES["ping"][0]
    before = os.sched_getaffinity(0)
    with EBPFLoader() as loader:
        loaded = loader.load_program("tc_classifier.o")
        try:
            for times, cpu in enumerate(sorted(before), start=1):
                os.sched_setaffinity(0, {cpu})
                libbpf().trial_run(loaded.programs["count_ingress"], frame, repeat=times)
        finally:
            os.sched_setaffinity(0, before)
        batch = PerCpuArray(loaded.maps["traffic"], entries=len(ROWS), value_bytes=COUNT_BYTES)
        singly = PerCpuArray(loaded.maps["traffic"], entries=len(ROWS), value_bytes=COUNT_BYTES)
        singly._has_batch = False
        (row,) = decode(batch.read())
        assert row.packets == sum(range(1, len(before) + 1))
        assert np.array_equal(batch.read(), singly.read())


@pytest.mark.kernel
def test_a_map_that_is_gone_is_an_error_in_words(kernel):
    with EBPFLoader() as loader:
        descriptor = loader.load_program("tc_classifier.o").maps["traffic"]
    with pytest.raises(KernelRefused, match="reading a map"):
        PerCpuArray(descriptor, entries=len(ROWS), value_bytes=COUNT_BYTES).read()
