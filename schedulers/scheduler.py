"""The facade: memory, and the one step that every scheduler shares."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from .backend.arrays import Array, Generator, backend_of, check_generator
from .backend.output import StepOutput
from .core.exports import Absent
from .core.level import Call, Level
from .core.scheduler import KarrasDiffusionSchedulers
from .core.scheduler import Scheduler as Core
from .facts.papers import Reference
from .forward import Noising
from .plan import DATA, ITSELF, Evaluation, StepKey
from .rows import Weighing


class Scheduler(Weighing, Noising, Core):
    """A grid of noise levels, a rule for its rows of weights, and a memory.

    Subclasses say where the levels are (``_make_stages``) and what a step weighs (``_row``).
    Everything array-like happens in ``_advance``.
    """

    title: ClassVar[str]
    reference: ClassVar[Reference]
    family: ClassVar[str] = ""
    #: What one would choose it for, in a line.
    good_for: ClassVar[str] = ""
    call_form: ClassVar[Literal["step", "karras_ve", "score_sde", "adaptive"]] = "step"
    #: Whether some weights follow from norms of the arrays, so that rows hold what they are on
    #: average (Langevin steps).
    weighs_by_norms: ClassVar[bool] = False
    #: Whether it was made for models that lead to the data in one call.
    consistency: ClassVar[bool] = False
    #: Whether ``from diffusers import`` finds a class of this name.
    in_diffusers: ClassVar[bool] = True
    #: Parameters of the constructor of which none may be below the number of steps.
    bounds_steps: ClassVar[tuple[str, ...]] = ()

    #: Whether a run goes from a clean sample up to noise.
    ascends: ClassVar[bool] = False
    #: What is remembered of an evaluation: any of "x", "x0", "eps", and "landed", the sample that
    #: its step returned.
    _keeps: frozenset[str] = frozenset()
    #: Whether prev_sample takes the dtype of the model output (True) or the wider of the two.
    _follows_model_dtype: ClassVar[bool] = False
    #: Whether noise is drawn in float32 whatever the model returns.
    _noise_in_float32: ClassVar[bool] = False

    #: Standard deviation of the initial noise that a run starts from.
    init_noise_sigma: Any = 1.0

    def scale_model_input(self, sample: Array, timestep: Any = None) -> Array:
        """The sample as the model wants it; classes on alpha = 1 scale by 1/sqrt(1 + sigma^2).

        Args:
            sample: The noisy sample, any shape.
            timestep: The current entry of ``timesteps``.

        Returns:
            Same shape and dtype.
        """
        del timestep
        return sample

    def _advance(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        generator: Generator = None,
        noise: Array = None,
        spread: Array = None,
        key: StepKey = (),
        return_dict: bool = True,
    ) -> Any:
        """One step: read the output, look up the row, combine, remember, advance.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample.
            generator: Source of noise, or a list with one for each sample.
            noise: Noise to use instead of drawing it.
            spread: Standard deviation of the noise for each entry, instead of the row's.
            key: Step arguments that the rule depends on.
            return_dict: Whether to return an object or a tuple.
        """
        if self.num_inference_steps is None:
            self._require_timesteps("step")
        backend = backend_of(sample, "sample")
        wide = self._check_pair(model_output, sample, backend)
        i, plan = self._current_plan(timestep, key)
        dtype = backend.compute_dtype(wide)
        memory = self._memory
        if noise is not None:
            self._check_noise(noise, sample, backend)
        if generator is not None:
            check_generator(generator)

        if plan.draws:
            if noise is None:
                drawn = backend.float32 if self._noise_in_float32 else model_output.dtype
                noise = self._draw(backend, i, sample, drawn, generator)
            if spread is not None:
                noise = noise * spread
        arrays = [sample, model_output, None, noise]
        arrays[DATA] = x0 = backend.weigh(plan.x0, arrays, dtype)
        if self._alters:
            arrays[DATA] = x0 = self._bounded(x0, sample, plan.stage)
        for ago, place in plan.older:
            arrays.append(memory[ago][place])
        prev_sample = backend.weigh(plan.prev, arrays, dtype)
        if memory.maxlen:
            keeps = self._keeps
            memory.appendleft(
                Evaluation(
                    plan.stage,
                    sample if "x" in keeps else None,
                    x0 if "x0" in keeps else None,
                    backend.weigh(plan.eps, arrays, dtype) if "eps" in keeps else None,
                    # A copy: the caller may write into what is returned.
                    backend.weigh(ITSELF, (prev_sample,), dtype) if "landed" in keeps else None,
                )
            )
        self._step_index = None if self._stateless else i + 1
        result = model_output.dtype if self._follows_model_dtype else wide
        if dtype is not result:
            prev_sample, x0 = backend.cast(prev_sample, result), backend.cast(x0, result)
        return StepOutput(prev_sample, x0) if return_dict else (prev_sample, x0)

    def _draw(
        self, backend: Any, i: int, sample: Array, dtype: Any, generator: Generator
    ) -> Array:
        """Unit noise for call i; fresh, and of its own, for most classes."""
        del i
        return backend.randn(sample, dtype, generator)

    @staticmethod
    def _check_noise(noise: Array, sample: Array, backend: Any) -> None:
        """Refuse noise that does not fit the sample."""
        if (
            backend_of(noise, "variance_noise") is not backend
            or noise.shape != sample.shape
            or not backend.is_floating(noise.dtype)
        ):
            raise ValueError(
                f"variance_noise ({noise.dtype}) has shape {tuple(noise.shape)}; it must be an "
                f"array like sample, of shape {tuple(sample.shape)}."
            )

    def _check_pair(
        self,
        model_output: Array,
        sample: Array,
        backend: Any,
        names: tuple[str, str] = ("model_output", "sample"),
    ) -> Any:
        """Refuse arrays that do not belong together; the wider of their dtypes."""
        dtype = sample.dtype
        if (
            type(model_output) is type(sample)
            and model_output.dtype is dtype
            and model_output.shape == sample.shape
            and backend.is_floating(dtype)
        ):
            return dtype
        output_name, sample_name = names
        if type(model_output) is not type(sample) and (
            backend_of(model_output, output_name) is not backend
        ):
            raise TypeError(
                f"{output_name} is a {type(model_output).__name__} and {sample_name} a "
                f"{type(sample).__name__}; pass two arrays of the same library."
            )
        if model_output.shape != sample.shape:
            raise ValueError(
                f"{output_name} has shape {tuple(model_output.shape)}, but {sample_name} has "
                f"shape {tuple(sample.shape)}; they must be equal."
            )
        if not (backend.is_floating(dtype) and backend.is_floating(model_output.dtype)):
            raise TypeError(
                f"{sample_name} ({dtype}) and {output_name} ({model_output.dtype}) must hold "
                "floating point numbers."
            )
        return backend.promote(sample, model_output)

    def _prediction_in(self, model_output: Array, sample: Array) -> Array:
        """The part of a model output that predicts the sample; the rest may be a variance."""
        del sample
        return model_output

    def predict_x0(self, model_output: Array, timestep: Any, sample: Array) -> Array:
        """The clean sample that ``step`` with default arguments would predict, without a step.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample.

        Returns:
            Shape of the sample; clipped or thresholded as in ``step``.

        Raises:
            ValueError: Before ``set_timesteps``, or shapes that do not match.
        """
        self._require_timesteps("predict_x0")
        backend = backend_of(sample, "sample")
        model_output = self._prediction_in(model_output, sample)
        wide = self._check_pair(model_output, sample, backend)
        before = self._step_index
        _, plan = self._current_plan(timestep, self._default_key())
        self._step_index = before
        x0 = backend.weigh(plan.x0, (sample, model_output), backend.compute_dtype(wide))
        if self._alters:
            x0 = self._bounded(x0, sample, plan.stage)
        return backend.cast(x0, wide)

    __copy__ = None  # type: ignore[assignment]
    step_index = begin_index = set_begin_index = Absent()  # type: ignore[assignment]

    def __len__(self) -> int:
        """Number of training steps."""
        return int(self.config["num_train_timesteps"])


#: The name that diffusers has for the base of all classes.
SchedulerMixin = Scheduler

__all__ = ["KarrasDiffusionSchedulers", "Level", "Scheduler", "Call"]
