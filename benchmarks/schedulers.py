"""What a step costs beside diffusers and k-diffusion: operations, synchronisations, time.

    python benchmarks/schedulers.py                  # tiny tensors and latents, on the CPU
    python benchmarks/schedulers.py --device cuda    # the same on a GPU
    python benchmarks/schedulers.py --markdown       # the table of the README

Counts do not depend on the machine. Times do, so both sides run in one process, loop after loop in
turn, and what is printed is the ratio of the medians (ours / theirs; below 1 is faster). Steps are
timed in loops of 20 with a model that costs nothing, ``set_timesteps`` left out; a "run" has it
in. ``set_timesteps`` itself, and reading ``timesteps``, is timed for 20 steps over and over
("again"), and for 21 to 40 steps in turn, none of which ours has kept from before ("new").
"""

from __future__ import annotations

import argparse
import copy
import gc
import inspect
import itertools
import math
import statistics
import subprocess
import sys
import time
import warnings
from collections import deque
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
from schedulers.rules.brownian import BrownianPath  # noqa: E402
from tests.parity.oracle import DIFFUSERS, diffusers_scheduler, k_diffusion  # noqa: E402

SchedulerLike: TypeAlias = Any
Run: TypeAlias = Callable[[], object]

TINY, LATENT = (1, 4, 8, 8), (1, 4, 64, 64)
GOALS = {"tiny": 0.2, "latents": 0.35}
STEPS = 20
#: Numbers of steps that `set_timesteps` is timed for: one again and again, or new ones in turn.
AGAIN, NEW = (STEPS,), range(21, 41)
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


def loop(scheduler: SchedulerLike, row: Row, x: torch.Tensor, output: torch.Tensor) -> Run:
    """A whole run with a model that costs nothing; a second call begins again."""
    if row.scheduler == "KarrasVeScheduler":
        levels = [*(float(scheduler.schedule[t]) for t in scheduler.timesteps), 0.0]
        pairs = list(itertools.pairwise(levels))

        def run() -> object:
            sample = x
            for sigma, sigma_next in pairs:
                hat, sigma_hat = scheduler.add_noise_to_input(sample, sigma)
                step = scheduler.step(output, sigma_hat, sigma_next, hat)
                if sigma_next:
                    step = scheduler.step_correct(
                        output, sigma_hat, sigma_next, hat, step.prev_sample, step.derivative
                    )
                sample = step.prev_sample
            return sample

        return run

    times = list(scheduler.timesteps)
    if hasattr(scheduler, "step_pred"):
        names = predictor(scheduler)

        def run() -> object:
            sample = x
            for t in times:
                if row.corrects:
                    sample = scheduler.step_correct(output, sample)[0]
                    continue
                arguments = dict(zip(names, (output, t, sample), strict=True))
                sample = scheduler.step_pred(**arguments)[0]
            return sample

        return run

    step = step_arguments(scheduler, row, x)
    rewind = rewinder(scheduler)

    def run() -> object:
        sample = x
        rewind()
        for t in times:
            scheduler.scale_model_input(sample, t)
            sample = scheduler.step(output, t, sample, **step).prev_sample
        return sample

    return run


def predictor(scheduler: SchedulerLike) -> tuple[str, str, str]:
    """The names that ``step_pred`` has for model output, time and sample."""
    if "score" in inspect.signature(scheduler.step_pred).parameters:
        return "score", "t", "x"
    return "model_output", "timestep", "sample"


def rewinder(scheduler: SchedulerLike) -> Callable[[], None]:
    """What puts a scheduler back to where it stands now, on either side."""
    start = dict(vars(scheduler))
    loose = {key: value for key, value in start.items() if isinstance(value, (list, deque))}
    loose |= {key: value for key, value in start.items() if isinstance(value, BrownianPath)}

    def rewind() -> None:
        vars(scheduler).update(start)
        vars(scheduler).update({key: copy.copy(value) for key, value in loose.items()})

    return rewind


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
        with Count(x.numel(), device) as seen:
            scheduler.step(output, 2.0, 1.0, x)
        return seen.ops, seen.full, seen.syncs
    if hasattr(scheduler, "step_pred"):
        arrays = output, scheduler.timesteps[5], x
        arguments = dict(zip(predictor(scheduler), arrays, strict=True))
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


def medians(runs: Sequence[Run], seconds: float, device: str) -> list[float]:
    """Median time of each, run in turn, after a warm-up."""
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for run in runs:
        run()
    wait()
    found: list[list[float]] = [[] for _ in runs]
    gc.collect()
    gc.disable()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 5:
        for times, run in zip(found, runs, strict=True):
            start = time.perf_counter()
            run()
            wait()
            times.append(time.perf_counter() - start)
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
        ratios: Time against diffusers, by what is timed.
        k_ratios: Time against k-diffusion, by size.
    """

    row: Row
    counts: tuple[tuple[float, float, float], tuple[float, float, float] | None]
    ratios: Mapping[str, float | None]
    k_ratios: Mapping[str, float | None]

    @property
    def within(self) -> bool:
        """Whether the floor is kept within one operation, without a value read."""
        return self.counts[0][1] <= self.row.floor + 1 and self.counts[0][2] == 0


def measured(row: Row, device: str, seconds: float) -> Line:
    """Every count and every time of a class."""
    known = row.scheduler in DIFFUSERS
    sides = (False, True) if known else (False,)
    counts = [count(fresh(row, theirs, device), row, device) for theirs in sides]
    ratios: dict[str, float | None] = {}
    k_ratios: dict[str, float | None] = {}
    for title, shape in (("tiny", TINY), ("latents", LATENT)):
        x, output = tensors(shape, device)
        pair = [fresh(row, theirs, device) for theirs in sides]
        runs = [loop(scheduler, row, x, output) for scheduler in pair]
        if row.sampler:
            runs.append(k_loop(row, pair[-1], x, output))
        ours, *others = medians(runs, seconds, device)
        ratios[title] = ours / others[0] if known else None
        k_ratios[title] = ours / others[-1] if row.sampler else None
    x, output = tensors(TINY, device)
    times = {
        "run": [whole(fresh(row, theirs, device), row, x, output) for theirs in sides],
        "again": [grid(row, theirs, AGAIN) for theirs in sides],
        "new": [grid(row, theirs, NEW) for theirs in sides],
        "constructor": [lambda theirs=theirs: made(row, theirs) for theirs in sides],
    }
    for title, runs in times.items():
        found = medians(runs, seconds / 2, device) if known else []
        ratios[title] = found[0] / found[1] if known else None
    return Line(row, (counts[0], counts[1] if known else None), ratios, k_ratios)


def made(row: Row, theirs: bool, **more: object) -> SchedulerLike:
    """A scheduler of a row."""
    config = {**row.config, **more}
    if theirs:
        return diffusers_scheduler(row.scheduler, **config)
    return SCHEDULERS[row.scheduler](**config)


def whole(scheduler: SchedulerLike, row: Row, x: torch.Tensor, output: torch.Tensor) -> Run:
    """A run as a pipeline makes it: `set_timesteps`, then every step."""

    def run() -> object:
        scheduler.set_timesteps(STEPS)
        return loop(scheduler, row, x, output)()

    return run


def grid(row: Row, theirs: bool, numbers: Sequence[int], **config: object) -> Run:
    """`set_timesteps` for one number of steps after the other, and a look at the times."""
    scheduler = made(row, theirs, **config)
    turns = itertools.cycle(numbers)

    def run() -> object:
        if numbers is NEW and not theirs:
            scheduler._shelf()._grids.clear()
        scheduler.set_timesteps(next(turns))
        return scheduler.timesteps

    return run


COLUMNS = ("tiny", "latents", "run", "again", "new", "constructor")


def table(lines: Sequence[Line], markdown: bool) -> str:
    """The lines as text; a class a line, ours / diffusers' unless it says k."""

    def shown(ratio: float | None) -> str:
        return "-" if ratio is None else f"{ratio:.3g}" if ratio >= 0.01 else f"{ratio:.4f}"

    heads = ["", "ops", "full-size (floor)", "reads", *COLUMNS, "k: tiny", "k: latents"]
    rows = []
    for line in lines:
        ours, theirs = line.counts
        pairs = [
            f"{a:.3g} / {'-' if theirs is None else format(theirs[i], '.4g')}"
            for i, a in enumerate(ours)
        ]
        pairs[1] += f" ({line.row.floor:g})" + ("" if line.within else " over")
        times = [line.ratios[title] for title in COLUMNS]
        times += [line.k_ratios[title] for title in ("tiny", "latents")]
        rows.append([line.row.title, *pairs, *map(shown, times)])
    means = [[v for x in lines if (v := x.ratios[title]) is not None] for title in COLUMNS]
    means += [[v for x in lines if (v := x.k_ratios[t]) is not None] for t in ("tiny", "latents")]
    rows.append(["geometric mean", "", "", "", *(shown(geomean(v) if v else None) for v in means)])
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


def curves(seconds: float) -> None:
    """Print the time of `set_timesteps` with each sigma curve, each side timed by itself."""
    print(
        f"\nset_timesteps and timesteps: microseconds  {'20 steps again':>26s}{'21..40 new':>26s}"
    )
    seen = set()
    for row in ROWS:
        names = {parameter.name for parameter in SCHEDULERS[row.scheduler].parameters()}
        for option in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
            if (
                row.scheduler not in DIFFUSERS
                or option not in names
                or (row.scheduler, option) in seen
            ):
                continue
            seen.add((row.scheduler, option))
            config = {option: True}
            line = f"  {row.title:16s} {option:24s}"
            for numbers in (AGAIN, NEW):
                ours, theirs = (
                    medians([grid(row, side, numbers, **config)], seconds, "cpu")[0] * 1e6
                    for side in (False, True)
                )
                line += f" {ours:7.1f} / {theirs:7.1f} {ours / theirs:.4f}"
            print(line)


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
    parser.add_argument("--seconds", type=float, default=0.3, help="per measurement")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--only", default="", help="rows whose title contains this")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {arguments.device}, one thread; ours / diffusers\n")
    rows = [row for row in ROWS if arguments.only in row.title]
    lines = [measured(row, arguments.device, arguments.seconds) for row in rows]
    print(table(lines, arguments.markdown))
    met = all(line.within for line in lines)
    for title, goal in GOALS.items():
        known = [v for line in lines if (v := line.ratios[title]) is not None]
        mean = geomean(known) if known else 0.0
        met &= mean <= goal
        print(f"\n{title}: {mean:.3f} (goal {goal})")
    if arguments.device == "cpu" and not arguments.markdown:
        curves(arguments.seconds / 3)
        imports()
    return 0 if met or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
