"""How fast the page answers a drag: from the input event to the frame that shows its result.

Run it with ``python -m benchmarks.browser``. It starts the app, opens it in headless Chromium,
drags sliders as a person does, and prints medians and 90th percentiles. The page itself takes
the times: from the input event's own time stamp to the second animation frame after drawing, so
the whole way counts: script, request, computation, drawing, painting. No value is dragged over
twice, so no film comes from the cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence

from playwright.sync_api import Browser, Page

from tests.page.browsing import chromium, serve, visit

BUDGET = {"curve": 60.0, "film": 150.0}
PAUSE = 1 / 30

CASES = {
    "DPM++ 2M Karras, one emoji, beta_end": ("v=1&c.use_karras_sigmas=true", "config.beta_end"),
    "Euler, one emoji, beta_start": ("v=1&scheduler=EulerDiscreteScheduler", "config.beta_start"),
    "DPM++ 2M, one emoji, steps 10 to 30": ("v=1&c.use_karras_sigmas=true", "steps"),
    "DDIM, 256 points, beta_end": ("v=1&scheduler=DDIMScheduler&model=points", "config.beta_end"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--moves", type=int, default=60, help="mouse moves of one drag")
    parser.add_argument("--address", help="measure a running app instead of starting one")
    arguments = parser.parse_args()
    with chromium() as browser:
        print(f"{os.cpu_count()} cores, {browser.browser_type.name} {browser.version}\n")
        if arguments.address:
            report(browser, arguments.address.rstrip("/") + "/", arguments.moves)
        else:
            with serve() as address:
                report(browser, address, arguments.moves)


def report(browser: Browser, address: str, moves: int) -> None:
    first = [first_view(browser, address) for _ in range(5)]
    print(f"first view with film: median {statistics.median(first):.0f} ms after navigation\n")
    print(f"{'drag':40}{'':8}{'answers':>8}{'median':>9}{'p90':>9}{'goal':>9}")
    for seed, (name, (query, control)) in enumerate(CASES.items()):
        times = drag(
            browser, address, f"{query}&seed={time.time_ns() % 10**6 + seed}", control, moves
        )
        for what, taken in times.items():
            high = sorted(taken)[int(0.9 * (len(taken) - 1))] if taken else float("nan")
            middle = statistics.median(taken) if taken else float("nan")
            goal = BUDGET[what]
            verdict = "" if middle <= goal else "  over"
            print(
                f"{name:40}{what:8}{len(taken):8d}{middle:6.0f} ms{high:6.0f} ms{goal:6.0f} ms"
                f"{verdict}"
            )
            name = ""


def first_view(browser: Browser, address: str) -> float:
    """Milliseconds from navigation to the painted film, in a browser with an empty cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    visit(page, address)
    taken = page.evaluate("() => sigmascope.timings.first")
    context.close()
    return float(taken)


def drag(
    browser: Browser, address: str, query: str, control: str, moves: int
) -> dict[str, Sequence[float]]:
    """Drag one slider over a part of its length; return the page's own times."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    visit(page, address, query)
    warm(page, control)
    page.evaluate(
        "() => { sigmascope.timings.curve.length = 0; sigmascope.timings.film.length = 0; }"
    )
    low, high = (0.1, 0.3) if control == "steps" else (0.3, 0.7)
    move(page, control, low, high, moves)
    page.wait_for_timeout(1000)
    taken = page.evaluate(
        "() => ({curve: sigmascope.timings.curve, film: sigmascope.timings.film})"
    )
    context.close()
    return taken


def warm(page: Page, control: str) -> None:
    """A few moves beside the measured range, so that nothing is compiled while it is timed."""
    move(page, control, 0.8, 0.9, 6)
    page.wait_for_timeout(600)


def move(page: Page, control: str, low: float, high: float, moves: int) -> None:
    slider = page.locator(f'[data-control="{control}"] input[type=range]')
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    if box is None:
        raise RuntimeError(f"{control} has no slider on the page")
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * low, y)
    page.mouse.down()
    for k in range(moves):
        page.mouse.move(box["x"] + box["width"] * (low + (high - low) * (k + 1) / moves), y)
        time.sleep(PAUSE)
    page.mouse.up()


if __name__ == "__main__":
    main()
