"""The code that a scheduler's page shows: alone, on NumPy, on torch, in a pipeline.

Each call form has its own loop. The samples run as they stand, up to the pipeline's, which needs
a checkpoint; the tests run them.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

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


#: Width of a line of code.
MOST_COLUMNS = 99


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline of diffusers that takes a class, and what one asks of it.

    Attributes:
        checkpoint: A model on the Hub that it loads.
        kind: Class of the pipeline.
        result: What is made, and the call that makes it.
        slot: Attribute of the pipeline that holds the scheduler.
        before: A line that the call needs, with its line break.
        imports: A further import, likewise.
    """

    checkpoint: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    kind: str = "DiffusionPipeline"
    result: str = 'image = pipe("a lighthouse in fog", num_inference_steps=20).images[0]'
    slot: str = "scheduler"
    before: str = ""
    imports: str = ""

    def code(self, name: str) -> str:
        """The lines, for a class."""
        opening, model = f"pipe = {self.kind}.from_pretrained(", f'"{self.checkpoint}"'
        long = len(opening + model) > MOST_COLUMNS - 1
        loads = f"{opening}\n    {model}\n)" if long else f"{opening}{model})"
        return (
            f"from diffusers import {self.kind}\n{self.imports}from schedulers import {name}\n\n"
            f"{loads}\n"
            f"pipe.{self.slot} = {name}.from_config(pipe.scheduler.config)\n"
            f"{self.before}{self.result}\n"
        )


INVERSION = Pipeline(
    kind="StableDiffusionDiffEditPipeline",
    slot="inverse_scheduler",
    imports="from PIL import Image\n",
    before='image = Image.open("lighthouse.png").convert("RGB").resize((512, 512))\n',
    result='latents = pipe.invert("a lighthouse", image, num_inference_steps=50).latents',
)
WINDOW = Pipeline(
    kind="StableDiffusionParadigmsPipeline",
    result='image = pipe("a lighthouse in fog", num_inference_steps=200, parallel=20).images[0]',
)
FLOW = Pipeline("stabilityai/stable-diffusion-3-medium-diffusers")
EDM = Pipeline("playgroundai/playground-v2.5-1024px-aesthetic")
#: Classes that want another pipeline, or another call, than a latent diffusion model's.
PIPELINES = {
    "DDPMScheduler": Pipeline(
        "google/ddpm-cifar10-32", result="image = pipe(num_inference_steps=1000).images[0]"
    ),
    "DDIMInverseScheduler": INVERSION,
    "DPMSolverMultistepInverseScheduler": INVERSION,
    "DDIMParallelScheduler": WINDOW,
    "DDPMParallelScheduler": WINDOW,
    "IPNDMScheduler": Pipeline(
        "harmonai/maestro-150k",
        "DanceDiffusionPipeline",
        "sound = pipe(num_inference_steps=100, audio_length_in_s=4.0).audios[0]",
    ),
    "KarrasVeScheduler": Pipeline(
        "google/ncsnpp-celebahq-256",
        "KarrasVePipeline",
        "image = pipe(num_inference_steps=50).images[0]",
    ),
    "ScoreSdeVeScheduler": Pipeline(
        "google/ncsnpp-church-256",
        "ScoreSdeVePipeline",
        "image = pipe(num_inference_steps=2000).images[0]",
    ),
    "EDMEulerScheduler": EDM,
    "EDMDPMSolverMultistepScheduler": EDM,
    "CosineDPMSolverMultistepScheduler": Pipeline(
        "stabilityai/stable-audio-open-1.0",
        result='sound = pipe("rain on a tin roof", num_inference_steps=100).audios[0]',
    ),
    "CMStochasticIterativeScheduler": Pipeline(
        "openai/diffusers-cd_imagenet64_l2",
        "ConsistencyModelPipeline",
        "image = pipe(num_inference_steps=1).images[0]",
    ),
    "LCMScheduler": Pipeline(
        "SimianLuo/LCM_Dreamshaper_v7",
        result='image = pipe("a lighthouse in fog", num_inference_steps=4).images[0]',
    ),
    "TCDScheduler": Pipeline(
        before='pipe.load_lora_weights("h1t/TCD-SD15-LoRA")\n',
        result='image = pipe("a lighthouse in fog", num_inference_steps=4, guidance_scale=0.0).images[0]',
    ),
    "FlowMatchEulerDiscreteScheduler": FLOW,
    "FlowMatchHeunDiscreteScheduler": FLOW,
    "FlowMatchLCMScheduler": FLOW,
    "LTXEulerAncestralRFScheduler": Pipeline(
        "Lightricks/LTX-Video-0.9.8-13B-distilled",
        "LTXI2VLongMultiPromptPipeline",
        'video = pipe(prompt="a lighthouse in fog | the fog lifts").frames[0]',
    ),
}
#: Classes that no pipeline can drive, and why.
NO_PIPELINE = {
    "DPMAdaptiveScheduler": "it decides on its times as it goes; a pipeline fixes them beforehand",
    "ScoreSdeVpScheduler": "diffusers has none that calls `step_pred` without a corrector",
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
    if name not in NO_PIPELINE:
        found["In a pipeline of diffusers"] = PIPELINES.get(name, Pipeline()).code(name)
    return found
