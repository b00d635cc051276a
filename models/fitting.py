"""Fit the graph model with PyTorch and PyG: seeded, epoch by epoch, each epoch a point from which a killed run goes on.

PyTorch and PyG are imported inside the functions that need them (the extra `learning`): nothing that only asks a model
may pay for them. One thread, so that a seed gives the same weights on the same machine.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from models.errors import BrokenError, ToolMissing
from models.graphinputs import ABOUT_TARGET, COLUMNS, GraphInputs, cost_of_quiet, graph_inputs
from models.graphsage import forward, softmax_with_none
from models.snapshot import Case, FloatArray
from models.weights import Shape, Weights, expected_shapes

INSTALL = "install the extra `learning`: pip install -r requirements-learning.lock"
# Every sixth group is held out of the steps, to set the temperature on and to draw the curve.
HELD_OUT: Final = 6


@dataclass(frozen=True, slots=True)
class FitConfig:
    """What a fit is asked for; with the examples it decides the weights.

    Attributes:
        seed: Of the first weights, of the order, and of what is hidden when.
        epochs: Rounds over all examples.
        hidden: Width of a layer; 32 keeps the shipped weights under 100 kB.
        layers: Rounds of message passing; two, since a third reached the whole of most graphs and learned their size.
        batch: Incidents in one step.
        rate: Learning rate at its peak (Adam; it rises for a tenth of the steps and falls along a cosine).
        decay: Weight decay.
        hide_target: Share of incidents whose alarm's place is hidden in an epoch: it is often unknown.
        hide_columns: Share of columns hidden in an incident: systems lack signals.
        hide_elements: Share of innocent elements that are silenced in an epoch.
        hide_edges: Share of dependencies hidden in an epoch: maps are incomplete.
    """

    seed: int = 1
    epochs: int = 24
    hidden: int = 32
    layers: int = 2
    batch: int = 64
    rate: float = 4e-3
    decay: float = 1e-4
    hide_target: float = 0.3
    hide_columns: float = 0.05
    hide_elements: float = 0.05
    hide_edges: float = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One incident as the fit reads it; `roots` are indices, empty: no visible root."""

    inputs: GraphInputs
    roots: tuple[int, ...]
    group: str


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Where a fit stands after an epoch.

    Attributes:
        epoch: How many are done.
        state: Parameters and the optimizer's memory, for `epochs` only.
        losses: Of each epoch: (of the steps, of what is held out), nats an incident.
    """

    epoch: int
    state: bytes
    losses: tuple[tuple[float, float], ...]


def example_of(case: Case) -> Example:
    """Describe a case for the fit.

    Raises:
        NotEnoughHistory: its past is too short.
    """
    places = {name: place for place, name in enumerate(case.snapshot.elements)}
    return Example(graph_inputs(case.snapshot), tuple(places[root] for root in case.roots), case.group or case.name)


def digest_of_examples(examples: Sequence[Example]) -> str:
    """Return the SHA-256 over everything the fit reads, hexadecimal; the order counts."""
    digest = hashlib.sha256(repr(COLUMNS).encode())
    for one in examples:
        digest.update(np.ascontiguousarray(one.inputs.features, dtype="<f4").tobytes())
        digest.update(np.ascontiguousarray(one.inputs.edges, dtype="<i8").tobytes())
        digest.update(repr((one.roots, one.group)).encode())
    return digest.hexdigest()


def run_key(examples_digest: str, config: FitConfig) -> str:
    """Return the name under which a fit's checkpoints are kept: the same inputs go on where they were killed."""
    return hashlib.sha256(repr((examples_digest, sorted(asdict(config).items()))).encode()).hexdigest()


def epochs(examples: Sequence[Example], config: FitConfig, *, after: Checkpoint | None = None) -> Iterator[Checkpoint]:
    """Yield a checkpoint after each epoch that is still to do.

    A fit that goes on from any of them ends with the very weights of one that was never stopped.

    Args:
        examples: At least two groups of them.
        config: What is asked for.
        after: Where a killed run of the same examples and config stood.

    Raises:
        ToolMissing: PyTorch or PyG is not installed.
        BrokenError: the loss is no number any more.
    """
    torch = _torch()
    torch.set_num_threads(1)
    fitted, held = split_examples(examples)
    network, optimizer = _new(config)
    steps = -(-len(fitted) // config.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.rate, total_steps=steps * config.epochs, pct_start=0.1
    )
    done = 0
    losses: tuple[tuple[float, float], ...] = ()
    if after is not None:
        state = torch.load(io.BytesIO(after.state), weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        done, losses = after.epoch, after.losses
    for epoch in range(done, config.epochs):
        # A generator of its own for each epoch: nothing of chance has to be remembered across a kill.
        rng = np.random.default_rng([config.seed, epoch])
        order, total = rng.permutation(len(fitted)), 0.0
        network.train()
        for start in range(0, len(order), config.batch):
            chosen = [_hidden(fitted[place], config, rng) for place in order[start : start + config.batch]]
            optimizer.zero_grad()
            loss = _loss(network, chosen)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        if not np.isfinite(total):
            raise BrokenError("the fit diverged: its loss is no number; lower the learning rate and start again")
        network.eval()
        with torch.no_grad():
            outside = [
                float(_loss(network, held[place : place + 256])) * len(held[place : place + 256])
                for place in range(0, len(held), 256)
            ]
        losses = (*losses, (total / len(fitted), sum(outside) / max(len(held), 1)))
        written = io.BytesIO()
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "schedule": schedule.state_dict()}, written)
        yield Checkpoint(epoch + 1, written.getvalue(), losses)


def weights_of(checkpoint: Checkpoint, examples: Sequence[Example], config: FitConfig) -> Weights:
    """Turn the last checkpoint into weights to ask with; the temperature is set on what was held out."""
    torch = _torch()
    network, _ = _new(config)
    network.load_state_dict(torch.load(io.BytesIO(checkpoint.state), weights_only=True)["network"])
    shape = Shape(COLUMNS, config.hidden, config.layers)
    exported = exported_arrays(network)
    weights = Weights(shape, {name: exported[name] for name in expected_shapes(shape)})
    return Weights(replace(shape, temperature=_temperature(weights, split_examples(examples)[1])), weights.arrays)


def split_examples(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Part the examples by group: (for the steps, held out). Which side a group is on depends on its name alone."""
    held = [int(hashlib.sha256(one.group.encode()).hexdigest(), 16) % HELD_OUT == 0 for one in examples]
    return (
        [one for one, is_held in zip(examples, held, strict=True) if not is_held],
        [one for one, is_held in zip(examples, held, strict=True) if is_held],
    )


def exported_arrays(network: Any) -> dict[str, Any]:
    """Return a network's parameters under the names of `models.weights`."""
    # PyG calls the one matrix of a convolution `lin_l`.
    return {
        name.replace("lin_l.", "").replace("-", "."): parameter.detach().numpy().astype(np.float32)
        for name, parameter in network.state_dict().items()
    }


def network_scores(network: Any, examples: Sequence[Example]) -> tuple[Any, Any, Any]:
    """Return a network's logits for a batch: (all elements), (graphs: no visible root), and each element's graph."""
    torch = _torch()
    from torch_geometric.utils import scatter  # noqa: PLC0415 - the extra `learning`

    sizes = [len(one.inputs.features) for one in examples]
    features = torch.from_numpy(np.concatenate([one.inputs.features for one in examples]).astype(np.float32))
    starts = np.cumsum([0, *sizes[:-1]])
    edges = torch.from_numpy(
        np.concatenate([one.inputs.edges + start for one, start in zip(examples, starts, strict=True)]).T.copy()
    )
    graph = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    state = torch.relu(network["enter"](features))
    states = [state]
    for layer in range(sum(name.startswith("own") for name in network)):
        # PyG sends from row 0 to row 1: what an element needs sends to it, and what it serves does.
        sent = network[f"own-{layer}"](state) + network[f"needs-{layer}"](state, edges.flip(0))
        state = torch.relu(sent + network[f"serves-{layer}"](state, edges))
        states.append(state)
    joined = torch.cat(states, dim=1)
    quiet = cost_of_quiet(features.numpy())
    scores = network["score-1"](torch.relu(network["score-0"](joined)))[:, 0] - torch.from_numpy(quiet)
    view = torch.cat([joined, features], dim=1)
    seen = scatter(view, graph, dim=0, dim_size=len(sizes), reduce="max")
    none = network["none-1"](torch.relu(network["none-0"](seen)))[:, 0]
    return scores, none, graph


def new_network(config: FitConfig) -> Any:
    """Return a network with the seed's first weights.

    Raises:
        ToolMissing: PyTorch or PyG is not installed.
    """
    torch = _torch()
    from torch_geometric.nn import SAGEConv  # noqa: PLC0415 - the extra `learning`

    width, joined = config.hidden, config.hidden * (config.layers + 1)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        parts = {"enter": torch.nn.Linear(len(COLUMNS), width)}
        for layer in range(config.layers):
            parts[f"own-{layer}"] = torch.nn.Linear(width, width)
            for side in ("needs", "serves"):
                parts[f"{side}-{layer}"] = SAGEConv(width, width, aggr=["mean", "max"], root_weight=False, bias=False)
        parts |= {"score-0": torch.nn.Linear(joined, width), "score-1": torch.nn.Linear(width, 1)}
        parts |= {"none-0": torch.nn.Linear(joined + len(COLUMNS), width), "none-1": torch.nn.Linear(width, 1)}
    return torch.nn.ModuleDict(parts)


def _torch() -> Any:
    try:
        import torch  # noqa: PLC0415 - the extra `learning`
        import torch_geometric  # noqa: F401, PLC0415 - as above
    except ImportError as error:
        raise ToolMissing("PyTorch with PyG", INSTALL) from error
    return torch


def _new(config: FitConfig) -> tuple[Any, Any]:
    network = new_network(config)
    return network, _torch().optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)


def _loss(network: Any, examples: Sequence[Example]) -> Any:
    """Return the mean over incidents of the listwise cross-entropy; several roots share the truth equally."""
    torch = _torch()
    from torch_geometric.utils import scatter  # noqa: PLC0415 - the extra `learning`

    scores, none, graph = network_scores(network, examples)
    count = len(examples)
    top = torch.maximum(scatter(scores, graph, dim_size=count, reduce="max"), none).detach()
    whole = scatter(torch.exp(scores - top[graph]), graph, dim_size=count, reduce="sum") + torch.exp(none - top)
    log_whole = torch.log(whole) + top
    starts = np.cumsum([0, *(len(one.inputs.features) for one in examples[:-1])])
    wanted = torch.zeros(len(scores))
    for start, one in zip(starts, examples, strict=True):
        for root in one.roots:
            wanted[int(start) + root] = 1.0 / len(one.roots)
    without = torch.tensor([0.0 if one.roots else 1.0 for one in examples])
    hit = scatter(wanted * scores, graph, dim_size=count, reduce="sum") + without * none
    return (log_whole - hit).mean()


def _hidden(example: Example, config: FitConfig, rng: np.random.Generator) -> Example:
    """Hide some of what an incident shows, as systems do."""
    features = example.inputs.features.copy()
    if rng.random() < config.hide_target:
        features[:, ABOUT_TARGET] = 0.0
    features[:, rng.random(features.shape[1]) < config.hide_columns] = 0.0
    silent = rng.random(len(features)) < config.hide_elements
    silent[list(example.roots)] = False
    features[silent] = 0.0
    edges = example.inputs.edges
    kept = edges[rng.random(len(edges)) >= config.hide_edges]
    return Example(GraphInputs(features, kept), example.roots, example.group)


def _temperature(weights: Weights, held: Sequence[Example]) -> float:
    """Return the divisor of the scores under which the truth of the held-out incidents is least surprising."""
    answers = [(forward(weights, one.inputs), one.roots) for one in held]

    def surprise(temperature: float) -> float:
        return sum(_surprise(scores / temperature, none / temperature, roots) for (scores, none), roots in answers)

    # A twentieth of a factor is finer than a few hundred incidents can tell apart.
    return float(min(np.exp(np.arange(-1.0, 1.5, 0.05)), key=surprise))


def _surprise(scores: FloatArray, none: float, roots: tuple[int, ...]) -> float:
    shares, rest = softmax_with_none(scores, none)
    seen = rest if not roots else float(np.exp(np.mean(np.log(np.maximum(shares[list(roots)], 1e-300)))))
    return -float(np.log(max(seen, 1e-300)))
