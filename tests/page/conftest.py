from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request

from tests.page.browsing import chromium, serve


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with serve() as place:
        yield place


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


class Watch:
    """What a page did that no visit may do: foreign requests, errors on the console."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.expected = ""

    def follow(self, page: Page) -> None:
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def check(self) -> None:
        assert self.foreign == []
        if not self.expected:
            assert self.errors == []
        else:
            assert all(self.expected in error for error in self.errors), self.errors


@pytest.fixture
def watch(address: str) -> Watch:
    return Watch(address)


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    watch.follow(opened)
    yield opened
    context.close()
    watch.check()


@pytest.fixture
def phone(browser: Browser, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    watch.follow(opened)
    yield opened
    context.close()
    watch.check()
