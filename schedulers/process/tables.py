"""Training tables: from a named noise schedule to betas and alphas_cumprod.

The tables are float32, rounded exactly where diffusers rounds: a float64 table would move the
smallest sigma by up to 2.6e-4 and some integer timesteps with it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend.errors import ParameterError
from .spacing import Knots, knots_of

Float32 = NDArray[np.float32]

#: alphas_cumprod of the last step where a rule needs a finite sigma at zero terminal SNR.
ZERO_SNR_FLOOR = 2.0**-24


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """The discrete forward process a model was trained on.

    Attributes:
        betas: Noise variance added by each training step, shape (T,), float64 copies of float32.
        alphas_cumprod: Remaining signal power after each step, shape (T,).
    """

    betas: NDArray[np.float64]
    alphas_cumprod: NDArray[np.float64]


def linspace32(start: float, end: float, n: int) -> Float32:
    """N float32 numbers from start to end, counted from both ends as torch counts them."""
    first, last = np.float32(start), np.float32(end)
    if n == 1:
        return np.array([first], dtype=np.float32)
    # Products and sums are float64, rounded once.
    half, step = n // 2, float(np.float32((last - first) / np.float32(n - 1)))
    far = np.arange(n - half, dtype=np.float64) * step
    numbers = np.empty(n, np.float32)
    numbers[:half] = float(first) + far[:half]
    numbers[half:] = float(last) - far[::-1]
    return numbers


def _cosine(t: float) -> float:
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2


def _exponential(t: float) -> float:
    return math.exp(-12.0 * t)


def _laplace(t: float) -> float:
    lam = -0.5 * math.copysign(1.0, 0.5 - t) * math.log(1.0 - 2.0 * abs(0.5 - t) + 1e-6)
    snr = math.exp(lam)
    return math.sqrt(snr / (1.0 + snr))


def betas_for_alpha_bar(n: int, alpha_bar: Callable[[float], float]) -> Float32:
    """Betas whose cumulative product follows ``alpha_bar`` on [0, 1], each at most 0.999.

    References: Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17.
    """
    bars = [alpha_bar(i / n) for i in range(n + 1)]
    betas = [min(1.0 - after / before, 0.999) for before, after in pairwise(bars)]
    return np.array(betas, dtype=np.float32)


def named_betas(beta_schedule: str, beta_start: float, beta_end: float, n: int) -> Float32:
    """Betas of a named schedule.

    Args:
        beta_schedule: "linear" (Ho et al. 2020), "scaled_linear" (linear in the square root, latent
            diffusion), "squaredcos_cap_v2" (cosine, Nichol and Dhariwal 2021), "sigmoid" (GeoDiff),
            "laplace" (Hang et al. 2024, arXiv 2407.03297) or "exp".
        beta_start: First beta.
        beta_end: Last beta.
        n: Number of training steps.

    Returns:
        Shape (n,), float32.
    """
    if beta_schedule == "linear":
        return linspace32(beta_start, beta_end, n)
    if beta_schedule == "scaled_linear":
        roots = linspace32(math.sqrt(beta_start), math.sqrt(beta_end), n)
        return roots * roots
    if beta_schedule == "sigmoid":
        ramp = linspace32(-6.0, 6.0, n).astype(np.float64)
        logistic = (1.0 / (1.0 + np.exp(-ramp))).astype(np.float32)
        return logistic * np.float32(beta_end - beta_start) + np.float32(beta_start)
    curves = {"squaredcos_cap_v2": _cosine, "laplace": _laplace, "exp": _exponential}
    return betas_for_alpha_bar(n, curves[beta_schedule])


def cumulative(betas: Float32) -> Float32:
    """alphas_cumprod: the running product of ``1 - beta``, accumulated in float64."""
    alphas = np.float32(1.0) - betas
    return np.cumprod(alphas.astype(np.float64)).astype(np.float32)


def rescale_zero_terminal_snr(betas: Float32) -> Float32:
    """Shift and scale sqrt(alphas_cumprod) so that the last step is pure noise.

    References: Lin et al. 2023, arXiv 2305.08891, algorithm 1.
    """
    root = np.sqrt(cumulative(betas))
    first, last = root[0], root[-1]
    root = (root - last) * (first / (first - last))
    bar = root * root
    alphas = np.concatenate([bar[:1], bar[1:] / bar[:-1]])
    return np.float32(1.0) - alphas


def make_betas(
    beta_schedule: str,
    beta_start: float,
    beta_end: float,
    n: int,
    trained_betas: Sequence[float] | None = None,
    zero_snr: bool = False,
) -> Float32:
    """Betas from a list if there is one, else from the named schedule; rescaled on demand."""
    if trained_betas is not None:
        betas = np.asarray(trained_betas, dtype=np.float32)
    else:
        betas = named_betas(beta_schedule, beta_start, beta_end, n)
    return rescale_zero_terminal_snr(betas) if zero_snr else betas


def rhos(alphas_cumprod: Float32) -> Float32:
    """Noise-to-signal ratios ``sqrt((1 - abar) / abar)``, float32."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios: Float32 = np.sqrt((np.float32(1.0) - alphas_cumprod) / alphas_cumprod)
    return ratios


class Source(NamedTuple):
    """The settings that a table was made of, for what is said of it.

    Attributes:
        beta_schedule: As for ``named_betas``.
        beta_start: First beta.
        beta_end: Last beta.
        num_train_timesteps: Number of training steps T.
        trained_betas: Betas given one by one instead.
        zero_snr: Whether it is rescaled to zero terminal SNR.
        floor: Whether the last alphas_cumprod is then kept off zero.
    """

    beta_schedule: str
    beta_start: float
    beta_end: float
    num_train_timesteps: int
    trained_betas: tuple[float, ...] | None
    zero_snr: bool
    floor: bool


@dataclass(frozen=True, slots=True, eq=False)
class NoiseTable:
    """The discrete process of training with all that follows from it; none of it can be written.

    Attributes:
        betas: Noise variance added by each training step, shape (T,).
        alphas: One minus each.
        cumulative: alphas_cumprod.
        rhos: Noise-to-signal ratio of every step.
        log_rhos: Its logarithm.
        steps: 0, 1, ... T - 1, in float64.
        exact_rhos: The ratios once more, in float64.
        knots: Their logarithms and steps, for finding times.
        source: The settings that it was made of.
        assigned: Whether a caller put other alphas_cumprod in their place.
    """

    betas: Float32
    alphas: Float32
    cumulative: Float32
    rhos: Float32
    log_rhos: Float32
    steps: NDArray[np.float64]
    exact_rhos: NDArray[np.float64]
    knots: Knots
    source: Source
    assigned: bool = False

    def __len__(self) -> int:
        """Number of training steps."""
        return len(self.cumulative)

    def __deepcopy__(self, memo: dict[int, Any]) -> NoiseTable:
        """Itself: it is never changed."""
        return self

    def abar(self, t: int) -> float:
        """alphas_cumprod at a training step."""
        return float(self.cumulative[t])

    def with_cumulative(self, cumulative: NDArray[Any]) -> NoiseTable:
        """The same with other alphas_cumprod, as a caller assigned them."""
        return _completed(self.betas, self.alphas, np.array(cumulative), self.source, True)

    def check_times(
        self, times: Sequence[float], train_steps: int, allowed: int, offset: object = None
    ) -> None:
        """Refuse times that the table does not have.

        One time past the end is an offset that upstream's interpolation clamps; a table that is
        too short, or an offset of many steps, is a mistake.

        Args:
            times: Times at which a grid reads the table.
            train_steps: Number of training steps of the config.
            allowed: How many times past the table are clamped to it rather than refused.
            offset: ``steps_offset`` of the config.

        Raises:
            ValueError: There are later ones.
        """
        table, last = len(self), len(self) - 1
        # Times run down or up: those at the ends tell whether any is late.
        if not len(times) or max(times[0], times[-1]) <= last:
            return
        late = [t for t in times if t > last]
        if self.assigned and table < train_steps and len(late) > allowed:
            raise ParameterError(
                f"alphas_cumprod holds {table} levels, but the grid asks for t={late[0]:g}: assign "
                f"one for each of num_train_timesteps={train_steps} steps, or take fewer steps.",
                "alphas_cumprod",
                "num_train_timesteps",
            )
        if table < train_steps and not self.assigned:
            raise ParameterError(
                f"trained_betas holds {table} betas, but the grid asks for t={late[0]:g}: give "
                f"one for each of num_train_timesteps={train_steps} steps, or take fewer steps.",
                "trained_betas",
                "num_train_timesteps",
            )
        if len(late) > allowed:
            raise ParameterError(
                f"steps_offset={offset!r} leads to t={late[0]:g}, past the last training step "
                f"{last}: choose a smaller offset.",
                "steps_offset",
            )

    def check_levels(
        self, rhos: NDArray[Any], pure_noise: bool = False, clean: bool = False
    ) -> None:
        """Refuse noise-to-signal ratios at which nothing is defined.

        Args:
            rhos: Those of the levels at which a grid asks the model.
            pure_noise: Whether infinite ones are fine.
            clean: Whether zeros are.

        Raises:
            ValueError: One is not a number, infinite or 0.
        """
        fine = (rhos > 0.0) & (rhos < np.inf)
        if not fine.all():
            for rho in rhos[~fine].tolist():
                if not (clean and rho == 0.0) and not (pure_noise and rho == np.inf):
                    raise self.undefined(rho)

    def undefined(self, rho: float) -> ValueError:
        """An error for a level at which the noise schedule has left (0, 1)."""
        source = self.source
        what = "no noise" if rho == 0.0 else "no signal" if rho == np.inf else "no variance"
        where = f"a level with {what}, where a step is not defined"
        if self.assigned:
            return ParameterError(
                f"alphas_cumprod, as assigned, lead to {where}.", "alphas_cumprod"
            )
        if source.trained_betas is not None:
            return ParameterError(f"trained_betas lead to {where}.", "trained_betas")
        names = ["beta_start", "beta_end", "num_train_timesteps"]
        if source.beta_end > 1.0:
            names = names[1:]
        told = ", ".join(f"{name}={getattr(source, name)!r}" for name in names)
        return ParameterError(
            f"{told} lead to {where}: choose betas inside (0, 1) and not too many.", *names
        )


@functools.lru_cache(maxsize=64)
def noise_table(source: Source) -> NoiseTable:
    """The table of a training schedule."""
    name, start, end, n, trained, zero_snr, floor = source
    with np.errstate(invalid="ignore", divide="ignore"):
        betas = make_betas(name, start, end, n, trained, zero_snr)
        product = cumulative(betas)
        if zero_snr and floor:
            product[-1] = ZERO_SNR_FLOOR
        return _completed(betas, np.float32(1.0) - betas, product, source)


def _completed(
    betas: Float32, alphas: Float32, product: Float32, source: Source, assigned: bool = False
) -> NoiseTable:
    """A table out of its products."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = rhos(product)
        log_ratios = np.log(ratios)
        steps = np.arange(len(product), dtype=np.float64)
        exact, knots = ratios.astype(np.float64), knots_of(log_ratios)
    for array in (betas, alphas, product, ratios, log_ratios, steps, exact, *knots):
        array.setflags(write=False)
    return NoiseTable(
        betas, alphas, product, ratios, log_ratios, steps, exact, knots, source, assigned
    )
