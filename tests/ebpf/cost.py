"""Print what keeping flows, timing system calls and an event cost here: `python -m tests.ebpf.cost`, as root.

Packets: the kernel's trial run (BPF_PROG_TEST_RUN), the least of nine rounds. Events: the kernel's own count of run
time (BPF_ENABLE_STATS, for as long as this runs; it makes every program of the machine a little slower), so a mean.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from ebpf.libbpf import libbpf, network_namespace
from ebpf.loader import PROGRAMS, EBPFLoader
from tests.ebpf.frames import IPV4, UDP, ethernet, ipv4, udp

ROUNDS, PACKETS = 9, 200_000
FRAME = ethernet(IPV4, ipv4(UDP, udp(9, 9, 18)))
# The source address of an IPv4 packet on Ethernet.
NEW_ADDRESS = "__u32 one = bpf_get_prandom_u32(); bpf_skb_store_bytes(skb, 26, &one, 4, 0);"
# What a trial run is compared with, and the classifier behind a packet that is another one each time.
DRIVERS = f"""
SEC("tc") int empty_ingress(struct __sk_buff *skb) {{ return -1; }}
SEC("tc") int change_ingress(struct __sk_buff *skb) {{ {NEW_ADDRESS} return -1; }}
SEC("tc") int each_new_ingress(struct __sk_buff *skb) {{ {NEW_ADDRESS} return count(skb, DIRECTION_RX); }}

char licence"""


def tell(line):
    sys.stdout.write(line + "\n")


def build(folder):
    """Compile the classifier together with its drivers."""
    for header in PROGRAMS.glob("*.h"):
        (folder / header.name).write_text(header.read_text())
    source = (PROGRAMS / "tc_classifier.bpf.c").read_text().replace("\nchar licence", DRIVERS)
    (folder / "driven.bpf.c").write_text(source)
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    command = ["clang-14", "-target", "bpf", "-g", "-O2", f"-I{folder}", include, "-c", str(folder / "driven.bpf.c")]
    subprocess.run([*command, "-o", str(folder / "driven.o")], check=True)


def packets():
    """Compare the classifier, keeping flows from one packet in so many, with nothing."""
    with tempfile.TemporaryDirectory() as folder, EBPFLoader(Path(folder)) as loader:
        build(Path(folder))
        least = {}
        loaded = {
            sampling: loader.load_program("driven.o", instance=str(sampling), constants={"flow_sampling": sampling})
            for sampling in (0, 1, 16, 64)
        }
        for _ in range(ROUNDS):
            for sampling, one in loaded.items():
                for name, program in one.programs.items():
                    _, passed = libbpf().trial_run(program, FRAME, repeat=PACKETS)
                    least[sampling, name] = min(passed, least.get((sampling, name), passed))
    for sampling in loaded:
        one = least[sampling, "count_ingress"] - least[sampling, "empty_ingress"]
        each = least[sampling, "each_new_ingress"] - least[sampling, "change_ingress"]
        tell(f"flow_sampling {sampling:2}: one flow {one} ns over empty; a new flow every packet {each} ns over empty")


def events():
    """Let each tracing program run and print its mean time."""
    with libbpf().counting_runs():
        for kind in ("tp_btf", "raw_tp"):
            with EBPFLoader(kinds=(kind,)) as loader:
                here = {"namespace": network_namespace()}
                loaded = [loader.load_program("tracepoint_net.o", constants=here)]
                loaded.append(loader.load_program("kprobe_syscall_latency.o"))
                for one in loaded:
                    loader.attach(one)
                provoke()
                for one in loaded:
                    for name, program in sorted(one.programs.items()):
                        nanoseconds, count = libbpf().run_statistics(program)
                        tell(f"{name}: {nanoseconds / count:.0f} ns ({count} runs)" if count else f"{name}: no run")


def provoke():
    """Drop 20,000 packets, refuse 500 connections, make 100,000 system calls."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(20_000):
            sender.sendto(b"x", ("127.0.0.1", 9))
    for _ in range(500):
        with socket.socket() as client:
            client.connect_ex(("127.0.0.1", 9))
    for _ in range(100_000):
        os.getppid()


if __name__ == "__main__":
    packets()
    events()
