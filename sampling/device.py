"""Where a run computes: chosen once, shown on the page, overridable."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = ["DEVICE_VARIABLE", "Device", "choose_device", "devices", "on_zero_gpu", "zero_gpu"]

DEVICE_VARIABLE = "SAMPLING_DEVICE"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Device:
    """A place to compute: ``id`` as torch spells it, ``title`` as a person reads it."""

    id: str
    title: str


def devices() -> tuple[Device, ...]:
    """What this machine offers, fastest first; the CPU is always the last entry."""
    found = []
    if torch.cuda.is_available():
        name = "ZeroGPU" if on_zero_gpu() else torch.cuda.get_device_name(0)
        found.append(Device("cuda", name))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU"))
    return (*found, Device("cpu", "CPU"))


def choose_device(preferred: str | None = None) -> str:
    """The device to compute on.

    The embedded models are small: on a ZeroGPU Space, where every call to the GPU is a queue
    and a process of its own, they run on the CPU unless somebody asks for the GPU.

    Args:
        preferred: ``"cuda"``, ``"mps"`` or ``"cpu"``; None asks the environment variable
            ``SAMPLING_DEVICE``, and failing that takes the fastest.

    Raises:
        ValueError: The preferred device does not exist here.
    """
    wanted = preferred or os.environ.get(DEVICE_VARIABLE) or None
    offered = [device.id for device in devices()]
    if wanted is None:
        return "cpu" if on_zero_gpu() else offered[0]
    if wanted not in offered:
        raise ValueError(
            f"device must be one of {', '.join(offered)} on this machine, got {wanted!r}."
        )
    return wanted


def on_zero_gpu() -> bool:
    """Whether this process runs on a ZeroGPU Space, where CUDA exists in wrapped calls only."""
    flag = os.environ.get("SPACES_ZERO_GPU", "")
    return flag.lower() in ("1", "t", "true") and importlib.util.find_spec("spaces") is not None


def zero_gpu(
    frames: Callable[P, Iterator[T]], duration: Callable[P, int]
) -> Callable[P, Iterator[T]]:
    """Wrap a generator function for ZeroGPU; anywhere else it comes back as it is.

    The wrapped call runs in a forked process, so what it takes and yields must pickle.

    Args:
        frames: A generator function at module level.
        duration: Seconds of GPU time to ask for, from the same arguments.
    """
    if not on_zero_gpu():
        return frames
    spaces: Any = importlib.import_module("spaces")
    decorate: Any = spaces.GPU(duration=duration)
    wrapped: Callable[P, Iterator[T]] = decorate(frames)
    return wrapped
