"""Interpolation to another size as one matrix for each axis, as torch has it for its modes."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
#: Number of axes behind batch and channels that each mode interpolates over.
AXES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}
#: Sharpness of the cubic kernel (Keys 1981), torch's choice.
CUBIC = -0.75


def cubic_kernel(x: Float64) -> Float64:
    """The piecewise cubic through 1 at 0 and 0 at every other integer, zero from 2 on."""
    x = np.abs(x)
    near = ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0
    far = CUBIC * (((x - 5.0) * x + 8.0) * x - 4.0)
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def area_weights(n: int, size: int) -> Float64:
    """The mean over what each of the new places covers."""
    weights = np.zeros((size, n))
    for i in range(size):
        low, high = i * n // size, -(-(i + 1) * n // size)
        weights[i, low:high] = 1.0 / (high - low)
    return weights


@functools.lru_cache(64)
def axis_weights(mode: str, n: int, size: int) -> Float64:
    """What each of n places weighs in each of ``size`` new ones.

    Args:
        mode: One of ``AXES``.
        n: Length of the axis.
        size: Its new length.

    Returns:
        Shape (size, n); every row sums to 1.
    """
    if mode == "area":
        return area_weights(n, size)
    places, stride = np.arange(size), np.float32(n / size)
    if mode.startswith("nearest"):
        shift = np.float32(0.5 if mode == "nearest-exact" else 0.0)
        found = np.floor((places + shift).astype(np.float32) * stride).astype(np.int64)
        return np.asarray(np.eye(n)[np.minimum(found, n - 1)])
    at = (places + 0.5) * (n / size) - 0.5
    reach = 2 if mode == "bicubic" else 1
    if reach == 1:
        at = np.maximum(at, 0.0)
    weights = np.zeros((size, n))
    for tap in range(1 - reach, 1 + reach):
        beside = np.floor(at) + tap
        distance = at - beside
        weight = cubic_kernel(distance) if reach == 2 else 1.0 - np.abs(distance)
        np.add.at(weights, (places, beside.clip(0, n - 1).astype(np.int64)), weight)
    return weights


def resized(x: NDArray[np.floating], size: tuple[int, ...], mode: str) -> NDArray[np.floating]:
    """Another size of the last axes of an array, shape (batch, channels, ...)."""
    for axis, length in enumerate(size, x.ndim - len(size)):
        weights = axis_weights(mode, x.shape[axis], length).astype(x.dtype)
        x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
    return x
