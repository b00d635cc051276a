"""The mesh as one process sees it: a detector kept up to date from the stored samples."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from models.detection import Detector
from models.mesh import Mesh
from models.meshsnapshot import MeshWindow
from models.ports import Store

# A detector judges a link against its own past; a minute of it is 120 samples, four times what median and MAD need.
HISTORY = timedelta(seconds=60)


class Observer:
    """Feeds every stored sample to one detector, once and in order of storage.

    Attributes:
        mesh: As declared.
        detector: Kept up to date.
        window: What an analysis engine reads, kept up to date; None where none is in use, for it costs a tenth of a
            millisecond a sample.
    """

    def __init__(self, store: Store, mesh: Mesh, *, window: MeshWindow | None = None) -> None:
        self.mesh = mesh
        self.detector = Detector(mesh)
        self.window = window
        self._store = store
        self._cursor: int | None = None
        self._turn = asyncio.Lock()

    async def refresh(self, now: datetime) -> Detector:
        """Read what was stored since the last look (at first: the last minute) and return the detector.

        Raises:
            SourceUnavailable: the database does not answer; nothing is lost, the next look reads on from here.
        """
        async with self._turn:
            async with self._store.unit() as uow:
                if self._cursor is None:
                    cursor = await uow.samples.newest_cursor(self.mesh.name)
                    fresh = await uow.samples.between(self.mesh.name, now - HISTORY, now)
                else:
                    fresh, cursor = await uow.samples.stored_after(self.mesh.name, self._cursor)
            self._cursor = cursor
            self.detector.observe(fresh)
            if self.window is not None:
                self.window.observe(fresh)
        return self.detector
