"""Senses that are opened for one look."""

from __future__ import annotations

import os
from pathlib import Path

from infra.node.place import NodePlace
from infra.node.senses import configuration_of
from models.mesh import NodeId


def test_a_single_look_at_a_configuration_leaves_nothing_open(tmp_path: Path):
    place = NodePlace(mesh="m", node="here", address="127.0.0.1", folder=tmp_path)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - pathlib's iterator holds a descriptor of its own
    assert configuration_of(place).node == NodeId("here")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - as above
