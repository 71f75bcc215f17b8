"""Multistep DPM-Solver++ for networks preconditioned as EDM proposes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from .backend.arrays import Array, Generator
from .backend.checks import check_steps
from .edm import EdmScheduler
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .open_grid import Multistep


class EDMDPMSolverMultistepScheduler(Multistep, EdmScheduler):
    r"""DPM-Solver++, multistep, orders 1 to 3, for networks preconditioned as in EDM.

        x0     = c_skip x + c_out F(c_in x, log(sigma) / 4),   c_in = 1 / q
        c_skip = (sigma_data / q)^2,   c_out = sigma sigma_data / q
        q      = sqrt(sigma^2 + sigma_data^2)
        x_next = c x + psi_0 D0 + psi_1 D1 + psi_2 D2 + s z
        psi_k  = int_0^1 w exp(-w (1 - u)) u^k / k! du

        dpmsolver++:      c = sigma_next / sigma,          w = h,    s = 0
        sde-dpmsolver++:  c = sigma_next / sigma exp(-h),  w = 2 h,  s = sigma_next sqrt(1 - exp(-2 h))

    F is the network (with ``v_prediction`` -F), sigma_data the deviation of the data, and
    ``h = log(sigma / sigma_next)``. D0 is x0; D1 and D2 are the derivatives at the step's start,
    by the fraction u of the step, of the polynomial in log sigma through the last ``solver_order``
    data predictions. At order 2 ``midpoint`` takes ``psi_0 / 2`` for psi_1.

    At order 3 upstream's D2 lacks a factor 2, and its stochastic form crashes: here it is the
    integral.

    References:
        Lu et al. 2022. DPM-Solver++. arXiv 2211.01095, eq. 8 to 18. Karras, Aittala, Aila, Laine
        2022. Elucidating the Design Space of Diffusion-Based Generative Models. arXiv 2206.00364,
        table 1 (preconditioning).
    """

    title = "EDM DPM-Solver multistep"
    family = "EDM"
    good_for = "Networks preconditioned as in EDM, in 10 to 30 calls."
    reference = papers.DPM_SOLVER_PP.at(
        "Algorithm 2; EDM's preconditioning, arXiv 2206.00364, table 1."
    )
    _sde_third_order = False
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {
        "solver_type": {"logrho": "midpoint", "bh1": "midpoint", "bh2": "midpoint"},
        "algorithm_type": {"deis": "dpmsolver++"},
    }

    @configured
    def __init__(
        self,
        sigma_min: p.VeSigmaMin = 0.002,
        sigma_max: p.VeSigmaMax = 80.0,
        sigma_data: p.SigmaData = 0.5,
        sigma_schedule: p.SigmaScheduleEdm = "karras",
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        prediction_type: p.PredictionTypeEdm = "epsilon",
        rho: p.Rho = 7.0,
        solver_order: p.SolverOrder = 2,
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        algorithm_type: p.AlgorithmTypeEdm = "dpmsolver++",
        solver_type: p.SolverType = "midpoint",
        lower_order_final: p.LowerOrderFinal = True,
        euler_at_final: p.EulerAtFinal = False,
        final_sigmas_type: p.FinalSigmasType = "zero",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._prepare(tensor_format)

    def _prepare(self, tensor_format: str | None) -> None:
        """What the constructor sets up."""
        self._keeps, self._depth = frozenset({"x0"}), int(self.config["solver_order"])
        self._make_fresh(tensor_format, len(self), 0.0)

    def set_timesteps(self, num_inference_steps: int | None = None, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps.

        Args:
            num_inference_steps: Number of steps N.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1, or float32 cannot tell the levels from 0.
        """
        n = check_steps(num_inference_steps, None)
        config = self.config
        final = config["sigma_min"] if config["final_sigmas_type"] == "sigma_min" else 0.0
        self._lay_out(self._curve(self._ramp(n)), final, n, device)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the network returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``. The latter is kept for the next steps:
            copy it before changing it in place.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        return self._advance(model_output, timestep, sample, generator, return_dict=return_dict)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What the order, the schedule and the length of the run make idle."""
        return super()._inert(values) | cls._order_inert(values)
