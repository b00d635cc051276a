"""The mesh as one process sees it: a detector kept up to date from the stored samples."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from models.detection import Detector
from models.mesh import Mesh
from models.meshsnapshot import MeshWindow
from models.ports import SampleReader, Store

# A detector judges a link against its own past; a minute of it is 120 samples, four times what median and MAD need.
HISTORY = timedelta(seconds=60)


class Observer:
    """Feeds every sample to one detector, once (or again, which changes nothing) and in order of storage.

    Samples are the store's unless another reader is given.

    Attributes:
        mesh: As declared.
        detector: Kept up to date.
        window: What an analysis engine reads, kept up to date; None where none is in use, for it costs a tenth of a
            millisecond a sample.
    """

    def __init__(
        self, store: Store, mesh: Mesh, *, window: MeshWindow | None = None, samples: SampleReader | None = None
    ) -> None:
        self.mesh = mesh
        self.detector = Detector(mesh)
        self.window = window
        self._store, self._samples = store, samples
        self._cursor: int | None = None
        self._turn = asyncio.Lock()

    async def refresh(self, now: datetime) -> Detector:
        """Read what was stored since the last look (at first: the last minute) and return the detector.

        Raises:
            SourceUnavailable: the database, or where samples are read, does not answer; nothing is lost, the next look
                reads on from here.
        """
        async with self._turn:
            async with self._reading() as samples:
                if self._cursor is None:
                    cursor = await samples.newest_cursor(self.mesh.name)
                    fresh = await samples.between(self.mesh.name, now - HISTORY, now)
                else:
                    fresh, cursor = await samples.stored_after(self.mesh.name, self._cursor)
            self._cursor = cursor
            self.detector.observe(fresh)
            if self.window is not None:
                self.window.observe(fresh)
        return self.detector

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[SampleReader]:
        if self._samples is not None:
            yield self._samples
            return
        async with self._store.unit() as uow:
            yield uow.samples
