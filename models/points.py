"""Point sets in the plane under the exact denoiser of a finite set.

Every set has mean 0 and variance 1 averaged over its two coordinates, as large as unit noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from models.denoiser import Denoiser
from models.posterior import PointPosterior
from models.protocol import ClassInfo, ModelInfo

COUNT = 1000
EXTENT = 3.0
WORD = "noise"

# The R2 sequence fills the unit square evenly: multiples of the inverse powers of the plastic
# number (M. Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018).
_PLASTIC = 1.324717957244746


def _even(n: int) -> np.ndarray:
    steps = np.arange(1, n + 1)[:, None] * np.array([1.0 / _PLASTIC, 1.0 / _PLASTIC**2])
    return (0.5 + steps) % 1.0


def spiral() -> np.ndarray:
    """Return a spiral of Archimedes, evenly spaced along its arc, with a little thickness."""
    fine = np.linspace(0.35, 1.0, 20_000) * 2.75 * 2.0 * np.pi
    curve = np.stack([fine * np.cos(fine), fine * np.sin(fine)], axis=-1)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=-1))])
    angle = np.interp(np.linspace(0.0, arc[-1], COUNT), arc, fine)
    radius = angle + 0.35 * np.random.default_rng(0).standard_normal(COUNT)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def moons() -> np.ndarray:
    """Return two interleaved half circles with a little thickness."""
    angle = np.linspace(0.0, np.pi, COUNT // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    lower = np.array([1.0, 0.5]) - upper
    points = np.concatenate([upper, lower])
    return points + 0.05 * np.random.default_rng(1).standard_normal(points.shape)


def checkerboard() -> np.ndarray:
    """Return the dark fields of a 4 x 4 board, evenly filled."""
    unit = 4.0 * _even(2 * COUNT + 200)
    dark = (np.floor(unit).sum(-1) % 2) == 0
    return unit[dark][:COUNT]


def word() -> np.ndarray:
    """Return a word, its letters evenly filled, drawn with the font inside Pillow."""
    font = ImageFont.load_default(size=160)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(
        (0, 0), WORD, font=font, stroke_width=4
    )
    canvas = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), WORD, fill=255, font=font, stroke_width=4)
    ink = np.asarray(canvas) > 127
    height, width = ink.shape
    places = _even(8 * COUNT) * [width, height]
    inside = ink[places[:, 1].astype(int), places[:, 0].astype(int)]
    chosen = places[inside]
    picked = chosen[np.linspace(0, len(chosen) - 1, COUNT).astype(int)]
    return picked * [1.0, -1.0]  # rows of an image run down, y runs up


_SETS: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType(
    {"spiral": spiral, "moons": moons, "checkerboard": checkerboard, "word": word}
)

INFO = ModelInfo(
    id="points",
    title="Points in the plane",
    kind="plane",
    shape=(2,),
    classes=(
        ClassInfo("spiral", "Spiral"),
        ClassInfo("moons", "Two moons"),
        ClassInfo("checkerboard", "Checkerboard"),
        ClassInfo("word", f'The word "{WORD}"'),
    ),
    default_class="spiral",
    options=(),
    text="A thousand points and their exact posterior mean: every particle ends on a point.",
)


class PointModel(Denoiser):
    """The exact denoiser over a point set, see :class:`PointPosterior`."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        """Draw nothing yet."""
        super().__init__(INFO, device)
        self._points: dict[str, np.ndarray] = {}
        self._posteriors: dict[tuple[str, torch.dtype], PointPosterior] = {}

    @property
    def extent(self) -> float:
        """Half the side of the square, centred at 0, that shows data and unit noise."""
        return EXTENT

    def points(self, cond: str | None = None) -> np.ndarray:
        """Return the points of a class, shape (1000, 2), float64, mean 0, mean square 1."""
        name = self.class_id(cond)
        if name not in self._points:
            raw = _SETS[name]()
            centred = raw - raw.mean(0)
            self._points[name] = centred / np.sqrt(np.square(centred).mean())
        return self._points[name]

    def reference(self, cond: str | None, n: int, seed: int = 0) -> np.ndarray:
        """Return ``n`` points in random order, shape (n, 2), float32; all differ while they last."""
        points, rng = self.points(cond), np.random.default_rng(seed)
        rounds = [rng.permutation(len(points)) for _ in range(-(-n // len(points)))]
        order = np.concatenate(rounds) if rounds else np.zeros(0, dtype=int)
        return points[order[:n]].astype(np.float32)

    def _posterior(self, cond: str, dtype: torch.dtype) -> PointPosterior:
        key = (cond, dtype)
        if key not in self._posteriors:
            points = torch.tensor(self.points(cond), dtype=dtype, device=self.device)
            self._posteriors[key] = PointPosterior(points)
        return self._posteriors[key]

    def _posterior_mean(
        self, x: torch.Tensor, alpha: float, sigma: float, cond: str
    ) -> torch.Tensor:
        return self._posterior(cond, x.dtype).posterior_mean(x, alpha, sigma)

    def _mean(self, cond: str, dtype: torch.dtype) -> torch.Tensor:
        return self._posterior(cond, dtype).mean
