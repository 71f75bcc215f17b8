"""What every model says about itself, and the one language all of them speak.

A model answers a single question: which clean sample is expected behind this noisy one,

    x0_hat(x) = E[x0 | x],    x = alpha * x0 + sigma * eps,    eps ~ N(0, 1).

The least-squares answer is the posterior mean. Tweedie's formula ties it to the score,

    x0_hat = (x + sigma^2 grad log p(x; alpha, sigma)) / alpha,

so a model that knows the one knows the other.

References:
    B. Efron, "Tweedie's Formula and Selection Bias", JASA 2011, eq. 1.4.
    P. Vincent, "A Connection Between Score Matching and Denoising Autoencoders",
    Neural Computation 2011.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from schedulers.backend.checks import check_choice, check_number, check_whole

Kind = Literal["image", "plane", "line"]


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """One value of ``cond``: its id and the title a person reads."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class Option:
    """One number a person can turn.

    Attributes:
        name: Keyword of ``load``.
        title: What the control is called.
        default: Value when nothing is said.
        low: Smallest allowed value.
        high: Largest allowed value.
        step: Step of the slider.
        text: One sentence that explains it.
        choices: Allowed values, when only some are; empty for a range.
    """

    name: str
    title: str
    default: float
    low: float
    high: float
    step: float
    text: str
    choices: tuple[float, ...] = ()

    def check(self, value: object) -> float:
        """The value, if it is one of this option.

        Raises:
            TypeError: Not a number, or not a whole one where only these are.
            ValueError: Out of range, or not among the choices.
        """
        if self.choices:
            return float(check_choice(self.name, value, self.choices))
        if isinstance(self.default, int) and float(self.step or 1).is_integer():
            return check_whole(self.name, value, int(self.low), int(self.high))
        return check_number(self.name, value, self.low, self.high)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The description of a model.

    Attributes:
        id: Key in ``MODELS``.
        title: Name on the page.
        kind: "image" (3 x height x width, values in [-1, 1]), "plane" (2) or "line" (1).
        shape: Shape of one sample, without the batch axis.
        classes: Values of ``cond``.
        default_class: The value used for ``cond=None``.
        options: Keywords of ``load``.
        text: One sentence about what it does.
        note: Credit and licence of the data; empty when there is none to give.
    """

    id: str
    title: str
    kind: Kind
    shape: tuple[int, ...]
    classes: tuple[ClassInfo, ...]
    default_class: str
    options: tuple[Option, ...]
    text: str
    note: str = ""


@runtime_checkable
class Model(Protocol):
    """A denoiser in (alpha, sigma) form; see the module docstring."""

    @property
    def info(self) -> ModelInfo:
        """The model's description."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis."""

    def denoise(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str | None = None
    ) -> torch.Tensor:
        """Return x0_hat for a batch ``x`` of shape (n, *shape): same shape, same dtype."""


@runtime_checkable
class PlaneModel(Model, Protocol):
    """A model of points in the plane."""

    @property
    def extent(self) -> float:
        """Half the side of the square, centred at 0, that shows data and unit noise."""

    def reference(self, cond: str | None, n: int, seed: int = 0) -> np.ndarray:
        """Return ``n`` draws of the data, shape (n, 2), float32."""


@runtime_checkable
class LineModel(Model, Protocol):
    """A model of numbers on the line."""

    @property
    def extent(self) -> float:
        """Half the length of the interval, centred at 0, that shows data and unit noise."""

    def density(
        self, grid: np.ndarray, alpha: float, sigma: float, cond: str | None = None
    ) -> np.ndarray:
        """Return the marginal density of x at this level on ``grid``, same shape, float64."""


@runtime_checkable
class ImageModel(Model, Protocol):
    """A model of small images with values in [-1, 1]."""

    def nearest(self, x0: torch.Tensor, cond: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return, per image, the index of the nearest training image and the rms distance."""
