"""The gate on a real kernel: a client, a gateway node and a host behind it, each in a namespace; real packets."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from infra.clock import SystemClock
from infra.node.actuator import ActuatorClient
from infra.node.gate import Gate, GateKeeper
from infra.node.netns import entered
from infra.node.place import GatePlace, NodePlace
from infra.node.signing import Ed25519Signer, create_key, load_private_key
from infra.node.verbs.access import Admit, Expel
from models.errors import OrderRefused
from models.gate import admission, expulsion
from models.mesh import NodeId
from models.remedy import Action, ActionReport, ActionState, Closing, ClosingOrder, OperationId, Order, PlanHash
from tests.infra.node.conftest import eventually, run

pytestmark = pytest.mark.kernel

PREFIX = f"x0-gate-{os.getpid()}-"
CLIENT, GATEWAY, INNER = PREFIX + "client", PREFIX + "gw", PREFIX + "inner"
NODE = NodeId("g")
WHERE = {"10.211.0.2": "10.212.0.2", "fd11::2": "fd12::2"}
V4, V6 = WHERE
NEIGHBOUR = "10.211.0.3"
HOUR = timedelta(hours=1)


def gets_through(source: str, target: str) -> bool:
    """Whether an echo of this client address comes back; asked once, so that a late packet of before does not count."""
    words = ["ip", "netns", "exec", CLIENT, "ping", "-n", "-q", "-c", "1", "-W", "1", "-I", source, target]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.fixture
def spaces() -> Iterator[NodePlace]:
    """Two addresses of a client, a gateway that forwards, a host behind it; no gate yet."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nft") is None:
        pytest.skip("needs root, iproute2 and nftables for network namespaces")
    folder = Path(tempfile.mkdtemp(prefix="x0-gate-"))
    try:
        for one in (CLIENT, GATEWAY, INNER):
            run("ip", "netns", "add", one)
            run("ip", "netns", "exec", one, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        quiet = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        run("ip", "netns", "exec", GATEWAY, "sysctl", "-qw", *quiet)
        _join(CLIENT, "up0", GATEWAY, "clients0", "11")
        _join(INNER, "up0", GATEWAY, "inner0", "12")
        run("ip", "-n", CLIENT, "addr", "add", f"{NEIGHBOUR}/24", "dev", "up0")
        yield NodePlace(
            mesh="gate",
            node=NODE,
            address="10.211.0.1",
            netns=GATEWAY,
            folder=folder,
            gate=GatePlace(interfaces=("clients0",)),
        )
    finally:
        for one in (CLIENT, GATEWAY, INNER):
            run("ip", "netns", "del", one, check=False)
        shutil.rmtree(folder)


def _join(host: str, host_end: str, gateway: str, gateway_end: str, net: str) -> None:
    run("ip", "link", "add", host_end, "netns", host, "type", "veth", "peer", gateway_end, "netns", gateway)
    for space, end, last in ((gateway, gateway_end, 1), (host, host_end, 2)):
        run("ip", "-n", space, "addr", "add", f"10.2{net}.0.{last}/24", "dev", end)
        run("ip", "-n", space, "addr", "add", f"fd{net}::{last}/64", "dev", end, "nodad")
        run("ip", "-n", space, "link", "set", end, "up")
    run("ip", "-n", host, "route", "add", "default", "via", f"10.2{net}.0.1")
    run("ip", "-n", host, "-6", "route", "add", "default", "via", f"fd{net}::1")


@pytest.fixture
def gate(spaces: NodePlace) -> Iterator[Gate]:
    """The gate, shut; the thread is in the gateway's namespace."""
    for source, target in WHERE.items():
        assert eventually(lambda source=source, target=target: gets_through(source, target)), "no path without a gate"
    with entered(GATEWAY):
        made = Gate(("clients0",))
        made.close_up()
        yield made


@pytest.mark.parametrize("address", WHERE)
def test_nobody_gets_through_a_shut_gate_neither_to_the_mesh_nor_to_the_node_itself(gate: Gate, address: str):
    own = {V4: "10.211.0.1", V6: "fd11::1"}[address]
    assert not gets_through(address, WHERE[address])
    assert not gets_through(address, own)
    gate.admit(address, HOUR)
    assert gets_through(address, WHERE[address])
    assert gets_through(address, own)
    gate.expel(address)
    assert not gets_through(address, WHERE[address])


def test_an_admitted_address_opens_the_gate_for_no_other(gate: Gate):
    gate.admit(V4, HOUR)
    assert gets_through(V4, WHERE[V4])
    assert not gets_through(NEIGHBOUR, WHERE[V4])


def test_what_comes_for_a_client_that_was_not_admitted_stays_outside(gate: Gate):
    before = _echo_requests_seen()
    assert subprocess.run(
        ["ip", "netns", "exec", INNER, "ping", "-c", "1", "-W", "1", V4], check=False, capture_output=True
    ).returncode
    assert _echo_requests_seen() == before


def _echo_requests_seen() -> int:
    names, numbers = run("ip", "netns", "exec", CLIENT, "grep", "^Icmp:", "/proc/net/snmp").splitlines()
    return int(numbers.split()[names.split().index("InEchos")])


@pytest.mark.parametrize("address", WHERE)
def test_the_kernel_forgets_an_address_at_its_hour_without_anybody(gate: Gate, address: str):
    gate.admit(address, timedelta(seconds=2))
    assert gets_through(address, WHERE[address])
    assert eventually(lambda: not gets_through(address, WHERE[address]))
    assert gate.admitted() == {}


def test_admitting_again_sets_the_time_anew_shorter_or_longer(gate: Gate):
    for remaining in (HOUR, 2 * HOUR, timedelta(minutes=1)):
        gate.admit(V4, remaining)
        assert remaining - timedelta(seconds=5) <= gate.admitted()[V4] <= remaining


def test_closing_up_again_keeps_who_was_admitted(gate: Gate):
    gate.admit(V4, HOUR)
    gate.close_up()
    assert list(gate.admitted()) == [V4]
    assert gets_through(V4, WHERE[V4])


def test_expelling_a_stranger_is_no_error(gate: Gate):
    gate.expel(V6)
    assert gate.admitted() == {}


def test_a_flushed_ruleset_is_put_back_with_whom_the_orders_let_in(gate: Gate):
    now = SystemClock().now()
    standing = {V4: now + HOUR, V6: now - HOUR}
    run("ip", "netns", "exec", GATEWAY, "nft", "flush", "ruleset")
    assert gate.admitted() is None
    GateKeeper(gate, lambda: standing, SystemClock()).look()
    assert list(gate.admitted()) == [V4]
    assert not gets_through(NEIGHBOUR, WHERE[V4])


def test_a_verb_reads_back_the_kernel_and_its_undo_puts_back_what_was(gate: Gate):
    clock = SystemClock()
    now = clock.now()
    admit, expel = Admit(gate, clock), Expel(gate, clock)
    longer, shorter = admission(NODE, V4, now + 2 * HOUR), admission(NODE, V4, now + HOUR)
    assert admit.capture(longer) == "absent"
    admit.apply(longer)
    assert admit.read_back(longer).matches
    assert not admit.read_back(shorter).matches
    before = admit.capture(shorter)
    admit.apply(shorter)
    assert admit.undo(shorter, before).matches
    assert gate.admitted()[V4] > HOUR * 1.5
    todo = expulsion(NODE, V4)
    before = expel.capture(todo)
    expel.apply(todo)
    assert expel.read_back(todo).matches
    assert expel.undo(todo, before).matches
    assert list(gate.admitted()) == [V4]
    assert admit.undo(longer, "absent").matches
    assert gate.admitted() == {}


@pytest.mark.parametrize("address", ["10.211.0.0/24", "010.211.0.2", "fd11:0::2", "any", "10.0.0.1 } ; flush ruleset"])
def test_what_is_no_single_canonical_address_is_refused(gate: Gate, address: str):
    todo = Action(NODE, admission(NODE, V4, SystemClock().now()).verb, {"address": address, "until": 1}, _element())
    with pytest.raises(OrderRefused):
        Admit(gate, SystemClock()).check(todo)


def _element():
    return expulsion(NODE, V4).element


def test_an_hour_that_is_over_is_refused(gate: Gate):
    with pytest.raises(OrderRefused, match="over"):
        Admit(gate, SystemClock()).check(admission(NODE, V4, SystemClock().now() - HOUR))


# --- through the actuator --------------------------------------------------------------------------------------------


@dataclass
class Control:
    """The control side of one actuator: signs and sends."""

    client: ActuatorClient
    signer: Ed25519Signer
    sent: list[Order] = field(default_factory=list)

    async def send(self, action: Action, *, lease: timedelta = timedelta(0)) -> ActionReport:
        now = SystemClock().now()
        name = OperationId(f"duty-{uuid4().hex}")
        order = Order(name, PlanHash("d"), action, 1, now + timedelta(seconds=10), lease)
        self.sent.append(order)
        return await self.client.execute(self.signer.sign(order))

    async def take_back(self, order: Order) -> ActionReport:
        closing = ClosingOrder(order.operation, NODE, Closing.UNDO, 1, order.expires_at)
        return await self.client.execute(self.signer.sign(closing))


@asynccontextmanager
async def actuator(place: NodePlace) -> AsyncIterator[Control]:
    place.save()
    key = create_key(place.folder)
    words = ["-m", "infra.node.actuator", "--place", str(place.folder / "node.json"), "--key"]
    words.append(str(key.with_suffix(".pub")))
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=subprocess.DEVNULL)
    try:
        assert await asyncio.to_thread(eventually, place.actuator_socket.exists, 30)
        yield Control(ActuatorClient(place.actuator_socket), Ed25519Signer(load_private_key(key)))
    finally:
        process.terminate()
        await process.wait()


async def test_an_actuator_shuts_the_gate_opens_it_by_order_and_leaves_it_as_ordered_when_it_goes(spaces: NodePlace):
    now = SystemClock().now()
    async with actuator(spaces) as control:
        assert not gets_through(V4, WHERE[V4])
        report = await control.send(admission(NODE, V4, now + HOUR))
        assert report.state is ActionState.COMMITTED, report.message
        assert gets_through(V4, WHERE[V4])
        # A duty ends with its answer: nothing of it is told again, and nobody has to commit it.
        assert await control.client.reports() == ()
    assert gets_through(V4, WHERE[V4])
    assert not gets_through(NEIGHBOUR, WHERE[V4])
    run("ip", "netns", "exec", GATEWAY, "nft", "flush", "ruleset")
    async with actuator(spaces) as control:
        assert gets_through(V4, WHERE[V4]), "a new actuator did not put back whom its journal lets in"
        assert not gets_through(NEIGHBOUR, WHERE[V4])
        report = await control.send(expulsion(NODE, V4))
        assert report.state is ActionState.COMMITTED, report.message
        assert not gets_through(V4, WHERE[V4])
        assert (await control.take_back(control.sent[-1])).state is ActionState.UNDONE
        assert gets_through(V4, WHERE[V4])


async def test_a_duty_takes_no_lease_and_a_node_without_a_gate_has_no_such_verb(spaces: NodePlace):
    now = SystemClock().now()
    async with actuator(spaces) as control:
        report = await control.send(admission(NODE, V4, now + HOUR), lease=timedelta(seconds=20))
        assert (report.state, "takes no lease" in report.message) == (ActionState.REFUSED, True)
    async with actuator(spaces.model_copy(update={"gate": None, "folder": spaces.folder / "other"})) as control:
        report = await control.send(admission(NODE, V4, now + HOUR))
        assert (report.state, report.message) == (ActionState.REFUSED, "g cannot admit")
