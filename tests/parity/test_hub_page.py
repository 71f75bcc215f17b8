"""The page on pipelines and the Hub: its code runs, as a program of its own with ``HF_ENDPOINT`` set."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusers import DDPMPipeline

from tests.parity import tiny
from tests.parity.hub_server import Hub, running
from tests.parity.oracle import diffusers_scheduler

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pipelines-and-hub.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
#: What the page promises of the objects that its blocks leave behind.
PROMISES = """
import json as _json, numpy as _np
_other = DiffusionPipeline.from_pretrained("google/ddpm-cifar10-32")
_other.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(_other.scheduler.config)
_theirs = _other(num_inference_steps=10, generator=torch.Generator().manual_seed(0)).images[0]
_off = _np.abs(_np.asarray(image, float) - _np.asarray(_theirs, float)).max()
print("FACTS" + _json.dumps({
    "off": float(_off), "clip": ddim.config.clip_sample, "theirs_clip": theirs.config.clip_sample,
    "offset": theirs.config.steps_offset, "karras": euler.config.use_karras_sigmas,
    "pipe": pipe.scheduler is karras, "compatible": len(karras.compatibles),
    "alike": _json.loads(offline.to_json_string()) == _json.loads(ours.to_json_string()),
    "unused": "variance_type" in unused, "trained": ours.config.beta_end == ddpm.config.beta_end,
}))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with running() as server:
        made = tmp_path / "made"
        trained = diffusers_scheduler("DDPMScheduler", beta_end=0.03)
        DDPMPipeline(unet=tiny.unet(3, 3), scheduler=trained).save_pretrained(made)
        files = {
            path.relative_to(made).as_posix(): path.read_bytes()
            for path in made.rglob("*")
            if path.is_file()
        }
        server.add("google/ddpm-cifar10-32", files, owner="google")
        yield server


def test_every_block_of_the_page_runs(hub: Hub, tmp_path: Path) -> None:
    assert len(BLOCKS) >= 6
    place = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_ann",
        "PYTHONPATH": str(ROOT),
    }
    folder = tmp_path / "work"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join([*BLOCKS, PROMISES])],
        cwd=folder, env={**os.environ, **place}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.partition("FACTS")[2])
    assert facts.pop("off") <= 1.0, "a grey level, where an eighth bit rounds the other way"
    assert facts.pop("compatible") > 5
    assert facts == {
        "clip": False, "theirs_clip": True, "offset": 1, "karras": True, "pipe": True,
        "alike": True, "unused": True, "trained": True,
    }  # fmt: skip
    index = json.loads((folder / "my-pipeline" / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "EulerDiscreteScheduler"]
    mine = hub.repositories["ann/my-scheduler"]
    assert mine.private and "DDIM for CIFAR-10" in mine.messages.values()
    original = hub.repositories["google/ddpm-cifar10-32"]
    assert "refs/pr/1" in original.refs and original.refs["main"] != original.refs["refs/pr/1"]
    assert "holds no scheduler_config.json in subfolder='unet'" in done.stdout
