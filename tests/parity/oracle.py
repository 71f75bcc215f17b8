"""The two oracles: diffusers' scheduler classes and k-diffusion's sampler functions.

Classes are imported one by one, when they are asked for: the whole of diffusers is a lot.
"""

import importlib.util
import inspect
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias
from unittest import mock

import diffusers.schedulers as theirs
import torch

from schedulers import SCHEDULERS

SchedulerLike: TypeAlias = Any  # ours or theirs: that both answer the same calls is the test

#: Names of our classes that diffusers has, as it lists its own; the registry's order.
DIFFUSERS = tuple(
    name
    for name in SCHEDULERS
    if name in {n for names in theirs._import_structure.values() for n in names}
)


@cache
def diffusers_class(name: str) -> type[SchedulerLike]:
    """The class of this name in diffusers."""
    cls: type[SchedulerLike] = getattr(theirs, name)
    return cls


def stepped() -> list[str]:
    """Names of the classes that the common loop over `timesteps` drives."""
    steps = {name: getattr(diffusers_class(name), "step", None) for name in DIFFUSERS}
    return [
        name for name, f in steps.items() if f and "timestep" in inspect.signature(f).parameters
    ]


def diffusers_scheduler(name: str, **config: object) -> SchedulerLike:
    """An object of diffusers' class, made without its deprecation warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return completed(diffusers_class(name)(**config))


def unready_scheduler(name: str, **config: object) -> SchedulerLike:
    """The same for a caller who sets the grid at once.

    Some constructors lay out all training steps, which nobody looks at, one by one: half a second.
    """
    cls = diffusers_class(name)
    whole = getattr(cls, "set_timesteps", None)
    if whole is None:
        return diffusers_scheduler(name, **config)

    def short(self: SchedulerLike, num_inference_steps: int, *rest: Any, **more: Any) -> None:
        whole(self, min(num_inference_steps, 2), *rest, **more)

    with mock.patch.object(cls, "set_timesteps", short):
        return diffusers_scheduler(name, **config)


def completed(scheduler: SchedulerLike) -> SchedulerLike:
    """A flow scheduler of theirs with the calls that it has under other names or not at all."""
    if hasattr(scheduler, "step") and not hasattr(scheduler, "scale_model_input"):
        scheduler.init_noise_sigma = 1.0
        scheduler.scale_model_input = lambda sample, timestep: sample
    if hasattr(scheduler, "scale_noise"):

        def add_noise(
            samples: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
        ) -> torch.Tensor:
            before, parts = scheduler._step_index, []  # one of them moves it
            for k, (sample, z) in enumerate(zip(samples, noise, strict=True)):
                parts.append(scheduler.scale_noise(sample, times[k % len(times)][None], z))
                scheduler._step_index = before
            return torch.stack(parts)

        scheduler.add_noise = add_noise
    return scheduler


def append_dims(x: torch.Tensor, target: int) -> torch.Tensor:
    """The only helper that k-diffusion's samplers take from their package."""
    return x.reshape(x.shape + (1,) * (target - x.ndim))


@cache
def k_diffusion() -> ModuleType:
    """k-diffusion's `sampling` module, without the training package around it."""
    found = importlib.util.find_spec("k_diffusion")
    assert found is not None and found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "sampling.py"
    package = ModuleType("k_diffusion_oracle")
    package.__path__ = []
    utils = ModuleType("k_diffusion_oracle.utils")
    vars(utils)["append_dims"] = append_dims
    vars(package)["utils"] = utils
    spec = importlib.util.spec_from_file_location("k_diffusion_oracle.sampling", path)
    assert spec is not None and spec.loader is not None
    sampling = importlib.util.module_from_spec(spec)
    sys.modules.update({m.__name__: m for m in (package, utils, sampling)})
    spec.loader.exec_module(sampling)
    return sampling
