"""What a GPU says of the library, in one run of a few minutes: tests, waits, steps, live frames.

    python -m benchmarks.gpu                          # needs CUDA; 420 seconds
    python -m benchmarks.gpu --json $OUT/gpu.json     # the same numbers for machines
    python -m benchmarks.gpu --device cpu --quick     # a rehearsal where there is no GPU

Four parts share the time, and what one leaves over is for the next: ``tests`` runs
tests/laws/test_devices.py; ``waits`` counts how often a step waits for the device; ``steps`` times
runs of 20 steps with a model that costs nothing, ours and diffusers' in turn, until the last step
is launched and until the device is done with it; ``frames`` times runs whose every frame is
brought to the host, as the page does it, beside the loop that brings over none. Each run is laid
out anew by ``set_timesteps`` before its time counts. What is printed are medians; ratios are
ours / diffusers', below 1 is faster. Without diffusers ours is timed alone. A part whose time is
over says what it left out.

Exit status: 0, or 1 if a test failed, a step waited or a measurement broke, or 2 without CUDA.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import inspect
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import torch

from benchmarks.schedulers import ROWS, Count, fresh, geomean, tensors
from models import MODELS, load
from sampling import PARTICLES, RunSpec, run
from sampling.noise import generators, unit_noise
from schedulers import SCHEDULERS
from tests.laws.driver import walk

SchedulerLike: TypeAlias = Any
Row: TypeAlias = Any  # one of ROWS
#: What the report says of a part, as JSON.
Found: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[1]
TESTS = "tests/laws/test_devices.py"
#: Seconds of the whole; a measurement under way is finished, so that the most is well below 480.
SECONDS, MOST_SECONDS, QUICK_SECONDS = 420.0, 450.0, 90.0
#: What each part may take of it.
SHARES = {"tests": 0.3, "waits": 0.1, "steps": 0.45, "frames": 0.15}
STEPS = 20
#: Rounds of a measurement after the one that warms up: at least, and at most.
ROUNDS = 3, 200
SHAPES = {"tiny": (1, 4, 8, 8), "latents": (4, 4, 64, 64), "large": (1, 16, 128, 128)}
DTYPES = {"float32": torch.float32, "float16": torch.float16}
#: What a step calls; loops around them may wait, a step may not.
CALLS = ("scale_model_input", "add_noise_to_input", "step", "step_correct", "step_pred")
#: Runs whose frames are watched.
FILMS = {
    "DPM++ 2M Karras, 1 emoji": RunSpec(config=(("use_karras_sigmas", True),)),
    "DPM++ 2M Karras, 16 emoji": RunSpec(config=(("use_karras_sigmas", True),), samples=16),
    "Euler a, 16 emoji": RunSpec(scheduler="EulerAncestralDiscreteScheduler", samples=16),
    "DDIM, 256 points": RunSpec(scheduler="DDIMScheduler", model="mixture-2d", steps=50),
}
#: The watched run is the bare one: the same operations in the same order.
SAME_FILM = 1e-4


# --- time and report --------------------------------------------------------------------------


@dataclass
class Share:
    """The time of a part, and what it had no time for."""

    end: float
    quick: bool = False
    left_out: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds until it is over."""
        return max(0.0, self.end - time.monotonic())

    def of(self, things: Sequence[Any], name: Callable[[Any], str]) -> Iterator[tuple[Any, float]]:
        """Each thing with the seconds that it may take, until the time is over."""
        for done, thing in enumerate(things):
            if not self.left:
                self.left_out += map(name, things[done:])
                return
            yield thing, self.left / (len(things) - done)


def failure(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def machine(device: str) -> Found:
    """Where these numbers are from."""
    try:
        diffusers: str | None = metadata.version("diffusers")
    except metadata.PackageNotFoundError:
        diffusers = None
    name = torch.cuda.get_device_name(0) if device == "cuda" else platform.processor() or "CPU"
    return {
        "device": device,
        "name": name,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers,
    }


def waiting(device: str) -> Callable[[], None]:
    """What returns when the device has done everything that was asked of it."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


# --- tests ------------------------------------------------------------------------------------


def tests(device: str, share: Share) -> tuple[Found, list[str]]:
    """The laws of devices, by pytest in a process of its own."""
    command = [sys.executable, "-m", "pytest", TESTS, "-q", "-rfE", "--tb=short"]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider"],
            cwd=ROOT,
            env={**os.environ, **hidden},
            capture_output=True,
            text=True,
            timeout=share.left,
        )
    except subprocess.TimeoutExpired:
        share.left_out.append(f"{TESTS}, which was stopped")
        return {"passed": None}, ["stopped: its time was over"]
    lines = (done.stdout + done.stderr).strip().splitlines() or ["no output"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
    found = {
        "passed": done.returncode == 0,
        "summary": lines[-1],
        "seconds": time.monotonic() - start,
        "failed": failed,
        "output": lines[-400:] if done.returncode else [],
    }
    return found, [lines[-1], *failed[:40]]


# --- waits ------------------------------------------------------------------------------------


@contextlib.contextmanager
def counted_waits(into: list[int], device: str) -> Iterator[None]:
    """Append how often something waited for the device; on the CPU, how often one was read."""
    if device != "cuda":
        with Count(0, device) as seen:
            yield
        into.append(int(seen.syncs))
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
    into.append(sum("called a synchronizing" in str(entry.message) for entry in caught))


class Guarded:
    """A scheduler with its calls, and nothing else that a loop does, inside a context."""

    def __init__(
        self,
        scheduler: SchedulerLike,
        context: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        """Enter a context of its own for each call."""
        self._scheduler, self._context = scheduler, context

    def __getattr__(self, name: str) -> Any:
        """The scheduler's own attribute, guarded if it is one of ``CALLS``."""
        found = getattr(self._scheduler, name)
        if name not in CALLS:
            return found

        @functools.wraps(found)
        def call(*args: object, **kwargs: object) -> object:
            with self._context():
                return found(*args, **kwargs)

        return call


def waits(device: str, share: Share) -> tuple[Found, list[str]]:
    """How often a call waits: every class of ours, with noise of the host and of the device."""
    found: Found = {"ours": {}, "theirs": {}, "broken": {}}
    x, output = tensors(SHAPES["tiny"], device)

    def ours(name: str) -> float:
        seen: list[int] = []
        calls = 0
        for source in ([torch.Generator()], torch.Generator(device)):
            scheduler = SCHEDULERS[name]()
            scheduler.set_timesteps(STEPS, device=device)
            _ = scheduler.timesteps  # brought over before the first step
            guarded = Guarded(scheduler, functools.partial(counted_waits, seen, device))
            start = x * float(scheduler.init_noise_sigma)
            calls += sum(1 for _ in walk(guarded, lambda *_: output, start, generator=source))
        return sum(seen) / calls

    def theirs(row: Row) -> float:
        seen: list[int] = []
        guarded = Guarded(fresh(row, True, device), functools.partial(counted_waits, seen, device))
        steps, calls = laid_out(guarded, row, x, output)
        steps()
        return sum(seen) / calls

    rows = {row.scheduler: row for row in reversed(ROWS) if counterpart(row)}
    sides = [("ours", name) for name in SCHEDULERS]
    sides += [("theirs", name) for name in SCHEDULERS if name in rows]
    for (side, name), _ in share.of(sides, " ".join):
        try:
            found[side][name] = ours(name) if side == "ours" else theirs(rows[name])
        except Exception as error:
            found["broken"][f"{side} {name}"] = failure(error)
    if not (found["ours"] or found["broken"]):
        return {"passed": None}, []
    waiters = {name: n for name, n in found["ours"].items() if n}
    # Judging a step reads its error, as its page says.
    excused = {n for n in SCHEDULERS if SCHEDULERS[n].call_form == "adaptive"}
    found["passed"] = waiters.keys() <= excused and not any(
        side.startswith("ours") for side in found["broken"]
    )
    lines = [f"{len(found['ours'])} classes of ours, {len(found['theirs'])} of diffusers'"]
    for side in ("ours", "theirs"):
        named = [f"{n} {v:.3g}" for n, v in sorted(found[side].items(), key=lambda e: -e[1]) if v]
        lines.append(f"waits a call, {side}: {', '.join(named) or 'none'}")
    return found, [*lines, *broken(found)]


def broken(found: Found) -> list[str]:
    """A line for each measurement that broke."""
    return [f"broke: {what}: {error}" for what, error in found["broken"].items()]


# --- steps ------------------------------------------------------------------------------------


def counterpart(row: Row) -> bool:
    """Whether diffusers is here and has the class."""
    try:
        fresh(row, True, "cpu")
    except (ImportError, KeyError):
        return False
    return True


def laid_out(
    scheduler: SchedulerLike, row: Row, x: torch.Tensor, output: torch.Tensor, **step: object
) -> tuple[Callable[[], object], int]:
    """A run from the start with a model that costs nothing, and the number of its calls."""
    scheduler.set_timesteps(STEPS, device=x.device)
    if row.scheduler == "KarrasVeScheduler":
        levels = [*(float(scheduler.schedule[int(t)]) for t in scheduler.timesteps), 0.0]
        return functools.partial(karras_ve, scheduler, levels, x, output), 2 * STEPS - 1
    times = list(scheduler.timesteps)
    if not hasattr(scheduler, "step_pred"):
        return functools.partial(stepped, scheduler, times, x, output, step), len(times)
    names = ("model_output", "timestep", "sample")
    if "score" in inspect.signature(scheduler.step_pred).parameters:
        names = ("score", "t", "x")

    def score_sde() -> object:
        sample = x
        for t in times:
            if row.corrects:
                sample = scheduler.step_correct(output, sample)[0]
            else:
                given = dict(zip(names, (output, t, sample), strict=True))
                sample = scheduler.step_pred(**given)[0]
        return sample

    return score_sde, len(times)


def stepped(
    scheduler: SchedulerLike,
    times: Sequence[torch.Tensor],
    sample: torch.Tensor,
    output: torch.Tensor,
    step: Mapping[str, object],
) -> object:
    """The loop of most classes."""
    for t in times:
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(output, t, sample, **step).prev_sample
    return sample


def karras_ve(
    scheduler: SchedulerLike, levels: Sequence[float], sample: torch.Tensor, output: torch.Tensor
) -> object:
    """The loop of Karras VE, each step but the last one corrected."""
    for sigma, target in itertools.pairwise(levels):
        hat, sigma_hat = scheduler.add_noise_to_input(sample, sigma)
        step = scheduler.step(output, sigma_hat, target, hat)
        if target:
            step = scheduler.step_correct(
                output, sigma_hat, target, hat, step.prev_sample, step.derivative
            )
        sample = step.prev_sample
    return sample


def timed(
    row: Row, sides: Sequence[bool], x: torch.Tensor, output: torch.Tensor, share: float
) -> list[tuple[float, float]]:
    """Microseconds a call of each side: until all is launched, and until all is done."""
    wait = waiting(x.device.type)
    schedulers = [fresh(row, theirs, x.device.type) for theirs in sides]
    found: list[list[tuple[float, float]]] = [[] for _ in sides]
    end = time.monotonic() + share
    gc.collect()
    gc.disable()
    try:
        for number in range(1 + ROUNDS[1]):
            if number > ROUNDS[0] and time.monotonic() > end:
                break
            for theirs, scheduler, times in zip(sides, schedulers, found, strict=True):
                made = row.generator if row.generator and not theirs else None
                step = {**row.step, **({"generator": made(x.device)} if made else {})}
                steps, calls = laid_out(scheduler, row, x, output, **step)
                wait()
                start = time.perf_counter()
                steps()
                launched = time.perf_counter()
                wait()
                done = time.perf_counter()
                if number:  # the first warms up
                    times.append(((launched - start) / calls * 1e6, (done - start) / calls * 1e6))
    finally:
        gc.enable()
    return [
        (statistics.median(a for a, _ in times), statistics.median(b for _, b in times))
        for times in found
    ]


def steps(device: str, share: Share) -> tuple[Found, list[str]]:
    """Time of a call for every row, size and width, ours and diffusers' in turn."""
    rows = ROWS[::5] if share.quick else ROWS
    known = {row.title: counterpart(row) for row in rows}
    kinds = list(itertools.product(DTYPES, SHAPES))
    cells = [(kind, row) for kind in kinds for row in rows]
    found: Found = {"us": {}, "ratios": {}, "broken": {}}
    for ((dtype, size), row), seconds in share.of(
        cells, lambda cell: f"{cell[1].title} {' '.join(cell[0])}"
    ):
        kind = f"{size} {dtype}"
        x, output = (array.to(DTYPES[dtype]) for array in tensors(SHAPES[size], device))
        times: list[tuple[float, float]] = []
        for sides in ((False, True), (False,)) if known[row.title] else ((False,),):
            try:
                times = timed(row, sides, x, output, seconds)
                break
            except Exception as error:  # theirs alone may not know this width
                found["broken"][f"{row.title} {kind}, {len(sides)} sides"] = failure(error)
        if times:
            found["us"].setdefault(kind, {})[row.title] = times
        if len(times) == 2:
            ratios = [ours / theirs for ours, theirs in zip(*times, strict=True)]
            found["ratios"].setdefault(kind, {})[row.title] = ratios
    unfinished = not (found["us"] or found["broken"])
    alone = [what for what in found["broken"] if what.endswith(" 1 sides")]
    found["passed"] = None if unfinished else not alone
    found["means"] = {
        kind: [geomean(column) for column in zip(*ratios.values(), strict=True)]
        for kind, ratios in found["ratios"].items()
    }
    return found, [*tables(found, [row.title for row in rows]), *broken(found)]


def figure(number: float) -> str:
    """A number in three digits or so."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def tables(found: Found, titles: Sequence[str]) -> list[str]:
    """Ratios, then microseconds; in each cell of launching, then of the whole."""
    kinds = list(found["us"])

    def line(title: str, cells: Sequence[str]) -> str:
        return f"{title:22s}" + "".join(f"{cell:>18s}" for cell in cells)

    def pair(numbers: Sequence[float] | None) -> str:
        return "-" if numbers is None else " / ".join(map(figure, numbers))

    ratios = {k: found["ratios"].get(k, {}) for k in kinds}
    us = {k: {title: times[0] for title, times in found["us"][k].items()} for k in kinds}
    lines = []
    for head, table in (("ours / diffusers'", ratios), ("ours, us a call", us)):
        lines += ["", line(f"{head}:", kinds)]
        for title in titles:
            cells = [table[k].get(title) for k in kinds]
            if any(cells):
                lines.append(line(title, [pair(cell) for cell in cells]))
        if table is ratios:
            means = [found["means"].get(k) for k in kinds]
            lines.append(line("geometric mean", [pair(mean) for mean in means]))
    return ["launched / done", *lines]


# --- frames -----------------------------------------------------------------------------------


def watched(spec: RunSpec, device: str) -> tuple[float, float, torch.Tensor]:
    """Seconds to the first frame, seconds a step from there to the last, and the last sample."""
    start = time.perf_counter()
    film = run(spec, device=device)
    next(film)
    first = time.perf_counter()
    rest = list(film)
    seconds = (time.perf_counter() - first) / len(rest)
    return first - start, seconds, torch.from_numpy(rest[-1].sample.copy())


def bare(spec: RunSpec, device: str) -> tuple[float, torch.Tensor]:
    """Seconds a step of the same run without frames, and its last sample."""
    info, model, wait = MODELS[spec.model], load(spec.model, device=device), waiting(device)
    scheduler = SCHEDULERS[spec.scheduler](**dict(spec.config))
    scheduler.set_timesteps(spec.steps)
    owners = generators(spec.seed, spec.samples)
    shape = info.shape if info.kind == "image" else (PARTICLES, *info.shape)
    x = (unit_noise(shape, owners) * float(scheduler.init_noise_sigma)).to(device)
    weights = [scheduler.output_weights(i) for i in range(len(scheduler.stages))]
    scheduler.scale_model_input(x, scheduler.timesteps[0])
    noisy = "generator" in inspect.signature(scheduler.step).parameters
    step = {"generator": owners} if noisy else {}
    wait()
    start = time.perf_counter()
    with torch.inference_mode():
        for stage, t, (on_x, on_x0) in zip(
            scheduler.stages, scheduler.timesteps, weights, strict=True
        ):
            flat = x.reshape(-1, *info.shape)
            x0 = model.denoise(flat, stage.here.alpha, stage.here.sigma, spec.cond)
            output = x0.reshape(x.shape).mul(on_x0)
            if on_x:
                output = output.add(x, alpha=on_x)
            x = scheduler.step(output, t, x, **step).prev_sample
    wait()
    seconds = (time.perf_counter() - start) / len(weights)
    return seconds, x.reshape(-1, *info.shape).cpu()


def frames(device: str, share: Share) -> tuple[Found, list[str]]:
    """What it costs to watch: every frame on the host, beside the loop that keeps none there."""
    found: Found = {"films": {}, "broken": {}}
    head = ("watched ms/step", "bare ms/step", "over ms", "over %", "first frame ms")
    lines = [f"{'':26s}" + "".join(f"{title:>17s}" for title in head)]
    for title, seconds in share.of(list(FILMS), str):
        spec, end = FILMS[title], time.monotonic() + seconds
        firsts, seen, unseen, apart = [], [], [], 0.0
        try:
            for number in range(1 + ROUNDS[1]):
                if number > ROUNDS[0] and time.monotonic() > end:
                    break
                first, with_frames, film = watched(spec, device)
                without, sample = bare(spec, device)
                apart = max(apart, float((film - sample).abs().max()))
                if number:  # the first warms up
                    firsts.append(first * 1e3)
                    seen.append(with_frames * 1e3)
                    unseen.append(without * 1e3)
        except Exception as error:
            found["broken"][title] = failure(error)
            continue
        first, a, b = (statistics.median(times) for times in (firsts, seen, unseen))
        found["films"][title] = {
            "watched_ms": a,
            "bare_ms": b,
            "over_ms": a - b,
            "over_percent": (a / b - 1) * 100,
            "first_frame_ms": first,
            "rounds": len(seen),
            "apart": apart,
        }
        cells = (
            f"{a:.4f}",
            f"{b:.4f}",
            f"{a - b:+.4f}",
            f"{(a / b - 1) * 100:+.1f}",
            f"{first:.2f}",
        )
        lines.append(f"{title:26s}" + "".join(f"{cell:>17s}" for cell in cells))
        if apart > SAME_FILM:
            lines.append(f"{'':26s} not the same run: apart by {apart:.2g}")
    same = all(film["apart"] <= SAME_FILM for film in found["films"].values())
    found["passed"] = (same and not found["broken"]) if found["films"] or found["broken"] else None
    return found, [*lines, *broken(found)]


PARTS: Mapping[str, Callable[[str, Share], tuple[Found, list[str]]]] = {
    "tests": tests,
    "waits": waits,
    "steps": steps,
    "frames": frames,
}


def main() -> int:
    """Run the parts, print what they found, and write the same as JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--quick", action="store_true", help="a rehearsal: few rows, 90 seconds")
    parser.add_argument("--seconds", type=float, help=f"for all parts, up to {MOST_SECONDS:g}")
    parser.add_argument("--only", choices=list(PARTS), help="one part, with all of the time")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    device: str = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device; --device cpu --quick rehearses without one.")
        return 2
    seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else SECONDS)
    if not 0.0 < seconds <= MOST_SECONDS:
        parser.error(f"--seconds={seconds:g} must lie between 0 and {MOST_SECONDS:g}.")
    torch.set_num_threads(1)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    warnings.simplefilter("ignore")
    report: Found = {"machine": machine(device), "seconds": seconds, "parts": {}}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()), flush=True)
    begin, spent, good = time.monotonic(), 0.0, True
    for name, part in PARTS.items():
        if arguments.only not in (None, name):
            continue
        spent = 1.0 if arguments.only else spent + SHARES[name]
        share, start = Share(begin + seconds * spent, arguments.quick), time.monotonic()
        try:
            found, lines = part(device, share)
        except Exception:
            found, lines = {"passed": False}, traceback.format_exc().splitlines()
            found["error"] = lines
        found |= {"left_out": share.left_out, "took": time.monotonic() - start}
        good &= found["passed"] is True
        report["parts"][name] = found
        verdict = {True: "passed", False: "FAILED"}.get(found["passed"], "not finished")
        print(f"\n== {name}: {verdict}, {found['took']:.0f} s", *lines, sep="\n")
        if share.left_out:
            print(f"left out for want of time: {len(share.left_out)}: {share.left_out[0]} ...")
        sys.stdout.flush()
        if arguments.json:
            arguments.json.write_text(json.dumps(report, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
