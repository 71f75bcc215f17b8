"""The generated pages of the documentation are those that the code gives."""

from __future__ import annotations

from docs import make_pages


def test_the_pages_are_up_to_date() -> None:
    old = [
        name
        for name, text in make_pages.pages().items()
        if not (make_pages.DOCS / name).exists()
        or (make_pages.DOCS / name).read_text("utf-8") != text
    ]
    assert not old, f"run python -m docs.make_pages: {old} changed"
