"""Classes by name, for those who stand below them: who knows all classes says how to find one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: All schedulers by their names; the package sets it.
schedulers: Callable[[], Mapping[str, type[Any]]] = dict


def classes(wanted: Iterable[str]) -> list[type[Any]]:
    """The classes of these names that there are, in the registry's order."""
    chosen = set(wanted)
    return [cls for name, cls in schedulers().items() if name in chosen]
