"""Laws 6, 8, 9 and the schema: what can be read off every class of the registry."""

import copy
import inspect
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from schedulers import NAMES as KNOWN_NAMES
from schedulers import SCHEDULERS, from_name
from schedulers.families.dpm import DpmScheduler
from tests.laws.driver import (
    NAMES,
    knowing,
    make,
    noise,
    possible,
    sampled,
    singles,
    split,
    walk,
)
from tests.parity.oracle import DIFFUSERS, diffusers_class

GROUPS = {"scheduler", "noise schedule", "spacing", "stochasticity", "prediction"}
UPSTREAM_HAS_KWARGS = {
    "from_config",
    "from_pretrained",
    "load_config",
    "get_config_dict",
    "push_to_hub",
    "save_pretrained",
    "save_config",
    "register_to_config",
}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_through_json(name: str) -> None:
    for settings in sampled(name, 80, seed=1):
        scheduler = SCHEDULERS[name](**settings)
        text = json.dumps(json.loads(scheduler.to_json_string()))
        again = SCHEDULERS[name].from_config(json.loads(text))
        for key, value in settings.items():
            assert again.config[key] == value
        again.set_timesteps(5)
        scheduler.set_timesteps(5)
        assert again.timesteps.tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_config_is_the_live_one(name: str, tmp_path: object) -> None:
    scheduler = SCHEDULERS[name](compat="paper")
    scheduler.save_pretrained(str(tmp_path))
    again = SCHEDULERS[name].from_pretrained(str(tmp_path))
    assert again.config.compat == "paper"
    assert dict(again.config) == {
        k: v for k, v in scheduler.config.items() if k != "_use_default_values"
    }


UNUSUAL: dict[str, dict[str, object]] = {
    "one": {"trained_betas": [0.25]},
    "seven": {"trained_betas": np.linspace(0.01, 0.5, 7, dtype=np.float32)},
    "many": {"trained_betas": np.linspace(1e-4, 0.01, 1500)},
    "beta_end": {"beta_end": 2.0},
    "constant": {"beta_start": 0.5, "beta_end": 0.5},
}


@pytest.mark.quirk("frozen-config", "paper")
@pytest.mark.parametrize(
    ("name", "which"), [(name, which) for which in UNUSUAL for name in knowing(*UNUSUAL[which])]
)
def test_unusual_configs_travel(name: str, which: str, tmp_path: Path) -> None:
    """What no run can use may still be made, saved, loaded, copied and handed to a sibling."""
    unusual = UNUSUAL[which]
    scheduler = SCHEDULERS[name](**unusual)
    scheduler.save_pretrained(tmp_path)
    again = SCHEDULERS[name].from_pretrained(tmp_path)
    assert again.to_json_string() == scheduler.to_json_string()
    assert again.config.keys() == {*scheduler.config} - {"_use_default_values"}
    assert np.array_equal(again.betas, copy.deepcopy(scheduler).betas)
    for cls in scheduler.compatibles:
        assert set(unusual) <= cls.from_config(scheduler.config).config.keys()


@pytest.mark.parametrize("name", knowing("beta_end"))
def test_levels_without_a_signal_are_refused_where_they_are_visited(name: str) -> None:
    scheduler = SCHEDULERS[name](beta_end=2.0)
    with warnings.catch_warnings(), pytest.raises(ValueError, match="beta_end=2.0"):
        warnings.simplefilter("error")
        scheduler.set_timesteps(10)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, p.name)
        for name, made in SCHEDULERS.items()
        for p in made.parameters()
        if p.call == "init" and p.kind == "float"
    ],
)
def test_what_is_no_number_is_refused_at_once(name: str, key: str) -> None:
    with pytest.raises(ValueError, match=key):
        SCHEDULERS[name](**{key: math.nan})


@pytest.mark.parametrize("name", NAMES)
def test_config_is_frozen(name: str) -> None:
    config = SCHEDULERS[name]().config
    key = next(k for k in config if not k.startswith("_"))
    for change in (
        lambda: config.__setitem__(key, 1),
        lambda: setattr(config, key, 1),
        lambda: config.update({key: 1}),
        lambda: config.pop(key),
    ):
        with pytest.raises(TypeError, match="a config cannot be changed"):
            change()
    del config["_use_default_values"]


@pytest.mark.parametrize("name", NAMES)
def test_no_variable_keywords_in_public_signatures(name: str) -> None:
    for method, function in inspect.getmembers(SCHEDULERS[name], callable):
        if method.startswith("_") or method in UPSTREAM_HAS_KWARGS:
            continue
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        theirs = getattr(diffusers_class(name), method, None) if name in DIFFUSERS else None
        if theirs is not None:  # what upstream takes and ignores, ours takes and says so
            kinds -= {p.kind for p in inspect.signature(theirs).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, method


@pytest.mark.parametrize("name", NAMES)
def test_every_public_method_is_documented(name: str) -> None:
    cls = SCHEDULERS[name]
    assert inspect.getdoc(cls)
    for method, function in inspect.getmembers(cls, inspect.isroutine):
        if not method.startswith("_"):
            assert inspect.getdoc(function), method
            assert "TODO" not in (inspect.getdoc(function) or "")


@pytest.mark.parametrize("name", NAMES)
def test_reference(name: str) -> None:
    reference = SCHEDULERS[name].reference
    assert SCHEDULERS[name].title
    assert reference.title and reference.authors and 2015 < reference.year < 2100
    assert reference.authors.split()[0] in str(reference)
    entry = reference.bibtex
    assert entry.startswith("@misc{") and entry.count("{") == entry.count("}")
    assert reference.title in entry and str(reference.year) in entry
    assert entry.count(" and ") >= reference.authors.count(", ") > 0, "all authors, by name"
    assert f"arXiv {reference.arxiv}" in " ".join((inspect.getdoc(SCHEDULERS[name]) or "").split())


def test_no_two_papers_share_a_key() -> None:
    papers = {made.reference.at("") for made in SCHEDULERS.values()}
    assert len({paper.bibtex.splitlines()[0] for paper in papers}) == len(papers)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_describe_the_signature(name: str) -> None:
    parameters = SCHEDULERS[name].parameters()
    signature = inspect.signature(SCHEDULERS[name].__init__).parameters
    described = [p.name for p in parameters if p.call == "init"]
    technical = {"self", "tensor_format"}
    assert described == [key for key in signature if key not in technical]
    for p in parameters:
        assert p.text.endswith(".") and p.group in GROUPS, p.name
        if p.default is not None:
            assert p.check(p.default) == p.default
        if p.kind in ("float", "int") and p.slider_low is not None:
            assert p.slider_high is not None and p.slider_low < p.slider_high
            for end in (p.slider_low, p.slider_high):
                p.check(int(end) if p.kind == "int" else end)
            if p.log:
                assert p.slider_low > 0
        if p.kind == "choice":
            assert p.choices
            assert p.default in p.choices or (p.optional and p.default is None)


@pytest.mark.parametrize("name", NAMES)
def test_both_frames(name: str) -> None:
    """Every call returns the next sample and the data prediction; predict_x0 agrees with it."""
    for settings in sampled(name, 60, seed=2):
        scheduler = make(name, **settings)
        top = np.tanh(noise(1)) * scheduler.stages[0].here.scale
        run = walk(
            scheduler, lambda i, x: np.tanh(noise(i)), top, generator=np.random.default_rng(1)
        )
        for moment in run:
            assert moment.after.shape == moment.pred.shape == top.shape
            assert np.isfinite(moment.after).all() and np.isfinite(moment.pred).all()
            if not settings.get("thresholding"):
                here = scheduler.stages[moment.index].here
                expected = moment.x0 if here.sigma else moment.shown / here.alpha
                scale = max(1.0, float(np.abs(moment.shown).max()))
                assert np.abs(moment.pred - expected).max() <= 1e-9 * scale, settings


@pytest.mark.parametrize("name", [n for n in NAMES if SCHEDULERS[n].call_form == "step"])
def test_predict_x0_agrees_with_step(name: str) -> None:
    for settings in sampled(name, 60, seed=3):
        if str(settings.get("variance_type", "")).startswith("learned"):
            continue  # the model output is then twice as wide; test_learned_variance covers it
        scheduler = make(name, **settings)
        x = noise(1)
        for i, t in enumerate(scheduler.timesteps):
            scheduler.scale_model_input(x, t)
            output = np.tanh(noise(50 + i))
            before = scheduler.predict_x0(output, t, x)
            again = scheduler.predict_x0(output, t, x)
            given = {"generator": np.random.default_rng(1)} if scheduler.row(i).noise else {}
            out = scheduler.step(output, t, x, **given)
            assert np.array_equal(before, again)
            assert np.array_equal(before, out.pred_original_sample), settings
            x = out.prev_sample


@pytest.mark.parametrize("name", NAMES)
def test_inert_settings_do_nothing(name: str) -> None:
    """What the class calls inert under some settings changes no number of a run."""

    def numbers(settings: dict[str, object]) -> list[np.ndarray]:
        init, step = split(name, settings)
        scheduler = make(name, tensor_format="np", **init)
        top = noise(1) * scheduler.stages[0].here.scale
        model = lambda i, x: 2 * np.tanh(noise(i))  # noqa: E731
        run = walk(scheduler, model, top, generator=np.random.default_rng(1), **step)
        return [moment.after for moment in run]

    parameters = {p.name: p for p in SCHEDULERS[name].parameters()}
    checked = 0
    for settings in singles(name):
        if not possible(name, settings):
            continue
        for inert in SCHEDULERS[name]().inert({**settings, "steps": 6}):
            p = parameters[inert]
            if p.kind in ("numbers", "object") or inert in settings:
                continue
            other: object = next((c for c in p.choices if c != p.default), None)
            if p.kind == "bool":
                other = not p.default
            elif p.kind in ("float", "int"):
                assert p.slider_low is not None and p.slider_high is not None
                other = p.slider_high if p.default == p.slider_low else p.slider_low
                other = int(other) if p.kind == "int" else other
            if other is None:
                continue
            try:
                changed = numbers({**settings, inert: other})
            except ValueError:
                continue  # refused together: nothing can be shown
            for a, b in zip(numbers(settings), changed, strict=True):
                assert np.array_equal(a, b), f"{inert} under {settings}"
            checked += 1
    assert checked or not SCHEDULERS[name]().inert({})


@pytest.mark.parametrize("known", KNOWN_NAMES)
def test_known_names(known: str) -> None:
    cls, config = KNOWN_NAMES[known]
    scheduler = from_name(
        known, prediction_type="v_prediction", tensor_format="np", compat="paper"
    )
    assert type(scheduler).__name__ == cls
    for key, value in config.items():
        assert scheduler.config[key] == value
    assert scheduler.config.prediction_type == "v_prediction"
    scheduler.set_timesteps(5)
    assert isinstance(scheduler.timesteps, np.ndarray)


@pytest.mark.parametrize(
    ("typed", "label"),
    [
        ("dpmpp_2m", "DPM++ 2M"),
        ("dpm++ 2m  KARRAS", "DPM++ 2M Karras"),
        ("DPM-Solver++ 2M", "DPM++ 2M"),
        ("sample_dpmpp_2m", "DPM++ 2M"),
        ("dpmpp_2m_sde_gpu", "DPM++ 2M SDE"),
        ("sample_dpmpp_2m_sde", "DPM++ 2M SDE"),
        ("dpmpp_2s_ancestral", "DPM++ 2S a"),
        ("DPM++ 2s A karras", "DPM++ 2S a Karras"),
        ("dpmpp_sde", "DPM++ SDE"),
        ("sample_dpmpp_sde", "DPM++ SDE"),
        ("k_euler", "Euler"),
        ("k_euler_a", "Euler a"),
        ("euler_ancestral", "Euler a"),
        ("k_dpm_2", "DPM2"),
        ("sample_dpm_2_ancestral", "DPM2 a"),
        ("k_dpm_2_a", "DPM2 a"),
        ("k_heun", "Heun"),
        ("sample_lms", "LMS"),
        ("dpm_fast", "DPM fast"),
        ("plms", "PLMS"),
        ("uni_pc", "UniPC"),
        ("deis", "DEIS"),
        ("ddim", "DDIM"),
    ],
)
def test_names_as_people_type_them(typed: str, label: str) -> None:
    a, b = from_name(typed), from_name(label)
    assert type(a) is type(b)
    assert dict(a.config) == dict(b.config)


def test_a_last_word_asks_for_a_curve() -> None:
    assert from_name("Euler exponential").config.use_exponential_sigmas
    assert from_name("dpmpp_2m beta").config.use_beta_sigmas
    for wrong in ("Euler a Karras", "Karras", "k", ""):
        with pytest.raises(ValueError, match="closest are"):
            from_name(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_stages_tell_the_grid(name: str) -> None:
    for steps in (1, 2, 20):
        scheduler = make(name, steps)
        stages = scheduler.stages
        assert len(stages) == scheduler.calls_of(steps)
        assert [s.t for s in stages] == [float(t) for t in scheduler.timesteps] or (
            scheduler.call_form != "step"
        )
        for i, stage in enumerate(stages):
            assert all(math.isfinite(v) for v in (stage.here.alpha, stage.here.sigma))
            assert stage.here.sigma > 0 or (scheduler.ascends and i == 0)
            assert scheduler.effective_order(i) >= 1
            row = scheduler.row(i)
            for value in (*row.x, *row.x0, *row.eps, row.noise):
                assert type(value) is float  # np.float64 would promote float32 arrays


OPEN = [
    name
    for name in NAMES
    if issubclass(SCHEDULERS[name], DpmScheduler)
    and "sigmas" in inspect.signature(SCHEDULERS[name].set_timesteps).parameters
]


@pytest.mark.parametrize("name", OPEN)
def test_custom_levels_are_visited(name: str) -> None:
    """Given as they are, to zero or above; the point mass is carried there."""
    x0, eps = np.tanh(noise(1)), noise(2)
    for settings in ({}, {"use_flow_sigmas": True}):
        scheduler = SCHEDULERS[name](tensor_format="np", compat="paper", **settings)
        for levels in ([0.9, 0.5, 0.2, 0.05], [0.9, 0.5, 0.2, 0.0]):
            ramp = settings and hasattr(scheduler, "time_shift")  # then 0 or more is appended
            scheduler.set_timesteps(sigmas=levels[:-1] if ramp else levels)
            assert scheduler.sigmas[:3].tolist() == pytest.approx(levels[:3])
            if not ramp:
                assert scheduler.sigmas[-1] == pytest.approx(levels[-1])
            here = scheduler.stages[0].here
            x = here.alpha * x0 + here.sigma * eps
            generator = np.random.default_rng(1)
            *_, last = walk(scheduler, lambda *_: x0, x, generator=generator)
            target = scheduler.stages[-1].target
            if not any(scheduler.row(i).noise for i in range(3)):
                assert np.abs(last.after - target.alpha * x0 - target.sigma * eps).max() < 1e-9
        times = [900, 500, 40]
        scheduler.set_timesteps(timesteps=times)
        assert scheduler.timesteps.tolist() == times


def test_learned_variance_interpolates() -> None:
    """DDPM: the model's second half goes from the smaller to the larger fixed variance."""
    x = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    spread = {}
    for variance, value in (
        ("learned_range", -1.0),
        ("learned_range", 1.0),
        ("fixed_small", 0.0),
        ("fixed_large", 0.0),
    ):
        scheduler = make("DDPMScheduler", variance_type=variance, clip_sample=False)
        output = torch.cat([x, x + value], dim=1) if variance == "learned_range" else x
        out = scheduler.step(
            output, scheduler.timesteps[2], x, generator=torch.Generator().manual_seed(1)
        )
        spread[variance, value] = out.prev_sample.abs().max().item()
    assert spread["learned_range", -1.0] == pytest.approx(spread["fixed_small", 0.0], rel=1e-6)
    assert spread["learned_range", 1.0] == pytest.approx(spread["fixed_large", 0.0], rel=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if SCHEDULERS[n].order == 2])
def test_a_second_call_completes_a_step_of_order_two(name: str) -> None:
    scheduler = make(name)
    orders = [scheduler.effective_order(i) for i in range(len(scheduler.stages))]
    assert orders == [1 + i % 2 for i in range(len(orders))]


@pytest.mark.parametrize("like", [np.zeros((2, 3, 4), np.float32), torch.zeros(2, 3, 4)])
def test_values_are_given_the_axes_of_an_array(like: object) -> None:
    """The first versions' ``match_shape``."""
    for values in ([1.0, 2.0], np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])):
        found = SCHEDULERS["DDIMScheduler"].match_shape(values, like)
        assert type(found) is type(like)
        assert found.shape == (2, 1, 1) and found.flatten().tolist() == [1.0, 2.0]
