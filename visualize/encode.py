"""Arrays to text: the few encodings that the page reads, and JSON without NaN."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["b64", "jpeg_sheet", "number", "numbers", "particles", "pixels"]

TAGS = {"uint8": "u8", "uint16": "u16", "float32": "f32"}


def b64(array: np.ndarray) -> dict[str, Any]:
    """An array as ``{"u8" | "u16" | "f32": base64 of its little-endian bytes, "shape": [...]}``.

    Raises:
        TypeError: The array is neither uint8, uint16 nor float32.
    """
    tag = TAGS.get(array.dtype.name)
    if tag is None:
        raise TypeError(f"array must be uint8, uint16 or float32, got {array.dtype}.")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {tag: base64.b64encode(little.tobytes()).decode("ascii"), "shape": list(array.shape)}


def number(value: float | None, digits: int = 7) -> float | None:
    """A number for JSON, rounded to so many significant digits; None if it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def numbers(values: Iterable[float | None], digits: int = 7) -> list[float | None]:
    """Numbers for JSON, as `number`."""
    return [number(value, digits) for value in values]


def pixels(images: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as bytes, each frame divided by its scale first.

    Args:
        images: (frames, samples, channels, height, width) float.
        scale: (frames,), the standard deviation that unit-variance data has at each level, so
            that noise looks the same whether the schedule preserves or explodes the variance.

    Returns:
        (frames, samples, height, width, channels) uint8. What is not finite becomes mid-grey.
    """
    factor = (127.5 / scale).astype(np.float32)[:, None, None, None, None]
    levels = images * factor
    levels += np.float32(128.0)  # 127.5 and a half, since the cast truncates
    np.nan_to_num(levels, copy=False, nan=128.0)
    np.clip(levels, 0.0, 255.0, out=levels)
    return np.ascontiguousarray(np.moveaxis(levels.astype(np.uint8), 2, -1))


def particles(points: np.ndarray, scale: np.ndarray, extent: float) -> np.ndarray:
    """Coordinates as 16-bit integers: -extent is 0, +extent 65535, outside is on the edge.

    Args:
        points: (frames, particles, dimensions) float.
        scale: (frames,), divided out first, as in `pixels`.
        extent: Half-width of the view, positive.
    """
    factor = (32767.5 / (scale * extent)).astype(np.float32)[:, None, None]
    levels = points * factor + np.float32(32768.0)
    np.nan_to_num(levels, copy=False, nan=32768.0)
    return np.clip(levels, 0.0, 65535.0).astype(np.uint16)


def jpeg_sheet(tiles: np.ndarray, quality: int = 88) -> dict[str, Any]:
    """Tiles as one JPEG data URL: ``{"sheet": ..., "cols": columns, "rows": rows}``.

    Args:
        tiles: (columns, rows, height, width, channels) uint8, 1 or 3 channels.
        quality: JPEG quality, 1 to 95.
    """
    cols, rows, height, width, channels = tiles.shape
    flat = tiles.transpose(1, 2, 0, 3, 4).reshape(rows * height, cols * width, channels)
    image = Image.fromarray(flat if channels == 3 else flat[..., 0])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"sheet": f"data:image/jpeg;base64,{text}", "cols": cols, "rows": rows}
