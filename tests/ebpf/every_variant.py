"""Which variants of the tracing programs go on this kernel: `python -m tests.ebpf.every_variant`, as root.

The loader takes the first that goes; here each is asked for alone. A line a variant: VARIANT, signal, kind, and yes or
why not.
"""

from __future__ import annotations

import logging
import sys

from ebpf.loader import EBPFLoader
from ebpf.tracing import NETWORK, SYSCALLS
from ebpf.variants import PREFERENCE, signal_of
from infra.log import configure
from models.errors import KernelRefused


def main() -> None:
    """Try each kind of each object by itself."""
    configure(least=logging.ERROR)
    for name in (NETWORK, SYSCALLS):
        for kind in PREFERENCE:
            for signal, said in sorted(_tried(name, kind).items()):
                sys.stdout.write(f"VARIANT {signal} {kind} {said.splitlines()[0]}\n")


def _tried(name: str, kind: str) -> dict[str, str]:
    with EBPFLoader(kinds=(kind,)) as loader:
        try:
            loaded = loader.load_program(name)
        except KernelRefused as error:
            return {name: error.reason}
        return {signal_of(one): "yes" for one in loaded.programs} | dict(loaded.refused)


if __name__ == "__main__":
    main()
