"""Which class of a grey link's flow hash a flow falls into. Pure; the same arithmetic as the kernel's `jhash`.

Source: Bob Jenkins, lookup3 (2006), as `jhash()` and `reciprocal_scale()` of the Linux kernel.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from infra.lab.wire import FLOW_CLASSES, FLOW_SEED

_MASK = 0xFFFFFFFF
_START = 0xDEADBEEF
_BLOCK = 12  # bytes mixed at once


def flow_class(source: str, target: str, *, source_port: int, target_port: int) -> int:
    """Return 0..3: the class of packets from source to target with these ports."""
    # nft pads each port to a register of four bytes.
    key = IPv4Address(source).packed + IPv4Address(target).packed
    key += source_port.to_bytes(2, "big") + bytes(2) + target_port.to_bytes(2, "big") + bytes(2)
    return (jhash(key, FLOW_SEED) * FLOW_CLASSES) >> 32


def jhash(key: bytes, seed: int) -> int:
    """Return Jenkins' 32-bit hash of the key, read as little-endian words."""
    a = b = c = (_START + len(key) + seed) & _MASK
    while len(key) > _BLOCK:
        one, two, three = _words(key[:_BLOCK])
        a, b, c = _mix((a + one) & _MASK, (b + two) & _MASK, (c + three) & _MASK)
        key = key[_BLOCK:]
    if not key:
        return c
    one, two, three = _words(key.ljust(_BLOCK, b"\0"))
    return _final((a + one) & _MASK, (b + two) & _MASK, (c + three) & _MASK)


def _words(block: bytes) -> tuple[int, int, int]:
    one, two, three = (int.from_bytes(block[start : start + 4], "little") for start in (0, 4, 8))
    return one, two, three


def _rotate(word: int, by: int) -> int:
    return ((word << by) | (word >> (32 - by))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _rotate(c, by)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, by)) & _MASK
        a, b, c = b, c, a
    return b
