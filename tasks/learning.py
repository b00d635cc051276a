"""Learning: assemble incidents whose truth is known, fit, judge, promote; and ask the model that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact

from infra.datasets.petshop import load_petshop
from infra.datasets.rcaeval import load_rcaeval
from infra.datasets.tvdiag import load_tvdiag
from infra.shipped import shipped_weights
from models.errors import ConfigurationInvalid, NotEnoughHistory
from models.fitting import (
    Checkpoint,
    Example,
    FitConfig,
    digest_of_examples,
    epochs,
    example_of,
    run_key,
    split_examples,
    weights_of,
)
from models.graphsage import GraphSAGEAnomalyDetector, Prediction
from models.incident import Incident, IncidentId, OutcomeKind
from models.meshsnapshot import MeshWindow
from models.modelstore import ModelRecord
from models.ports import UnitOfWork
from models.promotion import Score, Verdict, judge, score_of_model, scores_of_rules
from models.simulation import simulated
from models.snapshot import Case, Snapshot
from models.weights import digest_of, read, write
from tasks.diary import is_reported, stage
from tasks.wiring import adapters

log = structlog.get_logger()

LOADERS: Mapping[str, Callable[[Path], tuple[Case, ...]]] = {
    "petshop": load_petshop,
    "rcaeval": load_rcaeval,
    "tvdiag": load_tvdiag,
}
# The gate's incidents are drawn from another seed than those of the fit.
GATE_SEED_OFFSET = 1_000_003
# A fit that nobody went on with for a week is forgotten.
FORGOTTEN_AFTER = timedelta(days=7)
# What an incident's window holds at most (models.meshsnapshot): a minute, and some rows to begin with.
WINDOW = timedelta(seconds=90)


@dataclass(frozen=True, slots=True, eq=False)
class Assembled:
    """Incidents for the fit and, apart from them, for the gate."""

    fitted: tuple[Example, ...]
    judged: tuple[Example, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Weights as they will be kept, with what they came of."""

    weights: bytes
    digest: str
    data_digest: str
    config: FitConfig
    losses: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate says of a fitted model."""

    digest: str
    score: Score
    verdict: Verdict


@stage("assemble")
async def assemble(mesh: str, *, incidents: int, seed: int, judged: int, sets: Mapping[str, Path]) -> Assembled:
    """Collect simulated incidents, the training sides of published sets, and what was healed on this mesh.

    Args:
        mesh: Whose healed incidents count, as far as their samples are still kept.
        incidents: How many to simulate for the fit.
        seed: Of the simulation.
        judged: How many to simulate for the gate.
        sets: Format of a published set -> its folder. Test sides are never read further than their name.
    """
    made = await asyncio.to_thread(_examples, simulated(incidents, seed=seed))
    unseen = await asyncio.to_thread(_examples, simulated(judged, seed=seed + GATE_SEED_OFFSET))
    real = [case for name, folder in sorted(sets.items()) for case in _training_side(name, folder)]
    healed = await _healed(mesh)
    # What is held out of the fit's steps is judged too: whether a model helps here is seen on real incidents.
    steps, held = split_examples(await asyncio.to_thread(_examples, [*real, *healed]))
    counts = {"simulated": len(made), "published": len(real), "healed here": len(healed), "judged": len(unseen + held)}
    log.info("incidents assembled to learn from", **{name.replace(" ", "_"): count for name, count in counts.items()})
    return Assembled((*made, *steps), (*unseen, *held), counts)


@stage("fit")
async def fit(assembled: Assembled, config: FitConfig) -> Fitted:
    """Fit epoch by epoch, each one kept, so that a run that was killed goes on where it stood."""
    world = adapters()
    data_digest = await asyncio.to_thread(digest_of_examples, assembled.fitted)
    run = run_key(data_digest, config)
    async with world.store.unit() as uow:
        reached = await uow.models.checkpoint(run)
    if reached is not None:
        log.info("fit goes on where it was stopped", run=run[:12], epoch=reached.epoch)
    shown = await _progress(0 if reached is None else reached.epoch, config.epochs) if is_reported() else None
    steps = epochs(assembled.fitted, config, after=reached)
    # An epoch takes seconds: in a thread, so that the run's heart goes on beating.
    while (following := await asyncio.to_thread(next, steps, None)) is not None:
        reached = following
        async with world.store.unit() as uow:
            await uow.models.keep_checkpoint(run, reached, world.clock.now())
        if shown is not None:
            await aupdate_progress_artifact(shown, _percent(reached.epoch, config.epochs))
    if reached is None:
        raise ConfigurationInvalid("a fit of no epochs was asked for", "ask for at least one")
    weights = await asyncio.to_thread(weights_of, reached, assembled.fitted, config)
    raw = write(weights)
    if is_reported():
        await _draw(reached, run)
    return Fitted(raw, digest_of(raw), data_digest, config, reached.losses)


@stage("evaluate")
async def evaluate(fitted: Fitted, assembled: Assembled) -> Judged:
    """Judge a fitted model on incidents no fit has seen, beside the simple rules and the one that serves; keep it."""
    world = adapters()
    async with world.store.unit() as uow:
        serving = await uow.models.promoted()
    rules = await asyncio.to_thread(scores_of_rules, assembled.judged)
    weights = read(fitted.weights, digest=fitted.digest)
    score = await asyncio.to_thread(score_of_model, weights, assembled.judged)
    raw, digest = (serving.weights, serving.digest) if serving is not None else shipped_weights()
    rival = None if digest == fitted.digest else score_of_model(read(raw, digest=digest), assembled.judged)
    verdict = judge(score, rules, rival)
    metrics: dict[str, Any] = {"own": asdict(score), "rules": {name: asdict(one) for name, one in rules.items()}}
    metrics["serving"] = {} if rival is None else {"digest": digest, **asdict(rival)}
    metrics["incidents"] = dict(assembled.counts)
    record = ModelRecord(
        fitted.digest,
        fitted.weights,
        asdict(fitted.config),
        {**metrics, "losses": fitted.losses},
        fitted.data_digest,
        world.clock.now(),
        verdict.reason,
    )
    async with world.store.unit() as uow:
        await uow.models.add(record)
        run = run_key(fitted.data_digest, fitted.config)
        await uow.models.drop_checkpoints(run, before=world.clock.now() - FORGOTTEN_AFTER)
    log.info("model judged", digest=fitted.digest[:12], verdict=verdict.reason)
    return Judged(fitted.digest, score, verdict)


@stage("promote")
async def promote(judged: Judged) -> Judged:
    """Let a model serve that passed the gate; of one that did not, the reason is already kept."""
    world = adapters()
    if judged.verdict.is_promoted:
        async with world.store.unit() as uow:
            await uow.models.promote(judged.digest, world.clock.now())
    return judged


@stage("load-detector")
async def serving_detector() -> GraphSAGEAnomalyDetector:
    """Return the detector with the promoted weights; with the shipped ones where none was promoted.

    Raises:
        WeightsCorrupt: what is stored is not what was promoted; whoever holds a detector goes on with it.
    """
    async with adapters().store.unit() as uow:
        serving = await uow.models.promoted()
    raw, digest = (serving.weights, serving.digest) if serving is not None else shipped_weights()
    return GraphSAGEAnomalyDetector.loaded(raw, digest=digest)


@stage("predict")
async def predict(snapshot: Snapshot) -> Prediction:
    """Ask the detector that serves about one snapshot."""
    return (await serving_detector()).predict(snapshot)


@stage("recall-snapshot")
async def snapshot_of(incident: IncidentId) -> Snapshot:
    """Return what the mesh showed around a stored incident.

    Raises:
        ConfigurationInvalid: no such incident.
        NotEnoughHistory: its samples are deleted by now, or it began too soon after them.
    """
    async with adapters().store.unit() as uow:
        known = await uow.incidents.get(incident)
        if known is None:
            raise ConfigurationInvalid(f"there is no incident {incident}", "`x0tta6bl4 incidents` lists them")
        return await _seen_around(uow, known)


def _examples(cases: Iterable[Case]) -> list[Example]:
    found = []
    for case in cases:
        try:
            found.append(example_of(case))
        except NotEnoughHistory as error:
            log.info("incident left out", case=case.name, reason=str(error))
    return found


def _training_side(name: str, folder: Path) -> list[Case]:
    if name not in LOADERS:
        raise ConfigurationInvalid(f"no published set has the format {name}", f"choose of {', '.join(LOADERS)}")
    return [case for case in LOADERS[name](folder) if case.side == "train"]


async def _healed(mesh: str) -> list[Case]:
    """Return the incidents whose cause a heal has proven, as far as their samples are still there."""
    cases = []
    async with adapters().store.unit() as uow:
        for incident in await uow.incidents.recent(mesh):
            story = await uow.incidents.story(incident.id)
            is_proven = story is not None and any(one.kind is OutcomeKind.FIXED for one in story.outcomes)
            if story is None or not is_proven or not story.diagnoses or not incident.symptoms:
                continue
            cause = story.diagnoses[-1].best
            try:
                snapshot = await _seen_around(uow, incident)
            except NotEnoughHistory as error:
                log.info("incident left out", case=incident.id, reason=str(error))
                continue
            if cause.element is not None and str(cause.element) in snapshot.elements:
                root = str(cause.element)
                cases.append(Case(incident.id, snapshot, (root,), cause.fault.value, "train", root))
    return cases


async def _seen_around(uow: UnitOfWork, incident: Incident) -> Snapshot:
    declared = await uow.meshes.load(incident.mesh)
    if declared is None or not incident.symptoms:
        raise ConfigurationInvalid(f"incident {incident.id} has no mesh or no symptoms", "ask about another one")
    first = min(incident.symptoms, key=lambda one: (one.since, one.element))
    last = max(one.at for one in incident.symptoms)
    window = MeshWindow(declared)
    window.observe(await uow.samples.between(incident.mesh, last - WINDOW, last + timedelta(seconds=1)))
    return window.snapshot(last.timestamp(), since=first.since.timestamp(), target=first.element, at_most=None)


async def _progress(reached: int, epochs: int) -> UUID:
    """Show in the flow run's page how far the fit is; return what to move on."""
    about = f"Epochs of {epochs}."
    return await acreate_progress_artifact(_percent(reached, epochs), key="fit-progress", description=about)


def _percent(reached: int, epochs: int) -> float:
    return 100.0 * reached / epochs


async def _draw(reached: Checkpoint, run: str) -> None:
    """Show the loss curve in the flow run's page."""
    scale = 40 / max(max(pair) for pair in reached.losses)
    rows = [
        f"| {number} | {steps:.3f} | {held:.3f} | `{'#' * round(held * scale)}` |"
        for number, (steps, held) in enumerate(reached.losses, start=1)
    ]
    head = ["| epoch | loss of the steps | loss held out | |", "|-:|-:|-:|:-|"]
    about = f"Fit {run[:12]}, nats an incident (listwise cross-entropy)."
    await acreate_markdown_artifact(key="loss-curve", markdown="\n".join([about, "", *head, *rows]))
