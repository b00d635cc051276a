"""nftables of the namespace this thread is in, through the `nft` program: transactions in, JSON out."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from models.errors import SourceUnavailable, ToolMissing

# A ruleset change is milliseconds; a kernel that does not answer in five seconds has other troubles.
_TIMEOUT_S = 5.0


def change(commands: str) -> None:
    """Do all of these commands or none.

    Raises:
        SourceUnavailable: the kernel refused them, or did not answer.
        ToolMissing: there is no nft here.
    """
    done = _run("-f", "-", given=commands)
    if done.returncode != 0:
        raise SourceUnavailable("nftables", done.stderr.strip())


def table(name: str) -> list[dict[str, Any]] | None:
    """Return the objects of an inet table as nft's JSON schema has them; None when there is no such table.

    Raises:
        SourceUnavailable: the kernel did not answer.
        ToolMissing: there is no nft here.
    """
    done = _run("-j", "list", "table", "inet", name)
    if done.returncode == 0:
        found: list[dict[str, Any]] = json.loads(done.stdout)["nftables"]
        return found
    if "No such file or directory" in done.stderr:
        return None
    raise SourceUnavailable("nftables", done.stderr.strip())


def _run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["nft", *words], input=given, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise ToolMissing("nft", "apt install nftables") from error
    except subprocess.TimeoutExpired as error:
        raise SourceUnavailable("nftables", f"no answer in {_TIMEOUT_S:g} s") from error
