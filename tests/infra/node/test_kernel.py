"""The node's hands, senses and probes on a real kernel with real daemons. Asserts the state before and after."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from infra.clock import SystemClock
from infra.node.actuator import ActuatorClient
from infra.node.drift import drifts
from infra.node.netlink import Changes, Netlink
from infra.node.netns import entered
from infra.node.place import NodePlace
from infra.node.probing import EchoProber
from infra.node.process import find, look
from infra.node.senses import LinuxSenses
from infra.node.signing import create_key, load_private_key
from infra.node.verbs.base import ReadBack, VerbHandler
from infra.node.verbs.catalogue import catalogue
from models.errors import OrderRefused, SourceUnavailable
from models.mesh import Element, NodeId, RoutingDaemon
from models.ports import Clock
from models.remedy import (
    Action,
    ActionState,
    Verb,
)
from models.telemetry import DaemonState, Drift, DriftKind, SizeClass
from tests.contracts.actuator import HEALTHY, ActuatorContract, Bench
from tests.contracts.prober import ProberBench, ProberContract
from tests.contracts.senses import SensesContract
from tests.infra.node.conftest import Pair, eventually, run

pytestmark = pytest.mark.kernel
Routed = Callable[[RoutingDaemon], Pair]


@contextmanager
def acting(place: NodePlace, standing: dict[str, int] | None = None) -> Iterator[dict[Verb, VerbHandler]]:
    """The node's verbs, in its namespace, without the process around them."""
    with entered(place.netns), Netlink() as netlink:
        yield catalogue(place, netlink, lambda: standing or {})


def action(place: NodePlace, verb: Verb, **arguments: str | int) -> Action:
    return Action(NodeId(place.node), verb, arguments, Element.of_node(NodeId(place.node)))


def perform(handler: VerbHandler, todo: Action) -> tuple[str, ReadBack]:
    handler.check(todo)
    before = handler.capture(todo)
    handler.apply(todo)
    return before, handler.read_back(todo)


# --- verbs -----------------------------------------------------------------------------------------------------------


def test_sysctl_is_set_and_its_side_effects_are_taken_back_exactly(pair: Pair):
    names = ("net.ipv4.ip_forward", "net.ipv4.conf.to-b.forwarding", "net.ipv4.conf.default.forwarding")
    place = pair.a
    run("ip", "netns", "exec", str(place.netns), "sysctl", "-qw", "net.ipv4.conf.all.forwarding=0")
    run("ip", "netns", "exec", str(place.netns), "sysctl", "-qw", "net.ipv4.conf.to-b.forwarding=1")
    drifted = [pair.sysctl(place, name) for name in names]
    assert drifted == ["0", "1", "0"]
    with acting(place) as verbs:
        todo = action(place, Verb.SET_SYSCTL, name="net.ipv4.ip_forward", value="1")
        before, seen = perform(verbs[Verb.SET_SYSCTL], todo)
        assert seen.matches
        assert [pair.sysctl(place, name) for name in names] == ["1", "1", "1"]
        assert verbs[Verb.SET_SYSCTL].undo(todo, before).matches
    assert [pair.sysctl(place, name) for name in names] == drifted


@pytest.mark.parametrize("name", ["kernel.panic", "net.ipv4.conf.../../../kernel.panic", "net.ipv4.tcp_syncookies"])
def test_sysctl_off_the_list_is_refused(pair: Pair, name: str):
    with acting(pair.a) as verbs, pytest.raises(OrderRefused, match="not on the list"):
        verbs[Verb.SET_SYSCTL].check(action(pair.a, Verb.SET_SYSCTL, name=name, value="1"))


def test_stray_route_is_deleted_and_the_undo_puts_it_back_as_it_was(pair: Pair):
    pair.ip(pair.a, "route", "add", "blackhole", "10.200.0.2", "metric", "7", "proto", "static")
    pair.ip(pair.a, "route", "add", "10.99.0.0/16", "via", "10.201.0.2", "dev", "to-b")
    with acting(pair.a) as verbs:
        handler = verbs[Verb.RESTORE_ROUTE]
        todo = action(pair.a, Verb.RESTORE_ROUTE, prefix="10.200.0.2/32", expected="")
        before, seen = perform(handler, todo)
        assert seen == ReadBack(matches=True, state="")
        left = pair.ip(pair.a, "route", "show")
        assert "blackhole" not in left
        # Neither the daemon's route of the prefix nor another stray one was touched.
        assert "10.200.0.2 via 10.201.0.2 dev to-b proto babel" in left
        assert "10.99.0.0/16" in left
        assert handler.undo(todo, before).matches
    assert "blackhole 10.200.0.2 proto static metric 7" in pair.ip(pair.a, "route", "show")


def test_missing_route_of_the_baseline_is_added(pair: Pair):
    with acting(pair.a) as verbs:
        line = "10.98.0.0/24 via 10.201.0.2 dev to-b proto static metric 20"
        todo = action(pair.a, Verb.RESTORE_ROUTE, prefix="10.98.0.0/24", expected=line)
        before, seen = perform(verbs[Verb.RESTORE_ROUTE], todo)
        assert (before, seen.state) == ("", line)
        assert line in pair.ip(pair.a, "route", "show").replace(" \n", "\n")
        assert verbs[Verb.RESTORE_ROUTE].undo(todo, before).matches
    assert "10.98.0.0/24" not in pair.ip(pair.a, "route", "show")


def test_leftover_qdisc_is_deleted_and_the_undo_makes_the_same_one_again(pair: Pair):
    words = ["tc", "-n", str(pair.a.netns), "qdisc"]
    run(*words, "add", "dev", "to-b", "root", "handle", "5:", "tbf", "rate", "2mbit", "burst", "4k", "limit", "60k")
    drifted = run(*words, "show", "dev", "to-b")
    assert "rate 2Mbit" in drifted
    with acting(pair.a) as verbs:
        todo = action(pair.a, Verb.RESTORE_QDISC, interface="to-b", kind="noqueue")
        before, seen = perform(verbs[Verb.RESTORE_QDISC], todo)
        assert seen.matches
        assert "noqueue" in run(*words, "show", "dev", "to-b")
        assert verbs[Verb.RESTORE_QDISC].undo(todo, before).matches
    assert run(*words, "show", "dev", "to-b") == drifted


def test_qdisc_whose_classes_an_undo_could_not_rebuild_is_refused(pair: Pair):
    run("tc", "-n", str(pair.a.netns), "qdisc", "add", "dev", "to-b", "root", "handle", "1:", "htb")
    with acting(pair.a) as verbs, pytest.raises(OrderRefused, match="htb"):
        verbs[Verb.RESTORE_QDISC].check(action(pair.a, Verb.RESTORE_QDISC, interface="to-b", kind="noqueue"))


def test_interface_that_is_no_mesh_link_is_refused(pair: Pair):
    with acting(pair.a) as verbs, pytest.raises(OrderRefused, match="no mesh interface"):
        verbs[Verb.SET_MTU].check(action(pair.a, Verb.SET_MTU, interface="lo", mtu=1400))


def far_cost(pair: Pair, kind: RoutingDaemon) -> int | None:
    with acting(pair.a) as verbs:
        return verbs[Verb.SET_COST]._control.cost("to-b")


@pytest.mark.parametrize("kind", list(RoutingDaemon))
def test_cost_is_set_read_back_from_the_daemon_and_taken_back(routed: Routed, kind: RoutingDaemon):
    pair = routed(kind)
    assert eventually(lambda: far_cost(pair, kind) == 96)
    with acting(pair.a) as verbs:
        todo = action(pair.a, Verb.SET_COST, interface="to-b", cost=5000)
        before, seen = perform(verbs[Verb.SET_COST], todo)
        assert (before, seen.state, seen.matches) == ("96", "5000", True)
        assert far_cost(pair, kind) == 5000
        assert verbs[Verb.SET_COST].undo(todo, before).matches
    assert far_cost(pair, kind) == 96


def test_cost_out_of_a_silent_link_holds_and_says_that_it_is_silent(routed: Routed):
    pair = routed(RoutingDaemon.BABELD)
    assert eventually(lambda: far_cost(pair, RoutingDaemon.BABELD) == 96)
    pair.ip(pair.b, "link", "set", "to-a", "down")
    with acting(pair.a) as verbs:
        out = action(pair.a, Verb.SET_COST, interface="to-b", cost=5000)
        _, seen = perform(verbs[Verb.SET_COST], out)
        assert seen.matches
        assert "nobody is heard" in seen.note
        back = action(pair.a, Verb.SET_COST, interface="to-b", cost=96)
        assert not perform(verbs[Verb.SET_COST], back)[1].matches
        assert verbs[Verb.SET_COST].undo(out, "96").matches


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (RoutingDaemon.BABELD, signal.SIGSTOP),
        (RoutingDaemon.BABELD, signal.SIGKILL),
        (RoutingDaemon.BIRD, signal.SIGSTOP),
    ],
)
def test_restart_brings_a_hung_or_dead_daemon_back_with_the_costs_in_force(routed: Routed, kind, number):
    pair = routed(kind)
    assert eventually(lambda: far_cost(pair, kind) == 96)
    with acting(pair.a, standing={"to-b": 3000}) as verbs:
        perform(verbs[Verb.SET_COST], action(pair.a, Verb.SET_COST, interface="to-b", cost=3000))
        old = find(pair.a.daemon)
        os.kill(old, number)
        assert eventually(lambda: look(pair.a.daemon) is not DaemonState.RUNNING)
        if number is signal.SIGSTOP:
            with pytest.raises(SourceUnavailable):
                verbs[Verb.SET_COST].capture(action(pair.a, Verb.SET_COST, interface="to-b", cost=96))
        before, seen = perform(verbs[Verb.RESTART_DAEMON], action(pair.a, Verb.RESTART_DAEMON))
        assert seen.matches, seen
        assert ("stopped" if number is signal.SIGSTOP else "absent") in before
        assert look(pair.a.daemon) is DaemonState.RUNNING
        assert find(pair.a.daemon) != old
        assert verbs[Verb.SET_COST]._control.cost("to-b") == 3000


def test_restart_that_died_half_way_is_brought_to_a_running_daemon(routed: Routed):
    pair = routed(RoutingDaemon.BABELD)
    os.kill(find(pair.a.daemon), signal.SIGKILL)
    assert eventually(lambda: look(pair.a.daemon) is DaemonState.ABSENT)
    with acting(pair.a) as verbs:
        assert verbs[Verb.RESTART_DAEMON].undo(action(pair.a, Verb.RESTART_DAEMON), "").matches
        assert look(pair.a.daemon) is DaemonState.RUNNING


# --- senses ----------------------------------------------------------------------------------------------------------


def test_senses_see_each_drift_and_nothing_else(routed: Routed):
    pair = routed(RoutingDaemon.BABELD)
    senses = LinuxSenses(pair.a)
    try:
        baseline = senses.configuration()
        assert baseline.mtu == {"to-b": 1500}
        assert baseline.qdisc == {"to-b": "noqueue"}
        assert baseline.routes == frozenset()
        assert eventually(lambda: far_cost(pair, RoutingDaemon.BABELD) == 96)
        assert drifts(baseline, senses.configuration()) == ()
        pair.ip(pair.a, "link", "set", "to-b", "mtu", "1280")
        pair.ip(pair.a, "route", "add", "10.200.0.9", "via", "10.201.0.2", "dev", "to-b", "metric", "5")
        run("tc", "-n", str(pair.a.netns), "qdisc", "add", "dev", "to-b", "root", "pfifo")
        run("ip", "netns", "exec", str(pair.a.netns), "sysctl", "-qw", "net.ipv4.conf.to-b.rp_filter=1")
        # The line is the one `ip` prints, so that what a person reads is what a remedy restores.
        line = next(one for one in pair.ip(pair.a, "route", "show").splitlines() if "10.200.0.9" in one).strip()
        assert drifts(baseline, senses.configuration()) == (
            Drift(DriftKind.MTU, "to-b", "1500", "1280"),
            Drift(DriftKind.QDISC, "to-b", "noqueue", "pfifo"),
            Drift(DriftKind.ROUTE, "10.200.0.9", "", line),
            Drift(DriftKind.SYSCTL, "net.ipv4.conf.to-b.rp_filter", "0", "1"),
        )
    finally:
        senses.close()
        senses.close()


def test_senses_read_the_counters_of_the_nodes_namespace_and_the_daemons_state(routed: Routed):
    pair = routed(RoutingDaemon.BABELD)
    senses = LinuxSenses(pair.a)
    try:
        first = senses.host()
        assert first.daemon is DaemonState.RUNNING
        assert 0 <= first.cpu_pressure <= 1
        run("ip", "netns", "exec", str(pair.a.netns), "sysctl", "-qw", "net.ipv4.ip_forward=0")
        # To an address that is not a's: it arrives at a, which may not forward it.
        pair.ip(pair.b, "route", "add", "10.77.0.1", "via", "10.201.0.1")
        run("ip", "netns", "exec", str(pair.b.netns), "ping", "-c2", "-i0.2", "-W0.2", "10.77.0.1", check=False)
        assert senses.host().address_errors >= first.address_errors + 2
        os.kill(find(pair.a.daemon), signal.SIGSTOP)
        assert eventually(lambda: senses.host().daemon is DaemonState.STOPPED)
        os.kill(find(pair.a.daemon), signal.SIGKILL)
        assert eventually(lambda: senses.host().daemon is DaemonState.ABSENT)
    finally:
        senses.close()


class TestLinuxSenses(SensesContract):
    @pytest.fixture
    def senses(self, pair: Pair) -> Iterator[LinuxSenses]:
        senses = LinuxSenses(pair.a)
        yield senses
        senses.close()


# --- the process -----------------------------------------------------------------------------------------------------


@dataclass
class KernelWorld:
    pair: Pair
    changes: Changes
    clock: Clock
    count: int = 0

    def mtu(self) -> int:
        words = self.pair.ip(self.pair.a, "-o", "link", "show", "to-b").split()
        return int(words[words.index("mtu") + 1])

    def writes(self) -> int:
        self.count += self.changes.any()
        return self.count

    async def lapse(self, time: timedelta) -> None:
        await asyncio.sleep(time.total_seconds() + 0.7)


def launch(place: NodePlace, key: Path) -> subprocess.Popen[bytes]:
    place.save()
    words = ["-m", "infra.node.actuator", "--place", str(place.folder / "node.json"), "--key", str(key)]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)


async def until_ready(client: ActuatorClient) -> None:
    for _ in range(200):
        try:
            await client.reports()
        except Exception:  # noqa: BLE001 - not up yet; the last look below tells why
            await asyncio.sleep(0.05)
        else:
            return
    await client.reports()


def as_n0(pair: Pair) -> NodePlace:
    """The contract's orders are for n0."""
    return pair.a.model_copy(update={"node": "n0"})


class TestActuatorProcess(ActuatorContract):
    @pytest.fixture
    async def bench(self, pair: Pair) -> AsyncIterator[Bench]:
        place = as_n0(pair)
        private = create_key(place.folder)
        process = launch(place, place.folder / "control.pub")
        try:
            client = ActuatorClient(place.actuator_socket)
            await until_ready(client)
            with entered(place.netns):
                changes = Changes()
            world = KernelWorld(pair, changes, SystemClock())
            yield Bench(client, world, load_private_key(private), interface="to-b")
            changes.close()
        finally:
            process.terminate()
            assert process.wait(15) == 0

    async def test_terminated_process_leaves_no_lease(self, pair: Pair):
        place = as_n0(pair)
        bench, process = await self.leased(place, pair)
        process.terminate()
        assert process.wait(15) == 0
        assert bench.world.mtu() == HEALTHY
        assert not place.actuator_socket.exists()

    async def leased(self, place: NodePlace, pair: Pair) -> tuple[Bench, subprocess.Popen[bytes]]:
        private = create_key(place.folder)
        process = launch(place, place.folder / "control.pub")
        client = ActuatorClient(place.actuator_socket)
        await until_ready(client)
        world = KernelWorld(pair, None, SystemClock())
        bench = Bench(client, world, load_private_key(private), interface="to-b")
        assert await bench.state(bench.order()) is ActionState.APPLIED
        return bench, process

    async def test_killed_process_undoes_its_lease_when_it_comes_back(self, pair: Pair):
        place = as_n0(pair)
        bench, process = await self.leased(place, pair)
        process.kill()
        process.wait(15)
        await bench.world.lapse(timedelta(seconds=2))
        process = launch(place, place.folder / "control.pub")
        try:
            await until_ready(bench.actuator)
            assert bench.world.mtu() == HEALTHY
            assert [report.state for report in await bench.actuator.reports()] == [ActionState.UNDONE]
        finally:
            process.terminate()
            process.wait(15)

    async def test_second_actuator_of_a_node_does_not_start(self, pair: Pair):
        place = as_n0(pair)
        _, process = await self.leased(place, pair)
        try:
            second = launch(place, place.folder / "control.pub")
            assert second.wait(15) == 1
        finally:
            process.terminate()
            process.wait(15)


# --- probes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def probers(pair: Pair) -> AsyncIterator[tuple[EchoProber, EchoProber]]:
    a, b = (EchoProber(place, patience=lambda: 1.0) for place in (pair.a, pair.b))
    await b.start()
    yield a, b
    await a.close()
    await b.close()


async def a_while() -> None:
    # The slowest slot sends once a second and judges after 0.8 s.
    await asyncio.sleep(2.3)


class TestEchoProber(ProberContract):
    @pytest.fixture
    async def bench(self, pair: Pair, probers: tuple[EchoProber, EchoProber]) -> ProberBench:
        def cut() -> None:
            pair.ip(pair.b, "link", "set", "to-a", "down")

        return ProberBench(probers[0], a_while, cut)


async def test_transit_probes_stay_on_their_link_whatever_the_table_says(pair: Pair, probers):
    pair.ip(pair.a, "route", "replace", "blackhole", "10.200.0.2", "proto", "babel")
    await probers[0].start()
    await a_while()
    links, reach = probers[0].read()
    assert all(row.answered > 0 for row in links)
    assert all(row.answered == 0 < row.settled for row in reach)


async def test_large_probes_tell_a_narrow_interface_and_small_ones_pass(pair: Pair, probers):
    pair.ip(pair.a, "link", "set", "to-b", "mtu", "1300")
    await probers[0].start()
    await a_while()
    links, reach = probers[0].read()
    for row in (*links, *reach):
        assert (row.answered > 0) == (row.size is SizeClass.SMALL)
        assert row.settled > 0


async def test_one_way_loss_shows_in_what_each_side_heard(pair: Pair, probers):
    space = str(pair.a.netns)
    chain = ["add", "chain", "netdev", "x", "c", "{ type filter hook ingress device to-b priority 0; }"]
    for words in (
        ["add", "table", "netdev", "x"],
        chain,
        ["add", "rule", "netdev", "x", "c", "meta", "l4proto", "udp", "drop"],
    ):
        run("ip", "netns", "exec", space, "nft", *words)
    await probers[0].start()
    await a_while()
    for near, far in zip(probers[0].read()[0], probers[1].read()[0], strict=True):
        assert near.answered == far.answered == 0
        assert near.heard == 0 < far.heard


async def test_crashed_probers_rules_are_found_and_removed(pair: Pair):
    for _ in range(2):
        pair.ip(pair.a, "rule", "add", "fwmark", "6750", "lookup", "6750", "priority", "6750")
        pair.ip(pair.a, "route", "add", "default", "dev", "to-b", "table", "6750")
        pair.ip(pair.a, "rule", "add", "fwmark", "1", "lookup", "77", "priority", "500")
        prober = EchoProber(pair.a)
        await prober.start()
        rules = pair.ip(pair.a, "rule")
        assert "6750" not in rules
        assert "6700:" in rules
        await prober.close()
        rules = pair.ip(pair.a, "rule")
        assert "6700" not in rules
        # Somebody else's rule is none of our business.
        assert "lookup 77" in rules
        assert pair.ip(pair.a, "route", "show", "table", "all").count("table 67") == 0
        pair.ip(pair.a, "rule", "del", "priority", "500")


async def test_pinned_route_returns_after_its_interface_went_down_and_up(pair: Pair, probers):
    await probers[0].start()
    pair.ip(pair.a, "link", "set", "to-b", "down")
    pair.ip(pair.a, "link", "set", "to-b", "up")
    await a_while()
    before = probers[0].read()[0]
    await a_while()
    assert all(now.answered > old.answered for now, old in zip(probers[0].read()[0], before, strict=True))


async def test_second_prober_of_a_node_is_told_who_has_the_port(pair: Pair, probers):
    with pytest.raises(SourceUnavailable, match="another collector"):
        await EchoProber(pair.b).start()


async def test_stalled_event_loop_loses_no_answer_that_came_in_time(pair: Pair):
    """The answering side runs in a process of its own; ours stands still for longer than the time-out."""
    pair.b.save()
    script = (
        "import asyncio, sys; from pathlib import Path; from infra.node.place import NodePlace;"
        "from infra.node.probing import EchoProber\n"
        "async def main():\n"
        " prober = EchoProber(NodePlace.load(Path(sys.argv[1]))); await prober.start(); print('up', flush=True)\n"
        " await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    words = [sys.executable, "-c", script, str(pair.b.folder / "node.json")]
    with ExitStack() as stack:
        far = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE))  # noqa: ASYNC220 - a test may wait
        stack.callback(far.kill)
        assert far.stdout.readline() == b"up\n"
        prober = EchoProber(pair.a, patience=lambda: 1.0)
        await prober.start()
        await asyncio.sleep(1.5)
        for _ in range(2):
            time.sleep(1.2)  # noqa: ASYNC251 - standing still is the point
            await asyncio.sleep(0.3)
        links, reach = prober.read()
        await prober.close()
        assert all(row.answered == row.settled > 0 for row in (*links, *reach))
