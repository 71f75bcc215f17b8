"""What holds on a GPU: samples of the CPU, dtypes, places of arrays, copies, and no step that waits.

These run on CUDA where there is one, and else on the CPU. For steps that must not wait the meta
device then stands for CUDA: its arrays have no values, so that whoever asks for one fails.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import Guarded, counted_waits
from benchmarks.schedulers import Count
from schedulers import SCHEDULERS
from tests.laws.driver import (
    NAMES,
    SHAPE,
    STEPS,
    Moment,
    SchedulerLike,
    choices,
    noise,
    possible,
    singles,
    walk,
)

ADAPTIVE = [name for name in NAMES if SCHEDULERS[name].call_form == "adaptive"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
#: Where a step that waits is found out.
ASYNCHRONOUS = "cuda" if torch.cuda.is_available() else "meta"
HALVES = (torch.float16, torch.bfloat16)
#: float32 holds 6e-8. Devices fuse and order the same few operations differently, an ulp of the
#: largest term each time, and a run carries that on: moving every model output and every sample
#: of these runs by an ulp moves no later sample by more than 5e-6 of the values around it.
SAME_RUN = 1e-5
#: One multiplication and one fused multiply-add.
SAME_SUM = 1e-6
#: Takes a torch generator for its seed, and draws on the sample's own device, as upstream.
SEEDED = ("CosineDPMSolverMultistepScheduler",)


def made(name: str, device: str, **config: object) -> SchedulerLike:
    """A scheduler whose `timesteps` are on a device; an adaptive one stands by its plan."""
    scheduler = SCHEDULERS[name](**config)
    scheduler.set_timesteps(STEPS, device=device)
    if scheduler.call_form == "adaptive":
        scheduler.set_timesteps(device=device, attempts=scheduler.attempts)
    return scheduler


def tensor(
    seed: int, device: str, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Unit noise times a scale, drawn on the host so that it is the same everywhere."""
    return torch.from_numpy(noise(seed) * scale).to(device, dtype)


def top(scheduler: SchedulerLike, device: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """What a run starts from."""
    return tensor(1, device, scheduler.stages[0].here.scale, dtype)


def model(index: int, x: torch.Tensor) -> torch.Tensor:
    """Another prediction at each call; the same on every device, to the last digit."""
    return torch.from_numpy(np.tanh(noise(20 + index))).to(x.device, x.dtype)


def one_answer(index: int, x: torch.Tensor) -> torch.Tensor:
    """The same prediction at every call."""
    return model(0, x)


def hosts() -> list[torch.Generator]:
    """A generator on the CPU for each sample."""
    return [torch.Generator().manual_seed(5 + k) for k in range(SHAPE[0])]


def sources() -> dict[str, object]:
    """Noise from everywhere: nobody's, the host's, NumPy's, the device's."""
    found: dict[str, object] = {"none": None, "hosts": hosts(), "numpy": np.random.default_rng(0)}
    if ASYNCHRONOUS == "cuda":
        found["device"] = torch.Generator("cuda").manual_seed(0)
    return found


def run(scheduler: SchedulerLike, device: str, generator: object = None) -> list[Moment]:
    """Every call of a float32 run."""
    return list(walk(scheduler, model, top(scheduler, device), generator=generator))


def draws(scheduler: SchedulerLike) -> bool:
    """Whether a run adds noise."""
    # Karras VE adds it before a call, so that no row speaks of it
    return scheduler.call_form == "karras_ve" or any(
        scheduler.row(i).noise for i in range(len(scheduler.stages))
    )


def varied(name: str) -> list[dict[str, object]]:
    """The defaults, and what has a step do other things with arrays."""
    known = {p.name for p in SCHEDULERS[name].parameters()}
    others: list[dict[str, object]] = [{"thresholding": True}, {"noise_sampler_seed": 3}]
    others += [{"variance_type": kind} for kind in choices(name).get("variance_type", [])]
    return [{}, *(o for o in others if o.keys() <= known and possible(name, o))]


class Waits(Count):
    """Counts what waits for a device: values read, and weights, levels or tables brought over.

    Noise drawn on the host is brought over too, as large as a sample at least; on CUDA it comes
    from pinned memory, without waiting.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func.overloadpacket.__name__ in ("_to_copy", "copy_"):
            source = args[-1]
            across = isinstance(out, torch.Tensor) and out.device.type != source.device.type
            self.syncs += across and source.numel() < self.size
        return out


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Whatever waits for the asynchronous device in here fails."""
    if ASYNCHRONOUS != "cuda":
        with Waits(int(np.prod(SHAPE[1:])), ASYNCHRONOUS) as seen:
            yield
        assert seen.syncs == 0
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_what_waits_is_noticed() -> None:
    """The guards themselves: reading a value, and bringing one over."""
    x = torch.zeros(SHAPE, device=ASYNCHRONOUS)
    with without_waiting():
        x.mul(2.0).add_(x, alpha=3.0)
    with pytest.raises((RuntimeError, AssertionError)), without_waiting():
        x.sum().item()
    with pytest.raises((RuntimeError, AssertionError)), without_waiting():
        x * torch.tensor([2.0]).to(ASYNCHRONOUS)
    waits: list[int] = []
    with counted_waits(waits, DEVICE):
        float(torch.zeros(2, device=DEVICE).sum())
    assert waits == [1]


@pytest.mark.parametrize("device", sorted({DEVICE, "meta"}))
@pytest.mark.parametrize("name", NAMES)
def test_times_are_where_they_were_asked_for(name: str, device: str) -> None:
    scheduler = made(name, device)
    assert scheduler.timesteps.device.type == device
    # sigmas are read one by one, also by callers: there nobody waits for a device
    assert scheduler.sigmas.device.type == "cpu"
    assert copy.deepcopy(scheduler).timesteps.device.type == device
    assert made(name, "cpu").timesteps.device.type == "cpu"  # the grid is shared, the place is not
    scheduler.set_timesteps(STEPS + 1, device=torch.device(device))
    assert scheduler.timesteps.device.type == device
    scheduler.set_timesteps(STEPS)
    assert scheduler.timesteps.device.type == "cpu"


def distance(found: Sequence[Moment], expected: Sequence[Moment], host: SchedulerLike) -> float:
    """How far two runs part at most, in units of the largest values around each call."""
    assert len(found) == len(expected) == len(host.stages)
    worst, before = 0.0, 1.0
    for a, b in zip(found, expected, strict=True):
        here = max(1.0, float(b.shown.abs().max()), float(b.after.abs().max()))
        alpha = host.stages[b.index].here.alpha
        lens = max(1.0, 1.0 / alpha) if alpha else 1.0  # what x0 is read through
        # a correction goes back to what the call before was shown
        worst = max(
            worst,
            float((a.after.cpu() - b.after).abs().max()) / max(here, before),
            float((a.pred.cpu() - b.pred).abs().max()) / max(here, before) / lens,
        )
        before = here
    return worst


@pytest.mark.parametrize("source", ["hosts", "numpy"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_on_the_device_is_the_run_on_the_cpu(name: str, source: str) -> None:
    """With the same noise of the host, and times of the loop that are here or there."""
    for settings in varied(name):
        if DEVICE != "cpu" and (
            "noise_sampler_seed" in settings or (name in SEEDED and source == "hosts")
        ):
            continue  # a seed draws where the sample is
        host = made(name, "cpu", **settings)
        expected = run(host, "cpu", sources()[source])
        for times in {DEVICE, "cpu"}:
            found = run(made(name, times, **settings), DEVICE, sources()[source])
            assert {a.after.device.type for a in found} == {DEVICE}
            assert {a.pred.device.type for a in found} == {DEVICE}
            assert distance(found, expected, host) <= SAME_RUN, settings


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_on_the_device(name: str) -> None:
    """Runs repeat, and another seed is, well beyond the tolerance, another run."""
    host = made(name, "cpu")
    first, again, other = (
        run(made(name, DEVICE), DEVICE, torch.Generator(DEVICE).manual_seed(seed))
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(a.after, b.after) for a, b in zip(first, again, strict=True))
    assert first[-1].after.device.type == DEVICE
    on_cpu = [
        Moment(m.index, m.shown.cpu(), m.x0.cpu(), m.after.cpu(), m.pred.cpu()) for m in first
    ]
    assert (distance(other, on_cpu, host) > 10 * SAME_RUN) is draws(host)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NAMES)
def test_half_stays_half_and_finite(name: str, dtype: torch.dtype) -> None:
    scheduler = made(name, DEVICE)
    x = top(scheduler, DEVICE, dtype)
    # a flow read at sigma = 1e-3 would magnify a change of the answer past float16
    moments = list(walk(scheduler, one_answer, x, generator=hosts()))
    assert len(moments) == len(scheduler.stages)
    for moment in moments:
        for array in (moment.after, moment.pred):
            assert array.dtype == dtype and array.device.type == DEVICE
            assert bool(array.isfinite().all()), f"call {moment.index}"


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for method in ("add_noise", "get_velocity")
        for name in NAMES
        if hasattr(SCHEDULERS[name], method)
    ],
)
def test_the_forward_process_with_times_on_the_device(name: str, method: str) -> None:
    """As training has them, one for each sample or one for all, against plain numbers."""
    host, scheduler = made(name, "cpu"), made(name, DEVICE)
    clean, eps = tensor(1, "cpu"), tensor(2, "cpu")

    def plain(times: torch.Tensor) -> torch.Tensor:
        numbers = times.cpu().reshape(-1).tolist()
        return getattr(host, method)(clean, eps, numbers)

    times = scheduler.timesteps
    try:
        plain(times[[1, 3]])
    except ValueError:  # asked by training steps, or by places in a table of sigmas
        times = torch.arange(STEPS, device=DEVICE)
    for chosen in (times[[1, 3]], times[[2]], times[2]):
        assert chosen.device.type == DEVICE
        found = getattr(scheduler, method)(clean.to(DEVICE), eps.to(DEVICE), chosen)
        expected = plain(chosen)
        assert found.device.type == DEVICE and found.dtype == clean.dtype
        largest = max(1.0, float(expected.abs().max()))
        assert float((found.cpu() - expected).abs().max()) <= SAME_SUM * largest


BATCHED = [n for n in NAMES if hasattr(SCHEDULERS[n], "batch_step_no_noise")]


@pytest.mark.parametrize("name", BATCHED)
def test_steps_of_a_batch_with_times_on_the_device(name: str) -> None:
    host = made(name, "cpu")
    times = host.timesteps[[1, 4]]
    arrays = tensor(1, "cpu"), tensor(2, "cpu")
    expected = host.batch_step_no_noise(arrays[1], times, arrays[0])
    x, output = (array.to(DEVICE) for array in arrays)
    found = made(name, DEVICE).batch_step_no_noise(output, times.to(DEVICE), x)
    assert found.device.type == DEVICE
    assert float((found.cpu() - expected).abs().max()) <= SAME_RUN * float(expected.abs().max())
    # the second time the table is there
    scheduler = made(name, ASYNCHRONOUS)
    x, times = x.to(ASYNCHRONOUS), times.to(ASYNCHRONOUS)
    scheduler.batch_step_no_noise(x, times, x)
    with without_waiting():
        scheduler.batch_step_no_noise(x, times, x)


@pytest.mark.parametrize("source", sources())
@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits_for_the_device(name: str, source: str) -> None:
    """Times of the loop included, which a step knows by their address."""
    settings = varied(name)
    if source == "hosts":
        settings += [change for change in singles(name) if change and possible(name, change)]
    for chosen in settings:
        # Karras VE's own loop asks for levels as numbers
        times = "cpu" if SCHEDULERS[name].call_form == "karras_ve" else ASYNCHRONOUS
        scheduler = made(name, times, **chosen)
        _ = scheduler.timesteps  # brought over before the first step
        x, guarded = top(scheduler, ASYNCHRONOUS), Guarded(scheduler, without_waiting)
        # the meta device is slow: there each setting gets a few calls, and the defaults a run
        stop = 4 if chosen and ASYNCHRONOUS == "meta" else None
        *_, last = walk(guarded, model, x, generator=sources()[source], stop=stop)
        assert last.after.device.type == ASYNCHRONOUS, chosen


def test_only_an_adaptive_step_reads_a_number() -> None:
    """One at its last call, the error by which it is judged; none at the calls before."""
    assert ADAPTIVE
    for name in ADAPTIVE:
        scheduler, waits = SCHEDULERS[name](), []
        scheduler.set_timesteps(device=DEVICE)
        guarded = Guarded(scheduler, functools.partial(counted_waits, waits, DEVICE))
        *_, last = walk(guarded, one_answer, top(scheduler, DEVICE), generator=hosts())
        reads = waits[1::2]  # the scaled input comes before each step
        assert waits[::2] == [0] * len(reads) and len(reads) == last.index + 1
        assert reads == [int(scheduler.completes(i)) for i in range(len(reads))]
        assert len(set(reads)) == 2


def test_a_judged_run_on_the_device_is_the_run_on_the_cpu() -> None:
    """Errors are small differences of samples, and times follow from them: to a thousandth."""
    for name in ADAPTIVE:
        runs = []
        for device in (DEVICE, "cpu"):
            scheduler = SCHEDULERS[name]()
            scheduler.set_timesteps(device=device)
            x = top(scheduler, device)
            *_, last = walk(scheduler, lambda _, x: torch.tanh(x), x, generator=hosts())
            runs.append((last.after, scheduler.info, scheduler.timesteps))
        (found, info, times), (expected, same_info, same_times) = runs
        assert info == same_info and info["n_reject"] and info["n_accept"]
        assert found.device.type == times.device.type == DEVICE
        assert float((found.cpu() - expected).abs().max()) <= SAME_RUN
        assert torch.allclose(times.cpu(), same_times, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_made_mid_run_on_the_device_continues_identically(name: str) -> None:
    expected = run(made(name, DEVICE), DEVICE, hosts())
    scheduler, owners = made(name, DEVICE), hosts()
    half = len(expected) // 2 // 2 * 2
    start = top(scheduler, DEVICE)
    *_, last = walk(scheduler, model, start, generator=owners, stop=half)
    copied = copy.deepcopy(scheduler)
    assert copied.timesteps.device.type == DEVICE
    # the original goes elsewhere first: the copy must not notice
    drift = walk(scheduler, model, -last.after, half, hosts(), resume=True)
    next(drift), next(drift)
    moments = walk(copied, model, last.after, half, owners, resume=True)
    for a, b in zip(expected[half:], moments, strict=True):
        assert torch.equal(a.after, b.after) and torch.equal(a.pred, b.pred), f"call {b.index}"
