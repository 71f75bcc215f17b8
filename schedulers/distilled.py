"""Models distilled from a solver: a run visits some of the solver's times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.checks import check_number, check_one_way, check_steps, check_times, check_whole
from .counted import CountedScheduler
from .ddpm import DDPMScheduler
from .trained import VpScheduler


class DistilledScheduler(CountedScheduler, VpScheduler):
    """A model distilled from a solver of K steps: a run visits some of the solver's times."""

    _stateless = False
    _kept: ClassVar[tuple[str, ...]] = (*VpScheduler._kept, "custom_timesteps")
    consistency = True
    bounds_steps: ClassVar[tuple[str, ...]] = ("num_train_timesteps", "original_inference_steps")
    _compatibles = ()
    _make_stages = VpScheduler._make_stages
    _levels_at = VpScheduler._levels_at
    previous_timestep = DDPMScheduler.previous_timestep

    def _begin(self, tensor_format: str | None) -> None:
        """Table and fresh grid."""
        self._make_table(tensor_format)
        final = np.float32(1.0) if self.config["set_alpha_to_one"] else self._table[0]
        self._final_abar = float(final)
        self._publish("final_alpha_cumprod", np.array(final))
        self.custom_timesteps = False
        self._fresh_grid()

    def _origin(self, original: int, strength: float, given: bool) -> np.ndarray:
        """Times of the solver that the model was distilled from, ascending."""
        del given
        return np.arange(1, int(original * strength) + 1) * (self._train_steps // original) - 1

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        strength: float = 1.0,
    ) -> None:
        """Lay out a run.

        Args:
            num_inference_steps: Number of steps N, at most those of the solver.
            device: Where ``timesteps`` go (torch only).
            original_inference_steps: Steps of the solver; overrides the constructor's. More than
                there are training steps count as all of them.
            timesteps: Custom training steps, strictly descending.
            strength: Share of the way down from pure noise, in (0, 1] (image-to-image).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Both or neither given, out of range, or not descending.
        """
        check_one_way({"num_inference_steps": num_inference_steps, "timesteps": timesteps})
        original = self.config["original_inference_steps"]
        if original_inference_steps is not None:
            original = check_whole(
                "original_inference_steps", original_inference_steps, 1, 100_000
            )
        strength = check_number("strength", strength, 1e-12, 1.0)
        original = min(original, self._train_steps)
        if timesteps is None:
            n = check_steps(num_inference_steps, self._train_steps)
            origin = self._origin(original, strength, original_inference_steps is not None)[::-1]
            if n > min(len(origin), original):
                raise ValueError(
                    f"num_inference_steps={n} must lie in 1..{min(len(origin), original)}, the "
                    "steps of original_inference_steps that strength leaves."
                )
            times = origin[np.linspace(0, len(origin), n, endpoint=False).astype(np.int64)]
        else:
            times = check_times(timesteps, self._train_steps, whole=True).astype(np.int64)
            n = len(times)
            times = times[n - min(int(n * strength), n) :]
            if times.size == 0:
                raise ValueError(f"strength={strength!r} leaves none of the {n} timesteps.")
        self.custom_timesteps = timesteps is not None
        self._set_times(times, n if self.compat == "diffusers" else len(times), device)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """The grid is the distillation's."""
        del values
        grid = "the times are those of the solver that the model was distilled from."
        return {
            "timestep_spacing": grid,
            "steps_offset": grid,
            "set_alpha_to_one": "no step leads below the first training level but the last.",
        }
