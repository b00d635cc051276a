"""What the gateway, the watch behind it and the analysis in it are asked."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any

from infra.smoke.anomaly import ROOT, snapshot
from infra.smoke.caller import GATEWAY_MEND, Caller
from infra.smoke.walk import StepError

# As `x0tta6bl4 status` has it: twenty samples late is not a hiccup of a busy machine any more.
SAMPLE_MAX_AGE_SECONDS = 10.0
# The watch looks twice a second; planning takes seconds where an incident is open.
HEAL_SECONDS = 60.0
LOOK_SECONDS = 0.5
WATCH_MEND = "see log/worker-control.log and the run watch-mesh in Prefect's UI; `x0tta6bl4 status` shows its beat"
DATABASE_MEND = "see log/postgres.log in the state folder, or the server that DATABASE_URL names"
NODES_MEND = "see log/worker-nodes.log; on the node `x0tta6bl4 doctor --ebpf` says what its collector lacks"
ANALYSIS_MEND = "see log/gateway.log; docs/rca.md says what the analysis can know"


class GatewaySteps:
    """Asks one gateway.

    Args:
        caller: Reaches it.
        token: Of scope operate.
    """

    def __init__(self, caller: Caller, token: str | None) -> None:
        self._caller = caller
        self._token = token

    async def alive(self) -> str:
        """See that the process answers."""
        answer = await self._caller.expect(200, "GET", "/health", mend=GATEWAY_MEND)
        if answer.body.get("status") != "alive":
            raise StepError("something answers there, but it is no gateway of ours", "mend --url, or X0_API_PORT")
        return f"version {answer.body.get('version')} answered in {answer.seconds * 1000:.0f} ms"

    async def database(self) -> str:
        """See that the gateway reaches its database."""
        lacking = [one for one in await self._missing() if one.startswith("database:")]
        if lacking:
            raise StepError(f"the gateway says: {lacking[0]}", DATABASE_MEND)
        return "the gateway reads it"

    async def watch(self) -> str:
        """See that the run which turns symptoms into heals is beating."""
        lacking = [one for one in await self._missing() if not one.startswith("database:")]
        if lacking:
            raise StepError(f"the gateway says: {'; '.join(lacking)}", WATCH_MEND)
        return "its beat is younger than 5 s"

    async def token(self) -> str:
        """See that nobody comes in without a token, and that ours is known."""
        mend = "`x0tta6bl4 token create smoke --scope operate` on the gateway's machine, into a file for --token-file"
        await self._caller.expect(401, "GET", "/api/v1/mesh", mend="the gateway lets strangers in: stop it")
        await self._caller.expect(200, "GET", "/api/v1/incidents?limit=1", token=self._token, mend=mend)
        return "without one 401, with ours 200"

    async def nodes(self) -> str:
        """See that every node of the mesh was heard a moment ago."""
        mesh = (await self._get("/api/v1/mesh", mend=NODES_MEND)).body
        ages = {one["id"]: one["sample_age_seconds"] for one in mesh["nodes"]}
        if not ages:
            raise StepError(f"the mesh {mesh['name']} has no node", "start a node: `python -m flows.agent node`")
        silent = [
            f"node {name} was never heard" if age is None else f"node {name} has not been heard for {age:.1f} s"
            for name, age in ages.items()
            if age is None or age > SAMPLE_MAX_AGE_SECONDS
        ]
        if silent:
            raise StepError("; ".join(silent), NODES_MEND)
        return f"{len(ages)} of {mesh['name']} heard, the oldest sample is {max(ages.values()):.1f} s old"

    async def model(self) -> str:
        """See that a learned model is loaded and which."""
        found = await self._get("/api/v1/model", mend="install the weights again: they are infra/weights/graph.weights")
        told = found.body
        if not told["is_loaded"]:
            raise StepError("no model is loaded", "install the weights again, or fit some: train-graphsage")
        return f"{told['source']} weights {told['digest'][:12]} loaded in {told['load_ms']:.0f} ms"

    async def root_named(self) -> str:
        """Post a made-up incident and see that its root comes first."""
        answer = await self._analysed(broken=True)
        suspects = answer.body["suspects"]
        first = suspects[0] if suspects else {"element": "nobody", "confidence": 0.0}
        if first["element"] != ROOT:
            raise StepError(f"{first['element']} was named for the root, which was {ROOT}", ANALYSIS_MEND)
        return (
            f"{ROOT} named with confidence {first['confidence']:.2f} by {answer.body['method']}, "
            f"in {answer.seconds * 1000:.0f} ms"
        )

    async def nobody_named(self) -> str:
        """Post a calm minute and see that no element is preferred to there being no root."""
        answer = await self._analysed(broken=False)
        nobody = answer.body["no_visible_root"]
        best = max((one["confidence"] for one in answer.body["suspects"]), default=0.0)
        if best >= nobody:
            name = answer.body["suspects"][0]["element"]
            raise StepError(f"{name} was blamed for a calm minute, with confidence {best:.2f}", ANALYSIS_MEND)
        return f"no root with {nobody:.2f}, the likeliest element with {best:.2f}"

    async def dry_heal(self) -> str:
        """Ask for a turn of the cycle that changes nothing, and wait for what it came to."""
        asked = await self._caller.expect(
            202, "POST", "/api/v1/heal", token=self._token, body={"dry_run": True}, mend=WATCH_MEND
        )
        began = perf_counter()
        while perf_counter() - began < HEAL_SECONDS:
            told = (await self._get(asked.body["status_url"], mend=WATCH_MEND)).body
            if told["is_done"]:
                return f"{told['outcome']}"
            await asyncio.sleep(LOOK_SECONDS)
        raise StepError(f"nobody took it up within {HEAL_SECONDS:.0f} s", WATCH_MEND)

    async def incidents(self) -> str:
        """See that incidents can be listed."""
        found = (await self._get("/api/v1/incidents?limit=500", mend=DATABASE_MEND)).body["incidents"]
        open_ = [one for one in found if one["closed_at"] is None]
        return f"{len(found)} known, {len(open_)} of them open"

    async def _missing(self) -> list[str]:
        answer = await self._caller.ask("GET", "/ready")
        missing: list[str] = answer.body.get("missing", [])
        if answer.status == 200 or missing:  # noqa: PLR2004 - HTTP's own number
            return missing
        raise StepError(f"GET /ready answered {answer.detail}", GATEWAY_MEND)

    async def _get(self, path: str, *, mend: str) -> Any:
        return await self._caller.expect(200, "GET", path, token=self._token, mend=mend)

    async def _analysed(self, *, broken: bool) -> Any:
        return await self._caller.expect(
            200,
            "POST",
            "/api/v1/causal/analyze",
            token=self._token,
            body=snapshot(broken=broken),
            mend=ANALYSIS_MEND,
        )
