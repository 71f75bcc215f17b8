"""Ancestral Euler steps on a rectified flow, as ComfyUI samples LTX-Video."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, Generator, backend_of
from ..backend.checks import check_levels, check_numbers, check_steps, shown
from ..backend.errors import ParameterError
from ..backend.output import StepOutput
from ..core.grid import Grid, Request
from ..core.level import Call, Level
from ..facts import papers
from ..families.flow import FlowScheduler
from ..grids import flow as grids
from ..interface import params as p
from ..interface.config import configured
from ..process.spacing import ended
from ..rules.flow import GUARD, FlowAncestral
from .flow_match_euler import FlowMatchEulerDiscreteScheduler


class LTXEulerAncestralRFScheduler(FlowScheduler):
    r"""Ancestral Euler on a rectified flow: down past the target, then fresh noise up to it.

        x_next     = alpha_next / alpha_down (x + (sigma_down - sigma) out) + s_noise sigma_up z
        sigma_down = sigma_next (1 + eta (sigma_next / sigma - 1)),   alpha = 1 - sigma
        sigma_up^2 = sigma_next^2 - (sigma_down alpha_next / alpha_down)^2

    The model returns the slope ``out = eps - x0``; alpha_next and alpha_down are the shares of data
    at sigma_next and sigma_down. The step to sigma = 0 adds no noise. Levels are those of
    FlowMatchEulerDiscrete, whose settings count where a config carries them, or are given.

    References:
        HaCohen et al. 2024. LTX-Video: Realtime Video Latent Diffusion. arXiv 2501.00103, on the
        path of Liu, Gong, Liu 2022. Flow Straight and Fast: Learning to Generate and Transfer Data
        with Rectified Flow. arXiv 2209.03003. The step is sample_euler_ancestral_RF of ComfyUI.
    """

    title = "LTX Euler ancestral"
    family = "Flow matching"
    good_for = "LTX-Video and other rectified flows, with fresh noise in each step."
    reference = papers.LTX_VIDEO.at(
        "Rectified flow, arXiv 2209.03003; the step is ComfyUI's sample_euler_ancestral_RF."
    )
    lenient = True
    _compatibles = ("FlowMatchEulerDiscreteScheduler",)
    _follows_model_dtype = False
    _noise_in_float32 = True

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        eta: p.FlowEta = 1.0,
        s_noise: p.FlowSNoise = 1.0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin(tensor_format, grids.fresh_grid(len(self), 1.0))

    def _make_rule(self) -> FlowAncestral:
        eta, s_noise = float(self.config["eta"]), float(self.config["s_noise"])
        return FlowAncestral(
            eta,
            s_noise,
            self.follows("ltx-silent-step"),
            GUARD if self.follows("ltx-guard") else 0.0,
        )

    # --- the grid -----------------------------------------------------------------------------

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        timesteps: Sequence[float] | None = None,
        mu: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Lay out a run, from a number of steps or from levels.

        Args:
            num_inference_steps: Number of steps N; with custom levels their number counts.
            device: Where ``timesteps`` go (torch only).
            sigmas: Custom levels, the final one included: any numbers, used as they are. Under
                ``compat="paper"`` strictly descending in (0, 1], and 0 follows unless it is given.
            timesteps: Taken for ``sigmas`` as upstream, and not used beside them; under
                ``compat="paper"`` times, T times the levels.
            mu: Sets the shift where a config with ``use_dynamic_shifting`` came from another
                class; else not used.
            **kwargs: Not used, with a warning.

        Raises:
            TypeError: A wrong type.
            ValueError: Nothing to go by, or numbers that are not finite or out of range.
        """
        self._heed()
        if kwargs:
            unknown = ", ".join(kwargs)
            warnings.warn(f"set_timesteps has no argument {unknown}: ignored.", stacklevel=2)
        if sigmas is not None:
            grid = self._given_grid("sigmas", sigmas, num_inference_steps)
        elif timesteps is not None:
            grid = self._given_grid("timesteps", timesteps, num_inference_steps)
        else:
            grid = self._shifted_grid(check_steps(num_inference_steps, None), mu)
        self._use(grid, device)

    def _shifted_grid(self, n: int, mu: float | None) -> Grid:
        """That of the class whose settings the config carries, with what it refuses."""
        donor = FlowMatchEulerDiscreteScheduler.from_config(self.config)
        dialect = donor._shift_dialect(mu)._replace(wide=self._open)
        grid = grids.flow_grid(dialect, Request(n))
        # Upstream's step takes an inverted sigma for the share of noise.
        return grids.along(grid.times, grid.sigmas, n) if dialect.inverted else grid

    def _given_grid(self, name: str, values: Any, n: int | None) -> Grid:
        """Along the levels that a caller gave, or the times."""
        as_levels = name == "sigmas" or self.follows("ltx-times-are-levels")
        high = 1 if as_levels else len(self)
        if self._open:
            levels = self._levels(name, values, high) / np.float32(high)
        else:
            given = check_numbers(name, values)
            inner = given[:-1] if len(given) > 1 and given[-1] == 0.0 else given
            levels = ended(check_levels(name, inner, high) / np.float32(high), 0.0)
        if n not in (None, len(levels) - 1):
            told = (
                f"num_inference_steps={shown(n)} and the {len(levels) - 1} steps of custom {name} "
                "do not agree"
            )
            if not self._open:
                raise ParameterError(f"{told}.", "num_inference_steps", name)
            warnings.warn(f"{told}: {name} count.", stacklevel=3)
        return grids.given_grid(
            len(self), tuple(levels.tolist()), self.follows("ltx-one-more-time")
        )

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.along(held["timesteps"], held["sigmas"], self._grid.steps)

    def _index_of(self, timestep: Any) -> int:
        """Upstream takes the second place of a time that occurs twice, also of the first."""
        found, times = super()._index_of(timestep), self._grid.times
        if found or not self.follows("ltx-late-start"):
            return found
        return int(np.flatnonzero(times == times[0])[:2][-1])

    def _other_call(self, i: int) -> Call:
        """Past the end upstream returns the sample as it is."""
        if not self.follows("ltx-one-more-time") or i < len(self._grid.sigmas) - 1:
            return super()._other_call(i)
        sigma = float(self._grid.sigmas[-1])
        end = Level(sigma * len(self), 1.0 - sigma, sigma)
        return Call(end.t, end, end, i)

    # --- the step -----------------------------------------------------------------------------

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step; past the end the sample stays, but not under ``compat="paper"``.

        Args:
            model_output: The flow ``eps - x0``, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``(1 - sigma) x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, in the dtype of the sample.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, or shapes that do not match.
        """
        self._refuse_integer(timestep)
        prev, x0 = self._advance(
            model_output, timestep, sample, (), generator, None, None, return_dict=False
        )
        if self._open:
            self._step_index = min(self._step_index or 0, len(self._grid.sigmas) - 1)
        if prev.dtype != sample.dtype:
            backend = backend_of(sample, "sample")
            prev, x0 = backend.cast(prev, sample.dtype), backend.cast(x0, sample.dtype)
        return StepOutput(prev, x0) if return_dict else (prev, x0)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without noise there is nothing to weigh."""
        if float(values.get("eta", 1.0)) > 0.0:
            return {}
        return {"s_noise": "eta is 0: no noise is added."}
