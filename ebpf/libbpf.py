"""The few calls of libbpf and libc that we need, through ctypes: 15 MB of memory where bcc takes 130.

Thin on purpose: numbers and descriptors in, OSError out. Meaning is given one layer up (`ebpf.loader`, `ebpf.maps`).
Structs are laid out as in libbpf 1.1's headers; each begins with its own size, so that newer libraries accept them.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections import deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from models.errors import ToolMissing

LIBRARY = "libbpf.so.1"
# Enough for the tail of any log of ours (a whole instruction trace is not asked for); pages unused are never touched.
_LOG_BYTES = 1 << 18
_MESSAGE_BYTES = 1024
# enum bpf_stats_type
_RUN_TIME = 0
# enum libbpf_print_level
_WARNING = 0
# The kernel's own errno, not in Python's table: an operation this kind of map or program does not have.
ENOTSUPP = 524
_U32, _U64, _S32 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32
# BTF, as in ebpf/btf.py: what the kernel calls an enum, and the words of a type before its members.
_KIND_ENUM, _TYPE_WORDS = 6, 3
_Printer = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class _OpenOptions(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("unused", _U32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
        ("kernel_log_buf", ctypes.c_void_p),
        ("kernel_log_size", ctypes.c_size_t),
        ("kernel_log_level", _U32),
    )


class _LinkOptions(ctypes.Structure):
    # Of what follows `flags`, all must be zero for the hooks we use.
    _fields_ = (("sz", ctypes.c_size_t), ("flags", _U32), ("rest", _U32), ("zero", _U64 * 7))


class _BatchOptions(ctypes.Structure):
    _fields_ = (("sz", ctypes.c_size_t), ("elem_flags", _U64), ("flags", _U64))


class _RunOptions(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", _U32),
        ("data_size_out", _U32),
        ("ctx_in", ctypes.c_char_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", _U32),
        ("ctx_size_out", _U32),
        ("retval", _U32),
        ("repeat", ctypes.c_int),
        ("duration", _U32),
        ("flags", _U32),
        ("cpu", _U32),
        ("batch_size", _U32),
    )


class _LinkInfo(ctypes.Structure):
    """`struct bpf_link_info` of an XDP or TCX link: both keep the interface's index first."""

    _fields_ = (("type", _U32), ("id", _U32), ("prog_id", _U32), ("pad", _U32), ("ifindex", _U32), ("rest", _U32 * 9))


def _opts(kind: type[ctypes.Structure], **fields: object) -> Any:
    options = kind(**fields)
    options.sz = ctypes.sizeof(kind)
    return options


class LibBpf:
    """One process's libbpf. Get it with `libbpf()`.

    Attributes:
        said: What libbpf warned of last, newest at the end; it would otherwise land on standard error.
    """

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            raise ToolMissing(LIBRARY, "install it: apt install libbpf1") from error
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.said: deque[str] = deque(maxlen=20)
        self._printer = _Printer(self._keep)  # libbpf keeps the pointer: it must outlive every call
        self.listen()
        pointer = ctypes.c_void_p
        for name, result, arguments in (
            ("bpf_object__open_mem", pointer, (pointer, ctypes.c_size_t, pointer)),
            ("bpf_object__load", ctypes.c_int, (pointer,)),
            ("bpf_object__close", None, (pointer,)),
            ("bpf_object__next_program", pointer, (pointer, pointer)),
            ("bpf_object__next_map", pointer, (pointer, pointer)),
            ("bpf_program__name", ctypes.c_char_p, (pointer,)),
            ("bpf_program__fd", ctypes.c_int, (pointer,)),
            ("bpf_program__set_autoload", ctypes.c_int, (pointer, ctypes.c_bool)),
            ("bpf_program__attach", pointer, (pointer,)),
            ("bpf_link__destroy", ctypes.c_int, (pointer,)),
            ("bpf_map__set_pin_path", ctypes.c_int, (pointer, ctypes.c_char_p)),
            ("bpf_map__set_autocreate", ctypes.c_int, (pointer, ctypes.c_bool)),
            ("btf__load_vmlinux_btf", pointer, ()),
            ("btf__find_by_name_kind", _S32, (pointer, ctypes.c_char_p, _U32)),
            ("btf__type_by_id", pointer, (pointer, _U32)),
            ("btf__name_by_offset", ctypes.c_char_p, (pointer, _U32)),
            ("btf__free", None, (pointer,)),
            ("bpf_map__name", ctypes.c_char_p, (pointer,)),
            ("bpf_map__fd", ctypes.c_int, (pointer,)),
            ("bpf_map__initial_value", pointer, (pointer, pointer)),
        ):
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments

    def listen(self) -> None:
        """Forget what was said, and hear what will be: bcc in the same process takes the ear to itself."""
        self.said.clear()
        self._lib.libbpf_set_print(self._printer)

    def _keep(self, level: int, form: bytes, arguments: int | None) -> int:
        if level != _WARNING:
            return 0
        text = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._libc.vsnprintf(text, ctypes.c_size_t(_MESSAGE_BYTES), form, ctypes.c_void_p(arguments))
        self.said.append(text.value.decode(errors="replace").strip())
        return 0

    def _checked(self, result: int) -> int:
        if result < 0:
            # libbpf 1.x answers with the negative errno itself; errno is only a copy of it.
            raise OSError(-result, os.strerror(-result))
        return result

    # --- objects ---

    def open_object(self, content: bytes, name: str, *, types: Path | None = None) -> OpenObject:
        """Parse an object in memory; nothing reaches the kernel yet. `types`: BTF to take for the running kernel's."""
        log = ctypes.create_string_buffer(_LOG_BYTES)
        options = _opts(
            _OpenOptions,
            object_name=name.encode(),
            btf_custom_path=None if types is None else os.fsencode(types),
            kernel_log_buf=ctypes.cast(log, ctypes.c_void_p),
            kernel_log_size=_LOG_BYTES,
        )
        self.listen()
        handle = self._lib.bpf_object__open_mem(content, len(content), ctypes.byref(options))
        if not handle:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return OpenObject(self, handle, log)

    # --- links ---

    def create_link(self, program: int, ifindex: int, hook: int, *, flags: int) -> int:
        """Attach a program to an interface of the calling thread's namespace; closing the descriptor detaches it."""
        options = _opts(_LinkOptions, flags=flags)
        return self._checked(self._lib.bpf_link_create(program, ifindex, hook, ctypes.byref(options)))

    def link_ifindex(self, link: int) -> int:
        """Return the interface a link is attached to; 0 when that interface is gone."""
        held = _LinkInfo()
        size = _U32(ctypes.sizeof(held))
        self._checked(self._lib.bpf_obj_get_info_by_fd(link, ctypes.byref(held), ctypes.byref(size)))
        return int(held.ifindex)

    def attached_programs(self, ifindex: int, hook: int) -> tuple[int, ...]:
        """Return the ids of all programs, anyone's, at a hook of an interface of the calling thread's namespace."""
        # The kernel refuses more than 64 at one hook.
        ids, count = (_U32 * 64)(), _U32(64)
        self._checked(self._lib.bpf_prog_query(ifindex, hook, 0, None, ids, ctypes.byref(count)))
        return tuple(ids[: count.value])

    def program_id(self, program: int) -> int:
        """Return the kernel's id of a loaded program."""
        return self._program_facts(program)[1]

    def run_statistics(self, program: int) -> tuple[int, int]:
        """Return nanoseconds and times that a program ran; counted while `kernel.bpf_stats_enabled` is 1."""
        facts = self._program_facts(program)
        return facts[48] | facts[49] << 32, facts[50] | facts[51] << 32

    @contextmanager
    def counting_runs(self) -> Iterator[None]:
        """Let the kernel count the runs of all programs meanwhile, as `kernel.bpf_stats_enabled` does for ever."""
        held = self._checked(self._lib.bpf_enable_stats(_RUN_TIME))
        try:
            yield
        finally:
            close_descriptor(held)

    def _program_facts(self, program: int) -> list[int]:
        """Return struct bpf_prog_info by 32-bit words: id is word 1, run_time_ns 48 and 49, run_cnt 50 and 51."""
        held = (_U32 * 64)()  # the kernel fills as much as there is room
        size = _U32(ctypes.sizeof(held))
        self._checked(self._lib.bpf_obj_get_info_by_fd(program, ctypes.byref(held), ctypes.byref(size)))
        return list(held)

    def destroy_link(self, link: int) -> None:
        """Detach what `OpenObject.attach` attached, and free the link."""
        self._checked(self._lib.bpf_link__destroy(link))

    def kernel_enum(self, name: str) -> dict[int, str]:
        """Return number -> name of one of the running kernel's enums; by libbpf, since all of its types are many MB."""
        types = self._lib.btf__load_vmlinux_btf()
        if not types:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        try:
            at = self._lib.btf__type_by_id(
                types, self._checked(self._lib.btf__find_by_name_kind(types, name.encode(), _KIND_ENUM))
            )
            members = (_U32 * _TYPE_WORDS).from_address(at)[1] & 0xFFFF
            pairs = (_U32 * (2 * members)).from_address(at + _TYPE_WORDS * ctypes.sizeof(_U32))
            return {
                value: self._lib.btf__name_by_offset(types, name_at).decode()
                for name_at, value in zip(pairs[::2], pairs[1::2], strict=True)
            }
        finally:
            self._lib.btf__free(types)

    # --- maps and trial runs ---

    def possible_cpus(self) -> int:
        """Return how many values a per-CPU map holds for each key."""
        return self._checked(self._lib.libbpf_num_possible_cpus())

    def lookup(self, map_fd: int, key: int, value_at: int) -> None:
        """Read the value of one 32-bit key to an address with room for it."""
        held = _U32(key)
        self._checked(self._lib.bpf_map_lookup_elem(map_fd, ctypes.byref(held), ctypes.c_void_p(value_at)))

    def lookup_batch(self, map_fd: int, *, keys_at: int, values_at: int, count: int) -> int:
        """Read up to `count` entries in one call, from the first; return how many there were."""
        cursor, room = (ctypes.c_char * 64)(), _U32(count)
        options = _opts(_BatchOptions)
        result = self._lib.bpf_map_lookup_batch(
            map_fd,
            None,
            ctypes.byref(cursor),
            ctypes.c_void_p(keys_at),
            ctypes.c_void_p(values_at),
            ctypes.byref(room),
            ctypes.byref(options),
        )
        if result != -errno.ENOENT:  # the kernel's way to say that this was the last entry
            self._checked(result)
        return room.value

    def trial_run(
        self, program: int, packet: bytes, *, context: bytes | None = None, repeat: int = 1
    ) -> tuple[int, int]:
        """Run a program over one packet inside the kernel.

        Returns:
            Its return value as the kernel's unsigned number, and nanoseconds a run.
        """
        options = _opts(
            _RunOptions,
            data_in=packet,
            data_size_in=len(packet),
            ctx_in=context,
            ctx_size_in=len(context or b""),
            repeat=repeat,
        )
        self._checked(self._lib.bpf_prog_test_run_opts(program, ctypes.byref(options)))
        return int(options.retval), int(options.duration)


class OpenObject:
    """An object libbpf has parsed: set constants, load, find descriptors, close. Descriptors live until `close`."""

    def __init__(self, library: LibBpf, handle: int, log: ctypes.Array[ctypes.c_char]) -> None:
        self._library, self._handle, self._log = library, handle, log

    def set_constant(self, offset: int, value: bytes) -> None:
        """Write into `.rodata` before loading: the verifier then treats it as known."""
        for found in self._each(self._library._lib.bpf_object__next_map):  # noqa: SLF001  # one unit, two classes
            if self._name(found, "map").endswith(".rodata"):
                size = ctypes.c_size_t()
                start = self._library._lib.bpf_map__initial_value(found, ctypes.byref(size))  # noqa: SLF001
                if not start or offset + len(value) > size.value:
                    raise OSError(errno.ERANGE, "constant lies outside of .rodata")
                ctypes.memmove(start + offset, value, len(value))
                return
        raise OSError(errno.ENOENT, "object has no .rodata")

    def choose(self, programs: Container[str], *, maps: Container[str]) -> None:
        """Load only these programs, create only these maps (and libbpf's own, for data); before `load`."""
        lib = self._library._lib  # noqa: SLF001  # one unit, two classes
        for one in self._each(lib.bpf_object__next_program):
            lib.bpf_program__set_autoload(one, self._name(one, "program") in programs)
        for one in self._each(lib.bpf_object__next_map):
            if "." not in self._name(one, "map"):
                lib.bpf_map__set_autocreate(one, self._name(one, "map") in maps)

    def pin(self, maps: Container[str], folder: Path) -> None:
        """Take over the maps pinned in a folder of bpffs, or pin the new ones there; before `load`."""
        lib = self._library._lib  # noqa: SLF001  # one unit, two classes
        for one in self._each(lib.bpf_object__next_map):
            name = self._name(one, "map")
            if name in maps:
                self._library._checked(lib.bpf_map__set_pin_path(one, os.fsencode(folder / name)))  # noqa: SLF001

    def attach(self, program: str) -> int:
        """Attach a tracing program where its section says; return the link, for `LibBpf.destroy_link`."""
        lib = self._library._lib  # noqa: SLF001  # one unit, two classes
        self._library.listen()
        for one in self._each(lib.bpf_object__next_program):
            if self._name(one, "program") == program:
                link = lib.bpf_program__attach(one)
                if not link:
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
                return int(link)
        raise OSError(errno.ENOENT, f"object has no program {program}")

    def load(self) -> None:
        """Create the maps and let the verifier judge the programs."""
        self._library._checked(self._library._lib.bpf_object__load(self._handle))  # noqa: SLF001

    def verifier_log(self) -> str:
        """Return what the verifier wrote when it refused; empty when it did not."""
        return self._log.value.decode(errors="replace")

    def programs(self) -> dict[str, int]:
        """Return name -> descriptor of the loaded programs."""
        lib = self._library._lib  # noqa: SLF001
        found = {
            self._name(one, "program"): lib.bpf_program__fd(one) for one in self._each(lib.bpf_object__next_program)
        }
        return {name: descriptor for name, descriptor in found.items() if descriptor >= 0}  # those not chosen have none

    def maps(self) -> dict[str, int]:
        """Return name -> descriptor of the created maps."""
        lib = self._library._lib  # noqa: SLF001
        found = {self._name(one, "map"): lib.bpf_map__fd(one) for one in self._each(lib.bpf_object__next_map)}
        return {name: descriptor for name, descriptor in found.items() if descriptor >= 0}

    def close(self) -> None:
        """Free everything; links made from the programs keep them loaded. Safe to call twice."""
        if self._handle:
            self._library._lib.bpf_object__close(self._handle)  # noqa: SLF001
            self._handle = 0

    def _name(self, item: int, kind: str) -> str:
        return str(getattr(self._library._lib, f"bpf_{kind}__name")(item).decode())  # noqa: SLF001

    def _each(self, following: Callable[[int, int | None], int | None]) -> Iterator[int]:
        item = following(self._handle, None)
        while item:
            yield item
            item = following(self._handle, item)


@cache
def libbpf() -> LibBpf:
    """Return the process's libbpf.

    Raises:
        ToolMissing: the library is not installed.
    """
    return LibBpf()


def close_descriptor(descriptor: int) -> None:
    """Close a link's or program's descriptor."""
    os.close(descriptor)


def network_namespace() -> int:
    """Return the inode of the calling thread's network namespace: its identity."""
    return Path("/proc/thread-self/ns/net").stat().st_ino
