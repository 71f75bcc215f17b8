"""Latent consistency models on rectified flows: to the data in one call, then noise again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..backend.arrays import Array, Backend, Generator, backend_of
from ..backend.errors import ParameterError
from ..facts import papers
from ..families.flow import ShiftedFlowScheduler
from ..interface import params as p
from ..interface.config import configured
from ..process.resizing import AXES
from ..rules.flow import FlowEuler


class FlowMatchLCMScheduler(ShiftedFlowScheduler):
    r"""Latent consistency model on a rectified flow: to the data in one call, then noise again.

        x0     = x - sigma out
        x_next = (1 - sigma_next) x0 + sigma_next z

    The model returns the slope ``out = eps - x0``. Levels are those of FlowMatchEulerDiscrete. The
    last step ends at x0. With ``scale_factors`` x0 is enlarged before noise is added, so that a run
    starts small and ends large.

    References:
        Luo, Tan, Huang, Li, Zhao 2023. Latent Consistency Models: Synthesizing High-Resolution
        Images with Few-Step Inference. arXiv 2310.04378, algorithm 3, on the path of Liu, Gong,
        Liu 2022. Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified
        Flow. arXiv 2209.03003. Growing samples: Starodubcev, Kuznedelev, Babenko, Baranchuk 2025.
        Scale-wise Distillation of Diffusion Models. arXiv 2503.16397.
    """

    title = "Flow match LCM"
    family = "Flow matching"
    good_for = "Rectified flows distilled to few steps, such as FLUX with an LCM adapter."
    reference = papers.LCM.at("Algorithm 3, on the path of a rectified flow (arXiv 2209.03003).")
    consistency = True
    lenient = True

    @configured
    def __init__(
        self,
        num_train_timesteps: p.NumTrainTimesteps = 1000,
        shift: p.FlowShift = 1.0,
        use_dynamic_shifting: p.UseDynamicShifting = False,
        base_shift: p.BaseShift = 0.5,
        max_shift: p.MaxShift = 1.15,
        base_image_seq_len: p.BaseImageSeqLen = 256,
        max_image_seq_len: p.MaxImageSeqLen = 4096,
        invert_sigmas: p.InvertSigmas = False,
        shift_terminal: p.ShiftTerminal = None,
        use_karras_sigmas: p.UseKarrasSigmas = False,
        use_exponential_sigmas: p.UseExponentialSigmas = False,
        use_beta_sigmas: p.UseBetaSigmas = False,
        time_shift_type: p.TimeShiftTypeFlow = "exponential",
        scale_factors: p.ScaleFactors = None,
        upscale_mode: p.UpscaleMode = "bicubic",
        compat: p.Compat = "diffusers",
        tensor_format: p.TensorFormat = None,
    ) -> None:
        """Parameters as in diffusers; see ``parameters()`` for ranges and effects."""
        self._take_factors(scale_factors, upscale_mode)
        self._begin_shifted(tensor_format)

    def _bind(self) -> None:
        self._bounds_x0 = self._grows  # what is read as the data is changed on its way
        super()._bind()

    def _make_rule(self) -> FlowEuler:
        swaps = self.follows("flow-inverted-noise")
        return FlowEuler(True, self._inverted, swaps, grows=self._grows)

    # --- samples that grow --------------------------------------------------------------------

    _scale_factors: tuple[float, ...]
    _upscale_mode: str | None
    #: Size of the sample behind batch and channels in the first step.
    _first_size: tuple[int, ...] = ()

    def _take_factors(self, scale_factors: Sequence[float] | None, mode: str | None) -> None:
        """How predictions are enlarged from here on."""
        self._scale_factors = () if scale_factors is None else tuple(map(float, scale_factors))
        self._upscale_mode = mode
        self._grows = bool(self._scale_factors) and mode is not None

    def set_scale_factors(
        self, scale_factors: Sequence[float] | None, upscale_mode: str | None = "bicubic"
    ) -> None:
        """Let samples grow from the next step on, or stop growing.

        Args:
            scale_factors: Height and width of the prediction of each step but the last, over those
                of the first sample; None or an empty list for none.
            upscale_mode: How predictions are interpolated; None for not at all.

        Raises:
            TypeError: A wrong type.
            ValueError: A factor out of range, or an unknown mode.
        """
        known = {entry.name: entry for entry in self.parameters()}
        factors = known["scale_factors"].check(scale_factors)
        self._take_factors(factors, known["upscale_mode"].check(upscale_mode))
        self._bind()

    def _begin_growth(self, model_output: Array) -> None:
        """Take the size of the first sample, and see that there is a factor for each step."""
        self._require_timesteps("step")
        backend_of(model_output, "model_output")
        factors, steps = self._scale_factors, len(self._grid.times)
        if len(factors) + 1 != steps:
            raise ParameterError(
                f"scale_factors={list(factors)} must be one fewer than the {steps} steps.",
                "scale_factors",
                "num_inference_steps",
            )
        axes = AXES[str(self._upscale_mode)]
        if len(model_output.shape) - 2 not in axes:
            raise ParameterError(
                f"upscale_mode={self._upscale_mode!r} wants (batch, channels) and "
                f"{' or '.join(map(str, axes))} more axes; model_output has shape "
                f"{tuple(model_output.shape)}.",
                "upscale_mode",
                "model_output",
            )
        if not self._first_size or self._step_index is None:
            self._first_size = tuple(model_output.shape[2:])

    def _size_at(self, i: int) -> tuple[int, ...] | None:
        """Size of the prediction of call ``i`` if it is changed."""
        if not self._grows or i >= len(self._scale_factors):
            return None
        factor = self._scale_factors[i]
        size = tuple(round(factor * length) for length in self._first_size)
        if 0 in size:
            raise ParameterError(
                f"scale_factors[{i}]={factor!r} leaves nothing of a sample of size "
                f"{self._first_size}.",
                "scale_factors",
            )
        return size

    def _bounded(self, backend: Backend, x0: Array) -> Array:
        size = None if self._step_index is None else self._size_at(self._step_index)
        return x0 if size is None else backend.resized(x0, size, str(self._upscale_mode))

    def _draw(
        self, backend: Backend, i: int, sample: Array, dtype: Any, generator: Generator
    ) -> Array:
        """Noise for what was enlarged, in float32 where the sample is narrower."""
        size = self._size_at(i)
        if size is not None:
            sample = backend.sized(sample, (*sample.shape[:2], *size))
        return backend.randn(sample, backend.compute_dtype(dtype), generator)

    def predict_x0(self, model_output: Array, timestep: Any, sample: Array) -> Array:
        """The clean sample that ``step`` would predict, enlarged as there.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample.

        Returns:
            Shape of the sample, or the size that the next one has.

        Raises:
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        if not self._grows:
            return super().predict_x0(model_output, timestep, sample)
        before = self._step_index, self._first_size
        try:
            self._heed()
            self._begin_growth(model_output)
            self._locate(timestep)
            return super().predict_x0(model_output, timestep, sample)
        finally:
            self._step_index, self._first_size = before

    # --- the step -----------------------------------------------------------------------------

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
            model_output: The flow ``eps - x0``, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: ``(1 - sigma) x0 + sigma eps``, any shape; with ``scale_factors`` (batch,
                channels, ...).
            generator: Source of noise, or a list with one for each sample.
            return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

        Returns:
            ``prev_sample`` and ``pred_original_sample``, in the dtype of the model output; with
            ``scale_factors`` in the size of the next call.

        Raises:
            TypeError: Arrays of different libraries, or a wrong type.
            ValueError: Before ``set_timesteps``, an integer timestep, shapes that do not match, or
                a number of ``scale_factors`` that does not fit the run.
        """
        self._refuse_integer(timestep)
        if self._grows:
            self._heed()
            self._begin_growth(model_output)
        return self._advance(
            model_output, timestep, sample, self._rule.defaults, generator, None, None, return_dict
        )

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Without factors nothing is interpolated."""
        unused = super()._inert(values)
        if values.get("scale_factors") is None or not len(values["scale_factors"]):
            unused["upscale_mode"] = "scale_factors are not given: no sample grows."
        return unused
