"""Write the pages that are made of data: ``python -m docs.make_pages``.

``docs/quirks.md`` comes from ``schedulers/quirks.py``. What is written depends on the code alone,
so the same code gives the same files; ``tests/unit/test_pages.py`` fails when they are old.
"""

from __future__ import annotations

from pathlib import Path

from schedulers.quirks import QUIRKS, Quirk

DOCS = Path(__file__).resolve().parent

OURS = {
    "switch": 'Followed; `compat="paper"` follows the mathematics.',
    "mathematics": "Not followed.",
    "upstream": "Followed.",
}


def classes(quirk: Quirk) -> str:
    """Whom a quirk concerns."""
    return ", ".join(f"`{name}`" for name in quirk.classes) or "every class"


def quirks_page() -> str:
    """All quirks: an overview, then each in its own section."""
    rows = "\n".join(
        f"| [{q.title}](#{q.slug}) | {q.where} | {q.shows} | {'yes' if q.ours == 'switch' else 'no'} |"
        for q in QUIRKS
    )
    return f"""# Where diffusers leaves the mathematics

Generated from `schedulers/quirks.py` by `python -m docs.make_pages`.

A drop-in must reproduce images, so by default a scheduler does what diffusers 0.42.1 does. These
are the places where that is not what the paper says. `compat="paper"`, a keyword of every
constructor, follows the mathematics. Crashes and NaN are not reproduced. Each side has a test.

| quirk | when | how it shows | switch |
| --- | --- | --- | --- |
{rows}

{chr(10).join(quirk_section(q) for q in QUIRKS)}"""


def quirk_section(quirk: Quirk) -> str:
    """One quirk, under an anchor that is its slug."""
    ours = f"{OURS[quirk.ours]} {quirk.why}".strip()
    return f"""<a id="{quirk.slug}"></a>
## {quirk.title}

- **Who**: {classes(quirk)}
- **When**: {quirk.where}
- **diffusers**: {quirk.upstream}
- **Mathematics**: {quirk.mathematics}
- **How it shows**: {quirk.shows}
- **Here**: {ours}
"""


def pages() -> dict[str, str]:
    """Path below ``docs/`` -> text."""
    return {"quirks.md": quirks_page()}


def main() -> None:
    """Write every page that has changed."""
    for name, text in pages().items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"docs/{name}")


if __name__ == "__main__":
    main()
