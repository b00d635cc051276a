"""What a node can see of itself, cheap enough for every sample.

Files under /proc/net and /proc/sys belong to the namespace of the thread that *opens* them, and netlink sockets too. So
everything is opened once inside the node's namespace and kept; reading needs no setns and no privilege afterwards.
Links, queues and routes are dumped only after the kernel said that one of them changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import structlog

from infra.clock import SystemClock
from infra.node.interfaces import links, root_queues
from infra.node.netlink import Changes, Netlink
from infra.node.netns import entered
from infra.node.place import NodePlace
from infra.node.process import look
from infra.node.routes import describe, own_routes
from infra.node.sysctls import allowed, path_of
from models.mesh import NodeId
from models.ports import Clock
from models.telemetry import DaemonState, HostReading, NodeBaseline

log = structlog.get_logger()

# /proc/net/snmp is 1.5 KiB, a sysctl some bytes; one read gets either whole.
_WHOLE = 16384
# A notice can be lost between two sockets' lives; the configuration is read afresh at least this often.
_REREAD_S = 10.0
_MICROSECONDS = 1_000_000
# Of /proc/stat's first line, those that add up to the time of all CPUs.
_TICK_KINDS = 8


def pressure_total_us(content: str) -> int:
    """Return the cumulative microseconds of a file of `/proc/pressure`, line `some`.

    Raises:
        ValueError: there is no such line.
    """
    for line in content.splitlines():
        if line.startswith("some "):
            return int(line.rpartition("total=")[2])
    message = "no line `some` in the pressure file"
    raise ValueError(message)


def forwarding_counters(content: str) -> dict[str, int]:
    """Return the `Ip:` row of `/proc/net/snmp` by column name."""
    names, values = [line.split()[1:] for line in content.splitlines() if line.startswith("Ip: ")][:2]
    return dict(zip(names, map(int, values), strict=True))


def cpu_ticks(content: str) -> tuple[int, int]:
    """Return the clock ticks that all CPUs spent in software interrupts, and in all, by the first line of `/proc/stat`.

    Raises:
        ValueError: it is no such file.
    """
    # user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two.
    ticks = [int(one) for one in content.partition("\n")[0].removeprefix("cpu ").split()[:_TICK_KINDS]]
    if len(ticks) < _TICK_KINDS:
        message = "no line `cpu` with eight numbers in /proc/stat"
        raise ValueError(message)
    return ticks[6], sum(ticks)


def squeezes(content: str) -> int:
    """Return how often a CPU of `/proc/net/softnet_stat` ran out of its budget: a line a CPU, hexadecimal."""
    return sum(int(line.split()[2], 16) for line in content.splitlines())


class PressureGauge:
    """The share of time in which some task waited for a CPU (or memory, or a disk), since the last reading."""

    def __init__(self, path: Path = Path("/proc/pressure/cpu")) -> None:
        """Open the gauge of one resource; a kernel without PSI reads as no pressure to those who ask for `share`."""
        self._descriptor = _opened(path)
        self._at_s = time.monotonic()
        self._total_us = self._total()

    def _total(self) -> int:
        content = _read(self._descriptor)
        return pressure_total_us(content) if content else 0

    def share(self) -> float:
        """Return 0..1 since the previous call (or the opening)."""
        now_s, total_us = time.monotonic(), self._total()
        elapsed_us = max(1.0, (now_s - self._at_s) * _MICROSECONDS)
        share = (total_us - self._total_us) / elapsed_us
        self._at_s, self._total_us = now_s, total_us
        return min(1.0, max(0.0, share))

    def measured(self) -> float | None:
        """Return the share; None on a kernel without PSI."""
        return None if self._descriptor is None else self.share()

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class SoftirqGauge:
    """The share of the CPUs' time that went into software interrupts, since the last reading."""

    def __init__(self, path: Path = Path("/proc/stat")) -> None:
        """Open the gauge; the file is the machine's, whatever the namespace."""
        self._descriptor = _opened(path)
        content = _read(self._descriptor)
        self._before = cpu_ticks(content) if content else (0, 0)
        self._share: float | None = None

    def share(self) -> float | None:
        """Return 0..1 since the previous call (or the opening), or what it was then if no tick passed; None without."""
        content = _read(self._descriptor)
        if not content:
            return None
        now = cpu_ticks(content)
        inside, passed = (after - before for after, before in zip(now, self._before, strict=True))
        if passed > 0:
            # The kernel corrects idle time now and then, downwards too.
            self._share, self._before = min(1.0, max(0.0, inside / passed)), now
        return self._share

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class LinuxSenses:
    """Implements models.ports.HostSenses on Linux."""

    def __init__(self, place: NodePlace, *, clock: Clock | None = None) -> None:
        """Open everything inside the node's namespace.

        Raises:
            ConfigurationInvalid: there is no such namespace.
        """
        self._place = place
        self._clock = clock or SystemClock()
        self._pressure = PressureGauge()
        self._memory = PressureGauge(Path("/proc/pressure/memory"))
        self._io = PressureGauge(Path("/proc/pressure/io"))
        self._softirq = SoftirqGauge()
        with entered(place.netns):
            self._snmp = _opened(Path("/proc/thread-self/net/snmp"))
            self._softnet = _opened(Path("/proc/thread-self/net/softnet_stat"))
            self._sysctls = {name: _opened(path_of(name)) for name in allowed(place)}
            self._netlink = Netlink()
            self._changes = Changes()
        self._known: NodeBaseline | None = None
        self._read_at_s = 0.0

    def host(self) -> HostReading | None:
        """Read pressure, software interrupts, forwarding counters, the daemon's state; None without /proc/net/snmp."""
        content = _read(self._snmp)
        if not content:
            return None
        ip = forwarding_counters(content)
        softnet = _read(self._softnet)
        return HostReading(
            cpu_pressure=self._pressure.share(),
            forwarded=ip["ForwDatagrams"],
            address_errors=ip["InAddrErrors"],
            # Some kernels do not show arrivals without a route in this file.
            no_routes=ip["OutNoRoutes"] + ip.get("InNoRoutes", 0),
            daemon=look(self._place.daemon) if self._place.daemon else DaemonState.UNDECLARED,
            memory_pressure=self._memory.measured(),
            io_pressure=self._io.measured(),
            softirq_share=self._softirq.share(),
            softirq_squeezes=squeezes(softnet) if softnet else None,
        )

    def configuration(self) -> NodeBaseline:
        """Read MTU, root queue, the listed sysctls and the routes that no protocol made."""
        now_s = time.monotonic()
        changed = self._changes.any()
        if self._known is None or changed or now_s - self._read_at_s > _REREAD_S:
            self._known, self._read_at_s = self._dumped(), now_s
        # Sysctls send no notice: they are read every time.
        return replace(self._known, recorded_at=self._clock.now(), sysctl=self._sysctl())

    def _dumped(self) -> NodeBaseline:
        present = links(self._netlink)
        queues = root_queues(self._netlink)
        names = {state.index: name for name, state in present.items()}
        mesh = [link.interface for link in self._place.links if link.interface in present]
        return NodeBaseline(
            node=NodeId(self._place.node),
            version=0,
            recorded_at=self._clock.now(),
            mtu={name: present[name].mtu for name in mesh},
            qdisc={name: queues[present[name].index].kind for name in mesh if present[name].index in queues},
            sysctl={},
            routes=frozenset(describe(route) for route in own_routes(self._netlink, names)),
        )

    def _sysctl(self) -> dict[str, str]:
        values = {}
        for name, descriptor in self._sysctls.items():
            value = _read(descriptor)
            if value:
                values[name] = value.strip()
        return values

    def close(self) -> None:
        """Give files and sockets back. Safe to call twice."""
        for gauge in (self._pressure, self._memory, self._io, self._softirq):
            gauge.close()
        self._netlink.close()
        self._changes.close()
        _close_all([self._snmp, self._softnet, *self._sysctls.values()])
        self._snmp, self._softnet, self._sysctls = None, None, {}


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        log.info("signal not readable here", path=str(path), reason=str(error))
        return None


def _read(descriptor: int | None) -> str:
    """Return a proc file's present content; empty when it was not there, or its interface has gone."""
    if descriptor is None:
        return ""
    try:
        return os.pread(descriptor, _WHOLE, 0).decode()
    except OSError:
        # ENODEV and EINVAL: the interface behind the sysctl was removed. Absent is what that means.
        return ""


def _close_all(descriptors: Iterable[int | None]) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def configuration_of(place: NodePlace) -> NodeBaseline:
    """Read a node's configuration once and keep nothing open: an open socket would keep its namespace alive.

    Raises:
        ConfigurationInvalid: there is no such namespace.
    """
    with closing(LinuxSenses(place)) as senses:
        return senses.configuration()
