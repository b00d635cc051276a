"""Reading a compiled eBPF object before the kernel sees it: programs, maps, licence, BTF. Pure.

Whatever is wrong becomes one sentence that says what to do, so that nobody has to read libbpf's log for a wrong file.
Layout: the System V ABI's ELF chapter, 64 bit, little endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from ebpf.btf import Btf, BtfDamaged, parse_btf
from models.errors import ProgramInvalid

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_RELOCATABLE, _MACHINE_BPF = 1, 247
_NO_CONTENT, _SYMBOL_TABLE, _RELOCATIONS = 8, 2, 9
_TYPE_MASK, _FUNCTION = 0xF, 2
_INSTRUCTION_BYTES = 8
# Licences that the kernel takes for GPL-compatible (include/linux/license.h); helpers for tracing need one.
GPL_COMPATIBLE = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)
# Section, up to its first slash -> kind of program. What is not in here, this loader could not attach.
PROGRAM_SECTIONS = {
    "tc": "tc",
    "xdp": "xdp",
    "tp_btf": "tp_btf",
    "raw_tp": "raw_tp",
    "tp": "tp",
    "kprobe": "kprobe",
    "kretprobe": "kprobe",
}
# Kinds that are attached to an interface; the others say in their section's name where they go.
INTERFACE_KINDS = frozenset({"tc", "xdp"})
# enum bpf_map_type: neither has a fixed number of entries by key, so the fields they lack are read as 0.
_TASK_STORAGE, _RING_BUFFER = 29, 27
_FIELDS_OF = {_TASK_STORAGE: {"key", "value"}, _RING_BUFFER: {"max_entries"}}


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """A map as the object declares it; sizes in bytes."""

    type: int
    key: int
    value: int
    max_entries: int


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """What a compiled object contains.

    Attributes:
        programs: Function name -> kind (a value of PROGRAM_SECTIONS).
        maps: Name -> definition, without the sections that libbpf turns into maps.
        uses: Function name -> maps that its section refers to.
        constants: Name -> (offset in `.rodata`, size), in bytes.
        licence: As the kernel will read it.
        btf: The object's types.
    """

    programs: Mapping[str, str]
    maps: Mapping[str, MapDefinition]
    uses: Mapping[str, frozenset[str]]
    constants: Mapping[str, tuple[int, int]]
    licence: str
    btf: Btf


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    type: int
    content: bytes
    link: int
    about: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    section: str
    is_function: bool
    value: int
    size: int


def read_object(content: bytes, name: str) -> ObjectFile:
    """Check a compiled eBPF object and say what is in it.

    Args:
        content: The file's bytes.
        name: How to call it in an error.

    Raises:
        ProgramInvalid: not an eBPF object, damaged, without licence, BTF, maps' types or a program we can attach.
    """
    try:
        return _read(content, name)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ProgramInvalid(name, "it is cut short or damaged; build it again (make -C ebpf/programs)") from None
    except BtfDamaged as error:
        raise ProgramInvalid(name, f"its BTF cannot be read: {error}; build it again with clang -g") from None


def _read(content: bytes, name: str) -> ObjectFile:
    sections = _sections(content, name)
    by_name = {one.name: one for one in sections}
    symbols = _symbols(sections)
    if "license" not in by_name:
        raise ProgramInvalid(name, 'it states no licence; add char licence[] SEC("license") = "Dual BSD/GPL"')
    licence = by_name["license"].content.split(b"\0", 1)[0].decode()
    if licence not in GPL_COMPATIBLE:
        raise ProgramInvalid(name, f"licence {licence!r} is not one the kernel calls GPL-compatible")
    if ".BTF" not in by_name:
        raise ProgramInvalid(name, "it has no BTF; compile it with clang -g and strip with llvm-strip -g only")
    btf = parse_btf(by_name[".BTF"].content)
    programs = _programs(symbols, by_name, name)
    used = _maps_by_section(sections)
    places = {one.name: one.section for one in symbols if one.name in programs}
    # Functions in .text may be called from every program.
    uses = {one: used.get(places[one], frozenset()) | used.get(".text", frozenset()) for one in programs}
    return ObjectFile(
        programs=programs,
        maps=_maps(btf, symbols, name),
        uses=uses,
        constants={one.name: (one.value, one.size) for one in symbols if one.section == ".rodata" and one.size},
        licence=licence,
        btf=btf,
    )


def _sections(content: bytes, name: str) -> list[_Section]:
    if content[:4] != b"\x7fELF":
        raise ProgramInvalid(name, "it is not an ELF file; give the .o that make -C ebpf/programs builds")
    header = _HEADER.unpack_from(content)
    if content[4:6] != b"\x02\x01":
        raise ProgramInvalid(name, "it is not 64-bit little-endian; compile it with -target bpf on this machine")
    if header[1] != _RELOCATABLE or header[2] != _MACHINE_BPF:
        raise ProgramInvalid(name, "it is not compiled for eBPF; compile it with clang -target bpf -c")
    table, entry, count, names_at = header[6], header[11], header[12], header[13]
    if entry != _SECTION.size or not count or table + count * entry > len(content):
        raise ProgramInvalid(name, "its section table cannot be read; it was cut short or damaged, build it again")
    raw = [_SECTION.unpack_from(content, table + index * entry) for index in range(count)]
    bodies = []
    for one in raw:
        body = b"" if one[1] == _NO_CONTENT else content[one[4] : one[4] + one[5]]
        if one[1] != _NO_CONTENT and len(body) != one[5]:
            raise ProgramInvalid(name, "a section reaches beyond the file's end; it was cut short, build it again")
        bodies.append(body)
    names = bodies[names_at]
    return [
        _Section(_text(names, one[0]), one[1], body, link=one[6], about=one[7])
        for one, body in zip(raw, bodies, strict=True)
    ]


def _symbols(sections: list[_Section]) -> list[_Symbol]:
    symbols = []
    for table in (one for one in sections if one.type == _SYMBOL_TABLE):
        names = sections[table.link].content
        for at in range(0, len(table.content) // _SYMBOL.size * _SYMBOL.size, _SYMBOL.size):
            name_at, flags, _, section, value, size = _SYMBOL.unpack_from(table.content, at)
            if 0 < section < len(sections):
                where = sections[section].name
                symbols.append(_Symbol(_text(names, name_at), where, flags & _TYPE_MASK == _FUNCTION, value, size))
    return symbols


def _maps_by_section(sections: list[_Section]) -> dict[str, frozenset[str]]:
    """Return section -> the maps that its relocations name."""
    used: dict[str, set[str]] = {}
    for table in (one for one in sections if one.type == _RELOCATIONS):
        symbols = sections[table.link]
        names = sections[symbols.link].content
        for at in range(0, len(table.content) // _RELOCATION.size * _RELOCATION.size, _RELOCATION.size):
            _, about = _RELOCATION.unpack_from(table.content, at)
            name_at, _, _, section, _, _ = _SYMBOL.unpack_from(symbols.content, (about >> 32) * _SYMBOL.size)
            if 0 < section < len(sections) and sections[section].name == ".maps":
                used.setdefault(sections[table.about].name, set()).add(_text(names, name_at))
    return {section: frozenset(maps) for section, maps in used.items()}


def _programs(symbols: list[_Symbol], sections: Mapping[str, _Section], name: str) -> dict[str, str]:
    programs = {}
    for one in symbols:
        if not one.is_function or one.section == ".text":
            continue
        kind, _, place = one.section.partition("/")
        if kind not in PROGRAM_SECTIONS or bool(place) == (kind in INTERFACE_KINDS):
            known = ", ".join(sorted(PROGRAM_SECTIONS))
            raise ProgramInvalid(name, f"section {one.section!r} is of no kind this loader attaches ({known})")
        if not one.size or one.size % _INSTRUCTION_BYTES or one.value + one.size > len(sections[one.section].content):
            raise ProgramInvalid(name, f"program {one.name} has no whole instructions; build it again")
        programs[one.name] = PROGRAM_SECTIONS[kind]
    if not programs:
        raise ProgramInvalid(name, 'it contains no program; put one behind SEC("tc") or SEC("xdp")')
    return programs


def _maps(btf: Btf, symbols: list[_Symbol], name: str) -> dict[str, MapDefinition]:
    declared = {one.name for one in symbols if one.section == ".maps"}
    types = btf.section(".maps")
    maps = {}
    for one in sorted(declared | set(types)):
        found = btf.map_definition(types[one]) if one in types else {}
        wanted = _FIELDS_OF.get(found.get("type", 0), {"key", "value", "max_entries"})
        if one not in declared or not {"type", *wanted} <= set(found):
            raise ProgramInvalid(name, f"map {one} does not say its type, key, value and max_entries")
        maps[one] = MapDefinition(*(found.get(field, 0) for field in ("type", "key", "value", "max_entries")))
    return maps


def _text(strings: bytes, at: int) -> str:
    if at > len(strings):
        raise IndexError(at)
    return strings[at:].split(b"\0", 1)[0].decode()
