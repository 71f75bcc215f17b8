"""DDIM upward: from an image to the noise that DDIM would make it of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array
from .core.coefficients import Coefficients
from .core.level import Call, vp_level
from .facts import papers
from .interface import params as p
from .interface.config import configured
from .plan import StepKey
from .shelf import laid_out
from .trained import CountedVpScheduler


class DDIMInverseScheduler(CountedVpScheduler):
    r"""DDIM, each step taken backwards: ``timesteps`` ascend, and a run ends on noise.

        x_next = alpha_next x0 + sigma_next eps,   sigma_next above sigma

    A run starts from a clean image. Upstream tells the model the time that the step leads to, T //
    N above the one where the sample stands, because DDIM's step down uses the noise predicted
    there. ``compat="paper"`` integrates the same path from the cleanest trained level, and tells
    the model the time where the sample stands.

    References:
        Song, Meng, Ermon 2020. Denoising Diffusion Implicit Models. arXiv 2010.02502, sec. 4.3,
        eq. 14. Mokady, Hertz, Aberman, Pritch, Cohen-Or 2022. Null-text Inversion for Editing Real
        Images using Guided Diffusion Models. arXiv 2211.09794. Wallace, Gokul, Naik 2022. EDICT:
        Exact Diffusion Inversion via Coupled Transformations. arXiv 2211.12446 for its limits.
    """

    title = "DDIM inverse"
    family = "Variance preserving"
    good_for = "Finding the noise behind an image, to edit the image with it."
    reference = papers.DDIM.at(
        "Section 4.3; as inversion in Null-text Inversion, arXiv 2211.09794."
    )
    ascends = True
    _starts_clean = True
    _kept: ClassVar[tuple[str, ...]] = (*CountedVpScheduler._kept, "_stride", "_aims", "_starts")
    _compatibles = ()
    _aliases: ClassVar[Mapping[str, str]] = {"set_alpha_to_zero": "set_alpha_to_one"}

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        beta_start: p.BetaStart = 0.0001,
        beta_end: p.BetaEnd = 0.02,
        beta_schedule: p.BetaSchedule = "linear",
        trained_betas: p.TrainedBetas = None,
        clip_sample: p.ClipSample = True,
        set_alpha_to_one: p.SetAlphaToOneInverse = True,
        steps_offset: p.StepsOffset = 0,
        prediction_type: p.PredictionType = "epsilon",
        clip_sample_range: p.ClipSampleRange = 1.0,
        timestep_spacing: p.TimestepSpacing = "leading",
        rescale_betas_zero_snr: p.RescaleBetasZeroSnr = False,
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._make_table(tensor_format)
        initial = np.float32(1.0) if set_alpha_to_one else self._table[0]
        self._initial_abar = float(initial)
        self._publish("initial_alpha_cumprod", np.array(initial))
        self._fresh_grid()

    @laid_out
    def _fresh_grid(self) -> None:
        times = np.arange(self._train_steps, dtype=np.int64)
        self._install(times, np.append(self._rho_table[:1], self._rho_table), None)

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        """Lay out a run upwards.

        Args:
            num_inference_steps: Number of steps N, 1..num_train_timesteps.
            device: Where ``timesteps`` go (torch only).

        Raises:
            TypeError: ``num_inference_steps`` is not an integer.
            ValueError: It is out of range, or the noise schedule is undefined on the grid.
        """
        self._set_spaced(num_inference_steps, device)

    def _set_times(self, times: np.ndarray, n: int, device: Any) -> None:
        self._stride = self._train_steps // n
        upwards = times[::-1].copy()
        #: Training steps that the calls lead to, and those where they start; below 0 is the image.
        self._aims = tuple(upwards.tolist())
        if times[0] >= len(self._table):
            self._times, self._rhos = times.tolist(), ()
            self._check_visited()
        asked = np.append(0, upwards[:-1]) if self.compat == "paper" else upwards
        if self.compat == "paper":
            self._starts = (0, *self._aims[:-1])
        else:
            last = self._train_steps - 1
            self._starts = tuple(min(t - self._stride, last) for t in self._aims)
        visited = np.array((*self._starts, self._aims[-1]))
        power = self._table[np.maximum(visited, 0)].astype(np.float64)
        power[visited < 0] = self._initial_abar
        self._install(asked, (np.sqrt(1.0 - power) / np.sqrt(power)).astype(np.float32), n, device)

    def _make_stages(self) -> tuple[Call, ...]:
        stages = []
        for t, start, aim in zip(self._times, self._starts, self._aims, strict=False):
            here = self._here(start) if start >= 0 else vp_level(start, self._initial_abar)
            stages.append(Call(float(t), here, self._here(aim)))
        return tuple(stages)

    def _row(self, i: int, past: Sequence[Call], key: StepKey) -> Coefficients:
        target = past[0].target
        return Coefficients(x=(0.0,), x0=(target.alpha,), eps=(target.sigma,))

    def _rederives_eps(self, key: StepKey) -> bool:
        return False

    def step(
        self, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
    ) -> Any:
        """Take one step up.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The sample, at first a clean one; any shape.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` (the noisier one: the next of the run) and ``pred_original_sample``.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, shapes that do not match, or a timestep that is
                not in the schedule.
        """
        return self._advance(model_output, timestep, sample, return_dict=return_dict)
