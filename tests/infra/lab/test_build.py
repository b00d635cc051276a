import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from infra.lab import build, kernel, names, processes
from infra.lab.kernel import netlink
from infra.lab.routing import Timers, configuration
from infra.lab.topology import Shape, mesh
from infra.node.place import NodePlace
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.mesh import NodeId, RoutingDaemon
from tests.infra.lab.conftest import LAB

CRASH = """
import asyncio, os, signal, sys
from pathlib import Path
from infra.lab import build
from infra.lab.topology import Shape, mesh
asyncio.run(build.up(mesh(Shape.LINE, 3, name=sys.argv[1]), state=Path(sys.argv[2])))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.kernel
def test_a_lab_has_a_namespace_per_node_per_wire_and_one_for_management(lab):
    expected = {f"x0-{LAB}-{rest}" for rest in ("n0", "n1", "n2", "n3", "w0", "w1", "w2", "w3", "w4", "mgmt")}
    assert set(kernel.namespaces(names.prefix(LAB))) == expected


@pytest.mark.kernel
def test_a_node_reads_back_from_its_file_and_the_lab_from_its_own(lab):
    place = NodePlace.load(lab.folder / "n1" / "node.json")
    assert place == lab.places[NodeId("n1")]
    assert {one.node for one in place.reach} == {"n0", "n2", "n3"}
    assert place.daemon is not None
    assert processes.daemon_pid(place) is not None
    assert build.load(LAB, state=lab.state) == lab


@pytest.mark.kernel
def test_the_management_network_is_on_every_node_and_not_in_the_routing(lab):
    for node, place in lab.places.items():
        with netlink(lab.namespace(node)) as handle:
            addresses = {one.get_attr("IFA_ADDRESS") for one in handle.get_addr(label="mgmt0")}
            routes = [
                one for one in handle.get_routes(family=2) if (one.get_attr("RTA_DST") or "").startswith("10.44.")
            ]
        assert addresses == {place.management}
        assert all(one["proto"] == 2 for one in routes)  # the kernel's own


@pytest.mark.kernel
async def test_a_name_in_use_is_refused_and_the_lab_left_alone(lab):
    with pytest.raises(ConfigurationInvalid, match="exists already"):
        await build.up(mesh(Shape.LINE, 2, name=LAB), state=lab.state)
    assert processes.daemon_pid(lab.places[NodeId("n0")]) is not None


@pytest.mark.kernel
async def test_waiting_for_routing_ends_with_what_is_lacking(lab_state):
    made = await build.up(mesh(Shape.LINE, 2, name=f"{LAB}w"), state=lab_state)
    try:
        os.kill(processes.daemon_pid(made.places[NodeId("n0")]), signal.SIGSTOP)
        await asyncio.to_thread(kernel.remove_namespace, made.wire(made.mesh.links[0].id))
        with pytest.raises(SourceUnavailable, match=r"n\d reaches n\d by no route"):
            await made.settled(timeout_s=0.5)
    finally:
        await made.down()


@pytest.mark.kernel
async def test_cleaning_after_a_crash_leaves_nothing_and_touches_nothing_else(lab, lab_state):
    name = f"{LAB}c"
    crashed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", CRASH, name, str(lab_state)], check=False, capture_output=True
    )
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    left = build.load(name, state=lab_state)
    pids = [processes.daemon_pid(place) for place in left.places.values()]
    assert None not in pids
    # One of them deaf, as after a daemon_hung fault.
    os.kill(pids[0], signal.SIGSTOP)
    assert await build.clean(name, state=lab_state) == (name,)
    assert kernel.namespaces(names.prefix(name)) == ()
    assert all(processes.daemon_pid(place) is None for place in left.places.values())
    assert not left.folder.exists()
    assert processes.daemon_pid(lab.places[NodeId("n0")]) is not None
    assert await build.clean(name, state=lab_state) == (name,)


@pytest.mark.kernel
async def test_bird_with_ospf_and_bfd_settles_too(lab_state):
    built = mesh(Shape.RING_CHORD, 4, name=f"{LAB}b", daemon=RoutingDaemon.BIRD)
    made = await build.up(built, state=lab_state, timers=Timers(bfd=True))
    try:
        assert await made.settled(timeout_s=60) > 0
    finally:
        await made.down()


@pytest.mark.parametrize("name", ["", "a-b", "A", "1a", "abcdefghijklm", "a/../b"])
def test_a_name_from_which_namespaces_could_not_be_told_apart_is_refused(name):
    with pytest.raises(ConfigurationInvalid, match="letters and digits"):
        names.prefix(name)


def test_babeld_is_given_costs_and_timers_and_announces_only_the_loopback(tmp_path):
    place = a_place(tmp_path, RoutingDaemon.BABELD)
    text = configuration(place, Timers(hello_s=2, update_s=8))
    for end in place.links:
        assert f"interface {end.interface} type wired rxcost {end.cost} hello-interval 2 update-interval 8\n" in text
    assert f"redistribute local ip {place.address}/32 eq 32 allow\nredistribute local deny" in text
    assert place.daemon.command[1] == "-G"


def test_bird_is_given_bfd_only_when_asked(tmp_path):
    place = a_place(tmp_path, RoutingDaemon.BIRD)
    plain = configuration(place, Timers())
    assert "protocol bfd" not in plain
    assert "bfd yes" not in plain
    assert "interval 100 ms; multiplier 3" in configuration(place, Timers(bfd=True))
    assert "hello 1; dead 4; bfd yes" in configuration(place, Timers(bfd=True))


def test_the_file_of_a_place_has_both_ends_of_each_link(tmp_path):
    place = a_place(tmp_path, RoutingDaemon.BABELD)
    far = next(one for one in place.links if one.peer == "n1")
    assert (far.address, far.peer_address, far.peer_loopback) == ("10.43.0.0", "10.43.0.1", "10.42.0.2")
    assert json.loads(place.model_dump_json())["management"] == "10.44.0.1"


def a_place(folder, daemon):
    from infra.lab.routing import place  # noqa: PLC0415 - skipped with a reason where the daemon is missing

    return place(mesh(Shape.RING_CHORD, 4, daemon=daemon), NodeId("n0"), state=folder)
