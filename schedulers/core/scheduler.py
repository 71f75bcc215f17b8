"""The one class with state: what a user holds in the hand."""

from __future__ import annotations

import enum
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import repeat
from typing import Any, ClassVar, Literal, Self

import numpy as np

from ..backend.arrays import (
    BACKENDS,
    Array,
    Backend,
    Generator,
    backend_of,
    check_generator,
    host_values,
    torch_backend,
    torch_is_installed,
)
from ..backend.checks import (
    MOST_STEPS,
    check_batch_times,
    check_floats,
    check_noise,
    check_noising,
    check_numbers,
    check_pair,
    check_table,
    check_whole,
    is_whole,
    shown,
)
from ..backend.errors import ParameterError, ParameterTypeError
from ..backend.output import StepOutput
from ..facts.papers import Reference
from ..facts.quirks import followed
from ..interface import lookup
from ..interface.card import model_card
from ..interface.config import ConfigMixin, FrozenDict
from ..interface.inactive import common_inactive
from ..process import spacing
from . import prediction
from .coefficients import Coefficients
from .exports import Exports, PublicArray, public_arrays
from .grid import Grid, Kernels
from .kernel import DATA, Kernel, fold
from .level import Call, Level
from .rule import Rule, StepArguments, Update

#: Kernels kept of one rule and grid; only step arguments that change all the time reach it.
MOST_KERNELS = 4096
#: Variance types with which the model returns a variance beside its prediction.
LEARNED = ("learned", "learned_range")
Levels = tuple[np.ndarray, np.ndarray]


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


class Scheduler(ConfigMixin):
    """A grid of noise levels, a rule for its rows of coefficients, and a memory.

    Everything but this object is a value: the grid, its calls, the rule, the kernels. Its state is
    the config, the grid it stands on, what it remembers of past calls, and its position. A class
    says which rule and which grids its config stands for (``_make_rule``, ``_fresh_grid``,
    ``set_timesteps``) and how levels are found (``_levels_at``, ``_along``).
    """

    title: ClassVar[str]
    reference: ClassVar[Reference]
    family: ClassVar[str] = ""
    #: What one would choose it for, in a line.
    good_for: ClassVar[str] = ""
    call_form: ClassVar[Literal["step", "karras_ve", "score_sde", "adaptive"]] = "step"
    #: Whether all calls of a step but the last are Langevin steps, which hold a level: their
    #: weights follow from norms of the arrays, and rows hold what they are on average.
    weighs_by_norms: ClassVar[bool] = False
    #: Whether it was made for models that lead to the data in one call.
    consistency: ClassVar[bool] = False
    #: Whether ``from diffusers import`` finds a class of this name.
    in_diffusers: ClassVar[bool] = True
    #: Parameters of the constructor of which none may be below the number of steps.
    bounds_steps: ClassVar[tuple[str, ...]] = ()
    #: Whether a class of flows takes any numbers for custom levels, as upstream does; not under
    #: ``compat="paper"``.
    lenient: ClassVar[bool] = False
    #: Whether a run goes from a clean sample up to noise.
    ascends: ClassVar[bool] = False
    #: Model calls per step, which pipelines multiply indices with.
    order: int = 1

    #: Whether every call finds its position by its timestep (True), or by its index (False).
    _by_timestep: ClassVar[bool] = False
    #: Settings any of which has the data prediction clipped or thresholded.
    _bounding: ClassVar[tuple[str, ...]] = ("thresholding", "clip_sample")
    #: Whether prev_sample takes the dtype of the model output (True) or the wider of the two.
    _follows_model_dtype: ClassVar[bool] = False
    #: Whether noise is drawn in float32 whatever the model returns.
    _noise_in_float32: ClassVar[bool] = False
    #: Whether the calls that follow one are known beforehand.
    _folds_ahead: ClassVar[bool] = True
    #: Whether noise is drawn in every step, also where it weighs nothing, as upstream.
    draws_idly: bool = False

    #: Standard deviation of the initial noise that a run starts from.
    init_noise_sigma: Any = 1.0

    timesteps = PublicArray("The times at which the model is asked, in the order of the calls.")
    sigmas = PublicArray("sigma / alpha of each level of the run, the final one included.")

    _rule: Rule
    _grid: Grid
    _kernels: Kernels
    _exports: Exports
    #: What is remembered of past calls, newest first: (x, x0, eps, landed) of each.
    _memory: tuple[tuple[Array, ...], ...]
    #: Predictions that a caller wrote into ``model_outputs`` beyond those that count.
    _spare: tuple[Array, ...]
    _step_index: int | None
    _begin_index: int | None

    # --- what is held -------------------------------------------------------------------------

    def _begin(self, tensor_format: str | None, grid: Grid) -> None:
        """State common to all classes, on the grid that a fresh object shows."""
        if tensor_format is None:
            tensor_format = "pt" if torch_is_installed() else "np"
        self._check_format(tensor_format)
        self.tensor_format = tensor_format
        self._device: Any = None
        self._exports = Exports()
        self._use(grid)

    def _use(self, grid: Grid, device: Any = None) -> None:
        """Stand on a grid, at its start; nothing was changed before it was made.

        Args:
            grid: The grid.
            device: Where ``timesteps`` go (torch only).
        """
        if device is not None and self.tensor_format == "pt":
            torch_backend().check_device(device)
        self._grid = grid
        self._device = device
        self._exports.drop(("timesteps", "sigmas", *grid.shown))
        self.num_inference_steps = grid.steps
        self._memory = self._spare = ()
        self._step_index = self._begin_index = None
        self.is_scale_input_called = False
        self._bind()

    def _bind(self) -> None:
        """Take the rule that the config stands for now, and the kernels it has on this grid."""
        before, self._rule = self.__dict__.get("_rule"), self._make_rule()
        if before is not None and not self._rule.keeps <= before.keeps:
            self._memory = self._spare = ()  # what this rule looks at was not kept
        self._kernels = self._grid.kernels_of((self._rule, self._bounds_x0))

    def _make_rule(self) -> Rule:
        """The rule that the config stands for."""
        raise TypeError(f"{type(self).__name__} is a base of schedulers, and has no rule.")

    def _stand_on(self, config: FrozenDict) -> None:
        """Take a config, also in the middle of a run: what was prepared by the old one goes."""
        super()._stand_on(config)
        self._bounds_x0 = any(self._setting(name) for name in self._bounding)
        if "_grid" in self.__dict__:
            self._bind()

    @property
    def compat(self) -> str:
        """Whom to follow where the two differ: "diffusers" or the "paper"."""
        return str(self._setting("compat") or "diffusers")

    def follows(self, slug: str) -> bool:
        """Whether upstream is followed in a quirk, instead of the mathematics.

        Rules and dialects ask when they are made; a step does not.

        Args:
            slug: A quirk of ``facts/quirks.py`` that ``compat`` switches.

        Raises:
            TypeError: The slug is no text.
            ValueError: ``compat`` switches no quirk of that name.
        """
        return followed(slug, self._settings)

    @property
    def prediction_type(self) -> str:
        """What the model is expected to return."""
        return str(self._setting("prediction_type") or "epsilon")

    def __copy__(self) -> Self:
        """An object of its own that stands where this one does."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._exports = self._exports.copy()
        return made

    # --- what is shown ------------------------------------------------------------------------

    @staticmethod
    def _check_format(tensor_format: object) -> None:
        if not isinstance(tensor_format, str) or tensor_format not in ("pt", "np"):
            raise ParameterError(
                f"tensor_format={shown(tensor_format)} must be 'pt' or 'np'.", "tensor_format"
            )

    def set_format(self, tensor_format: Literal["pt", "np"] = "pt") -> Self:
        """Switch ``timesteps`` and ``sigmas`` to torch tensors ("pt") or NumPy arrays ("np").

        ``step`` takes arrays of either kind, whatever the format.

        Returns:
            The scheduler itself.

        Raises:
            ValueError: Another format.
        """
        self._check_format(tensor_format)
        self._heed()
        if tensor_format != self.tensor_format:
            self.tensor_format = tensor_format
            self._exports = Exports()
        return self

    def _host(self, name: str) -> np.ndarray | None:
        """The host array behind a public one; None before there is one."""
        if name == "timesteps":
            return self._grid.times
        if name == "sigmas":
            return self._grid.sigmas
        return self._grid.shown.get(name)

    def _export(self, name: str) -> Array:
        """Hand a host array out in the caller's format."""
        host = self._host(name)
        if host is None:
            return None
        placed = name == "timesteps" or name in self._on_device
        array = self._in_format(host, self._device if placed else None)
        self._exports.hold(name, array)
        return array

    #: Public arrays that go to the device beside ``timesteps``.
    _on_device: ClassVar[frozenset[str]] = frozenset()

    def _in_format(self, array: np.ndarray, device: Any = None) -> Array:
        """A copy of a host array in the format of ``tensor_format``."""
        if self.tensor_format == "np":
            return array.copy()
        return torch_backend().tensor(array, device)

    def _assign(self, name: str, value: Any) -> None:
        """Take an array in the place of a public one, and go by it from here on.

        Raises:
            TypeError: It holds no numbers.
            ValueError: It does not fit.
        """
        heed = public_arrays(type(self))[name].heed
        if heed is not None:
            getattr(self, heed)(name, value)
        self._exports.hold(name, value)

    def _heed(self) -> None:
        """Go by what callers wrote into the arrays that they hold."""
        for name in self._exports.written():
            if name in self._exports.arrays:  # not gone with one that it followed from
                self._assign(name, self._exports.arrays[name])

    def _heed_grid(self, name: str, value: Any) -> None:
        """Stand on the grid along an assigned array; memory and position stay, as upstream's."""
        if value is None:
            return
        held = {**self._grid.shown, "timesteps": self._grid.times, "sigmas": self._grid.sigmas}
        held[name] = np.array(host_values(value))
        self._grid = self._along(held)
        self._kernels = self._grid.kernels_of((self._rule, self._bounds_x0))

    def _along(self, held: Mapping[str, np.ndarray]) -> Grid:
        """The grid whose calls run along these public arrays.

        Args:
            held: ``timesteps``, ``sigmas`` and what else the grid shows, as assigned.
        """
        raise TypeError(f"{type(self).__name__} takes no other grid than that of set_timesteps.")

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

    # --- the calls of a run -------------------------------------------------------------------

    @property
    def stages(self) -> tuple[Call, ...]:
        """The model calls of a run from the start; their number is the NFE.

        Raises:
            ValueError: Before ``set_timesteps``.
        """
        self._require_timesteps("stages")
        self._heed()
        return self._grid.calls

    def _require_timesteps(self, what: str) -> None:
        if self.num_inference_steps is None:
            raise ParameterError(
                f"num_inference_steps is not set: call set_timesteps(num_inference_steps) before "
                f"{what}.",
                "num_inference_steps",
            )

    def calls_of(self, steps: int) -> int:
        """Number of model calls of a run of so many steps."""
        steps = check_whole("steps", steps, 1, MOST_STEPS)
        return 2 * steps - 1 if self.order == 2 else steps

    @property
    def training(self) -> Any:
        """The discrete process of training, if the class has one."""
        return None

    @property
    def rejected(self) -> frozenset[int]:
        """Calls of steps that were tried and not taken; only an adaptive class has any."""
        return frozenset()

    def row(self, i: int, settings: Mapping[str, Any] | None = None) -> Coefficients:
        """The coefficients of call ``i`` in a run that started at 0.

        Args:
            i: Position, 0 to ``len(stages) - 1``.
            settings: Step arguments (eta, s_churn, ...) that differ from their defaults.

        Returns:
            The row; see ``Coefficients``.

        Raises:
            ValueError: Before ``set_timesteps``, or i out of range.
        """
        arguments = self._arguments(settings)
        i = self._checked_position(i)
        return self._row_of(i, min(i, self._reach(arguments) - 1), arguments)

    def rows(self, settings: Mapping[str, Any] | None = None) -> tuple[Coefficients, ...]:
        """The coefficients of every call of a run from the start; see ``row``."""
        arguments = self._arguments(settings)
        most = self._reach(arguments) - 1
        calls = range(len(self.stages))
        return tuple(self._row_of(i, min(i, most), arguments) for i in calls)

    def _row_of(self, i: int, seen: int, arguments: StepArguments) -> Coefficients:
        """The coefficients of call ``i``, which are known also where no output can be read."""
        try:
            return self._update(i, seen, arguments).row
        except ValueError as refusal:
            try:
                return self._rule.row(self._grid, i, self._past(i, seen), arguments)
            except ArithmeticError:
                raise refusal from None

    def effective_order(self, i: int, settings: Mapping[str, Any] | None = None) -> int:
        """The order at which the rule works at call ``i``."""
        return self._order_of(self.stages[self._checked_position(i)], self.row(i, settings))

    def orders(self, rows: Sequence[Coefficients]) -> tuple[int, ...]:
        """``effective_order`` of every call, out of ``rows``."""
        return tuple(map(self._order_of, self.stages, rows))

    def _order_of(self, call: Call, row: Coefficients) -> int:
        """How many predictions a row combines, or how many calls its step has made by then."""
        return max(row.predictions, 1 if self.weighs_by_norms else call.part + 1)

    def output_weights(self, i: int) -> tuple[float, float]:
        """What a model must return at call ``i``: ``out = on_x * x + on_x0 * x0``.

        ``x`` is the unscaled sample. This undoes exactly what ``step`` does with the output.
        """
        i = self._checked_position(i)
        update = self._update(i, min(i, self._rule.depth - 1), self._rule.defaults)
        return prediction.inverse(update.reading, self._grid.calls[i].here)

    def model_output(self, i: int, x: Array, x0: Array) -> Array:
        """What a model that predicts ``x0`` at call ``i`` returns to ``step``.

        Args:
            i: Position of the call in ``stages``.
            x: The sample that the model is shown, unscaled.
            x0: Its data prediction, same shape.

        Returns:
            Shape of x; with a learned variance twice the channels (axis 1), the second half being
            that of the posterior.
        """
        on_x, on_x0 = self.output_weights(i)
        backend = backend_of(x, "x")
        check_pair(x0, x, backend, ("x0", "x"))
        output = backend.combine([(on_x0, x0), (on_x, x)] if on_x else [(on_x0, x0)], x0, x0.dtype)
        half = self._variance_channels(self._grid.calls[i])
        return output if half is None else backend.with_channels(output, half)

    def _variance_channels(self, call: Call) -> float | None:
        """What a model's variance channels hold at a call; None where it has none."""
        del call
        return None

    def _reach(self, arguments: StepArguments) -> int:
        """How many calls a row looks at under given step arguments."""
        del arguments
        return self._rule.depth

    def _checked_position(self, i: Any) -> int:
        """A position in ``stages``."""
        return check_whole("i", i, 0, len(self.stages) - 1)

    def _arguments(self, settings: Any) -> StepArguments:
        """Step arguments in the rule's own order, out of those given by name."""
        if settings is None:
            return self._rule.defaults
        if not isinstance(settings, Mapping):
            raise ParameterTypeError(
                f"settings={shown(settings)} must be a mapping of step arguments.", "settings"
            )
        described = {p.name: p for p in self.parameters() if p.call == "step"}
        unknown = [name for name in settings if name not in described]
        if unknown:
            raise ParameterError(
                f"settings={shown(settings)}: step has no argument {unknown[0]!r} to choose; it "
                f"has {', '.join(described) or 'none'}.",
                "settings",
            )
        return self._step_arguments(
            {name: described[name].check(value) for name, value in settings.items()}
        )

    def _step_arguments(self, settings: Mapping[str, Any]) -> StepArguments:
        """Checked step arguments in the rule's own order."""
        del settings
        return self._rule.defaults

    def _check_step(self, name: str, value: Any) -> Any:
        """A step argument, checked against its description; a plain number once."""
        kind: Any = type(self)
        check = _checked if type(value) in (int, float, bool) else _checked.__wrapped__
        return check(kind, name, value)

    def _call(self, i: int) -> Call:
        """The call at a position."""
        calls = self._grid.calls
        return calls[i] if 0 <= i < len(calls) else self._other_call(i)

    def _other_call(self, i: int) -> Call:
        """The call at a position that is none of the grid's."""
        raise ParameterError(
            f"timestep: all {len(self._grid)} calls of this run were made; call set_timesteps to "
            "start another.",
            "timestep",
        )

    def _past(self, i: int, seen: int) -> tuple[Call, ...]:
        """The call at a position and those before it, newest first."""
        calls = self._grid.calls
        return (self._call(i), *calls[i - seen : i][::-1])

    def _update(self, i: int, seen: int, arguments: StepArguments) -> Update:
        """What call ``i`` does with so many earlier evaluations at hand."""
        updates = self._kernels.updates
        update: Update | None = updates.get((i, seen, arguments))
        if update is None:
            past = self._past(i, seen)
            try:
                update = self._rule.update(self._grid, i, past, arguments)
            except ArithmeticError:
                update = None
            if update is None or math.isnan(past[0].here.sigma):
                raise self._undefined(past[0])
            if len(updates) < MOST_KERNELS:
                updates[i, seen, arguments] = update
        return update

    def _undefined(self, call: Call) -> ValueError:
        """What to say of a call from or to a level where no step is defined."""
        (_, alpha, sigma), (_, to_alpha, to_sigma) = call.here, call.target
        return ParameterError(
            f"timestep={call.t:g}: no step is defined from alpha={alpha:g}, sigma={sigma:g} to "
            f"alpha={to_alpha:g}, sigma={to_sigma:g}; choose other levels.",
            "timestep",
        )

    # --- the position of a call ---------------------------------------------------------------

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
        last = max(0, len(self._grid.times) - 1)
        self._begin_index = check_whole("begin_index", begin_index, 0, last)

    def _value(self, timestep: Any) -> float:
        """A timestep as a number, without asking a device where that can be avoided.

        A view into ``self.timesteps`` (which is what a loop over it yields) is recognised by where
        it lies, and its value looked up on the host.
        """
        if isinstance(timestep, (int, float)):
            return timestep
        own = self._exports.arrays.get("timesteps")
        try:  # which also keeps torch.compile from tracing this anew for every position
            if type(own) is type(timestep):
                known = BACKENDS.get(type(own)) or backend_of(own, "timesteps")
                position = known.position_of(timestep, own)
                if position is not None:
                    return float(self._grid.times.item(position))
            if isinstance(timestep, (str, bytes)):
                raise TypeError
            return float(timestep.item() if hasattr(timestep, "item") else timestep)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ParameterTypeError(
                f"timestep={shown(timestep)} must be a single number, one of scheduler.timesteps.",
                "timestep",
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
                raise ParameterError(
                    f"timestep={shown(timestep)} is not one of schedule_timesteps.", "timestep"
                )
            return found[1] if len(found) > 1 else found[0]
        self._heed()
        if not len(self._grid.times):
            self._require_timesteps("index_for_timestep")
        return self._index_of(timestep)

    def _index_of(self, timestep: Any) -> int:
        """Position of a timestep on the grid."""
        value = self._value(timestep)
        position = self._grid.positions.get(value)
        return self._off_schedule(value) if position is None else position

    def _off_schedule(self, value: float) -> int:
        """Position for a timestep that is not in the schedule."""
        raise ParameterError(
            f"timestep={shown(value)} is not one of the {len(self._grid.times)} "
            "scheduler.timesteps: loop over scheduler.timesteps.",
            "timestep",
        )

    def _locate(self, timestep: Any) -> int:
        """Position of the present call; where calls are counted it becomes ``step_index``."""
        if self._by_timestep:
            return self._index_of(timestep)
        if self._step_index is None:
            begin = self._begin_index
            self._step_index = self._index_of(timestep) if begin is None else begin
        return self._step_index

    def _sigma_to_t(self, sigma: Any, log_sigmas: Any) -> Any:
        """Fractional times at which a table of ascending log sigmas has the given sigmas."""
        values = check_table("sigma", sigma, 0.0)
        check_numbers("log_sigmas", log_sigmas)
        knots = spacing.knots_of(host_values(log_sigmas))
        return spacing.times_of(np.maximum(values, 1e-10), knots)

    # --- the model's input --------------------------------------------------------------------

    def scale_model_input(self, sample: Array, timestep: Any = None) -> Array:
        """The sample as the model wants it: as it is.

        Args:
            sample: The noisy sample, any shape.
            timestep: The current entry of ``timesteps``.

        Returns:
            The sample.
        """
        del timestep
        return sample

    def _input_variance(self, i: int) -> float:
        """Variance of the sample at call ``i``, for classes that scale their input."""
        sigma = float(self._grid.sigma[i])
        return sigma * sigma + 1.0

    def _refuse_integer(self, timestep: Any) -> None:
        """Float schedulers take entries of ``timesteps``; an index would be mistaken for one."""
        if isinstance(timestep, int) or (hasattr(timestep, "dtype") and is_whole(timestep.dtype)):
            raise ParameterError(
                f"timestep={timestep!r} is an integer; {type(self).__name__}.step takes an entry "
                "of scheduler.timesteps, not its index.",
                "timestep",
            )

    def _churn_arguments(self, *given: Any) -> StepArguments:
        """The four arguments of churn, checked unless they are the defaults."""
        usual = self._rule.defaults
        try:
            if given == usual:
                return usual
        except (ValueError, RuntimeError):
            pass  # arrays, which are neither equal nor not: the check names them
        names = ("s_churn", "s_tmin", "s_tmax", "s_noise")
        return tuple(self._check_step(*pair) for pair in zip(names, given, strict=True))

    def _warn_unscaled(self) -> None:
        """Models see garbage without ``scale_model_input``; say so."""
        if not self.is_scale_input_called:
            warnings.warn(
                f"{type(self).__name__}: pass the sample through scale_model_input before the "
                "model sees it.",
                stacklevel=3,
            )

    # --- the step -----------------------------------------------------------------------------

    def _kernel(
        self, i: int, seen: int, arguments: StepArguments, backend: Backend, dtype: Any
    ) -> Kernel:
        """Fold this call, and those that will follow it, once for all runs on an equal grid."""
        kernels, rule = self._kernels, self._rule
        if len(kernels) >= MOST_KERNELS:
            kernels.clear()
            kernels.updates.clear()
        end = i + 1
        if self._folds_ahead and i >= 0 and arguments == rule.defaults:
            # While everything is warm the others cost a third of what they would cost later.
            end = max(end, len(self._grid.alpha))
        keeps_eps, remembers = "eps" in rule.keeps, self._reach(arguments) - 1
        bounded = self._bounds_x0
        prepare = partial(backend.prepare_row, dtype, end - i, [])
        first: Kernel | None = None  # of its own: another thread may clear what all share
        for at in range(i, end):
            key = at, seen, arguments, dtype
            if first is not None and key in kernels:
                break
            try:
                update = self._update(at, seen, arguments)
                kernel = kernels[key] = fold(
                    update, self._call(at), seen, bounded, keeps_eps, remembers, prepare
                )
            except (ValueError, ArithmeticError):
                if first is None:
                    raise
                break  # that call will say so itself, if it is made
            first = first or kernel
            if seen < remembers:
                seen += 1
        assert first is not None
        return first

    def _advance(
        self,
        model_output: Array,
        timestep: Any,
        sample: Array,
        arguments: StepArguments = (),
        generator: Generator = None,
        noise: Array = None,
        spread: Array = None,
        return_dict: bool = True,
    ) -> Any:
        """One step: read the output, look up the kernel, combine, remember, advance.

        Args:
            model_output: What the model returned, shape of the sample.
            timestep: The current entry of ``timesteps``.
            sample: The noisy sample.
            arguments: Step arguments that the rule depends on.
            generator: Source of noise, or a list with one for each sample.
            noise: Noise to use instead of drawing it.
            spread: Standard deviation of the noise for each entry, instead of the row's.
            return_dict: Whether to return an object or a tuple.

        Returns:
            What ``return_dict`` says; where the rule says that something is returned besides, the
            tuple with that behind it.
        """
        for _, view, seen in self._exports.watched:
            if view.tobytes() != seen:
                self._heed()
                break
        if self._grid.steps is None:
            self._require_timesteps("step")
        backend = BACKENDS.get(type(sample)) or backend_of(sample, "sample")
        wide = told = sample.dtype
        dtype = backend.computed.get(wide)
        mixed = dtype is not wide
        if (
            dtype is None
            or type(model_output) is not type(sample)
            or model_output.dtype is not wide
            or model_output.shape != sample.shape
        ):
            model_output = self._prediction_in(model_output, sample)
            wide, told = check_pair(model_output, sample, backend), model_output.dtype
            dtype = backend.compute_dtype(wide)
            mixed = not (dtype is wide is told is sample.dtype)
        if noise is not None:
            check_noise(noise, sample, backend)
        if generator is not None:
            check_generator(generator)
        i = self._step_index
        if self._by_timestep:
            # As a number: what torch.compile traces must not depend on where the run is.
            i = self._index_of(self._value(timestep))
        elif i is None:
            i = self._locate(timestep)
        memory = self._memory
        known = len(memory)
        kernel = self._kernels.get((i, known, arguments, dtype))
        if kernel is None:
            # A caller who moved the index back remembers more calls than lie before it.
            known = min(known, max(i, 0), self._reach(arguments) - 1)
            kernel = self._kernel(i, known, arguments, backend, dtype)
        _, reads, lands, _, older, draws, finish, aside, remembers = kernel
        if draws:
            if noise is None:
                drawn = backend.float32 if self._noise_in_float32 else told
                noise = self._draw(backend, i, sample, drawn, generator)
            if spread is not None:
                noise = noise * spread
        result = told if self._follows_model_dtype else wide
        if mixed:
            # Half or mixed precision: every array is widened before its weight is applied.
            sample, model_output = backend.cast(sample, dtype), backend.cast(model_output, dtype)
        if noise is not None and noise.dtype is not dtype:
            noise = backend.cast(noise, dtype)
        arrays = [sample, model_output, None, noise]
        arrays[DATA] = x0 = backend.total(reads, arrays)
        if self._bounds_x0:
            arrays[DATA] = x0 = self._bounded(backend, x0)
            if finish is not None:
                arrays[DATA] = x0 = backend.total(finish, arrays)
        for ago, place in older:
            array = memory[ago][place]
            arrays.append(array if array.dtype is dtype else backend.cast(array, dtype))
        prev_sample = backend.total(lands, arrays)
        if remembers:
            evaluation = self._evaluation(kernel, backend, arrays, prev_sample)
            self._memory = (evaluation, *memory[: remembers - 1])
        if not self._by_timestep:
            self._step_index = i + 1
        if result is not dtype:
            prev_sample, x0 = backend.cast(prev_sample, result), backend.cast(x0, result)
        if aside is not None:
            return prev_sample, x0, backend.cast(backend.total(aside, arrays), result)
        return StepOutput(prev_sample, x0) if return_dict else (prev_sample, x0)

    def _evaluation(
        self, kernel: Kernel, backend: Backend, arrays: list[Array], prev_sample: Array
    ) -> tuple[Array, ...]:
        """What later rows will look at: (x, x0, eps, landed)."""
        keeps = self._rule.keeps
        return (
            arrays[0] if "x" in keeps else None,
            arrays[DATA] if "x0" in keeps else None,
            None if kernel.eps is None else backend.total(kernel.eps, arrays),
            # A copy: the caller may write into what is returned.
            backend.copied(prev_sample) if "landed" in keeps else None,
        )

    def _draw(
        self, backend: Backend, i: int, sample: Array, dtype: Any, generator: Generator
    ) -> Array:
        """Unit noise for call i; fresh, and of its own, for most classes."""
        del i
        return backend.randn(sample, dtype, generator)

    def _bounded(self, backend: Backend, x0: Array) -> Array:
        """The data prediction, clipped or thresholded."""
        config = self._config
        if self._settings.get("thresholding"):
            return backend.threshold(
                x0, config["dynamic_thresholding_ratio"], config["sample_max_value"]
            )
        return backend.clamp(x0, config["clip_sample_range"])

    def _prediction_in(self, model_output: Array, sample: Array) -> Array:
        """The part of a model output that predicts the sample; the rest may be a variance."""
        if self._setting("variance_type") in LEARNED and getattr(sample, "ndim", 0) > 1:
            return model_output[:, : sample.shape[1]]
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
        self._heed()
        backend = backend_of(sample, "sample")
        model_output = self._prediction_in(model_output, sample)
        wide = check_pair(model_output, sample, backend)
        dtype = backend.compute_dtype(wide)
        before = self._step_index
        i = self._locate(timestep)
        self._step_index = before
        seen = min(len(self._memory), max(i, 0), self._rule.depth - 1)
        kernel = self._kernel(i, seen, self._rule.defaults, backend, dtype)
        arrays = [backend.cast(sample, dtype), backend.cast(model_output, dtype), None]
        arrays[DATA] = x0 = backend.total(kernel.x0, arrays)
        if self._bounds_x0:
            arrays[DATA] = x0 = self._bounded(backend, x0)
            if kernel.finish is not None:
                x0 = backend.total(kernel.finish, arrays)
        return backend.cast(x0, wide)

    # --- the forward process ------------------------------------------------------------------

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
        backend = check_noising(samples, name, noise)
        self._heed()
        alpha, sigma = self._noise_levels(timesteps, samples)
        return (
            backend.broadcast(alpha, samples) * samples + backend.broadcast(sigma, samples) * noise
        )

    def _noise_levels(self, timesteps: Any, samples: Array) -> tuple[Array, Array]:
        """One alpha and one sigma for each sample, or for all."""
        return self._levels_at(check_batch_times(timesteps, batch_size(samples)))

    def _levels_at(self, times: np.ndarray) -> Levels:
        """The alpha and sigma for given times of ``add_noise``: those of the calls made there."""
        if self._begin_index is None:
            indices = [self._index_of(t) for t in times.tolist()]
        else:
            now = self._begin_index if self._step_index is None else self._step_index
            indices = [now] * len(times)
        return self._noised_to(indices)

    def _noised_to(self, indices: Sequence[int]) -> Levels:
        """The levels that ``add_noise`` goes to for the times of these calls."""
        return self._grid.levels_at(indices)

    # --- what else is known -------------------------------------------------------------------

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
        names = {p.name for p in cls.parameters()}
        reasons = common_inactive(values) | cls._inert(values)
        return {name: reason for name, reason in reasons.items() if name in names}

    @classmethod
    def _inert(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Reasons particular to the class."""
        del values
        return {}

    @property
    def compatibles(self) -> list[type[Scheduler]]:
        """Classes that can be made from this one's config, itself included."""
        return lookup.classes({type(self).__name__, *self._compatibles})

    def _card(self, repo_id: str) -> str:
        return model_card(self, repo_id)

    def __len__(self) -> int:
        """Number of training steps."""
        return int(self.config["num_train_timesteps"])


@lru_cache(4096, typed=True)
def _checked(kind: Any, name: str, value: Any) -> Any:
    """A step argument of a class, checked against its description."""
    parameter = next(p for p in kind.parameters() if p.name == name and p.call == "step")
    return parameter.check(value)


def plain_step(
    self: Scheduler, model_output: Array, timestep: Any, sample: Array, return_dict: bool = True
) -> Any:
    """Take one step, or one of the calls of a step.

    Args:
        self: The scheduler, a method of which this is.
        model_output: What the model returned, shape of the sample.
        timestep: The current entry of ``timesteps``.
        sample: The noisy sample, any shape.
        return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

    Returns:
        ``prev_sample`` (inside a step of several calls the sample to ask next) and
        ``pred_original_sample``. The latter may be kept for the next steps: copy it before
        changing it in place.

    Raises:
        TypeError: Arrays of different libraries, or a wrong type.
        ValueError: Before ``set_timesteps``, or shapes that do not match.
    """
    return self._advance(model_output, timestep, sample, (), None, None, None, return_dict)


def noisy_step(
    self: Scheduler,
    model_output: Array,
    timestep: Any,
    sample: Array,
    generator: Generator = None,
    return_dict: bool = True,
) -> Any:
    """Take one step, or one of the calls of a step, with fresh noise where the step adds some.

    Args:
        self: The scheduler, a method of which this is.
        model_output: What the model returned, shape of the sample; with ``variance_type`` set it
            may carry further channels (axis 1), which are cut off.
        timestep: The current entry of ``timesteps``.
        sample: The noisy sample, any shape.
        generator: Source of noise, or a list with one for each sample.
        return_dict: Whether to return an object or ``(prev_sample, pred_original_sample)``.

    Returns:
        ``prev_sample`` (inside a step of several calls the sample to ask next) and
        ``pred_original_sample``. The latter may be kept for the next steps: copy it before
        changing it in place.

    Raises:
        TypeError: Arrays of different libraries, or a wrong type.
        ValueError: Before ``set_timesteps``, or shapes that do not match.
    """
    return self._advance(model_output, timestep, sample, (), generator, None, None, return_dict)


@property  # type: ignore[misc]
def two_call_state(self: Scheduler) -> bool:
    """Whether the next call opens a step (True) or closes one (False)."""
    return self._step_index is None or self._step_index % 2 == 0


def unit_variance_input(self: Scheduler, sample: Array, timestep: Any) -> Array:
    """``sample / sqrt(sigma^2 + s^2)``: the unit-variance input that the model was trained on.

    s is the standard deviation of the data, 1 unless the class has a ``sigma_data``. The
    ``scale_model_input`` of classes on alpha = 1.

    Args:
        self: The scheduler.
        sample: ``x0 + sigma eps``, any shape.
        timestep: The current entry of ``timesteps``.

    Returns:
        Same shape and dtype.

    Raises:
        ValueError: The timestep is not in the schedule, or the run is over.
    """
    for _, view, seen in self._exports.watched:
        if view.tobytes() != seen:
            self._heed()
            break
    i = self._step_index
    if i is None:
        i = self._locate(timestep)
    self.is_scale_input_called = True
    backend = BACKENDS.get(type(sample)) or backend_of(sample, "sample")
    factors, dtype = self._kernels.factors, sample.dtype
    factor = factors.get((i, dtype))
    if factor is None:
        check_floats("sample", sample)
        calls = range(i, len(self._grid))
        if i < 0 or not calls:
            raise ParameterError(
                f"timestep={shown(timestep)}: all {len(self._grid)} calls were made.", "timestep"
            )
        made = backend.factors([self._input_variance(k) ** -0.5 for k in calls], dtype)
        factors.update(zip(zip(calls, repeat(dtype), strict=False), made, strict=True))
        factor = made[0]
    return sample * factor


def batch_size(samples: Array) -> int:
    """Number of samples along the first axis."""
    return int(samples.shape[0]) if samples.ndim else 1


#: The name that diffusers has for the base of all classes.
SchedulerMixin = Scheduler

__all__ = ["KarrasDiffusionSchedulers", "Level", "Scheduler", "SchedulerMixin"]
