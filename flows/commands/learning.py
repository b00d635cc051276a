"""`x0tta6bl4 train-weights` and `generate-test-anomalies`: what ships, made again; labelled incidents for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.desk import writable

# What the shipped weights were made with; anyone gets the same digest from it on the same machine and versions.
SHIPPED_SEED = 1
SHIPPED_INCIDENTS = 3500
SHIPPED_EPOCHS = 20
# Judged before they ship, on incidents of another seed.
JUDGED_SEED = 1_000_004
JUDGED_INCIDENTS = 600


def train_weights(
    out: Annotated[Path, typer.Option(help="Where to write them.")] = Path("graph.weights"),
    seed: Annotated[int, typer.Option(help="Of the simulation and of the fit.")] = SHIPPED_SEED,
    incidents: Annotated[int, typer.Option(min=30, help="Simulated incidents to fit on.")] = SHIPPED_INCIDENTS,
    epochs: Annotated[int, typer.Option(min=1, help="Rounds over them.")] = SHIPPED_EPOCHS,
) -> None:
    """Fit the shipped weights anew from simulated incidents, judge them, write them, print their digest (minutes)."""
    from models import fitting, promotion, simulation, weights  # noqa: PLC0415 - `--help` needs none of it

    writable(out)
    config = fitting.FitConfig(seed=seed, epochs=epochs)
    examples = [fitting.example_of(case) for case in simulation.simulated(incidents, seed=seed)]
    typer.echo(f"{len(examples)} incidents simulated")
    reached = None
    for reached in fitting.epochs(examples, config):
        steps, held = reached.losses[-1]
        typer.echo(f"epoch {reached.epoch}/{epochs}: loss {steps:.4f}, held out {held:.4f}")
    if reached is None:
        raise typer.BadParameter("nothing was fitted", param_hint="--epochs")
    fitted = fitting.weights_of(reached, examples, config)
    judged = [fitting.example_of(case) for case in simulation.simulated(JUDGED_INCIDENTS, seed=JUDGED_SEED)]
    rivals = promotion.scores_of_rules(judged)
    typer.echo(promotion.judge(promotion.score_of_model(fitted, judged), rivals, None).reason)
    for name, rival in sorted(rivals.items()):
        typer.echo(f"  {name}: top-1 {rival.top1:.3f}, Avg@5 {rival.average5:.3f}")
    raw = weights.write(fitted)
    out.write_bytes(raw)
    typer.echo(f"{out}: {len(raw)} bytes, SHA-256 {weights.digest_of(raw)}")


def generate_test_anomalies(
    out: Annotated[Path, typer.Argument(help="File to write, one JSON object a line.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many incidents.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same incidents.")] = 1,
) -> None:
    """Write labelled incidents from the declared simulation: snapshots with their truth."""
    from models.casefile import document_of  # noqa: PLC0415 - as below
    from models.simulation import generate_test_anomalies as generate  # noqa: PLC0415 - `--help` needs none of it

    with writable(out).open("w", encoding="utf-8") as file:
        for case in generate(count, seed=seed):
            file.write(json.dumps(document_of(case), allow_nan=False) + "\n")
    typer.echo(f"{out}: {count} incidents of seed {seed}")
