"""The forward process: clean samples made noisy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .backend.arrays import Array, backend_of
from .backend.checks import check_batch_times, check_floats
from .grid import Gridded


class Noising(Gridded):
    """Clean samples made noisy, each at a time of its own."""

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The alpha and sigma for given times of ``add_noise``."""
        raise AttributeError("a scheduler class must say how it looks levels up")

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Array) -> Array:
        """Diffuse: ``alpha x0 + sigma eps`` at the given times.

        Args:
            original_samples: Clean samples, shape (batch, ...).
            noise: Unit noise of the same shape.
            timesteps: One time for each sample, or one for all.

        Returns:
            Noisy samples, same shape and dtype.

        Raises:
            ValueError: Shapes that do not match, or a time outside the schedule.
        """
        return self._noised(original_samples, "original_samples", noise, timesteps)

    def _noised(self, samples: Array, name: str, noise: Array, timesteps: Any) -> Array:
        """``alpha x0 + sigma eps``, the samples called by their name in errors."""
        backend = self._check_noising(samples, name, noise)
        alpha, sigma = self._noise_levels(timesteps, samples)
        return (
            backend.broadcast(alpha, samples) * samples + backend.broadcast(sigma, samples) * noise
        )

    def _noise_levels(self, timesteps: Any, samples: Array) -> tuple[Array, Array]:
        """One alpha and one sigma for each sample, or for all."""
        return self._levels_at(check_batch_times(timesteps, batch_size(samples)))

    @staticmethod
    def _check_noising(samples: Array, name: str, noise: Array) -> Any:
        """The backend of clean samples and noise that belong together."""
        backend = backend_of(samples, name)
        if backend_of(noise, "noise") is not backend:
            raise TypeError(
                f"noise is a {type(noise).__name__} and {name} a {type(samples).__name__}; pass "
                "two arrays of the same library."
            )
        if noise.shape != samples.shape:
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}, but {name} has shape "
                f"{tuple(samples.shape)}; they must be equal."
            )
        check_floats(name, samples)
        check_floats("noise", noise)
        if getattr(noise, "device", None) != getattr(samples, "device", None):
            raise ValueError(f"noise is on {noise.device}, but {name} is on {samples.device}.")
        return backend


def batch_size(samples: Array) -> int:
    """Number of samples along the first axis."""
    return int(samples.shape[0]) if samples.ndim else 1
