"""Rights are given up once everything is attached, and only where reading works without them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf.capabilities import WANTED, drop_capabilities, missing_capabilities
from models.errors import KernelRefused
from tests.ebpf.conftest import running

_COLLECT = """
import json, socket, sys
from ebpf.capabilities import WANTED, drop_capabilities, missing_capabilities
from ebpf.collector import EbpfInterfaceCounters
from ebpf.hooks import Hook
from ebpf.loader import EBPFLoader
from models.errors import KernelRefused

def refused():
    try:
        with EBPFLoader() as loader:
            loader.load_program("tc_classifier.o")
    except KernelRefused as error:
        return str(error)
    return ""

said = {"before": missing_capabilities(), "refused before": refused()}
loader = EBPFLoader()
counters = EbpfInterfaceCounters(["lo"], loader=loader)
# A filter is taken away only by whoever may configure the network; a link by whoever holds it.
kept = {"CAP_NET_ADMIN"} if any(one.hook is Hook.CLSACT for one in loader.attachments()) else set()
said["kept"] = sorted(kept)
said["dropped"] = drop_capabilities(lambda: (counters.read(), counters.programs()), names=set(WANTED) - kept)
said["after"] = missing_capabilities()
said["refused after"] = refused()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(5):
        sender.sendto(bytes(100), ("127.0.0.1", 9))
(reading,) = counters.read()
said["packets"] = sum(row.packets for row in reading.counts if row.protocol == "udp" and row.direction == "tx")
said["attached"] = [one.is_attached for one in counters.programs()]
counters.close()
print()
print(json.dumps(said))
"""


def _as_nobody(netns, script):
    given = "-all,+bpf,+perfmon,+net_admin"
    rights = ["--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={given}", f"--ambient-caps={given}"]
    return subprocess.run(
        ["ip", "netns", "exec", netns, "setpriv", *rights, sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.kernel
def test_a_collector_goes_on_counting_without_its_rights_and_can_attach_nothing_more(pair):
    if shutil.which("setpriv") is None or _as_nobody(pair.a, "import ebpf.collector").returncode:
        pytest.skip("setpriv is not installed, or uid 65534 cannot read this working tree")
    ended = _as_nobody(pair.a, _COLLECT)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout.splitlines()[-1])
    assert (said["before"], said["refused before"]) == ([], "")
    if not said["dropped"]:  # a kernel before 5.19 reads maps only for those who may load programs
        assert said["after"] == []
        return
    given_up = set(WANTED) - set(said["kept"])
    assert set(said["after"]) == given_up
    assert all(name in said["refused after"] for name in given_up)
    assert said["packets"] == 5
    assert said["attached"] == [True, True]


_REFUSING = """
from ebpf.capabilities import WANTED, drop_capabilities, missing_capabilities
from models.errors import KernelRefused

def read():
    assert set(missing_capabilities()) == set(WANTED)
    raise KernelRefused("reading a map", "Operation not permitted")

assert not drop_capabilities(read)
print(missing_capabilities())
"""


@pytest.mark.kernel
def test_where_reading_needs_them_they_are_taken_back(pair):
    if shutil.which("setpriv") is None or _as_nobody(pair.a, "import ebpf.capabilities").returncode:
        pytest.skip("setpriv is not installed, or uid 65534 cannot read this working tree")
    ended = _as_nobody(pair.a, _REFUSING)
    assert (ended.returncode, ended.stdout) == (0, "()\n"), ended.stderr


_TWO_THREADS = """
import threading
from pathlib import Path
from ebpf.capabilities import WANTED, drop_capabilities

def threads_holding():
    bits = sum(1 << one for one in WANTED.values())
    told = [(path / "status").read_text() for path in Path("/proc/self/task").iterdir()]
    return sum(bool(int(one.split("CapPrm:")[1].split()[0], 16) & bits) for one in told)

told, asked = [threads_holding()], threading.Event()
thread = threading.Thread(target=asked.wait)
thread.start()
told.append(threads_holding())
assert drop_capabilities(lambda: None)
told.append(threads_holding())
asked.set()
thread.join()
late = threading.Thread(target=lambda: told.append(threads_holding()))
late.start()
late.join()
print(told)
"""


@pytest.mark.kernel
def test_a_thread_started_before_keeps_its_rights_and_one_started_after_has_none(pair):
    """The reason why a collector inside a Prefect run, which has other threads, keeps the three it was given."""
    if shutil.which("setpriv") is None or _as_nobody(pair.a, "import ebpf.capabilities").returncode:
        pytest.skip("setpriv is not installed, or uid 65534 cannot read this working tree")
    ended = _as_nobody(pair.a, _TWO_THREADS)
    assert (ended.returncode, ended.stdout) == (0, "[1, 2, 1, 0]\n"), ended.stderr


_STATION = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ebpf.capabilities import missing_capabilities
from infra.node.place import LinkEnd, NodePlace
from tasks.collection import open_counters, open_tracing, serve_metrics

assert missing_capabilities() == ()
end = LinkEnd(
    interface="end", address="10.9.0.1", peer="b", peer_address="10.9.0.2", peer_loopback="10.9.9.9", cost=96
)
place = NodePlace(mesh="x0-ebpf", node="a", address="10.9.9.8", folder=Path("/nonexistent"), links=(end,))
counters, tracing = open_counters(place), open_tracing(place)
stop = serve_metrics(place, counters, tracing, port=9464)
with ThreadPoolExecutor(1) as another:
    readings, kernel = another.submit(lambda: (counters.read(), tracing.read())).result()
stop()
print()
print([one.name for one in readings], sorted(counters.missing() | tracing.missing()), kernel.drops is not None)
tracing.close()
counters.close()
"""


@pytest.mark.kernel
def test_nobody_with_the_three_opens_a_nodes_counters_signals_and_metrics(pair):
    if shutil.which("setpriv") is None or _as_nobody(pair.a, "import tasks.collection").returncode:
        pytest.skip("setpriv is not installed, or uid 65534 cannot read this working tree")
    ended = _as_nobody(pair.a, _STATION)
    assert ended.returncode == 0, ended.stderr
    expected = "['end'] [] True" if running() >= (5, 17) else "['end'] ['drops'] False"
    assert ended.stdout.splitlines()[-1] == expected


def test_giving_up_nothing_changes_nothing():
    before = missing_capabilities()
    assert drop_capabilities(lambda: None, names=())
    assert missing_capabilities() == before


def test_whoever_cannot_read_keeps_what_there_is():
    def refuse():
        raise KernelRefused("reading a map", "no")

    assert not drop_capabilities(refuse, names=())
