"""Sending real packets through a lab and counting them, for tests."""

import socket
import time

from infra.lab.kernel import index_of, netlink
from infra.node.netns import entered

# Root's own way past the kernel's limit (socket.h): a busy host wakes the receiver long after a burst.
SO_RCVBUFFORCE = 33
QUIET_SECONDS = 0.3  # nothing more arrives after so long; a lab's round trip is a tenth of a millisecond


def send(namespaces, addresses, *, count=50, size=200, source_port=20000, target_port=20001, pause_s=0.0005):
    """Send `count` UDP packets of `size` bytes at layer 3 and return how many arrived."""
    ends = []
    for namespace, address, port in zip(namespaces, addresses, (source_port, target_port), strict=True):
        with entered(namespace):
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        end.bind((address, port))
        ends.append(end)
    sender, receiver = ends
    with sender, receiver:
        for _ in range(count):
            sender.sendto(bytes(size - 28), (addresses[1], target_port))
            time.sleep(pause_s)
        receiver.settimeout(QUIET_SECONDS)
        arrived = 0
        while arrived < count:
            try:
                receiver.recv(65535)
            except TimeoutError:
                break
            arrived += 1
    return arrived


def between_loopbacks(lab, source, target, **how):
    return send(
        (lab.namespace(source), lab.namespace(target)),
        (lab.mesh.node(source).address, lab.mesh.node(target).address),
        **how,
    )


def between_neighbours(lab, source, target, **how):
    end = next(one for one in lab.places[source].links if one.peer == target)
    return send((lab.namespace(source), lab.namespace(target)), (end.address, end.peer_address), **how)


def counter(lab, node, interface, name):
    with netlink(lab.namespace(node)) as handle:
        link = handle.get_links(index_of(handle, interface))[0]
        return link.get_attr("IFLA_STATS64")[name]


def has_carrier(lab, node, interface):
    with netlink(lab.namespace(node)) as handle:
        return bool(handle.get_links(index_of(handle, interface))[0].get_attr("IFLA_CARRIER"))
