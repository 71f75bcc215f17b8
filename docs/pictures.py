"""The two pictures of a scheduler's page: its weights, and its film."""

from __future__ import annotations

import functools
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from sampling import Plan, RunSpec, SpecError, plan_run, trajectory
from schedulers.core.coefficients import contributions
from visualize.encode import pixels

Grid = np.ndarray

COLUMNS = 11  # frames that a strip shows
ZOOM = 2  # a pixel of the film is a square of this side
GAP = 3
SEED = 37
FEW = 12  # calls that the picture of weights shows, about
STEPS = 20  # of the film
MOST_ROWS = 24
DPI = 150
NOTHING = 1e-12  # what rounding leaves of a weight that is 0
SYMBOLS = {"x": "$x$", "x0": r"$\hat{x}_0$", "eps": r"$\hat{\epsilon}$"}
GROUND, INK, SOFT = "#ffffff", "#1b1d2a", "#545a6d"


def spec_of(name: str, steps: int) -> RunSpec:
    """A run of a class with its defaults, of so many steps or as many as it can make."""
    spec = RunSpec(scheduler=name, steps=steps, seed=SEED)
    while steps > 1:
        try:
            plan_run(spec)
            return spec
        except SpecError:
            steps //= 2
            spec = replace(spec, steps=steps)
    return spec


@functools.cache
def plan_of(name: str) -> Plan:
    """A run of 12 calls or a little more, for the picture of weights."""
    plan = plan_run(spec_of(name, FEW))
    return plan if plan.nfe <= FEW + 2 else plan_run(spec_of(name, FEW * FEW // plan.nfe + 1))


# --- weights ----------------------------------------------------------------------------------


def looked_at(plan: Plan) -> tuple[list[str], Grid]:
    """What the rows multiply, newest first, and the weights, one row a call."""
    rows = plan.coefficients
    labels: list[str] = []
    columns: list[list[float]] = []
    for part, symbol in SYMBOLS.items():
        deep = max(len(getattr(row, part)) for row in rows)
        for lag in range(deep):
            values = [dict(enumerate(getattr(row, part))).get(lag, 0.0) for row in rows]
            if any(abs(value) > NOTHING for value in values):
                labels.append(symbol + (f"$[-{lag}]$" if lag else ""))
                columns.append(values)
    if any(row.noise for row in rows):
        labels.append("$z$")
        columns.append([row.noise for row in rows])
    return labels, np.array(columns).T


def made_of(plan: Plan) -> Grid:
    """Weight of every call's data prediction in the sample after each call, (calls, calls)."""
    n = plan.nfe
    found = np.zeros((n, n))
    for i in range(n):
        calls = contributions(plan.coefficients[: i + 1], plan.calls[: i + 1]).calls
        found[i, : len(calls)] = calls
    return found


def weights_picture(name: str) -> bytes:
    """Weights of every row, and what each sample is made of, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plan = plan_of(name)
    labels, local = looked_at(plan)
    whole = made_of(plan)
    local, whole = local[:MOST_ROWS], whole[:MOST_ROWS, :MOST_ROWS]
    count = len(local)
    widths = [max(2.0, 0.62 * len(labels)), max(1.8, 0.2 * count)]
    style = {"font.size": 7, "text.color": INK, "axes.labelcolor": SOFT, "xtick.color": SOFT,
             "ytick.color": SOFT, "axes.edgecolor": "#e7e8f0", "mathtext.fontset": "dejavusans"}  # fmt: skip
    with mpl.rc_context(style):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(sum(widths) + 1.1, 0.2 * count + 0.9), width_ratios=widths, dpi=DPI,
            layout="constrained", facecolor=GROUND,
        )  # fmt: skip
        for axes, grid, title in (
            (left, local, "what each call adds up"),
            (right, whole, r"weight of each call's $\hat{x}_0$ in the sample"),
        ):
            axes.imshow(grid, cmap="PuOr_r", vmin=-1.2, vmax=1.2, aspect="auto")
            axes.set_title(title, fontsize=7, color=SOFT)
            axes.tick_params(length=0)
            axes.set_yticks([0, count - 1], ["call 1", f"{count}"])
        for i, row in enumerate(local):
            for j, value in enumerate(row):
                if abs(value) > NOTHING:
                    dark = abs(value) > 0.6
                    left.text(j, i, short(value), ha="center", va="center", fontsize=5.5,
                              color="white" if dark else INK)  # fmt: skip
        left.set_xticks(range(len(labels)), labels)
        left.xaxis.tick_top()
        left.set_title("what each call adds up", fontsize=7, color=SOFT, pad=16)
        right.set_xticks([0, count - 1], ["1", f"{count}"])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        plt.close(figure)
    small = Image.open(buffer).convert("RGB").quantize(64, Image.Quantize.MEDIANCUT)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def short(value: float) -> str:
    """A weight in a cell."""
    size = abs(value)
    if size >= 99.5:
        return f"{value:.0f}".replace("-", "−")
    text = f"{value:.2g}" if size < 0.1 else f"{value:.2f}"
    return text.replace("-", "−")


# --- film -------------------------------------------------------------------------------------


def film_picture(name: str) -> bytes:
    """``prev_sample`` above ``pred_x0``, from the first call to the last, as WebP."""
    made = trajectory(spec_of(name, STEPS), device="cpu")
    scales = np.array([stage.target.scale for stage in made.plan.calls])
    rows = (pixels(made.samples, scales), pixels(made.x0, np.ones(len(made))))
    shown = np.unique(np.linspace(0, len(made) - 1, COLUMNS).round().astype(int))
    side = ZOOM * rows[0].shape[2]
    sheet = np.full((2 * side + GAP, len(shown) * (side + GAP) - GAP, 3), 255, np.uint8)
    for r, frames in enumerate(rows):
        for c, index in enumerate(shown):
            tile = frames[index, 0].repeat(ZOOM, 0).repeat(ZOOM, 1)
            y, x = r * (side + GAP), c * (side + GAP)
            sheet[y : y + side, x : x + side] = tile
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "WEBP", quality=80, method=6)
    return out.getvalue()


# --- files ------------------------------------------------------------------------------------


def draw(folder: Path, name: str) -> list[Path]:
    """Write both pictures of a class where they have changed; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path, data in (
        (folder / f"{name}-weights.png", weights_picture(name)),
        (folder / f"{name}-film.webp", film_picture(name)),
    ):
        if not path.exists() or not same(path.read_bytes(), data):
            path.write_bytes(data)
            written.append(path)
    return written


def same(one: bytes, other: bytes) -> bool:
    """Whether two picture files show the same pixels."""
    a, b = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (one, other))
    return a.shape == b.shape and bool((a == b).all())
