"""The emoji that ship with the app: 32 x 32 pixels, one PNG per class, read when first used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from schedulers.backend.errors import ParameterError

_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "emoji"


@dataclass(frozen=True, slots=True)
class AtlasClass:
    """One sheet: id, title, file name and how many tiles of it are images."""

    id: str
    title: str
    file: str
    count: int


@dataclass(frozen=True, slots=True)
class EmojiName:
    """What a tile shows: the character, its Unicode name and subgroup."""

    text: str
    name: str
    subgroup: str


@dataclass(frozen=True, slots=True)
class AtlasIndex:
    """What is in the folder: side of a tile, tiles per row, and the classes."""

    tile: int
    columns: int
    classes: tuple[AtlasClass, ...]


@cache
def index() -> AtlasIndex:
    """Return the index of the atlas, read once."""
    data = json.loads((_FOLDER / "index.json").read_text(encoding="utf-8"))
    classes = tuple(AtlasClass(**entry) for entry in data["classes"])
    return AtlasIndex(data["tile"], data["columns"], classes)


@cache
def names(class_id: str) -> tuple[EmojiName, ...]:
    """Return what each tile of a class shows, in the order of :func:`images`."""
    data = json.loads((_FOLDER / "names.json").read_text(encoding="utf-8"))
    return tuple(EmojiName(*row) for row in data[_entry(class_id).id])


@cache
def images(class_id: str) -> np.ndarray:
    """Return the images of a class: uint8, shape (N, 3, 32, 32), read-only.

    Raises:
        ValueError: Unknown class.
    """
    entry, tile, columns = _entry(class_id), index().tile, index().columns
    with Image.open(_FOLDER / entry.file) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    rows = pixels.shape[0] // tile
    tiles = pixels.reshape(rows, tile, columns, tile, 3).transpose(0, 2, 4, 1, 3)
    result = np.ascontiguousarray(tiles.reshape(-1, 3, tile, tile)[: entry.count])
    result.setflags(write=False)
    return result


def _entry(class_id: str) -> AtlasClass:
    for entry in index().classes:
        if entry.id == class_id:
            return entry
    allowed = ", ".join(entry.id for entry in index().classes)
    raise ParameterError(
        f"class_id={class_id!r} is not in the atlas; allowed: {allowed}", "class_id"
    )
