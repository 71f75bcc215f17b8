"""The Explore tab's answers: complete, honest, JSON without NaN, and never an exception."""

from __future__ import annotations

import base64
import inspect
import io
import itertools
import json
import math
import random
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import MODELS
from sampling import RunSpec, SpecError, plan_run, trajectory
from sampling.spec import MAX_STEPS, NOT_OURS
from schedulers import NAMES, SCHEDULERS
from schedulers.core.coefficients import Coefficients
from schedulers.diagnostics.finding import short
from visualize import chips as chips_room
from visualize import encode, explore, films
from visualize.chips import Chip
from visualize.columns import MOST_TOLD
from visualize.encode import b64, jpeg_sheet, particles, pixels
from visualize.equations import equation
from visualize.explore import Explorer
from visualize.films import DENSITY_BINS, frames_to_keep
from visualize.sentences import sentence

DTYPES = {"u8": np.uint8, "u16": np.uint16, "f32": np.float32}
LINE = "mixture-1d"
PLANE = "mixture-2d"


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer(device="cpu")


def decoded(value: dict[str, Any]) -> np.ndarray:
    """What the page makes of an encoded array."""
    tag = next(tag for tag in DTYPES if tag in value)
    raw = base64.b64decode(value[tag], validate=True)
    return np.frombuffer(raw, DTYPES[tag]).reshape(value["shape"])


def strict(answer: Any) -> Any:  # noqa: ANN401
    """Through JSON and back, as on the way to the page; NaN and infinity are refused."""
    return json.loads(json.dumps(answer, allow_nan=False))


def asked(**settings: Any) -> dict[str, Any]:  # noqa: ANN401
    return RunSpec(**{"config": (), **settings}).to_dict()


# --- schema -----------------------------------------------------------------------------------


def test_the_schema_describes_everything(explorer: Explorer) -> None:
    schema = strict(explorer.schema())
    assert [entry["id"] for entry in schema["schedulers"]] == list(SCHEDULERS)
    assert [entry["id"] for entry in schema["models"]] == list(MODELS)
    assert {entry["name"] for entry in schema["names"]} == set(NAMES)
    assert RunSpec.from_dict(schema["default"]) == RunSpec.default()
    for entry in schema["schedulers"]:
        names = [parameter["name"] for parameter in entry["parameters"]]
        assert len(names) == len(set(names))
        assert not NOT_OURS & set(names)
        assert entry["title"]
        assert entry["reference"]["title"]
        for parameter in entry["parameters"]:
            assert parameter["text"]
            assert parameter["call"] in ("init", "step")
            if parameter["kind"] == "choice":
                assert parameter["choices"]
    for entry in schema["models"]:
        assert entry["default_class"] in [known["id"] for known in entry["classes"]]


def test_every_default_of_the_schema_is_accepted_back(explorer: Explorer) -> None:
    """The page may send every control, touched or not."""
    for entry in strict(explorer.schema())["schedulers"]:
        config = {parameter["name"]: parameter["default"] for parameter in entry["parameters"]}
        assert RunSpec.from_dict({"scheduler": entry["id"], "config": config}) == RunSpec(
            scheduler=entry["id"]
        )


# --- schedule ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 20, 137])
def test_the_schedule_is_complete(explorer: Explorer, scheduler: str, steps: int) -> None:
    ends = ("num_train_timesteps", "original_inference_steps")
    most = [p.default for p in SCHEDULERS[scheduler].parameters() if p.name in ends]
    steps = min([steps, *most])
    answer = strict(explorer.schedule(asked(scheduler=scheduler, steps=steps)))
    if steps > 40 and not answer["ok"]:
        # consistency models have few levels; the message says how many
        assert re.fullmatch(r".*137 must lie in 1\.\.\d+.*", answer["errors"]["steps"])
        return
    assert answer["ok"], answer
    assert answer["errors"] == {}
    taken = zip(answer["columns"]["step"], answer["columns"]["accepted"], strict=True)
    assert answer["steps"] == len({step for step, accepted in taken if accepted})
    # What upstream calls the number of steps is that of calls, where steps are groups of calls.
    counted = answer["steps"], answer["nfe"]
    assert steps in counted or SCHEDULERS[scheduler].call_form == "adaptive"
    assert RunSpec.from_query(answer["query"]) == RunSpec.from_dict(answer["spec"])
    assert len(answer["equations"]) == answer["nfe"]
    assert len(answer["contributions"]["calls"]) == answer["nfe"]
    for name, column in answer["columns"].items():
        assert len(column) == answer["nfe"], name
    # pure noise has an infinite ratio, which JSON cannot hold
    rho = [math.inf if value is None else value for value in answer["columns"]["rho"]]
    assert rho[-1 if SCHEDULERS[scheduler].ascends else 0] == max(rho)
    made = plan_run(RunSpec(scheduler=scheduler, steps=steps))
    assert answer["columns"]["t"] == pytest.approx([stage.t for stage in made.calls], rel=1e-6)
    known = {entry.name for entry in SCHEDULERS[scheduler].parameters()}
    asks = {"steps"} if SCHEDULERS[scheduler].call_form == "adaptive" else set()
    assert asks <= set(answer["inert"]) <= known | asks
    assert all(answer["inert"].values())


def test_the_page_knows_the_most_steps_of_a_class(explorer: Explorer) -> None:
    few = 0
    for entry in strict(explorer.schema())["schedulers"]:
        defaults = {parameter["name"]: parameter["default"] for parameter in entry["parameters"]}
        most = min([MAX_STEPS, *(defaults[name] for name in entry["bounds_steps"])])
        if most < MAX_STEPS:
            few += 1
            for steps, fits in ((most, True), (most + 1, False)):
                answer = explorer.schedule(asked(scheduler=entry["id"], steps=steps))
                assert answer["ok"] == fits
                assert fits or f"1..{most}" in answer["errors"]["steps"]
    assert few >= 3


def test_the_training_curve_is_the_table(explorer: Explorer) -> None:
    answer = explorer.schedule(asked(scheduler="DDIMScheduler"))
    training = answer["training"]
    table = plan_run(RunSpec(scheduler="DDIMScheduler")).scheduler.training
    assert table is not None
    np.testing.assert_allclose(decoded(training["alphas_cumprod"]), table.alphas_cumprod, 1e-6)
    np.testing.assert_allclose(decoded(training["betas"]), table.betas, 1e-6)
    long = explorer.schedule(
        asked(scheduler="DDIMScheduler", config=(("num_train_timesteps", 4000),))
    )
    times = decoded(long["training"]["t"])
    assert (len(times), times[0], times[-1]) == (1000, 0, 3999)
    assert explorer.schedule(asked(scheduler="KarrasVeScheduler"))["training"] is None


def test_an_unknown_setting_is_an_error_beside_its_control(explorer: Explorer) -> None:
    for settings, control in [
        ({"steps": 0}, "steps"),
        ({"scheduler": "DDIMScheduler", "config": {"beta_start": -1}}, "config.beta_start"),
        ({"scheduler": "DDIMScheduler", "steps": 500, "config": {"num_train_timesteps": 100}},
         "steps"),
        ({"model": "x"}, "model"),
        (None, ""),
        ([1, 2], ""),
    ]:  # fmt: skip
        for question in (explorer.schedule, explorer.film):
            answer = strict(question(settings))  # type: ignore[arg-type]
            assert answer["ok"] is False
            assert list(answer["errors"]) == [control], settings
            assert answer["errors"][control]


def test_a_fault_of_ours_is_an_answer_too(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:  # noqa: ANN401
        raise ZeroDivisionError("not a user's fault")

    monkeypatch.setattr(explore, "columns", broken)
    answer = explorer.schedule(asked())
    assert answer == {"ok": False, "errors": {"": answer["errors"][""]}}
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_of_a_scheduler_is_logged_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(SCHEDULERS["DDIMScheduler"], "set_timesteps", fail)
    explorer = Explorer(device="cpu")
    question = asked(scheduler="DDIMScheduler", model=LINE)
    for answer in (explorer.schedule(question), explorer.film(question), *explorer.live(question)):
        assert list(answer["errors"]) == [""]
        assert "log says why" in answer["errors"][""]
        assert "float division" not in answer["errors"][""]
    assert caplog.text.count("ZeroDivisionError: float division by zero") == 3


def test_inert_controls_say_why(explorer: Explorer) -> None:
    answer = explorer.schedule(asked(scheduler="DDIMScheduler"))
    assert "clip" in answer["inert"].get("dynamic_thresholding_ratio", "") + answer["inert"].get(
        "clip_sample_range", "clip"
    )
    assert "dynamic_thresholding_ratio" in answer["inert"]
    on = explorer.schedule(asked(scheduler="DDIMScheduler", config=(("thresholding", True),)))
    assert "dynamic_thresholding_ratio" not in on["inert"]


def test_a_very_long_run_is_told_in_part(explorer: Explorer) -> None:
    """An answer has a bounded size; what it holds is what the calls that it names are."""
    settings = asked(
        scheduler="ScoreSdeVeScheduler", steps=1000, config=(("correct_steps", 6),), model=LINE
    )
    answer = strict(explorer.schedule(settings))
    told = answer["told"]
    assert answer["nfe"] == 7000 and 3000 < len(told) <= MOST_TOLD < 7000
    assert told[0] == 0 and told[-1] == 6999 and told == sorted(set(told))
    plan = plan_run(RunSpec.from_dict(settings))
    predicts = [i for i in told if plan.calls[i].here.rho != plan.calls[i].target.rho]
    assert len(predicts) / len(told) == pytest.approx(1 / 7, rel=0.01)
    lists = [*answer["columns"].values(), answer["equations"]]
    lists += [answer["contributions"]["calls"], answer["contributions"]["noise"]]
    assert {len(entry) for entry in lists} == {len(told)}
    for k in (0, 1, 1777, len(told) - 1):
        call = plan.calls[told[k]]
        assert answer["columns"]["rho"][k] == pytest.approx(call.here.rho, rel=1e-6)
        assert answer["equations"][k]["sentence"] == sentence(plan, told[k])
    assert "7000" in next(chip["text"] for chip in answer["chips"] if chip["id"] == "told")
    assert strict(explorer.schedule(asked(scheduler="DDIMScheduler")))["told"] is None


def random_settings(dice: random.Random) -> dict[str, Any]:
    """Mostly plausible, sometimes absurd."""
    scheduler = dice.choice(list(SCHEDULERS))
    entries = [e for e in SCHEDULERS[scheduler].parameters() if e.name not in NOT_OURS]
    config: dict[str, Any] = {}
    for entry in dice.sample(entries, k=min(len(entries), dice.randint(0, 4))):
        low = entry.slider_low if entry.slider_low is not None else 0.0
        high = entry.slider_high if entry.slider_high is not None else 1.0
        config[entry.name] = {
            "bool": lambda: dice.choice([True, False]),
            "choice": lambda entry=entry: dice.choice(entry.choices),
            "int": lambda low=low, high=high: dice.randint(int(low), int(high)),
            "float": lambda low=low, high=high: dice.choice([low, high, dice.uniform(low, high)]),
            "numbers": lambda: [dice.uniform(1e-4, 0.9) for _ in range(dice.choice([3, 1000]))],
        }[entry.kind]()
        if dice.random() < 0.05:
            config[entry.name] = dice.choice([math.nan, 1e308, -1e308, 10**400, "x", None, [], {}])
    settings = {
        "scheduler": scheduler,
        "config": config,
        "steps": dice.choice([1, 2, 3, 7, 20, 50, 1000]),
        "model": dice.choice([PLANE, LINE]),
        "seed": dice.randint(0, 2**32 - 1),
        "samples": dice.choice([1, 2]),
    }
    if dice.random() < 0.1:
        settings["timesteps"] = sorted({dice.randint(0, 1100) for _ in range(5)}, reverse=True)
    if dice.random() < 0.1:
        settings["sigmas"] = sorted({dice.uniform(0, 30) for _ in range(5)}, reverse=True)
    return settings


@pytest.mark.parametrize("round_", range(6))
def test_whatever_is_asked_is_answered(explorer: Explorer, round_: int) -> None:
    """Random settings over the registry: an answer or a reason, JSON either way, and a film."""
    dice = random.Random(round_)
    answered = 0
    for _ in range(40):
        settings = random_settings(dice)
        answer = strict(explorer.schedule(settings))
        if not answer["ok"]:
            (message,) = set(answer["errors"].values())
            assert message, settings
            assert "log says why" not in message, settings
            continue
        reply = strict(explorer.film(settings))
        if reply["ok"]:
            answered += 1
            assert reply["frames"] == reply.get("schedule", answer)["nfe"]
            continue
        control, message = next(iter(reply["errors"].items()))
        assert "log says why" not in message, settings
        # Too large for a drag, or a level at which a model or a prediction has no answer.
        assert "Run live" in message if not answer["live"] else control.startswith("config.")
    assert answered >= 10


# --- equations and sentences ------------------------------------------------------------------


def test_the_equation_says_what_the_terms_say(explorer: Explorer) -> None:
    answer = explorer.schedule(asked(config=(("use_karras_sigmas", True),)))
    entry = answer["equations"][10]
    assert [(t["symbol"], t["lag"]) for t in entry["terms"]] == [("x", 0), ("x0", 0), ("x0", 1)]
    text = entry["text"]
    assert text.startswith("x ← ")
    assert "x̂₀[−1]" in text
    for term in entry["terms"]:
        assert short(abs(term["w"])) in text
    plan = plan_run(RunSpec(config=(("use_karras_sigmas", True),)))
    assert entry["call_weight"] == pytest.approx(plan.shares.calls[10], rel=1e-5)


def test_signs_and_ones_are_written_as_a_person_would() -> None:
    row = Coefficients(x=(1.0,), x0=(-0.5, 0.25), eps=(), noise=2.0)
    assert equation(row) == "x ← x − 0.5 x̂₀ + 0.25 x̂₀[−1] + 2 z"
    assert equation(Coefficients(x=(-1.0,))) == "x ← − x"
    assert equation(Coefficients(x=(0.0,))) == "x ← 0"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_sentences_state_facts_of_their_call(explorer: Explorer, scheduler: str) -> None:
    made = plan_run(RunSpec(scheduler=scheduler, steps=6))
    answer = explorer.schedule(asked(scheduler=scheduler, steps=6))
    for call, row, entry in zip(made.calls, made.coefficients, answer["equations"], strict=True):
        told = entry["sentence"]
        place = short(call.here.rho) if call.here.alpha else "from pure noise"
        assert place in told
        assert ("fresh noise" in told) == (row.noise != 0.0)
        assert told.endswith(".")
        assert "nan" not in told
        assert "None" not in told


def test_the_heaviest_call_is_named_once(explorer: Explorer) -> None:
    answer = explorer.schedule(asked(config=(("final_sigmas_type", "sigma_min"),)))
    named = [
        i for i, e in enumerate(answer["equations"]) if "more than any other" in e["sentence"]
    ]
    calls = answer["contributions"]["calls"]
    assert named == [calls.index(max(calls))]
    assert [e["call_weight"] for e in answer["equations"]] == pytest.approx(calls, rel=1e-5)


def test_where_the_result_is_the_last_prediction_its_sample_is_weighed() -> None:
    """The shares of the calls in what the last one is shown make up all of its signal."""
    plan = plan_run(RunSpec.default())
    weights = plan.shares
    assert weights.before_last
    assert weights.calls[-1] == 1.0
    # Law of the point mass: the weights on x0 and the start's own signal add up to alpha.
    assert sum(weights.calls[:-1]) == pytest.approx(1.0, abs=1e-3)
    assert sentence(plan, plan.nfe - 1).endswith("Its x̂₀ is the result.")
    assert "the last call's input, more than any other" in sentence(
        plan, weights.calls[:-1].index(max(weights.calls[:-1]))
    )


# --- chips ------------------------------------------------------------------------------------


def chips_of(kind: str = "image", extent: float = 1.0, **settings: Any) -> dict[str, Chip]:  # noqa: ANN401
    config = tuple(settings.pop("config", {}).items())
    model = next(name for name, info in MODELS.items() if info.kind == kind)
    made = plan_run(RunSpec(config=config, model=model, **settings))
    return {chip.id: chip for chip in chips_room.chips(made, extent)}


def test_steps_that_overshoot_are_told_with_their_remedy() -> None:
    chips = chips_of(scheduler="ScoreSdeVpScheduler", steps=20)
    assert "amplified" not in chips
    assert chips["overshoot"].set == {"config.compat": "paper"}
    mended = chips_of(scheduler="ScoreSdeVpScheduler", steps=20, config={"compat": "paper"})
    assert not {"overshoot", "amplified"} & set(mended)


def test_the_first_chips_are_the_facts() -> None:
    chips = chips_of(config={"use_karras_sigmas": True})
    assert list(chips)[:3] == ["steps", "levels", "order"]
    assert chips["steps"].text == "20 steps · 20 model calls"
    assert chips["levels"].text.endswith("→ 0")
    assert chips["order"].text == "order 2, first 1, last 1"
    assert chips_of(scheduler="HeunDiscreteScheduler")["steps"].text == "20 steps · 39 model calls"
    assert chips_of(scheduler="DDIMScheduler", steps=1)["steps"].text == "1 step · 1 model call"


SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
WARNED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # chip, settings that earn it, settings that do not
    ("terminal-snr",
     {"scheduler": "DDIMScheduler", "config": {**SD, "timestep_spacing": "trailing"}},
     {"scheduler": "DDIMScheduler",
      "config": {**SD, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}}),
    ("epsilon-zero-snr",
     {"scheduler": "EulerDiscreteScheduler",
      "config": {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}},
     {"scheduler": "EulerDiscreteScheduler",
      "config": {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
                 "prediction_type": "v_prediction"}}),
    ("order-unreached",
     {"config": {"solver_order": 3}, "steps": 3},
     {"config": {"solver_order": 3}, "steps": 20}),
    ("order-short",
     {"config": {"solver_order": 2}, "steps": 3},
     {"config": {"solver_order": 2}, "steps": 20}),
    ("final-order",
     {"config": {"lower_order_final": False, "final_sigmas_type": "sigma_min"}, "steps": 8},
     {"config": {"lower_order_final": True, "final_sigmas_type": "sigma_min"}, "steps": 8}),
    ("amplified",
     {"scheduler": "HeunDiscreteScheduler", "steps": 5},
     {"scheduler": "DDIMScheduler", "steps": 5}),
    ("noise-few",
     {"scheduler": "DDIMScheduler", "config": {"eta": 1.0}, "steps": 10},
     {"scheduler": "DDIMScheduler", "config": {"eta": 1.0}, "steps": 50}),
    ("churn-cap",
     {"scheduler": "EulerDiscreteScheduler", "config": {"s_churn": 9.0}},
     {"scheduler": "EulerDiscreteScheduler", "config": {"s_churn": 8.0}}),
    ("churn-nothing",
     {"scheduler": "EulerDiscreteScheduler", "config": {"s_churn": 5.0, "s_tmin": 1000.0}},
     {"scheduler": "EulerDiscreteScheduler", "config": {"s_churn": 5.0}}),
    ("thresholding",
     {"scheduler": "DDIMScheduler", "config": {"thresholding": True}, "kind": "plane"},
     {"scheduler": "DDIMScheduler", "config": {"thresholding": True}}),
    ("clipping",
     {"scheduler": "DDIMScheduler", "kind": "plane", "extent": 2.5},
     {"scheduler": "DDIMScheduler"}),
    ("wasted",
     {"scheduler": "KarrasVeScheduler", "config": {"sigma_max": 1e6, "compat": "paper"}},
     {"scheduler": "KarrasVeScheduler", "config": {"sigma_max": 80.0, "compat": "paper"}}),
    ("squared",
     {"scheduler": "KarrasVeScheduler"},
     {"scheduler": "KarrasVeScheduler", "config": {"compat": "paper"}}),
    ("noise-left",
     {"config": {"final_sigmas_type": "sigma_min", **SD}},
     {"config": SD}),
    ("last-jump",
     {"scheduler": "DDIMScheduler", "steps": 3, "config": {"steps_offset": 300}},
     {"scheduler": "DDIMScheduler"}),
    ("before-zero",
     {"scheduler": "DDPMScheduler", "config": {"timestep_spacing": "trailing"}, "steps": 61},
     {"scheduler": "DDPMScheduler",
      "config": {"timestep_spacing": "trailing", "compat": "paper"}, "steps": 61}),
    ("before-zero",
     {"scheduler": "HeunDiscreteScheduler", "config": {"timestep_spacing": "trailing"},
      "steps": 103},
     {"scheduler": "HeunDiscreteScheduler", "config": {"timestep_spacing": "trailing"},
      "steps": 102}),
    ("off-grid",
     {"scheduler": "DDIMScheduler", "config": {"timestep_spacing": "linspace"}, "steps": 30},
     {"scheduler": "DDIMScheduler", "config": {"timestep_spacing": "leading"}}),
]  # fmt: skip


@pytest.mark.parametrize(("chip", "earned", "not_earned"), WARNED, ids=lambda v: str(v)[:20])
def test_a_warning_comes_when_earned_with_reason_and_remedy(
    chip: str, earned: dict[str, Any], not_earned: dict[str, Any]
) -> None:
    found = chips_of(**{**earned, "config": dict(earned.get("config", {}))})
    assert chip in found, list(found)
    assert found[chip].level == "warn"
    assert found[chip].why
    assert found[chip].fix
    assert chip not in chips_of(**{**not_earned, "config": dict(not_earned.get("config", {}))})


def test_betas_beyond_one_are_warned_about_while_no_such_level_is_visited() -> None:
    config = {"beta_end": 1.5, "beta_schedule": "linear", "beta_start": 0.0001}
    made = plan_run(
        RunSpec(
            scheduler="DDPMScheduler", config=tuple(config.items()), timesteps=(300.0, 200.0, 0.0)
        )
    )
    assert "alphas-range" in {chip.id for chip in chips_room.chips(made, 1.0)}


def test_the_default_run_of_every_scheduler_is_not_scolded_without_end() -> None:
    for scheduler in SCHEDULERS:
        warnings = [c.id for c in chips_of(scheduler=scheduler).values() if c.level == "warn"]
        assert len(warnings) <= 3, (scheduler, warnings)


# --- films ------------------------------------------------------------------------------------


def test_pixels_of_a_film_are_the_samples(explorer: Explorer) -> None:
    spec = RunSpec(model="emoji-ideal", samples=2, steps=5)
    answer = strict(explorer.film(spec.to_dict()))
    made = trajectory(spec, device="cpu")
    assert (answer["kind"], answer["frames"], answer["samples"]) == ("image", 5, 2)
    assert answer["tile"] == [32, 32]
    assert answer["indices"] == [0, 1, 2, 3, 4]
    x0 = decoded(answer["x0"])
    assert x0.shape == (5, 2, 32, 32, 3)
    wanted = np.clip(np.moveaxis(made.x0, 2, -1) * 127.5 + 127.5, 0, 255)
    assert np.abs(x0 - wanted).max() <= 0.5 + 1e-3
    scales = np.array([stage.target.scale for stage in made.plan.calls])
    wanted = np.moveaxis(made.samples, 2, -1) / scales[:, None, None, None, None]
    wanted = np.clip(wanted * 127.5 + 127.5, 0, 255)
    assert np.abs(decoded(answer["prev"]) - wanted).max() <= 0.5 + 1e-3
    assert decoded(answer["initial"]).shape == (1, 2, 32, 32, 3)


def test_noise_looks_the_same_whether_the_variance_explodes_or_not(explorer: Explorer) -> None:
    """The VP and the VE form of one schedule show the same first noise."""
    films = [
        explorer.film(asked(scheduler=name, model="emoji-ideal", steps=4, seed=3, config=config))
        for name, config in [
            ("DDIMScheduler", (("timestep_spacing", "linspace"),)),
            ("EulerDiscreteScheduler", (("beta_start", 0.0001), ("beta_end", 0.02))),
        ]
    ]
    vp, ve = (decoded(film["initial"]).astype(float) for film in films)
    assert np.abs(vp - ve).mean() < 1.0


def test_particles_of_a_film_are_the_samples(explorer: Explorer) -> None:
    spec = RunSpec(model=PLANE, samples=2, steps=5, scheduler="EulerDiscreteScheduler")
    answer = strict(explorer.film(spec.to_dict()))
    made = trajectory(spec, device="cpu")
    assert answer["particles"] == 512
    assert "√" in answer["normalised"]
    x0 = decoded(answer["x0"]).astype(float)
    assert x0.shape == (5, 512, 2)
    extent = answer["extent"]
    back = (x0 / 65535 * 2 - 1) * extent
    assert np.abs(back - np.clip(made.x0, -extent, extent)).max() < extent / 65535 * 1.1
    assert decoded(answer["reference"]).shape[1] == 2


def test_a_line_film_has_densities_that_integrate_to_one(explorer: Explorer) -> None:
    for scheduler in ("DDIMScheduler", "EulerDiscreteScheduler"):
        answer = strict(explorer.film(asked(model=LINE, scheduler=scheduler)))
        density = decoded(answer["density"]).astype(float)
        assert density.shape == (20, DENSITY_BINS)
        area = density.sum(axis=1) * 2 * answer["extent"] / (DENSITY_BINS - 1)
        np.testing.assert_allclose(area[:-1], 1.0, atol=0.05)
        assert decoded(answer["prev"]).shape == (20, 256)


def test_the_second_visit_is_cached_and_equal(explorer: Explorer) -> None:
    question = asked(model=PLANE, seed=77)
    first, second = explorer.film(question), explorer.film(question)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["key"] == second["key"]
    assert first["prev"] == second["prev"]


def test_what_is_too_large_for_a_drag_is_refused_with_the_way_out(explorer: Explorer) -> None:
    for settings, control in [
        (asked(steps=500), "steps"),
        (asked(samples=64), "samples"),
        (asked(steps=100, samples=4), "steps"),
    ]:
        assert explorer.schedule(settings)["live"] is False
        answer = explorer.film(settings)
        assert list(answer["errors"]) == [control]
        assert "Run live" in answer["errors"][control]
    assert explorer.schedule(asked(samples=4))["live"] is True


def test_two_explorers_share_nothing() -> None:
    one, two = Explorer(device="cpu"), Explorer(device="cpu")
    one.film(asked(model=LINE))
    assert (len(one.cache), len(two.cache)) == (1, 0)


def test_a_crowd_is_answered_within_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `workers` runs compute at once, and all answers are the same as alone."""
    explorer = Explorer(device="cpu", workers=2)
    at_once, most = 0, 0
    lock = threading.Lock()
    run = explore.run

    def watched(*arguments: Any, **options: Any) -> Iterator[Any]:  # noqa: ANN401
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        yield from run(*arguments, **options)
        with lock:
            at_once -= 1

    monkeypatch.setattr(explore, "run", watched)
    answers: dict[int, Any] = {}
    threads = [
        threading.Thread(
            target=lambda k=k: answers.update({k: explorer.film(asked(model=LINE, seed=k))})
        )
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 2
    alone = Explorer(device="cpu")
    for k, answer in answers.items():
        assert answer["prev"] == alone.film(asked(model=LINE, seed=k))["prev"]


def test_a_busy_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore, "QUEUE_SECONDS", 0.01)
    explorer = Explorer(device="cpu", workers=1)
    with explorer._slots:
        answer = explorer.film(asked(model=LINE))
    assert "busy" in answer["errors"][""]
    assert explorer.film(asked(model=LINE))["ok"]


# --- live -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_live_run_shows_every_step_and_ends_with_the_film(model: str) -> None:
    explorer = Explorer(device="cpu")
    messages = [strict(m) for m in explorer.live(asked(model=model, steps=6, samples=2))]
    assert [m["index"] for m in messages[:-1]] == list(range(6))
    assert all(m["frames"] == 6 for m in messages[:-1])
    film = messages[-1]["film"]
    assert messages[-1]["done"]
    assert film["frames"] == 6
    for i, message in enumerate(messages[:-1]):
        for part in ("prev", "x0"):
            np.testing.assert_array_equal(decoded(message[part])[0], decoded(film[part])[i])
    again = explorer.film(asked(model=model, steps=6, samples=2))
    assert again["cached"]
    assert again["prev"] == film["prev"]


def test_a_long_run_is_thinned_and_keeps_its_last_frame() -> None:
    explorer = Explorer(device="cpu")
    question = asked(model=LINE, steps=1000, samples=64, scheduler="DDIMScheduler")
    messages = list(explorer.live(question))
    film = strict(messages[-1])["film"]
    assert (
        film["frames"] == len(film["indices"]) == frames_to_keep(RunSpec.from_dict(question), 256)
    )
    assert film["indices"][-1] == 999
    assert len(json.dumps(film)) < 8e6
    assert max(len(json.dumps(message)) for message in messages[:-1]) < 1e6
    numbers = [message["index"] for message in messages[:-1]]
    assert numbers == sorted(set(numbers))
    assert explorer.film(question)["ok"], "what was run live is at hand"


def test_many_images_travel_as_a_sheet() -> None:
    explorer = Explorer(device="cpu")
    *messages, end = explorer.live(asked(model="emoji-ideal", steps=10, samples=64))
    sheet = messages[0]["prev"]
    assert (sheet["cols"], sheet["rows"]) == (1, 64)
    film = end["film"]
    assert (film["prev"]["cols"], film["prev"]["rows"]) == (10, 64)
    data = base64.b64decode(film["prev"]["sheet"].partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (320, 2048)


def test_stop_acts_within_one_step() -> None:
    stop = threading.Event()
    messages = []
    for message in Explorer(device="cpu").live(asked(model=PLANE, steps=50), stop=stop):
        messages.append(message)
        if message.get("index") == 4:
            stop.set()
    assert [m.get("index") for m in messages] == [0, 1, 2, 3, 4, None]
    assert messages[-1]["stopped"]
    assert messages[-1]["reason"] == "stopped"


def test_the_deadline_is_a_reason() -> None:
    explorer = Explorer(device="cpu")
    *_, last = explorer.live(
        asked(model=PLANE, steps=1000, scheduler="DDIMScheduler"), seconds=0.1
    )
    assert last["stopped"]
    assert "0.1 seconds" in last["reason"]


def test_a_live_run_that_cannot_be_answers_once(explorer: Explorer) -> None:
    (answer,) = explorer.live({"steps": 0})
    assert answer["ok"] is False
    assert list(answer["errors"]) == ["steps"]


# --- the API ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scheduler": "Nope"}, "scheduler"),
        ({"scheduler": None}, "scheduler"),
        ({"scheduler": "DDIMScheduler", "steps": math.nan}, "steps"),
        ({"scheduler": "DDIMScheduler", "steps": "twenty"}, "steps"),
        ({"scheduler": "DDIMScheduler", "steps": 1e12}, "steps"),
        ({"scheduler": "DDIMScheduler", "steps": True}, "steps"),
        ({"scheduler": "DDIMScheduler", "seed": -3}, "seed"),
        ({"scheduler": "DDIMScheduler", "samples": math.inf}, "samples"),
        ({"scheduler": "DDIMScheduler", "model": "x"}, "model"),
        ({"scheduler": "DDIMScheduler", "cond": "x"}, "cond"),
        ({"scheduler": "DDIMScheduler", "config": "{"}, "config"),
        ({"scheduler": "DDIMScheduler", "config": "[" * 50_000}, "config"),
        ({"scheduler": "DDIMScheduler", "config": "x" * 70_000}, "config"),
        ({"scheduler": "DDIMScheduler", "config": "[1]"}, "config"),
        ({"scheduler": "DDIMScheduler", "config": '{"eta": NaN}'}, "eta"),
        ({"scheduler": "DDIMScheduler", "config": '{"eta": 1e999}'}, "eta"),
        ({"scheduler": "DDIMScheduler", "config": '{"beta_schedule": "x"}'}, "beta_schedule"),
    ],
)
def test_the_api_refuses_with_the_name_of_the_control(
    explorer: Explorer, arguments: dict[str, Any], named: str
) -> None:
    for question in (explorer.api_schedule, explorer.api_run):
        with pytest.raises(SpecError, match=named):
            question(**arguments)


def test_the_api_answers(explorer: Explorer) -> None:
    answer = strict(explorer.api_schedule("DPM++ 2M Karras", '{"solver_order": 3}', 12))
    assert answer["spec"]["config"] == {"use_karras_sigmas": True, "solver_order": 3}
    assert answer["nfe"] == 12
    result = strict(explorer.api_run("Euler a", "", 5, PLANE, samples=2))
    made = trajectory(RunSpec.from_dict(result["spec"]), device="cpu")
    np.testing.assert_array_equal(decoded(result["final"]), made.samples[-1])
    assert result["film"]["frames"] == result["nfe"] == 5


# --- encodings --------------------------------------------------------------------------------


def test_arrays_that_the_page_cannot_read_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        b64(np.zeros(3))


def test_numbers_without_end_do_not_reach_the_page() -> None:
    bad = np.array([[[np.nan, np.inf], [-np.inf, 0.0]]], np.float32)
    levels = particles(bad, np.ones(1), 1.0)
    np.testing.assert_array_equal(levels, [[[32768, 65535], [0, 32768]]])
    images = bad.reshape(1, 1, 1, 2, 2)
    np.testing.assert_array_equal(pixels(images, np.ones(1)).ravel(), [128, 255, 0, 128])
    assert encode.numbers([math.nan, math.inf, None, 1 / 3]) == [None, None, None, 0.3333333]


def test_a_sheet_has_frames_as_columns() -> None:
    tiles = np.zeros((3, 2, 8, 8, 3), np.uint8)
    for col, row in itertools.product(range(3), range(2)):
        tiles[col, row] = 40 * (col + 3 * row)
    sheet = jpeg_sheet(tiles, quality=95)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet["sheet"].partition(",")[2]))))
    assert image.shape == (16, 24, 3)
    for col, row in itertools.product(range(3), range(2)):
        assert abs(int(image[8 * row + 4, 8 * col + 4, 0]) - 40 * (col + 3 * row)) < 4


def test_a_long_film_is_the_same_thinned_film_the_second_time(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(films, "MOST_PARTICLES", 256 * 40)
    settings = {"scheduler": "DDIMScheduler", "steps": 200, "model": LINE, "seed": 501}
    first = explorer.api_run(**settings)["film"]
    second = explorer.api_run(**settings)["film"]
    assert (first["frames"], second["frames"]) == (40, 40)
    assert (first["cached"], second["cached"]) == (False, True)
    # The whole run, which a user of the library has put there, comes thinned as well.
    whole = trajectory(RunSpec.from_dict(settings), device="cpu")
    explorer.cache.store(whole)
    assert explorer.api_run(**settings)["film"]["prev"] == first["prev"]


def test_both_endpoints_say_their_arguments_once(explorer: Explorer) -> None:
    wanted = ["scheduler", "config", "steps", "model", "cond", "seed", "samples", "device"]
    for question in (explorer.api_schedule, explorer.api_run):
        assert list(inspect.signature(question).parameters) == wanted
        assert all(f"{name}: " in (question.__doc__ or "") for name in wanted)
        with pytest.raises(SpecError, match="device='abacus'"):
            question("DDIMScheduler", device="abacus")
    both = explorer.api_schedule, explorer.api_run
    signatures = [inspect.signature(question).parameters for question in both]
    assert signatures[0] == signatures[1]
    texts = [(question.__doc__ or "").partition("Args:")[2] for question in both]
    told = [text.partition("Returns:")[0] for text in texts]
    assert told[0] == told[1] != ""


def test_a_film_is_computed_where_the_question_says(explorer: Explorer) -> None:
    question = asked(steps=3, model="mixture-1d", cond="two")
    assert explorer.film(question | {"device": "cpu"})["device"] == "cpu"
    for wrong in ("tpu", 3, ["cpu"], "cuda:99"):
        answer = explorer.film(question | {"device": wrong})
        assert answer["ok"] is False
        assert repr(wrong) in answer["errors"]["device"]
