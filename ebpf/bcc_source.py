"""Our C, rewritten into the dialect that bcc compiles. Pure: text in, text out.

The programs are written for libbpf: maps are declared by BTF, constants live in `.rodata`, sections name the hook. bcc
0.26 knows none of these. What is rewritten is listed in `rewrite`; everything else reaches the compiler as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ProgramInvalid

_INCLUDE = re.compile(r'^#include "([\w.]+)"\n', re.MULTILINE)
_MAP = re.compile(r'struct \{\s*((?:__(?:uint|type)\([^;]*\);\s*)+)\} (\w+) SEC\("\.maps"\);')
_FIELD = re.compile(r"__(?:uint|type)\((\w+),\s*([^;]*)\);")
_CONSTANT = re.compile(r"^const volatile (__u(?:8|16|32|64)) (\w+) = ([^;]+);", re.MULTILINE)
_UNREAD = re.compile(r"^const volatile (struct \w+ \w+ = )", re.MULTILINE)
_PROGRAM = re.compile(r'^SEC\("([^"]+)"\)\nint (\w+)\(', re.MULTILINE)
_LICENCE = re.compile(r'^char \w+\[\] SEC\("license"\) = "([^"]+)";\n', re.MULTILINE)
_GLOBAL = "__attribute__((noinline))"
_CALL = re.compile(r"\bbpf_map_(lookup|update|delete)_elem\(&(\w+), ([^;]*?)(, BPF_(?:ANY|NOEXIST))?\)(?=[;\s)])")
_KINDS = frozenset({"tc", "xdp"})
# bcc's names for the kinds of map that need no more than key, value and size; the number is the kernel's.
_MAP_TYPES = {"HASH": "hash", "ARRAY": "array", "PERCPU_HASH": "percpu_hash", "PERCPU_ARRAY": "percpu_array"} | {
    "LRU_HASH": "lru_hash",
    "LRU_PERCPU_HASH": "lru_percpu_hash",
}


@dataclass(frozen=True, slots=True)
class BccSource:
    """A program in bcc's dialect.

    Attributes:
        text: What bcc compiles.
        kinds: Function name -> `tc` or `xdp`.
    """

    text: str
    kinds: Mapping[str, str]


def rewrite(name: str, files: Mapping[str, str], *, constants: Mapping[str, int]) -> BccSource:
    """Rewrite one program.

    Our own headers are put in place, for bcc rewrites only its main file. Maps become bcc's tables and calls on them
    its methods; constants become what the compiler can fold; global functions are inlined, for bcc cannot link them;
    sections go, for bcc names its own.

    Args:
        name: The main file.
        files: File name -> text, of the main file and every header of ours.
        constants: Values for its `const volatile` integers.

    Raises:
        ProgramInvalid: it has a section, a map or a constant that cannot be rewritten.
    """
    text = _with_headers(name, files)
    kinds = {function: section for section, function in _PROGRAM.findall(text)}
    foreign = sorted(set(kinds.values()) - _KINDS)
    if foreign or not kinds:
        what = f"section {foreign[0]!r} needs a precompiled object" if foreign else "it contains no program"
        raise ProgramInvalid(name, f"bcc compiles only tc and xdp programs of ours: {what}")
    unknown = sorted(set(constants) - {found[1] for found in _CONSTANT.findall(text)})
    if unknown:
        raise ProgramInvalid(name, f"it has no constant named {unknown[0]}")
    licence = _LICENCE.search(text)
    if licence is None:
        raise ProgramInvalid(name, 'it states no licence; add char licence[] SEC("license") = "Dual BSD/GPL"')
    text = _LICENCE.sub("", text)
    text = _MAP.sub(lambda found: _table(found, name), text)
    text = _CONSTANT.sub(
        lambda found: f"static const {found[1]} {found[2]} = {constants.get(found[2], found[3])};", text
    )
    text = _UNREAD.sub(r"static const \1", text)
    text = text.replace(_GLOBAL, "static __always_inline")
    text = _PROGRAM.sub(r"int \2(", text)
    text = _CALL.sub(_method, text)
    return BccSource(f"#define BPF_LICENSE {licence[1]}\n{text}", kinds)


def _with_headers(name: str, files: Mapping[str, str]) -> str:
    placed: set[str] = set()

    def place(found: re.Match[str]) -> str:
        header = found[1]
        if header in placed:
            return ""
        if header not in files:
            raise ProgramInvalid(name, f"it includes {header}, which is not beside it")
        placed.add(header)
        return _INCLUDE.sub(place, files[header])

    return _INCLUDE.sub(place, files[name])


def _table(found: re.Match[str], name: str) -> str:
    fields = {field: value.strip() for field, value in _FIELD.findall(found[1])}
    kind = fields.get("type", "").removeprefix("BPF_MAP_TYPE_")
    if kind not in _MAP_TYPES or not {"key", "value", "max_entries"} <= set(fields):
        raise ProgramInvalid(name, f"map {found[2]} ({kind or 'no type'}) needs a precompiled object")
    flags = fields.get("map_flags", "0")
    return (
        f'BPF_F_TABLE("{_MAP_TYPES[kind]}", {fields["key"]}, {fields["value"]}, '
        f"{found[2]}, {fields['max_entries']}, {flags});"
    )


def _method(found: re.Match[str]) -> str:
    # bcc's `insert` is the update that leaves what is there.
    is_insert = (found[4] or "").endswith("NOEXIST")
    return f"{found[2]}.{'insert' if is_insert else found[1]}({found[3]})"
