"""The only place that tells NumPy from torch.

A backend offers the few array operations of a step. Weights are Python floats, so that float32
arrays stay float32 under both.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

Array = Any
Generator = Any
#: Weights, each with its array, or with the place of its array in a sequence.
Pairs = Sequence[tuple[float, Array]]
Terms = Sequence[tuple[float, int]]


class _Sums(ABC):
    """Weighted sums of arrays, which may come in pairs with their weights."""

    def combine(self, pairs: Pairs, like: Array, dtype: Any) -> Array:
        """``sum(w * array)`` in dtype, a new array; zeros like ``like`` without pairs."""
        terms = [(weight, source) for source, (weight, _) in enumerate(pairs)]
        return self.weigh(terms, [array for _, array in pairs] or (like,), dtype)

    @abstractmethod
    def weigh(self, terms: Terms, arrays: Sequence[Array], dtype: Any) -> Array:
        """``sum(w * arrays[source])`` in dtype, a new array; zeros like the first without terms.

        A term of weight 1 costs no multiplication if it comes first.
        """


class NumpyBackend(_Sums):
    """NumPy arrays."""

    float32 = np.dtype(np.float32)

    def is_floating(self, dtype: Any) -> bool:
        return bool(np.issubdtype(dtype, np.floating))

    def is_real(self, dtype: Any) -> bool:
        return bool(dtype.kind in "iuf")

    def compute_dtype(self, dtype: Any) -> Any:
        native = dtype if dtype.isnative else dtype.newbyteorder("=")
        return self.float32 if native == np.float16 else native

    def promote(self, a: Array, b: Array) -> Any:
        return a.dtype if a.dtype == b.dtype else np.promote_types(a.dtype, b.dtype)

    def weigh(self, terms: Terms, arrays: Sequence[Array], dtype: Any) -> Array:
        if not terms:
            return np.zeros(arrays[0].shape, dtype=dtype)
        (weight, source), *rest = terms
        first = arrays[source]
        total = first.astype(dtype) if weight == 1.0 else np.multiply(first, weight, dtype=dtype)
        if dtype != np.float32:
            for weight, source in rest:
                total = total + np.multiply(arrays[source], weight, dtype=dtype)
            return np.asarray(total)
        # float32 as torch has it: the weight rounded, then a fused multiply-add. A float64
        # product of two float32 numbers is exact, so that only the sum is rounded.
        for weight, source in rest:
            exact = np.float64(np.float32(weight))
            product = np.multiply(arrays[source], exact, dtype=np.float64)
            total = np.add(total, product, dtype=np.float64).astype(np.float32)
        return np.asarray(total)

    def cast(self, x: Array, dtype: Any) -> Array:
        return x if x.dtype == dtype else x.astype(dtype)

    def clamp(self, x: Array, bound: float) -> Array:
        return np.clip(x, -bound, bound)

    def threshold(self, x: Array, ratio: float, largest: float) -> Array:
        _require_values(x)
        flat = x.reshape(x.shape[0], -1)
        bound = np.quantile(np.abs(flat), ratio, axis=1).clip(1.0, max(1.0, largest))
        bound = bound.astype(x.dtype)[:, None]
        return (np.clip(flat, -bound, bound) / bound).reshape(x.shape)

    def randn(self, like: Array, dtype: Any, generator: Generator) -> Array:
        return _draw(
            like.shape, generator, lambda shape, g: _numpy_noise(shape, dtype, g), np.concatenate
        )

    def seeded(self, seed: int, like: Array) -> Generator:
        """A generator of its own for a seed."""
        del like
        return np.random.default_rng(seed)

    def some_seed(self) -> int:
        """A seed out of the global random state."""
        return int(np.random.randint(2**63 - 1, dtype=np.int64))

    def misfit(self, a: Array, b: Array, before: Array, atol: float, rtol: float) -> float:
        """Root mean square of ``(a - b) / max(atol, rtol max(|a|, |before|))``; reads a value."""
        scale = np.maximum(atol, rtol * np.maximum(np.abs(a), np.abs(before)))
        return float(np.sqrt(np.mean(((a - b) / scale) ** 2)))

    def root32(self, x: np.ndarray) -> np.ndarray:
        """The library's own float32 square root, which torch rounds as the machine likes."""
        return np.asarray(np.sqrt(x))

    def log32(self, x: float) -> float:
        """The library's own float32 logarithm."""
        return float(np.log(np.float32(x)))

    def exp32(self, x: float) -> float:
        """The library's own float32 exponential."""
        return float(np.exp(np.float32(x)))

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
        """``|noise| / |score|``, of each sample or of the batch; 0 without a score."""
        axes = tuple(range(int(score.ndim > 1), score.ndim))
        rise, spread = (np.sqrt((a * a).sum(axis=axes, keepdims=True)) for a in (score, noise))
        if not each:
            rise, spread = rise.mean(), spread.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(spread / rise, nan=0.0, posinf=0.0)

    def add_product(self, total: Array, a: Array, b: Array, weight: float) -> Array:
        """``total + weight * a * b``."""
        return total + weight * (a * b)

    def largest_below(self, levels: np.ndarray, x: Array) -> Array:
        return levels.astype(x.dtype)[np.maximum(np.searchsorted(levels, x), 1) - 1]

    def apply(self, name: str, x: Array) -> Array:
        """An elementwise function, by the name that both libraries give it."""
        return getattr(np, name)(x)

    def own(self, array: np.ndarray) -> Array:
        """A host array as one of this library."""
        return array

    def join(self, parts: list[Array]) -> Array:
        """Arrays in a row along the first axis."""
        return np.concatenate(parts)


class TorchBackend(_Sums):
    """torch tensors, on any device; nothing here reads a device value."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.float32 = torch.float32
        self._accumulated = dict.fromkeys((torch.float16, torch.bfloat16), torch.float32)
        self._floats = {*self._accumulated, torch.float32, torch.float64}
        self._devices: set[Any] = {None}

    def tensor(self, array: np.ndarray, device: Any = None) -> Array:
        """A tensor of its own with the values of a host array."""
        made = self.torch.from_numpy(np.array(array))
        return made if device is None else made.to(device)

    def check_device(self, device: Any) -> None:
        """Refuse what is no device of this machine; one that was found before is not asked.

        Raises:
            TypeError: It is not a device at all.
            ValueError: There is no such device.
        """
        if not isinstance(device, (str, int, self.torch.device, type(None))):
            raise TypeError(f"device={device!r} must be a torch.device, its name, or None.")
        if device in self._devices:
            return
        try:
            self.torch.empty(0, device=device)
        except (RuntimeError, AssertionError, ValueError, OverflowError) as error:
            raise ValueError(f"device={device!r} is not a device of this machine.") from error
        self._devices.add(device)

    def is_floating(self, dtype: Any) -> bool:
        return dtype in self._floats

    def is_real(self, dtype: Any) -> bool:
        other = dtype.is_floating_point or dtype.is_complex or dtype == self.torch.bool
        return dtype in self._floats or not other

    def compute_dtype(self, dtype: Any) -> Any:
        return self._accumulated.get(dtype, dtype)

    def promote(self, a: Array, b: Array) -> Any:
        return a.dtype if a.dtype == b.dtype else self.torch.promote_types(a.dtype, b.dtype)

    def weigh(self, terms: Terms, arrays: Sequence[Array], dtype: Any) -> Array:
        if not terms:
            return self.torch.zeros_like(arrays[0], dtype=dtype)
        weight, source = terms[0]
        total, done = arrays[source], 1
        try:
            if total.dtype is not dtype:
                # Mixed precision: every array is widened before its weight is applied.
                total = total.to(dtype)
                if weight != 1.0:
                    total.mul_(weight)
            elif weight != 1.0:
                total = total.mul(weight)
            elif len(terms) == 1:
                return total.clone()
            else:
                weight, source = terms[1]
                array = arrays[source]
                if array.dtype is not dtype:
                    array = array.to(dtype)
                total, done = total.add(array, alpha=weight), 2
            for weight, source in terms[done:]:
                array = arrays[source]
                total.add_(array if array.dtype is dtype else array.to(dtype), alpha=weight)
        except RuntimeError as error:
            raise _misfits([arrays[source] for _, source in terms]) or error from None
        return total

    def cast(self, x: Array, dtype: Any) -> Array:
        return x if x.dtype == dtype else x.to(dtype)

    def clamp(self, x: Array, bound: float) -> Array:
        return x.clamp(-bound, bound)

    def threshold(self, x: Array, ratio: float, largest: float) -> Array:
        _require_values(x)
        flat = x.reshape(x.shape[0], -1)
        bound = self.torch.quantile(flat.abs(), ratio, dim=1).clamp(1.0, max(1.0, largest))
        bound = bound.unsqueeze(1)
        return (self.torch.clamp(flat, -bound, bound) / bound).reshape(x.shape)

    def randn(self, like: Array, dtype: Any, generator: Generator) -> Array:
        if generator is None:
            return self.torch.randn(like.shape, dtype=dtype, device=like.device)

        def draw(shape: tuple[int, ...], g: Generator) -> Array:
            if isinstance(g, np.random.Generator):
                native = np.float64 if dtype == self.torch.float64 else np.float32
                return self.torch.from_numpy(_numpy_noise(shape, native, g)).to(dtype)
            if g is None:
                return self.torch.randn(shape, dtype=dtype, device=like.device)
            if not isinstance(g, self.torch.Generator):
                raise _wrong_generator(g)
            return self.torch.randn(shape, generator=g, dtype=dtype, device=g.device)

        noise = _draw(tuple(like.shape), generator, draw, self.torch.cat)
        if noise.device == like.device:
            return noise
        if like.device.type == "cuda":
            # From pinned memory the copy does not wait for the device.
            return noise.pin_memory().to(like.device, non_blocking=True)
        return noise.to(like.device)

    def seeded(self, seed: int, like: Array) -> Generator:
        # The meta device, which holds no values, has no generators either.
        device = "cpu" if like.is_meta else like.device
        return self.torch.Generator(device).manual_seed(seed)

    def some_seed(self) -> int:
        return int(self.torch.randint(0, 2**63 - 1, []).item())

    def misfit(self, a: Array, b: Array, before: Array, atol: float, rtol: float) -> float:
        scale = self.torch.maximum(a.abs(), before.abs()).mul_(rtol).clamp_(min=atol)
        return float((a - b).div_(scale).square_().mean().sqrt())

    def root32(self, x: np.ndarray) -> np.ndarray:
        return np.asarray((self.tensor(x) ** 0.5).numpy())

    def log32(self, x: float) -> float:
        return float(self.torch.tensor(x, dtype=self.float32).log())

    def exp32(self, x: float) -> float:
        return float(self.torch.tensor(x, dtype=self.float32).exp())

    def broadcast(self, values: Array, like: Array) -> Array:
        column = self.torch.as_tensor(values).to(device=like.device, dtype=like.dtype)
        column = column.reshape(-1) if column.ndim == 0 else column
        return column.reshape(column.shape + (1,) * (like.ndim - column.ndim))

    def split_channels(self, x: Array, channels: int) -> tuple[Array, Array]:
        first, second = self.torch.split(x, channels, dim=1)
        return first, second

    def exp(self, x: Array) -> Array:
        return x.exp()

    def sqrt_of_positive(self, x: Array) -> Array:
        return x.clamp(min=0).sqrt()

    def langevin_ratio(self, score: Array, noise: Array, each: bool) -> Array:
        axes = tuple(range(int(score.ndim > 1), score.ndim))
        norm = self.torch.linalg.vector_norm
        rise, spread = (norm(a, dim=axes, keepdim=True) for a in (score, noise))
        if not each and len(rise) > 1:
            rise, spread = rise.mean(), spread.mean()
        return (spread / rise).nan_to_num_(nan=0.0, posinf=0.0)

    def add_product(self, total: Array, a: Array, b: Array, weight: float) -> Array:
        return total.addcmul(a, b, value=weight)

    def largest_below(self, levels: np.ndarray, x: Array) -> Array:
        table = self.tensor(levels, x.device).to(x.dtype)
        return table[(self.torch.searchsorted(table, x) - 1).clamp(min=0)]

    def apply(self, name: str, x: Array) -> Array:
        return getattr(self.torch, name)(x)

    def own(self, array: np.ndarray) -> Array:
        return self.tensor(array)

    def join(self, parts: list[Array]) -> Array:
        return self.torch.cat(parts)


def _misfits(arrays: Sequence[Array]) -> ValueError | None:
    """What to say of tensors that cannot be added where they are, if that is the reason."""
    for what in ("device", "layout"):
        found = sorted({str(getattr(array, what)) for array in arrays})
        if len(found) > 1 or (what == "layout" and found != ["torch.strided"]):
            return ValueError(
                f"sample and model_output (or noise) must be dense tensors on one device; "
                f"their {what} is {', '.join(found)}."
            )
    return None


def check_generator(generator: Generator) -> None:
    """Refuse what is no source of noise, also where none is drawn.

    Raises:
        TypeError: It is neither a generator of torch or NumPy nor a list of them.
    """
    torch = sys.modules.get("torch")
    kinds = (np.random.Generator, type(None))
    kinds += (torch.Generator,) if torch is not None else ()
    many = generator if isinstance(generator, (list, tuple)) else [generator]
    if not all(isinstance(one, kinds) for one in many):
        raise _wrong_generator(generator)


def _require_values(x: Array) -> None:
    """Refuse what has no quantile of each sample."""
    if not x.ndim or 0 in x.shape:
        raise ValueError(
            f"thresholding=True needs a batch of values; sample has shape {tuple(x.shape)}."
        )


def _draw(
    shape: tuple[int, ...],
    generator: Generator,
    draw: Callable[[tuple[int, ...], Generator], Array],
    concatenate: Callable[[list[Array]], Array],
) -> Array:
    """Noise of one generator for the batch, or of a list with one generator for each sample."""
    if not isinstance(generator, (list, tuple)):
        return draw(shape, generator)
    if not shape:
        raise ValueError("generator is a list, but sample has no batch axis: pass one generator.")
    if len(generator) == 1:
        return draw(shape, generator[0])
    if len(generator) != shape[0]:
        raise ValueError(
            f"generator is a list of {len(generator)}, but the batch holds {shape[0]} samples: "
            "pass one generator, or one for each sample."
        )
    return concatenate([draw((1, *shape[1:]), g) for g in generator])


def _numpy_noise(shape: tuple[int, ...], dtype: Any, generator: Generator) -> np.ndarray:
    """Unit noise as a NumPy array; without a generator from NumPy's global state."""
    if generator is None:
        return np.random.standard_normal(shape).astype(dtype)
    if isinstance(generator, np.random.Generator):
        # NumPy draws float32 and float64 natively; other widths are rounded from float32.
        native = np.float64 if dtype == np.float64 else np.float32
        return generator.standard_normal(shape, dtype=native).astype(dtype)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(generator, torch.Generator):
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return np.asarray(noise.cpu().numpy()).astype(dtype)
    raise _wrong_generator(generator)


def _wrong_generator(generator: Generator) -> TypeError:
    return TypeError(
        f"generator={generator!r} must be a torch.Generator, a numpy.random.Generator, a list "
        "of them, or None."
    )


_NUMPY = NumpyBackend()
#: The backend of each kind of array that was seen; subclasses are looked up anew.
_BACKENDS: dict[type, NumpyBackend | TorchBackend] = {np.ndarray: _NUMPY}


@cache
def torch_backend() -> TorchBackend:
    """The torch backend, made when the first tensor is seen."""
    return TorchBackend()


@cache
def torch_is_installed() -> bool:
    """Whether torch can be imported; it is not imported to find out."""
    try:
        return importlib.util.find_spec("torch") is not None
    except (ImportError, ValueError):  # an import hook forbids it
        return False


def backend_of(x: Array, name: str) -> NumpyBackend | TorchBackend:
    """The backend for an array.

    Args:
        x: The array.
        name: Its name in the caller's signature, for the message.

    Raises:
        TypeError: x is neither a NumPy array nor a torch tensor.
    """
    known = _BACKENDS.get(type(x))
    if known is not None:
        return known
    if isinstance(x, (np.ndarray, np.generic)):  # arrays without axes come as scalars
        return _NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return _BACKENDS.setdefault(torch.Tensor, torch_backend())
    raise TypeError(f"{name} is a {type(x).__name__}; pass a torch tensor or a NumPy array.")


def host_values(values: Any) -> np.ndarray:
    """Numbers, a list, an array or a tensor as a NumPy array on the host."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def away_from_host(x: Any) -> bool:
    """Whether x is a tensor whose values cannot be read without waiting for a device."""
    return hasattr(x, "data_ptr") and x.device.type != "cpu"


def view_position(view: Any, own: Any) -> int | None:
    """Position of a one-element view inside a tensor of ours, found without reading either.

    A loop over a tensor yields views of it; their addresses tell where they are, so that a value
    on a device need not be fetched to be known.

    Args:
        view: What a caller passed.
        own: A tensor of ours, one-dimensional.

    Returns:
        The index, or None if ``view`` is not such a view.
    """
    if type(view) is not type(own) or not hasattr(own, "data_ptr"):
        return None
    if view.dtype is not own.dtype or view.device != own.device or view.numel() != 1:
        return None
    position, rest = divmod(view.data_ptr() - own.data_ptr(), own.element_size())
    inside = rest == 0 and 0 <= position < own.numel() and own.is_contiguous()
    return position if inside else None
