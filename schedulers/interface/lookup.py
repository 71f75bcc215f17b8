"""Classes by name, for those who stand below them: who knows all classes says how to find one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: The module of each scheduler, in the registry's order; the package sets it, as it does the next.
homes: Mapping[str, str] = {}
#: All schedulers by their names.
schedulers: Callable[[], Mapping[str, type[Any]]] = dict


def classes(wanted: Iterable[str]) -> list[type[Any]]:
    """The classes of these names that there are, in the registry's order."""
    chosen = set(wanted)
    return [cls for name, cls in schedulers().items() if name in chosen]
