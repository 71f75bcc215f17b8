"""DPM-Solver, multistep, run upward: from an image to the noise that leads to it."""

from __future__ import annotations

from typing import Any, ClassVar

from ..backend.checks import check_steps
from ..facts import papers
from ..grids import dpm as grids
from ..grids.dpm import DpmDialect
from ..interface import params as p
from ..interface.config import configured
from .dpmsolver import DPMSolverMultistepScheduler


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

    Upstream drops times that repeat but keeps their sigmas, its flow runs downward, and so do its
    curves between the sigma_min and sigma_max of a sibling's config; ``compat="paper"`` keeps times
    and sigmas together, and runs upward.

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
        self._begin_dpm(tensor_format)

    def _dialect(self, shift: float | None = None) -> DpmDialect:
        return (
            super()
            ._dialect(shift)
            ._replace(
                drops=self.follows("inverse-dropped-times"),
                descends=self.follows("inverse-flow-down"),
                swaps=self.follows("inverse-swapped-ends"),
            )
        )

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
        self._heed()
        n = check_steps(num_inference_steps, self._train_steps)
        self._use(grids.ascending_grid(self._table, self._dialect(), n), device)
