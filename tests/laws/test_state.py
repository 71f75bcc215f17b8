"""State has one owner: copies, interleaved runs, callers' arrays and global noise are left alone."""

import contextlib
import copy
import inspect
import pickle
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
import torch

from schedulers import SCHEDULERS
from schedulers.core.exports import public_arrays
from tests.laws.driver import (
    NAMES,
    STEPS,
    Array,
    Moment,
    SchedulerLike,
    knowing,
    lay_out,
    make,
    noise,
    sampled,
    torch_noise,
    walk,
)


def tanh(index: int, x: torch.Tensor) -> torch.Tensor:
    """A model that predicts something smooth."""
    del index
    return torch.tanh(x)


def run(name: str, settings: dict[str, object], seed: int = 3) -> list[torch.Tensor]:
    """Every sample of a seeded run."""
    scheduler = make(name, **settings)
    top = torch_noise(1) * scheduler.stages[0].here.scale
    generator = torch.Generator().manual_seed(seed)
    return [m.after for m in walk(scheduler, tanh, top, generator=generator)]


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_run(name: str) -> None:
    for settings in sampled(name, 12, seed=1):
        first, again = run(name, settings), run(name, settings)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), settings


def by_pickle(scheduler: SchedulerLike) -> SchedulerLike:
    return pickle.loads(pickle.dumps(scheduler))


def by_dict(scheduler: SchedulerLike) -> SchedulerLike:
    """As pipelines do that keep one state for each view."""
    fresh = type(scheduler)()
    fresh.__dict__.update(copy.deepcopy(scheduler.__dict__))
    return fresh


@pytest.mark.parametrize(("clone", "most"), [(copy.deepcopy, 40), (by_pickle, 40), (by_dict, 12)])
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_made_mid_run_continues_identically(
    name: str, clone: Callable[[SchedulerLike], SchedulerLike], most: int
) -> None:
    for settings in sampled(name, most, seed=2):
        expected = run(name, settings)
        scheduler = make(name, **settings)
        half = len(scheduler.stages) // 2 // 2 * 2
        generator = torch.Generator().manual_seed(3)
        top = torch_noise(1) * scheduler.stages[0].here.scale
        *_, last = walk(scheduler, tanh, top, generator=generator, stop=half)
        copied = clone(scheduler)
        # the original goes elsewhere first: the copy must not notice
        drift = walk(scheduler, tanh, -last.after, half, torch.Generator(), resume=True)
        next(drift), next(drift)
        moments = walk(copied, tanh, last.after, half, generator, resume=True)
        for a, moment in zip(expected[half:], moments, strict=True):
            assert torch.equal(a, moment.after), f"{settings}, call {moment.index}"


@pytest.mark.parametrize("name", NAMES)
def test_interleaved_runs_do_not_touch(name: str) -> None:
    for settings in sampled(name, 12, seed=3):
        alone = [run(name, settings, seed) for seed in (3, 4)]
        iterators = []
        for seed in (3, 4):
            scheduler = make(name, **settings)
            top = torch_noise(1) * scheduler.stages[0].here.scale
            generator = torch.Generator().manual_seed(seed)
            iterators.append(walk(scheduler, tanh, top, generator=generator))
        for index, pair in enumerate(zip(*iterators, strict=True)):
            for expected, moment in zip(alone, pair, strict=True):
                assert torch.equal(expected[index], moment.after), settings


@pytest.mark.parametrize("name", NAMES)
def test_set_timesteps_starts_afresh(name: str) -> None:
    """Also in the middle of a run, and with another number of steps in between."""
    scheduler = make(name)
    expected = run(name, {})
    top = torch_noise(1) * scheduler.stages[0].here.scale
    partial = walk(scheduler, tanh, top, generator=torch.Generator())
    next(partial), next(partial)
    lay_out(scheduler, STEPS + 3)
    lay_out(scheduler, STEPS)
    generator = torch.Generator().manual_seed(3)
    again = walk(scheduler, tanh, top, generator=generator)
    assert all(torch.equal(a, m.after) for a, m in zip(expected, again, strict=True))


@pytest.mark.parametrize("kind", ["np", "pt"])
@pytest.mark.parametrize("name", NAMES)
def test_step_never_changes_its_inputs(name: str, kind: str) -> None:
    for settings in sampled(name, 60, seed=4):
        scheduler = make(name, **settings)
        kept: list[tuple[Array, Array]] = []

        def model(index: int, x: Array, kept: list[tuple[Array, Array]] = kept) -> Array:
            out = x / (1 + abs(x))
            kept.extend([(x, x + 0.0), (out, out + 0.0)])
            return out

        top = noise(1) * scheduler.stages[0].here.scale
        generator = torch.Generator().manual_seed(1)
        start = torch.from_numpy(top) if kind == "pt" else top
        list(walk(scheduler, model, start, generator=generator))
        assert all(bool((now == before).all()) for now, before in kept), settings


@pytest.mark.parametrize("name", NAMES)
def test_a_reused_output_buffer_changes_nothing(name: str) -> None:
    """Compiled models write every output into the same memory."""
    for settings in sampled(name, 60, seed=5):
        expected = run(name, settings)
        scheduler = make(name, **settings)
        top = torch_noise(1) * scheduler.stages[0].here.scale
        generator = torch.Generator().manual_seed(3)
        moments = walk(scheduler, tanh, top, generator=generator, scribble=True)
        for a, moment in zip(expected, moments, strict=True):
            assert torch.equal(a, moment.after), settings


@pytest.mark.parametrize("name", NAMES)
def test_global_noise_is_left_alone(name: str) -> None:
    """With a generator nothing else is drawn; without noise in the rows, nothing at all."""
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    run(name, {})
    scheduler = make(name)
    if not any(scheduler.row(i).noise for i in range(len(scheduler.stages))) and (
        scheduler.call_form == "step"
    ):
        list(walk(scheduler, tanh, torch_noise(1)))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_list_of_generators_makes_samples_independent_of_the_batch(name: str) -> None:
    # norms over the whole batch are upstream's; of each sample, the paper's
    settings = {"compat": "paper"} if SCHEDULERS[name].weighs_by_norms else {}
    scheduler = make(name, **settings)
    top = torch_noise(1) * scheduler.stages[0].here.scale

    def last(x: torch.Tensor, seeds: tuple[int, ...]) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        *_, moment = walk(make(name, **settings), tanh, x, generator=generators)
        assert isinstance(moment, Moment)
        after: torch.Tensor = moment.after
        return after

    both = last(top, (5, 6))
    assert torch.equal(both[:1], last(top[:1], (5,)))
    assert torch.equal(both[1:], last(top[1:], (6,)))


@pytest.mark.parametrize("name", NAMES)
def test_objects_share_nothing(name: str) -> None:
    a, b = make(name), make(name)
    b.set_timesteps(3)
    assert len(a.timesteps) != len(b.timesteps) or a.call_form == "adaptive"
    for t in a.timesteps[:1]:
        a.scale_model_input(torch_noise(1), t)

    def own(scheduler: SchedulerLike) -> set[int]:
        return {
            id(value)
            for value in vars(scheduler).values()
            if isinstance(value, (list, dict))
            or (isinstance(value, np.ndarray) and value.flags.writeable)
        }

    shared = own(a) & own(b)
    assert not shared
    assert noise(1).flags.writeable


def plain(value: object) -> object:
    """A value of an attribute, so that equal ones compare equal."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, deque)):
        return [plain(entry) for entry in value]
    return plain(vars(value)) if hasattr(value, "__dict__") else value


def state(scheduler: SchedulerLike) -> dict[str, object]:
    """Every attribute but the arrays that were handed out."""
    return {key: plain(value) for key, value in vars(scheduler).items() if key != "_exports"}


@pytest.mark.parametrize("name", NAMES)
def test_a_shared_grid_is_the_one_laid_out_afresh(name: str) -> None:
    """What equal objects take over from each other leaves nothing of the run before."""
    for settings in sampled(name, 12, seed=6):
        first = make(name, **settings)
        again = make(name, STEPS + 1, **settings)
        top = torch_noise(1) * again.stages[0].here.scale
        steps = walk(again, tanh, top, generator=torch.Generator())
        next(steps), next(steps)
        if "timesteps" in inspect.signature(again.set_timesteps).parameters:
            with contextlib.suppress(ValueError):  # a curve has times of its own
                again.set_timesteps(timesteps=[30, 9, 2])
        lay_out(again, STEPS)
        assert state(again) == state(first), settings
        assert again.timesteps.tolist() == first.timesteps.tolist()


@pytest.mark.parametrize("name", knowing("num_train_timesteps"))
def test_a_replaced_config_leads_nobody_else_astray(name: str) -> None:
    """The table stays the one of the constructor, and so must the grids laid out from it."""
    change = {"num_train_timesteps": 500}
    wanted = make(name, **change)
    replaced = SCHEDULERS[name]()
    replaced.register_to_config(**change)
    with contextlib.suppress(ValueError):
        lay_out(replaced, STEPS)
    assert make(name, **change).sigmas.tolist() == wanted.sigmas.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_array_can_be_written(name: str) -> None:
    """Callers who write to what they see change no other object, nor the grid itself."""
    for kind in ("np", "pt"):
        scheduler, other = make(name, tensor_format=kind), make(name, tensor_format=kind)
        scheduler.timesteps[...] = 0
        assert other.timesteps.tolist() == make(name, tensor_format=kind).timesteps.tolist()
        assert any(other.timesteps != 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_set_timesteps_changes_nothing(name: str) -> None:
    scheduler = make(name, 5)
    before = copy.deepcopy(scheduler)
    with pytest.raises(ValueError, match="num_inference_steps"):
        scheduler.set_timesteps(0)
    assert scheduler.timesteps.tolist() == before.timesteps.tolist()
    assert scheduler.stages == before.stages
    assert scheduler.config == before.config


def test_a_schedule_cut_short_by_assignment() -> None:
    """Callers of diffusers assign timesteps; the rest of the run goes on from there."""
    for name in ("DDIMScheduler", "DDPMScheduler"):
        whole, cut = make(name, 10), make(name, 10)
        cut.timesteps = cut.timesteps[5:]
        x = torch_noise()
        assert cut.set_format("np").timesteps.tolist() == whole.timesteps[5:].tolist()
        for t in cut.set_format("pt").timesteps:
            one, other = (
                s.step(x, t, x, generator=torch.Generator().manual_seed(0)).prev_sample
                for s in (whole, cut)
            )
            assert torch.equal(one, other)


def test_formats_switch_everything() -> None:
    for name in NAMES:
        scheduler = make(name, 5, tensor_format="np")
        public = {k for k in public_arrays(type(scheduler)) if getattr(scheduler, k) is not None}
        assert {type(getattr(scheduler, k)) for k in public} == {np.ndarray}
        scheduler.set_format("pt")
        kinds = {k: type(getattr(scheduler, k)) for k in public}
        assert set(kinds.values()) == {torch.Tensor}, kinds
        assert isinstance(scheduler.timesteps, torch.Tensor)


@pytest.mark.parametrize("shape", [(2,), (1,), ()])
@pytest.mark.parametrize("method", ["add_noise", "get_velocity"])
@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_the_forward_process_reads_no_device_value(
    name: str, method: str, shape: tuple[int, ...]
) -> None:
    """On the meta device there is no value to read: whoever asks for one fails."""
    x = torch.empty(2, 3, 4, 4, device="meta")
    times = torch.empty(shape, dtype=torch.int64, device="meta")
    assert getattr(SCHEDULERS[name](), method)(x, x, times).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_a_shallow_copy_lays_out_a_grid_of_its_own(name: str) -> None:
    first, other = make(name), make(name, STEPS + 1)
    aside = copy.copy(first)
    lay_out(aside, STEPS + 1)
    assert aside.timesteps.tolist() == other.timesteps.tolist()
    first.set_format("np")
    assert first.timesteps.tolist() == make(name).timesteps.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_numpy_grids_vouch_for_no_device(name: str) -> None:
    """NumPy's format takes any device; the grid that it shares must not pass for torch's."""
    scheduler = SCHEDULERS[name](tensor_format="np")
    scheduler.set_timesteps(STEPS, device="nowhere")
    with pytest.raises(ValueError, match="device='nowhere' is not a device"):
        SCHEDULERS[name](tensor_format="pt").set_timesteps(STEPS, device="nowhere")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (name, key, value)
        for key, value in (("clip_sample", True), ("thresholding", True), ("clip_denoised", False))
        for name in knowing(key)
    ],
)
def test_a_config_replaced_during_a_run_holds_from_the_next_call(
    name: str, key: str, value: bool
) -> None:
    """Pipelines replace it after set_timesteps too; rows and bounds heed it at once."""
    replaced, made = make(name), make(name, **{key: value})
    top = torch_noise(1) * 3.0
    t = made.timesteps[0]
    replaced.predict_x0(tanh(0, top), t, top)  # what it prepares must not be kept
    replaced.register_to_config(**{key: value})
    expected = made.predict_x0(tanh(0, top), t, top)
    assert torch.equal(replaced.predict_x0(tanh(0, top), t, top), expected)


@pytest.mark.parametrize("first", ["edited", "fresh"])
@pytest.mark.parametrize(
    "name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"]
)
def test_an_edited_end_of_a_flow_reaches_no_other_object(name: str, first: str) -> None:
    """In either order: the object that was edited heeds it, the other never sees it."""
    plain = make(name, 4).sigmas.tolist()
    edited, fresh = SCHEDULERS[name](), SCHEDULERS[name]()
    edited.sigma_max = 0.7
    for scheduler in (edited, fresh) if first == "edited" else (fresh, edited):
        scheduler.set_timesteps(4)
    assert fresh.sigmas.tolist() == plain
    assert edited.sigmas[0] == pytest.approx(0.7)
