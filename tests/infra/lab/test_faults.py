import asyncio
import os
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from infra.lab import processes
from infra.lab.faults import PLACES, Harm, fault, looping_neighbour
from infra.lab.flowhash import flow_class
from infra.lab.paths import Tracer
from infra.lab.topology import next_hops
from infra.lab.wire import GreyClass
from infra.node.control import ask_in_turn
from infra.node.netns import entered
from models.errors import ConfigurationInvalid
from models.incident import FaultKind
from models.mesh import Element, LinkId, NodeId
from tests.infra.lab.packets import between_loopbacks, between_neighbours, counter, has_carrier

pytestmark = pytest.mark.kernel
UNHEARD = 65535  # the cost of a neighbour whose hellos do not come, or who does not hear ours
N0, N1, N2 = NodeId("n0"), NodeId("n1"), NodeId("n2")


@pytest.fixture
def link(lab):
    """The link by which n0 reaches n1 in a settled mesh, so that data between them must cross it."""
    assert next_hops(lab.mesh)[N0][N1] == N1
    assert comes_true(lambda: all(hears_all(place) for place in lab.places.values()), within_s=30)
    asyncio.run(lab.settled(timeout_s=60))
    acquaint(lab, N0, N1)
    return Element.of_link(LinkId("n0--n1"))


def hears_all(place):
    """Tell whether a node's babeld heard the last three hellos of each neighbour, and each hears it.

    Routes alone do not tell that a mesh got over the last test's fault: babeld takes them away seconds later, when it
    counts the hellos that were lost meanwhile.
    """
    dump = ask_in_turn(place.daemon, lambda answer: answer.endswith("ok\n"), "dump")[0]
    newest = {}
    for words in map(str.split, dump.splitlines()):
        if words[:2] == ["add", "neighbour"]:
            told = dict(zip(words[3::2], words[4::2], strict=False))
            newest.setdefault(told["if"], told)
    return newest.keys() == {end.interface for end in place.links} and all(
        int(told["reach"], 16) >> 13 == 0b111 and int(told["cost"]) < UNHEARD for told in newest.values()
    )


def acquaint(lab, one, other):
    """Have both ends know each other's hardware address: one asked for while a link was harmed is refused a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError):
            if between_neighbours(lab, one, other, count=5) == between_neighbours(lab, other, one, count=5) == 5:
                return
    message = f"{one} and {other} do not hear each other though nothing harms them"
    raise AssertionError(message)


@contextmanager
def harmed(lab, kind, element, **how):
    one = fault(lab, Harm(kind=kind, element=element, **how))
    one.inject()
    try:
        yield
    finally:
        one.heal()
        one.heal()


def test_a_blackhole_swallows_what_the_sender_counts_as_sent(lab, link):
    assert between_neighbours(lab, N0, N1) == 50
    sent, got = counter(lab, N0, "to-n1", "tx_packets"), counter(lab, N1, "to-n0", "rx_packets")
    with harmed(lab, FaultKind.BLACKHOLE, link):
        assert between_neighbours(lab, N0, N1) == 0
        assert between_neighbours(lab, N1, N0) == 0
        assert counter(lab, N0, "to-n1", "tx_packets") - sent >= 50
        assert counter(lab, N1, "to-n0", "rx_packets") - got < 50
    assert between_neighbours(lab, N0, N1) == 50


def test_one_way_loses_only_what_goes_toward_the_named_end(lab, link):
    with harmed(lab, FaultKind.ONE_WAY, link, toward=N1):
        assert between_neighbours(lab, N0, N1) == 0
        assert between_neighbours(lab, N1, N0) == 50


def test_loss_takes_about_its_share(lab, link):
    with harmed(lab, FaultKind.LOSS, link, percent=40):
        arrived = between_neighbours(lab, N0, N1, count=1000)
    assert 500 < arrived < 700  # six standard deviations around 600


def test_grey_kills_transit_data_and_lets_neighbours_talk(lab, link):
    with harmed(lab, FaultKind.GREY, link):
        assert between_loopbacks(lab, N0, N1) == 0
        assert between_neighbours(lab, N0, N1) == 50
    assert between_loopbacks(lab, N0, N1) == 50


def test_grey_for_large_packets_lets_small_ones_pass(lab, link):
    with harmed(lab, FaultKind.GREY, link, grey=GreyClass.LARGE):
        assert between_loopbacks(lab, N0, N1, size=1400) == 0
        assert between_loopbacks(lab, N0, N1, size=1000) == 50
        assert between_neighbours(lab, N0, N1, size=1400) == 50


def test_grey_for_one_flow_class_kills_exactly_the_flows_of_that_class(lab, link):
    with harmed(lab, FaultKind.GREY, link, grey=GreyClass.FLOW, flow_class=2):
        for port in range(21000, 21008):
            doomed = flow_class("10.42.0.1", "10.42.0.2", source_port=port, target_port=20001) == 2
            assert between_loopbacks(lab, N0, N1, count=5, source_port=port) == (0 if doomed else 5)


def test_mtu_swallows_large_packets_of_everyone(lab, link):
    with harmed(lab, FaultKind.MTU, link):
        assert between_neighbours(lab, N0, N1, size=1201) == 0
        assert between_neighbours(lab, N0, N1, size=1200) == 50


def test_a_rate_clamp_lets_little_of_a_burst_through(lab, link):
    with harmed(lab, FaultKind.RATE_CLAMP, link, kbit=64):
        # 200 packets of 400 bytes are ten seconds' worth at 64 kbit/s; bucket and queue hold six thousand bytes.
        assert between_neighbours(lab, N0, N1, count=200, size=400) < 60


def test_link_down_takes_the_carrier_from_both_ends(lab, link):
    with harmed(lab, FaultKind.LINK_DOWN, link):
        assert not has_carrier(lab, N0, "to-n1")
        assert not has_carrier(lab, N1, "to-n0")
    assert has_carrier(lab, N0, "to-n1")


def test_a_flapping_carrier_goes_and_comes_and_is_up_once_healed(lab, link):
    seen = set()
    with harmed(lab, FaultKind.CARRIER_FLAP, link, period_s=0.5):
        deadline = time.monotonic() + 20
        while seen != {True, False} and time.monotonic() < deadline:
            seen.add(has_carrier(lab, N0, "to-n1"))
    assert seen == {True, False}
    assert has_carrier(lab, N0, "to-n1")


def test_a_dead_node_is_cut_off_on_every_link(lab):
    with harmed(lab, FaultKind.NODE_DEAD, Element.of_node(N1)):
        for end in lab.places[N1].links:
            assert between_neighbours(lab, NodeId(end.peer), N1) == 0


def comes_true(claim, *, within_s=10):
    deadline = time.monotonic() + within_s
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.02)
    return claim()


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_hung_daemon_is_stopped_and_wakes(lab):
    pid = processes.daemon_pid(lab.places[N2])
    with harmed(lab, FaultKind.DAEMON_HUNG, Element.of_node(N2)):
        assert comes_true(lambda: state_of(pid) == "T")
    assert comes_true(lambda: state_of(pid) != "T")
    assert processes.daemon_pid(lab.places[N2]) == pid


def test_a_killed_daemon_is_gone_and_healing_starts_another(lab):
    before = processes.daemon_pid(lab.places[N2])
    with harmed(lab, FaultKind.DAEMON_KILLED, Element.of_node(N2)):
        assert comes_true(lambda: processes.daemon_pid(lab.places[N2]) is None)
    assert processes.daemon_pid(lab.places[N2]) not in {None, before}


def test_a_stray_blackhole_route_ends_the_path_where_it_stands(lab, link):
    tracer = Tracer(lab)
    with harmed(lab, FaultKind.ROUTE_DRIFT, Element.of_node(N0), target=N1):
        assert tracer.trace(N0, N1).there == (N0,)
        assert tracer.trace(N0, N1).back == (N1, N0)
    assert tracer.trace(N0, N1).there == (N0, N1)
    tracer.close()


def test_a_stray_route_to_a_neighbour_that_comes_back_makes_a_loop(lab, link):
    nodes = [node.id for node in lab.mesh.nodes]
    found = [(at, to, looping_neighbour(lab, at, to)) for at in nodes for to in nodes if at != to]
    node, target, via = next(one for one in found if one[2] is not None)
    tracer = Tracer(lab)
    with harmed(lab, FaultKind.ROUTE_DRIFT, Element.of_node(node), target=target, via=via):
        assert tracer.trace(node, target).there == (node, via, node)
    tracer.close()


def test_sysctl_drift_switches_forwarding_off(lab):
    def forwarding():
        with entered(lab.namespace(N1)):
            return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()

    with harmed(lab, FaultKind.SYSCTL_DRIFT, Element.of_node(N1)):
        assert forwarding() == "0"
    assert forwarding() == "1"


def test_qdisc_drift_leaves_a_token_bucket_on_the_interface_that_sends_to_the_named_end(lab):
    def qdiscs():
        command = ["tc", "qdisc", "show", "dev", "to-n0"]
        with entered(lab.namespace(N1)):
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with harmed(lab, FaultKind.QDISC_DRIFT, Element.of_link(LinkId("n0--n1")), toward=N0):
        assert "tbf" in qdiscs()
    assert "tbf" not in qdiscs()


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        (FaultKind.UNKNOWN, Element.of_node(N0)),
        (FaultKind.GREY, Element.of_node(N0)),
        (FaultKind.GREY, Element.of_link(LinkId("n0--n9"))),
    ],
)
def test_a_fault_that_cannot_be_made_here_is_refused_with_the_choices(lab, kind, element):
    with pytest.raises(ConfigurationInvalid, match=r"choose|name another"):
        fault(lab, Harm(kind=kind, element=element))


def test_every_fault_but_unknown_can_be_made():
    assert set(PLACES) == set(FaultKind) - {FaultKind.UNKNOWN}


def test_a_daemon_pid_of_another_program_is_nobodys(lab, tmp_path):
    place = lab.places[N0]
    pidfile = tmp_path / "pid"
    pidfile.write_text(str(os.getpid()))
    daemon = place.daemon.model_copy(update={"pidfile": pidfile})
    assert processes.daemon_pid(place.model_copy(update={"daemon": daemon})) is None
