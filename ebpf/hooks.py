"""Attaching programs to interfaces: TCX, clsact and XDP. What is attached here goes away with this process.

Links (XDP, TCX) are file descriptors: the kernel detaches when the last one closes, after kill -9 too. Where the kernel
has no TCX (before 6.6) a clsact filter is used instead; that one outlives a kill, still counting into maps that nobody
reads, until its interface goes or someone removes it; and while the clsact itself comes or goes, the kernel drops what
the interface is just sending.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from ebpf.libbpf import close_descriptor, libbpf, network_namespace
from ebpf.netlink import EGRESS, INGRESS, LinkState, RouteSocket
from ebpf.refusal import why
from models.errors import ConfigurationInvalid, KernelRefused
from models.telemetry import Direction

log = structlog.get_logger()

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
    """How a program is attached to an interface."""

    TCX = "tcx"
    CLSACT = "clsact"
    XDP_NATIVE = "xdp-native"
    XDP_GENERIC = "xdp-generic"


_HOOKS_OF = {"tc": (Hook.TCX, Hook.CLSACT), "xdp": (Hook.XDP_NATIVE, Hook.XDP_GENERIC)}


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


class InterfaceHooks:
    """The hooks of all interfaces in the network namespace this was constructed in.

    Args:
        allowed: Which mechanisms may be taken; the better one is tried first.
    """

    def __init__(self, allowed: Sequence[Hook]) -> None:
        self._allowed = frozenset(allowed)
        self._routes = RouteSocket()
        self._namespace = network_namespace()
        self._clsact: set[int] = set()

    def attach(self, program: int, link: LinkState, *, name: str, kind: str, direction: Direction) -> Attachment:
        """Attach a program: TCX, else clsact; native XDP, else generic.

        Args:
            program: Its descriptor.
            link: The interface.
            name: The program's function name.
            kind: `tc` or `xdp`.
            direction: Which packets it shall see.

        Raises:
            KernelRefused: no way of attaching was accepted.
        """
        refusals = []
        for hook in (one for one in _HOOKS_OF[kind] if one in self._allowed):
            try:
                number = self._attach(hook, program, link.index, direction=direction, name=name)
            except OSError as error:
                refusals.append(f"{hook}: {why(error)}")
                if hook is Hook.TCX and error.errno not in _NO_TCX:
                    break
                continue
            log.info("program attached", program=name, interface=link.name, direction=direction, hook=hook)
            program_id = libbpf().program_id(program)
            return Attachment(name, link.name, link.index, direction, hook, number, program_id)
        raise KernelRefused(f"attaching {name} to {link.name}", "; ".join(refusals) or "no hook is allowed here")

    def detach(self, attachment: Attachment) -> None:
        """Take away what `attach` put there, and nothing else."""
        if attachment.hook is Hook.CLSACT:
            self._detach_filter(attachment)
        else:
            close_descriptor(attachment.link)

    def is_attached(self, attachment: Attachment) -> bool:
        """Ask the kernel whether an attachment of ours is still in place (its interface may be gone)."""
        if attachment.hook is Hook.CLSACT:
            return self._has_filter(attachment)
        return libbpf().link_ifindex(attachment.link) == attachment.ifindex

    def interface(self, name: str) -> LinkState:
        """Return an interface of this namespace.

        Raises:
            ConfigurationInvalid: there is none of that name.
        """
        found = self._routes.link(name)
        if found is None:
            raise ConfigurationInvalid(f"no interface {name} in this network namespace", "check `ip link`")
        return found

    def check_namespace(self, interface: str) -> None:
        """Refuse to attach from another namespace, where the same name may be another interface.

        Raises:
            ConfigurationInvalid: the calling thread is in another network namespace.
        """
        if network_namespace() != self._namespace:
            raise ConfigurationInvalid(
                f"{interface} is in the network namespace this loader was made in, not in this thread's",
                "attach from that namespace",
            )

    def close(self) -> None:
        """Close the socket; what is attached stays. Safe to call twice."""
        self._routes.close()

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
