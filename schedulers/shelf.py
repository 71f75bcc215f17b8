"""Grids that equal schedulers share: laid out once, kept on a bounded shelf, never changed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .config import FrozenDict

#: Configs that have a shelf, and grids on each.
MOST_SHELVES, MOST_GRIDS = 64, 64


@dataclass(frozen=True, slots=True)
class Grid:
    """What laying a grid out leaves behind; nothing in it is ever changed.

    Attributes:
        attributes: Private attributes with their values.
        published: Public arrays, each with the device it goes to.
    """

    attributes: Mapping[str, Any]
    published: Mapping[str, tuple[np.ndarray, Any]]


class Shelf:
    """The grids of one class and config, by what was asked for."""

    __slots__ = ("_grids",)

    def __init__(self) -> None:
        """An empty shelf."""
        self._grids: dict[Any, Grid] = {}

    def find(self, wanted: Any) -> Grid | None:
        """A grid that was kept."""
        return self._grids.get(wanted)

    def keep(self, wanted: Any, grid: Grid) -> None:
        """Keep a grid; a full shelf is cleared first."""
        if len(self._grids) >= MOST_GRIDS:
            self._grids.clear()
        self._grids[wanted] = grid

    def __deepcopy__(self, memo: dict[int, Any]) -> Shelf:
        """Itself: copies of a scheduler share it like any other of equal config."""
        return self

    def __reduce__(self) -> tuple[type[Shelf], tuple[()]]:
        """Stays behind when a scheduler is pickled."""
        return Shelf, ()


@functools.lru_cache(maxsize=MOST_SHELVES)
def _shelf(
    cls: type, made: tuple[tuple[str, Any], ...], now: tuple[tuple[str, Any], ...]
) -> Shelf:
    del cls, made, now
    return Shelf()


def _items(config: FrozenDict) -> tuple[tuple[str, Any], ...]:
    items = ((k, tuple(v) if type(v) is list else v) for k, v in config.items() if k[0] != "_")
    return tuple(items)


def shelf_for(cls: type, made: FrozenDict, now: FrozenDict) -> Shelf | None:
    """The shelf of a class and config; None where a config holds an array.

    Args:
        cls: The class.
        made: The config that an object was made with: its table stays that one's.
        now: The config that it has since it was replaced, which its grids heed.
    """
    try:
        return _shelf(cls, _items(made), _items(now))
    except TypeError:
        return None


def _plain(values: Iterable[Any]) -> bool:
    """Whether all are numbers, names or devices, which compare by value."""
    return all(
        value is None or type(value) in (int, float, str) or type(value).__name__ == "device"
        for value in values
    )


def kept(lay_out: Callable[..., None]) -> Callable[..., None]:
    """Wrap a method that lays out a grid: an equal object's grid is taken over as it is.

    Concerns the classes whose ``_kept`` names every private attribute that the method sets; the
    grid must follow from config, arguments and ``_beside_config`` alone.
    """

    @functools.wraps(lay_out)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        config = self._config
        shelf = self._shelf() if self._kept else None
        if shelf is None or not _plain(args) or not _plain(kwargs.values()):
            lay_out(self, *args, **kwargs)
            return
        wanted = lay_out, self._beside_config(), args, tuple(kwargs.items())
        grid = shelf.find(wanted)
        if grid is not None:
            self._take_over(grid)
            return
        before = dict(self._published)
        lay_out(self, *args, **kwargs)
        if self._config is config:
            new = {k: v for k, v in self._published.items() if before.get(k) is not v}
            values = {name: self.__dict__[name] for name in self._kept if name in self.__dict__}
            shelf.keep(wanted, Grid(values, new))

    return wrapper
