"""What a step costs beside diffusers, k-diffusion and bare torch calls: operations, reads, time.

    python -m benchmarks.schedulers                  # tiny tensors and latents, on the CPU
    python -m benchmarks.schedulers --markdown       # the table of the README
    python -m benchmarks.schedulers --check          # fails where a goal is missed

Counts do not depend on the machine. Times do, so all sides run in one process on one thread, loop
after loop in turn; what is timed is CPU time, and what is printed is the ratio of the medians
(ours / theirs; below 1 is faster).

*Steps* are the loop that users write, 20 steps with a model that costs nothing, after a
``set_timesteps`` that is left out: the *first* time (nothing of an equal grid is at hand), and
*again* (an equal grid was made before, by this object or another), returned as objects or tuples.
*Floor* is the same arithmetic as bare torch calls, without a check, a look-up or an object.
*Run* is ``set_timesteps`` and every step, the first time. *Grid* is ``set_timesteps`` alone with a
look at ``timesteps``, for numbers of steps of which nothing is at hand, in microseconds.
"""

from __future__ import annotations

import argparse
import functools
import gc
import inspect
import itertools
import math
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from schedulers import SCHEDULERS  # noqa: E402
from tests.parity.oracle import DIFFUSERS, diffusers_scheduler, k_diffusion  # noqa: E402

SchedulerLike: TypeAlias = Any
Run: TypeAlias = Callable[[], object]

TINY, LATENT = (1, 4, 8, 8), (4, 4, 64, 64)
STEPS = 20
#: Numbers of steps that `set_timesteps` is timed for.
NEW = range(21, 41)
#: Geometric means that are to be kept, and what no class may exceed.
GOALS = {
    "tiny first": (0.3, math.inf),
    "tiny": (0.15, 0.9),
    "latents first": (0.4, math.inf),
    "latents": (0.3, 0.9),
    "floor": (1.15, math.inf),
    "run": (0.4, 1.0),
}
#: Slowest ratio of `set_timesteps`, or microseconds; with the sigma curves, ratios.
MOST_GRID, MOST_MICROSECONDS = 2.0, 150.0
CURVES = {"use_karras_sigmas": 0.05, "use_exponential_sigmas": 0.05, "use_beta_sigmas": 0.05}
SYNCS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_assert_async"}


@dataclass(frozen=True)
class Row:
    """A class in one setting, the full-size operations it cannot do without, and its counterpart."""

    title: str
    scheduler: str
    floor: float
    config: Mapping[str, object] = field(default_factory=dict)
    step: Mapping[str, object] = field(default_factory=dict)
    sampler: str = ""  # of k-diffusion
    # ours draws from a generator (made for a device), where theirs asks a tree of seeds
    generator: Callable[[Any], Any] | None = None
    corrects: bool = False  # a Langevin corrector's calls instead of steps


ROWS = (
    Row("DDIM", "DDIMScheduler", 4, {"clip_sample": False}),
    Row("DDIM inverse", "DDIMInverseScheduler", 4, {"clip_sample": False}),
    Row("DDPM", "DDPMScheduler", 6, {"clip_sample": False}),
    Row("PNDM", "PNDMScheduler", 5.8),  # Runge-Kutta calls and multistep steps, on average
    Row("PLMS", "PNDMScheduler", 7, {"skip_prk_steps": True}),
    Row("IPNDM", "IPNDMScheduler", 9),  # four slopes, and both predictions off v
    Row("LMS", "LMSDiscreteScheduler", 5, sampler="sample_lms"),
    Row("Euler", "EulerDiscreteScheduler", 2, sampler="sample_euler"),
    Row("Euler a", "EulerAncestralDiscreteScheduler", 4, sampler="sample_euler_ancestral"),
    Row("Heun", "HeunDiscreteScheduler", 2.5, sampler="sample_heun"),
    Row("DPM2", "KDPM2DiscreteScheduler", 2, sampler="sample_dpm_2"),
    Row("DPM2 a", "KDPM2AncestralDiscreteScheduler", 3, sampler="sample_dpm_2_ancestral"),
    Row("DPM++ 2S a", "DPMPP2SAncestralScheduler", 3.5, sampler="sample_dpmpp_2s_ancestral"),
    Row("DPM fast", "DPMFastScheduler", 4),
    Row(
        "DPM++ SDE",
        "DPMSolverSDEScheduler",
        5,
        sampler="sample_dpmpp_sde",
        generator=torch.Generator,
    ),
    Row("DPM++ 2M", "DPMSolverMultistepScheduler", 4, sampler="sample_dpmpp_2m"),
    Row(
        "DPM++ 2M SDE",
        "DPMSolverMultistepScheduler",
        6,
        {"algorithm_type": "sde-dpmsolver++"},
        sampler="sample_dpmpp_2m_sde",
    ),
    Row("DPM++ 2M inverse", "DPMSolverMultistepInverseScheduler", 4),
    Row("DPM++ 2S", "DPMSolverSinglestepScheduler", 4),
    Row("DEIS", "DEISMultistepScheduler", 5),
    Row("SA-Solver", "SASolverScheduler", 8),
    Row("UniPC", "UniPCMultistepScheduler", 6),
    Row("Karras VE", "KarrasVeScheduler", 3),
    Row("EDM Euler", "EDMEulerScheduler", 4),
    Row("EDM DPM++ 2M", "EDMDPMSolverMultistepScheduler", 4),
    Row("Score SDE VE", "ScoreSdeVeScheduler", 3),
    # noise, data prediction; mean and sample by a product and a sum: their weight is no float
    Row("Score SDE VE corrector", "ScoreSdeVeScheduler", 6, corrects=True),
    Row("Score SDE VP", "ScoreSdeVpScheduler", 5),
    Row("Consistency", "CMStochasticIterativeScheduler", 5),
    Row(
        "Cosine DPM++ 2M",
        "CosineDPMSolverMultistepScheduler",
        6,
        generator=lambda _: np.random.default_rng(0),
    ),
    Row("LCM", "LCMScheduler", 5),
    Row("TCD", "TCDScheduler", 8),
    Row("Flow match Euler", "FlowMatchEulerDiscreteScheduler", 2),
    Row("Flow match Heun", "FlowMatchHeunDiscreteScheduler", 2.5),
    Row("Flow match LCM", "FlowMatchLCMScheduler", 4),
    Row("LTX Euler a", "LTXEulerAncestralRFScheduler", 5),
)


class Count(TorchDispatchMode):
    """Counts dispatched operations, those as large as the sample, and synchronisations."""

    def __init__(self, size: int, device: str) -> None:
        """Full-size means an output of at least `size` numbers; a value read off `device` waits."""
        super().__init__()
        self.size, self.device = size, device
        self.ops, self.full, self.syncs = 0, 0, 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401  (torch's own signature)
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Let the operation happen, and take note of it."""
        out = func(*args, **(kwargs or {}))
        self.ops += 1
        parts = out if isinstance(out, (tuple, list)) else (out,)
        self.full += any(isinstance(p, torch.Tensor) and p.numel() >= self.size for p in parts)
        self.syncs += func.overloadpacket.__name__ in SYNCS and args[0].device.type == self.device
        return out


def fresh(row: Row, theirs: bool, device: str) -> SchedulerLike:
    """A scheduler with its grid set."""
    make = diffusers_scheduler if theirs else lambda name, **config: SCHEDULERS[name](**config)
    scheduler = make(row.scheduler, **row.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.set_timesteps(STEPS, device=device)
    return scheduler


def step_arguments(scheduler: SchedulerLike, row: Row, x: torch.Tensor) -> dict[str, object]:
    """Arguments of `step`; a generator on the sample's device where the row wants one."""
    wanted = row.generator is not None and isinstance(scheduler, SCHEDULERS[row.scheduler])
    return dict(row.step) | ({"generator": row.generator(x.device)} if wanted else {})


@functools.cache
def grid_makers() -> list[Any]:
    """The cached functions that make a grid."""
    for name in SCHEDULERS:
        SCHEDULERS[name]()  # loads the rooms that it stands on
    rooms = [
        vars(module) for name, module in sys.modules.items() if name.startswith("schedulers.")
    ]
    return [
        maker
        for maker in {id(v): v for room in rooms for v in room.values()}.values()
        if isinstance(maker, functools._lru_cache_wrapper)
        and "Grid" in str(maker.__wrapped__.__annotations__.get("return"))
    ]


def forget() -> None:
    """Let no grid be at hand: as for numbers of steps that nobody in the process asked for."""
    for maker in grid_makers():
        maker.cache_clear()


def loop(scheduler: SchedulerLike, row: Row, x: torch.Tensor, output: torch.Tensor) -> Run:
    """A whole run with a model that costs nothing, of a scheduler that was just laid out."""
    if row.scheduler == "KarrasVeScheduler":
        return karras_loop(scheduler, x, output)
    if hasattr(scheduler, "step_pred"):
        names = predictor(scheduler)

        def predict() -> object:
            sample = x
            for t in scheduler.timesteps:
                if row.corrects:
                    sample = scheduler.step_correct(output, sample)[0]
                    continue
                arguments = dict(zip(names, (output, t, sample), strict=True))
                sample = scheduler.step_pred(**arguments)[0]
            return sample

        return predict
    step = step_arguments(scheduler, row, x)

    def run() -> object:
        sample = x
        for t in scheduler.timesteps:
            scheduler.scale_model_input(sample, t)
            sample = scheduler.step(output, t, sample, **step).prev_sample
        return sample

    return run


def tuple_loop(scheduler: SchedulerLike, row: Row, x: torch.Tensor, output: torch.Tensor) -> Run:
    """The same, with ``return_dict=False``."""
    step = step_arguments(scheduler, row, x)

    def run() -> object:
        sample = x
        for t in scheduler.timesteps:
            scheduler.scale_model_input(sample, t)
            sample = scheduler.step(output, t, sample, return_dict=False, **step)[0]
        return sample

    return run


def karras_loop(scheduler: SchedulerLike, x: torch.Tensor, output: torch.Tensor) -> Run:
    """As its pipeline drives Karras VE."""

    def run() -> object:
        sample = x
        schedule = [float(scheduler.schedule[t]) for t in scheduler.timesteps]
        for sigma, sigma_next in itertools.pairwise([*schedule, 0.0]):
            hat, sigma_hat = scheduler.add_noise_to_input(sample, sigma)
            step = scheduler.step(output, sigma_hat, sigma_next, hat)
            if sigma_next:
                step = scheduler.step_correct(
                    output, sigma_hat, sigma_next, hat, step.prev_sample, step.derivative
                )
            sample = step.prev_sample
        return sample

    return run


def predictor(scheduler: SchedulerLike) -> tuple[str, str, str]:
    """The names that ``step_pred`` has for model output, time and sample."""
    if "score" in inspect.signature(scheduler.step_pred).parameters:
        return "score", "t", "x"
    return "model_output", "timestep", "sample"


def floor_loop(scheduler: SchedulerLike, x: torch.Tensor, output: torch.Tensor) -> Run | None:
    """The arithmetic of a run as straight-line torch calls; None where a step is no kernel."""
    if scheduler.call_form not in ("step",):
        return None
    loop_over(scheduler, x, output)  # folds what the run needs
    values: dict[str, Any] = {"torch": torch, "begin": x, "out": output}
    lines = ["def run():", "    x = begin"]
    rule, kernels = scheduler._rule, scheduler._kernels

    def total(name: str, terms: Any, arrays: Sequence[str]) -> None:  # noqa: ANN401
        source, scale, second, rest = terms
        if second is not None:
            lines.append(
                f"    {name} = {arrays[source]}.add({arrays[second[1]]}, alpha={second[0]!r})"
            )
        elif scale is None:
            lines.append(f"    {name} = {arrays[source]}.clone()")
        else:
            values[f"w_{len(values)}"] = scale
            lines.append(f"    {name} = {arrays[source]}.mul(w_{len(values) - 1})")
        lines.extend(f"    {name}.add_({arrays[k]}, alpha={weight!r})" for weight, k in rest)

    for i in range(len(scheduler.stages)):
        kernel = next(
            kernels[i, seen, rule.defaults, x.dtype]
            for seen in range(min(i, 16), -1, -1)
            if (i, seen, rule.defaults, x.dtype) in kernels
        )
        if scheduler.is_scale_input_called:
            scale = scheduler._input_variance(i) ** -0.5
            values[f"s_{i}"] = torch.scalar_tensor(scale)
            lines.append(f"    x.mul(s_{i})")
        lines.append(f"    x_{i}, noise = x, None")
        if kernel.draws:
            lines.append("    noise = torch.randn(x.shape)")
        total(f"x0_{i}", kernel.x0, ["x", "out", "", "noise"])
        if scheduler._bounds_x0:
            lines.append(f"    x0_{i} = x0_{i}.clamp(-1.0, 1.0)")
        arrays = ["x", "out", f"x0_{i}", "noise"]
        arrays += [
            f"{'x x0 eps landed'.split()[place]}_{i - 1 - ago}" for ago, place in kernel.older
        ]
        if kernel.eps is not None:
            total(f"eps_{i}", kernel.eps, arrays)
        total("x", kernel.prev, arrays)
        if "landed" in rule.keeps:
            lines.append(f"    landed_{i} = x.clone()")
        # As a scheduler does, nothing is held on to that no later call looks at.
        gone = i - max(kernel.remembers, 0)
        names = [f"x_{gone}", f"x0_{gone}"] if gone >= 0 else []
        names += [f"eps_{gone}"] if gone >= 0 and kernel.eps is not None else []
        lines.extend(f"    {name} = None" for name in names)
    lines.append("    return x")
    exec("\n".join(lines), values)  # noqa: S102  (our own lines)
    run: Run = values["run"]
    return run


def loop_over(scheduler: SchedulerLike, x: torch.Tensor, output: torch.Tensor) -> None:
    """Every step once."""
    for t in scheduler.timesteps:
        scheduler.scale_model_input(x, t)
        x = scheduler.step(output, t, x)[0]
    settled = scheduler.is_scale_input_called
    scheduler.set_timesteps(STEPS)
    scheduler.is_scale_input_called = settled


def k_loop(row: Row, scheduler: SchedulerLike, x: torch.Tensor, output: torch.Tensor) -> Run:
    """k-diffusion's sampler on the same sigmas, with the same costless model."""
    table = torch.as_tensor(scheduler.sigmas).to(x.device)
    sigmas = torch.cat([table[:1], table[1::2]])[: STEPS + 1] if scheduler.order == 2 else table
    sampler = getattr(k_diffusion(), row.sampler)
    extra: dict[str, object] = {}
    if row.sampler == "sample_dpmpp_sde":
        extra["noise_sampler"] = k_diffusion().BrownianTreeNoiseSampler(
            x, *(float(s) for s in (sigmas[sigmas > 0].min(), sigmas.max()))
        )
    if "ancestral" in row.sampler or row.sampler == "sample_dpmpp_2m_sde":
        extra["noise_sampler"] = lambda *_: torch.randn_like(x)
    return lambda: sampler(lambda x, _: output, x, sigmas, disable=True, **extra)


def count(scheduler: SchedulerLike, row: Row, device: str) -> tuple[float, float, float]:
    """Operations, full-size operations and synchronisations per call of `step`, settled in."""
    x, output = tensors((1, 4, 16, 16), device)
    if row.scheduler == "KarrasVeScheduler":
        for _ in range(2):  # the first prepares weights
            with Count(x.numel(), device) as seen:
                scheduler.step(output, 2.0, 1.0, x)
        return seen.ops, seen.full, seen.syncs
    if hasattr(scheduler, "step_pred"):
        arrays = output, scheduler.timesteps[5], x
        arguments = dict(zip(predictor(scheduler), arrays, strict=True))
        for _ in range(2):
            with Count(x.numel(), device) as seen:
                if row.corrects:
                    scheduler.step_correct(output, x)
                else:
                    scheduler.step_pred(**arguments)
        return seen.ops, seen.full, seen.syncs
    seen = Count(x.numel(), device)
    step = step_arguments(scheduler, row, x)
    calls = 0
    for index, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(x, t)
        if 6 <= index < 16:  # past the start, before the end; an even number for two-call solvers
            calls += 1
            with seen:
                x = scheduler.step(output, t, x, **step).prev_sample
        else:
            x = scheduler.step(output, t, x, **step).prev_sample
    return seen.ops / calls, seen.full / calls, seen.syncs / calls


def tensors(shape: tuple[int, ...], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A sample and a model output."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator).to(device) for _ in range(2))  # type: ignore[return-value]


@dataclass(frozen=True)
class Timed:
    """What is timed, and what is done before each time."""

    run: Run
    before: Callable[[], object] = lambda: None


def medians(timed: Sequence[Timed], seconds: float, device: str) -> list[float]:
    """Median CPU time of each, run in turn, after a warm-up; on a device, time until it is done."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = time.perf_counter if device == "cuda" else time.process_time
    for entry in timed:
        entry.before()
        entry.run()
    wait()
    found: list[list[float]] = [[] for _ in timed]
    gc.collect()
    gc.disable()
    end = time.perf_counter() + seconds * len(timed)
    while time.perf_counter() < end or len(found[0]) < 5:
        for times, entry in zip(found, timed, strict=True):
            entry.before()
            wait()
            start = clock()
            entry.run()
            wait()
            times.append(clock() - start)
    gc.enable()
    return [statistics.median(times) for times in found]


def geomean(values: Sequence[float]) -> float:
    """Geometric mean."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


@dataclass(frozen=True)
class Line:
    """What the table says of a class; None where there is no counterpart.

    Attributes:
        counts: Dispatched operations, full-size ones and values read per step, ours and theirs.
        ratios: Time against diffusers, k-diffusion or the floor, by what is timed.
        grid: Microseconds of `set_timesteps` for a new number of steps, ours and theirs.
    """

    row: Row
    counts: tuple[tuple[float, float, float], tuple[float, float, float] | None]
    ratios: Mapping[str, float | None]
    grid: tuple[float, float | None]

    @property
    def within(self) -> bool:
        """Whether the floor is kept within one operation, without a value read."""
        return self.counts[0][1] <= self.row.floor + 1 and self.counts[0][2] == 0

    @property
    def lays_out_fast(self) -> bool:
        """Whether `set_timesteps` keeps its goal."""
        ours, theirs = self.grid
        return theirs is None or ours <= max(MOST_MICROSECONDS, MOST_GRID * theirs)


def fresh_run(scheduler: SchedulerLike, run: Run, first: bool = False) -> Timed:
    """A loop after a `set_timesteps` that is left out."""

    def before() -> None:
        if first:
            forget()
        scheduler.set_timesteps(STEPS)

    return Timed(run, before)


def steps(
    row: Row, shape: tuple[int, ...], device: str, seconds: float
) -> dict[str, float | None]:
    """Ratios of the loops over the steps, for one size."""
    x, output = tensors(shape, device)
    known, simple = row.scheduler in DIFFUSERS, not row.corrects and row.scheduler not in OWN_LOOPS
    ours = fresh(row, False, device)
    timed = {
        "first": fresh_run(ours, loop(ours, row, x, output), first=True),
        "again": fresh_run(ours, loop(ours, row, x, output)),
    }
    if simple:
        timed["tuples"] = fresh_run(ours, tuple_loop(ours, row, x, output))
        bare = fresh(row, False, device)
        floor = floor_loop(bare, x, output) if row.generator is None else None
        if floor is not None and device == "cpu":
            timed["floor"] = Timed(floor)
    if known:
        theirs = fresh(row, True, device)
        timed["theirs"] = fresh_run(theirs, loop(theirs, row, x, output))
        if simple:
            timed["their tuples"] = fresh_run(theirs, tuple_loop(theirs, row, x, output))
        half, half_out = x.half(), output.half()
        timed["half"] = fresh_run(ours, loop(ours, row, half, half_out))
        timed["their half"] = fresh_run(theirs, loop(theirs, row, half, half_out))
    if row.sampler:
        timed["k"] = Timed(k_loop(row, theirs if known else ours, x, output))
    found = dict(zip(timed, medians(list(timed.values()), seconds, device), strict=True))

    def ratio(a: str, b: str) -> float | None:
        return found[a] / found[b] if a in found and b in found else None

    return {
        "first": ratio("first", "theirs"),
        "": ratio("again", "theirs"),
        "tuples": ratio("tuples", "their tuples"),
        "half": ratio("half", "their half"),
        "floor": ratio("again", "floor"),
        "k": ratio("again", "k"),
    }


def measured(row: Row, device: str, seconds: float) -> Line:
    """Every count and every time of a class."""
    known = row.scheduler in DIFFUSERS
    sides = (False, True) if known else (False,)
    counts = [count(fresh(row, theirs, device), row, device) for theirs in sides]
    ratios: dict[str, float | None] = {}
    for title, shape in (("tiny", TINY), ("latents", LATENT)):
        for what, value in steps(row, shape, device, seconds).items():
            ratios[f"{title} {what}".strip()] = value
    x, output = tensors(TINY, device)
    runs = [whole(fresh(row, theirs, device), row, x, output, theirs) for theirs in sides]
    found = medians(runs, seconds, device)
    ratios["run"] = found[0] / found[1] if known else None
    found = medians([Timed(lambda t=t: made(row, t)) for t in sides], seconds / 2, device)
    ratios["constructor"] = found[0] / found[1] if known else None
    found = [value * 1e6 for value in medians([grid(row, t) for t in sides], seconds, "cpu")]
    return Line(
        row,
        (counts[0], counts[1] if known else None),
        ratios,
        (found[0], found[1] if known else None),
    )


def made(row: Row, theirs: bool, **more: object) -> SchedulerLike:
    """A scheduler of a row."""
    config = {**row.config, **more}
    if theirs:
        return diffusers_scheduler(row.scheduler, **config)
    return SCHEDULERS[row.scheduler](**config)


def whole(
    scheduler: SchedulerLike, row: Row, x: torch.Tensor, output: torch.Tensor, theirs: bool
) -> Timed:
    """A run as a pipeline makes it: `set_timesteps` for a new number of steps, then every step."""
    run = loop(scheduler, row, x, output)

    def all_of_it() -> object:
        scheduler.set_timesteps(STEPS)
        return run()

    return Timed(all_of_it, (lambda: None) if theirs else forget)


def grid(row: Row, theirs: bool, **config: object) -> Timed:
    """`set_timesteps` for one number of steps after the other, and a look at the times."""
    scheduler = made(row, theirs, **config)
    turns = itertools.cycle(NEW)

    def run() -> object:
        scheduler.set_timesteps(next(turns))
        return scheduler.timesteps

    return Timed(run, (lambda: None) if theirs else forget)


#: Classes that are not driven by ``step`` alone, or return no tuple of two.
OWN_LOOPS = {"KarrasVeScheduler", "ScoreSdeVeScheduler", "ScoreSdeVpScheduler"}
COLUMNS = {
    "tiny first": "tiny: first",
    "tiny": "again",
    "tiny tuples": "tuples",
    "tiny half": "half",
    "tiny k": "k",
    "latents first": "latents: first",
    "latents": "again",
    "latents tuples": "tuples",
    "latents half": "half",
    "latents k": "k",
    "latents floor": "floor",
    "run": "run",
    "constructor": "constructor",
}


def table(lines: Sequence[Line], markdown: bool) -> str:
    """The lines as text; a class a line, ours / diffusers' unless it says otherwise."""

    def shown(ratio: float | None) -> str:
        return "-" if ratio is None else f"{ratio:.2g}" if ratio >= 0.01 else f"{ratio:.4f}"

    heads = ["", "ops", "full-size (floor)", "reads", *COLUMNS.values(), "grid, us"]
    rows = []
    for line in lines:
        ours, theirs = line.counts
        pairs = [
            f"{a:.3g} / {'-' if theirs is None else format(theirs[i], '.4g')}"
            for i, a in enumerate(ours)
        ]
        pairs[1] += f" ({line.row.floor:g})" + ("" if line.within else " over")
        times = map(shown, (line.ratios[title] for title in COLUMNS))
        laid, laid_theirs = line.grid
        us = f"{laid:.0f} / {'-' if laid_theirs is None else format(laid_theirs, '.0f')}"
        rows.append([line.row.title, *pairs, *times, us + ("" if line.lays_out_fast else " over")])
    means = [means_of(lines, title) for title in COLUMNS]
    rows.append(["geometric mean", "", "", "", *map(shown, means), ""])
    if markdown:
        body = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|", *body])
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *rows)
    )


def means_of(lines: Sequence[Line], title: str) -> float | None:
    """Geometric mean of a column."""
    known = [value for line in lines if (value := line.ratios[title]) is not None]
    return geomean(known) if known else None


def judged(lines: Sequence[Line]) -> bool:
    """Print every goal beside what was found; whether all are met."""
    met = all(line.within and line.lays_out_fast for line in lines)
    print()
    for goal, (mean, most) in GOALS.items():
        title = "latents floor" if goal == "floor" else goal
        found = means_of(lines, title)
        if found is None:
            continue
        worst = max(lines, key=lambda line: line.ratios[title] or 0.0)
        slowest = worst.ratios[title] or 0.0
        good = found <= mean and slowest <= most
        met &= good
        limit = "" if most == math.inf else f" (goal {most:g})"
        print(
            f"{title:14s} {found:.3f} (goal {mean:g}); slowest {worst.row.title} {slowest:.2f}"
            f"{limit}{'' if good else '  MISSED'}"
        )
    return met


def curves(seconds: float, only: str) -> bool:
    """Print the time of `set_timesteps` with each sigma curve; whether the goals are met."""
    print("\nset_timesteps and timesteps, 21..40 new steps: microseconds")
    seen, met = set(), True
    for row in (row for row in ROWS if only in row.title):
        names = {parameter.name for parameter in SCHEDULERS[row.scheduler].parameters()}
        for option, goal in CURVES.items():
            key = row.scheduler, option
            if row.scheduler not in DIFFUSERS or option not in names or key in seen:
                continue
            seen.add(key)
            timed = [grid(row, side, **{option: True}) for side in (False, True)]
            ours, theirs = (value * 1e6 for value in medians(timed, seconds, "cpu"))
            # Flow matching shifts an array: there is no loop over times to be rid of.
            good = ours <= max(goal * theirs, 0.0) or ours <= MOST_MICROSECONDS
            met &= good
            print(
                f"  {row.title:16s} {option:24s} {ours:7.1f} / {theirs:7.1f} "
                f"{ours / theirs:.4f}{'' if good else '  MISSED'}"
            )
    return met


def imports() -> None:
    """Print what an import costs in a fresh interpreter."""
    print("\nimport in a fresh interpreter: milliseconds (median of 5)")
    lines = {
        "numpy": "import numpy",
        "schedulers": "import schedulers",
        "torch": "import torch",
        "a diffusers scheduler": "from diffusers.schedulers.scheduling_ddim import DDIMScheduler",
    }

    def once(line: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-W", "ignore", "-c", line], cwd=ROOT, check=True)
        return time.perf_counter() - start

    bare = statistics.median(once("pass") for _ in range(5))
    for title, line in lines.items():
        print(
            f"  {title:24s} {(statistics.median(once(line) for _ in range(5)) - bare) * 1e3:8.0f}"
        )


def main() -> int:
    """Print everything; exit status 1 under --check when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seconds", type=float, default=0.15, help="per measurement")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--only", default="", help="rows whose title contains this")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {arguments.device}, one thread; ours / diffusers'\n")
    rows = [row for row in ROWS if arguments.only in row.title]
    lines = [measured(row, arguments.device, arguments.seconds) for row in rows]
    print(table(lines, arguments.markdown))
    met = judged(lines)
    if arguments.device == "cpu" and not arguments.markdown:
        met &= curves(arguments.seconds, arguments.only)
        if not arguments.only:
            imports()
    return 0 if met or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
