"""Samples as documents: what was stored before a field was there still reads."""

import json
from dataclasses import replace
from datetime import UTC, datetime

from infra.db.documents import decode, encode
from models.mesh import NodeId
from models.telemetry import DaemonState, DropClass, DropCount, HostReading, KernelReading, Sample

HOST = HostReading(0.5, 10, 0, 0, DaemonState.RUNNING)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_sample_stored_before_tracing_programs_reads_as_one_without_them():
    sample = Sample(NodeId("n1"), 1, 0, AT, host=HOST)
    stored = json.loads(encode(Sample, sample))
    del stored["host"]["kernel"]
    assert decode(Sample, json.dumps(stored)) == sample
    assert sample.host.kernel == KernelReading(drops=None, retransmits=None, syscall_p99_us=None)


def test_what_tracing_programs_told_comes_back_from_a_document_unchanged():
    kernel = KernelReading(drops=(DropCount(DropClass.QUEUE, 3),), retransmits=0, syscall_p99_us=12.5)
    host = HostReading(0.5, 10, 0, 0, DaemonState.RUNNING, kernel)
    sample = Sample(NodeId("n1"), 1, 0, AT, host=host)
    assert decode(Sample, encode(Sample, sample)) == sample


def test_pressure_and_software_interrupts_of_which_one_half_is_not_measured_are_missing():
    assert HOST.missing() == {"pressure", "softirq"}
    measured = replace(HOST, memory_pressure=0.0, io_pressure=0.1, softirq_share=0.2, softirq_squeezes=0)
    assert measured.missing() == frozenset()
    assert replace(measured, io_pressure=None).missing() == {"pressure"}
    assert replace(measured, softirq_share=None).missing() == {"softirq"}
