"""The code that a scheduler's page shows: alone, on NumPy, on torch, in a pipeline.

Each call form has its own loop. The samples run as they stand, up to the pipeline's, which needs
a checkpoint; the tests run them.
"""

from __future__ import annotations

import inspect

from schedulers import SCHEDULERS

HEADS = {
    "np": """\
import numpy as np
from schedulers import {name}

scheduler = {name}(tensor_format="np")
generator = np.random.default_rng(0)
scheduler.set_timesteps(10)
x = float(scheduler.init_noise_sigma) * generator.standard_normal((1, 3, 8, 8))
""",
    "pt": """\
import torch
from schedulers import {name}

scheduler = {name}()
generator = torch.Generator().manual_seed(0)
scheduler.set_timesteps(10)
x = float(scheduler.init_noise_sigma) * torch.randn(1, 3, 8, 8, generator=generator)
""",
}

STEP = """\
for t in scheduler.timesteps:
    out = {tanh}({shown})  # your model here
    x, x0 = scheduler.step(out, t, x{random}, return_dict=False)
"""

ADAPTIVE = """\
x = scheduler.sample(lambda x, sigma: {tanh}(x), x, generator=generator)  # your model here
print(scheduler.info)
"""

KARRAS_VE = """\
levels = [float(scheduler.schedule[int(t)]) for t in scheduler.timesteps]
for sigma, target in zip(levels, [*levels[1:], 0.0]):
    x_hat, sigma_hat = scheduler.add_noise_to_input(x, sigma, generator)
    out = {tanh}(x_hat / sigma_hat)  # your model here: (x0 - x) / sigma
    euler = scheduler.step(out, sigma_hat, target, x_hat)
    x, x0 = euler.prev_sample, euler.pred_original_sample
    if target > 0:
        out = {tanh}(x / target)
        better = scheduler.step_correct(out, sigma_hat, target, x_hat, x, euler.derivative)
        x, x0 = better.prev_sample, better.pred_original_sample
"""

SCORE_SDE = """\
for t, sigma in zip(scheduler.timesteps, scheduler.sigmas.tolist()):
    for _ in range(scheduler.config["correct_steps"]):
        score = ({tanh}(x) - x) / sigma**2  # your model here
        x = scheduler.step_correct(score, x, generator).prev_sample
    score = ({tanh}(x) - x) / sigma**2
    out = scheduler.step_pred(score, t, x, generator)
    x, x0 = out.prev_sample, out.pred_original_sample
"""

#: Loop by call form; ``{tanh}`` is the library's, ``{random}`` the generator where step takes one.
LOOPS = {"step": STEP, "adaptive": ADAPTIVE, "karras_ve": KARRAS_VE, "score_sde": SCORE_SDE}

ALONE = """\
from schedulers import {name}

scheduler = {name}()
scheduler.set_timesteps(10)
for i, stage in enumerate(scheduler.stages):
    print(stage.t, stage.here.sigma, stage.target.sigma, scheduler.row(i))
"""

PIPELINE = """\
from diffusers import DiffusionPipeline
from schedulers import {name}

pipe = DiffusionPipeline.from_pretrained("{checkpoint}")
pipe.scheduler = {name}.from_config(pipe.scheduler.config)
image = pipe("a lighthouse in fog", num_inference_steps=20).images[0]
"""

LATENT = "stable-diffusion-v1-5/stable-diffusion-v1-5"
RECTIFIED = "stabilityai/stable-diffusion-3-medium-diffusers"
#: Checkpoints trained for one class, by the first words of its name.
CHECKPOINTS = {
    "FlowMatch": RECTIFIED,
    "LCM": "SimianLuo/LCM_Dreamshaper_v7",
    "EDM": "playgroundai/playground-v2.5-1024px-aesthetic",
    "CosineDPM": "stabilityai/stable-audio-open-1.0",
}


def samples(name: str) -> dict[str, str]:
    """Heading -> code, of every way to use a class."""
    made = SCHEDULERS[name]
    loop = LOOPS[made.call_form]
    takes = "generator" in inspect.signature(getattr(made, "step", made)).parameters
    found = {"Levels and weights, without an array": ALONE.format(name=name)}
    for title, kind, tanh in (("On NumPy", "np", "np.tanh"), ("On torch", "pt", "torch.tanh")):
        body = loop.format(
            tanh=tanh,
            shown="scheduler.scale_model_input(x, t)",
            random=", generator=generator" if takes else "",
        )
        found[title] = HEADS[kind].format(name=name) + body
    checkpoint = pipeline_of(name)
    if checkpoint is not None:
        found["In a pipeline of diffusers"] = PIPELINE.format(name=name, checkpoint=checkpoint)
    return found


def pipeline_of(name: str) -> str | None:
    """A checkpoint whose pipeline takes the class; None where the loop, or the way, is its own."""
    for start, checkpoint in CHECKPOINTS.items():
        if name.startswith(start):
            return checkpoint
    scheduler = SCHEDULERS[name]()
    if scheduler.call_form != "step" or scheduler.training is None:
        return None
    scheduler.set_timesteps(2)
    first, *_, last = scheduler.stages
    return LATENT if first.here.rho > last.target.rho else None
