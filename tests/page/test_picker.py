"""The choice among all schedulers, what is said about each, and its quirks."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from schedulers import SCHEDULERS
from tests.page.browsing import visit
from tests.page.test_explore import spec

PICK = '[data-control="scheduler"]'


def search(page: Page) -> Locator:
    """Open the list by keyboard; its search field."""
    page.focus(PICK)
    page.keyboard.press("ArrowDown")
    field = page.get_by_role("combobox", name="Search a scheduler")
    expect(field).to_be_focused()
    return field


def test_every_class_is_offered_once_in_a_family(page: Page, address: str) -> None:
    visit(page, address)
    before, field = spec(page), search(page)
    found = page.locator(".ss-member").evaluate_all("all => all.map(e => e.dataset.value)")
    assert sorted(found) == sorted(f"class:{name}" for name in SCHEDULERS)
    families = page.locator(".ss-chooser h3").all_inner_texts()
    assert len(set(families)) == len(families) < len(SCHEDULERS)
    lines = page.locator(".ss-member .ss-note").all_inner_texts()
    assert len(lines) == len(SCHEDULERS), "each says what it is good for"

    chosen = field.get_attribute("aria-activedescendant")
    page.keyboard.press("ArrowUp")
    assert field.get_attribute("aria-activedescendant") != chosen
    page.keyboard.type("no such thing")
    expect(page.get_by_role("status").filter(has_text="no such thing")).to_contain_text("Try a")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".ss-chooser")).to_be_hidden()
    assert spec(page) == before


def test_the_keyboard_finds_a_scheduler_by_any_name(page: Page, address: str) -> None:
    visit(page, address)
    for typed, scheduler, config in (
        ("k_euler_a", "EulerAncestralDiscreteScheduler", {}),
        ("dpm++ 2m karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("2m karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("HeunDiscrete", "HeunDiscreteScheduler", {}),
        ("dpmpp_2m_sde", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ):
        search(page)
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
        expect(page.locator(".ss-chooser")).to_be_hidden()
        expect(page.locator(PICK)).to_be_focused()
        assert spec(page)["scheduler"] == scheduler, typed
        assert config.items() <= spec(page)["config"].items(), typed


def test_a_slip_of_the_finger_still_finds_its_name(page: Page, address: str) -> None:
    visit(page, address)
    search(page)
    page.keyboard.type("eular")
    expect(page.get_by_role("status").filter(has_text="eular")).to_contain_text("nearest")
    page.keyboard.press("Enter")  # nothing is taken unasked
    expect(page.locator(".ss-chooser")).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert spec(page)["scheduler"] == "EulerDiscreteScheduler"


def test_on_a_phone_the_list_takes_the_window(phone: Page, address: str) -> None:
    visit(phone, address)
    phone.locator("[data-action=fold]").tap()
    phone.locator(PICK).tap()
    box = phone.locator(".ss-chooser").bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 390)
    phone.locator('[data-value="class:DDIMScheduler"]').tap()
    assert spec(phone)["scheduler"] == "DDIMScheduler"
    phone.locator("[data-action=about]").tap()
    wide = "() => document.documentElement.scrollWidth"
    assert phone.evaluate(wide) == 390
    expect(phone.locator(".ss-about")).to_contain_text("Song, Meng, Ermon")


def test_about_says_equation_paper_and_quirks(page: Page, address: str) -> None:
    visit(page, address)
    page.click("[data-action=about]")
    about = page.get_by_role("dialog", name="DPM-Solver multistep")
    formula = about.locator(".ss-math math").first
    expect(formula).to_have_attribute("alttext", re.compile("^x_next = c x"))
    assert formula.evaluate("e => [...e.querySelectorAll('msub')].length") == 7
    expect(formula).to_contain_text("κ")
    expect(about.locator(".ss-math span").first).to_have_text("dpmsolver++:")
    expect(about.get_by_role("link")).to_have_attribute("href", "https://arxiv.org/abs/2211.01095")
    expect(about.locator("[data-quirk=dpm-third-order]")).to_contain_text("half of what")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ss-position")).to_have_text("15 / 20")
    page.keyboard.press("Escape")
    expect(about).to_be_hidden()


def test_quirks_are_counted_told_and_switched_off(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=DDIMScheduler&steps=61&c.timestep_spacing=trailing")
    chip = page.locator('[data-chip="quirks"]')
    expect(chip).to_have_text("unlike the paper in 2 places")
    chip.click()
    panel = page.locator(".ss-why")
    expect(panel.locator("[data-quirk=ddim-stride]")).to_be_visible()
    expect(panel.locator("[data-quirk=trailing-extra]")).to_contain_text("t = -1")
    panel.locator("[data-action=compat]").click()
    expect(chip).to_have_text("like the paper")
    assert spec(page)["config"]["compat"] == "paper"
    expect(page.locator(".ss-chips")).to_contain_text("61 model calls")
    panel.locator("[data-action=compat]").click()
    expect(chip).to_have_text("unlike the paper in 2 places")
    assert "compat" not in spec(page)["config"]


def test_formulas_of_about_fit_a_phone(phone: Page, address: str) -> None:
    visit(phone, address, "v=1&scheduler=DPMSolverMultistepScheduler")
    phone.locator("[data-action=fold]").tap()
    phone.get_by_role("button", name="About").tap()
    about = phone.locator(".ss-about")
    for block in about.locator("div.ss-math").all():
        assert block.evaluate("e => e.scrollWidth <= e.clientWidth"), block.inner_text()
    about_text = about.locator(".ss-about-body > p", has_text="slope")
    assert about_text.locator("math").evaluate_all(
        "all => all.map((e) => e.getAttribute('alttext')).filter((t) => /^(D1|D2|psi_1)$/.test(t))"
    ) == ["D1", "D2", "psi_1"]
