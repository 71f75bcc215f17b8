"""The bridge: diffusers' pipelines load ours, check ours, save ours, and plain diffusers reads that.

Every test undoes the registration, so that no other test runs on the widened classes.
"""

import copy
import json
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import DDPMPipeline, DiffusionPipeline

from schedulers import SCHEDULERS, DDPMScheduler, EulerDiscreteScheduler, Scheduler, bridge
from tests.parity import tiny
from tests.parity.hub_server import Hub
from tests.parity.oracle import DIFFUSERS, SchedulerLike, diffusers_scheduler
from tests.parity.test_hub import hub as hub
from tests.parity.test_pipelines import FROM_IMAGES, IMAGE, STEPS, same, settings
from tests.parity.tiny import Network, unet

#: Classes that the installed diffusers has under its own name, not as a placeholder.
WHOLE = [
    name
    for name in SCHEDULERS
    if issubclass(getattr(diffusers, name, object), diffusers.SchedulerMixin)
]


@pytest.fixture
def bridged() -> Iterator[None]:
    """Ours registered with diffusers."""
    bridge.register(diffusers)
    yield
    bridge.unregister()


def pipeline(scheduler: SchedulerLike) -> Network:
    made = DDPMPipeline(unet=unet(3, 3), scheduler=scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def test_the_bridge_has_two_ends() -> None:
    bases = {cls: cls.__mro__ for cls in SCHEDULERS.values()}
    before = EulerDiscreteScheduler()
    for _ in range(2):  # twice does no harm
        bridge.register(diffusers)
        assert isinstance(before, diffusers.EulerDiscreteScheduler)
        assert (before.__module__, type(before).__module__) == (
            "diffusers",
            "schedulers.solvers.euler",
        )
    bridge.unregister()
    assert {cls: cls.__mro__ for cls in SCHEDULERS.values()} == bases
    assert before.__module__ == "schedulers.solvers.euler"
    assert not isinstance(before, diffusers.SchedulerMixin)
    for wrong in (None, "diffusers", json):
        with pytest.raises(TypeError, match="diffusers="):
            bridge.register(wrong)  # type: ignore[arg-type]


@pytest.mark.usefixtures("bridged")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_ours_are_theirs_and_stay_ours(name: str) -> None:
    scheduler = SCHEDULERS[name]()
    assert isinstance(scheduler, diffusers.SchedulerMixin)
    assert name not in WHOLE or isinstance(scheduler, getattr(diffusers, name))
    own = [cls for cls in type(scheduler).__mro__ if cls.__module__.startswith("schedulers")]
    assert own == list(type(scheduler).__mro__[: len(own)]), "ours come first"
    assert scheduler.compatibles == type(scheduler)().compatibles
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(scheduler, protocol))
        assert type(again) is type(scheduler) and again.config == scheduler.config
    assert copy.deepcopy(scheduler).config == scheduler.config


@pytest.mark.usefixtures("bridged")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_pipeline_loads_and_saves_ours(name: str, tmp_path: Path) -> None:
    made = pipeline(DDPMScheduler())
    made.save_pretrained(tmp_path / "first")
    ours = SCHEDULERS[name](compat="paper")  # a key of ours, which theirs ignores
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "first", scheduler=ours)
    assert loaded.scheduler is ours
    loaded.save_pretrained(tmp_path / "second")
    home = "diffusers" if hasattr(diffusers, name) else "schedulers"
    index = json.loads((tmp_path / "second" / "model_index.json").read_text())
    assert index["scheduler"] == [home, name]
    bridge.unregister()  # what was saved needs no bridge
    if name in WHOLE:
        plain = DiffusionPipeline.from_pretrained(tmp_path / "second").scheduler
        assert type(plain) is getattr(diffusers, name)
    elif home == "schedulers":
        again = DiffusionPipeline.from_pretrained(tmp_path / "second").scheduler
        assert type(again) is SCHEDULERS[name] and isinstance(again, Scheduler)


def test_without_the_bridge_a_pipeline_still_runs_ours(tmp_path: Path) -> None:
    made = pipeline(diffusers_scheduler("DDPMScheduler"))
    made.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="should be"):
        DiffusionPipeline.from_pretrained(tmp_path, scheduler=DDPMScheduler())
    made.scheduler = DDPMScheduler()
    images = made(num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 8, 8, 3)


@pytest.mark.usefixtures("bridged")
def test_a_registered_pipeline_makes_the_images_of_theirs(tmp_path: Path) -> None:
    images = []
    pipeline(diffusers_scheduler("DDPMScheduler")).save_pretrained(tmp_path)
    for more in ({}, {"scheduler": DDPMScheduler.from_pretrained(tmp_path, "scheduler")}):
        loaded = DiffusionPipeline.from_pretrained(tmp_path, **more)
        loaded.set_progress_bar_config(disable=True)
        draw = torch.Generator().manual_seed(3)
        images.append(loaded(num_inference_steps=5, generator=draw, output_type="np").images)
    assert images[0].std() > 0.01 and abs(images[0] - images[1]).max() <= 1e-4


@pytest.mark.usefixtures("bridged")
def test_a_pipeline_with_ours_goes_to_the_hub_and_comes_back(hub: Hub, tmp_path: Path) -> None:
    """Weights lie in LFS there: the client is sent to another host, without its token."""
    made = pipeline(EulerDiscreteScheduler(use_karras_sigmas=True))
    made.save_pretrained(tmp_path / "made")
    files = {
        str(path.relative_to(tmp_path / "made")): path.read_bytes()
        for path in (tmp_path / "made").rglob("*")
        if path.is_file()
    }
    hub.add("ann/tiny", files, private=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = DiffusionPipeline.from_pretrained(
            "ann/tiny", token="hf_ann", cache_dir=tmp_path / "cache"
        )
    assert type(loaded.scheduler) is diffusers.EulerDiscreteScheduler
    assert loaded.scheduler.config.use_karras_sigmas is True
    ours = EulerDiscreteScheduler.from_pretrained("ann/tiny", "scheduler", token="hf_ann")
    assert ours.config.use_karras_sigmas is True
    for a, b in zip(loaded.unet.parameters(), made.unet.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("bridged")
def test_a_pipeline_with_ours_is_pushed(hub: Hub, tmp_path: Path) -> None:
    made = pipeline(EulerDiscreteScheduler(use_karras_sigmas=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.push_to_hub("ann/pushed", token="hf_ann")
        loaded = DiffusionPipeline.from_pretrained(
            "ann/pushed", cache_dir=tmp_path, scheduler=DDPMScheduler()
        )
    assert type(loaded.scheduler) is DDPMScheduler
    pushed = hub.repositories["ann/pushed"]
    index = json.loads(pushed.commits[pushed.refs["main"]]["model_index.json"])
    assert index["scheduler"] == ["diffusers", "EulerDiscreteScheduler"]


@pytest.mark.usefixtures("bridged")
@pytest.mark.parametrize("name", FROM_IMAGES)
def test_registered_classes_make_the_same_images(name: str) -> None:
    """What ours inherit on the bridge must not shine through."""
    same(
        lambda s: tiny.stable_diffusion(s, "Img2Img"), name, settings(name),
        image=IMAGE, strength=0.7, num_inference_steps=STEPS, **tiny.prompt(),
    )  # fmt: skip


@pytest.mark.usefixtures("bridged")
def test_one_pipeline_out_of_another_keeps_our_scheduler() -> None:
    ours = EulerDiscreteScheduler(steps_offset=1)
    first = tiny.stable_diffusion(ours)
    second = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(first)
    assert second.scheduler is ours
    assert second.config.scheduler == ("diffusers", "EulerDiscreteScheduler")


def test_every_class_of_theirs_that_we_have_is_bridged() -> None:
    assert set(DIFFUSERS) - set(WHOLE) == {"ScoreSdeVpScheduler"}, (
        "the one that they do not export"
    )


def test_a_pipeline_that_takes_the_steps_itself(bridged: None) -> None:
    """LEDITS++ inverts with diffusers' own pieces of a step, on the memory of the scheduler."""
    from diffusers.pipelines.ledits_pp import pipeline_leditspp_stable_diffusion as ledits

    config = {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}
    found = []
    for made in (diffusers_scheduler, lambda name, **values: SCHEDULERS[name](**values)):
        scheduler, x = made("DPMSolverMultistepScheduler", **config), tiny.noise(1, 4, 8, 8)
        scheduler.set_timesteps(STEPS)
        parts: list[torch.Tensor] = []
        for i, t in enumerate(scheduler.timesteps):
            noisier, x = x, tiny.noise(1, 4, 8, 8, seed=i)
            parts += ledits.compute_noise(scheduler, noisier, x, t, 0.5 * torch.tanh(x), 1.0)
        found.append(parts)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
