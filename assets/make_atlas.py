"""Render the emoji atlases in ``assets/emoji`` from Debian's packages.

Run it from the repository root, on Debian or Ubuntu, after
``apt-get install fonts-noto-color-emoji unicode-data`` and with Pillow (built with Raqm)
installed::

    python assets/make_atlas.py

What it does: takes every fully qualified emoji of ``emoji-test.txt`` that carries no skin tone,
draws it with the only bitmap size of Noto Color Emoji (109), shrinks it to 32 x 32 with
premultiplied alpha, lays it on white, and writes one PNG per class (tiles in rows of 16),
``index.json`` (the classes) and ``names.json`` (per image: character, name, Unicode subgroup).
The same packages give the same pixels.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

TILE = 32
COLUMNS = 16
FONT_SIZE = 109  # the only strike the font has
ADVANCE = 136  # its bitmaps are 136 x 128; a longer advance means several glyphs
MARGIN = 4  # empty columns on either side, cut off: 128 x 128 is exactly four times a tile
SIDE = ADVANCE - 2 * MARGIN

# One row per class, in the page's order: id, title, what it takes from emoji-test.txt. An entry
# is a subgroup, a prefix of subgroups ("face-*"), or a whole group ("@Flags"); the first row that
# matches an emoji gets it. Classes stay below about 270 images because the local score machine
# compares every pixel with every image.
CLASSES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("faces", "Faces", ("face-*",)),
    ("hearts", "Hearts and emotions", ("heart", "emotion")),
    ("animals", "Animals", ("animal-*", "cat-face", "monkey-face")),
    ("plants", "Plants and fruit", ("plant-*", "food-fruit", "food-vegetable")),
    ("food", "Food and drink", ("@Food & Drink",)),
    ("vehicles", "Vehicles", ("transport-ground", "transport-water", "transport-air")),
    ("places", "Places", ("place-*", "hotel")),
    ("sky", "Sky and time", ("@Travel & Places",)),
    ("flags", "Flags", ("@Flags",)),
    ("activities", "Games and sports", ("@Activities",)),
    ("clothes", "Clothes", ("clothing",)),
    ("objects", "Objects", ("@Objects",)),
    ("hands", "Hands", ("hand-*", "hands", "body-parts")),
    ("motion", "People in motion", ("person-activity", "person-sport", "person-resting")),
    ("families", "Families", ("family", "person-symbol")),
    ("people", "People", ("@People & Body",)),
    ("symbols", "Symbols", ("@Symbols",)),
)

_LINE = re.compile(r"([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E[\d.]+ (.+)")
_SKIN_TONES = range(0x1F3FB, 0x1F3FF + 1)


@dataclass(frozen=True, slots=True)
class Emoji:
    """One line of ``emoji-test.txt``."""

    text: str
    name: str
    group: str
    subgroup: str


def read_emoji(path: Path) -> Iterator[Emoji]:
    """Yield the fully qualified emoji without skin tones and components, in CLDR order."""
    group = subgroup = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.partition(":")[2].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.partition(":")[2].strip()
        elif (match := _LINE.match(line)) and group != "Component":
            points = [int(point, 16) for point in match[1].split()]
            if not any(point in _SKIN_TONES for point in points):
                yield Emoji("".join(map(chr, points)), match[2], group, subgroup)


def class_of(emoji: Emoji) -> str | None:
    """Return the id of the class that takes this emoji, or None."""
    for identifier, _, patterns in CLASSES:
        for pattern in patterns:
            if pattern.startswith("@"):
                found = emoji.group == pattern[1:]
            elif pattern.endswith("*"):
                found = emoji.subgroup.startswith(pattern[:-1])
            else:
                found = emoji.subgroup == pattern
            if found:
                return identifier
    return None


def render(text: str, font: ImageFont.FreeTypeFont) -> Image.Image | None:
    """Draw one emoji on white at 32 x 32; None when the font lacks it."""
    if font.getlength(text) > ADVANCE:
        return None  # a sequence the font does not join
    canvas = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((-MARGIN, 0), text, font=font, embedded_color=True)
    if canvas.getchannel("A").getextrema()[1] == 0:
        return None
    # Premultiplied, or the colour of invisible pixels bleeds into the edges.
    small = canvas.convert("RGBa").resize((TILE, TILE), Image.Resampling.BICUBIC).convert("RGBA")
    white = Image.new("RGBA", small.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, small).convert("RGB")


def write_class(path: Path, tiles: list[Image.Image]) -> None:
    """Write the tiles of one class row by row into one PNG."""
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * TILE), (255, 255, 255))
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k % COLUMNS * TILE, k // COLUMNS * TILE))
    sheet.save(path, optimize=True)


def main() -> None:
    """Read the packages, write the atlases and the index."""
    parser = argparse.ArgumentParser(description="Render the emoji atlases.")
    parser.add_argument(
        "--font", type=Path, default=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
    )
    parser.add_argument(
        "--emoji-test", type=Path, default=Path("/usr/share/unicode/emoji/emoji-test.txt")
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "emoji")
    arguments = parser.parse_args()
    if not features.check("raqm"):
        parser.error("Pillow needs Raqm to join emoji sequences; install a build that has it")

    font = ImageFont.truetype(str(arguments.font), FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)
    tiles: dict[str, list[Image.Image]] = {identifier: [] for identifier, _, _ in CLASSES}
    images: dict[str, list[list[str]]] = {identifier: [] for identifier, _, _ in CLASSES}
    seen: dict[str, set[bytes]] = {identifier: set() for identifier, _, _ in CLASSES}
    for emoji in read_emoji(arguments.emoji_test):
        identifier, tile = class_of(emoji), render(emoji.text, font)
        if identifier is None or tile is None or tile.tobytes() in seen[identifier]:
            continue  # some flags are drawn alike: one of them is enough
        seen[identifier].add(tile.tobytes())
        tiles[identifier].append(tile)
        images[identifier].append([emoji.text, emoji.name, emoji.subgroup])

    arguments.out.mkdir(parents=True, exist_ok=True)
    index: list[dict[str, object]] = []
    for identifier, title, _ in CLASSES:
        write_class(arguments.out / f"{identifier}.png", tiles[identifier])
        count = len(tiles[identifier])
        index.append(
            {"id": identifier, "title": title, "file": f"{identifier}.png", "count": count}
        )
        print(f"{identifier}: {count} images")
    # One image per line keeps differences readable.
    lines = [
        json.dumps(identifier)
        + ": [\n"
        + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        + "\n]"
        for identifier, rows in images.items()
    ]
    head = ",\n".join(json.dumps(row) for row in index)
    (arguments.out / "index.json").write_text(
        f'{{"tile": {TILE}, "columns": {COLUMNS},\n"classes": [\n{head}\n]}}\n', encoding="utf-8"
    )
    (arguments.out / "names.json").write_text(
        "{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
