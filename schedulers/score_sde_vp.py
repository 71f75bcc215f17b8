"""The variance-preserving score SDE, in continuous time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .backend.arrays import Array, Generator
from .backend.checks import check_steps, shown
from .backend.output import SdeOutput
from .core.coefficients import Coefficients
from .core.level import Call, Level
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .process import spacing
from .process.tables import linspace32
from .rules.exponential import posterior_row, posterior_std
from .score_sde import ScoreSdeScheduler


class ScoreSdeVpScheduler(ScoreSdeScheduler):
    r"""The variance-preserving SDE in continuous time, t from 1 down to ``sampling_eps``.

        x_next  = (1 + beta / (2 N)) x - beta / (N sigma) out + sqrt(beta / N) z
        beta    = beta_min + t (beta_max - beta_min)
        alpha   = exp(-t^2 (beta_max - beta_min) / 4 - t beta_min / 2),   sigma = sqrt(1 - alpha^2)

    A step of Euler-Maruyama in t. What the model returns, ``-sigma score``, is the noise eps.
    Upstream takes dt = 1/N whatever the distance between its times; ``compat="paper"`` samples the
    reverse transition exactly, from one level to the next and, at last, to the clean end
    (ancestral sampling).

    References:
        Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole 2020. Score-Based Generative Modeling
        through Stochastic Differential Equations. arXiv 2011.13456, eq. 11, 33 and appendix F.
    """

    title = "Score SDE VP"
    family = "Score SDE"
    in_diffusers = False
    good_for = (
        "The reverse SDE of a variance-preserving process; a thousand steps, fewer by the paper."
    )
    reference = papers.SCORE_SDE.at("Equations 11 and 33, appendix F.")
    _compatibles = ()
    _kept = ("_times", "_rhos", "num_inference_steps")

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 2000,
        beta_min: p.BetaMin = 0.1,
        beta_max: p.BetaMax = 20,
        sampling_eps: p.SamplingEps = 1e-3,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        if beta_min > beta_max:
            raise ValueError(f"beta_min={beta_min} must not be above beta_max={beta_max}.")
        self._start(tensor_format)
        self.sigmas = self.timesteps = self.discrete_sigmas = None

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run of N >= 1 steps, at even times.

        Args:
            num_inference_steps: Number of steps N.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is below 1, or the last time is too early for any noise.
        """
        n = check_steps(num_inference_steps, None)
        times = linspace32(1.0, self.config["sampling_eps"], n)
        alphas, sigmas = self._process(times.astype(np.float64))
        if sigmas[-1] == 0.0:
            raise ValueError(
                f"sampling_eps={self.config['sampling_eps']!r} is a time without noise: choose a "
                "larger one."
            )
        self._install(times, spacing.ended(sigmas / alphas, 0.0), n, device)

    def _process(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The alpha and sigma of times; rounded to float32 as upstream, whose sigma shows it."""
        low, high = float(self.config["beta_min"]), float(self.config["beta_max"])
        if self.compat == "paper":
            log = -0.25 * t**2 * (high - low) - 0.5 * t * low
            return np.exp(log), np.sqrt(-np.expm1(2.0 * log))
        f, t = np.float32, t.astype(np.float32)
        log = f(-0.25) * (t * t) * f(high - low) - f(0.5) * t * f(low)
        power = np.exp(2.0 * log.astype(np.float64)).astype(f).astype(np.float64)
        return np.sqrt(power), np.sqrt(1.0 - power)

    def _make_stages(self) -> tuple[Call, ...]:
        parts = (part.tolist() for part in self._process(np.array(self._times)))
        levels = [*map(Level, self._times, *parts), Level(0.0, 1.0, 0.0)]
        return tuple(Call(a.t, a, b) for a, b in itertools.pairwise(levels))

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        here, target = past[0].here, past[0].target
        if self.compat == "paper":
            return posterior_row(here, target, posterior_std(here, target))
        low, high = self.config["beta_min"], self.config["beta_max"]
        each = (low + here.t * (high - low)) / len(self._times)
        return Coefficients(
            x=(1.0 + 0.5 * each,), eps=(-each / here.sigma,), noise=math.sqrt(each)
        )

    def _off_schedule(self, value: float) -> int:
        raise ValueError(
            f"timestep={shown(value)} (t) is not one of scheduler.timesteps: loop over them."
        )

    def step_pred(self, score: Array, x: Array, t: Any, generator: Generator = None) -> SdeOutput:
        """Predict: a step of the reverse SDE.

        Args:
            score: What the model returned, the noise ``-sigma score``; shape of the sample.
            x: The noisy sample ``alpha x0 + sigma eps``, any shape.
            t: The current entry of ``timesteps``, or a batch of it.
            generator: Source of noise, or a list with one for each sample.

        Returns:
            ``prev_sample``, ``prev_sample_mean`` (without the noise: take it at the end of a run)
            and ``pred_original_sample``; ``x, x_mean = out`` unpacks it too.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or another time.
        """
        return self._predict(score, self._single("t", t), x, generator, ("score", "x"))

    def step(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> Any:
        """``step_pred`` in the form of the other classes.

        Args:
            model_output: What the model returned, the noise; shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample, any shape.
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample``, ``prev_sample_mean`` and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or another time.
        """
        result = self._predict(model_output, timestep, sample, generator)
        return result if return_dict else (result.prev_sample, result.pred_original_sample)

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levels of any times in [0, 1]."""
        if times.min() < 0.0 or times.max() > 1.0:
            raise ValueError(f"timesteps={times.tolist()!r} must lie in [0, 1].")
        return self._process(times)

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """The process is continuous."""
        del values
        return {"num_train_timesteps": "the process is continuous: any number of steps fits."}
