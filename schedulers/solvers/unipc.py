"""UniPC: a predictor and a corrector of any order that share one model call a step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend.arrays import host_values
from ..backend.checks import check_levels, check_one_way
from ..backend.errors import ParameterError
from ..core.exports import Setting
from ..core.grid import Request
from ..core.scheduler import plain_step
from ..facts import papers
from ..facts.quirks import followed
from ..families.dpm import CorrectedScheduler, shift_of
from ..grids import dpm as grids
from ..interface import params as p
from ..interface.config import configured
from ..process import shifting
from ..process.shifting import check_mu
from ..rules.corrector import UniPC


class UniPCMultistepScheduler(CorrectedScheduler):
    r"""Unified predictor-corrector, orders 1 to 3; the corrector adds one order.

    In ``lam = log(alpha / sigma)``, with ``h = lam_next - lam``,

        x_next = c x + kappa sum_j D[-j] int_0^1 w exp(-w (1 - u)) L_j(u) du

        predict_x0:  D = x0,   c = sigma_next / sigma,  kappa = alpha_next,  w = h
        else:        D = eps,  c = alpha_next / alpha,  kappa = sigma_next,  w = -h

    where the ``L_j`` are the Lagrange polynomials on the calls: 1 at call j, 0 at the others,
    which stand at ``(lam[-j] - lam) / h``. The corrector takes the same step with the prediction
    at its end (u = 1) as one more node, so that it costs no call; the next step starts from its
    result.

    At order 2, and in the corrector at order 1, upstream replaces the integral ``psi_1`` over the
    slope by ``B / 2`` with ``B = w`` (bh1) or ``B = 1 - exp(-w)`` (bh2), which has the same order;
    ``compat="paper"`` takes the integral throughout. A step to sigma = 0, where a slope in lam has
    no limit, is of order 1; upstream's is NaN with bh1 or ``predict_x0=False``.

    References:
        Zhao et al. 2023. UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of
        Diffusion Models. arXiv 2302.04867, eq. 3, 8 and 10.
    """

    title = "UniPC multistep"
    family = "Exponential integrators"
    good_for = "The fewest steps: one order higher than its neighbours at the same calls."
    reference = papers.UNIPC.at("Algorithms 1 and 2.")
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "solver_type": dict.fromkeys(("midpoint", "heun", "logrho"), "bh2"),
    }
    _ramps = True
    disable_corrector = Setting()
    solver_p = Setting()
    time_shift = shifting.time_shift
    stretch_shift_to_terminal = shifting.stretch_shift_to_terminal

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
        predict_x0: p.PredictX0 = True,
        solver_type: p.SolverTypeUniPC = "bh2",
        lower_order_final: p.LowerOrderFinalAlways = True,
        disable_corrector: p.DisableCorrector = [],  # noqa: B006  (upstream's default)
        solver_p: p.SolverP = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        use_flow_sigmas: p.UseFlowSigmas = False,
        flow_shift: p.FlowShift = 1.0,
        timestep_spacing: p.TimestepSpacing = "linspace",
        steps_offset: p.StepsOffset = 0,
        final_sigmas_type: p.FinalSigmasType = "zero",
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        time_shift_type: p.TimeShiftType = "exponential",
        sigma_min: p.SigmaMin = None,
        sigma_max: p.SigmaMax = None,
        shift_terminal: p.ShiftTerminal = None,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        if shift_terminal is not None and not use_flow_sigmas:
            raise ParameterError(
                f"shift_terminal={shift_terminal!r} needs use_flow_sigmas=True: it stretches a "
                "flow's sigmas.",
                "shift_terminal",
                "use_flow_sigmas",
            )
        self._begin_dpm(tensor_format)

    def _make_rule(self) -> UniPC:
        config = self.config
        order = config["solver_order"]
        return UniPC(
            *self._paired(config["predict_x0"], order + 1, order),
            config["solver_type"] == "bh1",
            tuple(config["disable_corrector"]),
        )

    def set_timesteps(  # type: ignore[override]
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps, from its timesteps, or from its levels.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            sigmas: With ``use_flow_sigmas``: descending numbers in (0, 1], one a step, which take
                the place of the even ramp and are shifted like it; the final level is appended.
                Without, where upstream refuses them: descending levels sigma / alpha, the final
                one included, and the model is asked at the nearest training steps.
            mu: Sets the flow shift of this run to exp(mu); with ``use_dynamic_shifting``, which
                needs it. Without, it is left out, as upstream.
            timesteps: Custom training steps, strictly descending.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Not exactly one given, out of range, sigmas off the flow, ``mu`` missing,
                or a noise schedule that is undefined on the grid.
        """
        self._heed()
        shift = self._shift_by(mu)
        if sigmas is not None and self.config["use_flow_sigmas"] and self._chosen_curve is None:
            check_levels("sigmas", sigmas, 1.0)
            ramp = tuple(np.array(host_values(sigmas), dtype=np.float64).tolist())
            if num_inference_steps not in (None, len(ramp)):
                raise ParameterError(
                    f"num_inference_steps={num_inference_steps!r} does not fit the "
                    f"{len(ramp)} sigmas: leave it out.",
                    "num_inference_steps",
                )
            check_one_way({"sigmas": sigmas, "timesteps": timesteps})
            request = Request(sigmas=ramp)
        else:
            request = self._requested(num_inference_steps, timesteps, sigmas)
        self._use(grids.dpm_grid(self._table, self._dialect(shift), request), device)

    def _shift_by(self, mu: float | None) -> float | None:
        """The flow shift of a run, if it is not that of the config."""
        if self.config["use_dynamic_shifting"]:
            if mu is None:
                raise ParameterError(
                    "mu=None: use_dynamic_shifting=True needs set_timesteps(mu=...).",
                    "mu",
                    "use_dynamic_shifting",
                )
            return shift_of(mu, self.config["time_shift_type"])
        if mu is not None:
            check_mu(mu)
            # Pipelines for flows pass it whatever the scheduler does with it.
            warnings.warn(f"mu={mu!r} does nothing: use_dynamic_shifting is False.", stacklevel=3)
        return None

    step = plain_step

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the grid and the order make idle."""
        reasons = super()._inert(values)
        del reasons["use_dynamic_shifting"]
        if values.get("solver_order") == 1:
            reasons["lower_order_final"] = "the order is 1 throughout."
        if not followed("unipc-half", values):
            reasons["solver_type"] = "the integrals are taken exactly."
        return reasons
