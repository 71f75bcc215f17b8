"""The house's one-way arrows, walked in the source: app -> visualize -> sampling -> the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import schedulers

ROOT = Path(__file__).parents[2]

# What each room may import of the others.
ARROWS = {
    "schedulers": set(),
    "models": {"schedulers"},
    "sampling": {"models", "schedulers"},
    "visualize": {"models", "schedulers", "sampling"},
}
ROOMS = set(ARROWS) | {"app"}


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Full names of what a file imports; relative ones are resolved against its package."""
    package = path.relative_to(ROOT).parts[:-1]
    yield from names(ast.parse(path.read_text()), package, top_only=top_only)


def names(tree: ast.Module, package: tuple[str, ...], *, top_only: bool = False) -> Iterator[str]:
    """Full names of what a syntax tree imports."""
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *((node.module,) if node.module else ())))
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ARROWS)
def test_no_arrow_points_upward(room: str) -> None:
    found = sources(room)
    assert found, f"{room} is empty"
    for path in found:
        foreign = {name.split(".")[0] for name in imports(path)} & (ROOMS - {room})
        assert foreign <= ARROWS[room], f"{path.relative_to(ROOT)} imports {foreign}"


def test_models_take_checks_of_the_library_and_nothing_else() -> None:
    for path in sources("models"):
        taken = [name for name in imports(path) if name.split(".")[0] == "schedulers"]
        doors = ("schedulers.backend.checks", "schedulers.backend.errors")
        assert all(name.startswith(doors) for name in taken), (path, taken)


def test_the_library_imports_neither_diffusers_nor_k_diffusion() -> None:
    for path in sources("schedulers"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"diffusers", "k_diffusion"}, path


def test_the_library_imports_heavy_packages_inside_functions_only() -> None:
    for path in sources("schedulers"):
        roots = {name.split(".")[0] for name in imports(path, top_only=True)}
        assert not roots & {"torch", "scipy", "huggingface_hub", "gradio"}, path


@pytest.mark.parametrize("room", ["models", "sampling", "visualize"])
def test_only_the_page_imports_gradio(room: str) -> None:
    for path in sources(room):
        if room == "visualize" and path.name.startswith("page"):
            continue
        assert "gradio" not in {name.split(".")[0] for name in imports(path)}, path


def test_spaces_is_imported_where_it_may_be_missing_only() -> None:
    for room in ARROWS:
        for path in sources(room):
            top = {name.split(".")[0] for name in imports(path, top_only=True)}
            assert "spaces" not in top, path


def test_type_checkers_see_the_names_that_are_served() -> None:
    """One table says where a name lives; type checkers, who read no tables, are told the same."""
    tree = ast.parse((ROOT / "schedulers" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.asname: f"schedulers.{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: f"schedulers.{home}" for name, home in schedulers._HOME.items()}


def test_every_scheduler_that_is_written_is_served() -> None:
    found = {
        node.name
        for path in sorted((ROOT / "schedulers" / "solvers").glob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name.endswith("Scheduler")
    }
    assert found == set(schedulers.SCHEDULERS)


def test_the_walk_sees_relative_and_nested_imports() -> None:
    """The checker itself can fail: it finds an import hidden in a function of a subpackage."""
    source = "def f():\n    from ...sampling import run\n"
    found = set(names(ast.parse(source), ("schedulers", "rules", "deep")))
    assert "schedulers.sampling" in found
    found = set(names(ast.parse("class C:\n    import gradio.blocks\n"), ("models",)))
    assert found == {"gradio.blocks"}
