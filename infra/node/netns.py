"""Entering a network namespace for a moment, in this thread only."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ConfigurationInvalid

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextmanager
def entered(name: str | None) -> Iterator[None]:
    """Run the body in the named namespace; None: where we are.

    Sockets and netlink handles opened inside stay there for ever. setns moves the calling thread alone, so the body
    must not await.

    Raises:
        ConfigurationInvalid: there is no such namespace.
    """
    if name is None:
        yield
        return
    try:
        there = os.open(Path("/run/netns") / name, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationInvalid(f"no network namespace {name}", "start the lab, or mend node.json") from error
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(here)
        os.close(here)
        os.close(there)


def move_into(name: str | None) -> None:
    """Move this thread, and every thread and process it starts from now on, into the namespace for good; None: stay.

    Raises:
        ConfigurationInvalid: there is no such namespace, or we may not enter it.
    """
    if name is None:
        return
    try:
        there = os.open(Path("/run/netns") / name, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationInvalid(f"no network namespace {name}", "start the lab, or mend node.json") from error
    try:
        _enter(there)
    except OSError as error:
        raise ConfigurationInvalid(f"cannot enter namespace {name} ({error})", "run as root") from error
    finally:
        os.close(there)
