"""Where the calls of a run are: the grid of levels, and the position of a call in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .backend.arrays import Array, view_position
from .backend.checks import check_numbers, shown
from .core.level import Call
from .interface.config import FrozenDict
from .plan import Evaluation, Plan
from .process.tables import TrainingTable
from .published import Published
from .shelf import Grid, Shelf, laid_out, shelf_for


class Gridded(Published):
    """A grid of noise levels, and a place in it."""

    #: Whether every call finds its position by its timestep (True), or by counting (False).
    _stateless: ClassVar[bool] = False
    #: How many evaluations, the present one included, a row may look at.
    _depth: int = 1
    #: Every attribute that ``set_timesteps`` sets, where the grid follows from config and arguments
    #: alone: equal objects then share it. None where it depends on more.
    _kept: ClassVar[tuple[str, ...] | None] = None
    #: Settings any of which has the data prediction clipped or thresholded.
    _bounding: ClassVar[tuple[str, ...]] = ("thresholding", "clip_sample")
    #: Whether one does.
    _alters: bool
    num_inference_steps: int | None
    _times: Sequence[float] = ()
    _rhos: Sequence[float]
    _positions: dict[float, int] | None
    _plans: dict[tuple[Any, ...], Plan]
    _memory: deque[Evaluation]
    _step_index: int | None
    _begin_index: int | None
    _stages: tuple[Call, ...] | None

    def __init_subclass__(cls) -> None:
        """Make ``set_timesteps`` of every class all or nothing, and its grids shared."""
        super().__init_subclass__()
        if "set_timesteps" in cls.__dict__:
            cls.set_timesteps = laid_out(cls.__dict__["set_timesteps"])  # type: ignore[attr-defined]

    def _start(self, tensor_format: str | None) -> None:
        """State common to all classes; the table is made after this, then the grid."""
        self._show_as(tensor_format)
        self.num_inference_steps = None
        self._forget()

    def _stand_on(self, config: FrozenDict) -> None:
        """Take a config, also in the middle of a run: what was prepared by the old one goes."""
        super()._stand_on(config)
        self._alters = any(self._setting(name) for name in self._bounding)
        self._plans = {}

    @property
    def compat(self) -> str:
        """Whom to follow where the two differ: "diffusers" or the "paper"."""
        return str(self._setting("compat") or "diffusers")

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
        self._published = {**self._published, **grid.published}
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

    def _make_stages(self) -> tuple[Call, ...]:
        raise AttributeError("a scheduler class must say which levels its calls visit")

    @property
    def stages(self) -> tuple[Call, ...]:
        """One Call for each model call of a run from the start; their number is the NFE.

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

    def _stage(self, i: int) -> Call:
        """The stage at a position."""
        stages = self._stages or self.stages
        if not 0 <= i < len(stages):
            raise ValueError(
                f"timestep: all {len(stages)} calls of this run were made; call set_timesteps to "
                "start another."
            )
        return stages[i]

    def _cut(self, times: tuple[float, ...]) -> None:
        self._times = times
        self._positions = None
        if self._stateless:
            self._stages = None
            self._plans = {}

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
