"""Loading eBPF objects and attaching them; what is attached goes away with this process (`ebpf.hooks`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ebpf.elf import MapDefinition, ObjectFile, read_object
from ebpf.hooks import Attachment, Hook, InterfaceHooks
from ebpf.libbpf import OpenObject, libbpf
from ebpf.netlink import LinkState
from ebpf.refusal import last_said, why
from models.errors import KernelRefused, ProgramInvalid
from models.telemetry import Direction

PROGRAMS = Path(__file__).parent / "programs"
# An object of ours has some 40 kB; a wrong file should not be read whole into memory.
_MAX_OBJECT_BYTES = 16 << 20


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


class EBPFLoader:
    """Load objects, attach them to interfaces of the network namespace this was constructed in, and clean up.

    Everything may be called twice: what is already so stays so. Never detaches what it did not attach.

    Args:
        folder: Where object names without a path are looked up.
        hooks: Which mechanisms may be taken; the better one is tried first.
    """

    def __init__(self, folder: Path = PROGRAMS, *, hooks: Sequence[Hook] = tuple(Hook)) -> None:
        self._folder = folder
        self._hooks = InterfaceHooks(hooks)
        self._opened: dict[tuple[str, str], tuple[LoadedObject, OpenObject]] = {}
        self._attached: dict[tuple[str, str, str, Direction], Attachment] = {}

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
            raise ProgramInvalid(path.name, f"libbpf cannot open it: {last_said(error)}") from error
        try:
            for offset, value in values:
                opened.set_constant(offset, value)
            opened.load()
        except OSError as error:
            reason = why(error, opened.verifier_log())
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
        self._hooks.check_namespace(interface)
        self.detach_from_interface(loaded, interface, direction=direction)  # what is left of a vanished interface
        program = _program_for(loaded, direction)
        attachment = self._hooks.attach(
            loaded.programs[program], link, name=program, kind=loaded.kinds[program], direction=direction
        )
        self._attached[key] = attachment
        return attachment

    def detach_from_interface(
        self, loaded: LoadedObject, interface: str, *, direction: Direction = Direction.RX
    ) -> None:
        """Detach what this loader attached; nothing happens when it did not."""
        attachment = self._attached.pop((loaded.name, loaded.instance, interface, direction), None)
        if attachment is not None:
            self._hooks.detach(attachment)

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
        return self._hooks.is_attached(attachment)

    def interface(self, name: str) -> LinkState:
        """Return an interface of this loader's namespace.

        Raises:
            ConfigurationInvalid: there is none of that name.
        """
        return self._hooks.interface(name)

    def close(self) -> None:
        """Detach and unload everything of ours. Safe to call twice."""
        with ExitStack() as stack:
            stack.callback(self._hooks.close)
            for loaded, _ in self._opened.values():
                stack.callback(self.unload_program, loaded)


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
