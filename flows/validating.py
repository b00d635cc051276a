"""Validating: what closed incidents' causes rest on, tested offline after the fact."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from models.incident import IncidentId
from tasks import validating


class ValidateParameters(BaseModel):
    """Which incidents to validate; Prefect's UI makes its form of this."""

    model_config = ConfigDict(frozen=True)

    mesh: str = Field(default="lab", description="Mesh whose closed incidents are looked at.")
    incident: str | None = Field(default=None, description="One incident, again if it was done; empty: what waits.")
    # Three budgets and a start are over before the housekeeping looks again, so that two runs do not meet.
    at_most: int = Field(default=3, ge=1, le=100, description="So many of those that wait, one after another.")
    seconds: float = Field(default=60, ge=1, le=3600, description="Time budget of each; what is left is named.")
    seed: int = Field(default=validating.SEED, ge=0, description="The same gives the same.")


@flow(name="validate-causes", persist_result=False)
async def validate_causes(asked: ValidateParameters) -> dict[str, str]:
    """Test the dependencies behind incidents' causes; return how each stands, or why it could not be tested."""
    if asked.incident is not None:
        waiting = [IncidentId(asked.incident)]
    else:
        waiting = await validating.lacking(asked.mesh, limit=asked.at_most)
    budget = timedelta(seconds=asked.seconds)
    done = [await validating.validate_incident(one, seed=asked.seed, budget=budget) for one in waiting]
    return {one.incident: one.why_not if one.validation is None else one.validation.standing.value for one in done}
