"""Consistency models: one call leads to the data, and noise leads back to the next level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from . import papers
from . import params as p
from .arrays import Array, Generator, backend_of
from .checks import (
    MOST_SIGMA,
    check_number,
    check_one_way,
    check_real,
    check_steps,
    check_table,
    check_times,
    check_whole,
    refuse_integer,
)
from .config import configured
from .counted import CountedScheduler, Scaled
from .ddpm import DDPMScheduler
from .levels import Level, Stage, ve_level, vp_level
from .output import DenoisedOutput, NoisedOutput
from .plan import OUTPUT, SAMPLE, Plan, StepKey
from .prediction import Reading, inverse
from .rules.exponential import fresh_variance, posterior_variance
from .trained import VpScheduler
from .weights import Weights

#: What the network is told of a level: this times log sigma.
LOG_FACTOR = 250.0
#: Standard deviation of the data that latent consistency models assume.
SIGMA_DATA = 0.5
DEFAULT_ETA = 0.3


class CMStochasticIterativeScheduler(Scaled):
    r"""Multistep consistency sampling: to the data in one call, then noise up to the next level.

        x0     = clip(c_skip x + c_out F)
        x_next = x0 + s_noise sqrt(sigma_next^2 - sigma_min^2) z
        c_skip = sigma_data^2 / ((sigma - sigma_min)^2 + sigma_data^2)
        c_out  = (sigma - sigma_min) sigma_data / sqrt(sigma^2 + sigma_data^2)

    F is the network, sigma_data the deviation of the data; it is told ``250 log(sigma)`` of the
    level. x0 is x itself at sigma_min, which the model takes for the data: what is above it, of
    variance ``sigma^2 - sigma_min^2``, is the noise of a level here.

    References:
        Song, Dhariwal, Chen, Sutskever 2023. Consistency Models. arXiv 2303.01469, algorithm 1 and
        appendix C.
    """

    title = "Consistency model"
    family = "Consistency"
    good_for = "One or two calls of a consistency model; each further call refines."
    reference = papers.CONSISTENCY.at("Algorithm 1 and appendix C.")
    consistency = True
    bounds_steps: ClassVar[tuple[str, ...]] = ("num_train_timesteps",)
    _compatibles = ()
    _kept = ("_times", "_rhos", "num_inference_steps", "_alters", "custom_timesteps")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 40,
        sigma_min: p.VeSigmaMin = 0.002,
        sigma_max: p.VeSigmaMax = 80.0,
        sigma_data: p.SigmaData = 0.5,
        s_noise: p.SNoise = 1.0,
        rho: p.Rho = 7.0,
        clip_denoised: p.ClipDenoised = True,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        if sigma_min >= sigma_max:
            raise ValueError(f"sigma_min={sigma_min} must be below sigma_max={sigma_max}.")
        self._start(tensor_format)
        self.init_noise_sigma = sigma_max
        self.custom_timesteps = False
        self._lay_out(np.arange(num_train_timesteps), None, None)

    @property
    def _data_std(self) -> float:
        return float(self.config["sigma_data"])

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Lay out a run, from a number of steps or from training steps.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).
            timesteps: Places on the Karras schedule of ``num_train_timesteps`` levels, whole,
                strictly descending, 0 being the noisiest; they come out as times.

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: Both or neither given, out of range, or not descending.
        """
        check_one_way({"num_inference_steps": num_inference_steps, "timesteps": timesteps})
        train = int(self.config["num_train_timesteps"])
        if timesteps is None:
            n = check_steps(num_inference_steps, train)
            places = np.arange(n) * (train // n)
        else:
            places = check_times(timesteps, train, whole=True)[::-1]
        self.custom_timesteps = timesteps is not None
        self._lay_out(places, len(places), device)

    def _lay_out(self, places: np.ndarray, n: int | None, device: Any) -> None:
        config = self.config
        ramp = places / max(1, config["num_train_timesteps"] - 1)
        low, high = (float(config[name]) ** (1.0 / config["rho"]) for name in _ENDS)
        sigmas = (high + ramp * (low - high)) ** config["rho"]
        levels = np.append(sigmas, config["sigma_min"]).astype(np.float32)
        self._install(self.sigma_to_t(sigmas), levels, n, device)
        self._alters = bool(config["clip_denoised"])

    def sigma_to_t(self, sigmas: float | np.ndarray) -> np.ndarray:
        """What the network is told of noise levels, ``250 log sigma``."""
        levels = check_table("sigmas", sigmas, 0.0, MOST_SIGMA)
        return np.asarray(LOG_FACTOR * np.log(levels + 1e-44))

    def _make_stages(self) -> tuple[Stage, ...]:
        floor = float(np.float32(self.config["sigma_min"]))
        above = [math.sqrt(max(0.0, (rho - floor) * (rho + floor))) for rho in self._rhos]
        times = [*self._times, self._times[-1]]
        # At sigma_min nothing is left to remove; a model is still asked there.
        return tuple(
            Stage(t, ve_level(t, here or floor), ve_level(after, target))
            for t, after, here, target in zip(
                self._times, times[1:], above, above[1:], strict=False
            )
        )

    def get_scalings(self, sigma: Any) -> tuple[Any, Any]:
        """``(c_skip, c_out)`` of EDM at a noise level, a number or an array (Karras et al. 2022)."""
        sigma, data = check_real("sigma", sigma, 0.0, MOST_SIGMA), self._data_std
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total**0.5

    def get_scalings_for_boundary_condition(self, sigma: Any) -> tuple[Any, Any]:
        """``(c_skip, c_out)`` that make f the identity at sigma_min, for a number or an array."""
        sigma = check_real("sigma", sigma, 0.0, MOST_SIGMA)
        data, above = self._data_std, sigma - self.config["sigma_min"]
        return data**2 / (above**2 + data**2), above * data / (sigma**2 + data**2) ** 0.5

    def _reading(self, stage: Stage, key: StepKey) -> Reading:
        sigma = max(math.exp(stage.here.t / LOG_FACTOR), float(self.config["sigma_min"]))
        if math.isclose(sigma, self.config["sigma_min"], rel_tol=1e-9):
            return Reading(1.0, 0.0, 0.0, 0.0)
        c_skip, c_out = self.get_scalings_for_boundary_condition(sigma)
        s = stage.here.sigma
        return Reading(c_skip, c_out, (1.0 - c_skip) / s, -c_out / s)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``(x0 - c_skip x) / c_out``.

        At sigma_min, where f is the identity whatever the model returns: 0.
        """
        read = self._reading(self.stages[self._checked_position(i)], ())
        return super().output_weights(i) if read.x0_out else (0.0, 0.0)

    def _alter_x0(self, x0: Array) -> Array:
        return backend_of(x0, "model_output").clamp(x0, 1.0)

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        return Weights((0.0,), (1.0,), noise=self.config["s_noise"] * past[0].target.sigma)

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
            model_output: What the network F returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, the value of f.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or an integer index.
        """
        refuse_integer(timestep, type(self).__name__)
        self._require_timesteps("step")
        self._warn_unscaled()
        return self._advance(
            model_output, timestep, sample, generator, return_dict=return_dict
        )  # fmt: skip

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """A run of one step ends without noise."""
        if values.get("steps") != 1:
            return {}
        return {"s_noise": "a single step adds no noise.", "rho": "a single step is at sigma_max."}


_ENDS = ("sigma_min", "sigma_max")


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


class LCMScheduler(DistilledScheduler):
    r"""Latent consistency model: to the data in one call, then noise up to the next level.

        f      = c_skip x + c_out x0
        x_next = alpha_next f + sigma_next z
        c_skip = 1/4 / (b^2 + 1/4),   c_out = b / sqrt(b^2 + 1/4),   b = timestep_scaling t

    x0 is what the model predicts, clipped if asked; f, which is returned as
    ``pred_original_sample``, is x itself at t = 0. 1/4 is the variance of the data. The last step
    ends at f.

    References:
        Luo, Tan, Huang, Li, Zhao 2023. Latent Consistency Models: Synthesizing High-Resolution
        Images with Few-Step Inference. arXiv 2310.04378, section 4.
    """

    title = "LCM"
    family = "Consistency"
    good_for = "Latent consistency models and LCM-LoRA: 1 to 8 calls."
    reference = papers.LCM.at("Section 4 and algorithm 3.")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "scaled_linear",
        trained_betas: p.TrainedBetas = None,
        original_inference_steps: p.OriginalInferenceSteps = 50,
        clip_sample: p.ClipSample = False,
        clip_sample_range: p.ClipSampleRange = 1.0,
        set_alpha_to_one: p.SetAlphaToOne = True,
        steps_offset: p.StepsOffset = 0,
        prediction_type: p.PredictionType = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        timestep_scaling: p.TimestepScaling = 10.0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin(tensor_format)

    def get_scalings_for_boundary_condition_discrete(self, timestep: float) -> tuple[float, float]:
        """``(c_skip, c_out)`` that make f the identity at time 0."""
        timestep = check_real("timestep", timestep, 0.0, self._train_steps)
        return self._scalings(timestep)

    def _scalings(self, timestep: Any) -> tuple[Any, Any]:
        scaled = timestep * self.config["timestep_scaling"]
        total = scaled**2 + SIGMA_DATA**2
        return SIGMA_DATA**2 / total, scaled / total**0.5

    def _target(self, t: int, times: np.ndarray, i: int) -> Level:
        if i == self._sampled - 1:
            return Level(-1.0, 1.0, 0.0)
        # Where strength cuts custom times short, upstream does not notice the last step.
        return self._here(int(times[min(i + 1, len(times) - 1)]))

    def _reading(self, stage: Stage, key: StepKey) -> Reading:
        """Of f, or of what is clipped on the way to it."""
        return super()._reading(stage, key) if self._alters else self._reading_of_f(stage)

    def _reading_of_f(self, stage: Stage) -> Reading:
        raw = super()._reading(stage, ())
        c_skip, c_out = self._scalings(stage.t)
        return Reading(c_out * raw.x0_x + c_skip, c_out * raw.x0_out, raw.eps_x, raw.eps_out)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i`` for f to be x0: ``on_x * x + on_x0 * x0``."""
        stage = self.stages[self._checked_position(i)]
        return inverse(self._reading_of_f(stage), stage.here)

    def _bounded(self, x0: Array, sample: Array, stage: Stage) -> Array:
        c_skip, c_out = self._scalings(stage.t)
        backend = backend_of(x0, "model_output")
        return backend.combine([(c_out, self._alter_x0(x0)), (c_skip, sample)], x0, x0.dtype)

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        target = past[0].target
        return Weights((0.0,), (target.alpha,), noise=target.sigma)

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
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``alpha x0 + sigma eps``, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, denoised)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, which is also called ``denoised``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        prev, x0 = self._advance(model_output, timestep, sample, generator, return_dict=False)
        return DenoisedOutput(prev, x0, x0) if return_dict else (prev, x0)


class TCDScheduler(DistilledScheduler):
    r"""Trajectory consistency distillation: down to a level s beyond the next, and back up.

        x_s    = alpha_s x0 + sigma_s eps,   t_s = floor((1 - eta) t_next)
        x_next = r x_s + sqrt(1 - r^2) z,    r = alpha_next / alpha_s

    ``alpha_s`` and ``sigma_s`` are those of training step t_s: eta = 0 leads straight to the next
    level, eta = 1 all the way to the data and back. The last step ends at the first training
    level. Nothing is ever clipped.

    References:
        Zheng, Hu, Fan, Wang, Ding, Tao, Cham 2024. Trajectory Consistency Distillation.
        arXiv 2402.19159, algorithm 4 (strategic stochastic sampling; eta is its gamma).
    """

    title = "TCD"
    family = "Consistency"
    good_for = "Models distilled by TCD: 2 to 20 calls, with a dial for randomness."
    reference = papers.TCD.at("Algorithm 4.")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.00085,
        beta_end: p.BetaEnd = 0.012,
        beta_schedule: p.BetaSchedule = "scaled_linear",
        trained_betas: p.TrainedBetas = None,
        original_inference_steps: p.OriginalInferenceSteps = 50,
        clip_sample: p.ClipSample = False,
        clip_sample_range: p.ClipSampleRange = 1.0,
        set_alpha_to_one: p.SetAlphaToOne = True,
        steps_offset: p.StepsOffset = 0,
        prediction_type: p.PredictionType = "epsilon",
        thresholding: p.Thresholding = False,
        dynamic_thresholding_ratio: p.DynamicThresholdingRatio = 0.995,
        sample_max_value: p.SampleMaxValue = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        timestep_scaling: p.TimestepScaling = 10.0,
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._begin(tensor_format)

    def _origin(self, original: int, strength: float, given: bool) -> np.ndarray:
        """As for the base; every training step where set_timesteps is told the solver's steps."""
        if given:
            return np.arange(int(self._train_steps * strength))
        return super()._origin(original, strength, given)

    def _install(self, *args: Any) -> None:
        super()._install(*args)
        self._alters = False

    def _get_variance(self, timestep: int, prev_timestep: int) -> float:
        """Posterior variance between two training steps; below 0 is the final level."""
        here, before = self._pair_of_times(timestep, prev_timestep)
        final = self._abar(before) if before >= 0 else self._final_abar
        return posterior_variance(self._here(here), vp_level(0.0, final))

    def _target(self, t: int, times: np.ndarray, i: int) -> Level:
        return self._here(int(times[i + 1]) if i + 1 < len(times) else 0)

    def _default_key(self) -> StepKey:
        return (DEFAULT_ETA,)

    def _key(self, settings: Mapping[str, Any]) -> StepKey:
        return (settings.get("eta", DEFAULT_ETA),)

    def _below(self, target: Level, eta: float) -> Level:
        """The level s; a product in float32, as upstream floors it."""
        return self._here(int(np.floor(np.float32(1.0 - eta) * np.float32(target.t))))

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        target = past[0].target
        below = self._below(target, *key)
        back = target.alpha / below.alpha if below.alpha else 1.0
        noise = math.sqrt(fresh_variance(target, below))
        return Weights((0.0,), (back * below.alpha,), (back * below.sigma,), noise)

    def _plan(self, i: int, past: Sequence[Stage], key: StepKey) -> Plan:
        stage = past[0]
        read, below = self._reading(stage, ()), self._below(stage.target, *key)
        on_x = below.alpha * read.x0_x + below.sigma * read.eps_x
        on_out = below.alpha * read.x0_out + below.sigma * read.eps_out
        return replace(super()._plan(i, past, key), aside=((on_x, SAMPLE), (on_out, OUTPUT)))

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        eta: p.EtaTcd = DEFAULT_ETA,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """Take one step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``alpha x0 + sigma eps``, any shape.
            eta: The paper's gamma, 0 (deterministic) to 1 (by way of the data).
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_noised_sample)``.

        Returns:
            ``prev_sample``, ``pred_original_sample`` and ``pred_noised_sample``, the sample at s.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or eta out of range.
        """
        if type(eta) is not float or eta != DEFAULT_ETA:
            eta = self._check_step("eta", eta)
        prev, x0 = self._advance(
            model_output, timestep, sample, generator, key=(eta,), return_dict=False
        )
        terms = self._plans[(self._step_index or 1) - 1, 0, (eta,)].aside
        backend, dtype = backend_of(sample, "sample"), prev.dtype
        noised = backend.weigh(terms, (sample, model_output), backend.compute_dtype(dtype))
        noised = backend.cast(noised, dtype)
        return NoisedOutput(prev, x0, noised) if return_dict else (prev, noised)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """No clipping, no consistency function."""
        names = (
            "clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio",
            "sample_max_value",
        )  # fmt: skip
        never = dict.fromkeys(names, "this class never clips, as in diffusers.")
        scaling = {"timestep_scaling": "the prediction is taken as it is."}
        last = {"eta": "a single step adds no noise."} if values.get("steps") == 1 else {}
        return super()._inert(values) | never | scaling | last
