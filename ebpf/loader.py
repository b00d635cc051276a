"""Loading eBPF objects and attaching them; what is attached goes away with this process (`ebpf.hooks`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from ebpf.elf import INTERFACE_KINDS, MapDefinition, ObjectFile, read_object
from ebpf.hooks import Attachment, Hook, InterfaceHooks
from ebpf.libbpf import OpenObject, libbpf
from ebpf.netlink import LinkState
from ebpf.pins import prepare, worth_pinning
from ebpf.refusal import last_said, why
from ebpf.variants import PREFERENCE, signal_of, variants
from models.errors import KernelRefused, ProgramInvalid
from models.telemetry import Direction

log = structlog.get_logger()

PROGRAMS = Path(__file__).parent / "programs"
# An object of ours has some 40 kB; a wrong file should not be read whole into memory.
_MAX_OBJECT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class LoadedObject:
    """An object in the kernel.

    Attributes:
        name: File name.
        instance: Tells apart several copies of one object, each with maps of its own.
        programs: Function name -> descriptor; of alternatives only the one that was taken.
        kinds: Function name -> kind (`tc`, `xdp`, `tp_btf`, ...).
        maps: Name -> descriptor; only those that the programs use.
        definitions: Name -> type and sizes.
        refused: Signal -> why none of its alternatives goes on this kernel.
    """

    name: str
    instance: str
    programs: Mapping[str, int]
    kinds: Mapping[str, str]
    maps: Mapping[str, int]
    definitions: Mapping[str, MapDefinition]
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """One tracing program at its place in the kernel, put there by us.

    Attributes:
        program: Function name.
        kind: `tp_btf`, `raw_tp`, `tp` or `kprobe`.
        link: What libbpf knows it by.
    """

    program: str
    kind: str
    link: int


class EBPFLoader:
    """Load objects, attach them to interfaces of the network namespace this was constructed in, and clean up.

    Everything may be called twice: what is already so stays so. Never detaches what it did not attach.

    Args:
        folder: Where object names without a path are looked up.
        hooks: Which mechanisms may be taken; the better one is tried first.
        kinds: Which alternatives of a tracing program may be tried.
        pins: A folder in bpffs. Every object's counts are kept in a folder of its own below it: they are gone on with
            by the next loader of that object and instance, until `ebpf.pins.forget` removes them. None: counts go
            with this loader.
        types: A file of BTF by which programs are moved to the kernel's layout. None: the running kernel's own.
    """

    def __init__(
        self,
        folder: Path = PROGRAMS,
        *,
        hooks: Sequence[Hook] = tuple(Hook),
        kinds: Collection[str] = PREFERENCE,
        pins: Path | None = None,
        types: Path | None = None,
    ) -> None:
        self._folder, self._kinds, self._pins, self._types = folder, kinds, pins, types
        self._hooks = InterfaceHooks(hooks)
        self._opened: dict[tuple[str, str], tuple[LoadedObject, OpenObject]] = {}
        self._attached: dict[tuple[str, str, str, Direction], Attachment] = {}
        self._probes: dict[tuple[str, str, str], Probe] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load_program(
        self,
        name: str | Path,
        *,
        instance: str = "",
        constants: Mapping[str, int] | None = None,
    ) -> LoadedObject:
        """Check an object, load its maps and programs into the kernel and return what is in it.

        Of programs that are alternatives to each other (`ebpf.variants`), the first that loads and attaches is taken,
        found by trying; a signal of which none goes is named in `refused` and keeps no other from being loaded.

        Args:
            name: `xdp_counter.o` (looked up among the built programs) or a path.
            instance: Load another copy, with maps of its own, under this name.
            constants: Values for the program's `const volatile` integers.

        Raises:
            ProgramInvalid: the file is missing, damaged or not what it should be; the kernel has not seen it.
            KernelRefused: the verifier or a missing capability; with the log's last lines.
            ConfigurationInvalid: pins were asked for where there is no bpffs.
        """
        path = self._folder / name
        key = (str(path), instance)
        if key in self._opened:
            return self._opened[key][0]
        content = _read_file(path)
        described = read_object(content, path.name)
        values = _constant_bytes(described, constants or {}, path.name)
        source = _Source(path.name, content, described, values, self._types)
        chosen, refused = _choose(source, self._kinds)
        pins = None if self._pins is None else prepare(self._pins, path.name, instance)
        opened = source.load(chosen, pins=pins)
        loaded = LoadedObject(
            name=path.name,
            instance=instance,
            programs=opened.programs(),
            kinds={one: described.programs[one] for one in chosen},
            maps={one: number for one, number in opened.maps().items() if one in described.maps},
            definitions=described.maps,
            refused=refused,
        )
        self._opened[key] = (loaded, opened)
        return loaded

    def attach(self, loaded: LoadedObject, signal: str | None = None) -> tuple[Probe, ...]:
        """Attach an object's tracing programs where their sections say: those of one signal, or all.

        Raises:
            ProgramInvalid: the object has no such program, or the loader of it was closed.
            KernelRefused: the kernel does not attach one of them; none of this call stays attached then.
        """
        opened = next((held for one, held in self._opened.values() if one is loaded), None)
        wanted = [one for one in _tracing(loaded) if signal in {None, signal_of(one)}]
        if opened is None or not wanted:
            what = f"program of the signal {signal}" if signal else "tracing program"
            raise ProgramInvalid(loaded.name, f"no {what} of it is loaded")
        made: list[tuple[str, str, str]] = []
        for program in wanted:
            key = (loaded.name, loaded.instance, program)
            if key in self._probes:
                continue
            try:
                self._probes[key] = Probe(program, loaded.kinds[program], opened.attach(program))
            except OSError as error:
                for one in made:
                    self._detach_probe(one)
                raise KernelRefused(f"attaching {program}", why(error)) from error
            made.append(key)
            log.info("program attached", program=program, kind=loaded.kinds[program])
        return tuple(self._probes[loaded.name, loaded.instance, program] for program in wanted)

    def detach(self, loaded: LoadedObject, signal: str | None = None) -> None:
        """Detach what `attach` attached; nothing happens when it did not."""
        with ExitStack() as stack:
            for key in list(self._probes):
                if key[:2] == (loaded.name, loaded.instance) and signal in {None, signal_of(key[2])}:
                    stack.callback(self._detach_probe, key)

    def probes(self) -> tuple[Probe, ...]:
        """Return every tracing program this loader attached and has not detached; nobody else can take them away."""
        return tuple(self._probes.values())

    def _detach_probe(self, key: tuple[str, str, str]) -> None:
        probe = self._probes.pop(key)
        try:
            libbpf().destroy_link(probe.link)
        except OSError as error:
            raise KernelRefused(f"detaching {probe.program}", why(error)) from error

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
            stack.callback(self.detach, loaded)
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


@dataclass(frozen=True, slots=True)
class _Source:
    """An object as read, to be loaded once for good and maybe before that in parts, to see what goes."""

    name: str
    content: bytes
    described: ObjectFile
    constants: Sequence[tuple[int, bytes]]
    types: Path | None

    def load(self, programs: Collection[str], *, pins: Path | None = None) -> OpenObject:
        """Load some of its programs and the maps they use.

        Raises:
            ProgramInvalid: libbpf cannot make sense of the file.
            KernelRefused: the kernel said no; with the log's last lines.
        """
        try:
            opened = libbpf().open_object(self.content, self.name.split(".")[0], types=self.types)
        except OSError as error:
            raise ProgramInvalid(self.name, f"libbpf cannot open it: {last_said(error)}") from error
        try:
            opened.choose(programs, maps=frozenset().union(*(self.described.uses[one] for one in programs)))
            for offset, value in self.constants:
                opened.set_constant(offset, value)
            if pins is not None:
                opened.pin(worth_pinning(self.described.maps), pins)
            opened.load()
        except OSError as error:
            reason = why(error, opened.verifier_log())
            opened.close()
            raise KernelRefused(f"loading {self.name}", reason) from error
        return opened

    def refusal(self, programs: Collection[str]) -> str:
        """Load and attach some programs for a moment; return why that does not go, empty when it does."""
        try:
            opened = self.load(programs)
        except KernelRefused as error:
            return error.reason
        links = []
        try:
            links = [opened.attach(one) for one in programs]
        except OSError as error:
            return why(error)
        finally:
            for link in links:
                libbpf().destroy_link(link)
            opened.close()
        return ""


def _choose(source: _Source, kinds: Collection[str]) -> tuple[frozenset[str], dict[str, str]]:
    """Return the programs to load, and the signals that do not go with the reason."""
    chosen = {one for one in source.described.programs if not signal_of(one)}
    refused = {}
    for signal, options in variants(source.described.programs).items():
        reasons = []
        for kind, programs in options.items():
            if kind not in kinds:
                continue
            reason = source.refusal(programs)
            if not reason:
                chosen.update(programs)
                break
            reasons.append(f"{kind}: {reason}")
        else:
            refused[signal] = "; ".join(reasons) or "no variant of it is allowed here"
            log.warning("signal not measured", signal=signal, object=source.name, reason=refused[signal])
    if not chosen:
        told = "; ".join(f"{signal} by {reason}" for signal, reason in refused.items())
        raise KernelRefused(f"every program of {source.name}", told)
    return frozenset(chosen), refused


def _tracing(loaded: LoadedObject) -> list[str]:
    return [one for one, kind in loaded.kinds.items() if kind not in INTERFACE_KINDS]


def _constant_bytes(described: ObjectFile, constants: Mapping[str, int], name: str) -> list[tuple[int, bytes]]:
    values = []
    for constant, value in constants.items():
        if constant not in described.constants:
            raise ProgramInvalid(name, f"it has no constant named {constant}")
        offset, size = described.constants[constant]
        values.append((offset, value.to_bytes(size, "little")))
    return values


def _program_for(loaded: LoadedObject, direction: Direction) -> str:
    if _tracing(loaded):
        raise ProgramInvalid(loaded.name, "its programs belong to no interface; use attach")
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
