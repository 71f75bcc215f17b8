"""Rectified flow: straight paths from noise to data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..backend.checks import (
    CURVES,
    MOST_SIGMA,
    check_batch_times,
    check_curves,
    check_levels,
    check_noising,
    check_number,
    check_numbers,
    check_real,
    check_steps,
)
from ..backend.errors import ParameterError
from ..core.grid import Grid, Request
from ..core.scheduler import Levels, Scheduler, batch_size
from ..grids import flow as grids
from ..process import shifting


class FlowScheduler(Scheduler):
    """``x = (1 - sigma) x0 + sigma eps``, times T sigma; the model returns ``eps - x0``."""

    _follows_model_dtype = True

    def _begin_flow(self, tensor_format: str | None, shift: float) -> None:
        """The grid of a fresh object, and the ends of the ramp, which callers may set."""
        grid = grids.fresh_grid(len(self), shift, bool(self._setting("invert_sigmas")))
        self._begin(tensor_format, grid)
        self.sigma_min, self.sigma_max = float(grid.sigmas[-1]), float(grid.sigmas[0])

    @property
    def _open(self) -> bool:
        """Whether custom levels may be any numbers."""
        return self.lenient and self.follows("flow-any-levels")

    def _levels(self, name: str, values: Any, high: float) -> np.ndarray:
        """Custom levels or times of a run in float32, descending in (0, high] unless open."""
        if not self._open:
            return check_levels(name, values, high)
        with np.errstate(over="ignore"):
            levels = check_numbers(name, values).astype(np.float32)
        check_numbers(name, levels)  # what float32 cannot hold
        return levels

    def _dialect(self, shift: float) -> grids.FlowDialect:
        """What the config and the attributes mean by a number of steps."""
        return grids.FlowDialect(
            len(self),
            shift,
            self.sigma_max,
            self.sigma_min,
            self.follows("flow-shift-twice"),
            self.follows("flow-custom-times"),
        )

    @property
    def prediction_type(self) -> str:
        """A flow model predicts ``eps - x0``."""
        return "flow_prediction"

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any = None) -> Any:
        """T times sigma."""
        return check_real("sigma", sigma, 0.0, MOST_SIGMA) * len(self)

    def scale_noise(self, sample: Array, timestep: Array, noise: Array = None) -> Array:
        """Diffuse: ``(1 - sigma) x0 + sigma eps`` at the given times.

        Args:
            sample: Clean samples x0, shape (batch, ...).
            timestep: One of ``timesteps`` for each sample, or one for all.
            noise: Unit noise of the same shape.

        Returns:
            Noisy samples, same shape and dtype.

        Raises:
            TypeError: No noise, or arrays of different libraries.
            ValueError: Shapes that do not match, or a time outside the schedule.
        """
        check_noising(sample, "sample", noise)
        times = check_batch_times(timestep, batch_size(sample), "timestep")
        return self._noised(sample, "sample", noise, times)


class ShiftedFlowScheduler(FlowScheduler):
    """Levels that are shifted, stretched, bent or turned round, as configs of flows say."""

    _reads_foreign = frozenset({"sigma_min", "sigma_max"})
    _shift: float

    def _begin_shifted(self, tensor_format: str | None) -> None:
        """One curve at most; the shift, which callers may set."""
        check_curves(self.config)
        self._shift = self.config["shift"]
        dynamic = self.config["use_dynamic_shifting"]
        self._begin_flow(tensor_format, 1.0 if dynamic else self._shift)

    time_shift = shifting.time_shift
    stretch_shift_to_terminal = shifting.stretch_shift_to_terminal

    @property
    def shift(self) -> float:
        """The shift s of the next ``set_timesteps``."""
        return self._shift

    def set_shift(self, shift: float) -> None:
        """Use another shift from the next ``set_timesteps`` on.

        Raises:
            TypeError: It is not a number.
            ValueError: It is out of range.
        """
        described = next(entry for entry in self.parameters() if entry.name == "shift")
        self._shift = described.check(shift)

    def _shift_dialect(self, mu: float | None) -> grids.FlowDialect:
        """What config, attributes and mu mean by a number of steps."""
        config, strength = self.config, None
        if mu is not None:
            check_number("mu", mu, -shifting.MOST_MU, shifting.MOST_MU)
        if config["use_dynamic_shifting"]:
            if mu is None:
                raise ParameterError(
                    "mu=None: use_dynamic_shifting=True takes the shift from set_timesteps(mu=...).",
                    "mu",
                    "use_dynamic_shifting",
                )
            strength = shifting.check_mu(mu, str(config["time_shift_type"]))
        return self._dialect(self._shift)._replace(
            strength=strength,
            terminal=config["shift_terminal"],
            curve=next((name for name in CURVES if self._setting(name)), None),
            curve_low=self._setting("sigma_min"),
            curve_high=self._setting("sigma_max"),
            inverted=self._inverted,
            wide=self._open,
        )

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps, from levels, from times, or from both.

        Args:
            num_inference_steps: Number of steps N; with custom levels or times their number.
            device: Where ``timesteps`` go (torch only).
            sigmas: Custom levels, strictly descending in (0, 1] (any numbers where the class is
                ``lenient``), without the final 0. They are shifted like the scheduler's own; a
                sigma curve keeps their ends only.
            mu: Sets the shift where ``use_dynamic_shifting`` is on; else not used.
            timesteps: Custom times, strictly descending in (0, T] (or any numbers). The model is
                told these. The levels are ``sigmas``, or else the times over T, shifted as well (not under
                ``compat="paper"``, where a time is T times its level).

        Raises:
            TypeError: A wrong type.
            ValueError: Nothing to go by, numbers that contradict each other, out of range or not
                descending, no ``mu`` under dynamic shifting, or times beside a sigma curve.
        """
        self._heed()
        check_curves(self._settings, None if self._open else timesteps)
        times = None if timesteps is None else self._levels("timesteps", timesteps, len(self))
        levels = None if sigmas is None else self._levels("sigmas", sigmas, 1)
        given = [found for found in (times, levels) if found is not None]
        n = len(given[0]) if given else check_steps(num_inference_steps, None)
        if any(len(found) != n for found in given) or num_inference_steps not in (None, n):
            lengths = ", ".join(str(len(found)) for found in given)
            raise ParameterError(
                f"num_inference_steps={num_inference_steps!r} and custom timesteps or sigmas of "
                f"{lengths} entries must agree.",
                "num_inference_steps",
                *(
                    name
                    for name, part in (("sigmas", sigmas), ("timesteps", timesteps))
                    if part is not None
                ),
            )
        custom = (None if part is None else tuple(part.tolist()) for part in (times, levels))
        self._use(grids.flow_grid(self._shift_dialect(mu), Request(n, *custom)), device)

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        return grids.along(held["timesteps"], held["sigmas"], self._grid.steps, 1, self._inverted)

    @property
    def _inverted(self) -> bool:
        """Whether sigmas are the share of data."""
        return bool(self.config["invert_sigmas"])

    def _levels_at(self, times: np.ndarray) -> Levels:
        alpha, sigma = super()._levels_at(times)
        swaps = self._inverted and self.follows("flow-inverted-noise")
        return (sigma, alpha) if swaps else (alpha, sigma)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What only a pipeline sets."""
        sizes = ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
        unused = dict.fromkeys(sizes, "only pipelines read it, to choose mu.")
        for name in ("use_dynamic_shifting", "time_shift_type"):
            unused[name] = "only set_timesteps(mu=...) uses it."
        if values.get("use_dynamic_shifting"):
            unused["shift"] = "mu takes its place."
        return unused
