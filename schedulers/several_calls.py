"""Steps of several model calls: of two, by way of a midpoint, or with noise that can be scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, Generator
from .backend.checks import check_whole
from .counted import TwoCalls
from .interface import params as p
from .plan import StepKey
from .process import spacing
from .trained import SigmaScheduler


class TwoCallScheduler(TwoCalls, SigmaScheduler):
    """Two calls a step, over all training steps or the first of them."""

    _kept: ClassVar[tuple[str, ...]] = (*SigmaScheduler._kept, "_spread")
    _reads_foreign = frozenset({"sigma_min", "sigma_max"})

    def _spread_over(self, num_train_timesteps: int | None) -> None:
        """Spread the next grid over this many training steps; None for all."""
        self._spread = (
            None
            if num_train_timesteps is None
            else check_whole("num_train_timesteps", num_train_timesteps, 1, len(self._table))
        )

    @property
    def _train_steps(self) -> int:
        return int(getattr(self, "_spread", None) or self.config["num_train_timesteps"])

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        num_train_timesteps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run of N steps (2 N - 1 model calls), or one over custom times or levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            num_train_timesteps: Spread the steps over this many training steps instead of all.
            timesteps: Custom times of the steps, strictly descending; midpoints, where the class
                has some, are added.
            sigmas: Custom noise levels, strictly descending, the final one (usually 0) included;
                taken as they are, whatever curve the config names; midpoints are added likewise.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, not descending, times beside a sigma
                curve, or the noise schedule is undefined on the grid.
        """
        self._spread_over(num_train_timesteps)
        self._make_grid(num_inference_steps, device, timesteps, sigmas)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        return_dict: bool = True,
    ) -> Any:
        """Take one of the two calls of a step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (after the first call the provisional one, or the one at the midpoint)
            and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(model_output, timestep, sample, return_dict=return_dict)


class ScaledNoise(SigmaScheduler):
    """A ``step`` of several calls whose fresh noise can be scaled: ``s_noise``."""

    def _default_key(self) -> StepKey:
        return (1.0,)

    def _key(self, settings: Mapping[str, Any]) -> StepKey:
        return (settings.get("s_noise", 1.0),)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        s_noise: p.SNoise = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one call of a step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            s_noise: Factor on the noise.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (inside a step the sample for its next call) and
            ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or ``s_noise`` out of
                range.
        """
        if type(s_noise) is not float or s_noise != 1.0:
            s_noise = self._check_step("s_noise", s_noise)
        return self._advance(
            model_output, timestep, sample, generator, key=(s_noise,), return_dict=return_dict
        )


class MidpointScheduler(TwoCallScheduler):
    """Two-call steps whose second call is made at a log-midpoint, on the way to where they aim.

    ``timesteps`` holds the midpoints too, at the fractional times where the training table has
    their sigma; ``sigmas`` holds every inner level twice and no midpoint, as upstream. Upstream's
    ``add_noise`` at a midpoint's time therefore noises to the level after it; ``compat="paper"``
    noises to the midpoint.
    """

    _keeps = frozenset({"x"})

    def _aims(self, levels: np.ndarray) -> np.ndarray:
        """Sigma that the deterministic part of each step leads to; float32 in and out."""
        return levels[1:]

    def _lay_out(
        self,
        times: np.ndarray,
        levels: np.ndarray,
        n: int | None,
        device: Any,
    ) -> None:
        exact, levels = levels, levels.astype(np.float32)
        here = levels[:-1].astype(np.float64)
        middles = np.sqrt(here * self._aims(levels))[:-1]
        between = np.sqrt(exact[:-2] * exact[1:-1]) if exact.dtype == np.float64 else middles
        inner = spacing.times_of(between, self._noise.knots).astype(times.dtype)
        doubled, visited = np.empty(2 * len(times) - 1, times.dtype), np.zeros(2 * len(times))
        doubled[::2], doubled[1::2] = times, inner
        visited[:-1:2], visited[1:-1:2], visited[-1] = here, middles, levels[-1]
        self._install(doubled, visited, n, device)
        self._publish("sigmas", self._doubled(levels))

    @staticmethod
    def _doubled(levels: np.ndarray) -> np.ndarray:
        """Every level but the first twice, the last three times: what upstream shows."""
        doubled = np.empty(2 * len(levels), levels.dtype)
        doubled[::2], doubled[1:-1:2], doubled[-1] = levels, levels[1:], levels[-1]
        return doubled

    def _noised_to(self, i: int) -> float:
        if self.compat == "paper":
            return self._rhos[i]
        return float(self._published["sigmas"][0][i])
