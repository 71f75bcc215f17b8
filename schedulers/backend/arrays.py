"""Which library an array is of, and what is known of it without reading a device."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ParameterTypeError
from .noise import check_generator
from .numpy_arrays import NumpyBackend
from .protocol import Array, Backend, Generator, Pairs

if TYPE_CHECKING:
    from .torch_arrays import TorchBackend

_NUMPY = NumpyBackend()
#: The backend of each kind of array that was seen; subclasses are looked up anew.
BACKENDS: dict[type, Backend] = {np.ndarray: _NUMPY}


@cache
def torch_backend() -> TorchBackend:
    """The torch backend, made when the first tensor is seen."""
    from . import torch_arrays

    made = torch_arrays.TorchBackend()
    BACKENDS[made.torch.Tensor] = made
    return made


@cache
def torch_is_installed() -> bool:
    """Whether torch can be imported; it is not imported to find out."""
    try:
        return importlib.util.find_spec("torch") is not None
    except (ImportError, ValueError):  # an import hook forbids it
        return False


def backend_of(x: Array, name: str) -> Backend:
    """The backend for an array.

    Args:
        x: The array.
        name: Its name in the caller's signature, for the message.

    Raises:
        TypeError: x is neither a NumPy array nor a torch tensor.
    """
    known = BACKENDS.get(type(x))
    if known is not None:
        return known
    if isinstance(x, (np.ndarray, np.generic)):  # arrays without axes come as scalars
        return _NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return torch_backend()
    raise ParameterTypeError(
        f"{name} is a {type(x).__name__}; pass a torch tensor or a NumPy array.", name
    )


def host_values(values: Any) -> np.ndarray:
    """Numbers, a list, an array or a tensor as a NumPy array on the host."""
    if hasattr(values, "detach"):
        plain = values.detach().cpu()
        values = (plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy()
    return np.asarray(values)


def away_from_host(x: Any) -> bool:
    """Whether x is a tensor whose values cannot be read without waiting for a device."""
    return hasattr(x, "data_ptr") and x.device.type != "cpu"


class _Version:
    """A tensor that cannot be read for nothing: it looks as its version counter says."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def tobytes(self) -> object:
        """The counter."""
        return self.tensor._version


class _Listed:
    """A list, which looks as its entries do."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def tobytes(self) -> object:
        """The entries."""
        return tuple(self.values)


def host_view(array: Any) -> Any:
    """Something whose ``tobytes`` tells whether an array was written into; None where nothing can.

    A tensor on a device tells by its version counter, which an inference tensor does not have.
    """
    if isinstance(array, np.ndarray):
        return array
    if isinstance(array, (list, tuple)):
        return _Listed(array)
    if not hasattr(array, "detach"):
        return None
    if array.device.type == "cpu":
        torch = torch_backend().torch
        plain = array.detach()
        try:
            return (plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy()
        except (TypeError, RuntimeError):  # no memory of its own to look into
            pass
    return None if array.is_inference() else _Version(array)


def view_position(view: Any, own: Any) -> int | None:
    """See ``Backend.position_of``; None where the two are not even of one kind."""
    if type(view) is not type(own) or not hasattr(own, "data_ptr"):
        return None
    return backend_of(own, "own").position_of(view, own)


__all__ = [
    "BACKENDS",
    "Array",
    "Backend",
    "Generator",
    "Pairs",
    "away_from_host",
    "backend_of",
    "check_generator",
    "host_values",
    "host_view",
    "torch_backend",
    "torch_is_installed",
    "view_position",
]
