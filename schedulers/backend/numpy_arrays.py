"""NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..process import resizing
from .noise import drawn, numpy_noise
from .protocol import Array, Backend, Dtype, Generator, Sum, Terms, require_values


class NumpyBackend(Backend):
    """NumPy arrays."""

    float32 = np.dtype(np.float32)
    computed: Mapping[Dtype, Dtype] = {
        np.dtype(np.float16): float32,
        float32: float32,
        np.dtype(np.float64): np.dtype(np.float64),
    }

    def is_floating(self, dtype: Any) -> bool:
        return bool(np.issubdtype(dtype, np.floating))

    def is_real(self, dtype: Any) -> bool:
        return bool(dtype.kind in "iuf")

    def compute_dtype(self, dtype: Any) -> Any:
        native = dtype if dtype.isnative else dtype.newbyteorder("=")
        return self.float32 if native == np.float16 else native

    def promote(self, a: Array, b: Array) -> Any:
        return a.dtype if a.dtype == b.dtype else np.promote_types(a.dtype, b.dtype)

    def prepare(self, terms: Terms, dtype: Dtype) -> Sum:
        if dtype == np.float32:
            # As torch has it: the weight rounded, then a fused multiply-add. A float64 product of
            # two float32 numbers is exact, so that only the sum is rounded.
            rest = tuple((np.float64(np.float32(weight)), k) for weight, k in terms[1:])
            return dtype, True, tuple(terms[:1]), rest
        return dtype, False, tuple(terms[:1]), tuple(terms[1:])

    def total(self, terms: Sum, arrays: Sequence[Array]) -> Array:
        dtype, fused, first, rest = terms
        if not first:
            return np.zeros(arrays[0].shape, dtype=dtype)
        ((weight, source),) = first
        x = arrays[source]
        total = x.astype(dtype) if weight == 1.0 else np.multiply(x, weight, dtype=dtype)
        wide = np.float64 if fused else dtype
        for weight, source in rest:
            product = np.multiply(arrays[source], weight, dtype=wide)
            total = np.add(total, product, dtype=wide)
            if fused:
                total = total.astype(np.float32)
        return np.asarray(total)

    def factors(self, weights: Sequence[float], dtype: Dtype) -> Sequence[Any]:
        return weights

    def copied(self, x: Array) -> Array:
        return x.copy()

    def cast(self, x: Array, dtype: Any) -> Array:
        return x if x.dtype == dtype else x.astype(dtype)

    def clamp(self, x: Array, bound: float) -> Array:
        return np.clip(x, -bound, bound)

    def threshold(self, x: Array, ratio: float, largest: float) -> Array:
        require_values(x)
        flat = x.reshape(x.shape[0], -1)
        bound = np.quantile(np.abs(flat), ratio, axis=1).clip(1.0, max(1.0, largest))
        bound = bound.astype(x.dtype)[:, None]
        return (np.clip(flat, -bound, bound) / bound).reshape(x.shape)

    def randn(self, like: Array, dtype: Any, generator: Generator) -> Array:
        return drawn(
            like.shape, generator, lambda shape, g: numpy_noise(shape, dtype, g), np.concatenate
        )

    def seeded(self, seed: int, like: Array) -> Generator:
        del like
        return np.random.default_rng(seed)

    def some_seed(self) -> int:
        return int(np.random.randint(2**63 - 1, dtype=np.int64))

    def misfit(self, a: Array, b: Array, before: Array, atol: float, rtol: float) -> float:
        scale = np.maximum(atol, rtol * np.maximum(np.abs(a), np.abs(before)))
        return float(np.sqrt(np.mean(((a - b) / scale) ** 2)))

    def root32(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(x))

    def broadcast(self, values: Array, like: Array) -> Array:
        column = np.atleast_1d(np.asarray(values)).astype(like.dtype)
        return column.reshape(column.shape + (1,) * (like.ndim - column.ndim))

    def split_channels(self, x: Array, channels: int) -> tuple[Array, Array]:
        return x[:, :channels], x[:, channels:]

    def exp(self, x: Array) -> Array:
        return np.exp(x)

    def sqrt_of_positive(self, x: Array) -> Array:
        return np.sqrt(np.maximum(x, 0))

    def langevin_ratio(self, score: Array, noise: Array, each: bool) -> Array:
        axes = tuple(range(int(score.ndim > 1), score.ndim))
        rise, spread = (np.sqrt((a * a).sum(axis=axes, keepdims=True)) for a in (score, noise))
        if not each:
            rise, spread = rise.mean(), spread.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(spread / rise, nan=0.0, posinf=0.0)

    def add_product(self, total: Array, a: Array, b: Array, weight: float) -> Array:
        return total + weight * (a * b)

    def largest_below(self, levels: np.ndarray, x: Array) -> Array:
        return levels.astype(x.dtype)[np.maximum(np.searchsorted(levels, x), 1) - 1]

    def apply(self, name: str, x: Array) -> Array:
        return getattr(np, name)(x)

    def own(self, array: np.ndarray) -> Array:
        return array

    def position_of(self, view: Array, own: Array) -> int | None:
        return None  # what lies on the host is read

    def with_channels(self, x: Array, value: float) -> Array:
        return np.concatenate([x, np.full_like(x, value)], axis=1)

    def sized(self, like: Array, shape: tuple[int, ...]) -> Array:
        return np.empty(shape, like.dtype)

    def resized(self, x: Array, size: tuple[int, ...], mode: str) -> Array:
        return resizing.resized(x, size, mode)

    def join(self, parts: list[Array]) -> Array:
        return np.concatenate(parts)
