"""Issue 6, done when 3: smoke passes against `up --lab`, payments included."""

from __future__ import annotations

import asyncio
import json

from tests.e2e.house import House

# TRON's finality is a minute, the burst and a dry run seconds; the machine may have other work.
SMOKED_WITHIN = 500.0


async def test_smoke_finds_every_part_of_a_lab_at_work(house: House):
    done = await asyncio.to_thread(house.run, "smoke", "--lab", "--json", within=SMOKED_WITHIN)
    results = {one["name"]: one for one in json.loads(done.stdout)}
    assert [one for one in results.values() if one["state"] == "failed"] == []
    assert done.returncode == 0, done.stderr
    # A lab has all of it but a Prometheus: what was skipped was not tried.
    assert [name for name, one in results.items() if one["state"] == "skipped"] == ["prometheus"]
