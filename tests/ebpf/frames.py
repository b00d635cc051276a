"""Frames to send, and an independent reading of the rules by which tc_classifier should sort them."""

import struct

MAC = bytes.fromhex("02000000000b") + bytes.fromhex("02000000000a")
VLAN, SERVICE_VLAN, IPV4, IPV6, ARP = 0x8100, 0x88A8, 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMPV6, OSPF = 6, 17, 1, 58, 89


def ethernet(kind, payload, *, tags=()):
    header = b"".join(struct.pack("!HH", tag, 7) for tag in tags)
    return MAC + header + struct.pack("!H", kind) + payload


def ipv4(protocol, payload, *, offset=0, more=False, words=5):
    flags = (0x2000 if more else 0) | offset // 8
    header = struct.pack(
        "!BBHHHBBHII", 0x40 | words, 0, words * 4 + len(payload), 1, flags, 64, protocol, 0, 0x0A090001, 0x0A090002
    )
    return header + bytes(words * 4 - 20) + payload


def ipv6(following, payload):
    return struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + bytes(32) + payload


def fragment6(protocol, payload, *, offset):
    return struct.pack("!BBHI", protocol, 0, offset, 1) + payload


def hop_by_hop(following, payload):
    return bytes([following, 0, 5, 2, 0, 0, 1, 0]) + payload


def udp(source, destination, size):
    return struct.pack("!HHHH", source, destination, 8 + size, 0) + bytes(size)


def tcp(size):
    return struct.pack("!HHIIBBHHH", 4000, 80, 0, 0, 5 << 4, 0x10, 100, 0, 0) + bytes(size)


# name -> frame, (traffic, size, protocol)
CASES = {
    "tcp small": (ethernet(IPV4, ipv4(TCP, tcp(10))), ("data", "small", "tcp")),
    "tcp medium": (ethernet(IPV4, ipv4(TCP, tcp(500))), ("data", "medium", "tcp")),
    "tcp large": (ethernet(IPV4, ipv4(TCP, tcp(1400))), ("data", "large", "tcp")),
    "udp of 256 bytes": (ethernet(IPV4, ipv4(UDP, udp(9, 9, 228))), ("data", "small", "udp")),
    "udp of 257 bytes": (ethernet(IPV4, ipv4(UDP, udp(9, 9, 229))), ("data", "medium", "udp")),
    "udp of 1000 bytes": (ethernet(IPV4, ipv4(UDP, udp(9, 9, 972))), ("data", "medium", "udp")),
    "udp of 1001 bytes": (ethernet(IPV4, ipv4(UDP, udp(9, 9, 973))), ("data", "large", "udp")),
    "babel": (ethernet(IPV6, ipv6(UDP, udp(6696, 6696, 60))), ("routing", "small", "udp")),
    "babel over ipv4": (ethernet(IPV4, ipv4(UDP, udp(40000, 6696, 300))), ("routing", "medium", "udp")),
    "bfd control": (ethernet(IPV4, ipv4(UDP, udp(50000, 3784, 24))), ("routing", "small", "udp")),
    "bfd echo": (ethernet(IPV4, ipv4(UDP, udp(3785, 3785, 24))), ("routing", "small", "udp")),
    "ospf": (ethernet(IPV4, ipv4(OSPF, bytes(44))), ("routing", "small", "other")),
    "ospf over ipv6": (ethernet(IPV6, ipv6(OSPF, bytes(36))), ("routing", "small", "other")),
    "probe": (ethernet(IPV4, ipv4(UDP, udp(40000, 6700, 40))), ("probe", "small", "udp")),
    "probe's answer": (ethernet(IPV4, ipv4(UDP, udp(6700, 40000, 1372))), ("probe", "large", "udp")),
    "ping": (ethernet(IPV4, ipv4(ICMP, bytes([8, 0]) + bytes(62))), ("data", "small", "icmp")),
    "ping over ipv6": (ethernet(IPV6, ipv6(ICMPV6, bytes([128, 0]) + bytes(62))), ("data", "small", "icmpv6")),
    "neighbour solicitation": (
        ethernet(IPV6, ipv6(ICMPV6, bytes([135, 0]) + bytes(22))),
        ("routing", "small", "icmpv6"),
    ),
    "mld report behind options": (
        ethernet(IPV6, ipv6(0, hop_by_hop(ICMPV6, bytes([143, 0]) + bytes(26)))),
        ("routing", "small", "icmpv6"),
    ),
    "icmp's number in ipv6": (ethernet(IPV6, ipv6(ICMP, bytes(64))), ("data", "small", "other")),
    "arp": (ethernet(ARP, bytes(28)), ("routing", "small", "other")),
    "unknown frame": (ethernet(0x88B5, bytes(700)), ("data", "medium", "other")),
    "sctp": (ethernet(IPV4, ipv4(132, bytes(100))), ("data", "small", "other")),
    "tagged udp": (ethernet(IPV4, ipv4(UDP, udp(9, 9, 228)), tags=[VLAN]), ("data", "small", "udp")),
    "twice tagged babel": (
        ethernet(IPV6, ipv6(UDP, udp(6696, 6696, 60)), tags=[SERVICE_VLAN, VLAN]),
        ("routing", "small", "udp"),
    ),
    "three tags": (ethernet(IPV4, ipv4(UDP, udp(9, 9, 9)), tags=[VLAN] * 3), ("data", "small", "other")),
    "udp behind ip options": (ethernet(IPV4, ipv4(UDP, udp(6700, 9, 9), words=15)), ("probe", "small", "udp")),
    "first fragment": (ethernet(IPV4, ipv4(UDP, udp(9, 6700, 1200), more=True)), ("probe", "large", "udp")),
    "later fragment": (ethernet(IPV4, ipv4(UDP, udp(9, 6700, 400), offset=1208)), ("data", "medium", "udp")),
    "first fragment of ipv6": (
        ethernet(IPV6, ipv6(44, fragment6(UDP, udp(9, 6700, 1100), offset=1))),
        ("probe", "large", "udp"),
    ),
    "later fragment of ipv6": (
        ethernet(IPV6, ipv6(44, fragment6(UDP, udp(9, 6700, 100), offset=1208))),
        ("data", "small", "udp"),
    ),
    "ipv4 cut in its header": (ethernet(IPV4, ipv4(UDP, b"")[:12]), ("data", "small", "other")),
    "udp cut in its header": (ethernet(IPV4, ipv4(UDP, udp(9, 6700, 0)[:3])), ("data", "small", "udp")),
    "ipv6 cut in its options": (ethernet(IPV6, ipv6(0, bytes(2))), ("data", "small", "other")),
    "ipv6 called ipv4": (ethernet(IPV4, ipv6(UDP, udp(9, 9, 9))), ("data", "small", "other")),
    "ipv4 with four words": (
        ethernet(IPV4, ipv4(UDP, udp(9, 9, 9))[:0] + b"\x44" + bytes(40)),
        ("data", "small", "other"),
    ),
    "ethernet header alone": (ethernet(IPV4, b""), ("data", "small", "other")),
}


def sort(frame):
    """Say how tc_classifier should sort any frame: (traffic, size, protocol)."""
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    for _ in range(2):
        if kind in {VLAN, SERVICE_VLAN} and len(frame) >= at + 4:
            kind, at = int.from_bytes(frame[at + 2 : at + 4], "big"), at + 4
    length = len(frame) - at
    size = "small" if length <= 256 else "medium" if length <= 1000 else "large"
    if kind == ARP:
        return "routing", size, "other"
    protocol, transport = _network(kind, frame[at:])
    name = {TCP: "tcp", UDP: "udp"}.get(protocol, "other")
    if (protocol, kind) in {(ICMP, IPV4), (ICMPV6, IPV6)}:
        name = "icmp" if kind == IPV4 else "icmpv6"
    return _traffic(protocol, transport, name), size, name


def _network(kind, packet):
    """Return (protocol, bytes from the transport header on); None for what is not there to be read."""
    if kind == IPV4 and len(packet) >= 20 and packet[0] >> 4 == 4 and packet[0] & 15 >= 5:
        is_later = int.from_bytes(packet[6:8], "big") & 0x1FFF
        return packet[9], None if is_later else packet[(packet[0] & 15) * 4 :]
    if kind != IPV6 or len(packet) < 40 or packet[0] >> 4 != 6:
        return None, None
    protocol, packet = packet[6], packet[40:]
    for _ in range(4):
        if protocol not in {0, 43, 44, 51, 60}:
            break
        if len(packet) < 4:
            return None, None
        if protocol == 44 and int.from_bytes(packet[2:4], "big") & 0xFFF8:
            return packet[0], None
        step = {44: 8, 51: (packet[1] + 2) * 4}.get(protocol, (packet[1] + 1) * 8)
        protocol, packet = packet[0], packet[step:]
    return protocol, packet


def _traffic(protocol, transport, name):
    if protocol == OSPF:
        return "routing"
    if transport is None:
        return "data"
    if protocol == UDP and len(transport) >= 4:
        ports = {int.from_bytes(transport[:2], "big"), int.from_bytes(transport[2:4], "big")}
        return "routing" if ports & {6696, 3784, 3785} else "probe" if 6700 in ports else "data"
    if name == "icmpv6" and transport and (transport[0] in {130, 131, 132, 143} or 133 <= transport[0] <= 137):
        return "routing"
    return "data"
