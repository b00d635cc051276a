"""Senses that are opened for one look; and what they make of the machine's own files."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from infra.node.place import NodePlace
from infra.node.senses import LinuxSenses, PressureGauge, SoftirqGauge, configuration_of, cpu_ticks, squeezes
from models.mesh import NodeId
from models.telemetry import DaemonState

STAT = "cpu  {user} 10 20 {idle} 5 0 {softirq} 2 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"


def test_a_single_look_at_a_configuration_leaves_nothing_open(tmp_path: Path):
    place = NodePlace(mesh="m", node="here", address="127.0.0.1", folder=tmp_path)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - pathlib's iterator holds a descriptor of its own
    assert configuration_of(place).node == NodeId("here")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - as above


def test_time_in_software_interrupts_is_told_as_a_share_of_all_cpus_since_the_last_reading(tmp_path: Path):
    stat = tmp_path / "stat"
    stat.write_text(STAT.format(user=100, idle=1000, softirq=40))
    assert cpu_ticks(stat.read_text()) == (40, 1177)
    with closing(SoftirqGauge(stat)) as gauge:
        assert gauge.share() is None  # nothing passed yet
        stat.write_text(STAT.format(user=150, idle=1025, softirq=65))
        assert gauge.share() == pytest.approx(0.25)
        assert gauge.share() == pytest.approx(0.25)  # no tick passed: what it was
        stat.write_text(STAT.format(user=250, idle=1025, softirq=65))
        assert gauge.share() == 0.0


def test_what_is_no_stat_file_is_refused():
    with pytest.raises(ValueError, match="no line `cpu`"):
        cpu_ticks("cpu  1 2 3\n")


def test_squeezes_of_all_cpus_are_summed_and_read_as_hexadecimal():
    line = "007e98e1 00000000 {} 00000000 00000000\n"
    assert squeezes(line.format("00000003") + line.format("0000001f")) == 34


def test_without_the_files_nothing_is_measured_and_nothing_is_zero(tmp_path: Path):
    with closing(SoftirqGauge(tmp_path / "none")) as softirq, closing(PressureGauge(tmp_path / "none")) as pressure:
        assert softirq.share() is None
        assert pressure.measured() is None


def test_this_machines_pressure_and_software_interrupts_are_within_their_bounds_or_missing(tmp_path: Path):
    place = NodePlace(mesh="m", node="here", address="127.0.0.1", folder=tmp_path)
    with closing(LinuxSenses(place)) as senses:
        host = senses.host()
    assert host is not None
    assert host.daemon is DaemonState.UNDECLARED  # none is named in the place, so none is missed
    for share in (host.memory_pressure, host.io_pressure, host.softirq_share):
        assert share is None or 0 <= share <= 1
    assert ("pressure" in host.missing()) == (not Path("/proc/pressure/io").exists())
    assert host.softirq_squeezes is None or host.softirq_squeezes >= 0
