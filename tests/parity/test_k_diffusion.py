"""k-diffusion's sampler functions, on the same sigmas and noise: equal to 1e-4 at every step."""

from collections.abc import Callable

import pytest
import torch

from tests.parity.harness import SCHEDULERS, unit_noise
from tests.parity.oracle import DIFFUSERS, SchedulerLike, diffusers_scheduler, k_diffusion

TOLERANCE = 1e-4  # relative to the largest value; k-diffusion works in float32 throughout
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def denoise(x: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    """A smooth denoiser, of the sample in k-diffusion's frame, x = x0 + sigma * noise."""
    sigma = float(torch.as_tensor(sigma).reshape(-1)[0])
    return 0.8 * torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(x / (1 + sigma) + 1)


def reference(name: str, sigmas: torch.Tensor, seed: int, **extra: object) -> list[torch.Tensor]:
    """The sample before each step and at the end, as k-diffusion computes them."""
    seen: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    if "ancestral" in name or name == "sample_dpmpp_2m_sde":
        extra["noise_sampler"] = lambda *_: unit_noise_from(generator)
    sampler: Callable[..., torch.Tensor] = getattr(k_diffusion(), name)
    x = unit_noise() * sigmas[0]
    if name == "sample_dpmpp_sde":
        ends = sigmas[sigmas > 0].min(), sigmas.max()
        extra["noise_sampler"] = k_diffusion().BrownianTreeNoiseSampler(x, *ends, seed=seed)
    last = sampler(
        denoise, x, sigmas, callback=lambda info: seen.append(info["x"]), disable=True, **extra
    )
    return [*seen, last]


def unit_noise_from(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(unit_noise().shape, generator=generator)


def ours_in_their_frame(
    scheduler: SchedulerLike, sigmas: torch.Tensor, seed: int, **step: object
) -> list[torch.Tensor]:
    """Our run, each sample brought to x0 + sigma * noise; one entry per step (not per call)."""
    variance_preserving = float(scheduler.init_noise_sigma) == 1.0

    def scale(sigma: torch.Tensor) -> torch.Tensor:
        return (1 + sigma**2).sqrt() if variance_preserving else torch.ones(())

    x = unit_noise() * sigmas[0]
    seen = []
    for index, t in enumerate(scheduler.timesteps):
        stage = scheduler.stages[index]
        here, there = torch.tensor(stage.here.rho), torch.tensor(stage.target.rho)
        if index % scheduler.order == 0:
            seen.append(x)
        inner = x / scale(here)
        # the second call of a two-call step is made at the level where the first one landed
        output = (x - denoise(x, here)) / here
        scheduler.scale_model_input(inner, t)
        x = scheduler.step(output, t, inner, **step).prev_sample * scale(there)
    return [*seen, x]


@pytest.mark.parametrize(
    "option", [{}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}]
)
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize(
    ("function", "name", "config", "extra"),
    [
        ("sample_euler", "EulerDiscreteScheduler", {}, {}),
        ("sample_euler_ancestral", "EulerAncestralDiscreteScheduler", {}, {}),
        ("sample_heun", "HeunDiscreteScheduler", {}, {}),
        ("sample_dpm_2", "KDPM2DiscreteScheduler", {}, {}),
        ("sample_dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler", {}, {}),
        ("sample_dpmpp_2s_ancestral", "DPMPP2SAncestralScheduler", {}, {}),
        ("sample_dpmpp_2s_ancestral", "DPMPP2SAncestralScheduler", {"eta": 0.5}, {"eta": 0.5}),
        ("sample_dpmpp_sde", "DPMSolverSDEScheduler", {"noise_sampler_seed": 9}, {}),
        *(("sample_lms", "LMSDiscreteScheduler", {}, {"order": order}) for order in (1, 2, 3, 4)),
        ("sample_dpmpp_2m", "DPMSolverMultistepScheduler", {"lower_order_final": False}, {}),
        *(
            (
                "sample_dpmpp_2m_sde",
                "DPMSolverMultistepScheduler",
                {
                    "algorithm_type": "sde-dpmsolver++",
                    "solver_type": kind,
                    "lower_order_final": False,
                },
                {"solver_type": kind},
            )
            for kind in ("midpoint", "heun")
        ),
    ],
)
def test_every_step(
    function: str,
    name: str,
    config: dict[str, object],
    extra: dict[str, object],
    steps: int,
    option: dict[str, bool],
) -> None:
    if name == "EulerAncestralDiscreteScheduler":
        option = {}
    scheduler = SCHEDULERS[name](**BETAS, **config, **option)
    scheduler.set_timesteps(steps)
    known = scheduler
    if name in DIFFUSERS:  # torch's own roundings, which a tree of noise feels
        known = diffusers_scheduler(name, **BETAS, **config, **option)
        known.set_timesteps(steps)
    table = known.sigmas
    if scheduler.order == 2:
        table = torch.cat([table[:1], table[1::2]])
    sigmas = table[: steps + 1]  # a doubled grid may repeat its final zero
    arguments: dict[str, object] = {}
    if "ancestral" in function or "sde" in function:
        arguments["generator"] = torch.Generator().manual_seed(9)
    if "order" in extra:
        arguments["order"] = extra["order"]
    found = ours_in_their_frame(scheduler, sigmas, 9, **arguments)
    expected = reference(function, sigmas, 9, **extra)
    assert len(found) == len(expected) == steps + 1
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        worst = float((a - b).abs().max() / b.abs().max().clamp(min=1))
        assert worst <= TOLERANCE, f"after {index} steps"


@pytest.mark.parametrize("eta", [0.0, 0.7])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9, 20])
def test_dpm_fast(steps: int, eta: float) -> None:
    """Before every step, which is a group of calls here, and at the end."""
    scheduler = SCHEDULERS["DPMFastScheduler"](**BETAS, eta=eta)
    scheduler.set_timesteps(steps)
    high, low = float(scheduler.sigmas[0]), float(scheduler.sigmas[-1])
    mine, theirs = (torch.Generator().manual_seed(9) for _ in range(2))
    expected: list[torch.Tensor] = []
    arguments = {"noise_sampler": lambda *_: unit_noise_from(theirs), "eta": eta, "disable": True}
    last = k_diffusion().sample_dpm_fast(
        denoise,
        unit_noise() * high,
        low,
        high,
        steps,
        callback=lambda info: expected.append(info["x"]),
        **arguments,
    )
    found = [unit_noise() * high]
    x = found[0]
    orders = [scheduler.effective_order(i) for i in range(steps)]
    for i, t in enumerate(scheduler.timesteps):
        here = scheduler.stages[i].here.sigma
        scheduler.scale_model_input(x, t)
        x = scheduler.step((x - denoise(x, here)) / here, t, x, generator=mine).prev_sample
        if i + 1 == steps or orders[i + 1] == 1:
            found.append(x)
    assert len(found) == len(expected) + 1
    for index, (a, b) in enumerate(zip(found, [*expected, last], strict=True)):
        worst = float((a - b).abs().max() / b.abs().max().clamp(min=1))
        assert worst <= TOLERANCE, f"after {index} steps"


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eta": 0.6},
        {"order": 2},
        {"order": 2, "eta": 1.0, "s_noise": 1.02},
        {"rtol": 0.003, "atol": 0.001, "h_init": 0.9, "accept_safety": 0.9},
        {"pcoeff": 0.2, "icoeff": 0.6, "dcoeff": 0.1, "h_init": 2.0, "rtol": 0.01},
    ],
)
def test_dpm_adaptive(settings: dict[str, float]) -> None:
    """The same steps, accepted and rejected, and the same sample after each.

    In float64: in float32 the difference of the two orders is half rounding, on either side.
    """
    config = {("solver_order" if k == "order" else k): v for k, v in settings.items()}
    s_noise = config.pop("s_noise", 1.0)
    scheduler = SCHEDULERS["DPMAdaptiveScheduler"](**BETAS, **config)
    scheduler.set_timesteps()
    high, low = scheduler.sigmas[0].double(), scheduler.sigmas[-1].double()
    top = unit_noise().double() * high
    mine, theirs = (torch.Generator().manual_seed(9) for _ in range(2))
    expected: list[dict[str, float]] = []
    found: list[dict[str, float]] = []
    last, counts = k_diffusion().sample_dpm_adaptive(
        denoise,
        top,
        low,
        high,
        callback=expected.append,
        disable=True,
        noise_sampler=lambda *_: torch.randn(top.shape, generator=theirs, dtype=top.dtype),
        return_info=True,
        **settings,
    )
    x = scheduler.sample(denoise, top, generator=mine, s_noise=s_noise, callback=found.append)
    assert scheduler.info == counts
    if "h_init" in settings:
        assert counts["n_reject"] > 0
    for a, b in zip(found, expected, strict=True):
        assert (a["i"], a["nfe"], a["n_reject"]) == (b["i"], b["nfe"], b["n_reject"])
        assert a["sigma"] == pytest.approx(float(b["sigma"]), rel=1e-4)
        assert float((a["x"] - b["x"]).abs().max() / b["x"].abs().max().clamp(min=1)) <= TOLERANCE
    assert float((x - last).abs().max() / last.abs().max().clamp(min=1)) <= TOLERANCE
