"""The pure parts: signatures, routes as text, daemons' words, probes on the wire, counting, drift."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra.node.babeld import cost_in_dump, interface_line
from infra.node.bird import cost_in_answer, with_cost
from infra.node.drift import drifts
from infra.node.probe_packet import (
    WIRE_LENGTH,
    PacketKind,
    Probe,
    as_answer,
    decode,
    encode,
    node_tag,
    size_of,
)
from infra.node.routes import describe, grouped, parse
from infra.node.senses import forwarding_counters, pressure_total_us
from infra.node.signing import Ed25519Signer, create_key, load_private_key, load_public_key, verify
from infra.node.signing import encode as canonical
from infra.node.tally import Tally
from models.errors import ConfigurationInvalid, OrderRefused
from models.mesh import Element, NodeId
from models.remedy import Action, Closing, ClosingOrder, OperationId, Order, PlanHash, Verb
from models.telemetry import Drift, DriftKind, NodeBaseline, SizeClass

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()
NAMES = st.text(max_size=40)


@given(
    operation=NAMES,
    arguments=st.dictionaries(NAMES, st.one_of(NAMES, st.integers(-(2**31), 2**31)), max_size=4),
    epoch=st.integers(0, 2**40),
    seconds=st.integers(1, 600),
)
def test_verified_order_is_the_order_that_was_signed(operation, arguments, epoch, seconds):
    action = Action(NodeId("n0"), Verb.SET_MTU, arguments, Element.of_node(NodeId("n0")))
    order = Order(OperationId(operation), PlanHash("p"), action, epoch, NOW, timedelta(seconds=seconds))
    assert verify(Ed25519Signer(KEY).sign(order), KEY.public_key()) == order
    shuffled = replace(order, action=replace(action, arguments=dict(reversed(arguments.items()))))
    assert canonical(order) == canonical(shuffled)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_signed_order_is_refused(at: int, bit: int):
    closing = ClosingOrder(OperationId("o"), NodeId("n0"), Closing.COMMIT, 1, NOW)
    signed = Ed25519Signer(KEY).sign(closing)
    both = bytearray(signed.payload + signed.signature)
    both[at % len(both)] ^= 1 << bit
    length = len(signed.payload)
    with pytest.raises(OrderRefused):
        verify(replace(signed, payload=bytes(both[:length]), signature=bytes(both[length:])), KEY.public_key())


def test_control_key_is_the_owners_alone_and_never_replaced(tmp_path: Path):
    path = create_key(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    first = path.read_bytes()
    assert create_key(tmp_path).read_bytes() == first
    assert load_private_key(path).public_key() == load_public_key(tmp_path / "control.pub")


def test_missing_key_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigurationInvalid, match="state folder"):
        load_public_key(tmp_path / "control.pub")


@pytest.mark.parametrize(
    "line",
    [
        "default via 10.0.0.1 dev eth0",
        "10.0.0.0/8 dev to-b scope link src 10.0.0.1 metric 5",
        "blackhole 10.42.0.3 proto static metric 7",
        "10.42.0.3 via 10.43.0.1 dev to-b proto static",
    ],
)
def test_route_line_survives_being_read_and_written(line: str):
    assert describe(parse(line)) == line


@pytest.mark.parametrize(
    "line", ["", "10.0.0.0/8 via", "10.0.0.0/8 nexthop via 1.2.3.4", "x dev y", "10.0.0.0/8 via no"]
)
def test_route_line_that_cannot_be_put_back_exactly_is_refused(line: str):
    with pytest.raises(OrderRefused):
        parse(line)


def test_routes_of_one_prefix_are_one_value():
    lines = ["blackhole 10.0.0.1 metric 9", "10.0.0.1 dev a", "10.0.0.2 dev a"]
    assert grouped(lines) == {"10.0.0.1": "10.0.0.1 dev a; blackhole 10.0.0.1 metric 9", "10.0.0.2": "10.0.0.2 dev a"}


DUMP = """add interface to-b up true ipv6 fe80::1 ipv4 10.0.0.1
add neighbour 2 address fe80::2 if to-b reach c000 ureach 0000 rxcost {newest} txcost 96 cost 96
add neighbour 1 address fe80::2 if to-b reach e000 ureach 0000 rxcost 5000 txcost 96 cost 96
ok
"""


@pytest.mark.parametrize(("newest", "cost"), [(96, 96), (65535, None)])
def test_babelds_newest_neighbour_tells_the_cost_and_a_lingering_one_does_not(newest: int, cost: int | None):
    assert cost_in_dump(DUMP.format(newest=newest), "to-b") == cost
    assert cost_in_dump(DUMP.format(newest=newest), "to-c") is None


def test_babelds_interface_keeps_its_other_options():
    config = "interface to-b type wired rxcost 96 hello-interval 1 # near\ninterface to-c rxcost 7"
    assert interface_line(config, "to-b", 500) == "interface to-b type wired rxcost 500 hello-interval 1"
    assert interface_line(config, "to-d", 500) == "interface to-d type wired rxcost 500"


def test_birds_cost_is_edited_in_the_block_of_its_protocol_only():
    config = (
        'protocol bfd { interface "to-b" { interval 100 ms; }; }\n'
        'protocol ospf v2 m { area 0 { interface "to-b" { type ptp; cost 96; hello 1; };\n'
        'interface "to-c" { cost 96; }; }; }\n'
    )
    assert with_cost(config, "to-b", 500) == config.replace("cost 96", "cost 500", 1)
    assert "rxcost 500;" in with_cost('protocol babel x { interface "to-b" { type wired; }; }', "to-b", 500)
    with pytest.raises(ConfigurationInvalid, match="to-d"):
        with_cost(config, "to-d", 500)


def test_birds_answers_tell_the_cost_in_force():
    ospf = (
        "1015-mesh:\nInterface to-a (10.0.0.0/31)\n\tType: ptp\n\tCost: 7\nInterface to-b (10.1.0.0/31)\n\tCost: 500\n"
    )
    babel = " to-b       Up      No          400      1  1.5 :: 10.0.0.1\n"
    assert cost_in_answer(ospf, "", "to-b") == 500
    assert cost_in_answer("", babel, "to-b") == 400
    assert cost_in_answer("", "", "to-b") is None


@given(
    kind=st.sampled_from(PacketKind),
    slot=st.integers(0, 65535),
    run=st.integers(0, 2**64 - 1),
    sequence=st.integers(0, 2**32 - 1),
    node=st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20),
    size=st.sampled_from([SizeClass.SMALL, SizeClass.LARGE]),
)
def test_probe_survives_the_wire_at_its_length(*, kind, slot, run, sequence, node, size):
    content = encode(Probe(kind, slot, run, sequence, node), "lab", size)
    assert len(content) + 28 == WIRE_LENGTH[size]
    assert decode(content, "lab") == Probe(kind, slot, run, sequence, node_tag(node))
    assert size_of(content) is size
    assert decode(content, "other mesh") is None


def test_answer_is_as_long_as_its_request_and_names_it():
    request = Probe(PacketKind.TRANSIT, 3, 5, 7, "n0")
    content = encode(request, "lab", SizeClass.LARGE)
    answer = as_answer(content, request.kind)
    assert len(answer) == len(content)
    assert decode(answer, "lab") == replace(request, kind=PacketKind.TRANSIT_ANSWER)


@given(content=st.binary(max_size=100))
def test_foreign_packet_is_nothing_to_us(content: bytes):
    assert decode(content, "lab") is None


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["send", "answer", "refuse", "forget", "judge"]), st.integers(0, 30), st.integers(0, 50)
        ),
        max_size=200,
    )
)
def test_tally_never_contradicts_itself_whatever_comes(steps):
    tally, now = Tally(), 0
    for step, number, time in steps:
        now += time
        if step == "send":
            tally.send(now)
        elif step == "answer":
            tally.answer(number, now, timeout_ns=100)
        elif step == "refuse":
            tally.refuse(number)
        elif step == "forget":
            tally.forget(tally.send(now))
        else:
            tally.judge(now, timeout_ns=100)
        assert 0 <= tally.answered <= tally.settled <= tally.sent
    tally.judge(now + 101, timeout_ns=100)
    assert tally.settled == tally.sent


def test_answer_counts_once_and_only_in_time():
    tally = Tally()
    first, second = tally.send(0), tally.send(10)
    tally.answer(first, 90, timeout_ns=100)
    tally.answer(first, 91, timeout_ns=100)
    tally.answer(second, 200, timeout_ns=100)
    assert (tally.sent, tally.settled, tally.answered) == (2, 2, 1)
    assert tally.take_rtt_ms() == pytest.approx(90e-6)
    assert tally.take_rtt_ms() is None


def baseline(**changes: object) -> NodeBaseline:
    plain = NodeBaseline(NodeId("n0"), 1, NOW, {"a": 1500}, {"a": "noqueue"}, {"x": "1"}, frozenset({"10.0.0.1 dev a"}))
    return replace(plain, **changes)


def test_configuration_as_recorded_has_no_drift():
    assert drifts(baseline(), baseline(version=0)) == ()


def test_every_kind_of_drift_is_named_with_what_was_and_what_is():
    now = baseline(mtu={"a": 1280}, qdisc={"a": "tbf"}, sysctl={"x": "0"}, routes=frozenset({"10.0.0.2 dev a"}))
    assert drifts(baseline(), now) == (
        Drift(DriftKind.MTU, "a", "1500", "1280"),
        Drift(DriftKind.QDISC, "a", "noqueue", "tbf"),
        Drift(DriftKind.ROUTE, "10.0.0.1", "10.0.0.1 dev a", ""),
        Drift(DriftKind.ROUTE, "10.0.0.2", "", "10.0.0.2 dev a"),
        Drift(DriftKind.SYSCTL, "x", "1", "0"),
    )


def test_interface_that_vanished_is_no_drift():
    assert drifts(baseline(), baseline(mtu={}, qdisc={}, sysctl={})) == ()


def test_proc_files_are_read_by_name_not_by_column():
    assert pressure_total_us("some avg10=0.00 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 total=7\n") == 42
    snmp = "Ip: Forwarding InAddrErrors ForwDatagrams\nIp: 1 3 5\nIcmp: InMsgs\nIcmp: 9\n"
    assert forwarding_counters(snmp) == {"Forwarding": 1, "InAddrErrors": 3, "ForwDatagrams": 5}
