"""What the page and the documentation say about a class comes out of the class itself."""

from __future__ import annotations

import pytest

from sampling import RunSpec, plan_run
from schedulers import NAMES, SCHEDULERS, from_name
from visualize.about import about, active_quirks, own_quirks, spellings
from visualize.explore import Explorer
from visualize.sentences import sentence


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_class_tells_what_it_is(name: str) -> None:
    told = about(name)
    assert told.sentence.endswith(".") and len(told.sentence) < 140
    assert told.sources.endswith("."), "the docstring ends with its references"
    assert told.blocks, "a sentence alone explains nothing"
    assert all(block.text.strip() for block in told.blocks)
    good_for = SCHEDULERS[name].good_for
    assert good_for.endswith(".") and len(good_for) < 90, "one line"
    assert SCHEDULERS[name].family


def test_equations_keep_their_lines() -> None:
    (block,) = (block for block in about("HeunDiscreteScheduler").blocks if block.kind == "math")
    first, second = block.text.splitlines()
    assert first.startswith("first call:") and second.startswith("second call:")
    assert about("EulerDiscreteScheduler").names == ("Euler", "Euler Karras")


@pytest.mark.parametrize(
    ("label", "spelt"),
    [
        ("Euler a", {"euler_ancestral", "k_euler_a"}),
        ("DPM++ 2M", {"dpmpp_2m", "k_dpmpp_2m"}),
        ("DPM2 a", {"dpm_2_ancestral", "k_dpm_2_a"}),
        ("DPM++ 2M SDE Karras", {"dpmpp_2m_sde_karras"}),
    ],
)
def test_names_in_the_spelling_of_programs(label: str, spelt: set[str]) -> None:
    assert spelt <= set(spellings(label))


@pytest.mark.parametrize("label", NAMES)
def test_every_spelling_is_understood_by_the_library(label: str) -> None:
    name, settings = NAMES[label]
    for spelling in spellings(label):
        made = from_name(spelling)
        assert type(made).__name__ == name, spelling
        assert all(made.config[key] == value for key, value in settings.items()), spelling


def test_no_two_names_share_a_spelling() -> None:
    owners: dict[str, str] = {}
    for label in NAMES:
        for spelling in spellings(label):
            assert owners.setdefault(spelling, label) == label


def test_a_step_of_many_calls_is_told_call_by_call() -> None:
    plan = plan_run(RunSpec(scheduler="PNDMScheduler", steps=10))
    told = [sentence(plan, i) for i in range(4)]
    assert "a trial step from σ/α 60.8" in told[0]
    assert "a second look" in told[1] and "tries the step again" in told[1]
    assert "a third look" in told[2] and "tries the step again" in told[2]
    assert "a fourth look" in told[3] and "corrects the trial step" in told[3]


def test_a_run_from_pure_noise_is_told_without_infinity() -> None:
    plan = plan_run(RunSpec(scheduler="FlowMatchEulerDiscreteScheduler", steps=4))
    assert "from pure noise to σ/α" in sentence(plan, 0)
    assert "∞" not in "".join(sentence(plan, i) for i in range(plan.nfe))


def test_the_page_knows_which_quirks_a_run_meets() -> None:
    explorer = Explorer(device="cpu")
    question = {
        "scheduler": "DDIMScheduler", "steps": 61, "config": {"timestep_spacing": "trailing"},
    }  # fmt: skip
    assert explorer.schedule(question)["quirks"] == ["ddim-stride", "trailing-extra"]
    entries = {entry["id"]: entry for entry in explorer.schema()["schedulers"]}
    for name, entry in entries.items():
        slugs = [quirk["slug"] for quirk in entry["quirks"]]
        assert slugs == [quirk.slug for quirk in own_quirks(name)]
        assert set(active_quirks(name, {"steps": 20})) <= set(slugs)
