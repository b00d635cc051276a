"""Harm in a link's wire: nft rules at the wire's ports, a rate limit, the carrier.

A rule sits at the ingress of the port that faces the sender, so it bites below the counters of both nodes: the sender
counts the packet as sent and the receiver never sees it, as on a real link.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from enum import StrEnum

from infra.lab.kernel import index_of, netlink
from infra.lab.topology import LOOPBACKS
from infra.node.netns import entered
from models.errors import ConfigurationInvalid, ToolMissing

LARGE = 1000  # bytes at layer 3; the telemetry's size class begins here too
FLOW_CLASSES = 4  # like a bundle of four members of which one is ill
FLOW_SEED = 7  # of the kernel's hash; fixed so that a flow's class can be told beforehand
MTU_LIMIT = 1200  # bytes at layer 3; larger ones vanish without an ICMP error
TBF_BURST = 4096  # bytes; two full frames, the least that lets a frame pass at once
TBF_LATENCY_US = 200_000  # longest stay in the queue before packets are dropped
ROOT = 0xFFFFFFFF  # TC_H_ROOT
TRANSIT = (f"ip saddr {LOOPBACKS}", f"ip daddr {LOOPBACKS}")


class GreyClass(StrEnum):
    """Which transit packets a grey link drops."""

    ALL = "all"
    LARGE = "large"
    FLOW = "flow"


def every_packet() -> tuple[str, ...]:
    """Return the match of everything."""
    return ("counter drop",)


def random_packets(percent: float) -> tuple[str, ...]:
    """Return the match of this share of all packets, hellos included."""
    # In tenths of a per mille: `numgen` compares whole numbers.
    return (f"numgen random mod 10000 < {round(percent * 100)} counter drop",)


def transit_packets(grey: GreyClass, flow_class: int = 0) -> tuple[str, ...]:
    """Return the matches of transit data: IPv4 from or to a loopback. Hellos and neighbour-addressed packets pass."""
    narrower = {
        GreyClass.ALL: "",
        GreyClass.LARGE: f"meta length > {LARGE} ",
        GreyClass.FLOW: "meta l4proto { tcp, udp } jhash ip saddr . ip daddr . th sport . th dport"
        f" mod {FLOW_CLASSES} seed {FLOW_SEED} {flow_class} ",
    }[grey]
    return tuple(f"{which} {narrower}counter drop" for which in TRANSIT)


def oversized_packets() -> tuple[str, ...]:
    """Return the match of what a path of too small an MTU swallows."""
    return (f"meta length > {MTU_LIMIT} counter drop",)


def ruleset(table: str, rules: Mapping[str, Sequence[str]]) -> str:
    """Return nft commands that install `rules` ({port: matches}) in a table of their own."""
    # One command a line: nft refuses a chain written on one line.
    lines = [f"add table netdev {table}"]
    for number, (port, matches) in enumerate(rules.items()):
        chain = f"netdev {table} from{number}"
        lines.append(f'add chain {chain} {{ type filter hook ingress device "{port}" priority 0; policy accept; }}')
        lines.extend(f"add rule {chain} {match}" for match in matches)
    return "\n".join(lines) + "\n"


def install(wire: str, table: str, rules: Mapping[str, Sequence[str]]) -> None:
    """Install rules in a wire; once only."""
    _nft(wire, ruleset(table, rules))


def uninstall(wire: str, table: str) -> None:
    """Remove rules from a wire; rules that are gone already are no error."""
    _nft(wire, f"add table netdev {table}\ndelete table netdev {table}\n")


def set_carrier(wire: str, ports: Sequence[str], state: str) -> None:
    """Set the wire's ports `up` or `down`; both nodes' carriers follow."""
    with netlink(wire) as handle:
        for port in ports:
            handle.link("set", index=index_of(handle, port), state=state)


def limit_rate(namespace: str, interfaces: Sequence[str], kbit: int) -> None:
    """Put a token bucket at the egress of these interfaces."""
    with netlink(namespace) as handle:
        for interface in interfaces:
            handle.tc(
                "add",
                "tbf",
                index=index_of(handle, interface),
                rate=f"{kbit}kbit",
                burst=TBF_BURST,
                latency=TBF_LATENCY_US,
            )


def unlimit_rate(namespace: str, interfaces: Sequence[str]) -> None:
    """Take the token bucket away again, where it still is one."""
    with netlink(namespace) as handle:
        for interface in interfaces:
            index = index_of(handle, interface)
            if any(one.get_attr("TCA_KIND") == "tbf" for one in handle.get_qdiscs(index=index)):
                handle.tc("del", index=index, parent=ROOT)


def _nft(namespace: str, text: str) -> None:
    try:
        with entered(namespace):
            done = subprocess.run(["nft", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ToolMissing("nft", "apt install nftables") from error
    if done.returncode != 0:
        raise ConfigurationInvalid(
            f"nft refused the rules for {namespace}: {done.stderr.strip()}", "see the rule above"
        )
