"""What a first-time visitor stumbled over, and may not again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.page.browsing import visit
from tests.page.conftest import Watch
from tests.page.test_explore import (
    COLOURS,
    LONG,
    at_rest,
    choose,
    control,
    film,
    link_of,
    picture,
    pictures,
    position,
    spec,
    type_into,
    wait_for_film,
    wait_for_pictures,
)

STALE = re.compile("ss-stale")
OVERLAY = """([from, to]) => {
  const canvas = document.querySelector('.ss-overlay');
  const row = document.querySelector('canvas[data-row=x0]');
  const k = canvas.width / canvas.clientWidth;
  const high = row.offsetHeight * k;
  const data = canvas.getContext('2d').getImageData(
    from * canvas.width, row.offsetTop * k, (to - from) * canvas.width, high).data;
  return data.filter((v, i) => i % 4 === 3 && v > 200).length;
}"""


def app(page: Page) -> Locator:
    return page.locator(".ss-app")


def drag_chart(page: Page, start: float, end: float) -> None:
    box = page.locator("canvas.ss-chart").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 180, steps=4)
    page.mouse.up()


# --- settings ---------------------------------------------------------------------------------


def test_another_scheduler_keeps_the_betas_that_held(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=HeunDiscreteScheduler&steps=10")
    choose(page, "scheduler", "Euler")
    assert spec(page)["config"] == {"beta_start": 0.00085, "beta_end": 0.012}
    choose(page, "scheduler", "KarrasVeScheduler")
    assert spec(page)["config"] == {}
    choose(page, "scheduler", "DDIM")
    assert spec(page)["config"]["beta_end"] == 0.012
    choose(page, "scheduler", "Heun")
    assert "beta_end" not in spec(page)["config"], "there it is the default again"


def test_reset_takes_a_typing_error_and_the_view_along(page: Page, address: str) -> None:
    visit(page, address)
    first = pictures(page)
    page.locator('input[name="ss-y"][value="alpha"]').check(force=True)
    drag_chart(page, 0.4, 0.8)
    type_into(page, "steps", "many")
    expect(page.locator(".ss-banner")).to_contain_text("many")
    page.click("[data-action=reset]")
    expect(page.locator(".ss-banner")).to_be_hidden()
    expect(control(page, "steps").locator(".ss-error")).to_be_hidden()
    expect(control(page, "steps").locator("input[type=text]")).to_have_value("20")
    expect(page.locator("[data-action=zoom-out]")).to_be_hidden()
    wait_for_pictures(page, first)


def test_banner_field_and_link_agree_while_something_is_wrong(page: Page, address: str) -> None:
    visit(page, address)
    type_into(page, "seed", "12")
    good = link_of(page)
    type_into(page, "config.beta_end", "-1")
    expect(page.locator(".ss-banner")).to_contain_text("beta_end")
    type_into(page, "steps", "many")
    expect(page.locator(".ss-banner")).to_contain_text("beta_end")
    expect(page.locator(".ss-banner")).to_contain_text("many")
    expect(page.locator("[data-action=copy]")).to_be_disabled()
    expect(page.locator(".ss-foot [data-action=run]")).to_be_disabled()
    page.wait_for_timeout(300)  # longer than the address lags behind: it is not written
    assert page.url == good
    type_into(page, "steps", "12")
    expect(page.locator(".ss-banner")).not_to_contain_text("many")
    type_into(page, "config.beta_end", "0,015")
    expect(page.locator(".ss-banner")).to_be_hidden()
    expect(page.locator("[data-action=copy]")).to_be_enabled()
    assert spec(page)["config"]["beta_end"] == 0.015
    assert "steps=12" in link_of(page)


def test_a_warning_is_mended_with_one_press(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=DDIMScheduler&model=mixture-1d&steps=10")
    page.click("[data-chip=clipping]")
    key = film(page)
    page.click("#ss-why [data-action=apply]")
    wait_for_film(page, key)
    assert spec(page)["config"]["clip_sample"] is False
    expect(page.locator("[data-chip=clipping]")).to_have_count(0)


# --- old and new ------------------------------------------------------------------------------


def test_an_old_film_beside_new_numbers_says_so(page: Page, address: str) -> None:
    visit(page, address)
    expect(app(page)).not_to_have_class(STALE)
    type_into(page, "steps", "400")
    expect(page.locator(".ss-notice")).to_be_visible()
    expect(app(page)).to_have_class(STALE)
    expect(page.locator("[data-frame=x0] figcaption")).to_contain_text("from the last run")
    at_rest(page)
    faint = "e => Number(getComputedStyle(e).opacity)"
    assert page.locator("[data-frame=x0] canvas").evaluate(faint) < 0.5
    page.click(".ss-notice button")
    expect(page.locator("[data-frame=x0] figcaption")).to_contain_text("at step")
    page.wait_for_selector('[data-running="false"]')
    expect(app(page)).not_to_have_class(STALE)


def test_a_stopped_run_keeps_what_was_computed(page: Page, address: str) -> None:
    visit(page, address, LONG + "&seed=31")
    page.click(".ss-foot [data-action=run]")
    page.wait_for_function("() => Number(document.querySelector('progress')?.value) >= 12")
    page.click("[data-action=stop-run]")
    expect(app(page)).to_have_attribute("data-running", "false")
    page.keyboard.press("End")
    last = int(position(page).split(" / ")[0])
    assert 12 <= last < 1000
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(COLOURS, "[data-frame=prev] canvas") > 100


def test_a_lost_server_can_be_asked_again(page: Page, address: str, watch: Watch) -> None:
    watch.expected = "Failed to load resource"
    visit(page, address)

    def refuse(route: Route) -> None:
        route.abort()

    page.route("**/component_server/", refuse)
    type_into(page, "steps", "15")
    expect(page.locator(".ss-banner")).to_contain_text("did not answer")
    page.unroute("**/component_server/", refuse)
    page.click("[data-action=again]")
    expect(page.locator(".ss-banner")).to_be_hidden()
    expect(page.locator(".ss-chips")).to_contain_text("15 steps")


# --- chart and film ---------------------------------------------------------------------------


def test_a_cursor_outside_the_zoom_is_an_arrow_at_the_edge(page: Page, address: str) -> None:
    visit(page, address)
    page.keyboard.press("End")
    drag_chart(page, 0.1, 0.5)
    assert page.evaluate(OVERLAY, [0, 0.9]) == 0
    assert 0 < page.evaluate(OVERLAY, [0.95, 1]) < 400


@pytest.mark.parametrize("steps", [43, 60])
def test_in_a_thinned_film_one_slot_shows_the_cursors_frame(
    page: Page, address: str, steps: int
) -> None:
    visit(page, address, f"v=1&steps={steps}&seed=4#step=20")
    at_rest(page)
    strip = page.locator("canvas[data-row=x0]").bounding_box()
    assert strip is not None
    for _ in range(3):
        outline = page.evaluate("""() => {
            const canvas = document.querySelector('.ss-overlay');
            const row = document.querySelector('canvas[data-row=x0]');
            const y = row.offsetTop + row.offsetHeight / 2;
            const k = canvas.width / canvas.clientWidth;
            const line = canvas.getContext('2d').getImageData(0, y * k, canvas.width, 1).data;
            const seen = [];
            for (let x = 0; x < canvas.width; x += 1) if (line[4 * x + 3] > 100) seen.push(x / k);
            return [seen[0], seen.at(-1)];
        }""")
        middle = sum(outline) / 2
        slots = strip["width"] / (strip["width"] // 40 if steps > 26 else steps)
        assert abs(middle / slots % 1 - 0.5) < 0.05, "the frame stands on a slot of the film"
        assert outline[1] - outline[0] < slots + 4
        page.keyboard.press("ArrowRight")


def test_the_title_follows_the_quantity(page: Page, address: str) -> None:
    visit(page, address)
    title = page.locator(".ss-timeline-card h2")
    expect(title).to_have_text("Noise level σ/α of every step")
    page.locator('input[name="ss-y"][value="snr"]').check(force=True)
    page.locator('input[name="ss-x"][value="t"]').check(force=True)
    expect(title).to_have_text("Signal-to-noise ratio over time t")


def test_a_call_says_which_step_it_is_part_of(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=HeunDiscreteScheduler&steps=4&model=mixture-1d")
    expect(page.locator(".ss-timeline-card h2")).to_have_text("Noise level σ/α of every call")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".ss-explain h2")).to_have_text("What call 2 does")
    expect(page.locator(".ss-explain")).to_contain_text("step 1, call 2 of 2")
    page.keyboard.press("End")
    expect(page.locator(".ss-explain")).to_contain_text("step 4")


def test_a_link_keeps_log_sample_and_zoom(page: Page, address: str) -> None:
    visit(page, address, "v=1&steps=16&samples=3&seed=2")
    page.click("[data-action=log]")
    page.locator(".ss-picker button").nth(2).click()
    drag_chart(page, 0.3, 0.8)
    link, chart, strip = link_of(page), picture(page, "chart"), picture(page, "x0")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector('[data-ready="true"]', state="attached")
    wait_for_pictures(page, {"chart": chart, "x0": strip})
    expect(page.locator("[data-action=zoom-out]")).to_be_visible()


def test_a_link_with_a_broken_view_still_opens(page: Page, address: str) -> None:
    visit(page, address, "v=1&steps=9#zoom=step:9:1,x!t:a:b,q:1:2&log=nothing:1&sample=x")
    expect(page.locator("[data-action=zoom-out]")).to_be_hidden()
    expect(page.locator(".ss-chips")).to_contain_text("9 steps")


def test_one_step_is_no_special_case_to_look_at(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=EulerDiscreteScheduler&steps=1")
    assert page.locator("[data-chip=levels]").inner_text().count("→") == 1
    assert page.locator(".ss-scrubber").evaluate("e => e.style.getPropertyValue('--fill')") == "0%"
    assert page.evaluate(OVERLAY, [0, 0.3]) == 0


# --- room -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768)])
def test_a_presentation_fits_on_the_screen(
    page: Page, address: str, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    visit(page, address)
    page.click("[data-action=present]")
    at_rest(page)
    for part in (
        ".ss-track",
        "[data-frame=prev]",
        "[data-frame=x0]",
        ".ss-transport",
        ".ss-sentence",
    ):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= size[1], part
        assert box["x"] + box["width"] <= size[0], part
    cut = page.locator(".ss-view").evaluate("e => e.scrollHeight - e.clientHeight")
    assert cut <= 1
    chart = page.locator("canvas.ss-chart").bounding_box()
    assert chart is not None
    assert chart["height"] > 160


PLACES_OF_A_RUN = """async () => {
    const running = () => document.querySelector(".ss-app").dataset.running === "true";
    const frame = () => new Promise(done => requestAnimationFrame(done));
    const places = new Set();
    document.querySelector(".ss-foot [data-action=run]").click();
    for (let k = 0, seen = false; k < 600 && !(seen && !running()); k += 1) {
        seen ||= running();
        places.add(Math.round(
            document.querySelector(".ss-timeline-card").getBoundingClientRect().y));
        await frame();
    }
    return [...places];
}"""


@pytest.mark.parametrize("width", [1440, 1024])
def test_nothing_moves_while_the_steps_are_dragged(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    visit(page, address)
    places = set()
    for steps in (1, 2, 3, 7, 20, 400):
        type_into(page, "steps", str(steps))
        expect(page.locator(".ss-chips")).to_contain_text(f"{steps} step")
        box = page.locator(".ss-timeline-card").bounding_box()
        assert box is not None
        places.add(round(box["y"]))
    places.update(page.evaluate(PLACES_OF_A_RUN))  # while its progress comes and goes
    assert len(places) == 1, places


def test_a_phone_shows_warnings_first_and_run_live_at_hand(phone: Page, address: str) -> None:
    visit(phone, address, "v=1&scheduler=KarrasVeScheduler&steps=10")
    chips = phone.locator(".ss-chips li")
    assert chips.first.get_attribute("data-level") == "warn"
    for chip in phone.locator(".ss-chip").all():
        box = chip.bounding_box()
        assert box is not None
        assert box["height"] >= 36
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    expect(phone.locator("[data-action=present]")).to_be_hidden()
    expect(phone.locator("[data-action=run]")).to_be_in_viewport()
    expect(phone.locator('[data-control="seed"] input')).to_be_in_viewport()
    phone.locator("[data-action=run]").tap()
    phone.wait_for_selector('[data-running="false"]')


def test_a_finger_hits_every_control(phone: Page, address: str) -> None:
    visit(phone, address, "v=1&c.beta_end=0.02")
    phone.locator("[data-action=fold]").tap()
    small = """() => [...document.querySelectorAll(".ss-app :is(button, input, select, summary)")]
      .map((e) => (e.type === "radio" ? e.closest("label") : e))
      .filter((e) => e.offsetParent && !e.matches("[role=switch]"))
      .map((e) => [e.getBoundingClientRect(), e.outerHTML])
      .filter(([{ width, height }]) => width < 24 || height < 24)
      .map(([, text]) => text)"""
    assert phone.evaluate(small) == []


def test_a_link_opens_though_the_server_is_lost(page: Page, address: str, watch: Watch) -> None:
    watch.expected = "Failed to load resource"
    page.route("**/component_server/", lambda route: route.abort())
    visit(page, address, "v=1&scheduler=DDIMScheduler&steps=9")
    expect(page.locator(".ss-banner")).to_contain_text("did not answer")
    expect(page.locator(".ss-banner")).to_contain_text("default view instead")
    assert page.evaluate(COLOURS, "canvas[data-row=chart]") > 20
    page.unroute("**/component_server/")
    page.click("[data-action=again]")
    expect(page.locator(".ss-chips")).to_contain_text("9 steps")


def test_the_first_tab_stop_leads_to_the_chart(page: Page, address: str) -> None:
    visit(page, address)
    page.keyboard.press("Tab")
    expect(page.locator(".ss-skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".ss-timeline-card")).to_be_focused()


def test_many_warnings_share_a_chip_that_tells_them_all(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=KarrasVeScheduler&steps=10")
    expect(page.locator("button.ss-chip-warn")).to_have_count(2)
    page.click("[data-chip=more]")
    assert page.locator("#ss-why .ss-fix").count() >= 2
    page.locator("#ss-why [data-action=apply]").last.click()
    expect(page.locator("#ss-why")).to_be_hidden()


@pytest.mark.parametrize("name", ["LCM", "PNDM", "DPMAdaptive", "KarrasVe", "ScoreSdeVp"])
def test_every_chip_is_whole_beside_the_film(page: Page, address: str, name: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    visit(page, address)
    calm = page.locator(".ss-timeline-card").bounding_box()
    visit(page, address, f"v=1&scheduler={name}Scheduler&steps=12")
    expect(page.locator("[data-chip=run]")).to_be_visible()
    for chip in page.locator(".ss-chip > span").all():
        assert chip.evaluate("e => e.scrollWidth <= e.clientWidth"), chip.inner_text()
    busy = page.locator(".ss-timeline-card").bounding_box()
    assert calm is not None
    assert busy is not None
    assert busy["y"] == calm["y"]
    assert busy["y"] + busy["height"] <= 900


def test_a_rejected_call_is_crossed_out_under_the_cursor_too(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=DPMAdaptiveScheduler&c.h_init=3")
    expect(page.locator("[data-chip=run]")).to_be_visible()
    strokes = """() => {
      const canvas = document.querySelector("canvas.ss-overlay");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let red = 0;
      for (let k = 0; k < data.length; k += 4) {
        red += data[k] === 179 && data[k + 1] === 38 && data[k + 2] === 30;
      }
      return red;
    }"""
    for key, sentence, crossed in (("Home", "rejected", True), ("End", "corrects", False)):
        page.keyboard.press(key)
        expect(page.locator(".ss-sentence")).to_contain_text(sentence)
        page.wait_for_function(f"() => (({strokes})() > 0) === {str(crossed).lower()}")


def test_rejected_steps_branch_off_in_the_chart(page: Page, address: str) -> None:
    """Between the last call of a rejected step and the next one no line is drawn."""
    visit(page, address, "v=1&scheduler=DPMAdaptiveScheduler&c.h_init=3")
    expect(page.locator(".ss-card-head .ss-note")).to_have_text("dashed: tried and rejected")
    inked = """() => {
      const canvas = document.querySelector("canvas.ss-chart");
      const column = canvas.width / 27;
      // Calls 1 to 3 are one rejected try, 4 to 6 the next: look between dots 3 and 4.
      const { data } = canvas.getContext("2d").getImageData(2.8 * column, 0, 0.4 * column,
        canvas.height * 0.8);
      let curve = 0;
      for (let k = 0; k < data.length; k += 4) {
        curve += data[k] < 160 && data[k + 1] < 160 && data[k + 3] > 200;
      }
      return curve;
    }"""
    expect(page.locator("[data-chip=steps]")).to_contain_text("27 model calls")
    assert page.evaluate(inked) == 0
    visit(page, address)
    expect(page.locator(".ss-card-head .ss-note")).to_be_hidden()


def test_a_chart_without_finite_values_says_why(page: Page, address: str) -> None:
    visit(page, address)
    page.evaluate("""() => {
      window.told = [];
      const write = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        window.told.push(text);
        return write.call(this, text, ...rest);
      };
    }""")
    choose(page, "scheduler", "FlowMatchEulerDiscreteScheduler")
    type_into(page, "steps", "1")
    page.wait_for_function("() => window.told.some((text) => text.includes('pure noise'))")
    assert not any("continuous" in text for text in page.evaluate("() => window.told"))


def test_a_presentations_chips_are_as_large_as_its_text(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    visit(page, address, "v=1&scheduler=LCMScheduler&steps=4")
    page.click("[data-action=present]")
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    assert page.locator("[data-chip=steps]").evaluate(size) >= 18
    for chip in page.locator(".ss-chip > span").all():
        assert chip.evaluate("e => e.scrollWidth <= e.clientWidth"), chip.inner_text()
    chart = page.locator("canvas.ss-chart").bounding_box()
    assert chart is not None
    assert chart["height"] > 160


def test_a_run_whose_server_is_gone_ends(page: Page, address: str, watch: Watch) -> None:
    watch.expected = "Failed to load resource"
    visit(page, address)

    def refuse(route: Route) -> None:
        route.abort()

    page.route("**/gradio_api/**", refuse)
    page.click(".ss-foot [data-action=run]")
    expect(page.locator(".ss-banner")).to_contain_text("did not answer", timeout=12_000)
    expect(app(page)).to_have_attribute("data-running", "false")


def test_a_link_to_another_view_of_the_same_run_is_followed(page: Page, address: str) -> None:
    visit(page, address, "v=1&steps=9#step=2")
    expect(page.locator(".ss-position")).to_have_text("2 / 9")
    page.evaluate("() => { location.hash = '#step=5&x=t'; }")
    expect(page.locator(".ss-position")).to_have_text("5 / 9")
    expect(page.locator('input[name="ss-x"][value="t"]')).to_be_checked()


@pytest.mark.parametrize("step", [1, 1000])
def test_the_cursors_dot_is_whole_at_both_ends(page: Page, address: str, step: int) -> None:
    visit(page, address, f"v=1&steps=1000#step={step}")
    widths = page.evaluate("""() => {
      const canvas = document.querySelector("canvas.ss-overlay");
      const { width } = canvas;
      const high = document.querySelector("canvas.ss-chart").offsetHeight;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, high);
      let [left, right, top, bottom] = [width, 0, high, 0];
      for (let y = 0; y < high; y += 1) {
        for (let x = 0; x < width; x += 1) {
          if (data[4 * (y * width + x) + 3] < 200) continue;
          [left, right] = [Math.min(left, x), Math.max(right, x)];
          [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
        }
      }
      return [right - left, bottom - top];
    }""")
    assert widths[1] > 8
    assert abs(widths[0] - widths[1]) <= 2


def test_pure_noise_is_an_infinite_level(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=FlowMatchHeunDiscreteScheduler&steps=8#step=1")
    expect(page.locator(".ss-levels")).to_contain_text("∞ → 6.01")
    page.locator("canvas.ss-chart").hover(position={"x": 20, "y": 60})
    expect(page.locator(".ss-tip")).to_contain_text("σ/α∞ → 6.0")
    expect(page.locator(".ss-tip")).to_contain_text("logSNR−∞")


def test_an_inversion_has_no_share_of_a_result(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=DDIMInverseScheduler&steps=8")
    expect(page.locator(".ss-levels")).to_contain_text("σ/α")
    expect(page.locator(".ss-levels")).not_to_contain_text("share")


def test_the_legend_tells_every_earlier_call(page: Page, address: str) -> None:
    visit(page, address, "v=1&scheduler=UniPCMultistepScheduler&steps=10&c.solver_order=3")
    expect(page.locator(".ss-equation")).to_contain_text("[−2]")
    expect(page.locator(".ss-legend")).to_contain_text(
        "[−1] of the call before, [−2] of 2 calls before"
    )


def test_what_only_a_program_can_set_is_no_control(page: Page, address: str) -> None:
    visit(
        page, address, "v=1&scheduler=FlowMatchEulerDiscreteScheduler&c.use_dynamic_shifting=true"
    )
    expect(page.locator("#ss-why")).to_contain_text("'use_dynamic_shifting' is no parameter here")
    expect(page.locator("#ss-why")).to_contain_text("for programs")
    expect(page.locator('[data-control="config.shift"]')).to_have_count(1)
    expect(page.locator('[data-control="config.use_dynamic_shifting"]')).to_have_count(0)
