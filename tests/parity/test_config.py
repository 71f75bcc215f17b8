"""Configurations travel: ours -> file -> theirs and back, and between classes without loss."""

import copy
import inspect
import json
from pathlib import Path

import pytest
import torch

from schedulers import ConfigMixin, KarrasDiffusionSchedulers, PushToHubMixin, SchedulerMixin
from tests.parity.harness import SCHEDULERS, accepts
from tests.parity.oracle import (
    DIFFUSERS,
    SchedulerLike,
    completed,
    diffusers_class,
    diffusers_scheduler,
)

#: Classes that stand in for each other; the others have an empty list of compatibles upstream too.
SIBLINGS = [name for name in DIFFUSERS if SCHEDULERS[name]._compatibles]
#: Every sibling with the next one and with one from the other half: linear in their number.
PAIRS = sorted(
    {
        (a, SIBLINGS[(i + step) % len(SIBLINGS)])
        for i, a in enumerate(SIBLINGS)
        for step in (1, len(SIBLINGS) // 2)
    }
)
OURS_ONLY = {"compat", "tensor_format", "_diffusers_version"}


def changed(name: str) -> dict[str, object]:
    """A configuration that differs from the defaults, out of what the class knows."""
    wanted: dict[str, object] = {
        "num_train_timesteps": 500,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "trained_betas": None,
        "sigma_max": 70.0,
        "s_churn": 10.0,
        "shift": 3.0,
        "shift_terminal": 0.1,
        "beta_max": 15.0,
    }
    if name.startswith("DPMSolverSinglestep"):
        wanted |= {"solver_order": 3, "lower_order_final": True, "lambda_min_clipped": -5.1}
    if name.startswith("DPMSolverMultistep"):
        wanted |= {"solver_order": 3, "use_karras_sigmas": True, "lambda_min_clipped": -5.1}
    if name.startswith("UniPC"):
        wanted |= {"use_flow_sigmas": True, "disable_corrector": [0, 2]}
    known = inspect.signature(diffusers_class(name)).parameters
    return {key: value for key, value in wanted.items() if key in known}


def plain(config: object) -> dict[str, object]:
    """The entries that both libraries know, as JSON sees them."""
    assert isinstance(config, dict)
    entries = {key: value for key, value in dict(config).items() if key not in OURS_ONLY}
    entries.pop("_class_name", None)
    entries.pop("_use_default_values", None)
    return {key: list(v) if isinstance(v, tuple) else v for key, v in entries.items()}


@pytest.mark.parametrize("name", DIFFUSERS)
def test_defaults_equal_theirs(name: str) -> None:
    assert plain(SCHEDULERS[name]().config) == plain(diffusers_scheduler(name).config)


@pytest.mark.parametrize("name", DIFFUSERS)
def test_they_read_what_we_save(name: str, tmp_path: Path) -> None:
    ours = SCHEDULERS[name](**changed(name))
    ours.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "scheduler_config.json").read_text())["_class_name"] == name
    theirs = diffusers_class(name).from_pretrained(tmp_path)
    assert plain(theirs.config) == plain(ours.config)


@pytest.mark.parametrize("name", DIFFUSERS)
def test_we_read_what_they_save(name: str, tmp_path: Path) -> None:
    theirs = diffusers_scheduler(name, **changed(name))
    theirs.save_pretrained(tmp_path)
    ours = SCHEDULERS[name].from_pretrained(tmp_path)
    assert plain(ours.config) == plain(theirs.config)
    sub = tmp_path / "pipeline"
    theirs.save_pretrained(sub / "scheduler")
    again = SCHEDULERS[name].from_pretrained(sub, subfolder="scheduler")
    assert plain(again.config) == plain(theirs.config)


@pytest.mark.parametrize("name", DIFFUSERS)
def test_files_are_equal_to_the_byte(name: str, tmp_path: Path) -> None:
    ours, theirs = SCHEDULERS[name](**changed(name)), diffusers_scheduler(name, **changed(name))
    ours.save_config(tmp_path / "ours")
    theirs.save_config(tmp_path / "theirs")
    a, b = ((tmp_path / who / "scheduler_config.json").read_bytes() for who in ("ours", "theirs"))
    assert a == b


@pytest.mark.parametrize("name", DIFFUSERS)
def test_from_config_either_way(name: str) -> None:
    ours, theirs = SCHEDULERS[name](**changed(name)), diffusers_scheduler(name, **changed(name))
    assert plain(SCHEDULERS[name].from_config(theirs.config).config) == plain(theirs.config)
    assert plain(diffusers_class(name).from_config(dict(ours.config)).config) == plain(ours.config)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_to_b_to_a(a: str, b: str) -> None:
    """What B does not know survives the visit; what was never set takes each class's own default."""

    def tour(classes: dict[str, type[SchedulerLike]]) -> list[dict[str, object]]:
        start = classes[a].from_config(changed(a))
        visit = classes[b].from_config(start.config)
        back = classes[a].from_config(visit.config)
        return [plain(s.config) for s in (start, visit, back)]

    ours = tour({name: SCHEDULERS[name] for name in (a, b)})
    theirs = tour({name: diffusers_class(name) for name in (a, b)})
    assert ours == theirs
    assert {key: ours[2][key] for key in ours[0]} == ours[0]


@pytest.mark.parametrize(
    ("a", "config", "b"),
    [
        ("DPMSolverMultistepScheduler", {"solver_type": "heun"}, "DEISMultistepScheduler"),
        ("UniPCMultistepScheduler", {"solver_type": "bh1"}, "DPMSolverMultistepScheduler"),
        (
            "DPMSolverSinglestepScheduler",
            {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
            "DEISMultistepScheduler",
        ),
    ],
)
def test_words_of_another_class_come_back(a: str, config: dict[str, str], b: str) -> None:
    """What B takes for a word of its own is A's again after the visit; theirs keep B's."""
    visit = SCHEDULERS[b].from_config(SCHEDULERS[a](**config).config)
    theirs = diffusers_class(b).from_config(diffusers_scheduler(a, **config).config)
    assert plain(visit.config) == plain(theirs.config)
    back = SCHEDULERS[a].from_config(copy.deepcopy(visit).config)
    assert {key: back.config[key] for key in config} == config


def test_unused_arguments_come_back() -> None:
    ours, left = SCHEDULERS["DDIMScheduler"].from_config(
        {"beta_end": 0.03}, return_unused_kwargs=True, steps_offset=1, no_such_parameter=3
    )
    assert ours.config.steps_offset == 1
    assert left == {"no_such_parameter": 3}


def test_every_visit_leaves_everything_as_it_was() -> None:
    """Ours among themselves, every pair: A -> B -> A restores A."""
    for a in DIFFUSERS:
        start = SCHEDULERS[a].from_config(changed(a))
        for b in SCHEDULERS:
            try:
                visit = SCHEDULERS[b].from_config(start.config)
            except ValueError:
                continue  # b refuses a value of a's: nobody visits
            back = SCHEDULERS[a].from_config(visit.config)
            assert {key: back.config[key] for key in plain(start.config)} == plain(start.config), b


@pytest.mark.parametrize("name", DIFFUSERS)
def test_compatibles_are_theirs(name: str) -> None:
    ours = {cls.__name__ for cls in SCHEDULERS[name]().compatibles}
    theirs = {cls.__name__ for cls in diffusers_scheduler(name).compatibles}
    # a class that diffusers no longer exports is not its own sibling there
    assert ours == (theirs & set(SCHEDULERS)) | {name}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_shared_pieces_are_shared(name: str) -> None:
    for piece in (SchedulerMixin, ConfigMixin, PushToHubMixin):
        assert issubclass(SCHEDULERS[name], piece)
    assert SCHEDULERS[name] in SCHEDULERS[name]().compatibles


def test_the_enumeration_of_siblings_is_theirs() -> None:
    from diffusers.schedulers import KarrasDiffusionSchedulers as Theirs

    assert [(e.name, e.value) for e in KarrasDiffusionSchedulers] == [
        (e.name, e.value) for e in Theirs
    ]


def test_trained_betas_and_minus_infinity_survive_json(tmp_path: Path) -> None:
    betas = torch.linspace(0.01, 0.3, 8).numpy()
    ours = SCHEDULERS["DPMSolverMultistepScheduler"](num_train_timesteps=8, trained_betas=betas)
    ours.save_pretrained(tmp_path)
    for cls in (
        SCHEDULERS["DPMSolverMultistepScheduler"],
        diffusers_class("DPMSolverMultistepScheduler"),
    ):
        again = cls.from_pretrained(tmp_path)
        assert again.config.lambda_min_clipped == -float("inf")
        assert torch.equal(torch.as_tensor(again.betas), torch.as_tensor(ours.betas))


SWAPPED: list[dict[str, object]] = [
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
    {"final_sigmas_type": "sigma_min"},
    {"sigma_min": 0.1, "sigma_max": 5.0, "use_karras_sigmas": True},
    {"rescale_betas_zero_snr": True},
    {"clip_sample": True, "thresholding": True},
    {"steps_offset": 1, "timestep_spacing": "leading", "beta_schedule": "scaled_linear"},
    {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    {"solver_type": "heun", "solver_order": 3},
    {"variance_type": "fixed_large"},
    {"set_alpha_to_one": False},
]


#: Float times come from logarithms of a table of roots, which torch rounds correctly on some
#: processors only (its AVX-512 square root may be off by one in the last place).
FEW_ULPS = 1e-6


#: Classes whose ``timesteps`` hold the times of midpoints.
MIDPOINTS = {
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
    "DPMPP2SAncestralScheduler",
}


def swapped_run(scheduler: SchedulerLike) -> tuple[list[float], torch.Tensor]:
    """Times and result of a short run."""
    scheduler.set_timesteps(7)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 4, 4, generator=generator)
    draws = "generator" in inspect.signature(scheduler.step).parameters
    for t in scheduler.timesteps:
        output = 0.5 * torch.tanh(scheduler.scale_model_input(x, t))
        extra = {"generator": generator} if draws else {}
        x = scheduler.step(output, t, x, **extra).prev_sample
    return scheduler.timesteps.double().tolist(), x


@pytest.mark.parametrize("b", SIBLINGS)
def test_a_swapped_scheduler_makes_the_images_of_theirs(b: str) -> None:
    """Options of one class that the other does not know must not steer it."""
    for i, config in enumerate(SWAPPED):
        sources = [
            a
            for a in SIBLINGS
            if a != b and set(config) <= set(inspect.signature(diffusers_class(a)).parameters)
        ]
        if not sources:
            continue  # nobody else has this option
        a = sources[(SIBLINGS.index(b) + i) % len(sources)]
        config = {"num_train_timesteps": 500, **config}  # some of theirs walk all of them slowly
        seed = {"noise_sampler_seed": 4} if accepts(SCHEDULERS[b], "noise_sampler_seed") else {}
        theirs = completed(
            diffusers_class(b).from_config(diffusers_scheduler(a, **config).config, **seed)
        )
        try:
            times, expected = swapped_run(theirs)
        except (ValueError, NotImplementedError):
            continue  # theirs refuses the prediction type of the other class
        ours = SCHEDULERS[b].from_config(SCHEDULERS[a](**config).config, **seed)
        found_times, found = swapped_run(ours)
        if b in MIDPOINTS:
            # between the steps stand logarithms of float32 sigmas: tests/parity/test_grids.py
            assert found_times[1::2] == pytest.approx(times[1::2], rel=1e-6, abs=1e-2)
            assert found_times[::2] == pytest.approx(times[::2], rel=FEW_ULPS)
        elif all(t.is_integer() for t in times):
            assert found_times == times, f"{a} -> {b} {config}"
        else:
            assert found_times == pytest.approx(times, rel=FEW_ULPS), f"{a} -> {b} {config}"
        # An option that steers moves samples by tenths; SA-Solver's float32 weights, by 3e-4.
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3, equal_nan=True)
