"""What a scheduler is, taken out of its class: words and equations, names, sources, quirks."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schedulers import NAMES, SCHEDULERS
from schedulers.facts.quirks import Quirk, quirks_of

__all__ = ["About", "Block", "about", "active_quirks", "grids", "own_quirks", "spellings"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a description: running text, or equations or code that keep their lines."""

    kind: Literal["text", "math", "code"]
    text: str


@dataclass(frozen=True, slots=True)
class About:
    """What a class says about itself.

    Attributes:
        sentence: What it is.
        blocks: How it works.
        sources: The literature, as the docstring lists it.
        names: What it is called elsewhere.
    """

    sentence: str
    blocks: tuple[Block, ...]
    sources: str
    names: tuple[str, ...]


def about(name: str) -> About:
    """The description of a class, read from its docstring.

    Args:
        name: Class name.
    """
    text = inspect.getdoc(SCHEDULERS[name]) or ""
    body, _, rest = text.partition("\nReferences:\n")
    sentence, *blocks = _blocks(body)
    names = tuple(label for label, (cls, _) in NAMES.items() if cls == name)
    return About(
        sentence.text, tuple(blocks), " ".join(textwrap.dedent(rest).split()).strip(), names
    )


def grids(name: str) -> dict[str, str]:
    """What a class takes as custom ``timesteps`` and ``sigmas``, as its ``set_timesteps`` says.

    Args:
        name: Class name.
    """
    made: Any = SCHEDULERS[name]  # every class has its own set_timesteps
    method = made.set_timesteps
    text = inspect.getdoc(method) or ""
    taken = [key for key in ("timesteps", "sigmas") if key in inspect.signature(method).parameters]
    found = {
        key: re.search(rf"^ +{key}: (.+(?:\n {{8}}.+)*)", text, re.MULTILINE) for key in taken
    }
    return {key: " ".join(lines.group(1).split()) for key, lines in found.items() if lines}


def _blocks(text: str) -> Iterator[Block]:
    """Paragraphs; what is indented is an equation, or code after a double colon."""
    indented: Literal["math", "code"] = "math"
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if all(line.startswith("    ") for line in part.splitlines()):
            yield Block(indented, textwrap.dedent(part))
        else:
            indented = "code" if part.rstrip().endswith("::") else "math"
            yield Block("text", " ".join(part.split()).replace("::", ":"))


def spellings(label: str) -> tuple[str, ...]:
    """How programs spell a name people know: "Euler a" is ``euler_ancestral``, ``k_euler_a``.

    k-diffusion and ComfyUI write lower case, "pp" for "++", underscores for spaces and the last
    word in full; A1111's API puts ``k_`` in front.
    """
    short = re.sub(r"\W+", "_", label.lower().replace("++", "pp"))
    split = re.sub(r"^(dpm|uni)(2|pc)", r"\1_\2", short)
    long = re.sub(r"_a(?=_|$)", "_ancestral", split)
    return tuple(dict.fromkeys((short, split, long, f"k_{split}", f"k_{long}")))


def own_quirks(name: str) -> tuple[Quirk, ...]:
    """The quirks of a class that are not those of every class."""
    return tuple(quirk for quirk in quirks_of(name) if quirk.classes)


def active_quirks(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Slugs of the quirks that a run meets.

    Args:
        name: Class name.
        settings: Parameters that differ from their defaults, and ``steps``.
    """
    values = {p.name: p.default for p in SCHEDULERS[name].parameters()} | dict(settings)
    return [quirk.slug for quirk in own_quirks(name) if quirk.active(values)]
