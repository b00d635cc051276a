"""Fitting: a seed decides the weights, a killed fit goes on to the same ones, and numpy says what PyG says."""

from __future__ import annotations

import io

import numpy as np
import pytest

from models.fitting import (
    FitConfig,
    digest_of_examples,
    epochs,
    example_of,
    network_scores,
    new_network,
    run_key,
    split_examples,
    weights_of,
)
from models.graphsage import forward
from models.simulation import simulated
from models.weights import write

EXAMPLES = [example_of(case) for case in simulated(60, seed=3)]
CONFIG = FitConfig(seed=3, epochs=3, hidden=8, batch=16)


@pytest.fixture(scope="module", autouse=True)
def torch():
    """PyTorch and PyG take seconds to import, which only the worker that runs these tests should spend."""
    pytest.importorskip("torch_geometric", reason="PyG is not installed: the extra `learning`")
    return pytest.importorskip("torch", reason="PyTorch is not installed: the extra `learning`")


@pytest.fixture(scope="module")
def checkpoints(torch):
    return list(epochs(EXAMPLES, CONFIG))


def test_the_same_seed_gives_the_same_bytes(checkpoints):
    again = list(epochs(EXAMPLES, CONFIG))
    one, other = (write(weights_of(found[-1], EXAMPLES, CONFIG)) for found in (checkpoints, again))
    assert one == other


def test_another_seed_gives_other_weights(checkpoints):
    config = FitConfig(seed=4, epochs=1, hidden=8, batch=16)
    other = list(epochs(EXAMPLES, config))[-1]
    assert write(weights_of(other, EXAMPLES, config)) != write(weights_of(checkpoints[0], EXAMPLES, CONFIG))


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_fit_that_was_killed_ends_with_the_weights_of_one_that_was_not(checkpoints, killed_after):
    resumed = list(epochs(EXAMPLES, CONFIG, after=checkpoints[killed_after - 1]))
    assert [one.epoch for one in resumed] == list(range(killed_after + 1, 4))
    assert resumed[-1].losses == checkpoints[-1].losses
    one, other = (weights_of(found[-1], EXAMPLES, CONFIG) for found in (checkpoints, resumed))
    assert write(one) == write(other)


def test_a_fit_that_is_over_has_nothing_left_to_do(checkpoints):
    assert list(epochs(EXAMPLES, CONFIG, after=checkpoints[-1])) == []


def test_the_loss_falls(checkpoints):
    losses = [steps for steps, _ in checkpoints[-1].losses]
    assert losses[-1] < losses[0]


def test_numpy_answers_as_pyg_does(torch, checkpoints):
    network = new_network(CONFIG)
    network.load_state_dict(torch.load(io.BytesIO(checkpoints[-1].state), weights_only=True)["network"])
    weights = weights_of(checkpoints[-1], EXAMPLES, CONFIG)
    with torch.no_grad():
        for one in EXAMPLES:
            theirs, none, _ = network_scores(network, [one])
            scores, our_none = forward(weights, one.inputs)
            assert scores == pytest.approx(theirs.numpy(), abs=1e-5)
            assert our_none * weights.shape.temperature == pytest.approx(float(none[0]), abs=1e-5)


def test_a_group_is_either_fitted_or_held_out():
    steps, held = split_examples(EXAMPLES)
    assert len(steps) + len(held) == len(EXAMPLES)
    assert {one.group for one in steps}.isdisjoint(one.group for one in held)
    assert held


def test_a_run_is_known_by_its_examples_and_its_config():
    digest = digest_of_examples(EXAMPLES)
    assert digest == digest_of_examples([example_of(case) for case in simulated(60, seed=3)])
    assert digest != digest_of_examples(EXAMPLES[:-1])
    assert run_key(digest, CONFIG) != run_key(digest, FitConfig())


def test_fitting_leaves_the_global_generator_alone(torch):
    before = torch.get_rng_state()
    new_network(CONFIG)
    assert np.array_equal(before.numpy(), torch.get_rng_state().numpy())
