"""What goes over the wire about validations: as `models.validation` has it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from infra.api.schemas import View
from models.validation import Standing


class EdgeCheckView(View):
    """Whether a dependency shows in the past."""

    element: str
    depends_on: str
    p_value: float | None = Field(description="Of having nothing to do with each other; null: not tested.")
    standing: Standing
    why: str


class ViolationView(View):
    """Two elements that vary together though the graph says they should not."""

    element: str
    other: str
    p_value: float


class GraphCheckView(View):
    """The declared graph against the same one with its elements shuffled."""

    standing: Standing
    tests: int
    violations: int
    worst: list[ViolationView]
    p_fits: float | None = Field(description="Share of shuffled graphs that fit the past as well.")
    p_informative: float | None = Field(description="Share of shuffled graphs that promise the same.")
    shuffled: int
    why: str


class ShareView(View):
    """How much of the target's surprise is explained by what one element does by itself."""

    element: str
    nats: float
    low: float = Field(description="5th percentile over resampled pasts.")
    high: float = Field(description="95th percentile.")


class RefutationView(View):
    """An attempt to break an estimated effect."""

    refuter: str
    effect: float
    p_value: float | None
    holds: bool


class EffectView(View):
    """What one deviation of the cause did to the element in the past."""

    cause: str
    element: str
    value: float
    refutations: list[RefutationView]


class AttributionView(View):
    """Which element's own mechanism changed."""

    target: str
    shares: list[ShareView] = Field(description="The largest first; empty if it could not be told.")
    resamples: int
    effect: EffectView | None
    why: str


class FoundView(View):
    """Everything that was tested."""

    standing: Standing
    graph: GraphCheckView
    edges: list[EdgeCheckView]
    attribution: AttributionView
    signals: dict[str, str] = Field(description="Element -> the signal it was judged by.")
    left_out: dict[str, str] = Field(description="Element -> why it was not looked at.")
    rows: int
    seed: int
    versions: dict[str, str]
    cut_short: str = Field(description="What the time budget left undone; empty: nothing.")


class ValidationView(View):
    """An incident's validation."""

    at: datetime
    seconds: float
    validation: FoundView | None = Field(description="Null if nothing could be tested.")
    why_not: str
