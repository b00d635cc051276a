"""Mounting the file systems that eBPF tools expect, and giving back exactly those we mounted."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import KernelRefused

_libc = ctypes.CDLL(None, use_errno=True)
# include/uapi/linux/mount.h: no set-uid programs, devices or executables from these.
_NO_SUID, _NO_DEVICES, _NO_EXECUTION = 2, 4, 8


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A kernel file system and where tools look for it."""

    kind: str
    path: Path


WANTED = (MountPoint("bpf", Path("/sys/fs/bpf")), MountPoint("tracefs", Path("/sys/kernel/tracing")))


def is_mounted(point: MountPoint, mounts: str) -> bool:
    """Tell from the text of `/proc/self/mounts` whether the file system is at its place."""
    rows = (line.split(" ") for line in mounts.splitlines())
    return any(row[1:3] == [str(point.path), point.kind] for row in rows)


def mount_missing(wanted: Iterable[MountPoint] = WANTED) -> tuple[Path, ...]:
    """Mount what is absent; return what we mounted, for `unmount` later.

    Raises:
        KernelRefused: a mount was not allowed; what this call had mounted before is unmounted again.
    """
    done: list[Path] = []
    for point in wanted:
        if is_mounted(point, Path("/proc/self/mounts").read_text()):
            continue
        flags = ctypes.c_ulong(_NO_SUID | _NO_DEVICES | _NO_EXECUTION)
        if _libc.mount(point.kind.encode(), str(point.path).encode(), point.kind.encode(), flags, None) != 0:
            reason = os.strerror(ctypes.get_errno())
            unmount(done)
            raise KernelRefused(f"mounting {point.kind} at {point.path}", f"{reason}; run this as root on the host")
        done.append(point.path)
    return tuple(done)


def unmount(ours: Iterable[Path]) -> None:
    """Unmount what `mount_missing` returned, newest first; what is no longer mounted is left alone.

    Raises:
        KernelRefused: one is still in use (a pinned map's reader, a shell standing in it).
    """
    kinds = {point.path: point for point in WANTED}
    for path in reversed(tuple(ours)):
        point = kinds.get(path)
        if point is not None and not is_mounted(point, Path("/proc/self/mounts").read_text()):
            continue
        if _libc.umount2(str(path).encode(), 0) != 0:
            raise KernelRefused(f"unmounting {path}", f"{os.strerror(ctypes.get_errno())}; close what uses it")
