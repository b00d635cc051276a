"""Done when 6: a person sees a heal in Prefect's own pages, stage by stage."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from models.mesh import Element
from tests.e2e.waiting import NotYet, until
from tests.e2e.world import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STAGES = ("monitor", "recall", "analyze", "plan", "execute", "verify", "learn")
# Of the page's own clock, which Chromium runs as fast as it can: what it fetches and draws is there after a few.
PAGE_MS = 15_000
BROWSER_SECONDS = 120.0
# Prefect's server writes task runs down from a queue, a second or two after they end.
WRITTEN_WITHIN = 60.0


async def finished_run(world: World, stage: str) -> str | NotYet:
    """Return the newest heal-mesh run whose last stage ended."""
    async with httpx.AsyncClient(base_url=f"{world.house.prefect}/api", trust_env=False, timeout=10) as prefect:
        asked = {"flows": {"name": {"any_": ["heal-mesh"]}}, "sort": "END_TIME_DESC", "limit": 200}
        tasks = (await prefect.post("/task_runs/filter", json=asked)).raise_for_status().json()
    found = [one for one in tasks if one["name"].startswith(f"{stage}-") and one["state_type"] == "COMPLETED"]
    return str(found[0]["flow_run_id"]) if found else NotYet(f"{len(tasks)} task runs, none is {stage}")


def page(url: str, profile: Path) -> str:
    """Return what a browser makes of a page, as text."""
    browser = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    seen = subprocess.run(
        [*browser, f"--virtual-time-budget={PAGE_MS}", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=BROWSER_SECONDS,
        check=True,
    ).stdout
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", " ", seen, flags=re.DOTALL))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="not installed: chromium")
async def test_the_page_of_a_heal_shows_its_stages(world: World, tmp_path: Path):
    known = await world.known()
    link = world.lab.mesh.links[4]
    await world.grey(link.id)
    await world.fixed(known, Element.of_link(link.id))
    run = await until("a run of heal-mesh that learnt", lambda: finished_run(world, "learn"), within=WRITTEN_WITHIN)

    async def is_shown() -> bool | NotYet:
        # The newer of Prefect's two pages: the older one cannot be opened at its list of task runs.
        url = f"{world.house.prefect}/v2/runs/flow-run/{run}?tab=TaskRuns"
        text = await asyncio.to_thread(page, url, tmp_path)
        lacking = [stage for stage in STAGES if not re.search(rf"\b{stage}-", text)]
        return NotYet(f"no {lacking} in: {' '.join(text.split())[:2000]}") if lacking else "heal-mesh" in text

    assert await until("a page with every stage", is_shown, within=WRITTEN_WITHIN)
