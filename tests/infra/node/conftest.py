"""Two nodes in namespaces of their own, joined by one veth, with or without a routing daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.node.netns import entered
from infra.node.place import Daemon, LinkEnd, NodePlace, Reach
from infra.node.process import end, start
from models.mesh import RoutingDaemon

PREFIX = f"x0-node-{os.getpid()}-"


def run(*words: str, check: bool = True) -> str:
    return subprocess.run(words, check=check, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Pair:
    """Node a and node b; a's interface is to-b."""

    a: NodePlace
    b: NodePlace

    def ip(self, place: NodePlace, *words: str) -> str:
        assert place.netns
        return run("ip", "-n", place.netns, *words)

    def sysctl(self, place: NodePlace, name: str) -> str:
        assert place.netns
        return run("ip", "netns", "exec", place.netns, "sysctl", "-n", name).strip()


def _place(folder: Path, me: str, other: str, index: int, far: int) -> NodePlace:
    return NodePlace(
        mesh="pair",
        node=me,
        address=f"10.200.0.{index}",
        netns=PREFIX + me,
        folder=folder / me,
        links=(
            LinkEnd(
                interface=f"to-{other}",
                address=f"10.201.0.{index}",
                peer=other,
                peer_address=f"10.201.0.{far}",
                peer_loopback=f"10.200.0.{far}",
                cost=96,
            ),
        ),
        reach=(Reach(node=other, address=f"10.200.0.{far}"),),
    )


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Static routes between the loopbacks, no daemon."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2 for network namespaces")
    folder = Path(tempfile.mkdtemp(prefix="x0-node-"))
    a, b = _place(folder, "a", "b", 1, 2), _place(folder, "b", "a", 2, 1)
    try:
        for place in (a, b):
            place.folder.mkdir()
            run("ip", "netns", "add", str(place.netns))
        run("ip", "link", "add", "to-b", "netns", str(a.netns), "type", "veth", "peer", "to-a", "netns", str(b.netns))
        for place, link in ((a, a.links[0]), (b, b.links[0])):
            space = str(place.netns)
            settings = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]
            names = [*settings, "net.ipv6.conf.all.accept_dad=0", f"net.ipv6.conf.{link.interface}.accept_dad=0"]
            run("ip", "netns", "exec", space, "sysctl", "-qw", *names, f"net.ipv4.conf.{link.interface}.rp_filter=0")
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "-n", space, "addr", "add", f"{place.address}/32", "dev", "lo")
            run("ip", "-n", space, "addr", "add", f"{link.address}/24", "dev", link.interface)
            run("ip", "-n", space, "link", "set", link.interface, "up")
        for place, link in ((a, a.links[0]), (b, b.links[0])):
            # `proto babel`: the stand-in of what a daemon would make, so that it is no route of our own.
            words = ["route", "add", link.peer_loopback, "via", link.peer_address, "proto", "babel"]
            run("ip", "-n", str(place.netns), *words)
        yield Pair(a, b)
    finally:
        for place in (a, b):
            run("ip", "netns", "del", str(place.netns), check=False)
        shutil.rmtree(folder)


def _with_daemon(place: NodePlace, kind: RoutingDaemon) -> NodePlace:
    folder = place.folder
    pidfile, socket, config = folder / "daemon.pid", folder / "daemon.sock", folder / "daemon.conf"
    name = place.links[0].interface
    if kind is RoutingDaemon.BABELD:
        config.write_text(
            "skip-kernel-setup true\nsmoothing-half-life 0\n"
            f"interface {name} type wired rxcost 96 hello-interval 0.5 update-interval 2\n"
            f"redistribute local ip {place.address}/32 allow\nredistribute local deny\n"
        )
        state, log = str(folder / "state"), str(folder / "log")
        command = ("babeld", "-G", str(socket), "-I", str(pidfile), "-S", state, "-L", log, "-c", str(config))
    else:
        config.write_text(
            f"router id {place.address};\nprotocol device {{ }}\n"
            "protocol kernel { ipv4 { import none; export none; }; }\n"
            f'protocol ospf v2 mesh {{ ipv4 {{ import all; export none; }}; area 0 {{ interface "lo" {{ stub yes; }};\n'
            f'  interface "{name}" {{ type ptp; cost 96; hello 1; dead 4; }}; }}; }}\n'
        )
        command = ("bird", "-f", "-c", str(config), "-s", str(socket), "-P", str(pidfile))
    daemon = Daemon(kind=kind, command=command, pidfile=pidfile, socket=socket, config=config)
    return place.model_copy(update={"daemon": daemon})


@pytest.fixture
def routed(pair: Pair) -> Iterator[Callable[[RoutingDaemon], Pair]]:
    """Start a routing daemon on both nodes; the routes become its own."""
    begun: list[NodePlace] = []

    def begin(kind: RoutingDaemon) -> Pair:
        program = "babeld" if kind is RoutingDaemon.BABELD else "bird"
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
        for place in (pair.a, pair.b):
            with_daemon = _with_daemon(place, kind)
            begun.append(with_daemon)
            with entered(place.netns):
                start(with_daemon, with_daemon.daemon)
        return Pair(*begun)

    yield begin
    for place in begun:
        end(place.daemon)


def eventually(claim: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Wait for a claim to hold; the limit is only reached by a failing test."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(LookupError):
            if claim():
                return True
        time.sleep(0.1)
    return False
