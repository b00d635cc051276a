"""What the eBPF benchmark makes of what it measured; and that each of its parts runs."""

import logging
import shutil

import numpy as np
import pytest

from infra.log import configure
from models.errors import KernelRefused
from tests.bench import ebpf_maps, ebpf_packets, ebpf_syscalls
from tests.bench.ebpf import collect, collector_rows
from tests.bench.ebpf_maps import BATCH, BPFTOOL, ITEMS, OURS, Reading
from tests.bench.ebpf_packets import Cost
from tests.bench.ebpf_syscalls import BARE, NONE
from tests.ebpf.conftest import kernel, objects  # noqa: F401 - fixtures

SEEN = {"rss_mb": 48.0, "cpu_percent": 0.2, "readings": 40, "scrapes": 1, "scrape_ms": 7.0}
IN_RUN = {"rss_mb": 150.0, "readings": 40}


@pytest.fixture(scope="module")
def quiet():
    configure(least=logging.WARNING)


def cost(kind="xdp", situation="one flow", ours=25.0, empty=21.0, bare=21.0):
    return Cost("counter", kind, situation, ours, empty, bare, rounds=9)


def test_a_program_is_measured_by_what_it_adds_to_an_empty_one():
    total, over = cost().rows()
    assert (total.value, total.peers, total.goal) == (25.0, {"empty program": 21.0}, None)
    assert (over.value, over.goal, over.is_met) == (4.0, 5.0, True)


def test_the_drivers_own_cost_is_no_part_of_a_programs():
    total, over = cost("tc", "a new flow a packet", ours=340.0, empty=40.0, bare=10.0).rows()
    assert over.value == 300.0
    assert (total.value, total.goal, total.is_met) == (310.0, 300.0, False)


def test_each_kind_has_a_goal_of_its_own():
    assert cost("tc", ours=70.0).rows()[1].is_met is False
    assert cost("tc", ours=60.0).rows()[1].is_met
    assert cost("tc", "10000 flows", ours=600.0).rows()[1].goal is None


def test_system_calls_are_judged_beside_the_least_pair():
    (row,) = ebpf_syscalls.rows({NONE: 100.0, BARE: 200.0, ebpf_syscalls.OURS: 221.0}, rounds=9)
    assert (row.value, row.peers, row.goal) == (121.0, {BARE: 100.0}, 120.0)
    assert row.is_met is False


def test_a_pair_that_cannot_be_attached_is_null_and_judges_nobody():
    (row,) = ebpf_syscalls.rows({NONE: 100.0, ebpf_syscalls.OURS: 221.0}, rounds=9)
    assert (row.value, row.peers, row.goal) == (121.0, {BARE: None}, None)
    (row,) = ebpf_syscalls.rows({NONE: 100.0, BARE: 200.0}, rounds=9)
    assert (row.value, row.n, row.is_met) == (None, 0, False)


def reading(entries=100_000, **changes):
    milliseconds = {OURS: 30.0, BATCH: 200.0, ITEMS: 1000.0, BPFTOOL: None} | changes
    return Reading(entries, milliseconds, {OURS: 9, BATCH: 9, ITEMS: 1, BPFTOOL: 0})


def test_reading_a_map_is_judged_by_bccs_best_at_the_larger_size():
    time, ratio = reading().rows()
    assert time.value == 30.0
    assert time.peers == {BATCH: 200.0, ITEMS: 1000.0, BPFTOOL: None}
    assert (ratio.value, ratio.goal, ratio.is_met) == (0.15, 0.2, True)
    assert reading(10_000).rows()[1].goal is None


def test_without_bcc_there_is_no_ratio_and_no_goal():
    ratio = reading(**{BATCH: None}).rows()[1]
    assert (ratio.value, ratio.goal) == (None, None)


def test_a_collector_is_judged_by_memory_time_and_scrape():
    rows = collector_rows(SEEN | {"cpu_percent": 1.5}, IN_RUN)
    assert [(row.metric, row.is_met) for row in rows] == [
        ("rss_mb", True),
        ("cpu_percent", False),
        ("scrape_ms", True),
        ("rss_mb", True),
    ]


def test_inside_its_run_a_collector_may_hold_more_but_not_anything():
    assert [row.is_met for row in collector_rows(SEEN | {"rss_mb": 61.0}, IN_RUN | {"rss_mb": 171.0})] == [
        *(False, True, True),
        False,
    ]


def test_a_run_too_short_for_a_scrape_misses_nothing():
    scrape = collector_rows(SEEN | {"scrapes": 0, "scrape_ms": None}, IN_RUN)[2]
    assert (scrape.value, scrape.goal, scrape.n) == (None, None, 0)


@pytest.fixture(scope="module")
def clang(kernel):  # noqa: F811 - the fixture
    if shutil.which("clang-14") is None and shutil.which("clang") is None:
        pytest.skip("clang is not installed: nothing to compare with can be compiled")


@pytest.mark.kernel
@pytest.mark.usefixtures("clang", "quiet")
def test_every_packet_program_is_measured_in_every_situation(tmp_path):
    costs = ebpf_packets.measure(tmp_path, rounds=1, repeat=1000)
    assert {(one.name, one.situation) for one in costs} == {
        (name, situation)
        for name in ("xdp_counter", "tc_classifier", ebpf_packets.KEEPING_FLOWS)
        for situation in ("one flow", "behind IPv6 options", "10000 flows", "a new flow a packet")
    }
    assert all(one.ours > 0 and one.bare > 0 for one in costs)


@pytest.mark.kernel
@pytest.mark.usefixtures("clang", "quiet")
def test_system_calls_are_timed_with_and_without_programs(tmp_path):
    least, notes = ebpf_syscalls.measure(tmp_path, rounds=1, calls=5000, rng=np.random.default_rng(1))
    assert all(0 < one < 1e6 for one in least.values())
    assert NONE in least
    assert notes  # which variant was taken, or why none


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel", "quiet")
def test_all_readers_that_are_installed_find_every_entry():
    found = ebpf_maps.measure(1000, rounds=1, slow_rounds=1)
    assert found.milliseconds[OURS] > 0
    assert (found.milliseconds[BATCH] is None) == (not ebpf_maps.DEBIANS_BCC.is_file())
    assert (found.milliseconds[BPFTOOL] is None) == (shutil.which("bpftool") is None)


def test_a_reader_that_misses_an_entry_is_no_measurement():
    with pytest.raises(KernelRefused, match="999 of 1000 entries came back"):
        ebpf_maps._timed(lambda: 999, 1000, "a reader")


@pytest.mark.kernel
@pytest.mark.usefixtures("kernel")
def test_a_collectors_process_tells_what_it_took():
    seen = collect(seconds=1)
    assert seen["readings"] == 2
    assert 10 < seen["rss_mb"] < 500
    assert 0 < seen["cpu_percent"] < 100
    assert seen["scrape_ms"] is None


@pytest.mark.kernel
@pytest.mark.flow
@pytest.mark.usefixtures("kernel")
def test_a_collector_in_a_prefect_run_tells_what_it_holds():
    seen = collect(seconds=1, worker="collect_in_run")
    assert seen["readings"] == 2
    assert 50 < seen["rss_mb"] < 1000
