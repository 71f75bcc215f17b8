"""The noise of DPM++ SDE: increments of one Brownian path, in law and, on torch, in every digit."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchsde

from benchmarks.schedulers import Count
from schedulers.backend.arrays import backend_of
from schedulers.rules.brownian import BrownianPath, BrownianTree
from tests.laws.driver import make

MANY = 40_000
LEVELS = (8.0, 5.0, 4.0, 3.5, 1.0)
Between = Callable[[float, float], Any]


def path(kind: str) -> Between:
    """Noise between two levels of one path, in float64."""
    like: Any = np.empty(MANY) if kind.startswith("np") else torch.empty(MANY, dtype=torch.float64)
    backend = backend_of(like, "like")

    def combine(terms: Any) -> Any:  # noqa: ANN401
        return backend.combine(terms, like, like.dtype)

    if kind.endswith("tree"):
        tree = BrownianTree(0.5, 9.0, 11)
        unit = lambda seed: backend.randn(like, like.dtype, backend.seeded(seed, like))  # noqa: E731
        return lambda a, b: tree.between(a, b, unit, combine)
    bridge, dice = BrownianPath(), np.random.default_rng(3)
    fresh = lambda: backend.randn(like, like.dtype, dice)  # noqa: E731
    return lambda a, b: bridge.between(a, b, fresh, combine)


KINDS = ["np path", "np tree", "torch path", "torch tree"]


@pytest.mark.parametrize("kind", KINDS)
def test_covariance_of_increments(kind: str) -> None:
    """Noise of overlapping intervals correlates by the overlap over the geometric mean."""
    between = path(kind)
    # bridged: both ends first, then what lies between
    pairs = sorted(itertools.combinations(LEVELS, 2), key=lambda pair: pair[1] - pair[0])
    noises = {pair: np.asarray(between(*pair)) for pair in pairs}
    for (p, x), (q, y) in itertools.combinations_with_replacement(noises.items(), 2):
        overlap = max(0.0, min(p[0], q[0]) - max(p[1], q[1]))
        expected = overlap / np.sqrt((p[0] - p[1]) * (q[0] - q[1]))
        assert np.mean(x * y) == pytest.approx(expected, abs=5 / np.sqrt(MANY)), (p, q)


@pytest.mark.parametrize("kind", KINDS)
def test_nested_intervals_add_up(kind: str) -> None:
    between = path(kind)
    asked = [(8.0, 1.0), (8.0, 5.0), (5.0, 1.0), (5.0, 4.0), (4.0, 1.0)]
    whole, upper, lower, inner, rest = (np.asarray(between(*pair)) for pair in asked)
    assert np.abs(np.sqrt(7) * whole - np.sqrt(3) * upper - 2 * lower).max() < 1e-10
    assert np.abs(2 * lower - inner - np.sqrt(3) * rest).max() < 1e-10
    assert np.abs(np.asarray(between(1.0, 8.0)) + whole).max() < 1e-10
    assert np.abs(np.asarray(between(8.0, 1.0)) - whole).max() < 1e-10


@pytest.mark.parametrize("seed", [0, 7, 2**62 + 1])
def test_the_tree_is_torchsdes(seed: int) -> None:
    """Its draws, in any order of asking."""
    like = torch.empty(2, 3)
    backend = backend_of(like, "like")
    tree = BrownianTree(0.03, 14.6, seed)
    theirs = torchsde.BrownianTree(t0=0.03, w0=torch.zeros(2, 3), t1=14.6, entropy=seed)
    for a, b in ((14.6, 3.3), (14.6, 0.7), (0.7, 0.03), (2.5, 2.4999), (9.0, 1.1)):
        found = tree.between(
            a,
            b,
            lambda s: backend.randn(like, torch.float32, backend.seeded(s, like)),
            lambda terms: backend.combine(terms, like, torch.float32),
        )
        expected = -theirs(b, a) / (a - b) ** 0.5
        rounding = 1e-6 * (a / (a - b)) ** 0.5
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=4 * rounding)


def test_a_seed_wins_over_a_generator_and_needs_no_torch() -> None:
    def last(kind: type, generator: object, **config: object) -> np.ndarray:
        scheduler = make("DPMSolverSDEScheduler", 4, **config)
        x: Any = np.ones((2, 3)) if kind is np.ndarray else torch.ones(2, 3)
        for t in scheduler.timesteps:
            scheduler.scale_model_input(x, t)
            x = scheduler.step(0.1 * x, t, x, generator=generator).prev_sample
        return np.asarray(x)

    for kind in (np.ndarray, torch.Tensor):
        one, other = (last(kind, np.random.default_rng(s), noise_sampler_seed=3) for s in (1, 2))
        assert np.array_equal(one, other)
        one, other = (last(kind, np.random.default_rng(s)) for s in (1, 2))
        assert not np.array_equal(one, other)
        torch.manual_seed(5)
        np.random.seed(5)
        one = last(kind, None)
        torch.manual_seed(5)
        np.random.seed(5)
        assert np.array_equal(one, last(kind, None))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DPMSolverSDEScheduler", {"noise_sampler_seed": 3}),
        ("CosineDPMSolverMultistepScheduler", {}),
    ],
)
def test_upstreams_draws_cost_a_sum_and_no_reads(name: str, settings: dict[str, object]) -> None:
    """A draw for each halving that is new, a term for each on the way; nothing is read."""
    scheduler, x = make(name, 20, **settings), torch.ones(2, 4, 16, 16)
    for i, t in enumerate(scheduler.timesteps[:12]):
        scheduler.scale_model_input(x, t)
        with Count(x.numel(), "cpu") as seen:
            scheduler.step(0.1 * x, t, x)
        assert i == 0 or (seen.ops <= 70 and seen.syncs == 0), i


def test_an_assigned_level_leads_the_path_elsewhere() -> None:
    """In the middle of a run too: the tree stays, and is looked at between the new levels."""
    runs = []
    for factor in (1.0, 0.5):
        scheduler, x = make("DPMSolverSDEScheduler", 4, noise_sampler_seed=3), torch.ones(2, 3)
        for i, t in enumerate(scheduler.timesteps[:4]):
            if i == 2:
                scheduler.sigmas[3:] *= factor
            scheduler.scale_model_input(x, t)
            x = scheduler.step(0.0 * x, t, x).prev_sample
        (tree,) = scheduler._trees
        runs.append((tree, x))
    (first, a), (second, b) = runs
    assert first._ends == second._ends and not torch.equal(a, b)
