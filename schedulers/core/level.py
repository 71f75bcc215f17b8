"""Noise levels, the points of the forward process that a run visits, and the calls made there."""

from __future__ import annotations

import math
from typing import NamedTuple


class Level(NamedTuple):
    """A point of the forward process ``x = alpha * x0 + sigma * eps``.

    Attributes:
        t: The time at which the model is asked, in training steps.
        alpha: Signal weight, 0 (pure noise) to 1; a flow's may be rounded to less than 0.
        sigma: Noise weight, 0 (clean) and up.
    """

    t: float
    alpha: float
    sigma: float

    @property
    def rho(self) -> float:
        """Noise-to-signal ratio ``sigma / alpha`` (infinite for pure noise)."""
        return self.sigma / self.alpha if self.alpha > 0.0 else math.inf

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio ``(alpha / sigma)^2`` (infinite for a clean level)."""
        ratio = max(self.alpha, 0.0) / self.sigma if self.sigma > 0.0 else math.inf
        return ratio * ratio

    @property
    def lam(self) -> float:
        """Half log-SNR ``log(alpha / sigma)`` (infinite for a clean level)."""
        if self.sigma <= 0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0.0 else -math.inf

    @property
    def scale(self) -> float:
        """Standard deviation ``sqrt(alpha^2 + sigma^2)`` of x for unit-variance data."""
        return math.hypot(self.alpha, self.sigma)


class Call(NamedTuple):
    """One model call: asked at ``here``, after which the sample stands at ``target``.

    Attributes:
        t: Entry of ``timesteps`` that belongs to this call.
        here: Level at which the model is asked.
        target: Level of the sample that the call's coefficients produce.
        step: Number of the step that the call is part of, from 0.
        part: Which of the step's calls it is, from 0.
    """

    t: float
    here: Level
    target: Level
    step: int = 0
    part: int = 0


def vp_level(t: float, alpha_cumprod: float) -> Level:
    """Variance-preserving level with ``alpha^2 = alpha_cumprod`` (Ho et al. 2020, eq. 4)."""
    return Level(t, math.sqrt(alpha_cumprod), math.sqrt(1.0 - alpha_cumprod))


def ve_level(t: float, sigma: float) -> Level:
    """Variance-exploding level: ``alpha = 1`` (Song et al. 2021; Karras et al. 2022)."""
    return Level(t, 1.0, sigma)
