"""What a step costs beside diffusers and k-diffusion: operations, synchronisations, time.

    python benchmarks/schedulers.py                  # tiny tensors and latents, on the CPU
    python benchmarks/schedulers.py --device cuda    # the same on a GPU

Counts do not depend on the machine. Times do, so both sides run in one process, loop after loop in
turn, and what is printed is the ratio of the medians (ours / theirs; below 1 is faster).
"""

from __future__ import annotations

import argparse
import gc
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

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from schedulers import SCHEDULERS  # noqa: E402
from tests.parity.oracle import DIFFUSERS, diffusers_scheduler, k_diffusion  # noqa: E402

SchedulerLike: TypeAlias = Any
Run: TypeAlias = Callable[[], object]

TINY, LATENT = (1, 4, 8, 8), (1, 4, 64, 64)
GOALS = {"tiny": 0.2, "latents": 0.35}
STEPS = 20
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
    generator: bool = False  # ours draws from a generator, where theirs asks a tree of seeds


ROWS = (
    Row("DDIM", "DDIMScheduler", 4, {"clip_sample": False}),
    Row("DDIM inverse", "DDIMInverseScheduler", 4, {"clip_sample": False}),
    Row("DDPM", "DDPMScheduler", 6, {"clip_sample": False}),
    Row("PNDM", "PNDMScheduler", 5.8),  # Runge-Kutta calls and multistep steps, on average
    Row("PLMS", "PNDMScheduler", 7, {"skip_prk_steps": True}),
    Row("LMS", "LMSDiscreteScheduler", 5, sampler="sample_lms"),
    Row("Euler", "EulerDiscreteScheduler", 2, sampler="sample_euler"),
    Row("Euler a", "EulerAncestralDiscreteScheduler", 4, sampler="sample_euler_ancestral"),
    Row("Heun", "HeunDiscreteScheduler", 2.5, sampler="sample_heun"),
    Row("DPM2", "KDPM2DiscreteScheduler", 2, sampler="sample_dpm_2"),
    Row("DPM2 a", "KDPM2AncestralDiscreteScheduler", 3, sampler="sample_dpm_2_ancestral"),
    Row("DPM++ 2S a", "DPMPP2SAncestralScheduler", 3.5, sampler="sample_dpmpp_2s_ancestral"),
    Row("DPM fast", "DPMFastScheduler", 4),
    Row("DPM++ SDE", "DPMSolverSDEScheduler", 5, sampler="sample_dpmpp_sde", generator=True),
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
    Row("UniPC", "UniPCMultistepScheduler", 6),
    Row("Karras VE", "KarrasVeScheduler", 3),
    Row("EDM Euler", "EDMEulerScheduler", 4),
    Row("EDM DPM++ 2M", "EDMDPMSolverMultistepScheduler", 4),
    Row("Score SDE VE", "ScoreSdeVeScheduler", 3),
    Row("Score SDE VP", "ScoreSdeVpScheduler", 5),
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
    wanted = row.generator and isinstance(scheduler, SCHEDULERS[row.scheduler])
    return dict(row.step) | ({"generator": torch.Generator(x.device)} if wanted else {})


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
    if row.scheduler == "ScoreSdeVeScheduler":

        def run() -> object:
            sample = x
            for t in times:
                sample = scheduler.step_pred(output, t, sample).prev_sample
            return sample

        return run

    indexed = hasattr(scheduler, "set_begin_index")
    step = step_arguments(scheduler, row, x)

    def run() -> object:
        sample = x
        if indexed:
            scheduler.set_begin_index(0)
            scheduler._step_index = None
        for t in times:
            scheduler.scale_model_input(sample, t)
            sample = scheduler.step(output, t, sample, **step).prev_sample
        return sample

    return run


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
    if row.scheduler == "ScoreSdeVeScheduler":
        t = scheduler.timesteps[5]
        with Count(x.numel(), device) as seen:
            scheduler.step_pred(output, t, x)
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


def operations(device: str) -> bool:
    """Print the counts per step; whether every floor is kept within one operation."""
    print("\nper step           dispatched ops    full-size (floor)    values read")
    print("                    ours  diffusers   ours  diffusers      ours  diffusers")
    kept = True
    for row in ROWS:
        a = count(fresh(row, False, device), row, device)
        within = a[1] <= row.floor + 1 and a[2] == 0
        kept &= within
        theirs = ("-", "-", "-")
        if row.scheduler in DIFFUSERS:
            ops, full, reads = count(fresh(row, True, device), row, device)
            theirs = (f"{ops:.1f}", f"{full:.1f}", f"{reads:.1f}")
        print(
            f"{row.title:18s} {a[0]:5.1f} {theirs[0]:>10s}  {a[1]:5.1f} {theirs[1]:>6s}  "
            f"({row.floor:g}){a[2]:10.1f} {theirs[2]:>10s}  {'' if within else '  over the floor'}"
        )
    return kept


def speeds(device: str, seconds: float) -> bool:
    """Print the time ratios of whole loops; whether both goals are met."""
    print(f"\nwhole loop of {STEPS} steps: microseconds per step, and ours / theirs")
    met = True
    for title, shape in (("tiny", TINY), ("latents", LATENT)):
        x, output = tensors(shape, device)
        print(
            f"{title} {'x'.join(map(str, shape)):12s} ours  diffusers  ratio  k-diffusion  ratio"
        )
        against: list[float] = []
        against_k: list[float] = []
        for row in ROWS:
            sides = (False, True) if row.scheduler in DIFFUSERS else (False,)
            pair = [fresh(row, theirs, device) for theirs in sides]
            runs = [loop(scheduler, row, x, output) for scheduler in pair]
            if row.sampler:
                runs.append(k_loop(row, pair[-1], x, output))
            ours, *k = (m / STEPS * 1e6 for m in medians(runs, seconds, device))
            line = f"  {row.title:16s} {ours:8.1f} {'-':>9s} {'':7s}"
            if row.scheduler in DIFFUSERS:
                theirs = k.pop(0)
                against.append(ours / theirs)
                line = f"  {row.title:16s} {ours:8.1f} {theirs:9.1f} {against[-1]:7.3f}"
            if k:
                against_k.append(ours / k[0])
                line += f" {k[0]:11.1f} {against_k[-1]:7.3f}"
            print(line)
        mean = geomean(against)
        met &= mean <= GOALS[title]
        print(
            f"  geomean against diffusers {mean:.3f} (goal {GOALS[title]}), "
            f"against k-diffusion {geomean(against_k):.3f}"
        )
    return met


def grids(seconds: float) -> None:
    """Print the time ratios of `set_timesteps` and of the constructor."""
    print("\nset_timesteps(20): microseconds      ours  diffusers  ratio")
    ratios = []
    options = ("", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
    for row in ROWS:
        if row.title == "DPM++ 2M SDE" or row.scheduler not in DIFFUSERS:
            continue
        for option in options:
            config = {option: True} if option else {}
            names = {parameter.name for parameter in SCHEDULERS[row.scheduler].parameters()}
            if option and option not in names:
                continue
            ours = SCHEDULERS[row.scheduler](**config)
            theirs = diffusers_scheduler(row.scheduler, **config)
            a, b = medians(
                [lambda s=ours: s.set_timesteps(STEPS), lambda s=theirs: s.set_timesteps(STEPS)],
                seconds,
                "cpu",
            )
            ratios.append(a / b)
            print(f"  {row.title:9s} {option:24s} {a * 1e6:8.1f} {b * 1e6:9.1f} {a / b:7.3f}")
    print(f"  geomean {geomean(ratios):.3f}")
    ratios = []
    for row in ROWS:
        if row.scheduler not in DIFFUSERS:
            continue
        a, b = medians(
            [
                lambda r=row: SCHEDULERS[r.scheduler](**r.config),
                lambda r=row: diffusers_scheduler(r.scheduler, **r.config),
            ],
            seconds,
            "cpu",
        )
        ratios.append(a / b)
    print(f"  constructor: geomean {geomean(ratios):.3f}")


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
    parser.add_argument("--seconds", type=float, default=0.6, help="per measurement")
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, {arguments.device}, one thread")
    met = operations(arguments.device)
    met &= speeds(arguments.device, arguments.seconds)
    if arguments.device == "cpu":
        grids(arguments.seconds / 3)
        imports()
    return 0 if met or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
