"""The posterior over a finite set of clean samples."""

from __future__ import annotations

import torch

# exp(-80) = 2e-35 is nothing next to the largest weight, which is 1; what exp would give below
# that are denormal numbers, and arithmetic on those is ten times slower.
_FLOOR = -80.0

_SMALLEST = 1e-8

_CHUNK = 2**23  # weights at a time: bounds the memory of a large batch


def precision_of(alpha: float, sigma: float) -> float:
    """Return 1 / sigma^2, sigma not below 1e-8 max(alpha, 1).

    Below that the posterior is its nearest member to every digit, and what multiplies the
    squares, 1 / sigma^2 and alpha^2 / sigma^2, stays within float32.
    """
    return max(sigma, _SMALLEST * max(alpha, 1.0)) ** -2


def weights_(logits: torch.Tensor) -> torch.Tensor:
    """Turn logits into exp(logits - max) along the last axis, in place, free of overflow."""
    return logits.sub_(logits.amax(-1, keepdim=True)).clamp_(min=_FLOOR).exp_()


class PointPosterior:
    """Exact denoiser of a uniform distribution over N points in d dimensions.

        x0_hat = sum_i w_i c_i,    w = softmax(-|x - alpha c_i|^2 / (2 sigma^2)).

    The logits are computed relative to the mean m of the points, with c' = c - m, as

        (alpha <x - alpha m, c'_i> - alpha^2 |c'_i|^2 / 2) / sigma^2,

    which drops the common term |x - alpha m|^2: at large sigma it would eat every digit.
    As sigma falls the answer becomes the nearest point: this denoiser memorises.

    References:
        Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative
        Models", 2022, arXiv 2206.00364, eq. 57.

    Args:
        points: Shape (N, d).
    """

    def __init__(self, points: torch.Tensor) -> None:
        """Centre the points."""
        self.mean = points.mean(0)
        self._centred = points - self.mean
        self._half_norms = self._centred.square().sum(-1).mul_(0.5)

    def posterior_mean(self, x: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
        """Return x0_hat for ``x`` of shape (n, d); alpha >= 0, sigma > 0."""
        rows = max(1, _CHUNK // len(self._centred))
        if len(x) > rows:
            return torch.cat([self.posterior_mean(p, alpha, sigma) for p in x.split(rows)])
        precision = precision_of(alpha, sigma)
        # In this order no product leaves the range of float32 at any level.
        shifted = torch.sub(x, self.mean, alpha=alpha).mul_(alpha * precision)
        logits = torch.addmm(
            self._half_norms, shifted, self._centred.T, beta=-(alpha**2) * precision
        )
        weights = weights_(logits)
        return (weights @ self._centred).div_(weights.sum(-1, keepdim=True)).add_(self.mean)

    def nearest(self, x0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return index and squared distance of the nearest point, for ``x0`` of shape (n, d)."""
        shifted = x0 - self.mean
        index = torch.addmm(self._half_norms, shifted, self._centred.T, alpha=-1.0).argmin(-1)
        return index, (shifted - self._centred[index]).square().sum(-1)
