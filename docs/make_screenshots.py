"""Take the pictures of the page that the README shows.

Run it with ``python -m docs.make_screenshots``. It starts the app, opens it in headless
Chromium in both modes and on a phone, and writes ``docs/images/*.png``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser

from tests.page.browsing import chromium, serve, visit

IMAGES = Path(__file__).resolve().parent / "images"
WIDE = (1440, 960)
PHONE = (390, 844)

Mode = Literal["light", "dark"]

VIEWS: dict[str, tuple[Mode, tuple[int, int], str]] = {
    "explore-light": ("light", WIDE, ""),
    "explore-dark": ("dark", WIDE, ""),
    "explore-plane": (
        "dark",
        WIDE,
        "v=1&scheduler=DPMSolverMultistepScheduler&steps=24&model=points&cond=spiral&seed=2"
        "&samples=4&c.use_karras_sigmas=true#step=18",
    ),
    "explore-line": (
        "light",
        WIDE,
        "v=1&scheduler=DDPMScheduler&steps=60&model=mixture-1d&seed=1&samples=1"
        "#step=44&x=t&y=alphas_cumprod",
    ),
    "explore-phone-light": ("light", PHONE, ""),
    "explore-phone-dark": ("dark", PHONE, ""),
}


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with serve() as address, chromium() as browser:
        for name, view in VIEWS.items():
            take(browser, address, name, *view)


def take(
    browser: Browser, address: str, name: str, mode: Mode, size: tuple[int, int], query: str
) -> None:
    width, height = size
    phone = width < 500
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=mode,
        device_scale_factor=2 if phone else 1,
        is_mobile=phone,
        has_touch=phone,
    )
    page = context.new_page()
    visit(page, address, query)
    page.evaluate("() => document.fonts.ready")
    page.wait_for_timeout(300)
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()
    print(f"docs/images/{name}.png")


if __name__ == "__main__":
    main()
