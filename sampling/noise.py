"""Noise that belongs to its sample: the draws of sample k depend on the seed and on k only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

__all__ = ["generators", "unit_noise"]


def generators(seed: int, samples: int) -> list[torch.Generator]:
    """One generator per sample, on the CPU whatever device computes.

    A generator per sample makes image k independent of how many others are drawn beside it; CPU
    generators make it independent of the device. Neighbouring seeds and indices are mixed by
    NumPy's `SeedSequence`, so that (1, 0) and (0, 1) share nothing.

    Args:
        seed: The run's seed, 0 to 2**32 - 1.
        samples: How many samples, at least 1.
    """
    return [_generator(seed, k) for k in range(samples)]


def _generator(seed: int, k: int) -> torch.Generator:
    state = np.random.SeedSequence((seed, k)).generate_state(1, np.uint64)[0]
    # manual_seed takes a signed 64-bit value: keep 63 bits.
    return torch.Generator("cpu").manual_seed(int(state >> np.uint64(1)))


def unit_noise(shape: Sequence[int], owners: Sequence[torch.Generator]) -> torch.Tensor:
    """Standard normal float32 noise of shape (len(owners), *shape), one draw per owner."""
    return torch.stack([torch.randn(tuple(shape), generator=owner) for owner in owners])
