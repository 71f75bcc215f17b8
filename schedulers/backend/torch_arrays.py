"""torch tensors, on any device; nothing here reads a device value but ``misfit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from .errors import ParameterError, ParameterTypeError
from .noise import drawn, numpy_noise, wrong_generator
from .protocol import Array, Backend, Dtype, Generator, Sum, Terms, require_values


class TorchBackend(Backend):
    """torch tensors, on any device; see the module."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.float32 = torch.float32
        self.computed: Mapping[Dtype, Dtype] = {
            torch.float16: torch.float32,
            torch.bfloat16: torch.float32,
            torch.float32: torch.float32,
            torch.float64: torch.float64,
        }
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
            raise ParameterTypeError(
                f"device={device!r} must be a torch.device, its name, or None.", "device"
            )
        if device in self._devices:
            return
        try:
            self.torch.empty(0, device=device)
        except (RuntimeError, AssertionError, ValueError, OverflowError) as error:
            raise ParameterError(
                f"device={device!r} is not a device of this machine.", "device"
            ) from error
        self._devices.add(device)

    def is_floating(self, dtype: Any) -> bool:
        return dtype in self.computed

    def is_real(self, dtype: Any) -> bool:
        other = dtype.is_floating_point or dtype.is_complex or dtype == self.torch.bool
        return dtype in self.computed or not other

    def compute_dtype(self, dtype: Any) -> Any:
        return self.computed.get(dtype, dtype)

    def promote(self, a: Array, b: Array) -> Any:
        return a.dtype if a.dtype == b.dtype else self.torch.promote_types(a.dtype, b.dtype)

    def prepare(self, terms: Terms, dtype: Dtype) -> Sum:
        if not terms:
            return -1, dtype, None, ()
        (weight, source), *rest = terms
        if weight != 1.0:
            return source, self._scale(weight, dtype), None, tuple(rest)
        return source, None, rest[0] if rest else None, tuple(rest[1:])

    def prepare_row(
        self, dtype: Dtype, calls: int, spare: list[Any], weights: Sequence[float]
    ) -> Sum:
        terms: list[tuple[float, int]] = []
        one, source = -1, 0
        for weight in weights:
            if weight == 1.0 and one < 0:
                one = source
            elif weight:
                terms.append((weight, source))
            source += 1
        if one >= 0:
            return (one, None, terms[0], tuple(terms[1:])) if terms else (one, None, None, ())
        if not terms:
            return -1, dtype, None, ()
        if not spare:
            spare += self._scales(dtype, calls)
        (weight, source), (scale, room) = terms[0], spare.pop()
        if room is None:
            scale = weight
        else:
            room[len(spare)] = weight
        return source, scale, None, tuple(terms[1:])

    def weigh(self, terms: Terms, arrays: Sequence[Array], dtype: Dtype) -> Array:
        used = {source for _, source in terms} or {0}
        wide = [self.cast(a, dtype) if i in used else None for i, a in enumerate(arrays)]
        if terms and terms[0][0] != 1.0:  # used once: a tensor would cost more than it saves
            return self.total((terms[0][1], terms[0][0], None, terms[1:]), wide)
        return self.total(self.prepare(terms, dtype), wide)

    def _scale(self, weight: float, dtype: Dtype) -> Any:
        """A factor of arrays: a tensor without axes, since torch wraps a float anew each time.

        Inside a mode that makes other tensors than plain ones it stays a number: it is kept.
        """
        torch = self.torch
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
            scale = torch.scalar_tensor(weight, dtype=dtype, device="cpu")
        return scale if type(scale) is torch.Tensor else weight

    def _scales(self, dtype: Dtype, n: int) -> list[tuple[Any, np.ndarray | None]]:
        """Many at once, for a third of the time, each with where they are to be written.

        Without that where they must stay numbers.
        """
        torch = self.torch
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
            made = torch.empty(n, dtype=dtype, device="cpu")
            try:
                room = made.numpy() if type(made) is torch.Tensor else None
            except RuntimeError:  # inside torch.func, whose tensors have no memory to write into
                room = None
            return [(scale, room) for scale in made.unbind()]

    def total(self, terms: Sum, arrays: Sequence[Array]) -> Array:
        source, scale, second, rest = terms
        try:
            if second is not None:
                total = arrays[source].add(arrays[second[1]], alpha=second[0])
            elif source < 0:
                return self.torch.zeros_like(arrays[0], dtype=scale)
            elif scale is None:
                return arrays[source].clone()
            else:
                total = arrays[source].mul(scale)
            for weight, source in rest:
                total.add_(arrays[source], alpha=weight)
        except RuntimeError as error:
            raise _misfits(arrays) or error from None
        return total

    def factors(self, weights: Sequence[float], dtype: Dtype) -> Sequence[Any]:
        # In half precision a number is exact where a tensor of it would be rounded first.
        if self.computed[dtype] is not dtype:
            return weights
        scales = self._scales(dtype, len(weights))
        room = scales[0][1]
        if room is None:
            return weights
        room[:] = weights
        return [scale for scale, _ in scales]

    def copied(self, x: Array) -> Array:
        return x.clone()

    def cast(self, x: Array, dtype: Any) -> Array:
        return x if x.dtype == dtype else x.to(dtype)

    def clamp(self, x: Array, bound: float) -> Array:
        return x.clamp(-bound, bound)

    def threshold(self, x: Array, ratio: float, largest: float) -> Array:
        require_values(x)
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
                return self.torch.from_numpy(numpy_noise(shape, native, g)).to(dtype)
            if g is None:
                return self.torch.randn(shape, dtype=dtype, device=like.device)
            if not isinstance(g, self.torch.Generator):
                raise wrong_generator(g)
            return self.torch.randn(shape, generator=g, dtype=dtype, device=g.device)

        noise = drawn(tuple(like.shape), generator, draw, self.torch.cat)
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

    def position_of(self, view: Array, own: Array) -> int | None:
        if view.dtype is not own.dtype or view.device != own.device or view.numel() != 1:
            return None
        if view._base is own and own.is_contiguous():
            return int(view.storage_offset() - own.storage_offset())
        if own.device.type == "meta":  # where every address is 0
            return None
        position, rest = divmod(view.data_ptr() - own.data_ptr(), own.element_size())
        inside = rest == 0 and 0 <= position < own.numel() and own.is_contiguous()
        return position if inside else None

    def with_channels(self, x: Array, value: float) -> Array:
        return self.torch.cat([x, self.torch.full_like(x, value)], dim=1)

    def sized(self, like: Array, shape: tuple[int, ...]) -> Array:
        return like.new_empty(shape)

    def resized(self, x: Array, size: tuple[int, ...], mode: str) -> Array:
        return self.torch.nn.functional.interpolate(x, size=size, mode=mode)

    def join(self, parts: list[Array]) -> Array:
        return self.torch.cat(parts)


def _misfits(arrays: Sequence[Array]) -> ValueError | None:
    """What to say of tensors that cannot be added where they are, if that is the reason."""
    given = [array for array in arrays if array is not None]
    for what in ("device", "layout"):
        found = sorted({str(getattr(array, what)) for array in given})
        if len(found) > 1 or (what == "layout" and found != ["torch.strided"]):
            return ParameterError(
                f"sample and model_output (or noise) must be dense tensors on one device; "
                f"their {what} is {', '.join(found)}.",
                "sample",
            )
    return None
