"""Mounting what is absent, in a mount namespace of the test's own."""

import subprocess
import sys

import pytest

from ebpf.mounts import MountPoint, is_mounted

_SCRIPT = """
from pathlib import Path
from ebpf.mounts import WANTED, is_mounted, mount_missing, unmount

def there():
    return [point.kind for point in WANTED if is_mounted(point, Path("/proc/self/mounts").read_text())]

for point in WANTED:
    if is_mounted(point, Path("/proc/self/mounts").read_text()):
        unmount([point.path])
print(there())
print([str(path) for path in mount_missing(WANTED[:1])])
print([str(path) for path in mount_missing()], there())
print(mount_missing())
unmount([WANTED[1].path])
print(there())
unmount([WANTED[1].path])
"""


def test_a_file_system_of_another_kind_at_the_place_does_not_count(tmp_path):
    point = MountPoint("bpf", tmp_path)
    assert is_mounted(point, f"x {tmp_path} bpf rw 0 0\n")
    assert not is_mounted(point, f"x {tmp_path} tmpfs rw 0 0\n")
    assert not is_mounted(point, f"x {tmp_path}/below bpf rw 0 0\n")


@pytest.mark.kernel
def test_mounts_only_what_is_absent_and_unmounts_only_what_it_is_told(kernel):
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", _SCRIPT]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines() == [
        "[]",
        "['/sys/fs/bpf']",
        "['/sys/kernel/tracing'] ['bpf', 'tracefs']",
        "()",
        "['bpf']",
    ]


@pytest.mark.kernel
def test_a_refused_mount_says_what_to_do_and_leaves_none_behind(kernel):
    script = (
        "from pathlib import Path\n"
        "from ebpf.mounts import MountPoint, WANTED, is_mounted, mount_missing, unmount\n"
        "from models.errors import KernelRefused\n"
        "text = lambda: Path('/proc/self/mounts').read_text()\n"
        "if is_mounted(WANTED[0], text()): unmount([WANTED[0].path])\n"
        "try:\n"
        "    mount_missing([WANTED[0], MountPoint('bpf', Path('/no/such/folder'))])\n"
        "except KernelRefused as error:\n"
        "    print(error, is_mounted(WANTED[0], text()))\n"
    )
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", script]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "mounting bpf at /no/such/folder: No such file or directory" in found
    assert found.endswith("False\n")
