"""Law 14, the house: no import circle, no tower of classes, no long road through a step."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from schedulers import SCHEDULERS
from tests.unit.test_imports import ARROWS, ROOT, sources

ROOMS = (*ARROWS, "benchmarks", "docs", "tests")
#: Files and functions of ``schedulers/`` that a step may run through.
COLD, WARM = (8, 24), (5, 12)


def modules() -> dict[str, Path]:
    """Every module of the project, by its name."""
    found = {"app": ROOT / "app.py"}
    for room in ROOMS:
        for path in sources(room):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def for_types_only(node: ast.AST) -> bool:
    """Whether a statement is ``if TYPE_CHECKING``."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of what runs, functions included: all but what only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if for_types_only(node):
            assert isinstance(node, ast.If)
            for other in node.orelse:
                yield other
                yield from running(other)
            continue
        yield node
        yield from running(node)


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the project that a module imports when it runs."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()
    for node in running(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join((*start, *((node.module,) if node.module else ())))
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add(inner if inner in known else module)
    return {other for other in found if other in known and other != name}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(group)

    for node in graph:
        if node not in number:
            visit(node)
    return found


def test_no_import_circle() -> None:
    """Imports inside functions count; those that only a type checker sees do not."""
    known = modules()
    graph = {name: imported(name, path, known) for name, path in known.items()}
    assert sum(map(len, graph.values())) > 400
    assert not circles(graph)


def test_a_circle_would_be_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert [sorted(group) for group in circles(graph)] == [["a", "b", "c"]]


@pytest.mark.parametrize(
    "path",
    # in the package itself the names are served by __getattr__
    [path for path in sources("schedulers") if path != ROOT / "schedulers" / "__init__.py"],
    ids=lambda path: path.stem,
)
def test_what_is_imported_for_types_only_does_not_run(path: Path) -> None:
    """A name behind ``if TYPE_CHECKING`` stands in annotations and nowhere else."""
    tree = ast.parse(path.read_text())
    hidden = {
        alias.asname or alias.name
        for block in ast.walk(tree)
        if for_types_only(block)
        for node in ast.walk(block)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    annotations: set[int] = set()
    for node in ast.walk(tree):
        for part in ("annotation", "returns"):
            noted = getattr(node, part, None)
            if noted is not None:
                annotations |= {id(inner) for inner in ast.walk(noted)}
    used = {
        node.id
        for node in running(tree)
        if isinstance(node, ast.Name) and id(node) not in annotations
    }
    assert not used & hidden


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_class_stands_on_six_others_at_most(name: str) -> None:
    others = [c for c in SCHEDULERS[name].__mro__[1:] if c.__module__.startswith("schedulers")]
    assert len(others) <= 6, [c.__name__ for c in others]


# --- the road of a step -------------------------------------------------------------------------


def road(run: Callable[[], object]) -> tuple[set[str], set[str]]:
    """Files and functions of ``schedulers/`` that a call runs through."""
    files: set[str] = set()
    functions: set[str] = set()
    room = str(ROOT / "schedulers")

    def note(frame: FrameType, event: str, arg: Any) -> None:  # noqa: ANN401
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(room):
            files.add(code.co_filename.removeprefix(room + "/"))
            if not code.co_name.startswith("<"):  # comprehensions are part of their function
                functions.add(f"{code.co_filename}:{code.co_qualname}")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return files, functions


@pytest.mark.parametrize(
    "name", ["EulerDiscreteScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"]
)
def test_the_road_of_a_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In a grid of its own number of steps, the third step is the first that looks far back."""
    steps = 37 + len(name)
    x = torch.ones(1, 2, 2, 2)

    def roads() -> dict[str, tuple[set[str], set[str]]]:
        scheduler = SCHEDULERS[name]()
        scheduler.set_timesteps(steps)
        times = list(scheduler.timesteps)
        scheduler.scale_model_input(x, times[0])
        found = {}
        for i, what in enumerate(("first", "second")):
            found[what] = road(lambda t=times[i]: scheduler.step(x, t, x))
        return found

    cold, warm = roads()["first"], roads()["first"]
    again = roads()["second"]
    with capsys.disabled():
        print()
        for what, (files, functions) in (("cold", cold), ("warm", warm), ("second", again)):
            print(f"{name} {what}: {len(files)} files, {len(functions)} functions")
    for (files, functions), (most_files, most_functions) in (
        (cold, COLD), (warm, WARM), (again, WARM),
    ):  # fmt: skip
        assert len(files) <= most_files, sorted(files)
        assert len(functions) <= most_functions, sorted(functions)


def test_no_class_hides_what_it_makes() -> None:
    """Nothing is wrapped in secret when a class is made."""
    for cls in SCHEDULERS.values():
        for base in cls.__mro__:
            if base.__module__.startswith("schedulers"):
                assert "__init_subclass__" not in vars(base)
                assert "__metaclass__" not in vars(base)
        assert inspect.getmodule(cls.step if hasattr(cls, "step") else cls) is not None
