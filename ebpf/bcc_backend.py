"""Compiling our programs at run time with bcc's library, for hosts that were given no precompiled objects.

Needs Debian's `libbpfcc` (elsewhere `bcc`): clang is inside that library, and neither a compiler nor kernel headers
nor a Python module is needed. (`bcc` on PyPI is another thing.) What libbpf does in 35 ms and almost no memory takes
0.4 s an interface here and 110 MB, which LLVM never gives back; that is why it is not the default.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import ClassVar

import structlog

from ebpf.bcc_source import BccSource, rewrite
from ebpf.capabilities import missing_capabilities
from ebpf.elf import MapDefinition
from ebpf.libbpf import close_descriptor
from ebpf.loader import PROGRAMS, EBPFLoader, LoadedObject
from ebpf.refusal import why
from models.errors import KernelRefused, ProgramInvalid, ToolMissing

log = structlog.get_logger()

LIBRARY = "libbcc.so.0"
# Stands in for a kernel's source tree: the few headers that bcc includes, ours (`rewrite` needs no others).
HEADERS = Path(__file__).parent / "bcc_headers"
_SOURCE_OF_HEADERS = "BCC_KERNEL_SOURCE"
_LOG_BYTES = 1 << 18
# enum bpf_prog_type
_PROGRAM_TYPES = {"tc": 3, "xdp": 6}
_FLAGS = (b"-Wno-everything",)  # the same C is compiled with every warning an error by make


class _LibBcc:
    """The calls of bcc's C interface (`bcc_common.h`, `libbpf.h`, 0.26) that compiling takes."""

    _SIGNATURES: ClassVar = {
        "bpf_module_create_c_from_string": (
            ctypes.c_void_p,
            (ctypes.c_char_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_int, ctypes.c_bool, ctypes.c_char_p),
        ),
        "bpf_module_destroy": (None, (ctypes.c_void_p,)),
        "bpf_module_license": (ctypes.c_char_p, (ctypes.c_void_p,)),
        "bpf_function_start": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
        "bpf_function_size": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_char_p)),
        "bpf_num_tables": (ctypes.c_size_t, (ctypes.c_void_p,)),
        "bpf_table_name": (ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_size_t)),
        "bpf_table_fd_id": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_size_t)),
        "bpf_table_type_id": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_size_t)),
        "bpf_table_max_entries_id": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)),
        "bpf_table_key_size_id": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)),
        "bpf_table_leaf_size_id": (ctypes.c_size_t, (ctypes.c_void_p, ctypes.c_size_t)),
        "bcc_func_load": (
            ctypes.c_int,
            (
                *(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p),
                *(ctypes.c_uint, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_char_p, ctypes.c_uint),
            ),
        ),
    }

    def __init__(self) -> None:
        try:
            self.calls = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            mend = "install it: apt install libbpfcc; or build the objects with make -C ebpf/programs"
            raise ToolMissing(LIBRARY, mend) from error
        for name, (result, arguments) in self._SIGNATURES.items():
            function = getattr(self.calls, name)
            function.restype, function.argtypes = result, arguments
        self.lock = threading.Lock()


@cache
def _libbcc() -> _LibBcc:
    return _LibBcc()


def is_installed() -> bool:
    """Tell whether bcc's library can be loaded; loading it takes some 80 MB."""
    try:
        _libbcc()
    except ToolMissing:
        return False
    return True


def loader_for(folder: Path = PROGRAMS, *, program: str = "tc_classifier.o") -> EBPFLoader:
    """Return a loader that can load a program: the usual one, or bcc's where no object was built and bcc is there."""
    if not (folder / program).is_file() and is_installed():
        log.info("no precompiled object; bcc compiles it", program=program)
        return BccLoader(folder)
    return EBPFLoader(folder)


class BccLoader(EBPFLoader):
    """An `EBPFLoader` that compiles `NAME.bpf.c` where the other reads `NAME.o`; everything else is the same.

    Only the tc and xdp programs: what reads kernel structs needs a precompiled object. While one is compiled the
    process's working directory is bcc's; do not depend on it from another thread.
    """

    def __init__(self, folder: Path = PROGRAMS) -> None:
        super().__init__(folder)
        self._compiled: dict[tuple[str, str], tuple[LoadedObject, _Compiled]] = {}

    def load_program(
        self, name: str | Path, *, instance: str = "", constants: Mapping[str, int] | None = None
    ) -> LoadedObject:
        """Compile a program, load its maps and functions into the kernel and return what is in it.

        Args:
            name: `xdp_counter.o`, as for the other loader: the object that is not there.
            instance: Load another copy, with maps of its own, under this name.
            constants: Values for the program's `const volatile` integers.

        Raises:
            ToolMissing: bcc's library is not installed.
            ProgramInvalid: the source is missing, cannot be rewritten or does not compile (clang's own words are on
                standard error).
            KernelRefused: the verifier or a missing capability; with the log's last lines.
        """
        path = self._folder / name
        key = (str(path), instance)
        if key not in self._compiled:
            source = _read_source(path, constants or {})
            compiled = _Compiled(source, path.name)
            loaded = LoadedObject(
                name=path.name,
                instance=instance,
                programs=compiled.programs,
                kinds=source.kinds,
                maps=compiled.maps,
                definitions=compiled.definitions,
            )
            self._compiled[key] = (loaded, compiled)
        return self._compiled[key][0]

    def unload_program(self, loaded: LoadedObject) -> None:
        """Detach an object everywhere and free its maps and programs; nothing happens when it is not loaded here."""
        try:
            super().unload_program(loaded)
        finally:
            for key, (held, compiled) in list(self._compiled.items()):
                if held is loaded:
                    del self._compiled[key]
                    compiled.close()

    def close(self) -> None:
        """Detach and unload everything of ours. Safe to call twice."""
        try:
            for loaded, _ in list(self._compiled.values()):
                self.unload_program(loaded)
        finally:
            super().close()


class _Compiled:
    """One module of bcc's, with its functions loaded into the kernel."""

    def __init__(self, source: BccSource, name: str) -> None:
        self._bcc = _libbcc()
        self.programs: dict[str, int] = {}
        with self._bcc.lock, kernel_headers():
            flags = (ctypes.c_char_p * len(_FLAGS))(*_FLAGS)
            self._module = self._bcc.calls.bpf_module_create_c_from_string(
                source.text.encode(), 0, flags, len(_FLAGS), False, None
            )
        if not self._module:
            raise ProgramInvalid(name, _why_not_compiled())
        calls = self._bcc.calls
        tables = {
            calls.bpf_table_name(self._module, one).decode(): one for one in range(calls.bpf_num_tables(self._module))
        }
        self.maps = {table: calls.bpf_table_fd_id(self._module, one) for table, one in tables.items()}
        self.definitions = {
            table: MapDefinition(
                type=calls.bpf_table_type_id(self._module, one),
                key=calls.bpf_table_key_size_id(self._module, one),
                value=calls.bpf_table_leaf_size_id(self._module, one),
                max_entries=calls.bpf_table_max_entries_id(self._module, one),
            )
            for table, one in tables.items()
        }
        try:
            for function, kind in source.kinds.items():
                self.programs[function] = self._load(function, _PROGRAM_TYPES[kind], name=name)
        except KernelRefused:
            self.close()
            raise

    def close(self) -> None:
        """Free the functions and the maps; links made from them keep them loaded. Safe to call twice."""
        for descriptor in self.programs.values():
            close_descriptor(descriptor)
        self.programs = {}
        if self._module:
            self._bcc.calls.bpf_module_destroy(self._module)
            self._module = None

    def _load(self, function: str, kind: int, *, name: str) -> int:
        calls, label = self._bcc.calls, function.encode()
        log = ctypes.create_string_buffer(_LOG_BYTES)
        descriptor: int = calls.bcc_func_load(
            self._module,
            kind,
            label,
            calls.bpf_function_start(self._module, label),
            calls.bpf_function_size(self._module, label),
            calls.bpf_module_license(self._module),
            0,  # kernel version: asked for by kprobes before 5.0 only
            0,  # no trace unless it fails; then bcc asks again, with the log
            log,
            _LOG_BYTES,
            None,
            0,
        )
        if descriptor < 0:
            code = ctypes.get_errno()
            refusal = OSError(code, os.strerror(code))
            raise KernelRefused(f"loading {name}", why(refusal, log.value.decode(errors="replace")))
        return descriptor


def _why_not_compiled() -> str:
    # bcc makes the maps while it compiles, so that a missing right looks like a program that does not compile.
    missing = missing_capabilities()
    reason = f"this process lacks {', '.join(missing)}" if missing else "the reason is on standard error"
    return f"bcc could not make a module of it; {reason}"


@contextmanager
def kernel_headers() -> Iterator[None]:
    """Let bcc take our headers for the kernel's, in the body; it asks the environment."""
    before = os.environ.get(_SOURCE_OF_HEADERS)
    os.environ[_SOURCE_OF_HEADERS] = str(HEADERS)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SOURCE_OF_HEADERS]
        else:
            os.environ[_SOURCE_OF_HEADERS] = before


def _read_source(path: Path, constants: Mapping[str, int]) -> BccSource:
    main = path.with_suffix(".bpf.c")
    if not main.is_file():
        raise ProgramInvalid(str(main), "the file does not exist; give the name of one of our programs")
    files = {one.name: one.read_text() for one in (main, *main.parent.glob("*.h"))}
    return rewrite(main.name, files, constants=constants)
