"""DPM-Solver, multistep, run upward: from an image to the noise that leads to it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .backend.checks import check_steps
from .dpmsolver import DPMSolverMultistepScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .process import spacing
from .shelf import laid_out


class DPMSolverMultistepInverseScheduler(DPMSolverMultistepScheduler):
    r"""DPM-Solver and DPM-Solver++, multistep, on an ascending grid.

    The step is that of ``DPMSolverMultistepScheduler``,

        x_next = c x + kappa (psi_0 D0 + psi_1 D1 + psi_2 D2)

        data (++):  c = sigma_next / sigma,  kappa = alpha_next,  w = h
        noise:      c = alpha_next / alpha,  kappa = sigma_next,  w = -h

    with ``psi_k = int_0^1 w exp(-w (1 - u)) u^k / k! du`` and ``h = lam_next - lam`` below zero: a
    sample is taken from the first level, which is almost clean, to the last one. Noise that is
    removed and renewed does not grow, so that the forms for the SDE follow the ODE here;
    upstream's are NaN.

    Upstream drops times that repeat but keeps their sigmas, and its flow runs downward;
    ``compat="paper"`` keeps times and sigmas together, and runs upward.

    References:
        Lu et al. 2022. DPM-Solver. arXiv 2206.00927. Lu et al. 2022. DPM-Solver++.
        arXiv 2211.01095. Hertz, Mokady, Tenenbaum, Aberman, Pritch, Cohen-Or 2022.
        Prompt-to-Prompt Image Editing with Cross Attention Control. arXiv 2208.01626 (inversion).
    """

    title = "DPM-Solver multistep, inverse"
    good_for = "Inversion: finding the noise behind an image, to edit it."
    reference = papers.DPM_SOLVER_PP.at("Algorithm 2, with the grid reversed.")
    ascends = True
    _cuts_cosine_times = False
    _sde_third_order: ClassVar[bool] = False

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        solver_order: p.SolverOrder = 2,
        prediction_type: p.PredictionTypeFlow = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        algorithm_type: p.AlgorithmType = "dpmsolver++",
        solver_type: p.SolverType = "midpoint",
        lower_order_final: p.LowerOrderFinal = True,
        euler_at_final: p.EulerAtFinal = False,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        lambda_min_clipped: p.LambdaMinClipped = -float("inf"),
        variance_type: p.VarianceTypeSolver = None,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin(tensor_format)

    @laid_out
    def _fresh_grid(self) -> None:
        times = np.arange(self._train_steps, dtype=np.float32)
        self._install(times, self._rho_table.copy(), None)

    def set_timesteps(  # type: ignore[override]
        self, num_inference_steps: int | None = None, device: Any = None
    ) -> None:
        """Lay out a run upward.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Out of range, or a noise schedule that is undefined on the grid.
        """
        n = check_steps(num_inference_steps, self._train_steps)
        table, paper = self._rho_table, self.compat == "paper"
        last = self._noisiest(n)
        curve, flow = self._chosen_curve, bool(self.config["use_flow_sigmas"])
        curved, final = curve is not None or flow, None
        if curve is not None:
            ends = float(table[0]), float(table[-1])
            levels, times = self._place_curve(self._curve(curve, *ends, n))
        elif flow:
            levels = self._flow_levels(n + paper)
            if paper:
                levels, final = levels[:0:-1], levels[0]
            times = (levels * self._train_steps).astype(np.int64)
        else:
            times = self._ascending(n, last, paper)
            if times[-1] > len(table) - 1:
                self._times, self._rhos = times.tolist(), ()
                self._check_visited()
            levels = np.interp(times, self._noise.steps, self._noise.exact_rhos)
        if final is None:
            final = levels[-1] if curved else table[last - 1]
        if not curved or self.config["use_karras_sigmas"]:
            # Times of the other grids are compared before they are cut to whole ones.
            first = np.sort(np.unique(times, return_index=True)[1])
            times, levels = times[first], levels[first] if paper else levels
        self._install(times, np.append(levels, final).astype(np.float32), len(times), device)

    def _ascending(self, n: int, last: int, paper: bool) -> np.ndarray:
        """N times from the first one up, in the dialect that drops the last of n + 1 points."""
        kind, steps = self.config["timestep_spacing"], self._train_steps
        times = spacing.open_timesteps(kind, n, steps, 0, last, exact=paper)[::-1]
        if kind == "trailing":
            return times
        times = np.append(0, times)[:-1]
        return times + self.config["steps_offset"] if kind == "leading" else times

    def _curve(self, curve: str, low: float, high: float, n: int) -> np.ndarray:
        super()._curve(curve, low, high, n)  # it refuses what is no range
        ends = self._curve_ends()
        # Upstream takes a sibling's sigma_max for the first level here too, and runs down.
        first, second = ends if self.compat == "paper" else reversed(ends)
        start, end = (low if first is None else first), (high if second is None else second)
        return spacing.CURVES[curve](start, end, n)
