"""A detector is fed from the store, or from another reader when one is given, and reads on where it stopped."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.settings import Settings
from infra.telemetry_prometheus import PrometheusSamples
from models.errors import ConfigurationInvalid, SourceUnavailable
from models.ports import SampleReader
from tasks.observer import Observer
from tasks.wiring import samples_of
from tests.contracts.store_examples import MESH, N0, N1, START, after, mesh, sample
from tests.fakes.store import FakeStore


class Elsewhere:
    """A reader that repeats the newest sample, as a source without an order of storage does."""

    def __init__(self) -> None:
        self.samples = [sample()]
        self.is_away = False

    async def between(self, _mesh, start, end, *, nodes=None):
        return [one for one in self.samples if start <= one.at < end and (nodes is None or one.node in nodes)]

    async def stored_after(self, _mesh, cursor, *, limit=5000):
        if self.is_away:
            raise SourceUnavailable("elsewhere")
        return self.samples[max(0, cursor - 1) :][:limit], len(self.samples)

    async def newest_cursor(self, _mesh):
        return len(self.samples)

    async def latest(self, _mesh):
        return {self.samples[-1].node: self.samples[-1]}


async def test_another_reader_takes_the_place_of_the_store():
    reader: SampleReader = Elsewhere()
    observer = Observer(FakeStore(), mesh(), samples=reader)
    detector = await observer.refresh(after(1))
    assert (N0, N1) in detector.losses(after(1), after(-1)).pairs, "the store knows of nobody"


async def test_what_a_reader_repeats_changes_nothing_and_what_it_missed_comes_later():
    reader, store = Elsewhere(), FakeStore()
    from_reader, from_store = Observer(store, mesh(), samples=reader), Observer(store, mesh())
    for number in range(20):
        told = sample(sequence=number)
        reader.samples[number:] = [told]
        async with store.unit() as unit:
            await unit.samples.add(MESH, [told])
        reader.is_away = number in {7, 8}
        now = told.at + timedelta(milliseconds=100)
        one = await from_store.refresh(now)
        if not reader.is_away or number == 0:
            other = await from_reader.refresh(now)
            assert other.losses(now, START) == one.losses(now, START)
            continue
        with pytest.raises(SourceUnavailable):
            await from_reader.refresh(now)


def test_a_setting_says_where_the_watch_reads(tmp_path):
    assert samples_of(Settings(state=tmp_path)) is None
    served = samples_of(Settings(state=tmp_path, telemetry="prometheus:http://127.0.0.1:9090"))
    assert isinstance(served, PrometheusSamples)


@pytest.mark.parametrize("source", ["", "victoria", "postgres:", "prometheus", "prometheus:", "prometheus:9090"])
def test_a_setting_that_names_no_source_is_refused_with_what_to_write(source, tmp_path):
    with pytest.raises(ConfigurationInvalid, match="prometheus:http://"):
        samples_of(Settings(state=tmp_path, telemetry=source))
