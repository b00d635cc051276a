"""Quantiles of histograms, and what may be asked of them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpf.latency import EDGES_S, SLOTS, WAITING, quantile_us

_SLOTS = st.lists(st.integers(0, 10**12), min_size=SLOTS, max_size=SLOTS)


def _slot_of(duration_us):
    return int(np.searchsorted(EDGES_S, duration_us / 1e6))


def test_without_a_call_there_is_no_answer():
    assert quantile_us(np.zeros(SLOTS, dtype=np.uint64), 0.99) is None


def test_calls_in_one_slot_are_taken_as_evenly_spread():
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[13] = 100  # 2^-11 to 2^-10 s: 488 to 977 us
    assert quantile_us(slots, 0.5) == pytest.approx(732.4, abs=0.1)
    assert quantile_us(slots, 1.0) == pytest.approx(976.6, abs=0.1)


def test_what_has_no_upper_edge_is_told_as_its_lower_one():
    slots = np.zeros(SLOTS, dtype=np.uint64)
    slots[-1] = 1
    assert quantile_us(slots, 0.99) == EDGES_S[-1] * 1e6 == 2**7 * 1e6


# On a busy machine 32 draws an example may be slow.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(slots=_SLOTS, share=st.floats(0.01, 1))
def test_the_answer_lies_in_the_slot_where_that_share_of_calls_is_reached(slots, share):
    counts = np.array(slots, dtype=np.uint64)
    found = quantile_us(counts, share)
    if not sum(slots):
        assert found is None
        return
    upto = np.cumsum(counts.astype(np.float64))
    slot = int(np.searchsorted(upto, share * sum(slots)))
    assert found >= 0
    assert abs(_slot_of(found) - slot) <= 1  # an edge belongs to either side


# On a busy machine 32 draws an example may be slow.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(slots=_SLOTS)
def test_a_larger_share_never_takes_less_time(slots):
    found = [quantile_us(np.array(slots, dtype=np.uint64), share) for share in (0.1, 0.5, 0.9, 0.99)]
    assert found == [None] * 4 or found == sorted(found)


def test_calls_that_wait_for_somebody_are_named_as_the_kernel_names_them():
    assert {"epoll_wait", "futex", "clock_nanosleep", "select"} <= WAITING
    assert not {"openat", "getppid", "mmap", "sendto"} & WAITING
