"""Gaussian mixtures on the line and in the plane: posterior mean and density in closed form.

With component k of weight w_k, mean m_k and covariance S_k, and V_k = alpha^2 S_k + sigma^2 I,

    p(x) = sum_k w_k N(x; alpha m_k, V_k),        r_k = w_k N(x; alpha m_k, V_k) / p(x),
    x0_hat = sum_k r_k (m_k + alpha S_k V_k^-1 (x - alpha m_k)).

A single Gaussian makes the sampling ODE linear, with a path known in closed form.

References:
    C. Bishop, "Pattern Recognition and Machine Learning", 2006, eq. 2.113-2.117 (linear
    Gaussian models) and section 2.3.9 (mixtures).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from models.denoiser import Denoiser, check_level
from models.posterior import weights_
from models.protocol import ClassInfo, ModelInfo
from schedulers.backend.errors import ParameterError

EXTENT = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The numbers of a mixture of K Gaussians in d dimensions, float64.

    Attributes:
        weights: Shape (K,), positive, sum 1.
        means: Shape (K, d).
        axes: Principal axes as columns, shape (K, d, d), orthogonal.
        variances: Variances along the axes, shape (K, d), positive.
    """

    weights: np.ndarray
    means: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of the distribution, shape (d,)."""
        return self.weights @ self.means

    def standardised(self) -> Mixture:
        """Return it shifted to mean 0 and scaled to variance 1, averaged over coordinates."""
        means = self.means - self.mean
        power = self.weights @ (np.square(means) + self.variances).mean(-1)
        return Mixture(self.weights, means / np.sqrt(power), self.axes, self.variances / power)

    def draw(self, n: int, seed: int) -> np.ndarray:
        """Return ``n`` draws, shape (n, d), float32."""
        rng = np.random.default_rng(seed)
        k = rng.choice(len(self.weights), size=n, p=self.weights)
        local = rng.standard_normal((n, self.means.shape[1])) * np.sqrt(self.variances[k])
        return (self.means[k] + np.einsum("nij,nj->ni", self.axes[k], local)).astype(np.float32)

    def density(self, x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        """Return p(x; alpha, sigma) for ``x`` of shape (..., d): shape (...), float64."""
        variances = alpha**2 * self.variances + sigma**2
        local = np.einsum("...kj,kji->...ki", x[..., None, :] - alpha * self.means, self.axes)
        exponents = -0.5 * (np.square(local) / variances).sum(-1)
        scales = self.weights / np.sqrt(2.0 * np.pi * variances).prod(-1)
        return np.exp(exponents) @ scales


def _mixture(
    components: list[tuple[float, tuple[float, ...], float, tuple[float, ...]]],
) -> Mixture:
    """Build a mixture from rows (weight, mean, angle of the first axis, standard deviations)."""
    weights = np.array([row[0] for row in components], dtype=np.float64)
    angles = [row[2] for row in components]
    if len(components[0][1]) == 1:
        axes = np.ones((len(components), 1, 1))
    else:
        axes = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
    return Mixture(
        weights / weights.sum(),
        np.array([row[1] for row in components], dtype=np.float64),
        axes,
        np.square(np.array([row[3] for row in components], dtype=np.float64)),
    ).standardised()


def _around(radius: float, angle: float) -> tuple[float, float]:
    return radius * float(np.cos(angle)), radius * float(np.sin(angle))


def _plane(class_id: str) -> Mixture:
    turn = 2.0 * np.pi
    if class_id == "ring":
        return _mixture([(1.0, _around(1.0, k * turn / 8), 0.0, (0.08, 0.08)) for k in range(8)])
    if class_id == "pinwheel":
        angles = [k * turn / 5 for k in range(5)]
        return _mixture([(1.0, _around(1.0, a), a + 0.9, (0.45, 0.07)) for a in angles])
    if class_id == "uneven":
        return _mixture(
            [
                (0.6, (-0.8, -0.5), 0.6, (0.5, 0.15)),
                (0.3, (0.9, 0.7), 0.0, (0.2, 0.2)),
                (0.1, (1.2, -1.1), 2.2, (0.35, 0.06)),
            ]
        )
    return _mixture([(1.0, (0.0, 0.0), 0.6, (1.0, 0.35))])


def _line(class_id: str) -> Mixture:
    if class_id == "two":
        return _mixture([(0.5, (-1.0,), 0.0, (0.2,)), (0.5, (1.0,), 0.0, (0.2,))])
    if class_id == "uneven":
        rows = [(0.6, -1.2, 0.35), (0.3, 0.6, 0.12), (0.1, 2.0, 0.25)]
        return _mixture([(w, (m,), 0.0, (s,)) for w, m, s in rows])
    if class_id == "comb":
        return _mixture([(1.0, (float(k),), 0.0, (0.08,)) for k in range(-3, 4)])
    return _mixture([(1.0, (0.0,), 0.0, (1.0,))])


PLANE = ModelInfo(
    id="mixture-2d",
    title="Gaussian mixture · plane",
    kind="plane",
    shape=(2,),
    classes=(
        ClassInfo("ring", "Ring of eight"),
        ClassInfo("pinwheel", "Pinwheel"),
        ClassInfo("uneven", "Three, uneven"),
        ClassInfo("gauss", "One Gaussian"),
    ),
    default_class="ring",
    options=(),
    text="A few Gaussians in the plane: smooth data whose score is known exactly.",
)

LINE = ModelInfo(
    id="mixture-1d",
    title="Gaussian mixture · line",
    kind="line",
    shape=(1,),
    classes=(
        ClassInfo("two", "Two modes"),
        ClassInfo("uneven", "Three, uneven"),
        ClassInfo("comb", "Comb of seven"),
        ClassInfo("gauss", "One Gaussian"),
    ),
    default_class="two",
    options=(),
    text="A few Gaussians on the line: every path and the density it follows in one picture.",
)


class _MixtureModel(Denoiser):
    """Posterior mean of the mixtures; see the module docstring."""

    def __init__(
        self, info: ModelInfo, mixtures: dict[str, Mixture], device: str | torch.device
    ) -> None:
        super().__init__(info, device)
        self._mixtures = mixtures
        self._tensors: dict[tuple[str, torch.dtype], tuple[torch.Tensor, ...]] = {}

    @property
    def extent(self) -> float:
        """Half the width of the view, centred at 0, that shows data and unit noise."""
        return EXTENT

    def mixture(self, cond: str | None = None) -> Mixture:
        """Return the numbers of a class."""
        return self._mixtures[self.class_id(cond)]

    def reference(self, cond: str | None, n: int, seed: int = 0) -> np.ndarray:
        """Return ``n`` draws of the data, shape (n, *shape), float32."""
        return self.mixture(cond).draw(n, seed)

    def _numbers(self, cond: str, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        key = (cond, dtype)
        if key not in self._tensors:
            mixture = self._mixtures[cond]
            arrays = (np.log(mixture.weights), mixture.means, mixture.axes, mixture.variances)
            self._tensors[key] = tuple(
                torch.tensor(array, dtype=dtype, device=self.device) for array in arrays
            )
        return self._tensors[key]

    def _posterior_mean(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str
    ) -> torch.Tensor:
        log_weights, means, axes, variances = self._numbers(cond, x.dtype)
        total = (alpha**2 * variances + sigma**2).clamp_(min=torch.finfo(x.dtype).tiny)
        local = torch.einsum("nkj,kji->nki", x[:, None] - alpha * means, axes)
        logits = log_weights - 0.5 * (local.square() / total + total.log()).sum(-1)
        weights = weights_(logits)
        shrunk = local.mul_(alpha * variances / total)
        answers = torch.einsum("nki,kji->nkj", shrunk, axes).add_(means)
        mixed = torch.einsum("nk,nkj->nj", weights, answers)
        return mixed.div_(weights.sum(-1, keepdim=True))

    def _mean(self, cond: str, dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor(self._mixtures[cond].mean, dtype=dtype, device=self.device)


class PlaneMixture(_MixtureModel):
    """Gaussian mixtures in the plane."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Build the classes."""
        super().__init__(PLANE, {entry.id: _plane(entry.id) for entry in PLANE.classes}, device)


class LineMixture(_MixtureModel):
    """Gaussian mixtures on the line."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Build the classes."""
        super().__init__(LINE, {entry.id: _line(entry.id) for entry in LINE.classes}, device)

    def density(
        self, grid: np.ndarray, alpha: float, sigma: float, cond: str | None = None
    ) -> np.ndarray:
        """Return the marginal density of x = alpha * x0 + sigma * eps.

        Args:
            grid: Places x, any shape.
            alpha: Signal scale, finite, >= 0.
            sigma: Noise scale, finite, >= 0, not 0 together with ``alpha``.
            cond: Id of a class; None means the default class.

        Returns:
            Density, shape of ``grid``, float64, integral 1.

        Raises:
            ValueError: Unknown class, invalid level, or a level without any spread.
        """
        alpha, sigma = check_level("alpha", alpha), check_level("sigma", sigma)
        if alpha == 0.0 and sigma == 0.0:
            raise ParameterError(
                "alpha=0 and sigma=0 leave a single point, which has no density", "alpha", "sigma"
            )
        places = np.asarray(grid, dtype=np.float64)[..., None]
        return self.mixture(cond).density(places, alpha, sigma)
