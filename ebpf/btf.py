"""Reading BTF: the types a compiled eBPF object says it uses. Pure; bounds-checked against damaged bytes.

Layout: the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_POINTER_BYTES = 8
# Typedefs and qualifiers are followed at most this far; deeper means a loop in damaged bytes.
_MAX_DEPTH = 32


class BtfDamaged(ValueError):
    """Raised when bytes are not readable BTF; the sentence says where."""


class Kind(IntEnum):
    """BTF kinds, as numbered by the kernel."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_QUALIFIERS = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG, Kind.VAR})


@dataclass(frozen=True, slots=True)
class Member:
    """A struct's field, an enum's name or a section's variable.

    Attributes:
        name: Empty for a section's variable: its type carries the name.
        type: Type id; 0 for enumerators.
        value: Bit offset in a struct, the number of an enumerator, byte offset in a section.
    """

    name: str
    type: int
    value: int


@dataclass(frozen=True, slots=True)
class Type:
    """One BTF type.

    Attributes:
        kind: What it is.
        name: Empty for anonymous types.
        size: Bytes, of kinds that have a size of their own; else 0.
        target: Type id of what it points to or qualifies, or of an array's element; else 0.
        length: An array's length; else 0.
        members: Of structs, unions, enums and sections.
    """

    kind: Kind
    name: str
    size: int = 0
    target: int = 0
    length: int = 0
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Btf:
    """All types of one object; id 0 is void and not in the table."""

    types: Mapping[int, Type]

    def resolve(self, number: int) -> Type:
        """Follow typedefs, qualifiers and variables to the type they stand for."""
        for _ in range(_MAX_DEPTH):
            found = self._at(number)
            if found.kind not in _QUALIFIERS:
                return found
            number = found.target
        raise BtfDamaged(f"type {number} refers to itself")

    def size(self, number: int) -> int:
        """Return the size of a type in bytes."""
        elements = 1
        for _ in range(_MAX_DEPTH):
            found = self.resolve(number)
            if found.kind is not Kind.ARRAY:
                return elements * (_POINTER_BYTES if found.kind is Kind.PTR else found.size)
            elements, number = elements * found.length, found.target
        raise BtfDamaged(f"array {number} contains itself")

    def named(self, name: str, *, kind: Kind) -> Type | None:
        """Return the first type of that name and kind."""
        return next((one for one in self.types.values() if one.kind is kind and one.name == name), None)

    def section(self, name: str) -> dict[str, int]:
        """Return a data section's variables as name -> id of their type; empty when there is no such section."""
        found = self.named(name, kind=Kind.DATASEC)
        return {} if found is None else {self._at(one.type).name: self._at(one.type).target for one in found.members}

    def map_definition(self, number: int) -> dict[str, int]:
        """Read a map's definition struct: `type` and `max_entries` as numbers, `key` and `value` as sizes in bytes.

        In a definition, numbers are written as the length of an array pointed to (libbpf's `__uint`).
        """
        definition: dict[str, int] = {}
        for field in self.resolve(number).members:
            pointer = self.resolve(field.type)
            if pointer.kind is not Kind.PTR:
                continue
            if field.name in {"key", "value"}:
                definition[field.name] = self.size(pointer.target)
            else:
                pointee = self.resolve(pointer.target)
                definition[field.name] = pointee.length if pointee.kind is Kind.ARRAY else 0
        return definition

    def _at(self, number: int) -> Type:
        try:
            return self.types[number]
        except KeyError:
            raise BtfDamaged(f"type {number} is missing") from None


def parse_btf(content: bytes) -> Btf:
    """Read the content of a `.BTF` section.

    Raises:
        BtfDamaged: the bytes are not little-endian BTF version 1, or end too early.
    """
    try:
        magic, version, _, header, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack_from(content)
    except struct.error:
        raise BtfDamaged("it is shorter than its header") from None
    if magic != MAGIC or version != 1:
        raise BtfDamaged("it does not begin like little-endian BTF version 1")
    types = content[header + type_at : header + type_at + type_bytes]
    strings = content[header + string_at : header + string_at + string_bytes]
    if len(types) != type_bytes or len(strings) != string_bytes:
        raise BtfDamaged("it ends before its types or names do")
    try:
        return Btf(types=dict(enumerate(_types(types, strings), start=1)))
    except (struct.error, UnicodeDecodeError):
        raise BtfDamaged("a type ends too early or a name is no text") from None


def _name(strings: bytes, at: int) -> str:
    end = strings.find(b"\0", at)
    if at >= len(strings) or end < 0:
        raise BtfDamaged(f"name at {at} is outside of the names")
    return strings[at:end].decode()


def _types(content: bytes, strings: bytes) -> Iterator[Type]:
    at = 0
    while at < len(content):
        name_at, bits, extra = _TYPE.unpack_from(content, at)
        at += _TYPE.size
        try:
            kind = Kind(bits >> 24 & 0x1F)
        except ValueError:
            raise BtfDamaged(f"kind {bits >> 24 & 0x1F} is not known") from None
        count, has_flag = bits & 0xFFFF, bool(bits >> 31)
        name = _name(strings, name_at)
        if kind is Kind.ARRAY:
            element, _, length = _TYPE.unpack_from(content, at)
            yield Type(kind, name, target=element, length=length)
            at += _TYPE.size
            continue
        members, at = _members(content, at, strings=strings, kind=kind, count=count, has_flag=has_flag)
        sized = kind in {Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.DATASEC, Kind.FLOAT}
        yield Type(kind, name, size=extra if sized else 0, target=0 if sized else extra, members=members)


def _members(
    content: bytes, at: int, *, strings: bytes, kind: Kind, count: int, has_flag: bool
) -> tuple[tuple[Member, ...], int]:
    """Read what follows a type's first twelve bytes; return it with the offset after it."""
    if kind in {Kind.STRUCT, Kind.UNION, Kind.DATASEC, Kind.ENUM64}:
        rows = [_TYPE.unpack_from(content, at + 12 * index) for index in range(count)]
        if kind is Kind.DATASEC:
            found = tuple(Member("", first, second) for first, second, _ in rows)
        elif kind is Kind.ENUM64:
            found = tuple(Member(_name(strings, first), 0, third << 32 | second) for first, second, third in rows)
        else:  # with the flag set, the upper eight bits hold a bit field's width
            mask = 0xFFFFFF if has_flag else 0xFFFFFFFF
            found = tuple(Member(_name(strings, first), second, third & mask) for first, second, third in rows)
        return found, at + 12 * count
    if kind is Kind.ENUM:
        pairs = [struct.unpack_from("<Ii", content, at + 8 * index) for index in range(count)]
        return tuple(Member(_name(strings, first), 0, second) for first, second in pairs), at + 8 * count
    skipped = {Kind.INT: 4, Kind.FUNC_PROTO: 8 * count, Kind.VAR: 4, Kind.DECL_TAG: 4}.get(kind, 0)
    return (), at + skipped
