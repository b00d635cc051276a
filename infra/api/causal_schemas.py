"""What goes over the wire about causes. NaN and infinities are refused: what was not measured is `null`."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, FiniteFloat

from infra.api.schemas import Ask, DiagnosisView, View
from infra.api.validation_schemas import ValidationView
from models.snapshot import Kind, SignalKind, Worse

Name = Annotated[str, Field(min_length=1, max_length=128)]
# A mesh of a hundred nodes, a minute at a second: 300 elements, 64 rows. Larger ones meet the body's own cap first.
ELEMENTS, DEPENDENCIES, SIGNALS, ROWS = 500, 2_000, 100, 1_000
# Nothing is measured beyond it, and squares and sums of it are still numbers.
Number = Annotated[FiniteFloat, Field(ge=-1e15, le=1e15)]


class ElementAsk(Ask):
    """One element."""

    id: Name = Field(examples=["checkout"])
    kind: Kind = Kind.SERVICE


class DependencyAsk(Ask):
    """An element depends on another: it calls it, or it is a node and the other its link."""

    element: Name = Field(examples=["frontend"])
    depends_on: Name = Field(examples=["checkout"])


class SignalAsk(Ask):
    """One signal, the same for every element."""

    name: Name = Field(examples=["latency"])
    unit: str = Field(default="", max_length=32, examples=["ms"])
    worse: Worse = Field(default=1, description="1: more is worse; -1: less is; 0: either way is only strange.")
    kind: SignalKind = SignalKind.GAUGE


class SnapshotAsk(Ask):
    """What elements showed before and during an incident."""

    elements: list[ElementAsk] = Field(min_length=1, max_length=ELEMENTS)
    dependencies: list[DependencyAsk] = Field(default=[], max_length=DEPENDENCIES)
    signals: list[SignalAsk] = Field(min_length=1, max_length=SIGNALS)
    times: list[Number] = Field(min_length=1, max_length=ROWS, description="Seconds, ascending.")
    values: list[list[list[Number | None]]] = Field(
        description="[time][element][signal]; null where it was not measured."
    )
    split: int = Field(ge=0, description="Index of the first abnormal row.")
    target: str | None = Field(default=None, description="The element where the symptom was seen.")


class AnalyzeAsk(Ask):
    """Either one node and what it shows now, or a whole snapshot."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"node_id": "n1", "metrics": {"cpu pressure": 0.9}}]},
    )

    node_id: Name | None = Field(default=None, examples=["n1"])
    metrics: dict[Name, Number] | None = Field(
        default=None,
        max_length=SIGNALS,
        description="What the node shows now, by name; more is taken for worse unless the mesh knows the name better.",
    )
    history: dict[Name, list[Number]] | None = Field(
        default=None,
        max_length=SIGNALS,
        description="Earlier values of these metrics, oldest first. What the mesh measures itself needs none.",
    )
    snapshot: SnapshotAsk | None = None


class SuspectView(View):
    """One element that may be the root."""

    element: str
    confidence: float = Field(ge=0, le=1, description="P(this element is the root | an incident).")
    because: list[str] = Field(description="What speaks for it, strongest first.")
    against: list[str] = Field(description="Why it may be none.")


class AnalysisView(View):
    """Ranked suspects, and what is left for what nobody can see."""

    suspects: list[SuspectView] = Field(description="Likeliest first; elements that show nothing are left out.")
    no_visible_root: float = Field(ge=0, le=1, description="P(the root is none of them, or there is none).")
    candidates: list[str] = Field(description="The set that holds the root in nine of ten such incidents.")
    method: str = Field(examples=["causal score"])
    drift: float | None = Field(description="Share of the inputs unlike what the engine was fitted on; null: unknown.")
    not_judged: dict[str, str] = Field(default={}, description="Metric -> why nothing is said of it.")


class CausesView(View):
    """What is thought to have caused an incident."""

    incident: str
    diagnosis: DiagnosisView | None = Field(description="What healing goes by; null until it was diagnosed.")
    analysis: AnalysisView | None = Field(description="The engine's own view of the stored samples; null without any.")
    why_not: str = Field(description="Why there is no analysis; empty when there is one.")
    validation: ValidationView | None = Field(
        description="How the dependencies behind it stood offline tests; null until that was done."
    )
