"""Which programs of an object are alternatives to each other. Pure; told by their names, as the C files write them.

`<signal>__<kind>` or `<signal>__<kind>__<part>`: the parts of one kind go together, the kinds are alternatives. A name
without the double underscore has no alternative.
"""

from __future__ import annotations

from collections.abc import Iterable

# The cheaper and the less demanding goes first; `tp` needs tracefs and root, `kprobe` a function of that very name.
PREFERENCE = ("tp_btf", "raw_tp", "tp", "kprobe")
_SEPARATOR = "__"


def signal_of(program: str) -> str:
    """Return the signal that a program's name begins with; empty for one without alternatives."""
    signal, separator, _ = program.partition(_SEPARATOR)
    return signal if separator else ""


def variants(programs: Iterable[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Group programs by signal, then by kind: the kinds in order of preference, those unknown to it left out."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in sorted(programs):
        signal, separator, rest = name.partition(_SEPARATOR)
        if separator:
            found.setdefault(signal, {}).setdefault(rest.partition(_SEPARATOR)[0], []).append(name)
    return {
        signal: {kind: tuple(kinds[kind]) for kind in PREFERENCE if kind in kinds} for signal, kinds in found.items()
    }
