"""Loading eBPF objects and attaching them to interfaces; what is attached here goes away with this process.

Links (XDP, TCX) are file descriptors: the kernel detaches when the last one closes, after kill -9 too. Where the kernel
has no TCX (before 6.6) a clsact filter is used instead; that one outlives a kill, still counting into maps that nobody
reads, until its interface goes or someone removes it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from ebpf.capabilities import missing_capabilities
from ebpf.elf import MapDefinition, ObjectFile, read_object
from ebpf.libbpf import OpenObject, close_descriptor, libbpf, network_namespace
from ebpf.netlink import EGRESS, INGRESS, LinkState, RouteSocket
from models.errors import ConfigurationInvalid, KernelRefused, ProgramInvalid
from models.telemetry import Direction

log = structlog.get_logger()

PROGRAMS = Path(__file__).parent / "programs"
# An object of ours has some 40 kB; a wrong file should not be read whole into memory.
_MAX_OBJECT_BYTES = 16 << 20
_LOG_LINES = 12
# enum bpf_attach_type
_HOOK_XDP, _HOOK_TCX_INGRESS, _HOOK_TCX_EGRESS = 37, 46, 47
_XDP_GENERIC, _XDP_NATIVE = 1 << 1, 1 << 2
# Ingress goes first and egress last: we count what the wire brought and what it was really given.
_TCX_BEFORE, _TCX_LAST = 1 << 3, 0
# More filters of other people at one hook mean that something leaks them.
_MAX_FILTERS = 64
_INTERFACE_GONE = frozenset({errno.ENODEV, errno.EINVAL, errno.ENOENT})
_NO_TCX = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


class Hook(StrEnum):
    """How a program is attached."""

    TCX = "tcx"
    CLSACT = "clsact"
    XDP_NATIVE = "xdp-native"
    XDP_GENERIC = "xdp-generic"


_HOOKS_OF = {"tc": (Hook.TCX, Hook.CLSACT), "xdp": (Hook.XDP_NATIVE, Hook.XDP_GENERIC)}


@dataclass(frozen=True, slots=True)
class LoadedObject:
    """An object in the kernel.

    Attributes:
        name: File name.
        instance: Tells apart several copies of one object, each with maps of its own.
        programs: Function name -> descriptor.
        kinds: Function name -> `tc` or `xdp`.
        maps: Name -> descriptor.
        definitions: Name -> type and sizes.
    """

    name: str
    instance: str
    programs: Mapping[str, int]
    kinds: Mapping[str, str]
    maps: Mapping[str, int]
    definitions: Mapping[str, MapDefinition]


@dataclass(frozen=True, slots=True)
class Attachment:
    """One program at one hook of one interface, put there by us.

    Attributes:
        program: Function name.
        interface: Name at the time of attaching.
        ifindex: What the kernel goes by.
        direction: Which way the packets go.
        hook: Which mechanism was taken.
        link: Descriptor that holds it; for CLSACT the filter's handle.
        program_id: The kernel's number of the program, to know a filter of ours by.
    """

    program: str
    interface: str
    ifindex: int
    direction: Direction
    hook: Hook
    link: int
    program_id: int


class EBPFLoader:
    """Load objects, attach them to interfaces of the network namespace this was constructed in, and clean up.

    Everything may be called twice: what is already so stays so. Never detaches what it did not attach.

    Args:
        folder: Where object names without a path are looked up.
        hooks: Which mechanisms may be taken; the better one is tried first.
    """

    def __init__(self, folder: Path = PROGRAMS, *, hooks: Sequence[Hook] = tuple(Hook)) -> None:
        self._folder, self._hooks = folder, frozenset(hooks)
        self._routes = RouteSocket()
        self._namespace = network_namespace()
        self._opened: dict[tuple[str, str], tuple[LoadedObject, OpenObject]] = {}
        self._attached: dict[tuple[str, str, str, Direction], Attachment] = {}
        self._clsact: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load_program(
        self, name: str | Path, *, instance: str = "", constants: Mapping[str, int] | None = None
    ) -> LoadedObject:
        """Check an object, load its maps and programs into the kernel and return what is in it.

        Args:
            name: `xdp_counter.o` (looked up among the built programs) or a path.
            instance: Load another copy, with maps of its own, under this name.
            constants: Values for the program's `const volatile` integers.

        Raises:
            ProgramInvalid: the file is missing, damaged or not what it should be; the kernel has not seen it.
            KernelRefused: the verifier or a missing capability; with the log's last lines.
        """
        path = self._folder / name
        key = (str(path), instance)
        if key in self._opened:
            return self._opened[key][0]
        content = _read_file(path)
        described = read_object(content, path.name)
        values = _constant_bytes(described, constants or {}, path.name)
        try:
            opened = libbpf().open_object(content, path.name.split(".")[0])
        except OSError as error:
            raise ProgramInvalid(path.name, f"libbpf cannot open it: {_last_said(error)}") from error
        try:
            for offset, value in values:
                opened.set_constant(offset, value)
            opened.load()
        except OSError as error:
            reason = _why(error, opened.verifier_log())
            opened.close()
            raise KernelRefused(f"loading {path.name}", reason) from error
        maps = opened.maps()
        loaded = LoadedObject(
            name=path.name,
            instance=instance,
            programs=opened.programs(),
            kinds=described.programs,
            maps={one: maps[one] for one in described.maps},
            definitions=described.maps,
        )
        self._opened[key] = (loaded, opened)
        return loaded

    def attach_to_interface(
        self, loaded: LoadedObject, interface: str, *, direction: Direction = Direction.RX
    ) -> Attachment:
        """Attach an object's program for `direction` to an interface: TCX, else clsact; native XDP, else generic.

        Raises:
            ConfigurationInvalid: no such interface here, or the calling thread is in another network namespace.
            ProgramInvalid: the object has no program for that direction.
            KernelRefused: no way of attaching was accepted.
        """
        key = (loaded.name, loaded.instance, interface, direction)
        link = self.interface(interface)
        held = self._attached.get(key)
        if held is not None and self.is_attached(held):
            return held
        if network_namespace() != self._namespace:
            raise ConfigurationInvalid(
                f"{interface} is in the network namespace this loader was made in, not in this thread's",
                "attach from that namespace",
            )
        self.detach_from_interface(loaded, interface, direction=direction)  # what is left of a vanished interface
        program = _program_for(loaded, direction)
        hooks = [one for one in _HOOKS_OF[loaded.kinds[program]] if one in self._hooks]
        refusals = []
        for hook in hooks:
            try:
                number = self._attach(hook, loaded.programs[program], link.index, direction=direction, name=program)
            except OSError as error:
                refusals.append(f"{hook}: {_why(error, '')}")
                if hook is Hook.TCX and error.errno not in _NO_TCX:
                    break
                continue
            program_id = libbpf().program_id(loaded.programs[program])
            attachment = Attachment(program, interface, link.index, direction, hook, number, program_id)
            self._attached[key] = attachment
            log.info("program attached", program=program, interface=interface, direction=direction, hook=hook)
            return attachment
        raise KernelRefused(f"attaching {program} to {interface}", "; ".join(refusals) or "no hook is allowed here")

    def detach_from_interface(
        self, loaded: LoadedObject, interface: str, *, direction: Direction = Direction.RX
    ) -> None:
        """Detach what this loader attached; nothing happens when it did not."""
        attachment = self._attached.pop((loaded.name, loaded.instance, interface, direction), None)
        if attachment is None:
            return
        if attachment.hook is Hook.CLSACT:
            self._detach_filter(attachment)
        else:
            close_descriptor(attachment.link)

    def unload_program(self, loaded: LoadedObject) -> None:
        """Detach an object everywhere and free its maps and programs; nothing happens when it is not loaded here."""
        with ExitStack() as stack:  # one detach that fails keeps none of the others from happening
            for key, (held, opened) in list(self._opened.items()):
                if held is loaded:
                    stack.callback(opened.close)
                    del self._opened[key]
            for name, instance, interface, direction in list(self._attached):
                if (name, instance) == (loaded.name, loaded.instance):
                    stack.callback(self.detach_from_interface, loaded, interface, direction=direction)

    def attachments(self) -> tuple[Attachment, ...]:
        """Return everything this loader attached and has not detached."""
        return tuple(self._attached.values())

    def is_attached(self, attachment: Attachment) -> bool:
        """Ask the kernel whether an attachment of ours is still in place (its interface may be gone)."""
        if attachment.hook is Hook.CLSACT:
            return self._has_filter(attachment)
        return libbpf().link_ifindex(attachment.link) == attachment.ifindex

    def interface(self, name: str) -> LinkState:
        """Return an interface of this loader's namespace.

        Raises:
            ConfigurationInvalid: there is none of that name.
        """
        found = self._routes.link(name)
        if found is None:
            raise ConfigurationInvalid(f"no interface {name} in this network namespace", "check `ip link`")
        return found

    def close(self) -> None:
        """Detach and unload everything of ours. Safe to call twice."""
        with ExitStack() as stack:
            stack.callback(self._routes.close)
            for loaded, _ in self._opened.values():
                stack.callback(self.unload_program, loaded)

    def _attach(self, hook: Hook, program: int, ifindex: int, *, direction: Direction, name: str) -> int:
        incoming = direction is Direction.RX
        if hook is Hook.CLSACT:
            return self._add_filter(program, ifindex, INGRESS if incoming else EGRESS, name=name)
        kind, flags = {
            Hook.TCX: (_HOOK_TCX_INGRESS, _TCX_BEFORE) if incoming else (_HOOK_TCX_EGRESS, _TCX_LAST),
            Hook.XDP_NATIVE: (_HOOK_XDP, _XDP_NATIVE),
            Hook.XDP_GENERIC: (_HOOK_XDP, _XDP_GENERIC),
        }[hook]
        return libbpf().create_link(program, ifindex, kind, flags=flags)

    def _add_filter(self, program: int, ifindex: int, parent: int, *, name: str) -> int:
        if self._routes.add_clsact(ifindex):
            self._clsact.add(ifindex)
        for handle in range(1, _MAX_FILTERS + 1):  # the first that nobody holds
            try:
                self._routes.add_filter(ifindex, parent, program=program, name=name, handle=handle)
            except FileExistsError:
                continue
            return handle
        raise OSError(errno.EEXIST, f"{_MAX_FILTERS} filters are there already")

    def _has_filter(self, attachment: Attachment) -> bool:
        parent = INGRESS if attachment.direction is Direction.RX else EGRESS
        try:
            filters = self._routes.filters(attachment.ifindex, parent)
        except OSError as error:
            if error.errno in _INTERFACE_GONE:
                return False
            raise KernelRefused(f"listing the filters of {attachment.interface}", str(error)) from error
        return any((one.handle, one.program_id) == (attachment.link, attachment.program_id) for one in filters)

    def _detach_filter(self, attachment: Attachment) -> None:
        if not self._has_filter(attachment):
            return
        ifindex = attachment.ifindex
        parent = INGRESS if attachment.direction is Direction.RX else EGRESS
        try:
            self._routes.delete_filter(ifindex, parent, handle=attachment.link)
            if ifindex in self._clsact and not any(self._routes.filters(ifindex, one) for one in (INGRESS, EGRESS)):
                self._routes.delete_clsact(ifindex)
                self._clsact.discard(ifindex)
        except OSError as error:
            raise KernelRefused(f"detaching {attachment.program} from {attachment.interface}", str(error)) from error


def _constant_bytes(described: ObjectFile, constants: Mapping[str, int], name: str) -> list[tuple[int, bytes]]:
    values = []
    for constant, value in constants.items():
        if constant not in described.constants:
            raise ProgramInvalid(name, f"it has no constant named {constant}")
        offset, size = described.constants[constant]
        values.append((offset, value.to_bytes(size, "little")))
    return values


def _program_for(loaded: LoadedObject, direction: Direction) -> str:
    if len(loaded.kinds) == 1 and "xdp" in loaded.kinds.values():
        if direction is Direction.TX:
            raise ProgramInvalid(loaded.name, "XDP sees what arrives, never what is sent")
        return next(iter(loaded.kinds))
    ending = "_ingress" if direction is Direction.RX else "_egress"
    for name in loaded.kinds:
        if name.endswith(ending):
            return name
    raise ProgramInvalid(loaded.name, f"it has no program whose name ends with {ending}")


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_OBJECT_BYTES + 1)
    except FileNotFoundError as error:
        raise ProgramInvalid(str(path), "the file does not exist; build it with make -C ebpf/programs") from error
    except OSError as error:
        raise ProgramInvalid(str(path), f"it cannot be read: {error.strerror}") from error
    if len(content) > _MAX_OBJECT_BYTES:
        raise ProgramInvalid(str(path), f"it is larger than {_MAX_OBJECT_BYTES >> 20} MB; give one object file")
    return content


def _last_said(error: OSError) -> str:
    said = libbpf().said
    return f"{error.strerror} ({said[-1]})" if said else str(error.strerror)


def _why(error: OSError, verifier: str) -> str:
    """Say why the kernel refused: a missing capability by name, else the verifier's or libbpf's last lines."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        missing = missing_capabilities()
        if missing:
            return f"{error.strerror}; this process lacks {', '.join(missing)}"
    lines = [line for line in verifier.splitlines() if line.strip()][-_LOG_LINES:]
    return f"{error.strerror}; the verifier says:\n" + "\n".join(lines) if lines else _last_said(error)
