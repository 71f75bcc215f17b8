"""The generated pages of the documentation: up to date, complete, and their code runs."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

from docs import glossary, make_pages
from docs.samples import NO_PIPELINE
from schedulers import SCHEDULERS
from visualize.about import about

DOCS = make_pages.DOCS
#: Functions, plain words and bound variables inside equations.
WORDS = set(
    "sqrt exp log min max sin atan atan2 arctan floor clip rms first second third call order sde "
    "dpmsolver data noise above evenly spaced from to then in steps before else pi "
    "sum_ sum_j du dr i j k a r r_1 r_2 x_a x_k".split()
)
FOLDER = DOCS / make_pages.FOLDER


def test_the_pages_are_up_to_date() -> None:
    made = make_pages.pages()
    old = [
        name
        for name, text in made.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text("utf-8") != text
    ]
    assert not old, f"run python -m docs.make_pages: {old} changed"
    assert {path.name for path in FOLDER.glob("*.md")} == {f"{n}.md" for n in SCHEDULERS} | {
        "README.md"
    }


def test_links_and_pictures_lead_somewhere() -> None:
    for page in (*DOCS.glob("*.md"), *FOLDER.glob("*.md")):
        text = page.read_text("utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or f'id="{anchor}"' in target.read_text("utf-8"), link


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_symbol_of_an_equation_is_explained(name: str) -> None:
    """In the glossary, where it is defined, in the text around it, or as a parameter or method."""
    told = about(name)
    math = "\n".join(
        b.text for b in told.blocks if b.kind == "math" and "scheduler." not in b.text
    )
    prose = told.sentence + " ".join(b.text for b in told.blocks if b.kind == "text")
    known = {*WORDS, *(p.name for p in SCHEDULERS[name].parameters()), *make_pages.METHODS}
    known |= set(re.findall(r"\w+", prose))
    known |= set(re.findall(r"(\w+)(?:\(\w+, \w+\))?(?:\^2)? +(?:=|<-)", math))
    unknown = {w for w in re.findall(r"[A-Za-z]\w*", math) if not glossary.parts(w)} - known
    assert not unknown, f"explain {sorted(unknown)}"
    shown = (FOLDER / f"{name}.md").read_text("utf-8")
    assert all(f"| `{symbol}` | " in shown for symbol in glossary.parts(math))


def test_pictures_are_small() -> None:
    sizes = {name: 0 for name in SCHEDULERS}
    for path in (FOLDER / make_pages.IMAGES).iterdir():
        sizes[path.name.partition("-")[0]] += path.stat().st_size
    assert all(0 < size <= 60_000 for size in sizes.values()), sizes
    assert sum(sizes.values()) < 2.2e6


def blocks(name: str) -> list[str]:
    return re.findall(
        r"```python\n(.*?)```", (FOLDER / f"{name}.md").read_text("utf-8"), re.DOTALL
    )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_code_on_a_page_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    alone, on_numpy, on_torch, *pipeline = blocks(name)
    exec(alone, {})
    assert "Coefficients(" in capsys.readouterr().out
    for code in (on_numpy, on_torch):
        left: dict[str, Any] = {}
        exec(code, left)
        for array in (left["x"], left.get("x0", left["x"])):
            assert np.isfinite(np.asarray(array)).all()
            assert tuple(array.shape) == (1, 3, 8, 8)
        assert type(left["x"]).__module__ == ("numpy" if code is on_numpy else "torch")
    assert bool(pipeline) != (name in NO_PIPELINE)
    for code in pipeline:
        compile(code, name, "exec")
        assert f"{name}.from_config" in code


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_parameter_is_explained(name: str) -> None:
    """A sentence, and the values that are allowed."""
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    for p in SCHEDULERS[name].parameters():
        assert len(p.text.split()) > 2 and p.text.endswith("."), p.name
        row = f"| `{p.name}` | {make_pages.default_text(p.default)} | {make_pages.allowed(p)} | "
        assert row + p.text in text
        assert (
            p.choices or p.kind in ("bool", "object") or p.low is not None or p.high is not None
        ), f"{p.name} needs a range"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_argument_of_a_method_is_explained(name: str) -> None:
    described = {p.name for p in SCHEDULERS[name].parameters() if p.call == "step"}
    for title in make_pages.METHODS:
        method = getattr(SCHEDULERS[name], title, None)
        if method is None:
            continue
        explained = make_pages.explanations(method)
        missing = set(inspect.signature(method).parameters) - {"self", *explained, *described}
        assert not missing, f"{title}: Args of its docstring lack {sorted(missing)}"
