"""Models preconditioned as EDM proposes: Euler with churn, and multistep DPM-Solver++."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from . import papers
from . import params as p
from .arrays import Array, Generator, backend_of
from .checks import (
    MOST_SIGMA,
    check_floats,
    check_ramp,
    check_real,
    check_sigmas,
    check_steps,
    refuse_integer,
)
from .churn import Churning, checked_churn
from .config import configured
from .counted import Scaled
from .levels import Stage
from .open_grid import Multistep
from .output import StepOutput
from .plan import StepKey
from .prediction import Reading
from .shelf import laid_out
from .tables import linspace32
from .weights import Weights


class EdmScheduler(Scaled):
    r"""Samples ``x0 + sigma eps`` of data of standard deviation s, and a network F inside.

        x0 = c_skip x + c_out F(c_in x, c_noise),   c_skip = s^2 / (sigma^2 + s^2),
        c_out = sigma s / sqrt(sigma^2 + s^2),   c_in = 1 / sqrt(sigma^2 + s^2),

    and ``c_noise = log(sigma) / 4`` as the time. ``v_prediction`` means -F.

    References:
        Karras et al. 2022, arXiv 2206.00364, table 1.
    """

    #: What the network is told of a level, by the name that both array libraries give it.
    _noise_function: ClassVar[str] = "log"
    #: Then divided by the first and multiplied by the second number, in upstream's order.
    _noise_scale: ClassVar[tuple[float, float]] = 1.0, 0.25
    _kept: ClassVar[tuple[str, ...]] = ("_times", "_rhos", "num_inference_steps", "_alters")
    #: Precision in which upstream lays out the Karras levels.
    _ramp_dtype: ClassVar[Any] = np.float32

    def _make_fresh(self, tensor_format: str | None, n: int, final: float) -> None:
        """The grid of a fresh object: n levels and a final one."""
        config = self.config
        if config["sigma_min"] >= config["sigma_max"]:
            raise ValueError(
                f"sigma_min={config['sigma_min']:g} must be below "
                f"sigma_max={config['sigma_max']:g}."
            )
        self._start(tensor_format)
        self._fresh_grid(n, final)

    @laid_out
    def _fresh_grid(self, n: int, final: float) -> None:
        self._lay_out(self._curve(self._ramp(n)), final, None)

    @property
    def _data_std(self) -> float:
        return float(self.config["sigma_data"])

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the initial noise, ``sqrt(sigma_max^2 + 1)``."""
        return math.hypot(self.config["sigma_max"], 1.0)

    # --- the grid -----------------------------------------------------------------------------

    def _ramp(self, n: int) -> np.ndarray:
        """N numbers from 0 to 1."""
        if self.compat == "paper" or self._ramp_dtype != np.float32:
            return np.linspace(0.0, 1.0, n)
        return linspace32(0.0, 1.0, n)

    def _curve(self, ramp: np.ndarray) -> np.ndarray:
        """Levels at the places of a ramp: 0 is sigma_max, 1 is sigma_min (eq. 5)."""
        config = self.config
        low, high = float(config["sigma_min"]), float(config["sigma_max"])
        if config["sigma_schedule"] == "karras":
            power = 1.0 / config["rho"]
            roots = high**power + ramp * (low**power - high**power)
            with np.errstate(invalid="ignore"):
                return np.asarray(roots.astype(np.float64) ** config["rho"])
        # Upstream counts the entries of a ramp and takes even steps in log sigma.
        if self.compat == "paper":
            return np.exp(math.log(high) + ramp * (math.log(low) - math.log(high)))
        logs = linspace32(math.log(low), math.log(high), len(ramp))
        return np.exp(logs.astype(np.float64))[::-1]

    def _lay_out(
        self, levels: np.ndarray, final: float, n: int | None, device: Any = None
    ) -> None:
        """Install levels, with the times that the network is told of them."""
        sigmas = levels.astype(np.float32)
        if not (sigmas > 0.0).all():
            config = self.config
            raise ValueError(
                f"sigma_min={config['sigma_min']:g}, sigma_max={config['sigma_max']:g}, "
                f"rho={config.get('rho'):g} lead to levels that float32 cannot tell from 0."
            )
        over, factor = self._noise_scale
        # Rounded from float64, which comes closest to the float32 of either library.
        told = getattr(np, self._noise_function)(sigmas.astype(np.float64)).astype(np.float32)
        times = told / over * factor
        self._install(times, np.append(sigmas, np.float32(final)), n, device)

    # --- preconditioning ----------------------------------------------------------------------

    def _sign(self) -> float:
        """Sign of F in the output."""
        return -1.0 if self.prediction_type == "v_prediction" else 1.0

    def precondition_inputs(self, sample: Array, sigma: Any) -> Array:
        """``c_in x``, of unit variance.

        Args:
            sample: ``x0 + sigma eps``, any shape.
            sigma: Its level, a number or an array that broadcasts.
        """
        check_floats("sample", sample)
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA, like=sample)
        return sample * (1 / (sigma**2 + self._data_std**2) ** 0.5)

    def precondition_noise(self, sigma: Any) -> Array:
        """What the network is told of a level, ``log(sigma) / 4`` for EDM.

        Args:
            sigma: A level or an array of levels, 1e-12..1e12.

        Returns:
            Same shape; shape (1,) for a number.
        """
        sigma = check_real("sigma", sigma, 1.0 / MOST_SIGMA, MOST_SIGMA)
        if isinstance(sigma, float):
            sigma = self._in_format(np.array([sigma], dtype=np.float32))
        over, factor = self._noise_scale
        return backend_of(sigma, "sigma").apply(self._noise_function, sigma) / over * factor

    def precondition_outputs(self, sample: Array, model_output: Array, sigma: Any) -> Array:
        """The data prediction ``c_skip x + c_out F``.

        Args:
            sample: ``x0 + sigma eps``, any shape.
            model_output: What the network returned, same shape.
            sigma: Its level, a number or an array that broadcasts.
        """
        self._check_pair(model_output, sample, check_floats("sample", sample))
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA, like=sample)
        if self.prediction_type == "sample":
            return model_output
        variance = sigma**2 + self._data_std**2
        c_skip = self._data_std**2 / variance
        c_out = self._sign() * sigma * self._data_std / variance**0.5
        return c_skip * sample + c_out * model_output

    def _read_at(self, sigma: float) -> Reading:
        """How the network's answer is read at a level."""
        if self.prediction_type == "sample":
            return Reading(0.0, 1.0, 1.0 / sigma, -1.0 / sigma)
        s = self._data_std
        c_skip = s**2 / (sigma**2 + s**2)
        c_out = self._sign() * sigma * s / math.hypot(sigma, s)
        return Reading(c_skip, c_out, (1.0 - c_skip) / sigma, -c_out / sigma)

    def _reading(self, stage: Stage, key: StepKey) -> Reading:
        return self._read_at(stage.here.sigma)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """What no run of N steps looks at."""
        reasons = super()._inert(values)
        reasons["num_train_timesteps"] = "it counts the levels before set_timesteps, no others."
        if values.get("sigma_schedule") == "exponential":
            reasons["rho"] = "only the karras schedule is curved by it."
        return reasons


class EDMEulerScheduler(Churning, EdmScheduler):
    r"""Euler's method with churn, for networks preconditioned as in EDM.

        x0        = c_skip x + c_out F(c_in x, log(sigma) / 4),   c_in = 1 / q
        c_skip    = (sigma_data / q)^2,   c_out = sigma sigma_data / q
        q         = sqrt(sigma^2 + sigma_data^2)
        x_hat     = x + s_noise sqrt(sigma_hat^2 - sigma^2) z
        sigma_hat = (1 + gamma) sigma,   gamma = min(s_churn / N, sqrt(2) - 1)
        x_next    = x_hat + (sigma_next - sigma_hat) (x_hat - x0) / sigma_hat

    F is the network (with ``v_prediction`` -F), sigma_data the deviation of the data;
    ``scale_model_input`` applies c_in, and ``timesteps`` hold ``log(sigma) / 4``. ``gamma`` is 0
    unless ``s_tmin <= sigma <= s_tmax``. The model is asked before the churn, at ``sigma``.
    Upstream reads its answer as one for x_hat at ``sigma_hat``; ``compat="paper"`` reads it as it
    was asked.

    References:
        Karras et al. 2022. Elucidating the Design Space of Diffusion-Based Generative Models.
        arXiv 2206.00364, algorithm 2 without its correction, table 1 (preconditioning).
    """

    title = "EDM Euler"
    family = "EDM"
    good_for = "Networks preconditioned as in EDM, or trained for cosXL: the plain first choice."
    reference = papers.EDM.at("Algorithm 2 without its correction, table 1 (preconditioning).")
    _follows_model_dtype = True
    _ramp_dtype = np.float64

    @configured
    def __init__(
        self,
        sigma_min: p.VeSigmaMin = 0.002,
        sigma_max: p.VeSigmaMax = 80.0,
        sigma_data: p.SigmaData = 0.5,
        sigma_schedule: p.SigmaScheduleEdm = "karras",
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        prediction_type: p.PredictionTypeEdmEuler = "epsilon",
        rho: p.Rho = 7.0,
        final_sigmas_type: p.FinalSigmasType = "zero",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        levels = num_train_timesteps + 1
        self._make_fresh(tensor_format, levels, sigma_min if self._ends_noisy else 0.0)

    @property
    def _ends_noisy(self) -> bool:
        """Whether the run ends at its last level instead of at 0."""
        return bool(self.config["final_sigmas_type"] == "sigma_min")

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps or from a list.

        Args:
            num_inference_steps: Number of steps N >= 1; beside ``sigmas`` their number.
            device: Where ``timesteps`` go (torch only).
            sigmas: As upstream a ramp, ascending in [0, 1], of places on the schedule: 0 is
                sigma_max, 1 is sigma_min; the exponential schedule takes but its length. Under
                ``compat="paper"`` the noise levels themselves, strictly descending, the final one
                included.

        Raises:
            TypeError: A wrong type.
            ValueError: Neither or contradicting arguments, out of range, or not in order.
        """
        if sigmas is None:
            n = check_steps(num_inference_steps, None)
            levels, final = self._curve(self._ramp(n)), None
        elif self.compat == "paper":
            levels = check_sigmas(sigmas)
            levels, final = levels[:-1], float(levels[-1])
        else:
            levels, final = self._curve(check_ramp("sigmas", sigmas)), None
        if num_inference_steps not in (None, len(levels)):
            raise ValueError(
                f"num_inference_steps={num_inference_steps!r} and sigmas for {len(levels)} steps "
                "must agree."
            )
        if final is None:
            final = float(levels[-1]) if self._ends_noisy else 0.0
        self._lay_out(levels, final, len(levels), device)

    def _asked_at(self, stage: Stage, key: StepKey) -> float:
        """The level at which the model's answer is read."""
        return stage.here.sigma if self.compat == "paper" else self._churned(stage, key)[0]

    def _reading(self, stage: Stage, key: StepKey) -> Reading:
        return self._read_at(self._asked_at(stage, key))

    def _x0_noise(self, stage: Stage, key: StepKey) -> float:
        if self.compat == "paper":
            return 0.0
        return self._churned(stage, key)[1] * self._reading(stage, key).x0_x

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        stage = past[0]
        sigma_hat, noise = self._churned(stage, key)
        keep = stage.target.sigma / sigma_hat
        on_noise = keep * noise + (1.0 - keep) * self._x0_noise(stage, key)
        return Weights(x=(keep,), x0=(1.0 - keep,), noise=on_noise)

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        s_churn: p.SChurn = 0.0,
        s_tmin: p.STmin = 0.0,
        s_tmax: p.STmax = float("inf"),
        s_noise: p.SNoise = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
        pred_original_sample: Array = None,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the network returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            s_churn: Total churn over the run, 0 for none.
            s_tmin: Churn only at or above this sigma.
            s_tmax: Churn only at or below this sigma.
            s_noise: Factor on the churned noise.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.
            pred_original_sample: A data prediction to take instead of the network's, same shape.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, in the dtype of the model output.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, shapes that do not match,
                or a churn argument out of range.
        """
        refuse_integer(timestep, "EDMEulerScheduler.step")
        key = checked_churn(self, s_churn, s_tmin, s_tmax, s_noise)
        self._warn_unscaled()
        if pred_original_sample is None:
            return self._advance(
                model_output, timestep, sample, generator, key=key, return_dict=return_dict
            )
        given = pred_original_sample
        prev = self._step_to_given(given, model_output, timestep, sample, generator, key)
        return StepOutput(prev, given) if return_dict else (prev, given)

    def _step_to_given(
        self,
        x0: Array,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator,
        key: StepKey,
    ) -> Array:
        """The next sample for a data prediction that the caller gives."""
        self._require_timesteps("step")
        backend = backend_of(sample, "sample")
        dtype = backend.compute_dtype(self._check_pair(model_output, sample, backend))
        if check_floats("pred_original_sample", x0) is not backend or x0.shape != sample.shape:
            raise ValueError(
                f"pred_original_sample has shape {tuple(x0.shape)}; it must be an array like "
                f"sample, of shape {tuple(sample.shape)}."
            )
        i = self._locate(timestep)
        stage = self._stage(i)
        sigma_hat, noise = self._churned(stage, key)
        keep = stage.target.sigma / sigma_hat
        terms = [(keep, sample), (1.0 - keep, x0)]
        if keep * noise != 0.0:
            terms.append((keep * noise, backend.randn(sample, model_output.dtype, generator)))
        self._step_index = i + 1
        return backend.cast(backend.combine(terms, sample, dtype), model_output.dtype)


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
