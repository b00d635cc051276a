"""Maps that outlive their process: pinned in a folder of bpffs, taken over by whoever loads the object next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ebpf.elf import MapDefinition
from models.errors import ConfigurationInvalid

_MOUNTS = Path("/proc/self/mounts")
# enum bpf_map_type of what counts: hash, array, per-CPU hash, per-CPU array, LRU hash, per-CPU LRU hash. Not a ring of
# events, which would keep what nobody reads, and not a task's storage, which ends with the task.
_COUNTING = frozenset({1, 2, 5, 6, 9, 10})


def worth_pinning(definitions: Mapping[str, MapDefinition]) -> frozenset[str]:
    """Name the maps that hold counts."""
    return frozenset(name for name, one in definitions.items() if one.type in _COUNTING)


def folder_of(root: Path, name: str, instance: str) -> Path:
    """Return where an object's maps are pinned. bpffs allows no dot in a name, which an interface's may have."""
    return root / f"{name.partition('.')[0]}-{instance}".rstrip("-").replace(".", "%2e")


def prepare(root: Path, name: str, instance: str) -> Path:
    """Make the folder for an object's pins and return it.

    Raises:
        ConfigurationInvalid: it is not inside a mounted bpffs, or may not be made there.
    """
    folder = folder_of(root, name, instance)
    rows = [line.split(" ") for line in _MOUNTS.read_text().splitlines()]
    kinds = {Path(row[1]): row[2] for row in rows}
    nearest = next((kinds[one] for one in (folder, *folder.parents) if one in kinds), "")
    if nearest != "bpf":
        raise ConfigurationInvalid(f"{folder} is not inside a bpffs", "mount -t bpf bpf /sys/fs/bpf, and pin below it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(
            f"{folder} cannot be made ({error.strerror})", "be its owner, and use no dot in names: bpffs allows none"
        ) from error
    return folder


def forget(folder: Path) -> None:
    """Remove a folder's pins and the folder; nothing happens when there is none. Loaded objects keep their maps."""
    if folder.is_dir():
        for one in folder.iterdir():
            one.unlink()
        folder.rmdir()
