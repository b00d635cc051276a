"""The ground truth: what harm was done to a lab, where, and when, as JSON lines."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from infra.lab.build import Lab
from infra.lab.faults import Fault, Harm, fault
from models.ports import Clock


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal.

    Attributes:
        at: Aware UTC, microseconds; just before the change, so that an outage counted from it is never too short.
        event: `inject` or `heal`.
        harm: What.
    """

    at: datetime
    event: str
    harm: Harm

    def line(self) -> str:
        """Return the entry as one line of JSON."""
        details = {key: value for key, value in asdict(self.harm).items() if key not in {"kind", "element"}}
        return json.dumps(
            {
                "at": self.at.isoformat(timespec="microseconds"),
                "event": self.event,
                "fault": self.harm.kind,
                "element": str(self.harm.element),
                "details": details,
            }
        )


@dataclass(slots=True)
class Injector:
    """Does harm to a lab and keeps the journal. One harm of a kind stands on an element at a time.

    Attributes:
        lab: Whom.
        path: The journal; appended to.
        clock: Tells when.
    """

    lab: Lab
    path: Path
    clock: Clock
    standing: dict[Harm, Fault] = field(default_factory=dict)

    async def inject(self, harm: Harm) -> Entry:
        """Do the harm and write it down.

        Raises:
            ConfigurationInvalid: this lab cannot be harmed so.
        """
        one = fault(self.lab, harm)
        at = self.clock.now()
        self.standing[harm] = one
        await asyncio.to_thread(one.inject)
        return self._write("inject", harm, at)

    async def heal(self, harm: Harm) -> Entry:
        """Take a standing harm back and write it down; KeyError when it does not stand."""
        at = self.clock.now()
        await asyncio.to_thread(self.standing[harm].heal)
        del self.standing[harm]
        return self._write("heal", harm, at)

    async def heal_all(self) -> None:
        """Take back whatever stands."""
        for harm in tuple(self.standing):
            await self.heal(harm)

    def _write(self, event: str, harm: Harm, at: datetime) -> Entry:
        entry = Entry(at=at, event=event, harm=harm)
        with self.path.open("a") as lines:
            lines.write(entry.line() + "\n")
        return entry
