"""From a trajectory to what the page plays: sheets of tiles, particles, densities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from models import MODELS, Model
from sampling import Frame, Plan, RunSpec, Trajectory
from schedulers.core.level import Level
from visualize.encode import b64, jpeg_sheet, particles, pixels

__all__ = ["DENSITY_BINS", "film", "film_key", "frames_to_keep", "moment"]

RAW_TILES = 512
"""Up to so many tiles of 32x32 travel as exact bytes, above as one JPEG sheet."""

MOST_TILES = 2048
MOST_PARTICLES = 400_000
REFERENCE_POINTS = 1500
DENSITY_BINS = 161


def film_key(spec: RunSpec, device: str) -> str:
    """A short name for the film of this spec on this device: equal keys, equal films."""
    text = json.dumps([spec.to_dict(), device], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def frames_to_keep(spec: RunSpec, per_sample: int) -> int:
    """How many frames of a run are kept, so that neither memory nor a message overflows."""
    kind = MODELS[spec.model].kind
    budget = MOST_TILES if kind == "image" else MOST_PARTICLES
    return max(2, budget // (spec.samples * per_sample))


def film(made: Trajectory, model: Model) -> dict[str, Any]:
    """The whole film as JSON values.

    Every sample is divided by sqrt(alpha^2 + sigma^2) of its level, the standard deviation that
    unit-variance data has there: variance-preserving and variance-exploding runs look alike,
    and clean samples are as they are. Data predictions are never scaled.

    Args:
        made: The run.
        model: The model that it was run with, for its extent, reference and density.
    """
    spec, info = made.spec, MODELS[made.spec.model]
    stages = [made.plan.calls[index] for index in made.indices]
    levels = [stage.target for stage in stages]
    start = [made.plan.calls[0].here]
    head = {
        "ok": True,
        "key": film_key(spec, made.device),
        "kind": info.kind,
        "frames": len(made),
        "indices": list(made.indices),
        "samples": spec.samples,
        "normalised": "x / √(α² + σ²)",
        "ms": round(1e3 * made.seconds, 2),
        "device": made.device,
        "cached": False,
    }
    if info.kind == "image":
        return head | _image(made, levels, start)
    extent = float(model.extent)  # type: ignore[attr-defined]
    head |= {"particles": made.initial.shape[0], "extent": extent}
    if info.kind == "plane":
        return head | _plane(made, model, levels, start, extent)
    return head | _line(made, model, levels, start, extent)


def moment(frame: Frame, plan: Plan, model: Model) -> dict[str, Any]:
    """One frame as JSON values, for a run that is shown while it is computed."""
    info = MODELS[plan.spec.model]
    scale = _scales([frame.call.target])
    ones = np.ones(1)
    sample, x0 = frame.sample[None], frame.pred_original_sample[None]
    message: dict[str, Any] = {
        "index": frame.index,
        "frames": max(plan.nfe, frame.index + 1),  # adaptive steps may need more than planned
        "kind": info.kind,
    }
    if info.kind == "image":
        encode = b64 if len(frame.sample) <= 8 else jpeg_sheet
        return message | {
            "prev": encode(pixels(sample, scale)),
            "x0": encode(pixels(x0, ones)),
        }
    extent = float(model.extent)  # type: ignore[attr-defined]
    message |= {"extent": extent, "particles": len(frame.sample)}
    if info.kind == "plane":
        return message | {
            "prev": b64(particles(sample, scale, extent)),
            "x0": b64(particles(x0, ones, extent)),
        }
    return message | {
        "prev": b64(_normalised(sample, scale)[..., 0]),
        "x0": b64(np.ascontiguousarray(x0[..., 0], np.float32)),
        "density": b64(_densities(model, [frame.call.target], extent, plan.spec.cond)),
    }


def _image(made: Trajectory, levels: Sequence[Level], start: Sequence[Level]) -> dict[str, Any]:
    tiles = made.samples.shape[0] * made.samples.shape[1]
    encode = b64 if tiles <= RAW_TILES else jpeg_sheet
    return {
        "tile": list(made.initial.shape[-2:]),
        "prev": encode(pixels(made.samples, _scales(levels))),
        "x0": encode(pixels(made.x0, np.ones(len(levels)))),
        "initial": encode(pixels(made.initial[None], _scales(start))),
    }


def _plane(
    made: Trajectory,
    model: Model,
    levels: Sequence[Level],
    start: Sequence[Level],
    extent: float,
) -> dict[str, Any]:
    reference = model.reference(made.spec.cond, REFERENCE_POINTS)  # type: ignore[attr-defined]
    one = np.ones(1)
    return {
        "prev": b64(particles(made.samples, _scales(levels), extent)),
        "x0": b64(particles(made.x0, np.ones(len(levels)), extent)),
        "initial": b64(particles(made.initial[None], _scales(start), extent)),
        "reference": b64(particles(np.asarray(reference)[None], one, extent)[0]),
    }


def _line(
    made: Trajectory,
    model: Model,
    levels: Sequence[Level],
    start: Sequence[Level],
    extent: float,
) -> dict[str, Any]:
    cond = made.spec.cond
    return {
        "prev": b64(_normalised(made.samples, _scales(levels))[..., 0]),
        "x0": b64(np.ascontiguousarray(made.x0[..., 0])),
        "initial": b64(_normalised(made.initial[None], _scales(start))[..., 0]),
        "density": b64(_densities(model, levels, extent, cond)),
        "density_initial": b64(_densities(model, start, extent, cond)),
    }


def _scales(levels: Sequence[Level]) -> np.ndarray:
    return np.array([level.scale for level in levels])


def _normalised(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    divided = values / scale[:, None, None].astype(np.float32)
    return np.nan_to_num(divided.astype(np.float32), nan=0.0, posinf=1e6, neginf=-1e6)


def _densities(model: Model, levels: Sequence[Level], extent: float, cond: str) -> np.ndarray:
    """Marginal density of the normalised coordinate at each level, (levels, bins) float32.

    With y = x / c the density of y is c p(c y).
    """
    grid = np.linspace(-extent, extent, DENSITY_BINS)
    rows = [
        level.scale
        * model.density(  # type: ignore[attr-defined]
            grid * level.scale, level.alpha, level.sigma, cond
        )
        for level in levels
    ]
    finite = np.nan_to_num(np.array(rows), nan=0.0, posinf=0.0, neginf=0.0)
    return np.minimum(finite, 1e6).astype(np.float32)
