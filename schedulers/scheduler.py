"""The facade: grid, memory, and the one step that every scheduler shares."""

from __future__ import annotations

import enum
import functools
import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from . import prediction, spacing
from .arrays import (
    Array,
    Generator,
    backend_of,
    check_generator,
    host_values,
    torch_backend,
    torch_is_installed,
    view_position,
)
from .card import model_card
from .checks import (
    CURVES,
    MOST_STEPS,
    check_batch_times,
    check_floats,
    check_numbers,
    check_table,
    check_whole,
    shown,
)
from .config import ConfigMixin
from .levels import Level, Stage, ve_level
from .output import StepOutput
from .papers import Reference
from .shelf import Grid, Shelf, laid_out, shelf_for
from .tables import TrainingTable
from .weights import Weights


class KarrasDiffusionSchedulers(enum.Enum):
    """Schedulers that can stand in for each other in a pipeline, as in diffusers."""

    DDIMScheduler = 1
    DDPMScheduler = 2
    PNDMScheduler = 3
    LMSDiscreteScheduler = 4
    EulerDiscreteScheduler = 5
    HeunDiscreteScheduler = 6
    EulerAncestralDiscreteScheduler = 7
    DPMSolverMultistepScheduler = 8
    DPMSolverSinglestepScheduler = 9
    KDPM2DiscreteScheduler = 10
    KDPM2AncestralDiscreteScheduler = 11
    DEISMultistepScheduler = 12
    UniPCMultistepScheduler = 13
    DPMSolverSDEScheduler = 14
    EDMEulerScheduler = 15


#: Plans kept of one grid; only step arguments that change all the time reach it.
MOST_PLANS = 4096
#: Where a term of a plan finds its array: in this call, then in what is remembered.
SAMPLE, OUTPUT, DATA, NOISE, OLDER = range(5)
Term = tuple[float, int]
#: The terms of a copy.
ITSELF: tuple[Term, ...] = ((1.0, 0),)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a step multiplies, prepared on the host; terms of weight 0 are left out.

    Attributes:
        stage: The call.
        x0: The data prediction, out of sample, output and noise.
        prev: The next sample, out of everything at hand.
        eps: The noise prediction that is kept, out of sample, output and data prediction.
        older: What is wanted of the memory: which evaluation, and which of its arrays.
        draws: Whether fresh noise is needed.
        aside: What a class returns besides, out of sample and output.
    """

    stage: Stage
    x0: tuple[Term, ...]
    prev: tuple[Term, ...]
    eps: tuple[Term, ...]
    older: tuple[tuple[int, int], ...]
    draws: bool
    aside: tuple[Term, ...] = ()


def _terms(weights: Iterable[float]) -> tuple[Term, ...]:
    """Weights with their positions, one of weight 1 in front: its multiplication is saved."""
    terms = [(weight, source) for source, weight in enumerate(weights) if weight != 0.0]
    return tuple(sorted(terms, key=lambda term: term[0] != 1.0))


class Evaluation(NamedTuple):
    """What is remembered of a model call: only what the rule will look at again."""

    stage: Stage
    x: Array = None
    x0: Array = None
    eps: Array = None
    landed: Array = None


#: The arrays of an evaluation, by their places in it.
X, X0, EPS, LANDED = range(1, 5)


StepKey = tuple[Any, ...]


class Scheduler(ConfigMixin):
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
    #: Model calls per step, which pipelines multiply indices with.
    order: int = 1

    #: Whether a run goes from a clean sample up to noise.
    ascends: ClassVar[bool] = False
    #: Whether every call finds its position by its timestep (True), or by counting (False).
    _stateless: ClassVar[bool] = False
    #: How many evaluations, the present one included, a row may look at.
    _depth: int = 1
    #: What is remembered of an evaluation: any of "x", "x0", "eps", and "landed", the sample that
    #: its step returned.
    _keeps: frozenset[str] = frozenset()
    #: Whether prev_sample takes the dtype of the model output (True) or the wider of the two.
    _follows_model_dtype: ClassVar[bool] = False
    #: Whether noise is drawn in float32 whatever the model returns.
    _noise_in_float32: ClassVar[bool] = False

    #: Every attribute that ``set_timesteps`` sets, where the grid follows from config and arguments
    #: alone: equal objects then share it. None where it depends on more.
    _kept: ClassVar[tuple[str, ...] | None] = None

    #: Whether noise is drawn in every step, also where it weighs nothing, as upstream.
    draws_idly: bool = False

    sigmas: Array
    _timesteps: Any
    _own_timesteps: Any
    num_inference_steps: int | None
    _times: Sequence[float] = ()
    _rhos: Sequence[float]
    _positions: dict[float, int] | None
    _plans: dict[tuple[Any, ...], Plan]
    _memory: deque[Evaluation]
    _step_index: int | None
    _begin_index: int | None
    #: Standard deviation of the initial noise that a run starts from.
    init_noise_sigma: Any = 1.0

    def __init_subclass__(cls) -> None:
        """Make ``set_timesteps`` of every class all or nothing, and its grids shared."""
        super().__init_subclass__()
        if "set_timesteps" in cls.__dict__:
            cls.set_timesteps = laid_out(cls.__dict__["set_timesteps"])  # type: ignore[attr-defined]

    # --- construction -------------------------------------------------------------------------

    def _start(self, tensor_format: str | None) -> None:
        """State common to all classes; the table is made after this, then the grid."""
        if tensor_format is None:
            tensor_format = "pt" if torch_is_installed() else "np"
        self._check_format(tensor_format)
        self.tensor_format = tensor_format
        self.num_inference_steps = None
        self._published: dict[str, tuple[np.ndarray, Any]] = {}
        self._timesteps = self._own_timesteps = None
        self._stages: tuple[Stage, ...] | None = None
        self._forget()

    @staticmethod
    def _check_format(tensor_format: object) -> None:
        if not isinstance(tensor_format, str) or tensor_format not in ("pt", "np"):
            raise ValueError(f"tensor_format={shown(tensor_format)} must be 'pt' or 'np'.")

    @property
    def compat(self) -> str:
        """Whom to follow where the two differ: "diffusers" or the "paper"."""
        return str(self._setting("compat") or "diffusers")

    def set_format(self, tensor_format: Literal["pt", "np"] = "pt") -> Scheduler:
        """Switch ``timesteps`` and ``sigmas`` to torch tensors ("pt") or NumPy arrays ("np").

        ``step`` takes arrays of either kind, whatever the format.

        Returns:
            The scheduler itself.

        Raises:
            ValueError: Another format.
        """
        self._check_format(tensor_format)
        if tensor_format != self.tensor_format:
            self.tensor_format = tensor_format
            for name in self._published:
                self.__dict__.pop(name, None)
            own, assigned = self._own_timesteps, self._timesteps
            self._timesteps = self._own_timesteps = None
            if assigned is not own:
                self._timesteps = self._in_format(host_values(assigned))
        return self

    def _publish(self, name: str, array: np.ndarray, device: Any = None) -> None:
        """Give a host array a public name; it is shown in the format of ``tensor_format``."""
        array.setflags(write=False)
        if device is not None and self.tensor_format == "pt":
            torch_backend().check_device(device)
        self._published[name] = (array, device)
        if name == "timesteps":
            self._timesteps = self._own_timesteps = None
        else:
            self.__dict__.pop(name, None)

    def _in_format(self, array: np.ndarray, device: Any = None) -> Array:
        """A copy of a host array in the format of ``tensor_format``."""
        if self.tensor_format == "np":
            return array.copy()
        return torch_backend().tensor(array, device)

    def __getattr__(self, name: str) -> Any:
        """A published array, made when it is first looked at; else a config key."""
        published = self.__dict__.get("_published", {})
        if name not in published:
            return super().__getattr__(name)
        value = self.__dict__[name] = self._in_format(*published[name])
        return value

    @property
    def timesteps(self) -> Array:
        """The times at which the model is asked, in the order of the calls."""
        if self._timesteps is None and "timesteps" in self._published:
            own = self._in_format(*self._published["timesteps"])
            self._timesteps = self._own_timesteps = own
        return self._timesteps

    @timesteps.setter
    def timesteps(self, values: Array) -> None:
        # Callers of diffusers cut the schedule short by assignment.
        self._timesteps = values
        if values is not None:
            self._times = tuple(host_values(values).astype(np.float64).tolist())
            self._positions = None
            if self._stateless:
                self._stages = None
                self._plans = {}

    @staticmethod
    def match_shape(values: Array, broadcast_array: Array) -> Array:
        """Give ``values`` trailing axes so that they broadcast against ``broadcast_array``.

        Args:
            values: Shape (batch,) or a scalar; list, array or tensor.
            broadcast_array: Array of shape (batch, ...); its kind and device are taken.

        Returns:
            Shape (batch, 1, ..., 1).
        """
        backend = check_floats("broadcast_array", broadcast_array)
        return backend.broadcast(check_numbers("values", values), broadcast_array)

    # --- the grid -----------------------------------------------------------------------------

    def _install(
        self,
        times: np.ndarray,
        sigmas: np.ndarray,
        n: int | None,
        device: Any = None,
    ) -> None:
        """Take over a new grid and forget everything of the old one.

        Args:
            times: One entry a model call, in the dtype that ``timesteps`` is to have.
            sigmas: sigma / alpha of each level, the final one included.
            n: Number of inference steps; None for the grid a fresh object shows.
            device: Where ``timesteps`` go.
        """
        self._publish("timesteps", times, device)
        self._publish("sigmas", sigmas)
        self._times = tuple(times.tolist())
        self._rhos = tuple(sigmas.tolist())
        self.num_inference_steps = n
        self._forget()
        #: Whether the data prediction is clipped or thresholded.
        self._alters = bool(self._setting("thresholding") or self._setting("clip_sample"))
        if n is not None:
            self._check_visited()

    def _shelf(self) -> Shelf | None:
        """Where the grids of equal objects are."""
        held: tuple[Any, Shelf | None] | None = self.__dict__.get("_shelf_of")
        if held is None or held[0] is not self._config:
            shelf = shelf_for(type(self), self._made_with, self._config)
            held = self._shelf_of = (self._config, shelf)
        return held[1]

    def _beside_config(self) -> tuple[Any, ...]:
        """What a grid follows from beside config and arguments."""
        return ()

    def _take_over(self, grid: Grid) -> None:
        """Stand where laying this grid out would have led."""
        for name in grid.published:
            self.__dict__.pop(name, None)
        self._published.update(grid.published)
        self._timesteps = self._own_timesteps = None
        self.__dict__.update(grid.attributes)
        self._forget()

    def _forget(self) -> None:
        self._positions = None
        self._stages = None
        self._plans = {}
        self._memory = deque((), self._depth - 1)
        self._step_index = None
        self._begin_index = None

    def _check_visited(self) -> None:
        """Refuse a grid with levels at which the process is not defined."""

    def _make_stages(self) -> tuple[Stage, ...]:
        raise AttributeError("a scheduler class must say which levels its calls visit")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One Stage for each model call of a run from the start; their number is the NFE.

        Raises:
            ValueError: Before ``set_timesteps``.
        """
        self._require_timesteps("stages")
        if self._stages is None:
            self._stages = self._make_stages()
        return self._stages

    def _require_timesteps(self, what: str) -> None:
        if self.num_inference_steps is None:
            raise ValueError(
                f"num_inference_steps is not set: call set_timesteps(num_inference_steps) before "
                f"{what}."
            )

    @property
    def training(self) -> TrainingTable | None:
        """The discrete process of training, if the class has one."""
        return None

    @property
    def prediction_type(self) -> str:
        """What the model is expected to return."""
        return str(self._setting("prediction_type") or "epsilon")

    # --- rows ---------------------------------------------------------------------------------

    def _row(self, i: int, past: Sequence[Stage], key: StepKey) -> Weights:
        """The weights of a call.

        Args:
            i: Position of the call in ``stages``.
            past: Stages of the evaluations at hand, newest (this call) first.
            key: Step arguments that the rule depends on, in the class's own order.
        """
        raise AttributeError("a scheduler class must say what a step weighs")

    def _default_key(self) -> StepKey:
        """The step key for default step arguments."""
        return ()

    def _key(self, settings: Mapping[str, Any]) -> StepKey:
        """The step key for given step arguments."""
        del settings
        return self._default_key()

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps."""
        steps = check_whole("steps", steps, 1, MOST_STEPS)
        return 2 * steps - 1 if self.order == 2 else steps

    def row(self, i: int, settings: Mapping[str, Any] | None = None) -> Weights:
        """The weights of call ``i`` in a run that started at 0.

        Args:
            i: Position, 0 to ``len(stages) - 1``.
            settings: Step arguments (eta, s_churn, ...) that differ from their defaults.

        Returns:
            The row; see ``Weights``.

        Raises:
            ValueError: Before ``set_timesteps``, or i out of range.
        """
        settings = self._checked_settings(settings)
        i = self._checked_position(i)
        key = self._default_key() if settings is None else self._key(settings)
        return self._row(i, self._past(i, settings), key)

    def _checked_position(self, i: Any) -> int:
        """A position in ``stages``."""
        return check_whole("i", i, 0, len(self.stages) - 1)

    def _checked_settings(self, settings: Any) -> Mapping[str, Any] | None:
        """Step arguments, checked against their descriptions."""
        if settings is None:
            return None
        if not isinstance(settings, Mapping):
            raise TypeError(f"settings={shown(settings)} must be a mapping of step arguments.")
        described = {p.name: p for p in self.parameters() if p.call == "step"}
        unknown = [name for name in settings if name not in described]
        if unknown:
            raise ValueError(
                f"settings={shown(settings)}: step has no argument {unknown[0]!r} to choose; it "
                f"has {', '.join(described) or 'none'}."
            )
        return {name: described[name].check(value) for name, value in settings.items()}

    def _past(self, i: int, settings: Mapping[str, Any] | None) -> tuple[Stage, ...]:
        """Stages that call ``i`` of a run from 0 looks at, newest first."""
        return tuple(reversed(self.stages[max(0, i - self._reach(settings) + 1) : i + 1]))

    @property
    def rejected(self) -> frozenset[int]:
        """Calls of steps that were tried and not taken; only an adaptive class has any."""
        return frozenset()

    def _reach(self, settings: Mapping[str, Any] | None) -> int:
        del settings
        return self._depth

    def effective_order(self, i: int, settings: Mapping[str, Any] | None = None) -> int:
        """How many predictions the row of call ``i`` combines."""
        row = self.row(i, settings)
        return max(len([w for w in weights if w != 0.0]) for weights in (row.x0, row.eps, (1.0,)))

    def _reading(self, stage: Stage, key: StepKey) -> prediction.Reading:
        """How to read the model output at a stage."""
        del key
        return prediction.reading(self.prediction_type, stage.here)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``out = on_x * x + on_x0 * x0``.

        ``x`` is the unscaled sample. This undoes exactly what ``step`` does with the output.
        """
        stage = self.stages[self._checked_position(i)]
        return prediction.inverse(self._reading(stage, self._default_key()), stage.here)

    def _alter_x0(self, x0: Array) -> Array:
        backend = backend_of(x0, "model_output")
        config = self.config
        if self._setting("thresholding"):
            return backend.threshold(
                x0, config["dynamic_thresholding_ratio"], config["sample_max_value"]
            )
        return backend.clamp(x0, config["clip_sample_range"])

    def _bounded(self, x0: Array, sample: Array, stage: Stage) -> Array:
        """The data prediction, out of what the plan makes before clipping or thresholding."""
        del sample, stage
        return self._alter_x0(x0)

    def _rederives_eps(self, key: StepKey) -> bool:
        """Whether a clipped data prediction changes the noise prediction too."""
        del key
        return True

    def _goes_on_by_itself(self, i: int, past: Sequence[Stage]) -> bool:
        """Whether call ``i`` starts from what the last call returned, not from ``sample``.

        The two differ only where a caller changed the sample between the steps. The prediction is
        always read off ``sample``.
        """
        del i, past
        return False

    def _x0_noise(self, stage: Stage, key: StepKey) -> float:
        """Weight of the step's own noise in the data prediction that it returns."""
        del stage, key
        return 0.0

    def _plan(self, i: int, past: Sequence[Stage], key: StepKey) -> Plan:
        """Fold what the row does with x, x0 and eps into weights on the arrays at hand."""
        stage, here = past[0], past[0].here
        read, row = self._reading(stage, key), self._row(i, past, key)
        wx, w0, we = (weights[0] if weights else 0.0 for weights in (row.x, row.x0, row.eps))
        wx, on_landed = (0.0, wx) if self._goes_on_by_itself(i, past) else (wx, 0.0)
        if self._alters and self._rederives_eps(key):
            eps = (1.0 / here.sigma, 0.0, -here.alpha / here.sigma)
        else:
            eps = (read.eps_x, read.eps_out, 0.0)
        x0_noise = self._x0_noise(stage, key)
        if self._alters or wx == we == x0_noise == 0.0:
            now = (wx + we * eps[0], we * eps[1], w0 + we * eps[2])
        else:
            now = (wx + w0 * read.x0_x + we * eps[0], w0 * read.x0_out + we * eps[1], 0.0)
        older = {(0, LANDED): on_landed} | {
            (lag - 1, place): part[lag]
            for lag in range(1, len(past))
            for place, part in ((X, row.x), (X0, row.x0), (EPS, row.eps))
            if lag < len(part)
        }
        older = {where: weight for where, weight in older.items() if weight != 0.0}
        return Plan(
            stage=stage,
            x0=_terms((read.x0_x, read.x0_out, 0.0, x0_noise)),
            prev=_terms((*now, row.noise, *older.values())),
            eps=_terms(eps),
            older=tuple(older),
            draws=row.noise != 0.0 or x0_noise != 0.0 or self.draws_idly,
        )

    # --- positions ----------------------------------------------------------------------------

    def _check_step(self, name: str, value: Any) -> Any:
        """A step argument, checked against its description."""
        parameter = next(p for p in self.parameters() if p.name == name and p.call == "step")
        return parameter.check(value)

    def _value(self, timestep: Any) -> float:
        """A timestep as a number, without asking a device where that can be avoided.

        A view into ``self.timesteps`` (which is what a loop over it yields) is recognised by its
        address, and its value looked up on the host.
        """
        if isinstance(timestep, (int, float)):
            return timestep
        position = view_position(timestep, self._own_timesteps)
        if position is not None:
            return float(self._published["timesteps"][0].item(position))
        try:
            if isinstance(timestep, (str, bytes)):
                raise TypeError
            return float(timestep.item() if hasattr(timestep, "item") else timestep)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"timestep={shown(timestep)} must be a single number, one of scheduler.timesteps."
            ) from error

    def index_for_timestep(self, timestep: Any, schedule_timesteps: Array = None) -> int:
        """Position of a timestep; the second one where it occurs twice.

        The second, because image-to-image may start inside a pair and must not skip a level.

        Args:
            timestep: One of ``schedule_timesteps``.
            schedule_timesteps: Times to search, default ``timesteps``.

        Raises:
            ValueError: The timestep is not there.
        """
        if schedule_timesteps is not None:
            times = check_numbers("schedule_timesteps", schedule_timesteps).tolist()
            value = self._value(timestep)
            found = [i for i, t in enumerate(times) if t == value]
            if not found:
                raise ValueError(f"timestep={shown(timestep)} is not one of schedule_timesteps.")
            return found[1] if len(found) > 1 else found[0]
        if not self._times:
            self._require_timesteps("index_for_timestep")
        if self._positions is None:
            self._positions = {}
            counts: dict[float, int] = {}
            for i, t in enumerate(self._times):
                counts[t] = counts.get(t, 0) + 1
                if counts[t] <= 2:
                    self._positions[t] = i
            # A run from the start starts at the start, even where its first time occurs twice.
            self._positions[self._times[0]] = 0
        value = self._value(timestep)
        position = self._positions.get(value)
        if position is None:
            position = self._off_schedule(value)
        return position

    def _off_schedule(self, value: float) -> int:
        """Position for a timestep that is not in the schedule."""
        raise ValueError(
            f"timestep={shown(value)} is not one of the {len(self._times)} scheduler.timesteps: loop "
            "over scheduler.timesteps."
        )

    def _locate(self, timestep: Any) -> int:
        """Position of the present call."""
        return self.index_for_timestep(timestep)

    # --- the step -----------------------------------------------------------------------------

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

    def _current_plan(self, timestep: Any, key: StepKey) -> tuple[int, Plan]:
        """Position and plan of the present call."""
        i, memory = self._locate(timestep), self._memory
        plan = self._plans.get((i, len(memory), key))
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            past = (self._stage(i), *(evaluation.stage for evaluation in memory))
            plan = self._plans[i, len(memory), key] = self._plan(i, past, key)
        return i, plan

    def _stage(self, i: int) -> Stage:
        """The stage at a position."""
        stages = self._stages or self.stages
        if not 0 <= i < len(stages):
            raise ValueError(
                f"timestep: all {len(stages)} calls of this run were made; call set_timesteps to "
                "start another."
            )
        return stages[i]

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

    # --- the forward process ------------------------------------------------------------------

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The alpha and sigma for given times of ``add_noise``."""
        raise AttributeError("a scheduler class must say how it looks levels up")

    def add_noise(self, original_samples: Array, noise: Array, timesteps: Array) -> Array:
        """Diffuse: ``alpha x0 + sigma eps`` at the given times.

        Args:
            original_samples: Clean samples, shape (batch, ...).
            noise: Unit noise of the same shape.
            timesteps: One time for each sample, or one for all.

        Returns:
            Noisy samples, same shape and dtype.

        Raises:
            ValueError: Shapes that do not match, or a time outside the schedule.
        """
        return self._noised(original_samples, "original_samples", noise, timesteps)

    def _noised(self, samples: Array, name: str, noise: Array, timesteps: Any) -> Array:
        """``alpha x0 + sigma eps``, the samples called by their name in errors."""
        backend = self._check_noising(samples, name, noise)
        alpha, sigma = self._noise_levels(timesteps, samples)
        return (
            backend.broadcast(alpha, samples) * samples + backend.broadcast(sigma, samples) * noise
        )

    def _noise_levels(self, timesteps: Any, samples: Array) -> tuple[Array, Array]:
        """One alpha and one sigma for each sample, or for all."""
        return self._levels_at(check_batch_times(timesteps, batch_size(samples)))

    @staticmethod
    def _check_noising(samples: Array, name: str, noise: Array) -> Any:
        """The backend of clean samples and noise that belong together."""
        backend = backend_of(samples, name)
        if backend_of(noise, "noise") is not backend:
            raise TypeError(
                f"noise is a {type(noise).__name__} and {name} a {type(samples).__name__}; pass "
                "two arrays of the same library."
            )
        if noise.shape != samples.shape:
            raise ValueError(
                f"noise has shape {tuple(noise.shape)}, but {name} has shape "
                f"{tuple(samples.shape)}; they must be equal."
            )
        check_floats(name, samples)
        check_floats("noise", noise)
        if getattr(noise, "device", None) != getattr(samples, "device", None):
            raise ValueError(f"noise is on {noise.device}, but {name} is on {samples.device}.")
        return backend

    @classmethod
    def inert(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """Parameters with no effect under the given settings, each with the reason.

        Args:
            settings: Parameter values; what is missing has its default. ``steps``, if given, is
                the number of inference steps.

        Returns:
            ``{name: reason}``.
        """
        values = {p.name: p.default for p in cls.parameters()} | dict(settings)
        reasons = _common_inert(values) | cls._inert(values)
        return {name: reason for name, reason in reasons.items() if name in cls._names()}

    @classmethod
    @functools.cache
    def _names(cls) -> frozenset[str]:
        return frozenset(p.name for p in cls.parameters())

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Reasons particular to the class."""
        del values
        return {}

    @property
    def compatibles(self) -> list[type[Scheduler]]:
        """Classes that can be made from this one's config, itself included."""
        from .registry import SCHEDULERS

        names = {type(self).__name__, *self._compatibles}
        return [cls for name, cls in SCHEDULERS.items() if name in names]

    def _card(self, repo_id: str) -> str:
        return model_card(self, repo_id)

    def __len__(self) -> int:
        """Number of training steps."""
        return int(self.config["num_train_timesteps"])


class CountedScheduler(Scheduler):
    """A position counted from the first call, on levels that ``sigmas`` spell out."""

    def _level(self, t: float, sigma: float) -> Level:
        """The level that an entry of ``sigmas`` stands for."""
        raise AttributeError("a scheduler class must say what its sigmas mean")

    def _make_stages(self) -> tuple[Stage, ...]:
        times = [*self._times, 0.0]
        levels = [self._level(t, sigma) for t, sigma in zip(times, self._rhos, strict=False)]
        return tuple(
            Stage(t, here, target)
            for t, here, target in zip(self._times, levels, levels[1:], strict=False)
        )

    def _levels_at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._begin_index is None:
            indices = [self.index_for_timestep(t) for t in times.tolist()]
        else:
            now = self._begin_index if self._step_index is None else self._step_index
            indices = [now] * len(times)
        levels = [self._level(0.0, self._noised_to(i)) for i in indices]
        return np.array([lv.alpha for lv in levels]), np.array([lv.sigma for lv in levels])

    def _noised_to(self, i: int) -> float:
        """The entry of ``sigmas`` that ``add_noise`` goes to for the time of call ``i``."""
        return self._rhos[i]

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any) -> Any:
        """Fractional times at which a table of ascending log sigmas has the given sigmas."""
        values = check_table("sigma", sigma, 0.0)
        check_numbers("log_sigmas", log_sigmas)
        knots = spacing.knots_of(host_values(log_sigmas))
        return spacing.times_of(np.maximum(values, 1e-10), knots)

    @property
    def step_index(self) -> int | None:
        """Position of the next call, None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Position of the first call, set by pipelines."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start the run at this position of ``timesteps`` (image-to-image).

        Raises:
            TypeError: It is not an integer.
            ValueError: It lies outside the schedule.
        """
        last = max(0, len(self._times) - 1)
        self._begin_index = check_whole("begin_index", begin_index, 0, last)

    def _locate(self, timestep: Any) -> int:
        """Position of the present call, which becomes ``step_index``."""
        if self._step_index is None:
            self._step_index = (
                self.index_for_timestep(timestep)
                if self._begin_index is None
                else self._begin_index
            )
        return self._step_index


class Scaled(CountedScheduler):
    """Samples ``x0 + sigma eps``, which the model is shown scaled to unit variance."""

    def _forget(self) -> None:
        super()._forget()
        self.is_scale_input_called = False

    @property
    def _data_std(self) -> float:
        """Standard deviation of the data."""
        return 1.0

    def _level(self, t: float, sigma: float) -> Level:
        return ve_level(t, sigma)

    def scale_model_input(  # type: ignore[override]
        self, sample: Array, timestep: Any
    ) -> Array:
        """``sample / sqrt(sigma^2 + s^2)``: the unit-variance input that the model was trained on.

        s is the standard deviation of the data, 1 unless the class has a ``sigma_data``.

        Args:
            sample: ``x0 + sigma eps``, any shape.
            timestep: The current entry of ``timesteps``.

        Returns:
            Same shape and dtype.

        Raises:
            ValueError: The timestep is not in the schedule, or the run is over.
        """
        backend = check_floats("sample", sample)
        i = self._locate(timestep)
        if not 0 <= i < len(self._rhos) - 1:
            raise ValueError(
                f"timestep={shown(timestep)}: all {len(self._times)} calls were made."
            )
        self.is_scale_input_called = True
        sigma = self._rhos[i]
        scale = 1.0 / (sigma * sigma + self._data_std**2) ** 0.5
        return backend.weigh(((scale, 0),), (sample,), sample.dtype)

    def _warn_unscaled(self) -> None:
        """Models see garbage without ``scale_model_input``; say so."""
        if not self.is_scale_input_called:
            warnings.warn(
                f"{type(self).__name__}: pass the sample through scale_model_input before the "
                "model sees it.",
                stacklevel=3,
            )


class TwoCalls(CountedScheduler):
    """Two model calls a step, but one in the last, which ends at sigma = 0."""

    order = 2
    _depth = 2

    def effective_order(self, i: int, settings: Mapping[str, Any] | None = None) -> int:
        """The order of the step that call ``i`` opens (1) or completes (2)."""
        combined = super().effective_order(i, settings)
        return max(1 + int(i) % 2, combined)

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call opens a step (True) or closes one (False)."""
        return self._step_index is None or self._step_index % 2 == 0


def batch_size(samples: Array) -> int:
    """Number of samples along the first axis."""
    return int(samples.shape[0]) if samples.ndim else 1


def _common_inert(values: Mapping[str, Any]) -> dict[str, str]:
    """Reasons that hold for every class that has the parameters."""
    reasons: dict[str, str] = {}
    if values.get("trained_betas") is not None:
        for name in ("beta_start", "beta_end", "beta_schedule"):
            reasons[name] = "trained_betas gives every beta."
    elif values.get("beta_schedule") in ("squaredcos_cap_v2", "laplace", "exp"):
        for name in ("beta_start", "beta_end"):
            reasons[name] = f"the {values['beta_schedule']} schedule has no free end points."
    if values.get("timestep_spacing") != "leading":
        reasons["steps_offset"] = "only the leading spacing is offset."
    if not values.get("clip_sample") or values.get("thresholding"):
        reasons["clip_sample_range"] = "nothing is clipped: clip_sample is off."
    if values.get("thresholding"):
        reasons["clip_sample"] = "thresholding takes its place."
        reasons["clip_sample_range"] = "thresholding takes its place."
    else:
        for name in ("dynamic_thresholding_ratio", "sample_max_value"):
            reasons[name] = "thresholding is off."
    if "use_karras_sigmas" in values and not any(values.get(name) for name in CURVES):
        for name in ("sigma_min", "sigma_max"):
            reasons[name] = "no Karras, exponential or beta curve is chosen."
    return reasons


#: The name that diffusers has for the base of all classes.
SchedulerMixin = Scheduler

__all__ = ["KarrasDiffusionSchedulers", "Level", "Scheduler", "Stage"]
