"""DPM-Solver-2 in sigma: a doubled grid whose second calls are made at log-midpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, Generator
from .backend.checks import check_curves
from .core.coefficients import Weights
from .core.level import Stage
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .rules import euler
from .several_calls import MidpointScheduler


class KDPM2DiscreteScheduler(MidpointScheduler):
    r"""DPM-Solver-2 on ``dx / d sigma = eps``; two model calls a step.

        first call:   x'     = x + (sigma_mid - sigma) eps,   sigma_mid = sqrt(sigma sigma_next)
        second call:  x_next = x + (sigma_next - sigma) eps'

    with ``eps'`` predicted from ``x'`` at sigma_mid. The last step, to sigma = 0, has no second
    call. ``timesteps`` holds the midpoints too, at the fractional times where the training table
    has their sigma; ``sigmas`` holds every inner level twice and no midpoint, as upstream,
    ``sigmas_interpol`` the midpoints. Upstream's ``add_noise`` at a midpoint's time therefore
    noises to the level after it; ``compat="paper"`` noises to the midpoint.

    References:
        Lu et al. 2022. DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in
        Around 10 Steps. arXiv 2206.00927, algorithm 1; Karras et al. 2022, arXiv 2206.00364;
        Crowson. k-diffusion, sample_dpm_2.
    """

    title = "DPM2"
    family = "Sigma (k-diffusion)"
    good_for = "Second order through a midpoint; two calls a step."
    reference = papers.DPM_SOLVER.at("Algorithm 1 for alpha = 1; k-diffusion sample_dpm_2.")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        prediction_type: p.PredictionType = "epsilon",
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        check_curves(self.config)
        self._make_table(tensor_format)
        self._show_whole_run()

    @property
    def _times_dtype(self) -> Any:
        # Upstream's curves leave the times in float64, its spacings in float32.
        return np.float64 if self._chosen_curve else np.float32

    def _spaced_grid(
        self, num_inference_steps: int | None, timesteps: Any, check: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        times, levels = super()._spaced_grid(num_inference_steps, timesteps, check)
        return (times.round() if self.config["use_karras_sigmas"] else times), levels

    def _lay_out(
        self,
        times: np.ndarray,
        levels: np.ndarray,
        n: int | None,
        device: Any,
    ) -> None:
        super()._lay_out(times, levels, n, device)
        # Upstream's intermediate results, which its callers look at.
        middles = self._doubled(np.array(self._placed(self._rhos[1:-1:2]), np.float32))
        self._publish("sigmas_interpol", middles)
        self._publish("log_sigmas", self._log_rho_table, device)

    @staticmethod
    def _placed(middles: Sequence[float]) -> list[float]:
        """The midpoints, each beside the level that upstream shows it with."""
        return [0.0, *middles, 0.0]

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        if i % 2 == 0 or len(past) < 2:
            # A run that starts at a midpoint has no step to close: it takes the rest as one.
            return euler.euler_row(past[0].here, past[0].target)
        return euler.midpoint_row(past[1].here, past[0].target.sigma)


class KDPM2AncestralDiscreteScheduler(KDPM2DiscreteScheduler):
    r"""DPM-Solver-2 down past the target, then fresh noise up to it; two model calls a step.

        first call:   x'     = x + (sigma_mid - sigma) eps,   sigma_mid = sqrt(sigma sigma_down)
        second call:  x_next = x + (sigma_down - sigma) eps' + sigma_up z

    with ``sigma_down^2 + sigma_up^2 = sigma_next^2`` as in the ancestral Euler step; then
    ``sigma_down = sigma_next^2 / sigma``, and the midpoint *is* ``sigma_next``. Only second calls
    draw noise; the last step, to sigma = 0, has none.

    Upstream takes ``sigma_down`` from a float32 difference that cancels where a step is long
    (cosine schedules; beyond all digits in two steps of 4000): the midpoint's time is then off by
    up to 2.5 training steps. ``compat="paper"`` takes the quotient.

    References:
        Crowson. k-diffusion, sample_dpm_2_ancestral; Lu et al. 2022. DPM-Solver. arXiv 2206.00927,
        algorithm 1; Ho, Jain, Abbeel 2020. Denoising Diffusion Probabilistic Models.
        arXiv 2006.11239, eq. 7 for the split.
    """

    title = "DPM2 ancestral"
    good_for = "The midpoint rule with fresh noise; varied and detailed."
    reference = papers.DPM_SOLVER.at(
        "Algorithm 1, down to sigma_down; k-diffusion sample_dpm_2_ancestral."
    )

    _kept: ClassVar[tuple[str, ...]] = (*KDPM2DiscreteScheduler._kept, "_downs", "_ups")

    def _aims(self, levels: np.ndarray) -> np.ndarray:
        here, after = levels[:-1].astype(np.float64), levels[1:].astype(np.float64)
        self._downs, self._ups = after * after / here, after
        self._ups = np.sqrt(np.maximum(after * after - self._downs * self._downs, 0.0))
        if self.compat == "diffusers":
            here, after = levels[:-1], levels[1:]
            with np.errstate(invalid="ignore", over="ignore"):
                up = np.sqrt(after * after * (here * here - after * after) / (here * here))
                down = np.sqrt(after * after - up * up)
            # Where nothing is left of the difference upstream divides by zero.
            self._downs = np.where(down > 0.0, down, self._downs)
            self._ups = np.where(down > 0.0, up, self._ups)
        return self._downs

    def _lay_out(
        self,
        times: np.ndarray,
        levels: np.ndarray,
        n: int | None,
        device: Any,
    ) -> None:
        super()._lay_out(times, levels, n, device)
        for name, splits in (("sigmas_up", self._ups), ("sigmas_down", self._downs)):
            self._publish(name, self._doubled(np.append(splits, 0.0).astype(np.float32)))

    @staticmethod
    def _placed(middles: Sequence[float]) -> list[float]:
        return [*middles, 0.0, 0.0]

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        here, target = past[0].here, past[0].target
        if i % 2 == 0:
            return euler.euler_row(here, target)
        if len(past) < 2:
            return euler.ancestral_row(here, target)
        step = i // 2
        return euler.midpoint_row(past[1].here, float(self._downs[step]), float(self._ups[step]))

    def step(  # type: ignore[override]
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one of the two calls of a step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (after the first call the one at the midpoint) and
            ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(model_output, timestep, sample, generator, return_dict=return_dict)
