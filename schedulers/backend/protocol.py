"""What an array library must offer: the few operations of a step, whoever computes them.

Weights are Python floats, so that float32 arrays stay float32 everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .errors import ParameterError

#: An array of NumPy or torch, a dtype of either, a source of noise or a list of them.
Array = Any
Dtype = Any
Generator = Any
#: Weights, each with its array, or with the place of its array in a sequence.
Pairs = Sequence[tuple[float, Array]]
Terms = Sequence[tuple[float, int]]
#: Terms as a backend prepared them.
Sum = Any


class Backend(Protocol):
    """The operations that tell one array library from another.

    Attributes:
        float32: Its dtype of that name.
        computed: The dtype in which arrays of each floating dtype are summed up.
    """

    float32: Dtype
    computed: Mapping[Dtype, Dtype]

    # --- dtypes -------------------------------------------------------------------------------

    def is_floating(self, dtype: Dtype) -> bool:
        """Whether it is one of floating point numbers."""
        ...

    def is_real(self, dtype: Dtype) -> bool:
        """Whether it is one of real numbers, integers included."""
        ...

    def compute_dtype(self, dtype: Dtype) -> Dtype:
        """The dtype in which arrays of a dtype are summed up: float32 for halves."""
        ...

    def promote(self, a: Array, b: Array) -> Dtype:
        """The wider dtype of two arrays."""
        ...

    def cast(self, x: Array, dtype: Dtype) -> Array:
        """An array in a dtype; itself if it is of that."""
        ...

    # --- weighted sums ------------------------------------------------------------------------

    def prepare(self, terms: Terms, dtype: Dtype) -> Sum:
        """Terms as ``total`` wants them; of a term of weight 1 in front nothing is multiplied."""
        ...

    def prepare_row(
        self, dtype: Dtype, calls: int, spare: list[Any], weights: Sequence[float]
    ) -> Sum:
        """``prepare`` of weights, one for each array at hand; those of weight 0 are left out.

        Args:
            dtype: The dtype of the arrays.
            calls: For how many calls rows are made in a batch.
            spare: What is left of the batch, empty at first: the backend's own.
            weights: The weights.
        """
        terms = [(weight, source) for source, weight in enumerate(weights) if weight]
        terms.sort(key=lambda term: term[0] != 1.0)
        return self.prepare(terms, dtype)

    def total(self, terms: Sum, arrays: Sequence[Array]) -> Array:
        """``sum(w * arrays[source])``, a new array; zeros like the first without terms.

        Args:
            terms: As ``prepare`` made them.
            arrays: All of the dtype that they were prepared for.
        """
        ...

    def combine(self, pairs: Pairs, like: Array, dtype: Dtype) -> Array:
        """``sum(w * array)`` in dtype, a new array; zeros like ``like`` without pairs."""
        terms = [(weight, source) for source, (weight, _) in enumerate(pairs)]
        return self.weigh(terms, [array for _, array in pairs] or (like,), dtype)

    def weigh(self, terms: Terms, arrays: Sequence[Array], dtype: Dtype) -> Array:
        """``prepare`` and ``total`` in one, for arrays of any floating dtype."""
        used = {source for _, source in terms} or {0}
        wide = [self.cast(a, dtype) if i in used else None for i, a in enumerate(arrays)]
        return self.total(self.prepare(terms, dtype), wide)

    def factors(self, weights: Sequence[float], dtype: Dtype) -> Sequence[Any]:
        """Weights by which arrays of a dtype are multiplied as often as wanted."""
        ...

    def copied(self, x: Array) -> Array:
        """A copy."""
        ...

    def add_product(self, total: Array, a: Array, b: Array, weight: float) -> Array:
        """``total + weight * a * b``."""
        ...

    # --- what clips a prediction --------------------------------------------------------------

    def clamp(self, x: Array, bound: float) -> Array:
        """Values between ``-bound`` and ``bound``."""
        ...

    def threshold(self, x: Array, ratio: float, largest: float) -> Array:
        """Dynamic thresholding of each sample (Saharia et al. 2022, arXiv 2205.11487, sec. 2.3).

        Args:
            x: Shape (batch, ...).
            ratio: Quantile of the magnitudes that is taken for the bound, 0 to 1.
            largest: Largest bound; the smallest is 1.

        Raises:
            ValueError: No batch of values.
        """
        ...

    # --- noise --------------------------------------------------------------------------------

    def randn(self, like: Array, dtype: Dtype, generator: Generator) -> Array:
        """Unit noise of the shape and on the device of ``like``."""
        ...

    def seeded(self, seed: int, like: Array) -> Generator:
        """A generator of its own for a seed."""
        ...

    def some_seed(self) -> int:
        """A seed out of the global random state."""
        ...

    def langevin_ratio(self, score: Array, noise: Array, each: bool) -> Array:
        """``|noise| / |score|``, of each sample or of the batch; 0 without a score."""
        ...

    def misfit(self, a: Array, b: Array, before: Array, atol: float, rtol: float) -> float:
        """Root mean square of ``(a - b) / max(atol, rtol max(|a|, |before|))``; reads a value."""
        ...

    # --- the library's own roundings ----------------------------------------------------------

    def root32(self, x: np.ndarray) -> np.ndarray:
        """The library's own float32 square root, which torch rounds as the machine likes."""
        ...

    # --- shapes and tables --------------------------------------------------------------------

    def own(self, array: np.ndarray) -> Array:
        """A host array as one of this library."""
        ...

    def broadcast(self, values: Array, like: Array) -> Array:
        """Values with trailing axes so that they broadcast against ``like``."""
        ...

    def split_channels(self, x: Array, channels: int) -> tuple[Array, Array]:
        """The first channels (axis 1) and the rest."""
        ...

    def position_of(self, view: Array, own: Array) -> int | None:
        """Position of a one-element view inside an array of ours, found without reading either.

        A loop over a tensor yields views of it; where they lie tells which they are, so that a
        value on a device need not be fetched to be known.

        Args:
            view: What a caller passed.
            own: An array of ours, one-dimensional.

        Returns:
            The index, or None if ``view`` is not such a view.
        """
        ...

    def with_channels(self, x: Array, value: float) -> Array:
        """As many channels (axis 1) again, filled with a value."""
        ...

    def sized(self, like: Array, shape: tuple[int, ...]) -> Array:
        """An array of another shape with whatever values, otherwise like one."""
        ...

    def resized(self, x: Array, size: tuple[int, ...], mode: str) -> Array:
        """The last axes interpolated to another size, by a mode of ``process.resizing``."""
        ...

    def join(self, parts: list[Array]) -> Array:
        """Arrays in a row along the first axis."""
        ...

    def largest_below(self, levels: np.ndarray, x: Array) -> Array:
        """The largest of ascending levels below each entry."""
        ...

    # --- elementwise --------------------------------------------------------------------------

    def exp(self, x: Array) -> Array:
        """Exponential."""
        ...

    def sqrt_of_positive(self, x: Array) -> Array:
        """Square root of what lies above 0."""
        ...

    def apply(self, name: str, x: Array) -> Array:
        """An elementwise function, by the name that both libraries give it."""
        ...


def require_values(x: Array) -> None:
    """Refuse what has no quantile of each sample."""
    if not x.ndim or 0 in x.shape:
        raise ParameterError(
            f"thresholding=True needs a batch of values; sample has shape {tuple(x.shape)}.",
            "thresholding",
        )
