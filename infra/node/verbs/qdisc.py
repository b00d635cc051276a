"""RESTORE_QDISC: the root queue of a mesh interface, back to the kernel's default."""

from __future__ import annotations

import json

from infra.node.interfaces import Queue, delete_root_queue, links, replace_root_queue, root_queues
from infra.node.netlink import Netlink
from infra.node.place import NodePlace
from infra.node.verbs.base import ReadBack, link_end, text
from models.errors import OrderRefused
from models.remedy import Action

# Classless queues whose options are all there is to them: captured, they can be made again exactly. A queue with
# classes and filters cannot, so it is left to a person.
_EXACT = frozenset({"noqueue", "pfifo_fast", "pfifo", "bfifo", "tbf", "fq_codel", "fq", "codel", "sfq", "netem"})
_NONE = "noqueue"


class RestoreQdisc:
    """Deletes a leftover root queue, so that the kernel's default returns, and reads its kind back."""

    def __init__(self, place: NodePlace, netlink: Netlink) -> None:
        self._place = place
        self._netlink = netlink

    def _state(self, action: Action) -> tuple[int, Queue]:
        interface = text(action, "interface")
        found = links(self._netlink).get(interface)
        if found is None:
            raise OrderRefused(f"{self._place.node} has no interface {interface} now")
        return found.index, root_queues(self._netlink).get(found.index, Queue(_NONE, 0, b""))

    def target(self, action: Action) -> str:
        """Name the interface's root queue."""
        return f"qdisc:{text(action, 'interface')}"

    def check(self, action: Action) -> None:
        """Refuse foreign interfaces, and queues that an undo could not rebuild."""
        link_end(self._place, action)
        text(action, "kind")
        queue = self._state(action)[1]
        if queue.kind not in _EXACT:
            raise OrderRefused(f"a {queue.kind} queue has classes that an undo could not rebuild; remove it by hand")

    def capture(self, action: Action) -> str:
        """Return kind, handle and the kernel's encoding of the options."""
        queue = self._state(action)[1]
        return json.dumps({"kind": queue.kind, "handle": queue.handle, "options": queue.options.hex()})

    def apply(self, action: Action) -> None:
        """Delete the root queue unless it is of the wanted kind already."""
        index, queue = self._state(action)
        if queue.kind != text(action, "kind"):
            delete_root_queue(self._netlink, index)

    def read_back(self, action: Action) -> ReadBack:
        """Compare the kind of the root queue."""
        return ReadBack(matches=self._state(action)[1].kind == text(action, "kind"), state=self.capture(action))

    def undo(self, action: Action, before: str) -> ReadBack:
        """Make the captured queue again."""
        wanted = json.loads(before)
        if self.capture(action) != before:
            index, queue = self._state(action)
            if wanted["handle"] == 0:
                # Handle 0 marks the kernel's own default, which nobody can ask for but everybody gets after a delete.
                delete_root_queue(self._netlink, index)
            elif queue.handle != wanted["handle"] or queue.kind != wanted["kind"]:
                options = bytes.fromhex(wanted["options"])
                replace_root_queue(self._netlink, index, Queue(wanted["kind"], wanted["handle"], options))
        now = self.capture(action)
        return ReadBack(matches=now == before, state=now)
