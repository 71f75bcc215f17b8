"""The page in a real browser: what a person sees, drags, types, links and stops."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from sampling import RunSpec
from sampling.device import choose_device
from schedulers import NAMES, SCHEDULERS
from tests.page.browsing import READY, visit
from tests.page.conftest import Watch
from visualize.films import film_key

LONG = "v=1&steps=1000&samples=8&model=emoji-local"
COLOURS = """(selector) => {
  const canvas = document.querySelector(selector);
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
}"""


def picture(page: Page, row: str) -> str:
    return page.evaluate(
        "row => document.querySelector(`canvas[data-row=${row}]`).toDataURL()", row
    )


def pictures(page: Page) -> dict[str, str]:
    return {row: picture(page, row) for row in ("chart", "prev", "x0")}


def film(page: Page) -> str:
    return page.locator(".ss-app").get_attribute("data-film") or ""


def control(page: Page, name: str) -> Locator:
    found = page.locator(f'[data-control="{name}"]')
    found.evaluate("e => e.closest('details')?.setAttribute('open', '')")
    return found


def wait_for_film(page: Page, old: str) -> None:
    page.wait_for_function(
        "old => { const key = document.querySelector('.ss-app').dataset.film;"
        " return key && key !== old; }",
        arg=old,
    )
    at_rest(page)


def wait_for_its_film(page: Page) -> None:
    """Wait for the film of what the controls say."""
    key = film_key(RunSpec.from_dict(spec(page)), choose_device())
    page.wait_for_function(
        "key => document.querySelector('.ss-app').dataset.film === key", arg=key
    )
    at_rest(page)


def at_rest(page: Page) -> None:
    """Wait until what was drawn is on screen, two frames later, and no transition is under way."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    page.wait_for_function(
        "() => document.getAnimations().every(a => !(a instanceof CSSTransition))"
    )


def wait_for_pictures(page: Page, expected: dict[str, str]) -> None:
    """Wait until these canvases, by their row, look like this."""
    page.wait_for_function(
        """expected => Object.entries(expected).every(([row, data]) =>
            document.querySelector(`canvas[data-row=${row}]`).toDataURL() === data)""",
        arg=expected,
    )


def slide(page: Page, name: str, share: float) -> None:
    """Drag a slider with the mouse to a share of its length."""
    slider = control(page, name).locator("input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * share, middle, steps=3)
    page.mouse.up()


def type_into(page: Page, name: str, text: str) -> None:
    field = control(page, name).locator("input[type=text]")
    field.click()
    field.fill(text)
    field.press("Enter")


def spec(page: Page) -> dict[str, Any]:
    return page.evaluate("() => structuredClone(sigmascope.spec)")


def position(page: Page) -> str:
    return page.locator(".ss-position").inner_text()


# --- first view -------------------------------------------------------------------------------


def test_first_view_shows_curve_and_film_without_a_click(page: Page, address: str) -> None:
    visit(page, address)
    for row in ("chart", "bars", "prev", "x0"):
        assert page.evaluate(COLOURS, f"canvas[data-row={row}]") > 30, row
    for frame in ("prev", "x0"):
        assert page.evaluate(COLOURS, f"[data-frame={frame}] canvas") > 30, frame
    expect(page.locator(".ss-chips")).to_contain_text("20 steps")
    expect(page.locator(".ss-explain h2")).to_have_text("What step 15 does")
    assert page.locator(".ss-equation").inner_text().startswith("x ←")


def test_fonts_are_local_and_whole(page: Page, address: str) -> None:
    visit(page, address)
    loaded = page.evaluate(
        "() => [...document.fonts].filter(f => f.status === 'loaded').map(f => f.family + f.weight)"
    )
    names = {name.replace('"', "") for name in loaded}
    assert {"IBM Plex Sans400", "IBM Plex Sans700", "IBM Plex Mono400"} <= names


# --- every change re-runs the sampler ---------------------------------------------------------


def toggle(page: Page, name: str) -> None:
    control(page, name).locator("input[type=checkbox]").click()


def choose(page: Page, name: str, label: str) -> None:
    found = control(page, name)
    if name == "scheduler":
        found.click()
        page.keyboard.type(label)
        page.keyboard.press("Enter")
        return
    picker = found if found.evaluate("e => e.tagName") == "SELECT" else found.locator("select")
    picker.select_option(label=label)


CHANGES = {
    "integer slider": (lambda p: slide(p, "steps", 0.3), {"chart", "prev", "x0"}),
    "float slider": (lambda p: slide(p, "config.beta_end", 0.3), {"chart", "prev", "x0"}),
    "typed number": (lambda p: type_into(p, "config.beta_start", "0.002"), {"chart", "prev"}),
    "switch": (lambda p: toggle(p, "config.use_karras_sigmas"), {"chart", "prev", "x0"}),
    "choice": (
        lambda p: choose(p, "config.beta_schedule", "squaredcos_cap_v2"),
        {"chart", "prev"},
    ),
    "list of numbers": (lambda p: type_into(p, "timesteps", "900, 600, 300, 100"), {"chart"}),
    "scheduler name": (lambda p: choose(p, "scheduler", "Euler a"), {"chart", "prev", "x0"}),
    "scheduler class": (
        lambda p: choose(p, "scheduler", "DDIMScheduler"),
        {"chart", "prev", "x0"},
    ),
    "model option": (lambda p: type_into(p, "options.patch", "9"), {"prev", "x0"}),
    "seed": (lambda p: p.click("[data-action=randomise]"), {"prev", "x0"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_redraws_curve_and_film(page: Page, address: str, change: str) -> None:
    visit(page, address)
    if change == "list of numbers":
        toggle(page, "config.use_karras_sigmas")
        wait_for_its_film(page)
    before, key = pictures(page), film(page)
    act, rows = CHANGES[change]
    act(page)
    wait_for_film(page, key)
    after = pictures(page)
    for row in rows:
        assert after[row] != before[row], row
    assert page.locator(".ss-banner").is_hidden()


def test_model_kinds_have_views_of_their_own(page: Page, address: str) -> None:
    visit(page, address)
    models = page.locator('[data-control="model"] option').all_inner_texts()
    seen = {picture(page, "prev")}
    for model in models[1:]:
        key = film(page)
        choose(page, "model", model)
        wait_for_film(page, key)
        assert page.evaluate(COLOURS, "[data-frame=prev] canvas") > 8, model
        seen.add(picture(page, "prev"))
    assert len(seen) == len(models) >= 5


PICK_ALL = """async () => {
  const told = {};
  const { timings } = window.sigmascope;
  const banner = document.querySelector(".ss-banner");
  for (const option of document.querySelectorAll(".ss-chooser [role=option]")) {
    const before = timings.curve.length;
    option.click();
    for (let k = 0; k < 200 && timings.curve.length === before && banner.hidden; k += 1) {
      await new Promise((done) => setTimeout(done, 25));
    }
    const { scheduler, config } = window.sigmascope.spec;
    told[option.dataset.value] = [banner.innerText, scheduler, Object.keys(config)];
  }
  return told;
}"""


def test_every_class_and_every_name_runs(page: Page, address: str) -> None:
    visit(page, address)
    page.set_default_timeout(60_000)
    told = page.evaluate(PICK_ALL)
    assert {f"class:{name}" for name in SCHEDULERS} <= set(told)
    for value, (banner, scheduler, config) in told.items():
        kind, _, name = value.partition(":")
        known, settings = NAMES[name] if kind == "name" else (name, {})
        assert (banner, scheduler) == ("", known), value
        assert set(settings) <= set(config), value
    key = film(page)
    page.click("[data-action=randomise]")
    wait_for_film(page, key)


def test_nothing_piles_up_in_a_fast_drag(page: Page, address: str) -> None:
    visit(page, address)
    flying = {"schedule": 0, "film": 0}
    most = dict(flying)

    def name_of(request: Request) -> str | None:
        if "component_server" not in request.url:
            return None
        return json.loads(request.post_data or "{}")["fn_name"]

    def begin(request: Request) -> None:
        if name := name_of(request):
            flying[name] += 1
            most[name] = max(most[name], flying[name])

    def finish(request: Request) -> None:
        if name := name_of(request):
            flying[name] -= 1

    page.on("request", begin)
    page.on("requestfinished", finish)
    slider = control(page, "steps").locator("input[type=range]")
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 20, y)
    page.mouse.down()
    for k in range(60):
        page.mouse.move(box["x"] + 20 + 2 * k, y)
    page.mouse.up()
    wait_for_its_film(page)
    assert most == {"schedule": 1, "film": 1}
    steps = spec(page)["steps"]
    expect(page.locator(".ss-chips")).to_contain_text(f"{steps} steps")


# --- controls ---------------------------------------------------------------------------------


def test_a_control_without_effect_is_disabled_and_says_why(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=DDIMScheduler&steps=10")
    quiet = page.locator(".ss-inert[data-control]").first
    expect(quiet.locator("input, select").first).to_be_disabled()
    assert re.match(r"No effect: .{8,}", quiet.locator(".ss-note").text_content() or "")


def test_effects_come_and_go_with_the_settings(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=DDIMScheduler&steps=10")
    ratio = control(page, "config.dynamic_thresholding_ratio").locator("input[type=text]")
    expect(ratio).to_be_disabled()
    toggle(page, "config.thresholding")
    expect(ratio).to_be_enabled()


@pytest.mark.parametrize("text", ["2", "-1"])
def test_an_error_stands_beside_its_control(page: Page, address: str, text: str) -> None:
    visit(page, address)
    type_into(page, "config.beta_end", text)
    box = control(page, "config.beta_end")
    expect(box.locator(".ss-error")).to_be_visible()
    expect(box.locator(".ss-error")).to_contain_text("beta_end")
    expect(box.locator("input[type=text]")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".ss-banner")).to_contain_text("beta_end")
    expect(page.locator(".ss-app")).to_have_class(re.compile("ss-stale"))
    type_into(page, "config.beta_end", "0.015")
    expect(box.locator(".ss-error")).to_be_hidden()
    expect(page.locator(".ss-banner")).to_be_hidden()
    expect(page.locator(".ss-app")).not_to_have_class(re.compile("ss-stale"))


def test_text_that_is_no_number_is_refused_on_the_spot(page: Page, address: str) -> None:
    visit(page, address)
    before = spec(page)
    type_into(page, "steps", "many")
    expect(control(page, "steps").locator(".ss-error")).to_contain_text("takes a number")
    assert spec(page) == before


def test_a_link_says_what_of_it_was_not_understood(page: Page, address: str) -> None:
    """The rest holds; nothing is left out in silence; a change ends the note."""
    visit(page, address, "v=1&scheduler=NoSuchScheduler&steps=20")
    expect(page.locator(".ss-why")).to_contain_text("NoSuchScheduler")
    assert page.evaluate(COLOURS, "canvas[data-row=chart]") > 20
    visit(
        page,
        address,
        "v=1&scheduler=EulerDiscreteScheduler&steps=12&stepz=30&c.s_chrn=4&c.beta_end=9"
        "&c.s_noise=1.01&samples=999&utm_source=mail#step=99&x=nowhere",
    )
    expect(page.locator("[data-chip=link]")).to_have_text("6 parts of the link not understood")
    for part in ("stepz=30", "Did you mean s_churn", "beta_end", "samples", "step=99", "nowhere"):
        expect(page.locator(".ss-why")).to_contain_text(part)
    expect(page.locator(".ss-why")).not_to_contain_text("utm_source")
    expect(page.locator(".ss-banner")).to_be_hidden()
    now = spec(page)
    assert (now["scheduler"], now["steps"]) == ("EulerDiscreteScheduler", 12)
    assert (now["config"], now["samples"]) == ({"s_noise": 1.01}, 1)
    type_into(page, "steps", "14")
    expect(page.locator("[data-chip=link]")).to_have_count(0)


def test_a_limit_without_end_can_be_set_and_taken_back(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=EulerDiscreteScheduler&steps=10&c.s_churn=4")
    field = control(page, "config.s_tmax").locator("input[type=text]")
    expect(field).to_have_value("")
    type_into(page, "config.s_tmax", "5")
    assert spec(page)["config"]["s_tmax"] == 5
    type_into(page, "config.s_tmax", "")
    assert "s_tmax" not in spec(page)["config"]
    expect(page.locator(".ss-banner")).to_be_hidden()


def test_reset_brings_the_first_view_back(page: Page, address: str) -> None:
    visit(page, address)
    first, start = pictures(page), spec(page)
    slide(page, "steps", 0.5)
    choose(page, "scheduler", "Euler")
    wait_for_its_film(page)
    key = film(page)
    page.click("[data-action=reset]")
    wait_for_film(page, key)
    assert spec(page) == start
    assert pictures(page)["x0"] == first["x0"]


def test_arrow_keys_move_a_slider_by_one_step(page: Page, address: str) -> None:
    visit(page, address)
    slider = control(page, "steps").locator("input[type=range]")
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    slider.press("ArrowLeft")
    assert spec(page)["steps"] == 21


def test_every_control_has_a_label(page: Page, address: str) -> None:
    visit(page, address)
    nameless = page.evaluate("""() => [...document.querySelectorAll(
        '.ss-app :is(input, select, button)')].filter(e => !(e.labels?.length
        || e.getAttribute('aria-label') || e.textContent.trim() || e.title))
        .map(e => e.outerHTML)""")
    assert nameless == []


# --- links ------------------------------------------------------------------------------------


def told(link: str) -> RunSpec | None:
    """The run that a link is of."""
    parts = [part for part in urlsplit(link).query.split("&") if not part.startswith("__")]
    return RunSpec.from_query("&".join(parts)) if any(parts) else None


def link_of(page: Page) -> str:
    """The address once it says what the controls say."""
    page.click("[data-action=copy]")  # which writes at once what is looked at
    wanted = RunSpec.from_dict(spec(page))
    page.wait_for_url(lambda link: told(link) == wanted)
    return page.url


def test_a_link_restores_the_exact_state(page: Page, address: str, browser: Browser) -> None:
    visit(page, address)
    choose(page, "scheduler", "DPM++ 2M SDE Karras")
    slide(page, "steps", 0.15)
    type_into(page, "config.beta_end", "0.018")
    type_into(page, "seed", "77")
    page.wait_for_url("**seed=77*")
    page.locator('input[name="ss-y"][value="alphas_cumprod"]').check(force=True)
    page.keyboard.press("End")
    wait_for_its_film(page)
    link, state, key = link_of(page), spec(page), film(page)
    assert "c.beta_end=0.018" in link
    other = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    other.goto(link)
    other.wait_for_selector(READY, state="attached")
    assert spec(other) == state
    assert film(other) == key
    assert position(other) == position(page)
    assert picture(other, "chart") == picture(page, "chart")
    other.context.close()


def test_python_reads_what_the_page_links_and_the_other_way_round(
    page: Page, address: str
) -> None:
    wanted = RunSpec.from_dict(
        {
            "scheduler": "DPMSolverMultistepScheduler",
            "config": {"algorithm_type": "sde-dpmsolver++", "beta_end": 0.015, "solver_order": 3},
            "model": "points",
            "cond": "moons",
            "steps": 12,
            "seed": 5,
            "samples": 2,
        }
    )
    visit(page, address, wanted.to_query())
    shown = spec(page)
    assert RunSpec.from_dict(shown) == wanted
    type_into(page, "seed", "6")
    page.wait_for_url("**seed=6*")
    query = urlsplit(link_of(page)).query
    assert RunSpec.from_query(query) == RunSpec.from_dict(wanted.to_dict() | {"seed": 6})


def test_the_steps_end_where_the_levels_do(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=LCMScheduler&steps=4&c.original_inference_steps=30")
    expect(control(page, "steps")).to_contain_text("at most 30 steps")
    slide(page, "steps", 1.0)
    page.wait_for_function("() => sigmascope.spec.steps === 30")
    visit(page, address, "v=1&scheduler=DPMAdaptiveScheduler&steps=4")
    expect(control(page, "steps")).to_contain_text("the scheduler chooses the steps")
    expect(control(page, "steps").locator("input[type=text]")).to_be_disabled()


def test_custom_timesteps_survive_a_link(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=EulerDiscreteScheduler&timesteps=900,500,100&steps=3")
    expect(page.locator(".ss-chips")).to_contain_text("3 steps")
    assert spec(page)["timesteps"] == [900, 500, 100]


def test_the_hosts_own_parameters_stay(page: Page, address: str) -> None:
    visit(page, address, "__theme=dark&v=1&steps=9")
    slide(page, "steps", 0.4)
    assert "__theme=dark" in link_of(page)


def test_a_space_gets_the_link_and_a_frame_of_finite_height(
    browser: Browser, address: str
) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    # The stand-in for the Hub is a public address, and the app's is this machine's.
    context.grant_permissions(["local-network-access"])
    outside = context.new_page()
    body = (
        "<script>got = []; addEventListener('message', e => got.push(e.data))</script>"
        f"<iframe src='{address}?v=1&steps=12' width=1300 height=3000 allow='local-network-access'>"
        "</iframe>"
    )
    outside.route(
        "https://huggingface.co/**", lambda r: r.fulfill(body=body, content_type="text/html")
    )
    outside.goto("https://huggingface.co/spaces/someone/sigmascope")
    inside = outside.frame_locator("iframe")
    inside.locator(READY).wait_for(state="attached")
    inside.locator("[data-action=randomise]").click()
    outside.wait_for_function("() => got.some(m => m.queryString)")
    sent = outside.evaluate("() => got.findLast(m => m.queryString).queryString")
    assert RunSpec.from_query(sent).steps == 12
    height = inside.locator(".ss-app").evaluate("e => e.getBoundingClientRect().height")
    assert 700 < height < 1400, "the page's height must not follow the frame's"
    context.close()


# --- time -------------------------------------------------------------------------------------


def test_keyboard_steps_jumps_and_stops_at_the_ends(page: Page, address: str) -> None:
    visit(page, address)
    page.keyboard.press("Home")
    assert position(page) == "1 / 20"
    page.keyboard.press("ArrowLeft")
    assert position(page) == "1 / 20"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert position(page) == "12 / 20"
    before = page.evaluate("() => document.querySelector('[data-frame=prev] canvas').toDataURL()")
    page.keyboard.press("End")
    assert position(page) == "20 / 20"
    after = page.evaluate("() => document.querySelector('[data-frame=prev] canvas').toDataURL()")
    assert before != after
    expect(page.locator(".ss-explain h2")).to_have_text("What step 20 does")


def test_space_plays_and_pauses_without_computing(page: Page, address: str) -> None:
    visit(page, address)
    asked: list[str] = []
    page.on(
        "request",
        lambda r: asked.append(r.url) if "component_server" in r.url else None,
    )
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.wait_for_function(
        "() => Number(document.querySelector('.ss-scrubber').value) >= 3", timeout=4000
    )
    page.keyboard.press("Space")
    expect(page.locator("[data-action=play]")).to_have_attribute("data-playing", "false")
    stopped = position(page)
    page.wait_for_timeout(300)  # nothing moves: played, several steps would have passed
    assert position(page) == stopped
    page.click("[data-action=play]")
    page.wait_for_function(
        "() => document.querySelector('.ss-position').textContent === '20 / 20'", timeout=8000
    )
    expect(page.locator("[data-action=play]")).to_have_attribute("data-playing", "false")
    assert asked == []


def test_scrubber_and_strips_move_the_one_cursor(page: Page, address: str) -> None:
    visit(page, address)
    page.locator(".ss-scrubber").fill("4")
    assert position(page) == "5 / 20"
    strip = page.locator("canvas[data-row=x0]")
    box = strip.bounding_box()
    assert box is not None
    strip.click(position={"x": box["width"] * 15.5 / 20, "y": box["height"] / 2})
    assert position(page) == "16 / 20"
    expect(page.locator(".ss-scrubber")).to_have_js_property("value", "15")


# --- chart ------------------------------------------------------------------------------------


def test_hover_tells_the_values(page: Page, address: str) -> None:
    visit(page, address)
    chart = page.locator("canvas.ss-chart")
    box = chart.bounding_box()
    assert box is not None
    chart.hover(position={"x": box["width"] * 4.5 / 20, "y": box["height"] / 2})
    tip = page.locator(".ss-tip")
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("Step 5")
    for word in ("σ/α", "logSNR", "order", "share of result"):
        expect(tip).to_contain_text(word)


def test_all_axes_draw_something_different(page: Page, address: str) -> None:
    visit(page, address)
    seen = set()
    for x in ("step", "t", "rho", "logsnr"):
        page.locator(f'input[name="ss-x"][value="{x}"]').check(force=True)
        for y in ("rho", "sigma", "alpha", "alphas_cumprod", "beta", "snr", "logsnr"):
            page.locator(f'input[name="ss-y"][value="{y}"]').check(force=True)
            seen.add(picture(page, "chart"))
    assert len(seen) == 28
    page.locator('input[name="ss-y"][value="rho"]').check(force=True)
    before = picture(page, "chart")
    page.click("[data-action=log]")
    assert picture(page, "chart") != before


def test_zoom_survives_a_change_and_ends_on_demand(page: Page, address: str) -> None:
    visit(page, address)
    chart = page.locator("canvas.ss-chart")
    box = chart.bounding_box()
    assert box is not None
    whole = pictures(page)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 160, steps=4)
    page.mouse.up()
    expect(page.locator("[data-action=zoom-out]")).to_be_visible()
    zoomed = pictures(page)
    assert zoomed["chart"] != whole["chart"]
    assert zoomed["prev"] != whole["prev"], "the film follows the zoom of the steps"
    key = film(page)
    page.click("[data-action=randomise]")
    wait_for_film(page, key)
    assert picture(page, "chart") == zoomed["chart"]
    page.click("[data-action=zoom-out]")
    assert picture(page, "chart") == whole["chart"]


def test_bars_show_spacing_or_share(page: Page, address: str) -> None:
    visit(page, address)
    before = picture(page, "bars")
    page.click("[data-action=bars]")
    expect(page.locator("[data-action=bars]")).to_contain_text("share")
    assert picture(page, "bars") != before


# --- chips, samples, errors of the line -------------------------------------------------------


def test_a_warning_opens_its_reason_and_its_fix(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=KarrasVeScheduler&steps=18")
    chip = page.locator("button.ss-chip-warn").first
    expect(chip).to_have_attribute("aria-expanded", "false")
    chip.click()
    expect(chip).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#ss-why")).to_be_visible()
    assert len(page.locator("#ss-why").inner_text()) > 60
    expect(page.locator("#ss-why .ss-fix")).to_contain_text("What to do")
    page.keyboard.press("Escape")
    expect(page.locator("#ss-why")).to_be_hidden()


def test_one_of_several_samples_can_be_picked(page: Page, address: str) -> None:
    visit(page, address, "v=1&steps=8&samples=3&seed=2")
    tiles = page.locator(".ss-picker button")
    expect(tiles).to_have_count(3)
    first = picture(page, "x0")
    tiles.nth(2).click()
    expect(tiles.nth(2)).to_have_attribute("aria-selected", "true")
    assert picture(page, "x0") != first


def test_a_lost_server_is_said_and_forgotten_when_it_returns(
    page: Page, address: str, watch: Watch
) -> None:
    watch.expected = "Failed to load resource"
    visit(page, address)

    def refuse(route: Route) -> None:
        route.abort()

    page.route("**/component_server/", refuse)
    slide(page, "steps", 0.35)
    expect(page.locator(".ss-banner")).to_contain_text("did not answer")
    page.unroute("**/component_server/", refuse)
    key = film(page)
    slide(page, "steps", 0.25)
    wait_for_film(page, key)
    expect(page.locator(".ss-banner")).to_be_hidden()


# --- run live ---------------------------------------------------------------------------------


def test_a_large_run_asks_for_run_live_and_stops_at_once(page: Page, address: str) -> None:
    visit(page, address, LONG + "&seed=3")
    expect(page.locator(".ss-notice")).to_contain_text("1000 model calls for 8 samples")
    page.click(".ss-notice [data-action], .ss-notice button")
    page.wait_for_function("() => Number(document.querySelector('progress')?.value) >= 3")
    assert page.evaluate(COLOURS, "[data-frame=x0] canvas") > 30
    page.click("[data-action=stop-run]")
    expect(page.locator(".ss-app")).to_have_attribute("data-running", "false")
    expect(page.locator(".ss-chips")).to_contain_text("stopped after")


def test_stop_frees_the_server_within_a_step(page: Page, address: str) -> None:
    # Two runs fit at a time: if a stopped one went on, the third would wait for its end.
    visit(page, address, LONG + "&seed=8")
    for _ in range(4):
        began = time.monotonic()
        page.click(".ss-foot [data-action=run]")
        page.wait_for_function("() => Number(document.querySelector('progress')?.value) >= 3")
        assert time.monotonic() - began < 6
        page.click("[data-action=stop-run]")
        expect(page.locator(".ss-app")).to_have_attribute("data-running", "false")


def test_a_live_run_ends_with_the_whole_film(page: Page, address: str) -> None:
    visit(page, address, "v=1&steps=150&samples=2&model=emoji-local&seed=4")
    page.click("[data-action=run]")
    page.wait_for_selector('[data-running="true"]')
    page.wait_for_selector('[data-running="false"]')
    page.wait_for_function("() => document.querySelector('.ss-app').dataset.film")
    assert position(page) == "150 / 150"
    expect(page.locator(".ss-chips")).to_contain_text("run")
    page.keyboard.press("Home")
    assert page.evaluate(COLOURS, "[data-frame=prev] canvas") > 200


def test_a_change_ends_a_live_run(page: Page, address: str) -> None:
    visit(page, address, LONG + "&seed=5")
    page.click("[data-action=run]")
    page.wait_for_function("() => Number(document.querySelector('progress')?.value) >= 1")
    type_into(page, "steps", "12")
    expect(page.locator(".ss-app")).to_have_attribute("data-running", "false")


@pytest.mark.parametrize("model", ["points", "mixture-1d"])
def test_particles_stream_too(page: Page, address: str, model: str) -> None:
    visit(page, address, f"v=1&steps=300&samples=2&model={model}&seed=6")
    page.click("[data-action=run]")
    page.wait_for_selector('[data-running="false"]')
    assert position(page) == "300 / 300"
    assert page.evaluate(COLOURS, "[data-frame=prev] canvas") > 8


# --- looks ------------------------------------------------------------------------------------


def test_dark_follows_the_system_and_the_button(browser: Browser, address: str) -> None:
    context = browser.new_context(color_scheme="dark", viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    visit(page, address)
    assert page.evaluate("() => document.body.classList.contains('dark')")
    dark = picture(page, "chart")
    ground = "() => getComputedStyle(document.querySelector('.ss-card')).backgroundColor"
    before = page.evaluate(ground)
    page.click("[data-action=theme]")
    page.wait_for_function(f"before => ({ground})() !== before", arg=before)
    at_rest(page)
    assert picture(page, "chart") != dark, "canvases repaint in the new colours"
    page.reload()
    page.wait_for_selector(READY, state="attached")
    assert not page.evaluate("() => document.body.classList.contains('dark')")
    context.close()


def test_presentation_is_larger_and_ends_with_escape(page: Page, address: str) -> None:
    visit(page, address)
    size = "() => parseFloat(getComputedStyle(document.querySelector('.ss-sentence')).fontSize)"
    before = page.evaluate(size)
    page.click("[data-action=present]")
    assert page.evaluate(size) > 1.3 * before
    expect(page.locator(".ss-side")).to_be_hidden()
    page.keyboard.press("Escape")
    assert page.evaluate(size) == before


def test_a_phone_scrolls_the_columns_and_nothing_else(phone: Page, address: str) -> None:
    visit(phone, address)
    wide = "() => [document.documentElement.scrollWidth, window.innerWidth]"
    assert phone.evaluate(wide) == [390, 390]
    expect(phone.locator(".ss-side")).to_be_hidden()
    ends = phone.evaluate("""() => {
        const scroller = document.querySelector('.ss-scroller');
        const left = () => [...scroller.querySelectorAll('canvas')].map(
            c => c.getBoundingClientRect().left);
        scroller.scrollLeft = 0;
        const before = left();
        scroller.scrollLeft = 120;
        return [before, left()];
    }""")
    assert [round(a - b) for a, b in zip(*ends, strict=True)] == [120] * 5
    phone.locator("[data-action=fold]").tap()
    expect(phone.locator(".ss-side")).to_be_visible()
    assert phone.evaluate(wide) == [390, 390]
    key = film(phone)
    choose(phone, "scheduler", "Euler")
    wait_for_film(phone, key)
    phone.locator(".ss-shade").tap(position={"x": 370, "y": 300})
    expect(phone.locator(".ss-side")).to_be_hidden()


@pytest.mark.parametrize("width", [768, 1024])
def test_no_width_makes_the_page_scroll_sideways(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, address)
    assert page.evaluate("() => document.documentElement.scrollWidth") == width


POOR = """() => {
    const parse = (c) => c.match(/[\\d.]+/g).map(Number);
    const lum = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = (e) => {
        for (; e; e = e.parentElement) {
            const c = parse(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] === 1) return c;
        }
        return [255, 255, 255];
    };
    const poor = [];
    for (const e of document.querySelectorAll('.ss-app *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.offsetParent || e.closest('[disabled], .ss-inert')) continue;
        if (e.closest('option, .ss-hidden')) continue;
        const [a, b] = [lum(parse(getComputedStyle(e).color)), lum(ground(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) poor.push([e.textContent.slice(0, 40), ratio.toFixed(2)]);
    }
    return poor;
}"""


def test_text_has_contrast_in_both_modes(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=KarrasVeScheduler&steps=10")
    for dark in (False, True):
        page.evaluate("dark => document.body.classList.toggle('dark', dark)", dark)
        at_rest(page)
        assert page.evaluate(POOR) == []
        for door in ("[data-action=about]", '[data-control="scheduler"]'):
            page.click(door)
            assert page.evaluate(POOR) == [], door
            page.keyboard.press("Escape")


def test_a_very_long_run_is_shown_to_its_last_call(page: Page, address: str) -> None:
    """The server tells some of its calls; the page has a place for each."""
    visit(
        page,
        address,
        "v=1&scheduler=ScoreSdeVeScheduler&c.correct_steps=6&steps=1000&model=mixture-1d",
    )
    expect(page.locator(".ss-position")).to_contain_text("/ 7000")
    page.locator(".ss-scrubber").fill("6999")
    expect(page.locator(".ss-position")).to_have_text("7000 / 7000")
    spoken = page.locator(".ss-scrubber").get_attribute("aria-valuetext") or ""
    assert re.search(r"noise level \d", spoken), spoken
    expect(page.locator(".ss-chips")).to_contain_text("of 7000 calls told")
