"""Fresh noise, by whichever generator a caller hands over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import ParameterError, ParameterTypeError
from .protocol import Array, Generator


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
        raise wrong_generator(generator)


def drawn(
    shape: tuple[int, ...],
    generator: Generator,
    draw: Callable[[tuple[int, ...], Generator], Array],
    concatenate: Callable[[list[Array]], Array],
) -> Array:
    """Noise of one generator for the batch, or of a list with one generator for each sample."""
    if not isinstance(generator, (list, tuple)):
        return draw(shape, generator)
    if not shape:
        raise ParameterError(
            "generator is a list, but sample has no batch axis: pass one generator.", "generator"
        )
    if len(generator) == 1:
        return draw(shape, generator[0])
    if len(generator) != shape[0]:
        raise ParameterError(
            f"generator is a list of {len(generator)}, but the batch holds {shape[0]} samples: "
            "pass one generator, or one for each sample.",
            "generator",
        )
    return concatenate([draw((1, *shape[1:]), g) for g in generator])


def numpy_noise(shape: tuple[int, ...], dtype: Any, generator: Generator) -> np.ndarray:
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
    raise wrong_generator(generator)


def wrong_generator(generator: Generator) -> TypeError:
    """What to raise for what is no source of noise."""
    return ParameterTypeError(
        f"generator={generator!r} must be a torch.Generator, a numpy.random.Generator, a list "
        "of them, or None.",
        "generator",
    )
