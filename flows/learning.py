"""Learning: fit a model anew and let it serve if it is better; ask the one that serves about one incident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from models.casefile import snapshot_from
from models.errors import ConfigurationInvalid
from models.fitting import FitConfig
from models.incident import IncidentId
from tasks import learning


class TrainParameters(BaseModel):
    """What a fit is asked for; Prefect's UI makes its form of this."""

    model_config = ConfigDict(frozen=True)

    mesh: str = Field(default="lab", description="Mesh whose healed incidents count beside the simulated ones.")
    seed: int = Field(default=1, ge=0, description="Of the simulation and of the fit; the same gives the same model.")
    incidents: int = Field(default=3500, ge=30, le=100_000, description="Simulated incidents to fit on.")
    judged: int = Field(default=600, ge=30, le=100_000, description="Simulated incidents to judge by, of another seed.")
    epochs: int = Field(default=20, ge=1, le=1000, description="Rounds over the incidents.")
    sets: dict[str, Path] = Field(
        default_factory=dict, description="Published sets to learn from too, training sides only: format -> folder."
    )
    dry_run: bool = Field(default=True, description="Fit, judge and keep, but let nothing new serve.")


class AnalyzeParameters(BaseModel):
    """Which incident to explain: one that is stored, or a snapshot as `generate-test-anomalies` writes it."""

    model_config = ConfigDict(frozen=True)

    incident: str | None = Field(default=None, description="Id of a stored incident.")
    snapshot: dict[str, Any] | None = Field(default=None, description="A snapshot instead.")
    first: int = Field(default=5, ge=1, le=100, description="How many elements to name.")


@flow(name="train-graphsage", persist_result=False)
async def train_graphsage(asked: TrainParameters) -> learning.Judged:
    """Assemble, fit, evaluate against the gate, promote. A run that was killed goes on where it stood."""
    assembled = await learning.assemble(
        asked.mesh, incidents=asked.incidents, seed=asked.seed, judged=asked.judged, sets=asked.sets
    )
    fitted = await learning.fit(assembled, FitConfig(seed=asked.seed, epochs=asked.epochs))
    judged = await learning.evaluate(fitted, assembled)
    return judged if asked.dry_run else await learning.promote(judged)


@flow(name="analyze-incident", persist_result=False)
async def analyze_incident(asked: AnalyzeParameters) -> dict[str, float]:
    """Ask the model that serves about one incident: element -> confidence, and `no visible root`."""
    if asked.snapshot is not None:
        snapshot = snapshot_from(asked.snapshot)
    elif asked.incident is not None:
        snapshot = await learning.snapshot_of(IncidentId(asked.incident))
    else:
        raise ConfigurationInvalid("neither an incident nor a snapshot was given", "name one of them")
    prediction = await learning.predict(snapshot)
    return {"no visible root": prediction.no_root, **dict(prediction.ranked()[: asked.first])}
