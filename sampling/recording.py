"""Finished runs: immutable, indexed by time, remembered within a byte budget."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from sampling.device import choose_device
from sampling.plan import Plan, plan_run
from sampling.runner import Frame, initial_sample, run
from sampling.spec import RunSpec
from schedulers.grids.groups import Group
from schedulers.solvers.dpm_adaptive import ARRIVED

__all__ = ["Recorder", "Trajectory", "TrajectoryCache", "trajectory"]


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """A finished run. Time is an index: looking at a frame computes nothing.

    Attributes:
        plan: Levels, coefficients and contributions of the run.
        device: Where it was computed.
        seconds: How long it took.
        indices: The model calls whose frames are kept, ascending; always with the last one.
        initial: x_T, float32, read-only, shaped as `Frame.sample`.
        samples: float32, read-only, (len(indices), *Frame.sample.shape).
        x0: The data predictions, same shape.
        keep: How many frames were asked for; None is all of them.
    """

    plan: Plan
    device: str
    seconds: float
    indices: tuple[int, ...]
    initial: np.ndarray
    samples: np.ndarray
    x0: np.ndarray
    keep: int | None = None

    @property
    def spec(self) -> RunSpec:
        """The run that this is the result of."""
        return self.plan.spec

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.initial.nbytes + self.samples.nbytes + self.x0.nbytes

    @property
    def complete(self) -> bool:
        """Whether the frame of every model call is kept."""
        return len(self.indices) == self.plan.nfe

    def thinned(self, keep: int | None) -> Trajectory | None:
        """The same run with the frames that ``keep`` asks for; None if they are not all here."""
        wanted = _spread(self.plan.nfe, keep)
        if keep == self.keep or wanted == self.indices:
            return self
        if not self.complete:
            return None
        samples, x0 = self.samples[list(wanted)], self.x0[list(wanted)]
        for array in (samples, x0):
            array.setflags(write=False)
        return replace(self, indices=wanted, samples=samples, x0=x0, keep=keep)

    def __len__(self) -> int:
        """Number of kept frames."""
        return len(self.indices)

    def __getitem__(self, position: int) -> Frame:
        """The kept frame at this position, views of the arrays."""
        index = self.indices[position]
        return Frame(
            index=index,
            call=self.plan.calls[index],
            sample=self.samples[position],
            pred_original_sample=self.x0[position],
            coefficients=self.plan.coefficients[index],
            accepted=self.plan.accepted(index),
        )

    def __iter__(self) -> Iterator[Frame]:
        """The kept frames in order."""
        return (self[position] for position in range(len(self)))


class Recorder:
    """Collects the frames of one run into a `Trajectory`, keeping at most so many of them."""

    def __init__(self, plan: Plan, device: str, *, keep: int | None = None) -> None:
        """Prepare the arrays.

        Args:
            plan: The run's schedule.
            device: Where it is computed.
            keep: How many frames to keep, evenly spread over the run and always with the last;
                None keeps all.
        """
        self._plan = plan
        self._device = device
        self._start = time.perf_counter()
        self._initial = initial_sample(plan.spec, plan.scheduler)
        self._keep = keep
        self._wanted = None if plan.ahead else set(_spread(plan.nfe, keep))
        self._frames: list[Frame] = []
        self._every = 1
        self._attempts: list[Group] = []
        self._last = -1

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        self._last = frame.index
        if self._wanted is not None:
            if frame.index in self._wanted:
                self._frames.append(frame)
            return
        # How many calls there will be is not known: where they become too many, every second of
        # those so far goes.
        if frame.attempt is not None and frame.call.step >= len(self._attempts):
            self._attempts.append(frame.attempt)
        late = self._frames and self._frames[-1].index % self._every
        if late:
            self._frames.pop()
        self._frames.append(frame)
        if self._keep is not None and len(self._frames) > max(self._keep, 2):
            self._every *= 2
            last = self._frames[-1]
            self._frames = [f for f in self._frames if f.index % self._every == 0]
            if self._frames[-1] is not last:
                self._frames.append(last)

    @property
    def complete(self) -> bool:
        """Whether the last frame of the run has been taken."""
        if self._plan.ahead:
            return bool(self._attempts) and self._attempts[-1].landing <= self._lowest
        return self._last == self._plan.nfe - 1

    @property
    def _lowest(self) -> float:
        """Where a run ends that decides on its steps as it goes."""
        return self._plan.calls[-1].target.sigma * math.exp(ARRIVED)

    def finish(self) -> Trajectory:
        """The trajectory.

        Raises:
            RuntimeError: The run has not come to its end.
        """
        if not self.complete:
            raise RuntimeError(f"the run ended at call {self._last + 1} of {self._plan.nfe}.")
        plan = self._plan
        if plan.ahead:
            plan = plan_run(plan.spec, tuple(self._attempts))
        samples = np.stack([frame.sample for frame in self._frames])
        x0 = np.stack([frame.pred_original_sample for frame in self._frames])
        for array in (self._initial, samples, x0):
            array.setflags(write=False)
        return Trajectory(
            plan=plan,
            device=self._device,
            seconds=time.perf_counter() - self._start,
            indices=tuple(frame.index for frame in self._frames),
            initial=self._initial,
            samples=samples,
            x0=x0,
            keep=self._keep,
        )


def _spread(count: int, keep: int | None) -> tuple[int, ...]:
    if keep is None or keep >= count:
        return tuple(range(count))
    most = max(keep, 2)
    return tuple(sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}))


class TrajectoryCache:
    """Trajectories by spec and device, the least recently used dropped beyond a byte budget.

    One entry a run. A complete one answers whatever ``keep`` is asked for; a thinned one answers
    the same ``keep`` only, and makes way for the next that is computed.

    Safe to share between threads and visitors, since what it holds is immutable. Two equal
    requests at the same time compute once: the second waits for the first.
    """

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        """Make an empty cache.

        Args:
            max_bytes: Budget for the arrays, at least 0. A trajectory larger than the budget
                is never stored.
        """
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be at least 0, got {max_bytes}.")
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[RunSpec, str], Trajectory] = OrderedDict()
        self._running: dict[tuple[RunSpec, str, int | None], threading.Event] = {}
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now, never above ``max_bytes``."""
        return self._nbytes

    def __len__(self) -> int:
        """Number of trajectories held."""
        return len(self._held)

    def find(self, spec: RunSpec, device: str, keep: int | None = None) -> Trajectory | None:
        """The frames of this run that ``keep`` asks for, or None; computes nothing.

        Args:
            spec: The run.
            device: Where it was computed.
            keep: How many frames, as for `Recorder`; None is all of them.
        """
        with self._lock:
            return self._find((spec, device), keep)

    def _find(self, key: tuple[RunSpec, str], keep: int | None) -> Trajectory | None:
        """As `find`, for who holds the lock."""
        held = self._held.get(key)
        found = None if held is None else held.thinned(keep)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def store(self, made: Trajectory) -> None:
        """Hold a trajectory, dropping others until the budget is kept.

        A thinned one never takes the place of a complete one.
        """
        if made.nbytes > self.max_bytes:
            return
        key = (made.spec, made.device)
        with self._lock:
            old = self._held.get(key)
            if old is not None:
                if old.complete and not made.complete:
                    return
                del self._held[key]
                self._nbytes -= old.nbytes
            self._held[key] = made
            self._nbytes += made.nbytes
            while self._nbytes > self.max_bytes:
                _, dropped = self._held.popitem(last=False)
                self._nbytes -= dropped.nbytes

    def get(
        self,
        spec: RunSpec,
        device: str,
        compute: Callable[[], Trajectory],
        keep: int | None = None,
    ) -> tuple[Trajectory, bool]:
        """What is held for this run, or else what ``compute`` makes.

        Args:
            spec: The run.
            device: Where it is computed.
            compute: Makes the run with the frames that ``keep`` asks for.
            keep: How many frames, as for `Recorder`; None is all of them.

        Returns:
            The trajectory, and whether it was there already (or was being made by somebody
            else, which is as good).
        """
        turn_key = (spec, device, keep)
        with self._lock:
            found = self._find((spec, device), keep)
            turn = self._running.get(turn_key)
            mine = found is None and turn is None
            if mine:
                self._running[turn_key] = threading.Event()
        if found is not None:
            return found, True
        if mine:
            try:
                made = compute()
                self.store(made)
                return made, False
            finally:
                with self._lock:
                    self._running.pop(turn_key).set()
        if turn is not None:
            turn.wait()
        found = self.find(spec, device, keep)
        if found is not None:
            return found, True
        # Too large to be held, or failed: then this caller computes for itself.
        return compute(), False


def trajectory(
    spec: RunSpec,
    *,
    cache: TrajectoryCache | None = None,
    device: str | None = None,
    keep: int | None = None,
) -> Trajectory:
    """Run to the end, or remember having done so.

    Args:
        spec: What to run.
        cache: Where to look first and to store the result; None computes always.
        device: ``"cuda"``, ``"mps"``, ``"cpu"``, or None for `choose_device`'s choice.
        keep: How many frames to keep, as for `Recorder`; None keeps all. The answer has these
            frames whatever the cache holds.

    Raises:
        SpecError: The settings do not go together.
        ValueError: The device does not exist here.
    """
    place = choose_device(device)

    def compute() -> Trajectory:
        plan = plan_run(spec)
        recorder = Recorder(plan, place, keep=keep)
        for frame in run(spec, plan=plan, device=place):
            recorder.add(frame)
        return recorder.finish()

    if cache is None:
        return compute()
    return cache.get(spec, place, compute, keep)[0]
