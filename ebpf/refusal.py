"""Why the kernel or libbpf said no, in words."""

from __future__ import annotations

import errno

from ebpf.capabilities import missing_capabilities
from ebpf.libbpf import libbpf

_LOG_LINES = 12
_SAID_LINES = 4


def last_said(error: OSError) -> str:
    """Say an error with the last lines that libbpf printed about it: the cause comes before the consequence."""
    said = [line.removeprefix("libbpf: ") for line in libbpf().said][-_SAID_LINES:]
    return f"{error.strerror} (libbpf: {'; '.join(said)})" if said else str(error.strerror)


def why(error: OSError, verifier: str = "") -> str:
    """Say why the kernel refused: a missing capability by name, else the verifier's or libbpf's last lines."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        missing = missing_capabilities()
        if missing:
            return f"{error.strerror}; this process lacks {', '.join(missing)}"
    lines = [line for line in verifier.splitlines() if line.strip()][-_LOG_LINES:]
    return f"{error.strerror}; the verifier says:\n" + "\n".join(lines) if lines else last_said(error)
